"""The one training loop, on Accelerate: any recipe, resumable to the bit, at any step, with any number of workers.

It holds to three rules. Whatever is random belongs to a sample or a step (`randomness`). The learning rate is a
function of the step (`learning_rate`), so that there is no scheduler whose state could differ. And a checkpoint
appears under its name only when it is whole, so that a run that was killed finds the last whole one.
"""

import json
import math
import os
import shutil
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Sampler
from tqdm.auto import tqdm

from fahr_hf.models.modeling_fahr_face import FahrFacePreTrainedModel
from fahr_hf.training.randomness import epoch_order, step_randomness

_STATE = "state.pt"
_HISTORY = "history.json"
_MODEL = "model"


class Samples(Protocol):
    """What a recipe trains on: a tensor in memory, a crop cache, anything with a length and positions."""

    def __len__(self) -> int:
        """Number of samples in an epoch."""

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        """The view of sample `place[1]` in epoch `place[0]`; the same whenever and wherever it is asked for."""


@dataclass(frozen=True)
class Recipe:
    """What is trained, on what, towards what.

    Args:
        model: Its `parameter_groups` make the optimizer.
        samples: See `Samples`. Each must hold its `index`, by which a broken one is named.
        collate: Samples to one batch of tensors.
        loss: Of (model, batch, generator): a scalar. What it draws at random comes from the generator.
        validate: Of (model): figures of merit, on nothing but the validation part.
    """

    model: FahrFacePreTrainedModel
    samples: Samples
    collate: Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]
    loss: Callable[[torch.nn.Module, dict[str, torch.Tensor], torch.Generator], torch.Tensor]
    validate: Callable[[torch.nn.Module], dict[str, float]]


@dataclass(frozen=True)
class Settings:
    """How long and how fast. All are part of the run: resuming with others is an error.

    Args:
        epochs: Passes over the samples, at least 1.
        batch_size: Samples a step and process.
        learning_rate: The highest, that of the head; see `learning_rate`.
        layer_decay: Factor from a layer to the one before it.
        weight_decay: AdamW's, for weight matrices.
        warmup: Share of all steps in which the learning rate rises.
        clip: Longest norm of the gradient.
        seed: Of everything random, at least 0.
        mixed_precision: `"bf16"` or `"no"`.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    layer_decay: float = 1.0
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip: float = 1.0
    seed: int = 0
    mixed_precision: str = "bf16"


@dataclass
class _Progress:
    """Where a run stands: `step` optimizer steps are done; `history` has one entry a finished epoch."""

    step: int
    history: list[dict[str, float]]
    loss_sum: float = 0.0


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


def train(
    recipe: Recipe,
    settings: Settings,
    folder: str | Path,
    workers: int = 0,
    checkpoint_every: int = 200,
    keep: int = 2,
) -> list[dict[str, float]]:
    """Run a recipe to its end, from its last checkpoint if `folder` holds one.

    Ctrl-C, or a request to terminate, saves a checkpoint after the current step and raises KeyboardInterrupt.

    Args:
        recipe: What to train. Its model is trained in place.
        settings: How.
        folder: Receives checkpoints, `history.json`, and at the end `model`, a Hugging Face checkpoint.
        workers: Processes that load and augment, beside this one. The result does not depend on it.
        checkpoint_every: Steps between checkpoints.
        keep: Checkpoints that stay.

    Returns:
        One entry an epoch: `epoch` from 1, `step`, the mean training `loss`, and the figures of `recipe.validate`.

    Raises:
        FloatingPointError: the loss is no longer finite; the message names step and samples.
        ValueError: fewer samples than a batch, or the folder holds a run with other settings.
        KeyboardInterrupt: the run was interrupted, and a checkpoint saved.
    """
    folder = Path(folder)
    # Without being told, Accelerate takes several processes on CPUs for as many runs of one.
    accelerator = Accelerator(mixed_precision=settings.mixed_precision, cpu=not torch.accelerator.is_available())
    groups = recipe.model.parameter_groups(settings.learning_rate, settings.layer_decay, settings.weight_decay)
    rates = [group["lr"] for group in groups]
    # Convolutions are faster in this layout, and nothing is slower.
    recipe.model.to(memory_format=torch.channels_last)  # type: ignore[call-arg]
    model, optimizer = accelerator.prepare(recipe.model, torch.optim.AdamW(groups, fused=True))
    epoch_steps = len(recipe.samples) // (settings.batch_size * accelerator.num_processes)
    if epoch_steps == 0:
        raise ValueError(
            f"{len(recipe.samples)} samples do not fill one batch of {settings.batch_size} in each of "
            f"{accelerator.num_processes} processes. Take a smaller batch_size."
        )
    total = epoch_steps * settings.epochs
    progress = _restore(folder, recipe.model, optimizer, settings)
    bar = tqdm(
        total=total,
        initial=progress.step,
        unit="step",
        disable=not accelerator.is_main_process or not sys.stderr.isatty(),
    )
    with _Interruption() as interruption, bar:
        while progress.step < total:
            epoch, start = divmod(progress.step, epoch_steps)
            model.train()
            for batch in _loader(recipe, settings, accelerator, epoch, start, epoch_steps, workers):
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * learning_rate(progress.step, total, settings)
                with step_randomness(settings.seed, progress.step, accelerator.process_index) as generator:
                    with accelerator.autocast():
                        loss = recipe.loss(model, batch, generator)
                    value = loss.item()
                    if not math.isfinite(value):
                        raise FloatingPointError(
                            f"The loss is {value} at step {progress.step} of epoch {epoch + 1}, on the samples "
                            f"{batch['index'].tolist()}. Look at these, or lower the learning rate."
                        )
                    accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), settings.clip)
                optimizer.step()
                optimizer.zero_grad()
                progress.step += 1
                progress.loss_sum += value
                bar.update()
                bar.set_postfix(epoch=epoch + 1, loss=f"{value:.3f}")
                if _any_process(accelerator, interruption.requested):
                    _save(folder, accelerator, model, optimizer, progress, settings, keep)
                    raise KeyboardInterrupt
                if progress.step % checkpoint_every == 0 and progress.step % epoch_steps:
                    _save(folder, accelerator, model, optimizer, progress, settings, keep)
            _finish_epoch(recipe, accelerator, model, progress, epoch_steps)
            _save(folder, accelerator, model, optimizer, progress, settings, keep)
    if accelerator.is_main_process:
        recipe.model.save_pretrained(folder / _MODEL)
    accelerator.wait_for_everyone()
    return progress.history


class _EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) from a given batch on, so that a loader's workers need to know nothing else."""

    def __init__(self, order: np.ndarray, epoch: int, batch_size: int, start: int, stop: int):
        self.batches = [
            [(epoch, int(index)) for index in order[batch * batch_size : (batch + 1) * batch_size]]
            for batch in range(start, stop)
        ]
        self.batch_size = batch_size
        self.drop_last = True

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.batches)


