"""How well repeated measurements of the same people agree.

Values stand in a table of n people (rows) by k conditions (columns). A two-way analysis of variance without replication
splits their spread into mean squares of people B, conditions J and residuals E, from which follow the intraclass
correlations of Shrout and Fleiss (1979), in the notation of McGraw and Wong (1996) ICC(A,1) and ICC(C,1):

    ICC(2,1) = (B - E) / (B + (k - 1) E + k (J - E) / n)      conditions may differ by chance, and that counts as error
    ICC(3,1) = (B - E) / (B + (k - 1) E)                      a shift common to all people does not count

They are shares of variance: the more people differ, the higher. In units of measurement the standard error of
measurement and the limits of agreement of Bland and Altman say what an answer may be off by.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import f, t

NORMAL_95 = 1.96
"""Of a normal distribution, 95 % lie within so many standard deviations of its mean."""


class Interval(NamedTuple):
    """A figure and both ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class BlandAltman:
    """Differences of two measurements of the same people (Bland and Altman 1986, 1999).

    Args:
        mean: Mean difference, with its 95 % interval.
        lower: Lower limit of agreement, mean - 1.96 standard deviations, with its approximate 95 % interval.
        upper: Upper limit of agreement; between both lie 95 % of normal differences.
    """

    mean: Interval
    lower: Interval
    upper: Interval


class MeanSquares(NamedTuple):
    """Of a two-way analysis of variance without replication, n people by k conditions; numbers, or arrays of them."""

    n: int | np.ndarray
    k: int
    people: float | np.ndarray
    conditions: float | np.ndarray
    residual: float | np.ndarray

    def icc_2_1(self) -> float | np.ndarray:
        """Two-way random effects, absolute agreement, single measurement; NaN where all values are the same."""
        n, k, people, conditions, residual = self
        return _quotient(people - residual, people + (k - 1) * residual + k * (conditions - residual) / n)

    def icc_3_1(self) -> float | np.ndarray:
        """Two-way mixed effects, consistency, single measurement; NaN where all values are the same."""
        return _quotient(self.people - self.residual, self.people + (self.k - 1) * self.residual)


