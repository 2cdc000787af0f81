"""What a run's folder says of the run: all that is needed to repeat it, what it cost, and how it went.

`run.json` holds what the run is (`run`), which may not change while it goes on, a hash of the weights that it began
with, and the `sessions` it took: each with its command line, versions, start, end and seconds. `curves.png` shows
losses and figures by epoch, and `ages.png` the ages of the photos beside those that are drawn. No photo and no person
is named in any of them.
"""

import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fahr_hf.data.crops import Crops, write_whole
from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
from fahr_hf.models.modeling_fahr_face import FahrFacePreTrainedModel
from fahr_hf.reports.sources import sources

_RECORD = "run.json"
_PACKAGES = ("torch", "transformers", "accelerate", "numpy", "cv2")


@contextmanager
def recorded(folder: Path, run: Mapping[str, Any], model: torch.nn.Module) -> Iterator[None]:
    """Write `run.json` before and after what is done within the block.

    Args:
        folder: Of the run.
        run: What the run is: values that JSON can hold.
        model: With the weights to begin with. Their hash is kept, but a run may go on where another machine rounds a
            new head otherwise.

    Raises:
        ValueError: the folder holds a run of something else; the message names what differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _RECORD
    # As JSON gives it back, with which it is compared.
    run = json.loads(json.dumps(run))
    record: dict[str, Any] = {"run": run, "weights_at_first": _hash_weights(model), "sessions": []}
    if path.exists():
        record = json.loads(path.read_text())
    if changed := list(_differences(record["run"], run)):
        raise ValueError(f"{folder} holds another run ({'; '.join(changed)}). Take a new folder.")
    for session in record["sessions"]:
        if "ended" not in session:
            _end(session, _last_checkpoint(folder))
    session = _session()
    record["sessions"].append(session)
    _write(path, record)
    try:
        yield
    finally:
        _end(session, time.time())
        _write(path, record)


def describe_model(model: FahrFacePreTrainedModel) -> dict[str, Any]:
    """Name of the checkpoint that a model came from, empty where it is new, and its configuration."""
    config = {name: getattr(model.config, name) for name in FahrFaceConfig.__annotations__ if name != "calibration"}
    return {"start": Path(model.config.name_or_path or "").name, "config": config}


def fingerprint(crops: Crops, columns: Sequence[str] = ("age",)) -> dict[str, Any]:
    """Number of photos, and the SHA-256 of their names and labels in their order: data are the same if this is.

    Args:
        crops: With the columns `source`, `photo_id` and `columns`.
        columns: Labels that are numbers, such as ages.
    """
    digest = hashlib.sha256()
    names = zip(crops.column("source"), crops.column("photo_id"), strict=True)
    labels = zip(*(crops.column(name) for name in columns), strict=True)
    for name, values in zip(names, labels, strict=True):
        digest.update("\t".join([*name, *(repr(float(value)) for value in values)]).encode() + b"\n")
    return {"photos": len(crops), "sha256": digest.hexdigest()}


def draw_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """The training loss, and the figures on validation crops, by epoch; the best value of each figure is marked.

    Args:
        history: What `train` returns, at least one epoch.
        path: A PNG file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [entry["epoch"] for entry in history]
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, figures = figure.subplots(1, 2)
    losses.plot(epochs, [entry["loss"] for entry in history], color="black")
    losses.set(xlabel="epoch", ylabel="training loss")
    for name in (name for name in history[-1] if name.startswith("mae")):
        values = [entry[name] for entry in history]
        best = int(np.argmin(values))
        style = {"color": "black", "linewidth": 2} if name == "mae" else {"linewidth": 1}
        figures.plot(epochs, values, "-o", markevery=[best], label=f"{name}, best {values[best]:.2f}", **style)
    figures.set(xlabel="epoch", ylabel="mean absolute error on validation crops, years")
    if figures.lines:
        figures.legend()
    for axes in (losses, figures):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    write_whole(path, lambda partial: figure.savefig(partial, format="png"))


def draw_ages(ages: np.ndarray, drawn: np.ndarray, path: Path) -> None:
    """Ages of the photos, and how often an epoch was expected to show each age.

    Args:
        ages: Of the photos, (n,), years.
        drawn: Times that an epoch is expected to show each photo, (n,).
        path: A PNG file.
    """
    from matplotlib.figure import Figure

    years = [float(year) for year in range(int(ages.max()) + 2)]
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.hist(ages, years, color="lightgrey", label="photos")
    axes.hist(ages, years, weights=drawn, histtype="step", color="black", label="shown in an epoch")
    axes.set(xlabel="age, years", ylabel="photos for each year of age")
    axes.legend()
    write_whole(path, lambda partial: figure.savefig(partial, format="png"))


def _hash_weights(model: torch.nn.Module) -> str:
    """SHA-256 of a model's weights, by name and bit by bit."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _session() -> dict[str, Any]:
    return {
        "started": _at(time.time()),
        "command": sys.argv,
        "code": sources()["code"],
        "python": platform.python_version(),
        "packages": {name: import_module(name).__version__ for name in _PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}, {_device()}",
    }


def _device() -> str:
    if not torch.accelerator.is_available():
        return f"CPU, {torch.get_num_threads()} threads"
    return torch.cuda.get_device_name() if torch.cuda.is_available() else str(torch.accelerator.current_accelerator())


def _end(session: dict[str, Any], moment: float) -> None:
    started = datetime.fromisoformat(session["started"]).timestamp()
    session["seconds"] = round(max(0.0, moment - started), 1)
    session["ended"] = _at(started + session["seconds"])


def _last_checkpoint(folder: Path) -> float:
    """When the last was written, since the epoch: as far as a session counts that was killed."""
    return max((path.stat().st_mtime for path in folder.glob("checkpoint-*/*")), default=0.0)


def _write(path: Path, record: dict[str, Any]) -> None:
    record["seconds"] = sum(session.get("seconds", 0.0) for session in record["sessions"])
    write_whole(path, lambda partial: partial.write_text(json.dumps(record, indent=1) + "\n"))


def _at(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _differences(begun: Any, wanted: Any, where: str = "") -> Iterator[str]:
    if isinstance(begun, dict) and isinstance(wanted, dict):
        for name in {**begun, **wanted}:
            yield from _differences(begun.get(name), wanted.get(name), f"{where}.{name}" if where else name)
    elif begun != wanted:
        yield f"{where}: {begun}, now {wanted}"
