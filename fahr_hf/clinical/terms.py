"""Fitted terms: what a covariate learned from the data of the fit, so that it can be computed for other people too."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .outcomes import check_column


@dataclass(frozen=True)
class Term(ABC):
    """One covariate after its data were seen; `design.py` makes it.

    Args:
        name: What a table calls it.
        columns: The columns of a data frame that it reads.
        labels: Names of its coefficients.
    """

    name: str
    columns: tuple[str, ...]
    labels: tuple[str, ...]

    @abstractmethod
    def values(self, data: pd.DataFrame) -> np.ndarray:
        """Its columns of the design matrix, (n, len(labels)) float64.

        Raises:
            ValueError: text in numbers, infinite values, groups that the fit did not see; with column and row.
        """


@dataclass(frozen=True)
class NumberTerm(Term):
    """A number, minus `shift`, divided by `scale`."""

    shift: float = 0.0
    scale: float = 1.0

    def values(self, data: pd.DataFrame) -> np.ndarray:
        """One column."""
        return ((numbers(data, self.columns[0]) - self.shift) / self.scale)[:, None]


@dataclass(frozen=True)
class GroupTerm(Term):
    """Groups `levels`, which have a coefficient each, compared with the group `reference`."""

    levels: tuple[object, ...]
    reference: object

    def values(self, data: pd.DataFrame) -> np.ndarray:
        """A column for each level, 1 in the rows of its group and else 0."""
        groups = data[self.columns[0]].to_numpy(dtype=object)
        check_known(self.columns[0], groups, [self.reference, *self.levels])
        return np.stack([groups == level for level in self.levels], axis=1).astype(np.float64)


@dataclass(frozen=True)
class SplineTerm(Term):
    """A restricted cubic spline: a cubic between neighbouring `knots`, and straight beyond the outer ones."""

    knots: tuple[float, ...]

    def values(self, data: pd.DataFrame) -> np.ndarray:
        """The number x itself, and for k knots t the k - 2 columns of Harrell's basis.

        c(t_j) - c(t_k-1) (t_k - t_j) / (t_k - t_k-1) + c(t_k) (t_k-1 - t_j) / (t_k - t_k-1), j = 1 ... k - 2, where
        c(t) is the positive part of x - t to the third power, divided by (t_k - t_1)^2.
        """
        x = numbers(data, self.columns[0])
        knots = np.asarray(self.knots)
        cubes = np.clip(x[:, None] - knots, 0, None) ** 3 / (knots[-1] - knots[0]) ** 2
        to_last, to_second_last = (knots[-1] - knots[:-2]), (knots[-2] - knots[:-2])
        bends = cubes[:, :-2] - (cubes[:, [-2]] * to_last - cubes[:, [-1]] * to_second_last) / (knots[-1] - knots[-2])
        return np.column_stack([x, bends])


@dataclass(frozen=True)
class InteractionTerm(Term):
    """Every column of one term times every column of another; those of `first` change fastest, as in R."""

    first: Term
    second: Term

    def values(self, data: pd.DataFrame) -> np.ndarray:
        """The products."""
        products = self.second.values(data)[:, :, None] * self.first.values(data)[:, None, :]
        return products.reshape(len(data), len(self.labels))


def design_matrix(terms: Sequence[Term], data: pd.DataFrame) -> np.ndarray:
    """The columns of all terms side by side, (n, p) float64."""
    return np.hstack([term.values(data) for term in terms])


def numbers(data: pd.DataFrame, column: str) -> np.ndarray:
    """A column of finite numbers, (n,) float64.

    Raises:
        ValueError: text or infinite values; the message names rows and, for text, `Categorical`.
    """
    try:
        return check_column(data[column], column)
    except ValueError as error:
        if pd.api.types.is_numeric_dtype(data[column]):
            raise
        raise ValueError(f"{error} For groups, write Categorical({column!r}, reference=...).") from None


def check_known(column: str, groups: np.ndarray, known: Sequence[object]) -> None:
    """Refuse a group that is not among the known ones.

    Raises:
        ValueError: with column, group and row, counted from 0.
    """
    seen = set(known)
    unknown = [row for row, group in enumerate(groups) if group not in seen]
    if unknown:
        raise ValueError(
            f"{column} is {groups[unknown[0]]!r} in row {unknown[0]}, a group that the fit did not see "
            f"({len(unknown)} such rows of {len(groups)}); it saw {', '.join(map(repr, known))}."
        )
