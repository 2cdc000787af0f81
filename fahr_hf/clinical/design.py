"""Covariates of a regression: how columns of a data frame become numbers.

A covariate is the name of a numeric column, or one of the classes below where a hazard ratio needs another unit, a
reference, a curve, or depends on something else. What it learns from the data of the fit (mean, standard deviation,
groups, knots) is kept in a term (`terms.py`), so that the same covariates can be computed on an external cohort.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .terms import GroupTerm, InteractionTerm, NumberTerm, SplineTerm, Term, numbers

# With fewer rows, the outer knots are the fifth value from either end.
_FEW_ROWS, _OUTER = 100, 5


@dataclass(frozen=True)
class Scaled:
    """A numeric column in units of `per`: `Scaled("faceage", per=10)` gives the hazard ratio per decade.

    Examples:
        >>> from fahr_hf.clinical import cox_regression
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": [1, 0, 1, 1, 1], "age": [70, 72, 58, 66, 60]})
        >>> cox_regression(people, "years", "died", [Scaled("age", per=10)]).summary["hr"].round(2).to_dict()
        {'age per 10': 2.53}
    """

    column: str
    per: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.per) and self.per > 0):
            raise ValueError(f"per must be a number greater than 0, got {self.per} for {self.column!r}.")


@dataclass(frozen=True)
class Standardised:
    """A numeric column minus its mean in standard deviations (n - 1), both taken from the data of the fit.

    Examples:
        >>> from fahr_hf.clinical import cox_regression
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": [1, 0, 1, 1, 1], "age": [70, 72, 58, 66, 60]})
        >>> cox_regression(people, "years", "died", [Standardised("age")]).summary["hr"].round(2).to_dict()
        {'age per SD': 1.76}
    """

    column: str


@dataclass(frozen=True)
class Categorical:
    """A column of groups, compared with the group `reference`: `Categorical("sex", reference="male")`.

    Every other group has a coefficient, in the order of the column's categories, sorted if it has none.

    Examples:
        >>> from fahr_hf.clinical import cox_regression
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": 1, "stage": ["II", "II", "I", "II", "I"]})
        >>> fit = cox_regression(people, "years", "died", [Categorical("stage", reference="I")])
        >>> fit.summary["hr"].round(2).to_dict()
        {'stage: II': 3.35}
    """

    column: str
    reference: object


@dataclass(frozen=True)
class Spline:
    """A numeric column whose log hazard ratio may bend: a restricted cubic spline, as `rcs` of R's package rms.

    Args:
        column: The column.
        knots: How many knots, 3 to 7, or the knots themselves. A number of knots puts them at equally spaced quantiles
            (type 7): from 0.1 to 0.9 for 3, from 0.05 to 0.95 for 4 to 6, from 0.025 to 0.975 for 7; below 100 rows the
            outer knots are the fifth smallest and fifth largest value (Harrell, Regression Modeling Strategies).

    Examples:
        >>> from fahr_hf.clinical import cox_regression
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5, 6], "died": 1, "age": [70, 58, 66, 72, 60, 62]})
        >>> fit = cox_regression(people, "years", "died", [Spline("age", knots=(58, 64, 70))])
        >>> fit.summary["coef"].round(2).to_dict()
        {'age': -0.24, "age'": 0.32}
    """

    column: str
    knots: int | Sequence[float] = 4

    def __post_init__(self) -> None:
        if isinstance(self.knots, int):
            if self.knots not in range(3, 8):
                raise ValueError(f"knots must be 3 to 7 for {self.column!r}, got {self.knots}; 4 is the usual number.")
            return
        places = np.asarray(self.knots, np.float64)
        if len(places) < 3 or not np.isfinite(places).all() or (np.diff(places) <= 0).any():
            raise ValueError(f"knots must be at least 3 ascending numbers for {self.column!r}, got {self.knots}.")


Single = str | Scaled | Standardised | Categorical | Spline


@dataclass(frozen=True)
class Interaction:
    """The products of two covariates: does the hazard ratio of one depend on the other?

    The covariates themselves are listed as well: `[a, b, Interaction(a, b)]`.

    Examples:
        >>> from fahr_hf.clinical import cox_regression
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5, 6], "died": 1, "age": [70, 58, 66, 72, 60, 62]})
        >>> people["ill"] = [1, 1, 0, 1, 0, 0]
        >>> fit = cox_regression(people, "years", "died", ["age", "ill", Interaction("age", "ill")])
        >>> fit.summary.index.tolist()
        ['age', 'ill', 'age x ill']
    """

    first: Single
    second: Single


Covariate = Single | Interaction


def fit_terms(data: pd.DataFrame, covariates: Sequence[Covariate]) -> tuple[Term, ...]:
    """See what each covariate needs to know of the data.

    Args:
        data: Without missing values in the columns used.
        covariates: At least one, no column twice.

    Raises:
        ValueError: text without `Categorical`, infinite values, a column with a single value, a reference that does not
            occur, too few different values for the knots of a spline.
    """
    if not covariates:
        raise ValueError("covariates is empty; a regression needs at least one.")
    keys = [" x ".join(sorted(covariate_columns([covariate]))) for covariate in covariates]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"covariates holds {', '.join(twice)} more than once.")
    return tuple(_fit_term(data, covariate) for covariate in covariates)


def covariate_columns(covariates: Sequence[Covariate]) -> list[str]:
    """The columns that covariates are made of, each once.

    Raises:
        TypeError: a string or a mapping in place of a list.
    """
    if isinstance(covariates, str | Mapping):
        raise TypeError(f'covariates must be a list such as ["age", Scaled("faceage", per=10)], got {covariates!r}.')
    return list(dict.fromkeys(column for covariate in covariates for column in _columns(covariate)))


def check_complete(data: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a data frame in which one of the columns is absent, doubled, a date, or has missing values.

    Raises:
        ValueError: with the columns, the number of rows, and the remedy.
    """
    if absent := [column for column in columns if column not in data.columns]:
        raise ValueError(
            f"data has no column {', '.join(map(repr, absent))}; it has {', '.join(map(str, data.columns))}."
        )
    if doubled := sorted({column for column in columns if (data.columns == column).sum() > 1}):
        raise ValueError(f"data has more than one column {', '.join(map(repr, doubled))}; rename or drop the others.")
    if not len(data):
        raise ValueError("data has no rows.")
    if dates := [column for column in columns if data[column].dtype.kind in "mM"]:
        raise ValueError(f"{', '.join(dates)} holds dates or spans of time; turn it into a number of years.")
    missing = data[list(dict.fromkeys(columns))].isna()
    if missing.to_numpy().any():
        counts = ", ".join(f"{column} {count}" for column, count in missing.sum().items() if count)
        rows = np.flatnonzero(missing.any(axis=1))
        raise ValueError(
            f"{len(rows)} of {len(data)} rows have missing values ({counts}), the first in row {rows[0]}. Rows are not "
            "dropped silently: impute them, or keep the complete cases with data.dropna(subset=[...])."
        )