def mean_squares(values: ArrayLike) -> MeanSquares:
    """The analysis of variance that all figures of repeated measurements follow from.

    Args:
        values: (n, k), a row a person and a column a condition, both at least 2.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or min(table.shape) < 2:
        raise ValueError(f"Expected at least 2 people by 2 conditions, got the shape {table.shape}.")
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise ValueError(f"Values must be finite; row {row}, column {column} is {table[row, column]}. Leave such out.")
    n, k = table.shape
    table = table - table.mean()
    of_people, of_conditions = table.mean(axis=1), table.mean(axis=0)
    residuals = table - of_people[:, None] - of_conditions
    return MeanSquares(
        n=n,
        k=k,
        people=float(k * np.square(of_people).sum() / (n - 1)),
        conditions=float(n * np.square(of_conditions).sum() / (k - 1)),
        residual=float(np.square(residuals).sum() / ((n - 1) * (k - 1))),
    )


def icc_2_1(values: ArrayLike, level: float = 0.95) -> Interval:
    """Intraclass correlation of absolute agreement, with the F-based interval of Shrout and Fleiss (1979).

    Args:
        values: As for `mean_squares`.
        level: Coverage of the interval, between 0 and 1.

    Raises:
        ValueError: as `mean_squares`, or all values are the same.

    Examples:
        >>> judged = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
        >>> round(icc_2_1(judged).value, 2)
        0.29
    """
    n, k, people, conditions, residual = squares = _that_vary(values)
    value = float(squares.icc_2_1())
    # Satterthwaite's degrees of freedom, multiplied through by the residual, which may be 0.
    a, b = k * value * conditions, (n * (1 + (k - 1) * value) - k * value) * residual
    df = (k - 1) * (n - 1) * (a + b) ** 2 / ((n - 1) * a**2 + b**2) if a or b else (k - 1) * (n - 1)
    error = k * conditions + (k * n - k - n) * residual
    down, up = f.ppf((1 + level) / 2, n - 1, df), f.ppf((1 + level) / 2, df, n - 1)
    low = n * (people - down * residual) / (down * error + n * people)
    high = n * (up * people - residual) / (error + n * up * people)
    return Interval(value, float(low), float(high))


def icc_3_1(values: ArrayLike, level: float = 0.95) -> Interval:
    """Intraclass correlation of consistency, with its exact interval; arguments and errors as `icc_2_1`.

    Examples:
        >>> judged = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
        >>> round(icc_3_1(judged).value, 2)
        0.71
    """
    n, k, people, _, residual = squares = _that_vary(values)
    df = (n - 1) * (k - 1)
    down, up = f.ppf((1 + level) / 2, n - 1, df), f.ppf((1 + level) / 2, df, n - 1)
    low = (people - down * residual) / (people + (k - 1) * down * residual)
    high = (up * people - residual) / (up * people + (k - 1) * residual)
    return Interval(float(squares.icc_3_1()), float(low), float(high))


def standard_error_of_measurement(values: ArrayLike) -> float:
    """Standard deviation of a single measurement about a person's true value, in the unit of the values.

    The error counts differences between conditions, as ICC(2,1) does: sqrt(max(J - E, 0) / n + E).

    Args:
        values: As for `mean_squares`.

    Raises:
        ValueError: as `mean_squares`.

    Examples:
        >>> standard_error_of_measurement([[30.0, 32.0], [40.0, 40.0], [50.0, 48.0]])
        1.4142135623730951
    """
    n, _, _, conditions, residual = mean_squares(values)
    return float(np.sqrt(max(conditions - residual, 0) / n + residual))


def smallest_detectable_change(values: ArrayLike) -> float:
    """Change of a person above which it is more than error of measurement with 95 % certainty: 1.96 sqrt(2) SEM.

    Arguments and errors as `standard_error_of_measurement`.

    Examples:
        >>> round(smallest_detectable_change([[30.0, 32.0], [40.0, 40.0], [50.0, 48.0]]), 2)
        3.92
    """
    return float(NORMAL_95 * np.sqrt(2) * standard_error_of_measurement(values))


def bland_altman(before: ArrayLike, after: ArrayLike) -> BlandAltman:
    """Mean difference and limits of agreement, `after` less `before`.

    Args:
        before: (n,), n at least 2, one value a person; several of a person would make intervals too narrow.
        after: (n,), of the same people.

    Raises:
        ValueError: as `mean_squares`, or arrays of different lengths.

    Examples:
        >>> found = bland_altman([30.0, 40.0, 50.0], [32.0, 40.0, 48.0])
        >>> found.mean.value, found.upper.value
        (0.0, 3.92)
    """
    if np.shape(before) != np.shape(after):
        raise ValueError(f"Expected as many values before as after, got shapes {np.shape(before)}, {np.shape(after)}.")
    mean_squares(np.column_stack([before, after]))
    difference = np.subtract(after, before)
    n, mean, spread = len(difference), float(difference.mean()), float(difference.std(ddof=1))
    quantile = t.ppf(0.975, n - 1)
    about_mean = float(quantile * spread / np.sqrt(n))
    about_limit = float(quantile * spread * np.sqrt(1 / n + NORMAL_95**2 / (2 * (n - 1))))
    lower, upper = mean - NORMAL_95 * spread, mean + NORMAL_95 * spread
    return BlandAltman(
        mean=Interval(mean, mean - about_mean, mean + about_mean),
        lower=Interval(lower, lower - about_limit, lower + about_limit),
        upper=Interval(upper, upper - about_limit, upper + about_limit),
    )


def _that_vary(values: ArrayLike) -> MeanSquares:
    squares = mean_squares(values)
    if np.ptp(values) == 0:
        raise ValueError("All values are the same, so there is no variance that an ICC could be a share of.")
    return squares


def _quotient(numerator: float | np.ndarray, denominator: float | np.ndarray) -> float | np.ndarray:
    return np.divide(numerator, denominator, out=np.full(np.shape(denominator), np.nan), where=denominator != 0)
