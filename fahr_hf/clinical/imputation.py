"""Missing covariates: multiple imputation by chained equations, and one answer out of many by Rubin's rules.

Every column with gaps is regressed on all the others, in turns: a number is then taken from one of the five people
whose predictions lie nearest (predictive mean matching), a group is drawn with its predicted probabilities (multinomial
regression). Each draw is made with coefficients that are drawn too, so that the imputations differ by as much as is not
known. The predictors hold the event and the Nelson-Aalen estimate of the cumulative hazard: without the outcome, hazard
ratios would come out too small (White and Royston 2009).

The libraries at hand (statsmodels' MICEData, scikit-learn's IterativeImputer) know numbers only and no groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from .conditional_draws import draw_groups, match_means
from .cox import CoxResult
from .kaplan_meier import count_at_risk
from .outcomes import Outcomes, check_column, check_outcomes

_CYCLES = 5  # as R's mice
_MOST_LEVELS = 20


@dataclass(frozen=True, eq=False)
class _Column:
    """A column of the data as codes: numbers as they are, groups as 0 ... k - 1; gaps are where `missing`."""

    name: str
    values: np.ndarray
    missing: np.ndarray
    levels: pd.Index | None

    def predictors(self, values: np.ndarray) -> np.ndarray:
        """How the column enters the regressions of the others, (n, 1) or (n, k - 1)."""
        if self.levels is None:
            return values[:, None]
        return (values[:, None] == np.arange(1, len(self.levels))).astype(np.float64)

    def draw(self, x: np.ndarray, modes: dict[str, np.ndarray], random: np.random.Generator) -> np.ndarray:
        """New values for the gaps, given standardised predictors (n, p) with a leading 1.

        `modes` keeps the coefficients of a group, near which those of the next cycle lie.
        """
        y, known, gaps = self.values[~self.missing], x[~self.missing], x[self.missing]
        if self.levels is None:
            return match_means(y, known, gaps, random)
        drawn, modes[self.name] = draw_groups(y, known, gaps, modes.get(self.name), random)
        return drawn


def impute(
    data: pd.DataFrame,
    columns: Sequence[str],
    duration: str,
    event: str,
    m: int = 20,
    seed: int = 0,
    *,
    entry: str | None = None,
) -> list[pd.DataFrame]:
    """Fill the gaps of covariates m times, taking them to be missing at random given what is known.

    An imputation depends on the data, the seed and its number alone: the third of five is the third of twenty.

    Args:
        data: One row a person; missing values are NaN, None or NA.
        columns: All covariates of the analysis, with gaps or without. Numbers (0 and 1 as well) are matched; text,
            booleans and categories are groups.
        duration: Column with the time of death or censoring, without gaps.
        event: Column with 1 for death, 0 for censoring, without gaps.
        m: Number of imputations, at least 2.
        seed: Of the random numbers.
        entry: Column with the time at which follow-up begins.

    Returns:
        m copies of `data` without gaps in `columns`, all else as it was.

    Raises:
        ValueError: columns that are absent or without a known value, infinite numbers, a single group or more than 20
            (numbers read as text?), outcomes with gaps, m below 2.

    Examples:
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": [1, 0, 1, 1, 1], "age": [70, 72, None, 66, 60]})
        >>> [table["age"].tolist() for table in impute(people, ["age"], "years", "died", m=2)]
        [[70.0, 72.0, 72.0, 66.0, 60.0], [70.0, 72.0, 66.0, 66.0, 60.0]]
    """
    if m < 2:
        raise ValueError(f"m must be at least 2: the spread between imputations is part of the answer; got {m}.")
    names = list(dict.fromkeys([duration, event, *([entry] if entry else []), *columns]))
    if absent := [name for name in names if name not in data.columns]:
        raise ValueError(f"data has no column {', '.join(map(repr, absent))}.")
    outcomes = check_outcomes(data[duration], data[event], None if entry is None else data[entry])
    coded = [_code(data[name]) for name in dict.fromkeys(columns)]
    outcome = np.column_stack([outcomes.event, nelson_aalen(outcomes)])
    return [_fill(data, coded, _chain(coded, outcome, np.random.default_rng([seed, i]))) for i in range(m)]


def nelson_aalen(outcomes: Outcomes) -> np.ndarray:
    """Nelson-Aalen estimate of the cumulative hazard at the end of each person's follow-up, (n,).

    The sum of deaths / people at risk over the times of death up to then, from each person's own entry on.
    """
    times, deaths = np.unique(outcomes.duration[outcomes.event], return_counts=True)
    hazard = np.concatenate([[0.0], np.cumsum(deaths / count_at_risk(outcomes, times))])
    until = hazard[np.searchsorted(times, outcomes.duration, side="right")]
    return until if outcomes.entry is None else until - hazard[np.searchsorted(times, outcomes.entry, side="right")]


def pool(results: Sequence[CoxResult]) -> pd.DataFrame:
    """One table of hazard ratios out of fits to m imputations, by Rubin's rules.

    The coefficient is the mean over the imputations, and its variance W + (1 + 1 / m) B, W being the mean of the
    squared errors and B the variance of the coefficients. Intervals and p are from t with the degrees of freedom of
    Barnard and Rubin (1999); those of complete data are taken as events minus coefficients, as by R's `mice::pool`.

    Args:
        results: At least two fits with the same covariates.

    Returns:
        As `CoxResult.summary`, with `t` for `z`; and `df`; and `fmi`, the fraction of missing information, 0 to 1.

    Raises:
        ValueError: fewer than two fits, or fits with other covariates.

    Examples:
        >>> from fahr_hf.clinical import cox_regression
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": [1, 0, 1, 1, 1], "age": [70, 72, None, 66, 60]})
        >>> tables = impute(people, ["age"], "years", "died", m=5)
        >>> pool([cox_regression(table, "years", "died", ["age"]) for table in tables])[["hr", "fmi"]].round(2)
                     hr  fmi
        covariate
        age        1.46  0.4
    """
    if len(results) < 2:
        raise ValueError(f"Rubin's rules take at least two fits, got {len(results)}.")
    labels = results[0].summary.index
    if other := [i for i, result in enumerate(results) if not result.summary.index.equals(labels)]:
        raise ValueError(
            f"Fit {other[0]} has the coefficients {', '.join(results[other[0]].summary.index)}, fit 0 has "
            f"{', '.join(labels)}; fit the same covariates to each imputation."
        )
    m = len(results)
    coef = np.mean([result.summary["coef"] for result in results], axis=0)
    within = np.mean([result.summary["se"] ** 2 for result in results], axis=0)
    between = (1 + 1 / m) * np.var([result.summary["coef"] for result in results], axis=0, ddof=1)
    se = np.sqrt(within + between)
    # A share this small is none, and its degrees of freedom would be infinite.
    share = np.maximum(between / se**2, 1e-4)
    complete = max(min(result.events for result in results) - len(labels), 1)
    observed = (complete + 1) / (complete + 3) * complete * (1 - share)
    old = (m - 1) / share**2
    df = old * observed / (old + observed)
    riv = between / within
    t = coef / se
    margin = stats.t.ppf(0.975, df) * se
    table = {"coef": coef, "se": se, "t": t, "p": 2 * stats.t.sf(np.abs(t), df)}
    table |= {"hr": np.exp(coef), "hr_low": np.exp(coef - margin), "hr_high": np.exp(coef + margin)}
    return pd.DataFrame(table | {"df": df, "fmi": (riv + 2 / (df + 3)) / (riv + 1)}, index=labels)


def _code(column: pd.Series) -> _Column:
    name, missing = str(column.name), column.isna().to_numpy()
    known = column[~missing]
    if not len(known):
        raise ValueError(f"{name} has no known value in {len(column)} rows; leave it out of the covariates.")
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values = np.full(len(column), np.nan)
        values[~missing] = check_column(known, name)
        return _Column(name, values, missing, None)
    codes, levels = pd.factorize(known, sort=True)
    if not 2 <= len(levels) <= _MOST_LEVELS:
        raise ValueError(
            f"{name} has {len(levels)} groups, the first is {levels[0]!r}; 2 to {_MOST_LEVELS} can be imputed. Leave "
            "it out, merge groups, or turn text into numbers with pandas.to_numeric."
        )
    values = np.full(len(column), np.nan)
    values[~missing] = codes
    return _Column(name, values, missing, levels)


def _chain(columns: list[_Column], outcome: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    filled = [column.values.copy() for column in columns]
    for column, values in zip(columns, filled, strict=True):
        values[column.missing] = random.choice(values[~column.missing], int(column.missing.sum()))
    parts = [column.predictors(values) for column, values in zip(columns, filled, strict=True)]
    gaps = [int(column.missing.sum()) for column in columns]
    order = [int(i) for i in np.argsort(gaps, kind="stable") if gaps[i]]
    modes: dict[str, np.ndarray] = {}
    for _ in range(_CYCLES):
        for i in order:
            x = np.hstack([outcome, *parts[:i], *parts[i + 1 :]])
            spread = x.std(axis=0)
            x = np.hstack([np.ones((len(x), 1)), (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1)])
            filled[i][columns[i].missing] = columns[i].draw(x, modes, random)
            parts[i] = columns[i].predictors(filled[i])
    return filled


def _fill(data: pd.DataFrame, columns: list[_Column], filled: list[np.ndarray]) -> pd.DataFrame:
    table = data.copy()
    for column, values in zip(columns, filled, strict=True):
        if column.missing.any():
            new = values[column.missing]
            table.loc[column.missing, column.name] = new if column.levels is None else column.levels[new.astype(int)]
    return table
