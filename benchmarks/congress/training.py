"""Training a survival model on the part train, against the shortcut through the age of the photograph."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import pandas as pd

from fahr_hf import FahrFaceForSurvival, FahrFaceImageProcessor
from fahr_hf.data.crops import load_crops
from fahr_hf.data.outcomes import join_outcomes
from fahr_hf.embedded import locate
from fahr_hf.training.augmentation import STRONG
from fahr_hf.training.recipe import Settings
from fahr_hf.training.survival_runs import SurvivalRuns, train_survival

AGAINST_ERA = replace(STRONG, grey=0.5, blur=0.4, jpeg=0.5)
"""Half of all views have no colour, and many are as coarse as old scans: what tells the era is often missing."""

STARTS = {"backbone": "fahr-face-tiny", "age": "fahr-faceage-tiny"}


def train(
    crops: Path,
    outcomes: pd.DataFrame,
    folder: Path,
    settings: Settings,
    seeds: int,
    loss: Literal["ranking", "cox"] = "ranking",
    with_offset: bool = True,
    workers: int = 0,
) -> SurvivalRuns:
    """Train from both starts with several seeds.

    Args:
        crops: The crop cache of congress.
        outcomes: `subject_id`, `duration`, `event`, `entry`, `offset`, as `run.py cohort` writes them.
        folder: Receives the runs, and the best model.
        settings: How long and how fast.
        seeds: How many of them, from 0.
        loss: Of the model.
        with_offset: Whether the face learns only what baseline and era do not say.
        workers: Processes that load photos.

    Returns:
        What `train_survival` does.
    """
    columns = ["subject_id", "duration", "event", "entry", *(["offset"] if with_offset else [])]
    fit, validation = (join_outcomes(load_crops(crops, [part]), outcomes[columns]) for part in ("train", "validation"))
    starts: dict[str, Callable[[], FahrFaceForSurvival]] = {
        name: partial(FahrFaceForSurvival.from_pretrained, locate(checkpoint), survival_loss=loss, drop_path_rate=0.1)
        for name, checkpoint in STARTS.items()
    }
    return train_survival(
        starts,
        FahrFaceImageProcessor(),
        fit,
        validation,
        folder,
        settings,
        seeds=range(seeds),
        workers=workers,
        augmentation=AGAINST_ERA,
    )
