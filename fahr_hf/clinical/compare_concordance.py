"""Which of two scores ranks the same people better?"""

from dataclasses import dataclass
from math import erfc, nan, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from fahr_hf.clinical.concordance import concordance_influence


@dataclass(frozen=True)
class ConcordanceDifference:
    """Difference of two correlated C.

    Args:
        c_a: Harrell's C of the first score.
        c_b: Harrell's C of the second.
        difference: c_a - c_b.
        se: Standard error of the difference, from the infinitesimal jackknife.
        low: Lower end of the 95 % interval of the difference.
        high: Upper end.
        z: difference / se.
        p: Two-sided, from the normal distribution.
    """

    c_a: float
    c_b: float
    difference: float
    se: float
    low: float
    high: float
    z: float
    p: float


def compare_concordance(
    event: ArrayLike, time: ArrayLike, risk_a: ArrayLike, risk_b: ArrayLike, entry: ArrayLike | None = None
) -> ConcordanceDifference:
    """Compare Harrell's C of two scores of the same people, as the contrast (1, -1) of R's `concordance(fit_a, fit_b)`.

    Two scores of one cohort are correlated; the standard error is made of each person's influence on the difference
    itself, so that what the scores share cancels. Pairs and ties are as in `fahr_hf.clinical.concordance.concordance`.

    Args:
        event: (n,), whether the follow-up ended in death, 0 and 1 or booleans.
        time: (n,), time to death or censoring.
        risk_a: (n,), first score; higher means earlier death.
        risk_b: (n,), second score; higher means earlier death.
        entry: (n,), time of entry; None if everybody was observed from the start.

    Returns:
        The comparison. Two scores that rank everybody alike have difference 0, standard error 0 and p = 1; where the
        standard error is 0 although the difference is not, z and p are NaN, for the test then says nothing.

    Raises:
        ValueError: columns that are not such columns, or no comparable pair.

    Examples:
        >>> risk_a, risk_b = [0.8, 0.4, 0.6, 0.5, 0.3, 0.2], [0.3, 0.4, 0.5, 0.1, 0.2, 0.6]
        >>> found = compare_concordance([1, 1, 1, 0, 1, 0], [1, 2, 3, 4, 5, 6], risk_a, risk_b)
        >>> round(found.difference, 3), round(found.low, 3), round(found.high, 3)
        (0.385, -0.159, 0.928)
    """
    c_a, influence_a = concordance_influence(event, time, risk_a, entry)
    c_b, influence_b = concordance_influence(event, time, risk_b, entry)
    difference, se = c_a - c_b, sqrt(np.square(influence_a - influence_b).sum())
    if se > 0:
        z = difference / se
        p = erfc(abs(z) / sqrt(2))
    else:
        z, p = (0.0, 1.0) if difference == 0 else (nan, nan)
    margin = NormalDist().inv_cdf(0.975) * se
    return ConcordanceDifference(c_a, c_b, difference, se, difference - margin, difference + margin, z, p)
