"""Figures of predicted ages by group, and the gaps between groups at equal ages.

Several photos of one person are one observation where groups are compared, and count as one towards the least number
that a group must have; figures of groups are means over photos, with intervals over people.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from fahr_hf.analysis.fairness.gaps import (
    FEWER_THAN_TWO,
    PERMUTATIONS,
    Gap,
    adjusted_means,
    age_strata,
    comparable,
    gap_table,
    largest_gap,
)
from fahr_hf.analysis.fairness.groups import too_few
from fahr_hf.evaluation.age_scores import LEAST, OVERALL, by_group, drawn_by

FIGURES = {"mae": OVERALL["mae"], "bias": OVERALL["bias"], "coverage": "share of true ages inside their intervals"}
"""The figures, and what they are."""


def age_groups(table: pd.DataFrame, groups: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Figures of every group.

    Args:
        table: What `age_scores.with_both_ages` returns; `low` and `high` are the ends of intervals, NaN where there are
            none.
        groups: What `groups.groupings` returns.

    Returns:
        One row a group: `label`, `group`, `photos`, `people` where they are known, `mae` and `bias` in years with their
        bootstrap intervals, `coverage` with Wilson's where there are intervals, all as `x`, `x_low`, `x_high`, and
        `problem`, why a group has none of them, else empty.
    """
    return pd.concat([_of_label(table, label, group) for label, group in groups.items()], ignore_index=True)


def age_gaps(table: pd.DataFrame, groups: Mapping[str, pd.Series], draws: int = PERMUTATIONS) -> pd.DataFrame:
    """The largest gap of each figure between the groups of each label, as `gaps.gap_table` has it.

    Args:
        table: As for `age_groups`.
        groups: As for `age_groups`.
        draws: How many permutations.
    """
    values = _values(table)
    found = []
    for label, group in groups.items():
        people = _observations(table.assign(**values), group, list(values))
        names = list(people["group"].cat.categories)
        if len(names) < 2:
            found += [(label, FIGURES[name], Gap(np.nan, problem=FEWER_THAN_TWO)) for name in values]
            continue
        codes, strata = people["group"].cat.codes.to_numpy(np.int64), age_strata(people["age"].to_numpy())
        together = comparable(codes, strata)
        figures = adjusted_means(people[list(values)].to_numpy(), codes, strata, draws)
        found += [
            (label, FIGURES[name], largest_gap(drawn, names, together))
            for name, drawn in zip(values, figures, strict=True)
        ]
    return gap_table(found)


def _of_label(table: pd.DataFrame, label: str, group: pd.Series) -> pd.DataFrame:
    masks = {str(name): (group == name).to_numpy() for name in group.cat.categories}
    rows = by_group(table, masks, "group", figures=("mae", "bias"))
    rows.insert(0, "label", label)
    clusters, drawn = drawn_by(table)
    number = np.array([len(np.unique(clusters[mask])) for mask in masks.values()])
    if drawn == "person":
        rows.insert(rows.columns.get_loc("photos") + 1, "people", number)
    values = _values(table)
    if "coverage" in values:
        inside = np.array([values["coverage"][mask].sum() for mask in masks.values()])
        rows["coverage"] = inside / rows["photos"]
        rows["coverage_low"], rows["coverage_high"] = proportion_confint(inside, rows["photos"], method="wilson")
    rows.loc[number < LEAST, [f"{name}{end}" for name in values for end in ("", "_low", "_high")]] = np.nan
    what = "people" if drawn == "person" else "photos"
    return rows.assign(problem=[too_few(int(n), what) for n in number])


def _values(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """What the figures are means of, by photo."""
    error = (table["predicted"] - table["age"]).to_numpy()
    values = {"mae": np.abs(error), "bias": error}
    if table["low"].notna().any():
        values["coverage"] = table["age"].between(table["low"], table["high"]).to_numpy(np.float64)
    return values


def _observations(table: pd.DataFrame, group: pd.Series, values: list[str]) -> pd.DataFrame:
    """One row a person and group, of the groups that have figures: `group`, and means of `age` and of values."""
    grouped = table.assign(group=group, person=drawn_by(table)[0]).groupby(["group", "person"], observed=True)
    people = grouped[["age", *values]].mean().reset_index()
    enough = people["group"].map(people["group"].value_counts()).astype(int) >= LEAST
    people = people[enough]
    return people.assign(group=people["group"].cat.remove_unused_categories())
