"""Seeds for everything random in training, each derived from what it belongs to and never from global state.

A sample's augmentation, and which photo of a person it shows, depend on (seed, epoch, sample), the draw of an epoch's
samples on (seed, epoch), a step's mask noise and drop path on (seed, step, process). So a run that was interrupted
anywhere, with any number of workers, goes on exactly as if it had not been.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

# What a seed is for is its first part, so that a step never shares its numbers with a sample of the same position.
_ORDER, _SAMPLE, _STEP, _DRAW, _CHOICE = range(5)


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one sample's augmentation in one epoch; all arguments are at least 0."""
    return np.random.default_rng((_SAMPLE, seed, epoch, index))


def draw_generator(seed: int, epoch: int) -> np.random.Generator:
    """The generator that draws which samples an epoch sees; both arguments are at least 0."""
    return np.random.default_rng((_DRAW, seed, epoch))


def choice_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator that chooses which photo of a person a sample shows; all arguments are at least 0."""
    return np.random.default_rng((_CHOICE, seed, epoch, index))


def epoch_order(seed: int, epoch: int, length: int) -> np.ndarray:
    """The order in which an epoch visits the samples: a permutation of 0 ... length - 1."""
    return np.random.default_rng((_ORDER, seed, epoch)).permutation(length)


@contextlib.contextmanager
def step_randomness(seed: int, step: int, process: int = 0) -> Iterator[torch.Generator]:
    """Within the block torch's global generators follow from the step alone; afterwards they are as before.

    Drop path draws from the global generator, wherever the model's device is. Mask noise should be drawn from the
    generator that the block receives, which lives on the CPU, so that every kind of device masks alike.

    Args:
        seed: Of the run.
        step: Optimizer steps done before this one.
        process: Rank, so that processes do not drop and mask alike.
    """
    mixed = int(np.random.SeedSequence((_STEP, seed, step, process)).generate_state(1, np.uint64)[0])
    with torch.random.fork_rng():
        torch.manual_seed(mixed)
        yield torch.Generator().manual_seed(mixed)
