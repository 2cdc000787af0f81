"""What `fahr-hf calibrate` does with a survival checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

    from fahr_hf.data.outcomes import Clock

# Percentiles whose scores and hazard ratios are shown.
_SHOWN = [0, 10, 25, 50, 75, 90, 100]


def risk_table(
    source: Path,
    crops: Sequence[Path],
    part: str,
    cohort: str,
    outcomes: Path | None,
    columns: Mapping[str, str],
    clock: "Clock",
) -> tuple[dict[str, Any], "pd.DataFrame"]:
    """The table of a survival checkpoint, and the people of the part `validation` with their risks.

    Args:
        source: Folder of the checkpoint.
        crops: Folders of crops.
        part: Of the people that the table is fitted on.
        cohort: Their name.
        outcomes: Table of outcomes by `subject_id`; None where the crops have them themselves.
        columns: As in `fahr_hf.data.outcomes.outcomes_of`.
        clock: As there.

    Raises:
        FileNotFoundError: no such crops or table.
        ValueError: outcomes that cannot be used, crops that the checkpoint cannot read, or people from whom no table
            can be made.
    """
    from fahr_hf.risk_calibration import fit_risk_table

    people, held_out = _score(source, crops, (part, "validation"), outcomes, columns, clock)
    if people.empty:
        raise ValueError(f"No crop of the part {part!r} has an outcome in {', '.join(map(str, crops))}.")
    risk, duration, event, entry = (people[name] for name in ("risk", "duration", "event", "entry"))
    years = people.get("entry_year")
    return fit_risk_table(risk, duration, event, entry, cohort=cohort, clock=clock, entry_year=years), held_out


def show_risks(table: dict[str, Any], held_out: "pd.DataFrame") -> None:
    """Print a table of risks, and how well scores order the people who were held out."""
    import numpy as np
    import pandas as pd

    from fahr_hf.data.outcomes import check_together
    from fahr_hf.risk_calibration import apply_risk_table

    coefficient, error, ratio = table["coefficient"], table["coefficient_se"], table["observed_expected"]
    typer.echo(f"log hazard ratio a unit of score: {coefficient:.3f} (standard error {error:.3f})")
    if table["warning"]:
        typer.echo(f"WARNING: {table['warning']}. The pipeline will give no risk.")
    else:
        scores = np.array(table["quantiles"])[_SHOWN]
        ratios = np.exp(apply_risk_table(table, scores).log_hazard_ratio)
        shown = pd.DataFrame({"percentile": _SHOWN, "score": scores, "hazard ratio to the mean": ratios})
        typer.echo(shown.to_string(index=False, float_format="{:.3f}".format))
        computed = "" if ratio is None else f"{ratio:.2f}, "
        typer.echo(f"observed over expected deaths: {computed}{table['observed_expected_of']}")
        typer.echo(f"calibrated: {_consequence(table)}")
    nothing = "nobody is of the part `validation`" if held_out.empty else check_together(held_out)
    typer.echo(f"concordance: {nothing or _concordance(held_out)}")


def _consequence(table: dict[str, Any]) -> str:
    if not table["calibrated"]:
        return "no, so the pipeline gives percentiles, and no probabilities of survival"
    if table["clock"] == "attained age":
        return "yes; on the clock of attained age the pipeline gives percentiles, and no probabilities of survival"
    return "yes, so the pipeline gives percentiles and probabilities of survival"


def _concordance(people: "pd.DataFrame") -> str:
    from fahr_hf.clinical.concordance import concordance
    from fahr_hf.clinical.cox import Z95

    c, error = concordance(people["event"], people["duration"], people["risk"], people["entry"])
    low, high = max(0.0, c - Z95 * error), min(1.0, c + Z95 * error)
    return (
        f"{c:.3f} ({low:.3f} to {high:.3f}), {len(people)} people of the part `validation`, which the weights may have "
        "been chosen on"
    )


def _score(
    source: Path,
    crops: Sequence[Path],
    parts: Sequence[str],
    outcomes: Path | None,
    columns: Mapping[str, str],
    clock: "Clock",
) -> list["pd.DataFrame"]:
    """People of each part with their outcomes and the risk of one of their photos, the first."""
    import torch
    from transformers.utils import logging

    from fahr_hf.cli.train.options import start_from
    from fahr_hf.data.crops import join, load_crops
    from fahr_hf.data.outcomes import add_outcomes, join_outcomes, one_outcome_each, read_outcomes
    from fahr_hf.models.modeling_fahr_face import FahrFaceForSurvival
    from fahr_hf.training.survival import predict_risks

    logging.disable_progress_bar()
    known = None if outcomes is None else read_outcomes(outcomes, columns, clock=clock)
    model, processor, _ = start_from(str(source), crops, FahrFaceForSurvival, {}, {})
    model.eval().to(torch.accelerator.current_accelerator(check_available=True) or "cpu")
    caches = [load_crops(folder, parts) for folder in crops]
    shared = [name for name in caches[0].table.column_names if all(name in each.table.column_names for each in caches)]
    photos = join(caches, shared)
    photos = add_outcomes(photos, columns, clock=clock) if known is None else join_outcomes(photos, known)
    photos = one_outcome_each(photos)
    people = photos.table.to_pandas().assign(risk=predict_risks(model, processor, photos))
    # The mean over photos would have a narrower spread than the single photos that the pipeline will answer for.
    people = people.drop_duplicates("subject_id")
    return [people[people["part"] == part] for part in parts]
