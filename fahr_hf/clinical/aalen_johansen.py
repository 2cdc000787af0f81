"""Aalen-Johansen: the probability of having died of one cause, while other causes compete.

F_k(t) is the sum over death times u <= t of S(u-) d_k(u) / n(u), with S the Kaplan-Meier curve of all causes together
(Aalen and Johansen 1978). One minus the Kaplan-Meier curve of a single cause is more than that: it pretends that who
died of another cause could still die of this one. Conventions are those of R's `survfit` of a multi-state outcome.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fahr_hf.clinical.kaplan_meier import count_at_risk, log_interval
from fahr_hf.clinical.outcomes import Outcomes, check_column, check_outcomes


@dataclass(frozen=True)
class CumulativeIncidence:
    """Incidence of k causes at each of m distinct durations, ascending, censored ones included.

    Args:
        causes: (k,) int, the causes, in the order of the columns below.
        time: (m,) the distinct durations.
        at_risk: (m,) int, people with entry < time <= duration.
        events: (m, k) int, deaths of each cause at the time.
        censored: (m,) int, people whose follow-up ends at the time without death.
        survival: (m,) probability of having died of no cause.
        incidence: (m, k) probability of having died of each cause by the time.
        se: (m, k) standard error of `incidence`.
        low: (m, k) lower limit, F exp(-z se / F) with z the normal quantile; NaN while F is 0.
        high: (m, k) upper limit, F exp(z se / F), at most 1; NaN while F is 0.
    """

    causes: np.ndarray
    time: np.ndarray
    at_risk: np.ndarray
    events: np.ndarray
    censored: np.ndarray
    survival: np.ndarray
    incidence: np.ndarray
    se: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def at(self, times: ArrayLike) -> pd.DataFrame:
        """Incidence at given times.

        Args:
            times: (t,) or one number.

        Returns:
            One row a pair of cause and time, with `incidence`, `se`, `low` and `high`; deaths at the time itself are
            included. Beyond the last duration all are NaN.
        """
        wanted = check_column(np.atleast_1d(times), "times")
        row = np.searchsorted(self.time, wanted, side="right")
        index = pd.MultiIndex.from_product([self.causes, wanted], names=["cause", "time"])

        def look_up(values: np.ndarray, start: float) -> np.ndarray:
            padded = np.concatenate([np.full((1, len(self.causes)), start), values])[row]
            return np.where((wanted > self.time[-1])[:, None], np.nan, padded).T.ravel()

        columns = {
            "incidence": look_up(self.incidence, 0),
            "se": look_up(self.se, 0),
            "low": look_up(self.low, np.nan),
            "high": look_up(self.high, np.nan),
        }
        return pd.DataFrame(columns, index=index)


def aalen_johansen(
    duration: ArrayLike, cause: ArrayLike, entry: ArrayLike | None = None, *, level: float = 0.95
) -> CumulativeIncidence:
    """Estimate cumulative incidences, as R's `survfit(Surv(duration, factor(cause)) ~ 1)`.

    Times that differ by rounding alone are tied, as in R (`check_outcomes`). The variance is the infinitesimal
    jackknife's, as in R: the sum over people of the squared derivative of F_k(t) by a person's weight. Without delayed
    entry, and with one cause alone, it is Greenwood's.

    Args:
        duration: (n,), at least 0.
        cause: (n,), whole numbers: 0 for censoring, others for causes of death.
        entry: (n,), start of observation, before `duration`; None if all are observed from the origin.
        level: Coverage of the interval, between 0 and 1.

    Raises:
        ValueError: unusable columns (see `check_outcomes`), causes that are not whole numbers from 0, or no death.

    Examples:
        >>> aalen_johansen(duration=[1, 2, 3, 4], cause=[1, 2, 0, 1]).incidence.tolist()
        [[0.25, 0.0], [0.25, 0.25], [0.25, 0.25], [0.75, 0.25]]
    """
    outcomes = check_outcomes(duration, np.zeros(np.shape(duration)), entry)
    codes = check_column(cause, "cause", len(outcomes))
    wrong = np.flatnonzero((codes < 0) | (codes != np.floor(codes)))
    if len(wrong):
        raise ValueError(f"cause must be 0, 1, 2 and so on, got {codes[wrong[0]]:g} in row {wrong[0]}.")
    causes = np.unique(codes[codes > 0]).astype(int)
    if not len(causes):
        raise ValueError("every row of cause is 0: without a death there is no incidence to estimate.")

    time, row = np.unique(outcomes.duration, return_inverse=True)
    at_risk = count_at_risk(outcomes, time)
    events = np.stack([np.bincount(row[codes == one], minlength=len(time)) for one in causes], axis=1)
    survival = np.cumprod((at_risk - events.sum(axis=1)) / at_risk)
    before = np.concatenate([[1.0], survival[:-1]])
    incidence = np.cumsum(before[:, None] * events / at_risk[:, None], axis=0)
    variance = [
        _variance(outcomes, codes, one, row, at_risk, events.sum(axis=1), before, incidence[:, column])
        for column, one in enumerate(causes)
    ]
    se = np.sqrt(_without_noise(np.stack(variance, axis=1)))
    low, high = log_interval(incidence, se, level)
    censored = np.bincount(row[codes == 0], minlength=len(time))
    return CumulativeIncidence(causes, time, at_risk, events, censored, survival, incidence, se, low, high)


def _without_noise(variance: np.ndarray) -> np.ndarray:
    # The sums leave about 1e-15 where the variance is 0; of ten million people a single death has 1e-14.
    return np.where(variance < 1e-14, 0.0, variance)


def _variance(
    outcomes: Outcomes,
    codes: np.ndarray,
    cause: int,
    row: np.ndarray,
    at_risk: np.ndarray,
    deaths: np.ndarray,
    before: np.ndarray,
    incidence: np.ndarray,
) -> np.ndarray:
    """The sum of squared influences at every time, in time and memory proportional to people and times.

    With M the martingale residuals of a person, its derivative of F = F_k(t) is the sum over u <= t of
        S(u-) dM_k(u) / n(u)  -  [F - F(u)] dM(u) / (n(u) - d(u)),
    the first by its own hazard, the second by everybody's survival up to u. Both hold F only as a factor. So whoever
    has left by t contributes (a + b F)^2 with a and b of their own, and whoever is still at risk has gathered the same
    since entry as all others: g(t) - g(entry), g being a cumulative sum. Hence running sums of a^2, ab, b^2 suffice.
    """
    # Where everybody at risk dies nothing happens later: F - F(u) is 0, and the factor does not matter.
    left = at_risk - deaths
    lost = np.divide(1.0, left, out=np.zeros(len(left)), where=left > 0)
    own = np.diff(incidence, prepend=0.0) / at_risk
    others = deaths / at_risk * lost
    # The influence of being at risk at the times i to j - 1 is constant[j] - constant[i] + (slope[j] - slope[i]) F.
    constant = np.concatenate([[0.0], np.cumsum(-own - others * incidence)])
    slope = np.concatenate([[0.0], np.cumsum(others)])

    time = np.unique(outcomes.duration)
    entered = np.zeros(len(row), int)
    if outcomes.entry is not None:
        entered = np.searchsorted(time, outcomes.entry, side="right")
    died, died_of_it = codes > 0, codes == cause
    a = constant[row + 1] - constant[entered] + died_of_it * (before / at_risk)[row] + died * (lost * incidence)[row]
    b = slope[row + 1] - slope[entered] - died * lost[row]

    def left_by(values: np.ndarray) -> np.ndarray:
        return np.cumsum(np.bincount(row, values, minlength=len(time)))

    gone = left_by(a**2) + 2 * incidence * left_by(a * b) + incidence**2 * left_by(b**2)

    def staying(values: np.ndarray) -> np.ndarray:
        # `entered` is the first time at which somebody is at risk.
        return np.cumsum(np.bincount(entered, values, minlength=len(time))) - left_by(values)

    p, q = constant[entered], slope[entered]
    total = constant[1:] + slope[1:] * incidence
    gathered = staying(p) + incidence * staying(q)
    squares = staying(p**2) + 2 * incidence * staying(p * q) + incidence**2 * staying(q**2)
    return gone + staying(np.ones(len(row))) * total**2 - 2 * total * gathered + squares
