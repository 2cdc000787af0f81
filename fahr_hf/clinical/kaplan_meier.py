"""Kaplan-Meier: the probability of being alive at a time, with R's intervals, medians and restricted means.

S(t) is the product over death times u <= t of 1 - d(u) / n(u), d deaths among n at risk (Kaplan and Meier 1958).
Conventions are those of `survfit` in R's package survival: a person is at risk at u if entry < u <= duration, so who is
censored at u still counts at u, and a death at 0 counts.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from fahr_hf.clinical.outcomes import Outcomes, check_column, check_outcomes

# As close to one half as R's print takes for one half.
_HALF = 0.5 + np.sqrt(np.finfo(float).eps)

IntervalType = Literal["log", "log-log"]


class Median(NamedTuple):
    """A median time and its interval; NaN where the curve or its limit does not come down to one half."""

    median: float
    low: float
    high: float


class RestrictedMean(NamedTuple):
    """The mean time lived up to `tau`, and its standard error."""

    mean: float
    se: float
    tau: float


@dataclass(frozen=True)
class KaplanMeier:
    """A survival curve: one value for each of m distinct durations, ascending, censored ones included.

    Args:
        outcomes: The follow-up behind the curve.
        time: (m,) the distinct durations.
        at_risk: (m,) int, people with entry < time <= duration.
        events: (m,) int, deaths at the time.
        censored: (m,) int, people whose follow-up ends at the time without death.
        survival: (m,) probability of being alive after the time.
        se: (m,) standard error of `survival` by Greenwood's formula, `summary(survfit(...))$std.err` in R (whereas
            `survfit(...)$std.err` is that of log S, se / survival); NaN where nobody is left.
        low: (m,) lower limit; NaN where survival is 0, and with log-log intervals also where it is 1.
        high: (m,) upper limit, at most 1; NaN likewise.
    """

    outcomes: Outcomes
    time: np.ndarray
    at_risk: np.ndarray
    events: np.ndarray
    censored: np.ndarray
    survival: np.ndarray
    se: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def at(self, times: ArrayLike) -> pd.DataFrame:
        """The curve at given times: what a table or the numbers below a figure show.

        Args:
            times: (k,) or one number.

        Returns:
            One row a time, with `at_risk`, `survival`, `se`, `low` and `high`. Survival includes deaths at the time
            itself; those at risk are counted just before it. Beyond the last duration nobody is at risk and the rest is
            NaN. With delayed entry R's `summary(fit, times)` counts those at risk at the next time of the curve; here
            they are counted at the time itself.
        """
        wanted = check_column(np.atleast_1d(times), "times")
        row = np.searchsorted(self.time, wanted, side="right")
        beyond = wanted > self.time[-1]

        def look_up(values: np.ndarray, start: float) -> np.ndarray:
            return np.where(beyond, np.nan, np.concatenate([[start], values])[row])

        columns = {
            "at_risk": count_at_risk(self.outcomes, wanted),
            "survival": look_up(self.survival, 1),
            "se": look_up(self.se, 0),
            "low": look_up(self.low, 1),
            "high": look_up(self.high, 1),
        }
        return pd.DataFrame(columns, index=pd.Index(wanted, name="time"))

    def median(self) -> Median:
        """The first time at which survival is at most one half, and the same of both limits.

        Where a curve runs flat at exactly one half and falls later, the middle of the flat stretch, as R prints it.
        """
        return Median(*(_first_half(self.time, curve) for curve in (self.survival, self.low, self.high)))

    def restricted_mean(self, tau: float | None = None) -> RestrictedMean:
        """The area below the curve from 0 to tau: the mean time lived up to tau (R's `print(fit, rmean=tau)`).

        The variance is the sum over death times u <= tau of [area from u to tau]^2 d / (n (n - d)); the last term is
        left out where d = n (Klein and Moeschberger, section 4.5).

        Args:
            tau: In units of the durations; the last duration if left out.

        Raises:
            ValueError: tau is not positive, or beyond the last duration of a curve that has not come down to 0.
        """
        last = float(self.time[-1])
        tau = last if tau is None else float(tau)
        if not 0 < tau < np.inf:
            raise ValueError(f"tau must be a positive time, got {tau:g}.")
        if tau > last and self.survival[-1] > 0:
            raise ValueError(
                f"tau is {tau:g}, but follow-up ends at {last:g} with survival {self.survival[-1]:.3g}: the mean up to "
                f"tau is not known. Choose tau up to {last:g}."
            )
        within = self.time <= tau
        start = np.concatenate([[0.0], self.time[within]])
        height = np.concatenate([[1.0], self.survival[within]])
        areas = np.diff(start, append=tau) * height
        # area_after[i]: from the i-th time to tau.
        area_after = np.cumsum(areas[::-1])[::-1][1:]
        variance = np.sum(area_after**2 * _greenwood(self.at_risk, self.events, 0.0)[within])
        return RestrictedMean(float(areas.sum()), float(np.sqrt(variance)), tau)


def kaplan_meier(
    duration: ArrayLike,
    event: ArrayLike,
    entry: ArrayLike | None = None,
    *,
    conf_type: IntervalType = "log",
    level: float = 0.95,
) -> KaplanMeier:
    """Estimate a survival curve, as R's `survfit(Surv(entry, duration, event) ~ 1)`.

    Times that differ by rounding alone are tied, as in R (`check_outcomes`). With z the normal quantile and s = se / S,
    the limits are S exp(-/+ z s) ("log", R's default) or S^exp(+/- z s / log S) ("log-log").

    With delayed entry everybody at risk may die while others have yet to enter: the curve is 0 from there on, as in R.

    Args:
        duration: (n,), at least 0.
        event: (n,), 1 for death, 0 for censoring; all censored gives a flat curve.
        entry: (n,), start of observation, before `duration`; None if all are observed from the origin.
        conf_type: "log" or "log-log".
        level: Coverage of the interval, between 0 and 1.

    Raises:
        ValueError: unusable columns (see `check_outcomes`), an unknown `conf_type`, or a level outside (0, 1).

    Examples:
        >>> curve = kaplan_meier(duration=[1, 2, 3, 4], event=[1, 0, 1, 0])
        >>> curve.survival.tolist()
        [0.75, 0.75, 0.375, 0.375]
        >>> curve.median().median
        3.0
    """
    outcomes = check_outcomes(duration, event, entry)
    time, row = np.unique(outcomes.duration, return_inverse=True)
    events = np.bincount(row[outcomes.event], minlength=len(time))
    at_risk = count_at_risk(outcomes, time)
    survival = np.cumprod((at_risk - events) / at_risk)
    with np.errstate(invalid="ignore"):
        se = survival * np.sqrt(np.cumsum(_greenwood(at_risk, events, np.inf)))
    low, high = log_interval(survival, se, level) if conf_type == "log" else _log_log(survival, se, level, conf_type)
    censored = np.bincount(row, minlength=len(time)) - events
    return KaplanMeier(outcomes, time, at_risk, events, censored, survival, se, low, high)


def follow_up(duration: ArrayLike, event: ArrayLike, entry: ArrayLike | None = None, *, level: float = 0.95) -> Median:
    """Median follow-up by the reverse Kaplan-Meier method (Schemper and Smith 1996).

    The curve of the time to censoring, in which a death ends the observation of it; limits of the "log" kind.

    Args:
        duration: (n,), at least 0.
        event: (n,), 1 for death, 0 for censoring.
        entry: (n,), start of observation, or None.
        level: Coverage of the interval.

    Returns:
        Median follow-up with its interval; NaN where more than half died before they could be censored.

    Examples:
        >>> follow_up(duration=[1, 2, 3, 4], event=[1, 0, 1, 0]).median
        4.0
    """
    outcomes = check_outcomes(duration, event, entry)
    return kaplan_meier(outcomes.duration, ~outcomes.event, outcomes.entry, level=level).median()


def count_at_risk(outcomes: Outcomes, times: np.ndarray) -> np.ndarray:
    """How many people are at risk at each time: entry < time <= duration.

    Args:
        outcomes: Follow-up of n people.
        times: (k,), in any order.

    Returns:
        (k,) int.
    """
    count = _at_or_after(outcomes.duration, times)
    return count if outcomes.entry is None else count - _at_or_after(outcomes.entry, times)


def log_interval(estimate: np.ndarray, se: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Limits that are symmetric around the logarithm of a probability: p exp(-/+ z se / p), at most 1.

    Args:
        estimate: Probabilities p; where one is 0, both limits are NaN.
        se: Their standard errors, of the same shape.
        level: Coverage, between 0 and 1.
    """
    z = _normal_quantile(level)
    p = np.where(estimate == 0, np.nan, estimate)
    return p * np.exp(-z * se / p), np.minimum(p * np.exp(z * se / p), 1)


def _log_log(survival: np.ndarray, se: np.ndarray, level: float, conf_type: str) -> tuple[np.ndarray, np.ndarray]:
    if conf_type != "log-log":
        raise ValueError(f'conf_type must be "log" or "log-log", got {conf_type!r}.')
    z = _normal_quantile(level)
    p = np.where((survival == 0) | (survival == 1), np.nan, survival)
    spread = z * se / (p * np.log(p))
    # log p is negative, and so is the spread: the first limit is the lower one.
    return p ** np.exp(-spread), p ** np.exp(spread)


def _normal_quantile(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level:g}; 0.95 is the usual one.")
    return float(special.ndtri((1 + level) / 2))


def _greenwood(at_risk: np.ndarray, events: np.ndarray, when_all_die: float) -> np.ndarray:
    left = at_risk - events
    return np.divide(events, at_risk * left, out=np.full(len(left), when_all_die), where=left > 0)


def _first_half(time: np.ndarray, curve: np.ndarray) -> float:
    reached = np.flatnonzero(curve < _HALF)  # Never by a NaN
    if not len(reached):
        return np.nan
    first = reached[0]
    below = reached[curve[reached] < curve[first]]
    if curve[first] > 1 - _HALF and len(below):
        return float((time[first] + time[below[0]]) / 2)
    return float(time[first])


def _at_or_after(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    return len(values) - np.searchsorted(np.sort(values), times, side="left")
