"""How far the answers of an exported model lie from those of the checkpoint, on real faces."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from fahr_hf.exporting.running import Run
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor, PhotoError
from fahr_hf.models.pipeline_fahr_face import photo_files

MOST_FACES = 300
"""Faces that are taken of a source, spread evenly over it."""

_BATCH = 32
# What was calibrated on the checkpoint's own answers is kept as long as those of the export move less than this.
_KEPT_YEARS = 0.05
_KEPT_PERCENTILES = 0.5
# Of int8, which depends on the photo, fewer faces say too little.
_FEWEST_FACES = 100

# Answers by name, n rows each.
Answers = Mapping[str, np.ndarray]


def read_faces(source: str | Path, part: str, processor: FahrFaceImageProcessor) -> torch.Tensor:
    """Faces of a crop cache or of a folder of photos, at most `MOST_FACES`; damaged photos are left out with a warning.

    Args:
        source: What `fahr-hf data crops` wrote, or a folder with photos at any depth.
        part: Of a crop cache, the part to take; photos have none.
        processor: Of the model. From a photo it takes the largest face.

    Returns:
        (n, 3, height, width) float32, normalised.

    Raises:
        ValueError: there is no face, or the crops are cut otherwise than the processor cuts.
    """
    from fahr_hf.data.crops import check_cut, is_cache, load_crops

    if is_cache(source):
        check_cut(source, processor)
        crops = load_crops(source, (part,), limit=MOST_FACES)
        faces = [torch.from_numpy(processor.normalize_crops(crops.framed(i)[None])) for i in range(len(crops))]
        nothing = f"The crops in {source} hold none of the part {part!r}."
    else:
        files = list(photo_files(source))
        chosen = [files[i * len(files) // MOST_FACES] for i in range(MOST_FACES)] if len(files) > MOST_FACES else files
        faces, errors = [], []
        for file in chosen:
            try:
                faces.append(processor.preprocess(file)["pixel_values"][:1])
            except (PhotoError, OSError) as error:
                errors.append(error)
        if errors:
            warnings.warn(f"{len(errors)} of {len(chosen)} photos are left out; the first: {errors[0]}", stacklevel=2)
        nothing = f"There is no face in the photos in {str(source)!r}: {len(files)} files there have the suffix of one."
    if not sum(map(len, faces)):
        raise ValueError(nothing)
    return torch.cat(faces)


def torch_answers(model: PreTrainedModel, pixel_values: torch.Tensor) -> Answers:
    """What the checkpoint answers in float32: `embedding` (n, width), and `age` or `risk` (n,)."""
    from fahr_hf.exporting.writing import PlainAnswers

    plain = PlainAnswers(model)
    with torch.no_grad():
        return _joined([{name: value.numpy() for name, value in plain(x).items()} for x in pixel_values.split(_BATCH)])


def exported_answers(run: Run, pixel_values: torch.Tensor) -> Answers:
    """The same of an exported model."""
    return _joined([run(batch.numpy()) for batch in pixel_values.split(_BATCH)])


def compare(wanted: Answers, found: Answers) -> dict[str, dict[str, float]]:
    """Absolute differences of each answer: `mean` and `largest`, over faces and, of an embedding, its numbers."""
    differences = {name: np.abs(found[name] - values) for name, values in wanted.items()}
    return {
        name: {"mean": float(values.mean()), "largest": float(values.max())} for name, values in differences.items()
    }


def reason_to_drop(tables: Mapping[str, Any] | None, wanted: Answers, found: Answers, dtype: str) -> str | None:
    """Why tables that were fitted on the checkpoint's own answers do not hold for those of the export.

    Args:
        tables: The configuration's `calibration`.
        wanted: Answers of the checkpoint.
        found: Those of the export, to the same faces.
        dtype: Of the export.

    Returns:
        A reason, or None where the tables hold, or there are none.
    """
    if not tables:
        return None
    faces = len(wanted["embedding"])
    if dtype == "int8" and faces < _FEWEST_FACES:
        return (
            f"whether it holds for int8 shows on {_FEWEST_FACES} faces or more, and the parity was measured on {faces}"
        )
    if "age" in wanted:
        change = np.abs(found["age"] - wanted["age"]).mean()
        if not change < _KEPT_YEARS:
            return f"ages moved by {change:.2f} years on average, and it holds for less than {_KEPT_YEARS}"
    if "survival" in tables:
        quantiles = tables["survival"]["quantiles"]
        before, after = (np.interp(answers["risk"], quantiles, np.arange(101.0)) for answers in (wanted, found))
        change = np.abs(after - before).mean()
        if not change < _KEPT_PERCENTILES:
            return f"percentiles moved by {change:.1f} on average, and it holds for less than {_KEPT_PERCENTILES}"
    return None


def _joined(batches: list[dict[str, np.ndarray]]) -> Answers:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
