"""Covariates of a regression: how columns of a data frame become numbers.

A covariate is the name of a numeric column, or one of the three terms below where a hazard ratio needs another unit
or a reference. What a term learns from the development data (mean, standard deviation, levels) it keeps, so that the
same covariates can be computed on an external cohort.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .outcomes import check_column


@dataclass(frozen=True)
class Scaled:
    """A numeric column in units of `per`: `Scaled("faceage", per=10)` gives the hazard ratio per decade."""

    column: str
    per: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.per) and self.per > 0):
            raise ValueError(f"per must be a number greater than 0, got {self.per} for {self.column!r}.")


@dataclass(frozen=True)
class Standardised:
    """A numeric column minus its mean in standard deviations (n - 1), both taken from the data of the fit."""

    column: str


@dataclass(frozen=True)
class Categorical:
    """A column of groups, compared with the group `reference`: `Categorical("sex", reference="male")`.

    Every other group has a coefficient, in the order of the column's categories, sorted if it has none.
    """

    column: str
    reference: object


Covariate = str | Scaled | Standardised | Categorical


@dataclass(frozen=True)
class Term:
    """One covariate after its data were seen; it has one coefficient, or as many as groups besides the reference.

    Args:
        name: What a table calls the term.
        column: Where its values are.
        labels: Names of its coefficients.
        levels: Groups that have a coefficient; empty for a number.
        reference: The group that has none.
        shift: Subtracted from a number ...
        scale: ... which is then divided by this.
    """

    name: str
    column: str
    labels: tuple[str, ...]
    levels: tuple[object, ...] = field(default=())
    reference: object = None
    shift: float = 0.0
    scale: float = 1.0

    def values(self, data: pd.DataFrame) -> np.ndarray:
        """The columns of the design matrix, (n, len(labels)) float64."""
        if not self.levels:
            return ((_numbers(data, self.column) - self.shift) / self.scale)[:, None]
        groups = data[self.column].to_numpy(dtype=object)
        known = {self.reference, *self.levels}
        unknown = [row for row, group in enumerate(groups) if group not in known]
        if unknown:
            raise ValueError(
                f"{self.column} is {groups[unknown[0]]!r} in row {unknown[0]}, a group that the fit did not see."
            )
        return np.stack([groups == level for level in self.levels], axis=1).astype(np.float64)


def fit_terms(data: pd.DataFrame, covariates: Sequence[Covariate]) -> tuple[Term, ...]:
    """See what each covariate needs to know of the data.

    Args:
        data: Without missing values in the columns used.
        covariates: At least one, no column twice.

    Raises:
        ValueError: text without `Categorical`, infinite values, a column with a single value, a reference that does not
            occur.
    """
    if not covariates:
        raise ValueError("covariates is empty; a regression needs at least one.")
    terms = tuple(_fit_term(data, covariate) for covariate in covariates)
    names = [term.column for term in terms]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"covariates holds {', '.join(twice)} more than once.")
    return terms


def covariate_columns(covariates: Sequence[Covariate]) -> list[str]:
    """The columns that covariates are made of.

    Raises:
        TypeError: a string or a mapping in place of a list.
    """
    if isinstance(covariates, str | Mapping):
        raise TypeError(f'covariates must be a list such as ["age", Scaled("faceage", per=10)], got {covariates!r}.')
    return [covariate if isinstance(covariate, str) else covariate.column for covariate in covariates]


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
        rows = int(missing.any(axis=1).sum())
        raise ValueError(
            f"{rows} of {len(data)} rows have missing values ({counts}). Rows are not dropped silently: impute them, "
            "or keep the complete cases with data.dropna(subset=[...])."
        )


def _fit_term(data: pd.DataFrame, covariate: Covariate) -> Term:
    if isinstance(covariate, Categorical):
        return _fit_groups(data, covariate)
    column = covariate if isinstance(covariate, str) else covariate.column
    values = _numbers(data, column)
    if values.min() == values.max():
        raise ValueError(f"{column} is {values[0]:g} in all {len(values)} rows; leave it out of the covariates.")
    if isinstance(covariate, Scaled):
        name = f"{column} per {covariate.per:g}"
        return Term(name, column, (name,), scale=float(covariate.per))
    if isinstance(covariate, Standardised):
        name = f"{column} per SD"
        return Term(name, column, (name,), shift=float(values.mean()), scale=float(values.std(ddof=1)))
    return Term(column, column, (column,))


def _fit_groups(data: pd.DataFrame, covariate: Categorical) -> Term:
    column = covariate.column
    series = data[column].astype("category").cat.remove_unused_categories()
    levels = series.cat.categories.tolist()
    if covariate.reference not in levels:
        shown = ", ".join(repr(level) for level in levels[:10])
        raise ValueError(f"{column} is never {covariate.reference!r}, its reference; its groups are {shown}.")
    others = tuple(level for level in levels if level != covariate.reference)
    if not others:
        raise ValueError(
            f"{column} is {covariate.reference!r} in all {len(data)} rows; leave it out of the covariates."
        )
    return Term(column, column, tuple(f"{column}: {level}" for level in others), others, covariate.reference)


def _numbers(data: pd.DataFrame, column: str) -> np.ndarray:
    try:
        return check_column(data[column], column)
    except ValueError as error:
        if pd.api.types.is_numeric_dtype(data[column]):
            raise
        raise ValueError(f"{error} For groups, write Categorical({column!r}, reference=...).") from None
