"""Harrell's concordance and its standard error: of two people whose order of death is known, did the riskier die first?

Person i anchors a pair with j if i died and j was then under observation and lived on. Nobody compares all pairs: each
person needs only the number of partners with a lower and with a higher risk, and those counts come out of one sort by
time and a wavelet matrix over the ranks of the risks, in n log n steps and memory of order n.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fahr_hf.clinical.outcomes import Outcomes, check_column, check_outcomes


@dataclass(frozen=True)
class PairCounts:
    """What each of n people contributes to the comparable pairs; all (n,) int64.

    Args:
        anchor_score: Over the pairs that a person anchors by dying first: partners with a lower risk minus partners
            with a higher one.
        anchor_pairs: Number of those pairs.
        partner_score: Over the pairs in which a person outlives another: deaths with a higher risk minus deaths with a
            lower one.
        partner_pairs: Number of those pairs.
    """

    anchor_score: np.ndarray
    anchor_pairs: np.ndarray
    partner_score: np.ndarray
    partner_pairs: np.ndarray


def concordance(
    event: ArrayLike, time: ArrayLike, risk: ArrayLike, entry: ArrayLike | None = None
) -> tuple[float, float]:
    """Harrell's C and its infinitesimal-jackknife standard error, as R's `concordance(y ~ risk, reverse=TRUE)`.

    A pair is comparable if one person died at t and the other was observed beyond t, or was censored at t itself; with
    delayed entry the other must also have entered before t. Two deaths at the same time are not comparable, and a
    comparable pair with equal risks counts one half. Times that differ by rounding alone are equal,
    as in R (`check_outcomes`); risks are compared exactly.

    Args:
        event: (n,), whether the follow-up ended in death, 0 and 1 or booleans.
        time: (n,), time to death or censoring, at least 0.
        risk: (n,), any score on any scale; higher means earlier death.
        entry: (n,), time of entry, smaller than `time`; None if everybody was observed from the start.

    Returns:
        C, 0 to 1, and its standard error.

    Raises:
        ValueError: columns that are not such columns, or no comparable pair.

    Examples:
        >>> concordance(event=[1, 1, 0], time=[1.0, 2.0, 3.0], risk=[0.3, 0.9, 0.1])[0]
        0.6666666666666666
    """
    c, influence = concordance_influence(event, time, risk, entry)
    return c, float(np.sqrt(np.square(influence).sum()))


def concordance_influence(
    event: ArrayLike, time: ArrayLike, risk: ArrayLike, entry: ArrayLike | None = None
) -> tuple[float, np.ndarray]:
    """Harrell's C and the derivative of C with respect to the weight of each person.

    The squared influences add up to the variance of C. Subtract those of another score of the same people and square:
    they add up to the variance of the difference of the two C.

    Args:
        event: As `concordance`.
        time: As `concordance`.
        risk: As `concordance`.
        entry: As `concordance`.

    Returns:
        C, and the influences, (n,) float64 with sum 0.

    Raises:
        ValueError: as `concordance`.
    """
    outcomes = check_outcomes(time, event, entry)
    counts = count_pairs(outcomes, check_column(risk, "risk", len(outcomes)))
    pairs = int(counts.anchor_pairs.sum())
    if not pairs:
        deaths = int(outcomes.event.sum())
        raise ValueError(
            f"No pair of people is comparable ({deaths} of {len(outcomes)} died): C needs a death at a time that "
            "somebody else under observation outlived."
        )
    # Somers' d: concordant minus discordant pairs, over all comparable ones. C = (1 + d) / 2.
    d = counts.anchor_score.sum() / pairs
    score, own_pairs = counts.anchor_score + counts.partner_score, counts.anchor_pairs + counts.partner_pairs
    return float((1 + d) / 2), (score - d * own_pairs) / (2 * pairs)


def count_pairs(outcomes: Outcomes, risk: np.ndarray) -> PairCounts:
    """Count every person's comparable pairs, in n log n steps.

    Args:
        outcomes: Of n people.
        risk: (n,), finite.
    """
    n, died = len(outcomes), outcomes.event
    _, rank = np.unique(risk, return_inverse=True)
    _, moment = np.unique(outcomes.duration, return_inverse=True)
    # Censored at t comes after death at t.
    moment = 2 * moment + ~died

    by_moment = np.argsort(moment)
    beyond = np.searchsorted(moment[by_moment], moment[died], side="right")
    lower, higher = _count_lower_and_higher(rank[by_moment], beyond, np.full_like(beyond, n), rank[died])
    if outcomes.entry is not None:
        by_entry = np.argsort(outcomes.entry)
        late = np.searchsorted(outcomes.entry[by_entry], outcomes.duration[died], side="left")
        late_lower, late_higher = _count_lower_and_higher(rank[by_entry], late, np.full_like(late, n), rank[died])
        lower, higher, beyond = lower - late_lower, higher - late_higher, beyond + n - late
    anchor_score, anchor_pairs = np.zeros((2, n), np.int64)
    anchor_score[died], anchor_pairs[died] = lower - higher, n - beyond

    deaths = by_moment[died[by_moment]]
    stop = np.searchsorted(moment[deaths], moment, side="left")
    start = np.zeros_like(stop)
    if outcomes.entry is not None:
        start = np.searchsorted(outcomes.duration[deaths], outcomes.entry, side="right")
    lower, higher = _count_lower_and_higher(rank[deaths], start, stop, rank)
    return PairCounts(anchor_score, anchor_pairs, higher - lower, stop - start)


def _count_lower_and_higher(
    ranks: np.ndarray, start: np.ndarray, stop: np.ndarray, limit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    lower = _count_below(ranks, start, stop, limit)
    return lower, stop - start - _count_below(ranks, start, stop, limit + 1)


def _count_below(ranks: np.ndarray, start: np.ndarray, stop: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """For each query: how many of ranks[start:stop] are smaller than limit (Claude et al. 2015, the wavelet matrix)."""
    below = np.zeros(len(limit), np.int64)
    largest = max(ranks.max(initial=0), limit.max(initial=0))
    for bit in reversed(range(int(largest).bit_length())):
        # From the highest bit down: ranks with a 0 move to the front in their order, and each query follows its limit.
        ones = (ranks >> bit & 1).astype(bool)
        zeros_before = np.concatenate([[0], np.cumsum(~ones)])
        zero_start, zero_stop = zeros_before[start], zeros_before[stop]
        is_one = (limit >> bit & 1).astype(bool)
        below += np.where(is_one, zero_stop - zero_start, 0)
        start = np.where(is_one, zeros_before[-1] + start - zero_start, zero_start)
        stop = np.where(is_one, zeros_before[-1] + stop - zero_stop, zero_stop)
        ranks = np.concatenate([ranks[~ones], ranks[ones]])
    return below
