"""Is a mean change small enough not to matter? Two one-sided tests (Schuirmann 1987) against a margin.

That a difference is not significant says nothing: with few people nothing ever is. Equivalence has to be shown, by
rejecting both that the mean change is as low as -margin and that it is as high as +margin. At 5 % that is the same as a
90 % interval inside the margins. Margins are fixed here, before anybody has seen data.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import ttest_1samp

AGE_MARGIN = 1.0
"""Years of mean change of predicted age that do not matter."""

RISK_MARGIN = 0.1
"""Mean change of risk that does not matter, in standard deviations of risk in the model's reference cohort."""

ALPHA = 0.05
"""Of both tests, and of the test of a difference."""

# Changes that differ by less than this share of the values differ by rounding alone.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Equivalence:
    """What came of the tests of a mean change.

    Args:
        n: Pairs.
        difference: Mean of after less before.
        low: Lower end of its 90 % interval.
        high: Upper end; both inside the margins are the same as `p` below 5 %.
        p: Of equivalence: the larger one of the two one-sided t tests.
        p_different: Of the two-sided paired t test.
        margin: In the unit of the values.
    """

    n: int
    difference: float
    low: float
    high: float
    p: float
    p_different: float
    margin: float


def paired_equivalence(before: ArrayLike, after: ArrayLike, margin: float) -> Equivalence:
    """Test whether a mean change lies within -margin and +margin.

    Args:
        before: (n,), n at least 2, one value a person.
        after: (n,), of the same people.
        margin: Above 0, in the unit of the values; fixed before the data are seen.

    Raises:
        ValueError: arrays that are no pairs of finite numbers, a margin that is not above 0, or changes that are all
            the same, of which there is no t test.

    Examples:
        >>> found = paired_equivalence([30, 40, 50, 60], [30.2, 39.9, 50.3, 60.1], margin=1)
        >>> round(found.difference, 3), round(found.p, 4)
        (0.125, 0.001)
    """
    change = np.subtract(after, before, dtype=np.float64)
    if np.shape(before) != np.shape(after) or change.ndim != 1 or len(change) < 2 or not np.isfinite(change).all():
        raise ValueError(
            f"Expected two arrays (n,) of finite numbers with n at least 2, got shapes {np.shape(before)} and "
            f"{np.shape(after)}, and {int(np.isfinite(change).sum())} finite changes."
        )
    if not margin > 0:
        raise ValueError(f"margin must be above 0, got {margin}.")
    if np.ptp(change) <= _ROUNDING * max(np.abs(before).max(), np.abs(after).max()):
        raise ValueError(f"All changes are the same, {change.mean():.4g}: no t test.")
    above = ttest_1samp(change, -margin, alternative="greater")
    below = ttest_1samp(change, margin, alternative="less")
    zero = ttest_1samp(change, 0)
    interval = zero.confidence_interval(1 - 2 * ALPHA)
    return Equivalence(
        n=len(change),
        difference=float(change.mean()),
        low=float(interval.low),
        high=float(interval.high),
        p=float(max(above.pvalue, below.pvalue)),
        p_different=float(zero.pvalue),
        margin=margin,
    )


def verdict(p_different: float, p_equivalent: float, within: str) -> str:
    """In words, what two tests say at 5 %.

    Args:
        p_different: Of the test of a difference; NaN where there was none.
        p_equivalent: Of the test of equivalence, likewise.
        within: The margin in words, such as `"+-1 year"`.

    Examples:
        >>> verdict(0.3, 0.2, "+-1 year")
        'not shown either way'
    """
    if np.isnan(p_different) or np.isnan(p_equivalent):
        return "not tested"
    if p_equivalent < ALPHA:
        return f"different, but equivalent within {within}" if p_different < ALPHA else f"equivalent within {within}"
    return "different" if p_different < ALPHA else "not shown either way"
