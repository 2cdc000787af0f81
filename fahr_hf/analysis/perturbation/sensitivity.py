"""How far predicted ages and risks move when a photo is changed: answers, curves, and how far one may go.

Every photo is its own comparison: the answer for the changed photo less that for the photo as it is, by the same
pipeline, of the same face. A face that is no longer found where it has to be is lost, and counted; the changes are
those of the faces that were found.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fahr_hf.analysis.perturbation.face_frame import FaceFrame
from fahr_hf.analysis.perturbation.perturbations import PERTURBATIONS, Perturbation
from fahr_hf.models.image_processing_fahr_face import ImageSource, _fetch, _read
from fahr_hf.models.pipeline_fahr_face import NO_FACE, FacePipeline, FaceSurvivalPipeline
from fahr_hf.resampling import clusters_of, resampled_sums, with_interval

AGE_LIMIT = 1.0
"""Years of mean absolute change that are too far."""

RISK_LIMIT = 0.1
"""The same of risk, in standard deviations of risk in the model's reference cohort."""

LEAST = 10
"""Photos below which a mean has no interval."""

LOST = "face lost"
"""Why a changed photo has no answer: there is no face where the landmarks went."""

# The crop averages photos down to twice its resolution before it is cut; more pixels would only cost time.
_FINEST = 2.0
# Distances between the eyes by which the middle of a face may be off what it was moved to.
_ELSEWHERE = 0.5


class Photo(NamedTuple):
    """A photo to be changed.

    Args:
        name: Of the photo, for tables.
        person: Who it shows; None for somebody unknown, who counts as a person of their own.
        source: Path, URL or bytes of the file, or an array (height, width, 3) uint8.
    """

    name: str
    person: str | None
    source: ImageSource


def perturbed_answers(
    pipeline: FacePipeline, photos: Iterable[Photo], perturbations: Iterable[Perturbation] = PERTURBATIONS
) -> pd.DataFrame:
    """Answers for photos as they are, and for each of them at every strength of some perturbations.

    The largest face of a photo is followed. A photo that shows it larger than twice the model's crop is shrunk to that
    first, so that noise, blur and JPEG mean the same for all photos.

    Args:
        pipeline: Of ages, or of risks; for risks everybody shown must have been declared an adult.
        photos: Each is read, and forgotten again.
        perturbations: What is done to them.

    Returns:
        One row a photo, perturbation and strength: `photo`, `person`, `perturbation`, `strength`, `age_before`,
        `age_after` (years), `risk_before`, `risk_after` (NaN of an age pipeline, and where a risk was refused), and
        `reason`, why there is no answer after the change, or None. A photo that is too small already to be cut or
        shrunk so far has no row there. A photo without an answer as it is has one row, whose `perturbation` is None and
        whose `reason` says why.
    """
    perturbations = list(perturbations)
    rows = [row for photo in photos for row in _answers(pipeline, photo, perturbations)]
    columns = ["photo", "person", "perturbation", "strength", *_ANSWERS, "reason"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("strength", *_ANSWERS), np.float64))


def curves(table: pd.DataFrame, answer: str = "age", unit: float = 1.0) -> pd.DataFrame:
    """Changes of an answer by perturbation and strength.

    Args:
        table: What `perturbed_answers` returned.
        answer: `"age"` or `"risk"`.
        unit: What changes are divided by: for risks, their standard deviation in the reference cohort.

    Returns:
        One row a perturbation and strength of the grid: `photos`, those that were changed; `lost`, the share of them
        whose face was lost; `refused`, the share that got no risk; `n`, photos with both answers; `change`, after less
        before, and `absolute`, means over photos with 95 % bootstrap intervals over people (`_low`, `_high`; NaN below
        `LEAST` photos).
    """
    before, after = table[f"{answer}_before"], table[f"{answer}_after"]
    known = table.assign(change=(after - before) / unit)[before.notna()]
    rows = [
        {"perturbation": name, "strength": strength, **_summary(group)}
        for name in known["perturbation"].dropna().unique()
        for strength, group in known[known["perturbation"] == name].groupby("strength")
    ]
    return pd.DataFrame(rows, columns=["perturbation", "strength", *_SUMMARY])


def tolerances(
    found: pd.DataFrame, limit: float = AGE_LIMIT, perturbations: Iterable[Perturbation] = PERTURBATIONS
) -> pd.DataFrame:
    """How far one may go before the mean absolute change passes a limit.

    Between two strengths the curve is taken as straight, from no change at the identity on.

    Args:
        found: What `curves` returned.
        limit: In the unit of `found`.
        perturbations: Which of them; those that `found` lacks are left out.

    Returns:
        One row a perturbation and direction: `perturbation`, `unit`, `identity`, `direction` (`"down"` or `"up"` from
        the identity), `passes_at`, the strength (NaN where the limit is not passed), `tested_to`, the last strength
        with an answer, and there `absolute` and `lost`.
    """
    rows = []
    for each in perturbations:
        curve = found[(found["perturbation"] == each.name) & found["absolute"].notna()]
        for direction, side in (("down", curve["strength"] < each.identity), ("up", curve["strength"] > each.identity)):
            # Outwards.
            part = curve[side].sort_values("strength", ascending=direction == "up")
            if len(part):
                last = part.iloc[-1]
                rows.append(
                    {
                        "perturbation": each.name,
                        "unit": each.unit,
                        "identity": each.identity,
                        "direction": direction,
                        "passes_at": _passes(part, each.identity, limit),
                        "tested_to": last["strength"],
                        "absolute": last["absolute"],
                        "lost": last["lost"],
                    }
                )
    return pd.DataFrame(rows, columns=_TOLERANCE)


