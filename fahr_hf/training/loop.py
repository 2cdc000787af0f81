"""The one training loop, on Accelerate: any recipe, resumable to the bit, on one process or on many.

It holds to three rules. Whatever is random belongs to a sample or a step (`randomness`). The learning rate is a
function of the step (`learning_rate`), so that there is no scheduler whose state could differ. And a checkpoint
appears under its name only when it is whole (`checkpoints`).

One process, several (`torchrun`), several machines, and a model sharded over them (FSDP 2, by Accelerate's
configuration) run the same code.
"""

import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from itertools import compress, islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, is_tensorboard_available, send_to_device
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from tqdm.auto import tqdm

from fahr_hf.models.modeling_fahr_face import FahrFacePreTrainedModel
from fahr_hf.training.checkpoints import (
    FULL,
    drop_worse,
    load_best,
    restore_checkpoint,
    save_best,
    save_checkpoint,
)
from fahr_hf.training.gradient_caching import cached_gradients
from fahr_hf.training.interruption import Interruption
from fahr_hf.training.loading import epoch_batches, load_batches
from fahr_hf.training.randomness import step_randomness
from fahr_hf.training.recipe import Batch, JointLoss, Recipe, Settings, learning_rate
from fahr_hf.training.score_memory import ScoreMemory

_MODEL = "model"
_PICTURES = "pictures"


def train(
    recipe: Recipe,
    settings: Settings,
    folder: str | Path,
    workers: int = 0,
    checkpoint_steps: int = 1000,
    checkpoint_minutes: float = 10,
    keep: int = 2,
) -> list[dict[str, float]]:
    """Run a recipe to its end, from its last checkpoint if `folder` holds one.

    Ctrl-C, or a request to terminate, saves a checkpoint after the current step and raises KeyboardInterrupt.

    Args:
        recipe: What to train. Its model is trained in place.
        settings: How.
        folder: Receives checkpoints, `history.json`, pictures, TensorBoard logs where that is installed, and at the
            end `model`, a Hugging Face checkpoint: of the best epoch by `recipe.monitor`, or of the last.
        workers: Processes that load and augment, beside this one. The result does not depend on it.
        checkpoint_steps: Steps after which a checkpoint is written, at the latest,
        checkpoint_minutes: and minutes.
        keep: Checkpoints that stay.

    Returns:
        One entry an epoch: `epoch` from 1, `step`, the mean training `loss`, the number of `samples` learned from and
        of those that were `unreadable`, and the figures of `recipe.validate`.

    Raises:
        FloatingPointError: the loss is no longer finite; the message names step and samples.
        ValueError: fewer samples than a batch, patience without a figure to watch, or the folder holds a run with other
            settings.
        KeyboardInterrupt: the run was interrupted, and a checkpoint saved.
    """
    return _Run(recipe, settings, Path(folder), workers, checkpoint_steps, checkpoint_minutes, keep).to_the_end()


