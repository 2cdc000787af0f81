"""Crops as a model sees them: varied views to learn from, and the plain crops to be judged by."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fahr_hf.data.crops import Crops
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.training.augmentation import Augmentation, augment
from fahr_hf.training.randomness import sample_generator
from fahr_hf.training.recipe import Batch

_PLAIN_BATCH = 128


@dataclass(frozen=True)
class Views:
    """Samples to a batch of augmented views; a class and no closure, so that worker processes can be started with it.

    Args:
        processor: Normalises the views.
        frames: See `augment`.
        seed: Of the augmentation.
        augmentation: How far views differ from their crops.
        labels: For each label of a batch, (b,) float32, the sample's value that it holds.
    """

    processor: FahrFaceImageProcessor
    frames: np.ndarray
    seed: int
    augmentation: Augmentation
    labels: Mapping[str, str]

    def __call__(self, samples: list[dict[str, Any]]) -> Batch:
        """`pixel_values` (b, 3, side, side), the labels, and the samples' `name`."""
        views = [
            augment(
                sample["image"],
                sample["corners"],
                self.frames,
                sample_generator(self.seed, sample["epoch"], sample["index"]),
                self.augmentation,
            )
            for sample in samples
        ]
        return {
            "pixel_values": torch.from_numpy(self.processor.normalize_crops(np.stack(views))),
            **{
                label: torch.tensor([float(sample[value]) for sample in samples])
                for label, value in self.labels.items()
            },
            "name": [sample["name"] for sample in samples],
        }


def plain_batches(processor: FahrFaceImageProcessor, crops: Crops, device: torch.device) -> Iterator[torch.Tensor]:
    """Pixel values, (up to 128, 3, side, side), of crops as the processor cuts them, in their order."""
    for start in range(0, len(crops), _PLAIN_BATCH):
        views = [crops.framed(index) for index in range(start, min(start + _PLAIN_BATCH, len(crops)))]
        yield torch.from_numpy(processor.normalize_crops(np.stack(views))).to(device)