_ANSWERS = ("age_before", "age_after", "risk_before", "risk_after")
_SUMMARY = [
    *("photos", "lost", "refused", "n"),
    *("change", "change_low", "change_high", "absolute", "absolute_low", "absolute_high"),
]
_TOLERANCE = ["perturbation", "unit", "identity", "direction", "passes_at", "tested_to", "absolute", "lost"]


def _answers(pipeline: FacePipeline, photo: Photo, perturbations: list[Perturbation]) -> Iterator[dict[str, Any]]:
    row = {"photo": photo.name, "person": photo.person}
    try:
        pixels, landmarks, before = _as_it_is(pipeline, photo.source)
    except (ValueError, OSError) as error:
        yield {**row, "reason": str(error)}
        return
    waiting: deque[tuple[Perturbation, float, np.ndarray]] = deque()

    def changed() -> Iterator[np.ndarray]:
        for each in perturbations:
            for strength in each.grid:
                view, points = each(pixels, strength, landmarks)
                if view is not pixels:
                    waiting.append((each, strength, points))
                    yield view

    for faces in ask(pipeline, changed()):
        each, strength, points = waiting.popleft()
        face = _at(faces, points)
        yield {
            **row,
            "perturbation": each.name,
            "strength": strength,
            "age_before": before["age"],
            "risk_before": before.get("risk"),
            **({"age_after": face["age"], "risk_after": face.get("risk")} if face else {}),
            "reason": LOST if face is None else face["status"] if face.get("status", "ok") != "ok" else None,
        }


def ask(pipeline: FacePipeline, photos: Any) -> Any:
    """Call a pipeline of ages, or one of risks for people who have been declared adults."""
    return pipeline(photos, adult=True) if isinstance(pipeline, FaceSurvivalPipeline) else pipeline(photos)


def _as_it_is(pipeline: FacePipeline, source: ImageSource) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Upright pixels no finer than needed, the largest face's landmarks in them, and the answer for it.

    Raises:
        ValueError: the photo cannot be read, or shows no face.
        OSError: it does not exist.
    """
    pixels = _read(_fetch(source), pipeline.image_processor.max_pixels).pixels
    faces = pipeline.image_processor.detect(pixels)
    if faces:
        scale = FaceFrame(np.array(faces[0]["landmarks"])).scale
        if scale > _FINEST:
            import cv2

            size = [max(1, round(side * _FINEST / scale)) for side in pixels.shape[1::-1]]
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    faces = ask(pipeline, pixels)
    if not faces:
        raise ValueError(NO_FACE)
    return pixels, np.array(faces[0]["landmarks"]), faces[0]


def _at(faces: list[dict[str, Any]], landmarks: np.ndarray) -> dict[str, Any] | None:
    """The face that lies where landmarks went; None where there is none, or the photo could not be used."""
    reach = _ELSEWHERE * float(np.hypot(*(landmarks[1] - landmarks[0])))

    def off(face: dict[str, Any]) -> float:
        return float(np.hypot(*(np.mean(face["landmarks"], axis=0) - landmarks.mean(axis=0))))

    near = [face for face in faces if "error" not in face and off(face) <= reach]
    return min(near, key=off, default=None)


def _summary(group: pd.DataFrame) -> dict[str, Any]:
    lost = group["reason"] == LOST
    both = group[group["change"].notna()]
    row: dict[str, Any] = {"photos": len(group), "lost": float(lost.mean()), "n": len(both)}
    row["refused"] = float((group["change"].isna() & ~lost).mean())
    if both.empty:
        return row
    change = both["change"].to_numpy()
    sums = resampled_sums(np.column_stack([change, np.abs(change), np.ones(len(both))]), clusters_of(both["person"]))
    for name, column in (("change", 0), ("absolute", 1)):
        value, low, high = with_interval(sums[:, column] / sums[:, 2])
        row[name] = value
        if len(both) >= LEAST:
            row |= {f"{name}_low": low, f"{name}_high": high}
    return row


def _passes(part: pd.DataFrame, identity: float, limit: float) -> float:
    strengths, absolute = [identity, *part["strength"]], [0.0, *part["absolute"]]
    beyond = next((i for i, value in enumerate(absolute) if value > limit), None)
    if beyond is None:
        return np.nan
    share = (limit - absolute[beyond - 1]) / (absolute[beyond] - absolute[beyond - 1])
    return float(strengths[beyond - 1] + share * (strengths[beyond] - strengths[beyond - 1]))
