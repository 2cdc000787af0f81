"""What the demo asks the models, and what it says where they have no answer."""

import copy
import csv
import io
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypedDict

import numpy as np

from fahr_hf.batch.persons import summarise
from fahr_hf.batch.tables import rows, shown
from fahr_hf.demo.archives import photos_of
from fahr_hf.demo.limits import Limits
from fahr_hf.demo.uploads import Refusal, check_photo
from fahr_hf.embedded import default_model
from fahr_hf.models.pipeline_fahr_face import MINIMUM_SURVIVAL_AGE, NO_FACE
from fahr_hf.pipelines import pipeline

try:
    from spaces import GPU  # type: ignore[attr-defined]
except ImportError:

    def GPU(function: Callable) -> Callable:  # noqa: N802
        """What ZeroGPU's decorator is elsewhere: nothing."""
        return function


# Photos in memory at once; on ZeroGPU also for how many a GPU is lent at a time.
_BATCH = 8
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS = ("photo", "face", "age", "interval_low", "interval_high", "detection_score", "warning", "error", "model")
_NO_FACE = "No face was found in this photo. Try one that shows the face from the front and larger."
_UNREADABLE = "The photo is damaged. Save it again, or choose another."


class Face(TypedDict):
    """One face of a photo: age and its 90 % interval in years, where it is in pixels, and what makes it doubtful."""

    age: float
    interval: list[float] | None
    detection_score: float
    box: dict[str, float]
    landmarks: list[list[float]]
    warning: str | None


class ExplainedFace(Face):
    """A face, its aligned crop as a data URL, and for each pixel of that how many years the place adds to the age."""

    crop: str
    saliency: list[list[float]]


class Photo(TypedDict):
    """One of several photos: its largest face, or why there is none."""

    age: float | None
    interval: list[float] | None
    warning: str | None
    error: str | None


class Person(TypedDict):
    """Median, standard deviation and interquartile range of the ages in several photos, in years; and the photos."""

    age: float
    sd: float | None
    iqr: float | None
    photos: list[Photo]


class Comparison(TypedDict):
    """The largest faces of two photos, and the second age less the first, in years."""

    first: Face
    second: Face
    difference: float


class Position(TypedDict):
    """The share of the named cohort whose risk is not higher, in percent; nothing else is said."""

    percentile: int
    cohort: str


