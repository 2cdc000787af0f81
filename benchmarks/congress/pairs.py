"""Concordance within pairs of people who are alike, with its interval from a bootstrap of persons.

Among all pairs, whoever was born earlier, or is a man, tends to die first, and a face shows both. Only pairs alike in
these ask whether it shows anything else.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from fahr_hf.resampling import ratio, with_interval

_AGE, _FIRST_TERM = 2.0, 5.0
# Times are differences of decimal years; what differs by less than a minute is equal.
_DECIMALS = 6


class Concordance(NamedTuple):
    """C with its 95 % interval, and the number of pairs it is of."""

    c: float
    c_low: float
    c_high: float
    pairs: int


def alike(people: pd.DataFrame) -> np.ndarray:
    """Pairs of the same sex, age at the first term within 2 and its start within 5 years, (n, n) bool."""
    sex = people["sex"].to_numpy()
    age, first = people["age_at_first_term"].to_numpy(), people["first_term"].to_numpy()
    same_sex = sex[:, None] == sex
    return same_sex & (_apart(age) <= _AGE) & (_apart(first) <= _FIRST_TERM)


def alike_photos(people: pd.DataFrame) -> np.ndarray:
    """Pairs photographed in the same year at ages within 2 years, (n, n) bool."""
    return (_apart(people["photo_year"].to_numpy()) == 0) & (_apart(people["age"].to_numpy()) <= _AGE)


def pair_concordance(
    risk: np.ndarray,
    duration: np.ndarray,
    event: np.ndarray,
    entry: np.ndarray | None = None,
    pairs: np.ndarray | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Concordance:
    """Harrell's C over some of the pairs; all as `fahr_hf.clinical.concordance` compares them.

    Args:
        risk: (n,), higher means earlier death.
        duration: (n,).
        event: (n,) bool.
        entry: (n,); None if all were observed from the start.
        pairs: (n, n) bool, symmetric, which pairs count; None for all.
        resamples: Of persons, for the interval.
        seed: Of the draws.

    Raises:
        ValueError: no comparable pair.
    """
    duration, event = np.round(duration, _DECIMALS), np.asarray(event, bool)
    later = (duration[:, None] < duration) | ((duration[:, None] == duration) & ~event)
    comparable = event[:, None] & later
    if entry is not None:
        comparable &= np.round(entry, _DECIMALS) < duration[:, None]
    if pairs is not None:
        comparable &= pairs
    if not comparable.any():
        raise ValueError(f"No pair of {len(risk)} people, {event.sum()} of whom died, can be compared.")
    won = comparable * (0.5 * (np.sign(risk[:, None] - risk) + 1))
    # A pair counts as often as both are drawn; somebody's copies are no pair.
    n = len(risk)
    draws = np.random.default_rng(seed).integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    times = np.bincount(draws.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float32)
    times = np.concatenate([np.ones((1, n), np.float32), times])
    won_often, compared = (
        np.einsum("bi,bi->b", times @ some.astype(np.float32), times, dtype=np.float64) for some in (won, comparable)
    )
    return Concordance(*with_interval(ratio(won_often, compared)), int(comparable.sum()))


def _apart(values: np.ndarray) -> np.ndarray:
    return np.abs(values[:, None] - values)
