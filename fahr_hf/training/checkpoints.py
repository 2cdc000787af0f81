"""Checkpoints of a run: whole or absent, limited in number, and the same whether a model is sharded or not.

A checkpoint appears under its name only when it is whole, so a run that was killed finds the last whole one. It holds
the full weights and the full optimizer state, gathered on the first process; a run may not change its settings.
Beside the checkpoints lie the weights of the best epoch, if the run chooses one.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

_STATE = "state.pt"
_HISTORY = "history.json"
FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
"""Whole tensors in the memory of the first process."""


@dataclass
class Progress:
    """Where a run stands.

    Args:
        step: Optimizer steps done.
        history: One entry a finished epoch.
        loss_sum: Sum of the losses of this epoch's steps.
        samples: Samples of this epoch that were learned from, in all processes.
        unreadable: Samples of this epoch that could not be read, in all processes.
        remembered: What a `ScoreMemory` holds, if the run has one.
    """

    step: int
    history: list[dict[str, float]]
    loss_sum: float = 0.0
    samples: int = 0
    unreadable: int = 0
    remembered: list[torch.Tensor] = field(default_factory=list)


def save_checkpoint(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    settings: dict[str, Any],
    main_process: bool,
    keep: int,
) -> None:
    """Write a checkpoint; every process calls it, the main one writes.

    Args:
        folder: Of the run.
        model: As prepared for training: bare, DistributedDataParallel, or sharded.
        optimizer: Of its parameters.
        progress: Where the run stands.
        settings: All that must be the same when the run goes on.
        main_process: Whether this process writes.
        keep: Checkpoints that stay.
    """
    weights, moments = get_state_dict(model, optimizer, options=FULL)
    if not main_process:
        return
    state = {"model": weights, "optimizer": moments, "progress": asdict(progress), "settings": settings}
    name = f"checkpoint-{progress.step:09}"
    partial = folder / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _write(state, partial / _STATE)
    shutil.rmtree(folder / name, ignore_errors=True)
    partial.rename(folder / name)
    for old in _checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    (folder / _HISTORY).write_text(json.dumps(progress.history, indent=1) + "\n")


def restore_checkpoint(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, settings: dict[str, Any]
) -> Progress:
    """Load the last whole checkpoint into model and optimizer; every process calls it.

    Returns:
        Where the run stood; step 0 where there is no checkpoint.

    Raises:
        ValueError: the run was begun with other settings; the message names them.
    """
    found = _checkpoints(folder)
    if not found:
        return Progress(step=0, history=[])
    state = torch.load(found[-1] / _STATE, map_location="cpu", weights_only=True)
    begun = state["settings"]
    changed = [
        f"{name}: {begun.get(name)}, now {settings.get(name)}"
        for name in {**begun, **settings}
        if begun.get(name) != settings.get(name)
    ]
    if changed:
        raise ValueError(f"{folder} holds a run with other settings ({'; '.join(changed)}). Take a new folder.")
    set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"], options=FULL)
    return Progress(**state["progress"])


def save_best(folder: Path, epoch: int, weights: dict[str, Any]) -> None:
    """Keep the weights of the best epoch so far. Those of an earlier one stay until a checkpoint knows of this one."""
    partial = folder / f".best-{epoch:04}.partial"
    _write(weights, partial)
    partial.replace(_best(folder, epoch))


def load_best(folder: Path, epoch: int) -> dict[str, Any]:
    """What `save_best` kept."""
    return torch.load(_best(folder, epoch), map_location="cpu", weights_only=True)


def drop_worse(folder: Path, epoch: int) -> None:
    """Delete what `save_best` kept of other epochs than this one."""
    for path in set(folder.glob("best-*.pt")) - {_best(folder, epoch)}:
        path.unlink()


def _write(state: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def _best(folder: Path, epoch: int) -> Path:
    return folder / f"best-{epoch:04}.pt"


def _checkpoints(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("checkpoint-*"))