def _columns(covariate: Covariate) -> list[str]:
    if isinstance(covariate, Interaction):
        return [*_columns(covariate.first), *_columns(covariate.second)]
    return [covariate if isinstance(covariate, str) else covariate.column]


def _fit_term(data: pd.DataFrame, covariate: Covariate) -> Term:
    match covariate:
        case Interaction(first, second):
            return _fit_products(data, _fit_term(data, first), _fit_term(data, second))
        case Categorical(column, reference):
            return _fit_groups(data, column, reference)
    column = covariate if isinstance(covariate, str) else covariate.column
    values = numbers(data, column)
    if values.min() == values.max():
        raise ValueError(f"{column} is {values[0]:g} in all {len(values)} rows; leave it out of the covariates.")
    match covariate:
        case Spline(column, knots):
            return _fit_spline(values, column, knots)
        case Scaled(column, per):
            return _number(f"{column} per {per:g}", column, scale=float(per))
        case Standardised(column):
            return _number(f"{column} per SD", column, float(values.mean()), float(values.std(ddof=1)))
    return _number(column, column)


def _number(name: str, column: str, shift: float = 0.0, scale: float = 1.0) -> NumberTerm:
    return NumberTerm(name, (column,), (name,), shift, scale)


def _fit_groups(data: pd.DataFrame, column: str, reference: object) -> GroupTerm:
    levels = data[column].astype("category").cat.remove_unused_categories().cat.categories.tolist()
    if reference not in levels:
        shown = ", ".join(repr(level) for level in levels[:10])
        raise ValueError(f"{column} is never {reference!r}, its reference; its groups are {shown}.")
    others = tuple(level for level in levels if level != reference)
    if not others:
        raise ValueError(f"{column} is {reference!r} in all {len(data)} rows; leave it out of the covariates.")
    return GroupTerm(column, (column,), tuple(f"{column}: {level}" for level in others), others, reference)


def _fit_spline(values: np.ndarray, column: str, knots: int | Sequence[float]) -> SplineTerm:
    places = _quantile_knots(values, column, knots) if isinstance(knots, int) else tuple(map(float, knots))
    if values.max() <= places[0] or values.min() >= places[-1]:
        raise ValueError(
            f"{column} runs from {values.min():g} to {values.max():g}, on one side of all knots of its spline "
            f"({', '.join(f'{place:g}' for place in places)}); choose knots among its values."
        )
    labels = tuple(column + "'" * bend for bend in range(len(places) - 1))
    return SplineTerm(column, (column,), labels, places)


def _quantile_knots(values: np.ndarray, column: str, count: int) -> tuple[float, ...]:
    outer = {3: 0.1, 7: 0.025}.get(count, 0.05)
    knots = np.quantile(values, np.linspace(outer, 1 - outer, count))
    if 2 * _OUTER < len(values) < _FEW_ROWS:
        knots[0], knots[-1] = np.sort(values)[[_OUTER - 1, -_OUTER]]
    if (np.diff(knots) <= 0).any():
        raise ValueError(
            f"{column} has {len(np.unique(values))} different values in {len(values)} rows, not spread enough for "
            f"{count} knots at its quantiles; take fewer knots, name them, or leave out the spline."
        )
    return tuple(knots.tolist())


def _fit_products(data: pd.DataFrame, first: Term, second: Term) -> InteractionTerm:
    name, columns = f"{first.name} x {second.name}", (*first.columns, *second.columns)
    labels = tuple(f"{left} x {right}" for right in second.labels for left in first.labels)
    term = InteractionTerm(name, columns, labels, first, second)
    for label, values in zip(labels, term.values(data).T, strict=True):
        if values.min() == values.max():
            raise ValueError(
                f"{label} is {values[0]:g} in all {len(data)} rows; merge groups, or leave out the interaction."
            )
    return term
