"""The log-rank test: do groups die at the same rate?

At each death time u a group j with n_j of the n people at risk expects d n_j / n of the d deaths. The test compares
observed and expected deaths, summed over times and strata (Mantel 1966), with the hypergeometric covariance
d (n - d) / (n - 1) [n_j / n (j = k) - n_j n_k / n^2]. Conventions are those of `survdiff` in R's package survival.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from fahr_hf.clinical.kaplan_meier import count_at_risk
from fahr_hf.clinical.outcomes import Outcomes, check_outcomes


@dataclass(frozen=True)
class LogRank:
    """The outcome of a log-rank test of k groups.

    Args:
        groups: (k,) labels, in the order of the other arrays.
        n: (k,) int, people.
        observed: (k,) deaths, each weighted by S(u-)^rho if rho is not 0.
        expected: (k,) deaths expected if all groups were alike, weighted likewise.
        covariance: (k, k) of observed - expected.
        chi2: The test statistic.
        df: Its degrees of freedom.
        p: Its probability under the null hypothesis.
    """

    groups: np.ndarray
    n: np.ndarray
    observed: np.ndarray
    expected: np.ndarray
    covariance: np.ndarray
    chi2: float
    df: int
    p: float


def log_rank_test(
    duration: ArrayLike,
    event: ArrayLike,
    group: ArrayLike,
    *,
    entry: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    rho: float = 0.0,
    trend: bool = False,
) -> LogRank:
    """Test whether groups have the same hazard of death.

    Times that differ by rounding alone are tied, as in R (`check_outcomes`). A group of which nobody was at risk at any
    death counts for nothing, as in R. With delayed entry the statistic is the score test of a Cox model whose ties are
    treated as exact.

    Args:
        duration: (n,), at least 0.
        event: (n,), 1 for death, 0 for censoring.
        group: (n,), any labels; groups are in sorted order, or in the order of a pandas Categorical.
        entry: (n,), start of observation, before `duration`; None if all are observed from the origin.
        strata: (n,), any labels; deaths are compared within a stratum only.
        rho: 0 for the log-rank test, 1 for Peto and Peto's Wilcoxon test: deaths at u count S(u-)^rho, S being the
            Kaplan-Meier curve of all groups of the stratum together (Harrington and Fleming 1982).
        trend: Test for a hazard that rises or falls along the groups, with scores 1 to k in their order, on one degree
            of freedom (Tarone 1975).

    Raises:
        ValueError: unusable columns (see `check_outcomes`), missing labels, no death, or groups that cannot be
            compared, because fewer than two were at risk at a death, or none together with another one.

    Examples:
        >>> test = log_rank_test(duration=[1, 2, 3, 4, 5, 6], event=[1, 1, 1, 0, 1, 0], group=list("aaabbb"))
        >>> round(test.chi2, 3), test.df, round(test.p, 3)
        (5.052, 1, 0.025)
    """
    outcomes = check_outcomes(duration, event, entry)
    groups, member = _labels(group, "group", len(outcomes))
    if len(groups) < 2:
        raise ValueError(f"group must hold at least two groups, got only {groups[0]}.")
    stratum = np.zeros(len(outcomes), int) if strata is None else _labels(strata, "strata", len(outcomes))[1]
    if not outcomes.event.any():
        raise ValueError("no row of event is 1: without a death there is nothing to compare.")

    observed, expected = np.zeros(len(groups)), np.zeros(len(groups))
    covariance = np.zeros((len(groups), len(groups)))
    for one in range(stratum.max() + 1):
        inside = stratum == one
        sums = _compare(_subset(outcomes, inside), member[inside], len(groups), rho)
        observed, expected, covariance = observed + sums[0], expected + sums[1], covariance + sums[2]

    exposed = np.flatnonzero(expected > 0)
    # The differences add up to 0, so the first one says nothing that the others do not.
    contrast = np.arange(1, len(groups) + 1)[None] if trend else np.eye(len(groups))[exposed[1:]]
    difference = contrast @ (observed - expected)
    variance = contrast @ covariance @ contrast.T
    df = len(contrast)
    if not df or np.linalg.matrix_rank(variance, tol=1e-12 * np.trace(covariance), hermitian=True) < df:
        raise ValueError(
            f"the groups {', '.join(map(str, groups))} cannot be compared: at no death were people of all parts at "
            "risk together. Merge groups, or strata."
        )
    statistic = float(difference @ np.linalg.solve(variance, difference))
    return LogRank(
        groups=groups,
        n=np.bincount(member, minlength=len(groups)),
        observed=observed,
        expected=expected,
        covariance=covariance,
        chi2=statistic,
        df=df,
        p=float(special.chdtrc(df, statistic)),
    )


def _compare(
    outcomes: Outcomes, member: np.ndarray, groups: int, rho: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    time = np.unique(outcomes.duration[outcomes.event])
    parts = [_subset(outcomes, member == one) for one in range(groups)]
    deaths = np.stack([_deaths(part, time) for part in parts], axis=1)
    at_risk = np.stack([count_at_risk(part, time) for part in parts], axis=1)
    d, n = deaths.sum(axis=1), at_risk.sum(axis=1)
    share = at_risk / n[:, None]
    survival = np.cumprod((n - d) / n)
    weight = np.concatenate([[1.0], survival[:-1]])[: len(time)] ** rho
    spread = weight**2 * d * (n - d) / np.maximum(n - 1, 1)
    covariance = np.diag(spread @ share) - (share * spread[:, None]).T @ share
    return weight @ deaths, (weight * d) @ share, covariance


def _deaths(outcomes: Outcomes, time: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(time, outcomes.duration[outcomes.event]), minlength=len(time))


def _subset(outcomes: Outcomes, rows: np.ndarray) -> Outcomes:
    entry = None if outcomes.entry is None else outcomes.entry[rows]
    return Outcomes(outcomes.duration[rows], outcomes.event[rows], entry)


def _labels(values: ArrayLike, name: str, length: int) -> tuple[np.ndarray, np.ndarray]:
    column = pd.Categorical(values).remove_unused_categories()
    if len(column) != length:
        raise ValueError(f"{name} has {len(column)} rows, and duration has {length}.")
    missing = np.flatnonzero(column.codes < 0)
    if len(missing):
        raise ValueError(f"{name} must not be missing; it is in row {missing[0]}, {len(missing)} rows in all.")
    return np.asarray(column.categories), column.codes.astype(int)
