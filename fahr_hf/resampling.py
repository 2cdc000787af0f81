"""Bootstrap intervals: of any statistic, or of many that are made of sums; rows are drawn, or whole persons."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# Of counts of resampled rows, at once.
_COUNTS = 4_000_000


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    clusters: np.ndarray | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a statistic by resampling rows, or whole clusters of them (Efron 1979).

    Args:
        statistic: Of the arrays, in their order; the order of rows must not matter to it.
        *arrays: Each (n, ...), with the same n; row i of all of them belongs together.
        clusters: (n,), which rows depend on each other, such as the persons of photos; all or none of a cluster's rows
            are drawn. Without it each row is drawn for itself.
        level: Coverage, between 0 and 1.
        resamples: Draws with replacement.
        seed: Of the draws; the same seed gives the same interval.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: arrays of different lengths, or empty ones.
    """
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"Expected arrays of one length, at least 1, got lengths {sorted(lengths)}.")
    n = lengths.pop()
    cluster_of, number = _number(clusters, n)
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        times = np.bincount(generator.integers(number, size=number), minlength=number)
        rows = np.repeat(np.arange(n), times[cluster_of])
        values.append(statistic(*(array[rows] for array in arrays)))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resampled_sums(
    columns: np.ndarray, clusters: np.ndarray | None = None, resamples: int = 2000, seed: int = 0
) -> np.ndarray:
    """Sums of columns over all rows, and over the rows of every resample of the bootstrap.

    Whatever follows from sums, such as means, correlations and differences of groups, has its interval from one product
    of matrices, and figures from the same call are resampled together. The draws are those of `bootstrap_interval`.

    Args:
        columns: (n, k), n at least 1.
        clusters: As for `bootstrap_interval`.
        resamples: As for `bootstrap_interval`.
        seed: As for `bootstrap_interval`.

    Returns:
        (1 + resamples, k); the first row is that of the data as they are.

    Examples:
        >>> resampled_sums(np.ones((5, 1)), resamples=2)[:, 0].tolist()
        [5.0, 5.0, 5.0]
    """
    cluster_of, number = _number(clusters, len(columns))
    order = np.argsort(cluster_of, kind="stable")
    first = np.searchsorted(cluster_of[order], np.arange(number))
    by_cluster = np.add.reduceat(np.asarray(columns, np.float64)[order], first, axis=0)
    generator = np.random.default_rng(seed)
    sums = [by_cluster.sum(axis=0, keepdims=True)]
    at_once = max(1, _COUNTS // number)
    for start in range(0, resamples, at_once):
        draws = min(at_once, resamples - start)
        drawn = generator.integers(number, size=(draws, number)) + number * np.arange(draws)[:, None]
        times = np.bincount(drawn.ravel(), minlength=draws * number).reshape(draws, number)
        sums.append(times.astype(np.float64) @ by_cluster)
    return np.concatenate(sums)


def clusters_of(persons: "pd.Series") -> np.ndarray:
    """What a bootstrap draws, from the labels of persons: for each row the number of its person, (n,).

    Somebody unknown, whose label is missing, is a person of their own.
    """
    numbers = persons.factorize()[0]
    unknown = numbers < 0
    numbers[unknown] = numbers.max(initial=-1) + 1 + np.arange(unknown.sum())
    return numbers


def with_interval(values: np.ndarray) -> tuple[float, float, float]:
    """A figure and its 95 % percentile interval.

    Args:
        values: (1 + resamples,), of the data and then of each resample. A resample for which the figure is not defined
            is left out; where it is not for the data, all three are NaN.
    """
    if np.isnan(values[0]):
        return np.nan, np.nan, np.nan
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return float(values[0]), float(low), float(high)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotients, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0)


def _number(clusters: np.ndarray | None, n: int) -> tuple[np.ndarray, int]:
    """For each row the number of its cluster, (n,), and how many clusters there are."""
    if clusters is None:
        return np.arange(n), n
    if len(clusters) != n:
        raise ValueError(f"Expected a cluster for each of {n} rows, got {len(clusters)}.")
    names, cluster_of = np.unique(clusters, return_inverse=True)
    return cluster_of, len(names)