def _loader(
    recipe: Recipe,
    settings: Settings,
    accelerator: Accelerator,
    epoch: int,
    start: int,
    stop: int,
    workers: int,
) -> DataLoader:
    processes = accelerator.num_processes
    order = epoch_order(settings.seed, epoch, len(recipe.samples))
    loader: DataLoader = DataLoader(
        recipe.samples,  # type: ignore[arg-type]
        batch_sampler=_EpochBatches(order, epoch, settings.batch_size, start * processes, stop * processes),
        collate_fn=recipe.collate,
        num_workers=workers,
        worker_init_fn=_ignore_interruption,
        pin_memory=accelerator.device.type == "cuda",
        # Its own, or starting the workers would draw from the global one.
        generator=torch.Generator(),
    )
    return accelerator.prepare(loader)


def _ignore_interruption(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; only the main one may act on it, and it needs its workers still."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Interruption:
    """Turns Ctrl-C and SIGTERM into a flag; a second one acts at once."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "_Interruption":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: types.FrameType | None) -> None:
        del number, frame
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def _any_process(accelerator: Accelerator, requested: bool) -> bool:
    """Processes must stop after the same step, or those that go on wait for ever."""
    if accelerator.num_processes == 1:
        return requested
    return bool(accelerator.reduce(torch.tensor(float(requested), device=accelerator.device)) > 0)


def _finish_epoch(
    recipe: Recipe, accelerator: Accelerator, model: torch.nn.Module, progress: _Progress, epoch_steps: int
) -> None:
    model.eval()
    with torch.inference_mode(), accelerator.autocast():
        figures = recipe.validate(model)
    epoch = progress.step // epoch_steps
    entry = {"epoch": epoch, "step": progress.step, "loss": progress.loss_sum / epoch_steps, **figures}
    progress.history.append(entry)
    progress.loss_sum = 0.0
    if accelerator.is_main_process:
        line = "  ".join(f"{name} {value:.6g}" for name, value in entry.items())
        tqdm.write(f"{time.strftime('%H:%M:%S')}  {line}", file=sys.stderr)


def _save(
    folder: Path,
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: Any,
    progress: _Progress,
    settings: Settings,
    keep: int,
) -> None:
    if accelerator.is_main_process:
        state = {
            "model": accelerator.unwrap_model(model).state_dict(),
            "optimizer": optimizer.state_dict(),
            "progress": asdict(progress),
            "settings": asdict(settings),
        }
        name = f"checkpoint-{progress.step:09}"
        partial = folder / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with (partial / _STATE).open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        shutil.rmtree(folder / name, ignore_errors=True)
        partial.rename(folder / name)
        for old in _checkpoints(folder)[:-keep]:
            shutil.rmtree(old)
        (folder / _HISTORY).write_text(json.dumps(progress.history, indent=1) + "\n")
    accelerator.wait_for_everyone()


def _checkpoints(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("checkpoint-*"))


def _restore(folder: Path, model: torch.nn.Module, optimizer: Any, settings: Settings) -> _Progress:
    found = _checkpoints(folder)
    if not found:
        return _Progress(step=0, history=[])
    state = torch.load(found[-1] / _STATE, map_location="cpu", weights_only=True)
    begun = state["settings"]
    changed = [
        f"{name}: {begun[name]}, now {value}" for name, value in asdict(settings).items() if begun[name] != value
    ]
    if changed:
        raise ValueError(f"{folder} holds a run with other settings ({'; '.join(changed)}). Take a new folder.")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return _Progress(**state["progress"])
