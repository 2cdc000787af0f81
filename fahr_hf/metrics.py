"""Figures of merit for age estimates: plain functions on arrays."""

import numpy as np


def mean_absolute_error(age: np.ndarray, predicted: np.ndarray) -> float:
    """Mean absolute error, in the unit of the arguments (years).

    Args:
        age: True ages, (n,), n at least 1.
        predicted: Predicted ages, (n,).

    Raises:
        ValueError: shapes that differ, no values, or values that are not finite.

    Examples:
        >>> mean_absolute_error(np.array([30.0, 40.0]), np.array([33.0, 39.0]))
        2.0
    """
    return float(np.abs(_errors(age, predicted)).mean())


def root_mean_square_error(age: np.ndarray, predicted: np.ndarray) -> float:
    """Root of the mean squared error, in years; arguments and errors as `mean_absolute_error`.

    Examples:
        >>> root_mean_square_error(np.array([30.0, 40.0]), np.array([31.0, 47.0]))
        5.0
    """
    return float(np.sqrt(np.square(_errors(age, predicted)).mean()))


def bias(age: np.ndarray, predicted: np.ndarray) -> float:
    """Mean of predicted less true age, in years: above 0 people look older; arguments as `mean_absolute_error`.

    Examples:
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

    Examples:
        >>> cumulative_score(np.array([30.0, 40.0]), np.array([36.0, 39.0]), within=5)
        0.5
    """
    return float((np.abs(_errors(age, predicted)) <= within).mean())


def correlation(age: np.ndarray, predicted: np.ndarray) -> float:
    """Pearson's correlation of true and predicted age; NaN where one of them is always the same.

    It depends on how much the ages vary, so it can be compared only between systems on the same photos.
    Arguments and errors as `mean_absolute_error`.

    Examples:
        >>> correlation(np.array([30.0, 40.0]), np.array([36.0, 39.0]))
        1.0
    """
    _errors(age, predicted)
    if np.ptp(age) == 0 or np.ptp(predicted) == 0:
        return float("nan")
    return float(np.corrcoef(age, predicted)[0, 1])


def age_bins(age: np.ndarray, width: int = 10) -> np.ndarray:
    """The youngest age of each age's bin, (n,) int64: 0, 10, 20 ... for decades.

    Examples:
        >>> age_bins(np.array([9.9, 10.0, 47.0])).tolist()
        [0, 10, 40]
    """
    return np.floor_divide(age, width).astype(np.int64) * width


def _errors(age: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Predicted less true age, (n,) float64."""
    age, predicted = np.asarray(age, np.float64), np.asarray(predicted, np.float64)
    if age.shape != predicted.shape or age.ndim != 1 or len(age) == 0:
        raise ValueError(f"Expected two arrays (n,) with n at least 1, got shapes {age.shape} and {predicted.shape}.")
    if not (np.isfinite(age).all() and np.isfinite(predicted).all()):
        raise ValueError("Ages must be finite numbers; some are not.")
    return predicted - age
