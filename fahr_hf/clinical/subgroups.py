"""Does an exposure mean the same in everybody? Hazard ratios within subgroups, and tests of interaction.

Within a level of a subgroup variable the exposure is adjusted for the covariates other than that variable. Whether its
hazard ratios differ between the levels is a question of its own, answered by one likelihood-ratio test a variable: a
hazard ratio that is significant in one level and not in another is no evidence of a difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd
from scipy import special
from statsmodels.stats.multitest import multipletests

from .cox import CoxResult, cox_regression
from .design import Categorical, Covariate

LEAST_EVENTS = 10  # for one coefficient; with fewer, its estimate and interval are known to be unreliable
_MOST_LEVELS = 20
_DEPENDENT = 1e-9  # share of a column's variance that the columns before it leave open


@dataclass(frozen=True, eq=False)
class _Cohort:
    """Everybody: `outcomes` holds duration, event and entry, `design` the exposure and then the covariates."""

    outcomes: pd.DataFrame
    design: pd.DataFrame
    made_of: dict[str, tuple[str, ...]]
    groups: dict[str, np.ndarray]

    def select(self, rows: np.ndarray, subgroup: str) -> tuple[np.ndarray, list[str]]:
        """Of some people, those who matter to the exposure's coefficient; and the covariates other than `subgroup`."""
        dead = self.outcomes.iloc[:, 1].to_numpy(bool)
        for column, group in self.groups.items():
            if column != subgroup:
                rows = rows & np.isin(group, group[rows & dead])
        return rows, [label for label in self.design.columns[1:] if subgroup not in self.made_of[label]]

    def fit(self, rows: np.ndarray, design: pd.DataFrame) -> CoxResult:
        """The regression on some people, without the columns that follow from those before them."""
        x = design[rows]
        kept = x.columns[_independent(x.to_numpy())].tolist()
        duration, event, *entry = self.outcomes.columns
        table = pd.concat([self.outcomes[rows], x[kept]], axis=1)
        events = int(table[event].sum())
        if events < len(kept):
            raise ValueError(f"{events} events are too few for {len(kept)} coefficients.")
        return cox_regression(table, duration, event, kept, entry=entry[0] if entry else None)


def subgroup_analysis(
    data: pd.DataFrame,
    duration: str,
    event: str,
    exposure: Covariate,
    subgroups: Sequence[str],
    covariates: Sequence[Covariate],
    entry: str | None = None,
) -> pd.DataFrame:
    """Hazard ratio of an exposure in each level of each subgroup variable: the table behind a forest plot.

    Units are those of all people: a standard deviation is that of `data`, not of the subgroup. Within a level, the
    covariates that are constant or follow from others are left out, and so are the people of a covariate's group in
    which nobody dies: its coefficient would be minus infinity, and they would count in no risk set. They do count in
    `n`. The test of interaction treats covariates likewise, with the same coefficients in all levels.

    Args:
        data: One row a person.
        duration: Column with the time of death or censoring.
        event: Column with 1 for death, 0 for censoring.
        exposure: What the hazard ratios are of; a covariate with one coefficient.
        subgroups: Columns of 2 to 20 groups; people whose group is missing take no part in that variable.
        covariates: Adjusted for; may be empty, and may hold subgroup variables.
        entry: Column with the time at which follow-up begins.

    Returns:
        One row a level, in the order of the variables and of their categories (sorted if they have none): `subgroup`,
        `level` (text), `n`, `events`, `hr`, `hr_low`, `hr_high` (95 % Wald interval), `p` (Wald), `p_interaction`
        (likelihood ratio: do the hazard ratios of the levels that have one differ?), `p_holm` (the same adjusted for
        the number of variables by Holm's method) and `problem`, why a hazard ratio or the test is absent, else empty.
        A level with fewer than 10 events, or fewer than coefficients, has no hazard ratio.

    Raises:
        ValueError: what `cox_regression` refuses for everybody together, an exposure with several coefficients,
            subgroup variables that are absent or have too few or too many levels.

    Examples:
        >>> random = np.random.default_rng(0)
        >>> people = pd.DataFrame({"years": random.exponential(5, 50), "died": 1, "risk": random.normal(size=50)})
        >>> people["sex"] = ["female", "male"] * 25
        >>> table = subgroup_analysis(people, "years", "died", "risk", ["sex"], covariates=[])
        >>> table[["level", "n", "hr", "p_interaction"]].round(2)
            level   n    hr  p_interaction
        0  female  25  0.66           0.24
        1    male  25  0.96           0.24
    """
    if not subgroups or (absent := [name for name in subgroups if name not in data]):
        raise ValueError(f"subgroups must be columns of data, got {absent if subgroups else 'none'}.")
    whole = cox_regression(data, duration, event, [exposure, *covariates], entry=entry)
    if len(whole.terms[0].labels) > 1:
        raise ValueError(f"exposure must have one coefficient, got {', '.join(whole.terms[0].labels)}.")
    cohort = _Cohort(
        outcomes=data[[duration, event, *([entry] if entry else [])]],
        design=pd.DataFrame(whole.design, data.index, whole.summary.index),
        made_of={label: term.columns for term in whole.terms for label in term.labels},
        groups={
            term.column: pd.factorize(data[term.column])[0] for term in covariates if isinstance(term, Categorical)
        },
    )
    table = pd.concat([_variable(cohort, data[name]) for name in subgroups], ignore_index=True)
    tests = table.groupby("subgroup")["p_interaction"].first().dropna()
    adjusted = pd.Series(multipletests(tests, method="holm")[1] if len(tests) else [], tests.index, float)
    table.insert(table.columns.get_loc("problem"), "p_holm", table["subgroup"].map(adjusted))
    return table


