"""Intervals around predicted ages by split-conformal prediction, fitted on photos that nothing else was fitted on.

A table says, for each bin of predicted age, how far below and above the prediction the true age may lie. The bins are
whole years, merged from the youngest up until each has enough photos. In a bin with n photos the residuals, true minus
predicted age, are sorted with their signs, and each tail gets half of what the level leaves over: with rank
r = ceil((n + 1) (1 + level) / 2) the interval runs from the (n + 1 - r)-th to the r-th residual, both added to the
prediction (Lei et al. 2018, by bins as in Vovk's Mondrian prediction). The bias of a bin is thereby taken out as well.

What is guaranteed: of new photos that come as the calibration photos came, and whose predicted age falls into a bin,
at least a share of `level` has its true age in the interval, on average over calibrations. The guarantee is marginal
within bins of predicted age. It does not hold by true age: where predictions are drawn towards the middle, as they are
for the very old, the share can be lower, and `coverage` shows it. Nor does it hold for photos of another kind.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# Wide enough for any age; where a bin begins or ends beyond the outermost edge it is open.
_OLDEST = 130


def fit_intervals(
    age: np.ndarray, predicted: np.ndarray, data: str, level: float = 0.9, least: int = 200
) -> dict[str, Any]:
    """The table of intervals that calibration photos give.

    Args:
        age: True ages in years, (n,).
        predicted: Predicted ages of the same photos in years, (n,).
        data: What the photos are, for the table.
        level: Share of true ages that intervals shall hold, between 0 and 1.
        least: Photos that a bin has at least; fewer photos than that make a single bin.

    Returns:
        `{"level", "photos", "data", "edges", "below", "above", "counts"}` for `config.calibration["age"]`: for k bins
        the k - 1 ages between them, and for each bin the years below and above the prediction and its photos. A
        prediction on an edge belongs to the bin above it. `below` or `above` is negative where a bin's bias is larger
        than its spread.

    Raises:
        ValueError: a level outside 0 to 1; shapes that differ or values that are not finite; or too few photos for the
            rank, with the number that is needed.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a share between 0 and 1, such as 0.9.")
    age, predicted = _finite("age", age), _finite("predicted", predicted)
    if age.shape != predicted.shape:
        raise ValueError(f"Expected one prediction a photo, got {len(age)} ages and {len(predicted)} predictions.")
    needed = math.ceil(round(2 / (1 - level), 9)) - 1
    if len(age) < needed:
        raise ValueError(
            f"{len(age)} calibration photos are too few for an interval that holds {level:.0%} of the ages: at least "
            f"{needed} are needed, and some hundreds for one that is not needlessly wide."
        )
    edges = _edges(predicted, max(least, needed))
    bins = np.searchsorted(edges, predicted, side="right")
    tails = [_tails(np.sort(age[bins == i] - predicted[bins == i]), level) for i in range(len(edges) + 1)]
    return {
        "level": level,
        "photos": len(age),
        "data": data,
        "edges": edges,
        "below": [-low for low, _ in tails],
        "above": [high for _, high in tails],
        "counts": np.bincount(bins, minlength=len(edges) + 1).tolist(),
    }


def intervals(table: dict[str, Any], predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The intervals of predicted ages.

    Args:
        table: What `fit_intervals` gave.
        predicted: Predicted ages in years, (n,).

    Returns:
        Lower ends, not below 0, and upper ends, in years, (n,) each.
    """
    predicted = np.asarray(predicted, np.float64)
    bins = np.searchsorted(table["edges"], predicted, side="right")
    below, above = np.array(table["below"])[bins], np.array(table["above"])[bins]
    return np.maximum(0.0, predicted - below), predicted + above


def coverage(age: np.ndarray, low: np.ndarray, high: np.ndarray) -> "pd.DataFrame":
    """How many true ages lie in their intervals, by decade of true age, where nothing is guaranteed, and over all.

    Args:
        age: True ages in years, (n,), n at least 1.
        low: Lower ends in years, (n,).
        high: Upper ends in years, (n,).

    Returns:
        One row a decade that has photos, and a last row for all: `age` (such as "20 to 29", or "all"), `photos`,
        `coverage` (0 to 1) with Wilson's 95 % interval `coverage_low` and `coverage_high`, and `width`, the median
        width of the intervals in years.
    """
    import pandas as pd
    from scipy.stats import binomtest

    age = np.asarray(age, np.float64)
    photos = pd.DataFrame({"inside": (low <= age) & (age <= high), "width": np.subtract(high, low)})
    decade = (age // 10 * 10).astype(int)
    groups = [(f"{start} to {start + 9}", photos[decade == start]) for start in np.unique(decade)]
    rows = []
    for name, group in [*groups, ("all", photos)]:
        covered = binomtest(int(group["inside"].sum()), len(group))
        ends = covered.proportion_ci(method="wilson")
        rows.append((name, len(group), covered.statistic, ends.low, ends.high, group["width"].median()))
    return pd.DataFrame(rows, columns=["age", "photos", "coverage", "coverage_low", "coverage_high", "width"])


def _edges(predicted: np.ndarray, least: int) -> list[float]:
    """Interior edges of the merged bins; chosen by how many predictions there are, and never by their errors."""
    edges: list[float] = []
    for edge in range(1, _OLDEST):
        start = edges[-1] if edges else -math.inf
        inside = np.count_nonzero((predicted >= start) & (predicted < edge))
        beyond = np.count_nonzero(predicted >= edge)
        if min(inside, beyond) >= least:
            edges.append(float(edge))
    return edges


def _tails(residuals: np.ndarray, level: float) -> tuple[float, float]:
    n = len(residuals)
    # Rounded, because (n + 1) (1 + level) / 2 may be a whole number, and its floating-point value just above it.
    rank = math.ceil(round((n + 1) * (1 + level) / 2, 9))
    return float(residuals[n - rank]), float(residuals[rank - 1])


def _finite(name: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite numbers (n,), got shape {values.shape}; leave out photos without.")
    return values
