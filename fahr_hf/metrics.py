"""Figures of merit for age estimates: plain functions on arrays."""

from collections.abc import Callable

import numpy as np

# Of counts of resampled rows, at once.
_COUNTS = 4_000_000


def mean_absolute_error(age: np.ndarray, predicted: np.ndarray) -> float:
    """Mean absolute error, in the unit of the arguments (years).

    Args:
        age: True ages, (n,), n at least 1.
        predicted: Predicted ages, (n,).

    Raises:
        ValueError: shapes that differ, no values, or values that are not finite.

    Example:
        >>> mean_absolute_error(np.array([30.0, 40.0]), np.array([33.0, 39.0]))
        2.0
    """
    return float(np.abs(_errors(age, predicted)).mean())


def root_mean_square_error(age: np.ndarray, predicted: np.ndarray) -> float:
    """Root of the mean squared error, in years; arguments and errors as `mean_absolute_error`.

    Example:
        >>> root_mean_square_error(np.array([30.0, 40.0]), np.array([31.0, 47.0]))
        5.0
    """
    return float(np.sqrt(np.square(_errors(age, predicted)).mean()))


def bias(age: np.ndarray, predicted: np.ndarray) -> float:
    """Mean of predicted less true age, in years: above 0 people look older; arguments as `mean_absolute_error`.

    Example:
        >>> bias(np.array([30.0, 40.0]), np.array([33.0, 39.0]))
        1.0
    """
    return float(_errors(age, predicted).mean())


def cumulative_score(age: np.ndarray, predicted: np.ndarray, within: float) -> float:
    """Share of predictions that are at most `within` years off, 0 to 1 (the CS of the age estimation literature).

    Args:
        age: True ages, (n,), n at least 1.
        predicted: Predicted ages, (n,).
        within: Years, 0 or more.

    Raises:
        ValueError: as `mean_absolute_error`.

    Example:
        >>> cumulative_score(np.array([30.0, 40.0]), np.array([36.0, 39.0]), within=5)
        0.5
    """
    return float((np.abs(_errors(age, predicted)) <= within).mean())


def correlation(age: np.ndarray, predicted: np.ndarray) -> float:
    """Pearson's correlation of true and predicted age; NaN where one of them is always the same.

    It depends on how much the ages vary, so it can be compared only between systems on the same photos.
    Arguments and errors as `mean_absolute_error`.

    Example:
        >>> correlation(np.array([30.0, 40.0]), np.array([36.0, 39.0]))
        1.0
    """
    _errors(age, predicted)
    if np.ptp(age) == 0 or np.ptp(predicted) == 0:
        return float("nan")
    return float(np.corrcoef(age, predicted)[0, 1])


def age_bins(age: np.ndarray, width: int = 10) -> np.ndarray:
    """The youngest age of each age's bin, (n,) int64: 0, 10, 20 ... for decades.

    Example:
        >>> age_bins(np.array([9.9, 10.0, 47.0])).tolist()
        [0, 10, 40]
    """
    return np.floor_divide(age, width).astype(np.int64) * width


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

    Example:
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


def _number(clusters: np.ndarray | None, n: int) -> tuple[np.ndarray, int]:
    """For each row the number of its cluster, (n,), and how many clusters there are."""
    if clusters is None:
        return np.arange(n), n
    if len(clusters) != n:
        raise ValueError(f"Expected a cluster for each of {n} rows, got {len(clusters)}.")
    names, cluster_of = np.unique(clusters, return_inverse=True)
    return cluster_of, len(names)


def _errors(age: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Predicted less true age, (n,) float64."""
    age, predicted = np.asarray(age, np.float64), np.asarray(predicted, np.float64)
    if age.shape != predicted.shape or age.ndim != 1 or len(age) == 0:
        raise ValueError(f"Expected two arrays (n,) with n at least 1, got shapes {age.shape} and {predicted.shape}.")
    if not (np.isfinite(age).all() and np.isfinite(predicted).all()):
        raise ValueError("Ages must be finite numbers; some are not.")
    return predicted - age
