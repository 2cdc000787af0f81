"""Survival training from several starts, with several seeds each: the validation people choose.

Few deaths make concordance vary by luck, so no single run says which start is better; the mean over seeds does. The
finished model is that of the best start, and of its seeds the best.

    FOLDER/<start>-seed-<k>   a run of the training loop, with `run.json` and `curves.png`
    FOLDER/runs.csv           what each came to
    FOLDER/model              the model of the chosen run
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState

from fahr_hf.data.crops import Crops, write_whole
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFaceForSurvival
from fahr_hf.training.augmentation import STRONG, Augmentation
from fahr_hf.training.loop import train
from fahr_hf.training.people import OUTCOMES
from fahr_hf.training.recipe import Settings
from fahr_hf.training.run_record import describe_model, fingerprint, recorded
from fahr_hf.training.survival import start_head, survival_recipe

_MODEL, _RUNS = "model", "runs.csv"


@dataclass(frozen=True)
class SurvivalRuns:
    """What the runs came to.

    Args:
        table: One row a run: `start`, `seed`, the `best_epoch` of so many `epochs`, and that epoch's figures, as
            `survival_recipe` names them.
        start: The one with the best mean concordance over its seeds.
        seed: Of that start's best run.
    """

    table: pd.DataFrame
    start: str
    seed: int


def train_survival(
    starts: Mapping[str, Callable[[], FahrFaceForSurvival]],
    processor: FahrFaceImageProcessor,
    fit: Crops,
    validation: Crops,
    folder: str | Path,
    settings: Settings,
    seeds: Sequence[int],
    workers: int = 0,
    augmentation: Augmentation = STRONG,
    memory: int = 0,
) -> SurvivalRuns:
    """Train every start with every seed, and keep the model of the chosen run.

    A finished run is not repeated, and one that was interrupted goes on where it was. Several processes share a run.

    Args:
        starts: For each name, at least one, that can be part of a folder's: makes the model to begin with. Where its
            checkpoint was of another kind, or there was none, its head is new, and set to zero (`start_head`).
        processor: Of the crops of all of them.
        fit: Crops with outcomes to learn from, of the part `train`; see `survival_recipe`.
        validation: The same of the part `validation`, which choose epoch, start and seed.
        folder: Receives a folder for each run, `runs.csv` and `model`.
        settings: Of all runs, but for the seed; see `survival_settings`.
        seeds: At least one, all different.
        workers: Processes that load, beside the one that trains.
        augmentation: How far the views of a photo differ.
        memory: People whose past scores each step is compared with as well; see `survival_recipe`.

    Raises:
        ValueError: as `survival_recipe` and `train`, or `folder` holds runs of other settings, starts or people.
    """
    folder = Path(folder)
    # Without being told, Accelerate takes several processes on CPUs for as many runs of one.
    state = PartialState(cpu=not torch.accelerator.is_available())
    rows = []
    for name, start in starts.items():
        for seed in seeds:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = start()
            if type(model).__name__ not in (model.config.architectures or ()):
                start_head(model)
            settings = replace(settings, seed=seed)
            place = _place(folder, name, seed)
            history = _run(model, processor, fit, validation, place, settings, workers, augmentation, memory)
            best = min(history, key=lambda entry: entry["one_minus_concordance"])
            figures = {figure: best[figure] for figure in best if figure.startswith("concordance")}
            epochs = {"best_epoch": int(best["epoch"]), "epochs": len(history)}
            rows.append({"start": name, "seed": seed, **epochs, **figures})
    runs = _chosen(pd.DataFrame(rows))
    if state.is_main_process:
        write_whole(folder / _RUNS, lambda partial: runs.table.to_csv(partial, index=False))
        partial = folder / f".{_MODEL}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(_place(folder, runs.start, runs.seed) / _MODEL, partial)
        shutil.rmtree(folder / _MODEL, ignore_errors=True)
        partial.rename(folder / _MODEL)
    state.wait_for_everyone()
    return runs


def draw_concordance(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """The training loss, and the concordance of the validation people with its 95 % interval, by epoch.

    Args:
        history: What `train` returns, at least one epoch.
        path: A PNG file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [entry["epoch"] for entry in history]
    of = {name: [entry[name] for entry in history] for name in history[0]}
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, figures = figure.subplots(1, 2)
    losses.plot(epochs, of["loss"], color="black")
    losses.set(xlabel="epoch", ylabel="training loss")
    best = int(np.argmin(of["one_minus_concordance"]))
    label = f"C, best {of['concordance'][best]:.3f}"
    figures.fill_between(
        epochs, of["concordance_low"], of["concordance_high"], color="lightgrey", label="95 % interval"
    )
    figures.plot(epochs, of["concordance"], "-o", markevery=[best], color="black", label=label)
    if "concordance_face" in of:
        figures.plot(epochs, of["concordance_face"], label="C of the face alone")
    figures.axhline(0.5, color="black", linewidth=0.5)
    figures.set(xlabel="epoch", ylabel="concordance of the validation people")
    figures.legend()
    for axes in (losses, figures):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    write_whole(path, lambda partial: figure.savefig(partial, format="png"))


def _place(folder: Path, start: str, seed: int) -> Path:
    return folder / f"{start}-seed-{seed}"


def _run(
    model: FahrFaceForSurvival,
    processor: FahrFaceImageProcessor,
    fit: Crops,
    validation: Crops,
    folder: Path,
    settings: Settings,
    workers: int,
    augmentation: Augmentation,
    memory: int,
) -> list[dict[str, float]]:
    recipe = survival_recipe(model, processor, fit, validation, settings.seed, augmentation=augmentation, memory=memory)
    description = _description(model, fit, validation, settings, augmentation, memory)
    is_main = PartialState().is_main_process
    with recorded(folder, description, model) if is_main else nullcontext():
        history = train(recipe, settings, folder, workers)
    if is_main:
        draw_concordance(history, folder / "curves.png")
    return history


def _description(
    model: FahrFaceForSurvival,
    fit: Crops,
    validation: Crops,
    settings: Settings,
    augmentation: Augmentation,
    memory: int,
) -> dict[str, Any]:
    """What makes a run what it is."""
    return {
        "settings": asdict(settings),
        "augmentation": asdict(augmentation),
        "model": describe_model(model),
        "data": {"train": _fingerprint(fit), "validation": _fingerprint(validation)},
        "processes": PartialState().num_processes,
        # Not where there is none: runs are known that were begun before there could be one.
        **({"memory": memory} if memory else {}),
    }


def _fingerprint(crops: Crops) -> dict[str, Any]:
    return fingerprint(crops, [name for name in OUTCOMES if name in crops.table.column_names])


def _chosen(table: pd.DataFrame) -> SurvivalRuns:
    start = str(table.groupby("start", sort=False)["concordance"].mean().idxmax())
    own = table[table["start"] == start]
    return SurvivalRuns(table, start, int(own.loc[own["concordance"].idxmax(), "seed"]))