def _variable(cohort: _Cohort, column: pd.Series) -> pd.DataFrame:
    groups = column.astype("category").cat.remove_unused_categories()
    name, levels = str(column.name), groups.cat.categories
    if not 2 <= len(levels) <= _MOST_LEVELS:
        raise ValueError(
            f"{name} has {len(levels)} levels; a subgroup variable has 2 to {_MOST_LEVELS}. Leave it out, or cut a "
            "number into groups with pandas.cut."
        )
    members = [(groups == level).to_numpy() for level in levels]
    rows = [_level(cohort, name, str(level), member) for level, member in zip(levels, members, strict=True)]
    table = pd.DataFrame(rows)
    known = [member for member, problem in zip(members, table["problem"], strict=True) if not problem]
    p, problem = _interaction(cohort, name, known)
    table.insert(table.columns.get_loc("problem"), "p_interaction", p)
    return table.assign(problem=table["problem"].mask(table["problem"] == "", problem))


def _level(cohort: _Cohort, name: str, level: str, member: np.ndarray) -> dict[str, object]:
    events = int(cohort.outcomes.iloc[:, 1].to_numpy()[member].sum())
    row: dict[str, object] = {"subgroup": name, "level": level, "n": int(member.sum()), "events": events}
    nothing = dict.fromkeys(("hr", "hr_low", "hr_high", "p"), nan)
    if events < LEAST_EVENTS:
        return row | nothing | {"problem": f"{events} events, fewer than {LEAST_EVENTS}."}
    exposure = cohort.design.columns[0]
    rows, others = cohort.select(member, name)
    try:
        summary = cohort.fit(rows, cohort.design[[exposure, *others]]).summary
    except ValueError as error:
        return row | nothing | {"problem": str(error)}
    if exposure not in summary.index:
        return row | nothing | {"problem": f"{exposure} has a single value."}
    return row | summary.loc[exposure, list(nothing)].to_dict() | {"problem": ""}


def _interaction(cohort: _Cohort, name: str, members: list[np.ndarray]) -> tuple[float, str]:
    if len(members) < 2:
        return nan, "Fewer than two levels have a hazard ratio: no test of interaction."
    rows, others = cohort.select(np.any(members, axis=0), name)
    exposure = cohort.design.iloc[:, [0]]
    levels = pd.DataFrame({f"level {i}": member for i, member in enumerate(members[1:])}, exposure.index).astype(float)
    products = levels.mul(exposure.iloc[:, 0], axis=0).add_prefix("exposure in ")
    reduced = pd.concat([exposure, levels, cohort.design[others]], axis=1)
    full = pd.concat([exposure, products, levels, cohort.design[others]], axis=1)
    try:
        gain = cohort.fit(rows, full).log_likelihood - cohort.fit(rows, reduced).log_likelihood
    except ValueError as error:
        return nan, f"No test of interaction: {error}"
    return float(special.chdtrc(len(members) - 1, 2 * max(gain, 0.0))), ""


def _independent(x: np.ndarray) -> np.ndarray:
    """Numbers of the columns of (n, p) that vary, and not only as a combination of the columns before them."""
    centred = x - x.mean(axis=0)
    spread = np.sqrt(np.square(centred).sum(axis=0))
    products = centred.T @ centred / np.outer(spread, spread).clip(np.finfo(float).tiny)
    kept: list[int] = []
    for column in np.flatnonzero(np.ptp(x, axis=0)):
        along = products[kept, column]
        if 1 - along @ np.linalg.solve(products[np.ix_(kept, kept)], along) > _DEPENDENT:
            kept.append(int(column))
    return np.array(kept, int)
