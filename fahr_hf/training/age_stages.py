"""Age training in stages: first on everything, age-balanced; then on curated photos, at a lower rate.

The paper trains its age model in two such stages, without publishing their data, lengths or rates; those here are ours.
A stage may also train the head alone, or low-rank adapters beside frozen weights, as fine-tuning on few photos does.

    FOLDER/<stage>   a run of the training loop, with `run.json`, `curves.png` and `ages.png`
    FOLDER/model     the model of the last stage
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from fahr_hf.data.crops import Crops
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFaceForAgeEstimation
from fahr_hf.training.age import age_recipe
from fahr_hf.training.augmentation import MILD, Augmentation
from fahr_hf.training.balance import expected_draws, whole_years
from fahr_hf.training.loop import train
from fahr_hf.training.recipe import Settings
from fahr_hf.training.run_record import describe_model, draw_ages, draw_curves, fingerprint, recorded

_MODEL = "model"
# Of the first stage's rate: what the second has to correct is little.
_CURATED_RATE = 0.2


@dataclass(frozen=True)
class Stage:
    """One run of the age recipe.

    Args:
        name: Of its folder; not `model`.
        settings: How long and how fast.
        crops: To learn from, of the part `train`; None for those of `train_age`.
        balance: How evenly ages are drawn; see `age_recipe`.
        cap: Most often that a photo is expected in an epoch; see there.
        augmentation: How far the views of a photo differ.
        only_head: Train the head alone.
        lora_rank: Train the head and adapters of this rank, which are merged in the end; None: the weights themselves.
    """

    name: str
    settings: Settings
    crops: Crops | None = None
    balance: float = 0.5
    cap: float = 4.0
    augmentation: Augmentation = MILD
    only_head: bool = False
    lora_rank: int | None = None


def two_stages(
    settings: Settings,
    balance: float,
    cap: float,
    augmentation: Augmentation = MILD,
    curated: Crops | None = None,
    curated_epochs: int = 10,
) -> list[Stage]:
    """A stage on everything, and where there are curated crops one on these, at a fifth of the learning rate.

    Args:
        settings: Of the first stage; the second differs in epochs and learning rate.
        balance: Of both stages; see `age_recipe`.
        cap: Of both stages; see there.
        augmentation: Of both stages.
        curated: Crops whose ages can be trusted, of the part `train`.
        curated_epochs: Of the second stage.
    """
    everything = Stage("everything", settings, None, balance, cap, augmentation)
    if curated is None:
        return [everything]
    lower = replace(settings, epochs=curated_epochs, learning_rate=_CURATED_RATE * settings.learning_rate)
    return [everything, Stage("curated", lower, curated, balance, cap, augmentation)]


def train_age(
    model: FahrFaceForAgeEstimation,
    processor: FahrFaceImageProcessor,
    fit: Crops,
    validation: Mapping[str, Crops],
    folder: str | Path,
    stages: Sequence[Stage],
    workers: int = 0,
) -> FahrFaceForAgeEstimation:
    """Run stages one after the other, each from the best model of the one before.

    A finished stage is not repeated, and one that was interrupted goes on where it was. Several processes share a
    stage as they share a run.

    Args:
        model: To begin with.
        processor: Of its crops.
        fit: Crops to learn from, of the part `train`.
        validation: Named crops of the part `validation`, which choose the best epoch of each stage; see `age_recipe`.
        folder: Receives a folder for each stage, and `model`.
        stages: At least one, with different names.
        workers: Processes that load, beside the one that trains.

    Returns:
        The model of the last stage, in evaluation mode.

    Raises:
        ValueError: as `age_recipe` and `train`, or `folder` holds a run of other stages, settings or photos.
    """
    folder = Path(folder)
    # Without being told, Accelerate takes several processes on CPUs for as many runs of one.
    state = PartialState(cpu=not torch.accelerator.is_available())
    for stage in stages:
        model = _run(stage, model, processor, fit if stage.crops is None else stage.crops, validation, folder, workers)
    if state.is_main_process:
        partial = folder / f".{_MODEL}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(folder / stages[-1].name / _MODEL, partial)
        shutil.rmtree(folder / _MODEL, ignore_errors=True)
        partial.rename(folder / _MODEL)
    state.wait_for_everyone()
    return model


def _run(
    stage: Stage,
    model: FahrFaceForAgeEstimation,
    processor: FahrFaceImageProcessor,
    fit: Crops,
    validation: Mapping[str, Crops],
    folder: Path,
    workers: int,
) -> FahrFaceForAgeEstimation:
    folder = folder / stage.name
    recipe = age_recipe(
        model,
        processor,
        fit,
        validation,
        stage.settings.seed,
        balance=stage.balance,
        cap=stage.cap,
        augmentation=stage.augmentation,
    )
    if stage.only_head:
        model.freeze_backbone()
    if stage.lora_rank:
        from fahr_hf.training.lora import add_lora, merge_lora

        add_lora(model, stage.lora_rank)
        recipe = replace(recipe, finish=merge_lora)
    is_main = PartialState().is_main_process
    with recorded(folder, _description(stage, model, fit, validation), model) if is_main else nullcontext():
        history = train(recipe, stage.settings, folder, workers)
    if is_main:
        draw_curves(history, folder / "curves.png")
        ages = fit.column("age").astype(np.float64)
        draw_ages(ages, expected_draws(whole_years(ages), stage.balance, stage.cap), folder / "ages.png")
    # As it was saved, in every process: the loop may have sharded the model.
    return type(model).from_pretrained(folder / _MODEL)


def _description(
    stage: Stage, model: FahrFaceForAgeEstimation, fit: Crops, validation: Mapping[str, Crops]
) -> dict[str, Any]:
    """What makes a run what it is."""
    options = {name: getattr(stage, name) for name in ("name", "balance", "cap", "only_head", "lora_rank")}
    return {
        "stage": {**options, "settings": asdict(stage.settings), "augmentation": asdict(stage.augmentation)},
        "model": describe_model(model),
        "data": {
            "train": fingerprint(fit),
            "validation": {name: fingerprint(crops) for name, crops in validation.items()},
        },
        "processes": PartialState().num_processes,
    }