class Estimates:
    """The models of a demo.

    Args:
        model: For ages, as `fahr_hf.pipeline` takes it; the embedded one by default.
        survival_model: Likewise for the position in a cohort, which there is none of by default.
        limits: Of the demo.

    Attributes:
        name: Of the model for ages.
        cohort: The name of the cohort, if there is a survival model.

    Raises:
        ValueError: a model that cannot be used, or a survival model without a cohort's percentiles.
        OSError: a model that the Hub does not have, or that cannot be reached.
    """

    def __init__(self, model: str | None, survival_model: str | None, limits: Limits):
        self.name = model or default_model("face-age")
        self.cohort: str | None = None
        self._limits = limits
        ages = pipeline("face-age", model)
        self._ages = GPU(lambda photos: ages(photos))
        self._processor = ages.image_processor
        ready = copy.copy(self._processor)
        ready.do_detect = False
        maps = pipeline("face-age", ages.model, image_processor=ready, explain=True, device=ages.device)
        self._map = GPU(lambda crop: maps(crop)[0]["saliency"])
        if survival_model is not None:
            risks: Any = pipeline("face-survival", survival_model, age_model=model)
            self.cohort = _cohort(risks.model.config.calibration, survival_model)
            self._risks = GPU(lambda photos: risks(photos, adult=True))

    def faces(self, photo: bytes) -> list[Face]:
        """The faces of a photo, the largest first; at least one.

        Raises:
            Refusal: no photo, too large a photo, or no face.
        """
        check_photo(photo, self._limits)
        return _faces(self._ages([photo])[0])

    def explain(self, photo: bytes) -> tuple[list[Face], np.ndarray, np.ndarray]:
        """The faces of a photo, and what the age of the largest rests on.

        Returns:
            What `faces` does; the aligned crop of the largest face, (side, side, 3) uint8 RGB; and for each pixel of
            that how many years the place adds to the age, (side, side) float32.

        Raises:
            Refusal: as `faces`.
        """
        faces = self.faces(photo)
        crop = self._processor.crops(photo)[0][0]
        return faces, crop, self._map(crop)

    def person(self, photos: list[bytes]) -> Person:
        """The age over several photos of one person, of which the largest face counts.

        Raises:
            Refusal: no face in any.
        """
        seen = [_largest(faces, error) for faces, error in self._many(photos)]
        ages = np.array([photo["age"] for photo in seen if photo["age"] is not None])
        if not len(ages):
            raise Refusal("No face was found in any of these photos.")
        return {**summarise(ages), "photos": seen}  # type: ignore[typeddict-item]

    def compare(self, first: bytes, second: bytes) -> Comparison:
        """The ages in two photos, whose largest faces count.

        Raises:
            Refusal: as `faces`.
        """
        one, two = self.faces(first)[0], self.faces(second)[0]
        return {"first": one, "second": two, "difference": two["age"] - one["age"]}

    def table(self, archive: bytes) -> list[dict[str, Any]]:
        """One row a face of the photos in a zip, and one for a photo without any; columns as of `fahr-hf predict`.

        Raises:
            Refusal: as `archives.photos_of`.
        """
        names, contents = photos_of(archive, self._limits)
        table: list[dict[str, Any]] = []
        for name, (faces, error) in zip(names, self._many(contents), strict=True):
            table += rows({"photo": _harmless(name), "faces": faces, "error": error}, self.name)
        return [{column: row[column] for column in _COLUMNS} for row in table]

    def position(self, photo: bytes, acknowledged: bool) -> Position:
        """Where a face stands in the cohort.

        Raises:
            Refusal: nothing was acknowledged; as `faces`; several faces; a face that may be a minor's.
        """
        if acknowledged is not True:
            raise Refusal("Read the conditions and tick the box first.")
        check_photo(photo, self._limits)
        faces = _faces(self._risks([photo])[0])
        if len(faces) > 1:
            raise Refusal(f"There are {len(faces)} faces in this photo. Give one that shows one person alone.")
        answer: Any = faces[0]
        if answer["status"] == "refused_minor":
            raise Refusal(f"There is no answer for faces that look younger than {MINIMUM_SURVIVAL_AGE}.")
        return {"percentile": round(answer["percentile"]), "cohort": answer["cohort"]}

    def _many(self, photos: Iterable[bytes | Refusal]) -> Iterator[tuple[list[Face], str | None]]:
        """The faces of each photo, and None or why there is none; few photos are in memory at a time."""
        stream = iter(photos)
        while batch := list(islice(stream, _BATCH)):
            reasons = [self._reason(photo) for photo in batch]
            answers = iter(self._ages([photo for photo, reason in zip(batch, reasons, strict=True) if reason is None]))
            for reason in reasons:
                faces = [] if reason else next(answers)
                if faces and "error" in faces[0]:
                    faces, reason = [], "damaged"
                yield faces, reason or (None if faces else NO_FACE)

    def _reason(self, photo: bytes | Refusal) -> str | None:
        """Why a photo cannot be shown to the model."""
        try:
            if isinstance(photo, Refusal):
                raise photo
            check_photo(photo, self._limits)
        except Refusal as refusal:
            return refusal.message
        return None


def as_csv(table: list[dict[str, Any]]) -> str:
    """The rows of `Estimates.table` as text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def _faces(answer: list[Any]) -> list[Face]:
    if not answer:
        raise Refusal(_NO_FACE)
    if "error" in answer[0]:
        raise Refusal(_UNREADABLE)
    return answer


def _largest(faces: list[Face], error: str | None) -> Photo:
    face: Any = faces[0] if faces else dict.fromkeys(("age", "interval", "warning"))
    return {"age": face["age"], "interval": face["interval"], "warning": face["warning"], "error": error}


def _harmless(name: str) -> str:
    """A path as text that no spreadsheet takes for a formula."""
    return f"./{shown(name)}" if name.startswith(_FORMULA) else shown(name)


def _cohort(calibration: dict[str, Any] | None, model: str) -> str:
    table = (calibration or {}).get("survival")
    if table is None or table["warning"] is not None:
        reason = "names no cohort to compare with" if table is None else f"gives none: {table['warning']}"
        raise ValueError(
            f"The demo shows positions within a cohort alone, and {model!r} {reason}. Run `fahr-hf calibrate` on the "
            "checkpoint, or leave the survival model out."
        )
    return table["cohort"]
