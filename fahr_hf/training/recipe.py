"""What a run consists of: a recipe (what is trained, on what, towards what) and settings (how long, how fast)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from fahr_hf.data.streams import CropStream
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFacePreTrainedModel

Batch = dict[str, Any]


class Samples(Protocol):
    """Samples with positions: a tensor in memory, crops in memory."""

    def __len__(self) -> int:
        """Number of samples in an epoch."""

    def __getitem__(self, place: tuple[int, int]) -> Any:
        """Sample `place[1]` in epoch `place[0]`; the same whenever and wherever it is asked for."""


@dataclass(frozen=True)
class JointLoss:
    """A loss that compares the samples of a whole step with each other; see `gradient_caching`.

    Args:
        score: Of (model, batch): a number a sample, (b,). What it draws at random comes from torch's global generators.
        loss: Of the scores of all n samples of a step, in all processes, and their labels, (n,) each: a scalar.
        labels: Columns of a batch, (b,) each, in the order that `loss` takes them.
        memory: People of past steps with whom `loss` compares those of a step as well, see `ScoreMemory`; labels then
            end with a number for each person, which `loss` is not given. 0: none.
    """

    score: Callable[[torch.nn.Module, Mapping[str, Any]], torch.Tensor]
    loss: Callable[..., torch.Tensor]
    labels: Sequence[str]
    memory: int = 0


@dataclass(frozen=True)
class Recipe:
    """What is trained, on what, towards what.

    Args:
        model: Its `parameter_groups` make the optimizer.
        processor: Saved beside the finished model, which needs crops that were cut with it.
        samples: In memory or in shards; what `collate` takes are lists of them.
        collate: Samples to one batch: tensors, and `name`, a text a sample by which a broken one can be found.
        loss: Of (model, batch, generator): a scalar, the mean over the batch's samples. What it draws at random comes
            from the generator. None where there is a joint loss.
        validate: Of (model): figures of merit, on nothing but the validation part.
        draw: Of (model): a picture of what it has learned, if there is one; those of all epochs are kept.
        monitor: The figure of `validate` to choose by, lower is better: the finished model is that of the best epoch.
            None: that of the last.
        finish: Of (model): what is saved in the end, such as the model with its adapters merged.
        joint: In place of `loss`, one that does not add up over batches.
        order: Of (seed, epoch, samples of a step): the samples in the order in which an epoch visits them, as many as
            there are; a batch is so many of them in a row, and so is a step, over all processes. None: every sample
            once, at random. A stream has its own.

    Raises:
        ValueError: both kinds of loss, or none.
    """

    model: FahrFacePreTrainedModel
    processor: FahrFaceImageProcessor
    samples: Samples | CropStream
    collate: Callable[[list[Any]], Batch]
    loss: Callable[[torch.nn.Module, Batch, torch.Generator], torch.Tensor] | None
    validate: Callable[[torch.nn.Module], dict[str, float]]
    draw: Callable[[torch.nn.Module], Image.Image | None] = lambda model: None  # noqa: ARG005
    monitor: str | None = None
    finish: Callable[[Any], FahrFacePreTrainedModel] = lambda model: model
    joint: JointLoss | None = None
    order: Callable[[int, int, int], np.ndarray] | None = None

    def __post_init__(self) -> None:
        if (self.loss is None) == (self.joint is None):
            raise ValueError("A recipe needs either a loss or a joint loss, and not both.")


@dataclass(frozen=True)
class Settings:
    """How long and how fast. All are part of the run: resuming with others is an error.

    Args:
        epochs: Passes over the samples, at least 1.
        batch_size: Samples that a process takes through the model at once.
        accumulation: Such batches a step; the step is that of one large batch.
        learning_rate: The highest, that of the head; see `learning_rate`.
        layer_decay: Factor from a layer to the one before it.
        weight_decay: AdamW's, for weight matrices.
        beta2: AdamW's decay of the second moment.
        warmup: Share of all steps in which the learning rate rises.
        clip: Longest norm of the gradient.
        seed: Of everything random, at least 0.
        mixed_precision: `"bf16"` or `"no"`.
        patience: Epochs without a better figure of merit after which the run ends; None: it never ends early. The
            learning rate falls as if all epochs were to come.
    """

    epochs: int
    batch_size: int = 64
    accumulation: int = 1
    learning_rate: float = 1e-3
    layer_decay: float = 1.0
    weight_decay: float = 0.05
    beta2: float = 0.999
    warmup: float = 0.05
    clip: float = 1.0
    seed: int = 0
    mixed_precision: str = "bf16"
    patience: int | None = None


def learning_rate(step: int, total: int, settings: Settings) -> float:
    """Factor on the learning rate, 0 to 1: linear warm-up, then half a cosine down to 0 (Loshchilov & Hutter 2017).

    Args:
        step: Steps done so far, 0 ... total - 1.
        total: Steps of the whole run.
        settings: `warmup` matters.
    """
    rising = max(1, round(total * settings.warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))
