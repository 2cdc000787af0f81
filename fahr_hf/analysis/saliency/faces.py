"""The faces whose answers are explained: crops of a cache, or the largest face of one photo."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fahr_hf.data.crops import ALIGNING, Crops, check_cut, load_crops
from fahr_hf.data.cutting import NoFaceError, choose_face
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.pipeline_fahr_face import MINIMUM_SURVIVAL_AGE
from fahr_hf.resampling import clusters_of


@dataclass(frozen=True, eq=False)
class Faces:
    """Aligned crops, and what is known about them.

    Args:
        crops: (n, side, side, 3) uint8 RGB.
        age: Labelled age in years, (n,) float64; NaN where unknown.
        clusters: For each crop the number of its person, (n,).
    """

    crops: np.ndarray
    age: np.ndarray
    clusters: np.ndarray

    def __len__(self) -> int:
        return len(self.crops)

    def pixel_values(self, processor: FahrFaceImageProcessor) -> torch.Tensor:
        """What a model takes, (n, 3, side, side) float32."""
        return torch.from_numpy(processor.normalize_crops(self.crops))


def spread(total: int, number: int) -> np.ndarray:
    """At most `number` positions, spread evenly over `total`."""
    kept = min(total, number)
    return np.arange(kept) * total // max(kept, 1)


def read_faces(folder: Path, part: str, processor: FahrFaceImageProcessor, limit: int, adults: bool = False) -> Faces:
    """Crops of a cache.

    Args:
        folder: A crop cache.
        part: Such as `"validation"`.
        processor: Of the model; it has to cut crops as these were cut.
        limit: If there are more, only so many, spread evenly over the cache.
        adults: Leave out labelled ages below `MINIMUM_SURVIVAL_AGE`, as risks are not given for the young.

    Raises:
        FileNotFoundError: no cache there.
        ValueError: crops that were cut otherwise, or none in that part.
    """
    check_cut(folder, processor)
    crops = load_crops(folder, (part,), None if adults else limit)
    if adults:
        of_age = np.flatnonzero(~(_ages(crops) < MINIMUM_SURVIVAL_AGE))
        crops = crops.select(of_age[spread(len(of_age), limit)])
    if not len(crops):
        raise ValueError(f"{folder} has no crops to look at in the part {part!r}.")
    persons = pd.Series(crops.column("subject_id"))
    framed = np.stack([crops.framed(index) for index in range(len(crops))])
    return Faces(framed, _ages(crops), clusters_of(persons))


def check_same_cut(ours: FahrFaceImageProcessor, theirs: FahrFaceImageProcessor, name: str) -> None:
    """Refuse to compare models that see different parts of a face.

    Raises:
        ValueError: an option that decides what a crop shows differs.
    """
    wanted, found = ours.to_dict(), theirs.to_dict()
    for option in ALIGNING:
        if found[option] != wanted[option]:
            raise ValueError(
                f"{name} cuts crops with {option} = {found[option]!r}, and the first model with {wanted[option]!r}. "
                "Maps can be compared only on the same crops."
            )


def read_face(photo: Path, processor: FahrFaceImageProcessor) -> Faces:
    """The largest face of a photo.

    Raises:
        ValueError: the photo is damaged, or shows no face.
    """
    crops, faces = processor.crops(photo)
    try:
        crop = crops[choose_face(faces, None, one_face=False)]
    except NoFaceError as error:
        raise ValueError(f"{photo}: no face found. Give a photo that shows one, upright and not too small.") from error
    return Faces(crop[None], np.array([np.nan]), np.zeros(1, int))


def _ages(crops: Crops) -> np.ndarray:
    return crops.table["age"].to_pandas().to_numpy(np.float64)
