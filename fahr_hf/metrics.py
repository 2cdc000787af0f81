"""Figures of merit for age estimates: plain functions on arrays."""

from collections.abc import Callable

import numpy as np


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
    return float(_absolute_errors(age, predicted).mean())


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
    return float((_absolute_errors(age, predicted) <= within).mean())


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a statistic by resampling rows (Efron 1979).

    Args:
        statistic: Of the arrays, in their order.
        *arrays: Each (n, ...), with the same n; row i of all of them belongs together.
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
    generator = np.random.default_rng(seed)
    n = lengths.pop()
    draws = (generator.integers(n, size=n) for _ in range(resamples))
    values = [statistic(*(array[draw] for array in arrays)) for draw in draws]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _absolute_errors(age: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    age, predicted = np.asarray(age, np.float64), np.asarray(predicted, np.float64)
    if age.shape != predicted.shape or age.ndim != 1 or len(age) == 0:
        raise ValueError(f"Expected two arrays (n,) with n at least 1, got shapes {age.shape} and {predicted.shape}.")
    if not (np.isfinite(age).all() and np.isfinite(predicted).all()):
        raise ValueError("Ages must be finite numbers; some are not.")
    return np.abs(age - predicted)
