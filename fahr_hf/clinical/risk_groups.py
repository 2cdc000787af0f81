"""Risk groups: quartiles of a score, or the groups that another cohort's cut points make."""

import numpy as np
from numpy.typing import ArrayLike

from fahr_hf.clinical.outcomes import check_column


def risk_groups(risk: ArrayLike, n: int = 4, cuts: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Put people into groups of rising risk.

    Cut points are quantiles of type 7, the default of R and numpy: at a share q the sorted scores are interpolated at
    position 1 + (rows - 1) q. A score that equals a cut point belongs to the lower group, as in R's
    `cut(risk, quantile(risk, 0:n / n), include.lowest=TRUE)`.

    Args:
        risk: (rows,) finite scores; higher means earlier death.
        n: Number of groups of about the same size; not used with `cuts`.
        cuts: (k,) rising cut points, as this function returned them for another cohort: k + 1 groups, of which some may
            be empty here.

    Returns:
        (rows,) int groups from 1, the lowest risk; and the (n - 1,) cut points.

    Raises:
        ValueError: scores or cut points that are no finite numbers, cut points that do not rise, fewer than two groups,
            or scores with so many ties that one of the n groups is empty.

    Examples:
        >>> group, cuts = risk_groups([0.8, 0.4, 0.6, 0.5, 0.3, 0.2], n=3)
        >>> group.tolist(), cuts.round(2).tolist()
        ([3, 2, 3, 2, 1, 1], [0.37, 0.53])
        >>> risk_groups([0.1, 0.45, 0.9], cuts=cuts)[0].tolist()
        [1, 2, 3]
    """
    score = check_column(risk, "risk")
    if cuts is not None:
        points = check_column(cuts, "cuts")
        if (np.diff(points) <= 0).any():
            raise ValueError(f"cuts must rise from each to the next, got {_listed(points)}.")
        return _group(score, points), points
    if n < 2:
        raise ValueError(f"n must be at least 2 groups, got {n}.")
    points = np.quantile(score, np.arange(1, n) / n)
    group = _group(score, points)
    sizes = np.bincount(group, minlength=n + 1)[1:]
    if (sizes == 0).any():
        raise ValueError(
            f"risk has {len(np.unique(score))} distinct values in {len(score)} rows, too few for {n} groups: the cut "
            f"points {_listed(points)} leave group {np.argmin(sizes) + 1} empty. Choose a smaller n, or cuts."
        )
    return group, points


def _group(score: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.searchsorted(points, score, side="left") + 1


def _listed(points: np.ndarray) -> str:
    return ", ".join(f"{point:g}" for point in points)
