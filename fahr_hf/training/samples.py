"""Crops in memory as training samples."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fahr_hf.data.crops import Crops
from fahr_hf.training.augmentation import fills

_MOST_FRAMES = 4096


class CropSamples:
    """Stored crops as they are; a recipe's `collate` makes views of them.

    Args:
        crops: Their table has the columns `source` and `photo_id`, which name a sample, and `columns`.
        columns: What a sample holds besides its crop.
    """

    def __init__(self, crops: Crops, columns: Sequence[str] = ()):
        self.crops = crops
        self.columns = {name: crops.column(name) for name in columns}
        self.sources, self.photos = crops.column("source"), crops.column("photo_id")

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        """`image` (side, side, 3) uint8, `corners` (4, 2), `name`, `epoch`, `index` and the columns' values."""
        epoch, index = place
        return {
            "image": self.crops.images[index],
            "corners": self.crops.corners[index],
            "name": f"{self.sources[index]}/{self.photos[index]}",
            "epoch": epoch,
            "index": index,
            **{name: values[index] for name, values in self.columns.items()},
        }


def frames_of(crops: Crops) -> np.ndarray:
    """Corners of photos that do not fill their crops, (m, 4, 2), m up to 4,096: frames for the augmentation."""
    frames = crops.corners[~fills(crops.corners, crops.images.shape[1])]
    # A copy goes to every worker process.
    return frames[:: max(1, math.ceil(len(frames) / _MOST_FRAMES))]


def check_part(crops: Crops, part: str) -> None:
    """Raise ValueError unless all crops are of this part, and there are some."""
    found = sorted(set(crops.column("part")))
    if found != [part]:
        raise ValueError(f"Expected crops of the part {part!r} and no other, got {found or 'none at all'}.")
