"""How well risk scores order the deaths of held-out people: concordance, hazard ratio, and curves of risk groups."""

from typing import Any

import numpy as np
import pandas as pd

from fahr_hf.clinical.concordance import concordance
from fahr_hf.clinical.cox import Z95, cox_regression
from fahr_hf.clinical.kaplan_meier import kaplan_meier
from fahr_hf.clinical.log_rank import log_rank_test
from fahr_hf.clinical.report.km_figure import draw_curves
from fahr_hf.clinical.risk_groups import risk_groups
from fahr_hf.reports.document import Picture, Report, Section, Table

# Deaths from which on quartiles are drawn, and halves below.
_DEATHS_FOR_QUARTILES = 40
_CONCORDANCE, _HAZARD_RATIO = "concordance", "hazard ratio of one standard deviation"


def risk_report(people: pd.DataFrame, name: str, clock: str, runs: pd.DataFrame, calibration: str) -> Report:
    """A report on people whom the weights did not learn from.

    Args:
        people: One row a person: `risk` (higher means earlier death), `duration`, `event` and `entry` in years, of
            whom at least two can be compared.
        name: Who they are, for the heading.
        clock: What years count from.
        runs: What each run came to, see `survival_runs.SurvivalRuns`.
        calibration: What became of it, in a sentence.

    Returns:
        Its numbers are `people`, `deaths`, `overall` (each figure's `value`, `low`, `high`; the hazard ratio only where
        it can be estimated), `log_rank_p` (None where groups cannot be compared), `runs` and `calibration`.
    """
    deaths = int(people["event"].sum())
    overall = _overall(people)
    groups, p = _groups(people, clock)
    ordered = Section(
        "Order of deaths",
        "Concordance is the share of pairs of people, of whom one is known to have died first, in which that one has "
        "the higher score; 0.5 is chance. The score is that of the face alone, without any offset. Intervals are 95 %. "
        "These people chose the epoch, the start and the seed, which flatters the figures a little.",
        [Table("overall", f"{len(people)} people, {deaths} deaths", overall)],
    )
    seeds = Section(
        "Runs",
        "Concordance of the same people in the best epoch of every run. How far seeds differ says how much is luck.",
        [Table("runs", "Starts and seeds", runs)],
    )
    return Report(
        title=f"Risk from faces: {name}",
        introduction="Scores are research estimates: they describe groups, and say nothing reliable about one person.",
        sections=[ordered, groups, seeds, Section("Calibration", calibration)],
        numbers={
            "people": len(people),
            "deaths": deaths,
            "overall": overall.set_index("figure").to_dict("index"),
            "log_rank_p": p,
            "calibration": calibration,
        },
    )


def _overall(people: pd.DataFrame) -> pd.DataFrame:
    c, se = concordance(people["event"], people["duration"], people["risk"], people["entry"])
    rows: list[dict[str, Any]] = [
        {"figure": _CONCORDANCE, "value": c, "low": max(0.0, c - Z95 * se), "high": min(1.0, c + Z95 * se)}
    ]
    scaled = people.assign(risk=(people["risk"] - people["risk"].mean()) / people["risk"].std())
    try:
        fit = cox_regression(scaled, "duration", "event", ["risk"], entry="entry").summary.loc["risk"]
    except ValueError:
        # Scores that are all the same, or separate the dead from the living, have no hazard ratio.
        return pd.DataFrame(rows)
    rows.append({"figure": _HAZARD_RATIO, "value": fit["hr"], "low": fit["hr_low"], "high": fit["hr_high"]})
    return pd.DataFrame(rows)


def _groups(people: pd.DataFrame, clock: str) -> tuple[Section, float | None]:
    """Kaplan-Meier curves, and p of the log-rank test."""
    n = 4 if people["event"].sum() >= _DEATHS_FOR_QUARTILES else 2
    section = Section(
        "Groups of risk",
        f"{'Quarters' if n == 4 else 'Halves'} of the people by their score; 1 is the lowest risk. The time is the "
        f"{clock}.",
    )
    try:
        group, _ = risk_groups(people["risk"], n)
        p = log_rank_test(people["duration"], people["event"], group, entry=people["entry"]).p
        curves = {f"group {k}": _curve(people[group == k]) for k in range(1, n + 1)}
    except ValueError as problem:
        section.problem = str(problem)
        return section, None
    figure = draw_curves(curves, "years", f"log-rank p = {p:.2g}")
    section.parts.append(Picture("groups", "Survival by group of risk", figure, "Bands are 95 % intervals."))
    return section, float(p)


def _curve(people: pd.DataFrame) -> Any:
    entry = people["entry"] if np.any(people["entry"] > 0) else None
    return kaplan_meier(people["duration"], people["event"], entry)
