"""Figures of risk scores by group: do they order deaths as well, and are as many deaths predicted as there are?

Concordance and calibration are no means over people, so the figures of every permutation are computed anew. For
concordance the dead and the living are permuted apart: each group keeps its number of deaths, on which the spread of
its concordance depends. For calibration they are not, since how many of a group die is what it is about.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from fahr_hf.analysis.fairness.gaps import (
    FEWER_THAN_TWO,
    PERMUTATIONS,
    Gap,
    age_strata,
    comparable,
    excess,
    gap_table,
    largest_gap,
    permutations,
)
from fahr_hf.analysis.fairness.groups import LEAST_EVENTS, too_few
from fahr_hf.clinical.calibration import observed_expected
from fahr_hf.clinical.concordance import concordance
from fahr_hf.clinical.cox import Z95
from fahr_hf.clinical.horizon import observed_risk
from fahr_hf.clinical.outcomes import check_outcomes

FIGURES = {"c": "concordance (C)", "oe": "observed over expected deaths"}
"""The figures, and what they are."""

_ENDS = ("", "_low", "_high")


def survival_groups(
    people: pd.DataFrame, groups: Mapping[str, pd.Series], horizon: float | None = None
) -> pd.DataFrame:
    """Figures of every group.

    Args:
        people: One row a person, nothing missing: `duration`, `event`, `risk` (higher means earlier death), `age` in
            years; `entry` with delayed entry; `probability` of death by the horizon, if there is one.
        groups: What `groups.groupings` returns.
        horizon: In the unit of `duration`; None leaves calibration out.

    Returns:
        One row a group: `label`, `group`, `people`, `events`, `c` with `c_low` and `c_high`, with a horizon `observed`
        and `expected` share of deaths, and `oe`, their ratio, with `oe_low` and `oe_high`; all intervals 95 %.
        `problem` says why figures are absent, else it is empty.
    """
    rows = [
        {"label": label, "group": name, **_of_group(people[(group == name).to_numpy()], horizon)}
        for label, group in groups.items()
        for name in group.cat.categories
    ]
    return pd.DataFrame(rows)


def survival_gaps(
    people: pd.DataFrame, groups: Mapping[str, pd.Series], horizon: float | None = None, draws: int = PERMUTATIONS
) -> pd.DataFrame:
    """The largest gap of each figure between the groups of each label, as `gaps.gap_table` has it.

    A gap is one of what a group has more than its ages lead to, see `gaps.excess`.

    Args:
        people: As for `survival_groups`.
        groups: As for `survival_groups`.
        horizon: As for `survival_groups`.
        draws: How many permutations.
    """
    rows = survival_groups(people, groups, horizon)
    found = []
    for label, group in groups.items():
        for figure in ("c", "oe") if horizon is not None else ("c",):
            known = rows.loc[(rows["label"] == label) & rows[figure].notna(), "group"].tolist()
            found.append((label, FIGURES[figure], _gap(people, group, known, figure, horizon, draws)))
    return gap_table(found)


def _of_group(people: pd.DataFrame, horizon: float | None) -> dict[str, object]:
    events = int(people["event"].sum())
    figures = [f"c{end}" for end in _ENDS]
    if horizon is not None:
        figures += ["observed", "expected", *(f"oe{end}" for end in _ENDS)]
    row: dict[str, object] = {"people": len(people), "events": events, **dict.fromkeys(figures, np.nan)}
    problem = too_few(len(people), "people") or too_few(events, "deaths", LEAST_EVENTS)
    if not problem:
        entry = people.get("entry")
        c, se = concordance(people["event"], people["duration"], people["risk"], entry)
        row |= {"c": c, "c_low": max(0.0, c - Z95 * se), "c_high": min(1.0, c + Z95 * se)}
        if horizon is not None:
            early = int((people["event"].astype(bool) & (people["duration"] <= horizon)).sum())
            if problem := too_few(early, "deaths by the horizon", LEAST_EVENTS):
                return row | {"problem": problem}
            try:
                found = observed_expected(people["event"], people["duration"], people["probability"], horizon, entry)
            except ValueError as error:
                return row | {"problem": str(error)}
            ends = {"oe": found.ratio, "oe_low": found.low, "oe_high": found.high}
            row |= {"observed": found.observed, "expected": found.expected, **ends}
    return row | {"problem": problem}


def _gap(
    people: pd.DataFrame, group: pd.Series, known: Sequence[str], figure: str, horizon: float | None, draws: int
) -> Gap:
    if len(known) < 2:
        return Gap(np.nan, problem=FEWER_THAN_TWO)
    inside = group.isin(known).to_numpy()
    people = people[inside]
    codes = group[inside].cat.set_categories(known).cat.codes.to_numpy(np.int64)
    strata = age_strata(people["age"].to_numpy())
    together = comparable(codes, strata)
    if horizon is None or figure == "c":
        compute, strata = _concordances(people), 2 * strata + people["event"].to_numpy(np.int64)
    else:
        compute = _ratios(people, horizon)
    figures = [[compute(shuffled == k) for k in range(len(known))] for shuffled in permutations(codes, strata, draws)]
    return largest_gap(excess(np.array(figures)), known, together)


def _concordances(people: pd.DataFrame) -> Callable[[np.ndarray], float]:
    """C of some people, given as (n,) bool."""
    names = ["event", "duration", "risk", *(["entry"] if "entry" in people else [])]
    columns = [people[name].to_numpy() for name in names]
    return lambda rows: concordance(*(column[rows] for column in columns))[0]


def _ratios(people: pd.DataFrame, horizon: float) -> Callable[[np.ndarray], float]:
    """Observed over expected deaths of some people, given as (n,) bool."""
    outcomes = check_outcomes(people["duration"], people["event"], people.get("entry"))
    probability = people["probability"].to_numpy()
    return lambda rows: observed_risk(outcomes, rows, horizon).risk / float(probability[rows].mean())