class _Run:
    """One call of `train`, in one of its processes."""

    def __init__(
        self,
        recipe: Recipe,
        settings: Settings,
        folder: Path,
        workers: int,
        checkpoint_steps: int,
        checkpoint_minutes: float,
        keep: int,
    ):
        if settings.patience is not None and recipe.monitor is None:
            raise ValueError(f"patience = {settings.patience}, but the recipe has no figure to watch.")
        self.recipe, self.settings, self.folder, self.workers, self.keep = recipe, settings, folder, workers, keep
        self.checkpoint_steps, self.checkpoint_seconds = checkpoint_steps, 60 * checkpoint_minutes
        self.accelerator = Accelerator(
            mixed_precision=settings.mixed_precision,
            # Without being told, Accelerate takes several processes on CPUs for as many runs of one.
            cpu=not torch.accelerator.is_available(),
            log_with="tensorboard" if is_tensorboard_available() else None,
            project_dir=folder,
        )
        if self.accelerator.device.type == "cpu":
            # There the fused attention's backward pass is slow for so few tokens.
            recipe.model.set_attn_implementation("eager")
        processes = self.accelerator.num_processes
        self.epoch_steps = epoch_batches(recipe, settings, processes) // settings.accumulation
        self.total = self.epoch_steps * settings.epochs
        # Sharding gives the model another class.
        self.model_class = type(recipe.model)
        groups = recipe.model.parameter_groups(settings.learning_rate, settings.layer_decay, settings.weight_decay)
        self.rates = [group["lr"] for group in groups]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, settings.beta2), fused=True)
        self.model, self.optimizer = self.accelerator.prepare(recipe.model, optimizer)
        self.fixed = {**asdict(settings), "processes": processes}
        self.memory = None
        if recipe.joint and recipe.joint.memory:
            self.memory = ScoreMemory(recipe.joint.loss, recipe.joint.memory)
            self.fixed["memory"] = recipe.joint.memory
        self.progress = restore_checkpoint(folder, self.model, self.optimizer.optimizer, self.fixed)
        if self.memory:
            self.memory.columns = self.progress.remembered
        self.saved = time.monotonic()

    def to_the_end(self) -> list[dict[str, float]]:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.accelerator.init_trackers("logs")
        bar = tqdm(
            total=self.total,
            initial=self.progress.step,
            unit="step",
            disable=not self.accelerator.is_main_process or not sys.stderr.isatty(),
        )
        with Interruption() as interruption, bar:
            while self.progress.step < self.total and not self._out_of_patience():
                self._epoch(interruption, bar)
        model = self._plain_model()
        if self.recipe.monitor:
            model.load_state_dict(load_best(self.folder, self._best_epoch()))
        model = self.recipe.finish(model)
        if self.accelerator.is_main_process:
            model.save_pretrained(self.folder / _MODEL)
            self.recipe.processor.save_pretrained(self.folder / _MODEL)
        self.accelerator.wait_for_everyone()
        # Not `end_training`, which would also take away the processes' way to talk: another run may follow.
        for tracker in self.accelerator.trackers:
            tracker.finish()
        return self.progress.history

    def _epoch(self, interruption: Interruption, bar: tqdm) -> None:
        """The epoch, or what is left of it."""
        progress, begun, before = self.progress, time.monotonic(), self.progress.samples
        self.model.train()
        for batches in self._steps():
            loss = self._step(batches)
            finished = progress.step % self.epoch_steps == 0
            bar.update()
            bar.set_postfix(epoch=math.ceil(progress.step / self.epoch_steps), loss=f"{loss:.3f}")
            if finished:
                self._finish_epoch((progress.samples - before) / (time.monotonic() - begun))
            due = self.accelerator.is_main_process and time.monotonic() - self.saved > self.checkpoint_seconds
            # All processes must stop, or save, after the same step; those that went on would wait for ever.
            stop, save = self._sum(interruption.requested, due)
            if stop or save or finished or progress.step % self.checkpoint_steps == 0:
                self._save()
            if stop:
                raise KeyboardInterrupt

    def _steps(self) -> Iterator[list[Batch]]:
        """The batches of each step that is left of the epoch."""
        accumulation = self.settings.accumulation
        epoch, done = divmod(self.progress.step, self.epoch_steps)
        batches = load_batches(
            self.recipe,
            self.settings,
            epoch,
            self.accelerator.process_index,
            self.accelerator.num_processes,
            done * accumulation,
            self.epoch_steps * accumulation,
            self.workers,
            pin=self.accelerator.device.type == "cuda",
        )
        while step := list(islice(batches, accumulation)):
            yield step

    def _step(self, batches: list[Batch]) -> float:
        accelerator, progress = self.accelerator, self.progress
        factor = learning_rate(progress.step, self.total, self.settings)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        [samples] = self._sum(sum(len(batch["name"]) for batch in batches))
        with step_randomness(self.settings.seed, progress.step, accelerator.process_index) as generator:
            if self.recipe.joint is None:
                own_loss = self._add_gradients(batches, samples, generator)
            else:
                own_loss = self._add_joint_gradients(batches, self.recipe.joint)
        accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        mean, unreadable = self._sum(own_loss, self._note_unreadable(batches))
        progress.step += 1
        progress.loss_sum += mean
        progress.samples += round(samples)
        progress.unreadable += round(unreadable)
        accelerator.log({"loss": mean, "learning rate": self.settings.learning_rate * factor}, step=progress.step)
        return mean

    def _add_gradients(self, batches: list[Batch], samples: float, generator: torch.Generator) -> float:
        """This process's part of the mean loss of all samples of the step."""
        assert self.recipe.loss is not None
        own_loss = 0.0
        for position, batch in enumerate(batches):
            # Every sample counts alike, in whichever batch and process; processes average their gradients.
            share = len(batch["name"]) / samples
            with self._gradients_exchanged(position == len(batches) - 1):
                with self.accelerator.autocast():
                    loss = self.recipe.loss(self.model, send_to_device(batch, self.accelerator.device), generator)
                self._check(loss.item(), batch["name"])
                own_loss += loss.item() * share
                self.accelerator.backward(loss * share * self.accelerator.num_processes)
        return own_loss

    def _add_joint_gradients(self, batches: list[Batch], joint: JointLoss) -> float:
        """This process's part of the loss, which is one of all samples of the step."""

        def score(batch: Mapping[str, Any]) -> torch.Tensor:
            scores = joint.score(self.model, batch)
            broken = (~scores.isfinite()).tolist()
            if any(broken):
                self._check(math.nan, compress(batch["name"], broken))
            return scores

        batches = [send_to_device(batch, self.accelerator.device) for batch in batches]
        of_scores = self.memory or joint.loss
        loss = cached_gradients(self.accelerator, self.model, batches, score, of_scores, joint.labels).item()
        self._check(loss, [name for batch in batches for name in batch["name"]])
        return loss / self.accelerator.num_processes

    def _gradients_exchanged(self, last: bool) -> AbstractContextManager:
        """Processes exchange gradients once a step, after its last batch."""
        return nullcontext() if last else self.accelerator.no_sync(self.model)

    def _check(self, loss: float, names: Iterable[str]) -> None:
        if not math.isfinite(loss):
            epoch, step = divmod(self.progress.step, self.epoch_steps)
            raise FloatingPointError(
                f"The loss is {loss} at step {step} of epoch {epoch + 1}, on the samples {', '.join(names)}. "
                "Look at these, or lower the learning rate."
            )

    def _note_unreadable(self, batches: list[Batch]) -> int:
        names = [name for batch in batches for name in batch.get("unreadable", ())]
        if names:
            with (self.folder / f"unreadable-{self.accelerator.process_index}.txt").open("a") as file:
                file.writelines(f"{name}\n" for name in names)
        return len(names)

    def _sum(self, *values: float) -> list[float]:
        """Each value summed over all processes."""
        if self.accelerator.num_processes == 1:
            return list(values)
        # Doubles are exact for counts, but not every device has them.
        dtype = torch.float32 if self.accelerator.device.type == "mps" else torch.float64
        return self.accelerator.reduce(torch.tensor(values, device=self.accelerator.device, dtype=dtype)).tolist()

    def _finish_epoch(self, samples_per_second: float) -> None:
        progress, epoch = self.progress, self.progress.step // self.epoch_steps
        model, entry = self._plain_model(), {}
        if self.accelerator.is_main_process:
            model.eval()
            with torch.inference_mode(), self.accelerator.autocast():
                figures = self.recipe.validate(model)
                if picture := self.recipe.draw(model):
                    (self.folder / _PICTURES).mkdir(exist_ok=True)
                    picture.save(self.folder / _PICTURES / f"epoch-{epoch:04}.png")
            entry = {"epoch": epoch, "step": progress.step, "loss": progress.loss_sum / self.epoch_steps}
            entry |= {"samples": progress.samples, "unreadable": progress.unreadable, **figures}
            speed = {"samples_per_second": samples_per_second}
            self.accelerator.log({**figures, **speed}, step=progress.step)
            line = "  ".join(f"{name} {value:.6g}" for name, value in (entry | speed).items())
            tqdm.write(f"{time.strftime('%H:%M:%S')}  {line}", file=sys.stderr)
        # All processes know the history, and so all agree on when to stop.
        progress.history += broadcast_object_list([entry])
        progress.loss_sum, progress.samples, progress.unreadable = 0.0, 0, 0
        if self.accelerator.is_main_process and self.recipe.monitor and self._best_epoch() == epoch:
            save_best(self.folder, epoch, model.state_dict())
        self.model.train()
        self.accelerator.wait_for_everyone()

    def _best_epoch(self) -> int:
        """The first with the lowest figure."""
        monitor = str(self.recipe.monitor)
        return round(min(self.progress.history, key=lambda entry: entry[monitor])["epoch"])

    def _out_of_patience(self) -> bool:
        patience, history = self.settings.patience, self.progress.history
        return patience is not None and bool(history) and len(history) - self._best_epoch() >= patience

    def _plain_model(self) -> FahrFacePreTrainedModel:
        """The model outside of what `prepare` made of it; of a sharded one a copy, whole on the main process only."""
        if not self.accelerator.is_fsdp2:
            return self.recipe.model
        weights = get_model_state_dict(self.model, options=FULL)
        plain = self.model_class(self.recipe.model.config)
        if self.accelerator.is_main_process:
            plain.load_state_dict(weights)
        return plain.to(self.accelerator.device)

    def _save(self) -> None:
        if self.memory:
            self.progress.remembered = self.memory.columns
        save_checkpoint(
            self.folder,
            self.model,
            self.optimizer.optimizer,
            self.progress,
            self.fixed,
            self.accelerator.is_main_process,
            self.keep,
        )
        if self.accelerator.is_main_process and self.recipe.monitor and self.progress.history:
            drop_worse(self.folder, self._best_epoch())
        self.accelerator.wait_for_everyone()
        self.saved = time.monotonic()
