"""The batches that one process sees of an epoch, from any batch on: from samples with positions, or from a stream."""

import functools
import signal
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from fahr_hf.data.streams import CropStream, StreamBatch
from fahr_hf.training.randomness import epoch_order
from fahr_hf.training.recipe import Batch, Recipe, Settings


def epoch_batches(recipe: Recipe, settings: Settings, processes: int) -> int:
    """Batches of an epoch for each process, the same for all, and a multiple of `settings.accumulation`.

    Raises:
        ValueError: fewer samples than one step takes.
    """
    if isinstance(recipe.samples, CropStream):
        batches = recipe.samples.steps(settings.batch_size, processes)
    else:
        batches = len(recipe.samples) // (settings.batch_size * processes)
    steps = batches // settings.accumulation
    if steps == 0:
        times = f" x {settings.accumulation} accumulated" if settings.accumulation > 1 else ""
        raise ValueError(
            f"{len(recipe.samples)} samples do not fill one batch of {settings.batch_size}{times} in each of "
            f"{processes} processes. Take a smaller batch_size."
        )
    return steps * settings.accumulation


def load_batches(
    recipe: Recipe,
    settings: Settings,
    epoch: int,
    process: int,
    processes: int,
    start: int,
    stop: int,
    workers: int,
    pin: bool,
) -> Iterator[Batch]:
    """Batches `start` to `stop` of this process, loaded by `workers` processes beside this one.

    Where samples of a stream could not be read, a batch holds their names under `unreadable`.
    """
    options: dict = {
        "num_workers": workers,
        "worker_init_fn": _ignore_interruption,
        "pin_memory": pin,
        # Its own, or starting the workers would draw from the global one.
        "generator": torch.Generator(),
    }
    if isinstance(recipe.samples, CropStream):
        stream = recipe.samples.batches(
            epoch, batch_size=settings.batch_size, process=process, processes=processes, start=start
        )
        collate = functools.partial(_collate_stream, recipe.collate)
        loader: DataLoader = DataLoader(stream, batch_size=None, collate_fn=collate, **options)
    else:
        if recipe.order is None:
            order = epoch_order(settings.seed, epoch, len(recipe.samples))
        else:
            order = recipe.order(settings.seed, epoch, settings.batch_size * settings.accumulation * processes)
        # Batches are dealt to the processes like cards.
        numbers = [batch * processes + process for batch in range(start, stop)]
        batches = _Batches(order, epoch, settings.batch_size, numbers)
        loader = DataLoader(recipe.samples, batch_sampler=batches, collate_fn=recipe.collate, **options)  # type: ignore[arg-type]
    # Not one batch further: another would be loaded for nothing.
    return islice(loader, stop - start)


def _collate_stream(collate: Callable[[list[Any]], Batch], batch: StreamBatch) -> Batch:
    return {**collate(batch.samples), "unreadable": batch.unreadable}


class _Batches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index), so that a loader's workers need to know nothing else."""

    def __init__(self, order: np.ndarray, epoch: int, batch_size: int, numbers: list[int]):
        self.batches = [
            [(epoch, int(index)) for index in order[number * batch_size : (number + 1) * batch_size]]
            for number in numbers
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.batches)


def _ignore_interruption(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; only the main one may act on it, and it needs its workers still."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
