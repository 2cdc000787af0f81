"""Survival training from one's own people: their crops by part, and what stands beside the model in the end.

The part `train` teaches, `validation` chooses, and `calibration`, which does neither, says what a score means. Parts
that are tests are not even read.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fahr_hf.calibration_tables import save_tables
from fahr_hf.data.crops import Crops, join, load_crops
from fahr_hf.data.outcomes import Clock, add_outcomes, join_outcomes, one_outcome_each
from fahr_hf.evaluation.risk_report import risk_report
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFaceForSurvival
from fahr_hf.reports.writing import write_report
from fahr_hf.risk_calibration import fit_risk_table
from fahr_hf.training.survival import predict_risks

_PARTS = ("train", "validation", "calibration")


def load_survival_crops(
    folders: Sequence[str | Path],
    outcomes: pd.DataFrame | None = None,
    columns: Mapping[str, str] | None = None,
    horizon: float | None = None,
    clock: Clock = "time since photo",
) -> dict[str, Crops]:
    """Crops of all folders with the outcomes of their people, by part.

    Of a person whose photos are of several years, those with the outcome of the first are taken (`one_outcome_each`).

    Args:
        folders: Caches of crops.
        outcomes: By `subject_id`, as `outcomes_of` gives them; None where the crops have outcomes in columns of their
            own, which `columns`, `horizon` and `clock` are for.
        columns: As in `outcomes_of`.
        horizon: See there.
        clock: See there.

    Returns:
        `train`, `validation`, and `calibration` where there is anybody in it.

    Raises:
        FileNotFoundError: no crops there.
        ValueError: as `add_outcomes` or `join_outcomes`, a person in two parts, or nobody to learn from or choose by.
    """
    caches = [load_crops(folder, _PARTS) for folder in folders]
    shared = [name for name in caches[0].table.column_names if all(name in c.table.column_names for c in caches)]
    crops = join(caches, shared)
    crops = add_outcomes(crops, columns, horizon, clock) if outcomes is None else join_outcomes(crops, outcomes)
    crops = one_outcome_each(crops)
    part = crops.column("part")
    parts_of = pd.Series(part).groupby(crops.column("subject_id")).nunique()
    if (parts_of > 1).any():
        raise ValueError(
            f"{(parts_of > 1).sum()} people are in several parts: {', '.join(parts_of.index[parts_of > 1][:10])}. A "
            "person belongs to one, or what was learned by heart is taken for skill."
        )
    for needed in ("train", "validation"):
        if not (part == needed).any():
            counts = ", ".join(f"{name}: {(part == name).sum()}" for name in _PARTS)
            raise ValueError(f"No crop with an outcome is left for the part {needed!r} (there are {counts}).")
    return {name: crops.select(part == name) for name in _PARTS if (part == name).any()}


def finish_survival_run(
    folder: str | Path, parts: Mapping[str, Crops], cohort: str, clock: Clock = "time since photo"
) -> str:
    """Calibrate the model of a run, and report on the validation people.

    Writes the table of risks into `model/config.json`, where there are people and deaths enough for one, and `report`,
    in place of what an earlier call wrote.

    Args:
        folder: Of the run, as `survival_runs.train_survival` leaves it.
        parts: What `load_survival_crops` gives.
        cohort: Name of the people; every answer of the model will show it.
        clock: What their durations count from.

    Returns:
        What became of the calibration, in a sentence.

    Raises:
        FileNotFoundError: no finished run.
    """
    folder = Path(folder)
    place = folder / "model"
    if not (place / "config.json").is_file():
        raise FileNotFoundError(f"No finished run in {folder}: there is no {place / 'config.json'}.")
    model = FahrFaceForSurvival.from_pretrained(place).eval()
    model.to(torch.accelerator.current_accelerator(check_available=True) or "cpu")
    processor = FahrFaceImageProcessor.from_pretrained(place)
    calibration = _calibrate(place, model, processor, parts.get("calibration"), cohort, clock)
    validation = parts["validation"]
    people = _scored(model, processor, validation).groupby("subject_id").mean()
    name = f"validation people of {', '.join(dict.fromkeys(validation.column('source')))}"
    report = risk_report(
        people, f"{folder.resolve().name} on {name}", clock, pd.read_csv(folder / "runs.csv"), calibration
    )
    write_report(report, folder / "report")
    return calibration


def _calibrate(
    place: Path,
    model: FahrFaceForSurvival,
    processor: FahrFaceImageProcessor,
    crops: Crops | None,
    cohort: str,
    clock: Clock,
) -> str:
    if crops is None:
        return "Not calibrated: nobody is of the part calibration. The pipeline will give no percentile."
    # Of each person one photo: means over photos would spread less than the single photos that answers will be for.
    people = _scored(model, processor, crops).drop_duplicates("subject_id")
    try:
        table = fit_risk_table(
            people["risk"],
            people["duration"],
            people["event"],
            people["entry"],
            cohort=cohort,
            clock=clock,
            entry_year=people.get("entry_year"),
        )
    except ValueError as problem:
        return f"Not calibrated: {problem}"
    save_tables(place, {"survival": table})
    told = f"Calibrated on {table['people']} people of {cohort}, of whom {table['events']} died."
    return f"{told} WARNING: {table['warning']}." if table["warning"] else told


def _scored(model: FahrFaceForSurvival, processor: FahrFaceImageProcessor, crops: Crops) -> pd.DataFrame:
    names = ("subject_id", "duration", "event", "entry", "entry_year")
    known = [name for name in names if name in crops.table.column_names]
    table = pd.DataFrame({name: crops.column(name) for name in known})
    return table.assign(risk=predict_risks(model, processor, crops), event=table["event"].astype(np.float64))
