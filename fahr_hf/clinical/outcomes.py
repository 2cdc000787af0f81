"""Times and events as every statistic here takes them, checked once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

_NAMED = 5
_ROUNDING = np.sqrt(np.finfo(float).eps)


@dataclass(frozen=True)
class Outcomes:
    """Follow-up of n people.

    Args:
        duration: (n,) float64, time from the origin to death or censoring; years, as a rule.
        event: (n,) bool, whether the follow-up ended in death.
        entry: (n,) float64, time from the origin at which a person came under observation; None if all at 0. A person
            is at risk on the interval (entry, duration], as in R's `Surv(entry, duration, event)`.
    """

    duration: np.ndarray
    event: np.ndarray
    entry: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.duration)


def check_outcomes(
    duration: ArrayLike,
    event: ArrayLike,
    entry: ArrayLike | None = None,
    names: Sequence[str] = ("duration", "event", "entry"),
) -> Outcomes:
    """Turn three columns into outcomes.

    Times that differ by rounding alone, such as 0.3 and 0.1 + 0.2, are tied: they become the smallest of them. As R's
    `timefix` does it, neighbours are tied that are at most 1.5e-8 apart, or 1.5e-8 of the mean time if that is above 1.

    Args:
        duration: (n,), at least 0, finite.
        event: (n,), 0 and 1 or booleans.
        entry: (n,), at least 0 and smaller than `duration`; or None.
        names: What messages call the three columns.

    Raises:
        ValueError: columns that are empty, of different lengths, not numbers, missing, infinite, negative, or in the
            wrong order; the message names rows, counted from 0, and values.
    """
    of_duration, of_event, of_entry = names
    times = check_column(duration, of_duration)
    _refuse(times, times < 0, f"{of_duration} must not be negative")
    events = check_column(event, of_event, len(times))
    _refuse(events, (events != 0) & (events != 1), f"{of_event} must be 0 or 1")
    if entry is None:
        return Outcomes(_tie(times), events.astype(bool))
    entries = check_column(entry, of_entry, len(times))
    _refuse(entries, entries < 0, f"{of_entry} must not be negative")
    entries, times = np.split(_tie(np.concatenate([entries, times])), 2)
    _refuse(entries, entries >= times, f"{of_entry} must be earlier than {of_duration}")
    return Outcomes(times, events.astype(bool), entries)


def check_column(values: ArrayLike, name: str, length: int | None = None) -> np.ndarray:
    """A column of finite numbers, (n,) float64.

    Args:
        values: (n,), n at least 1.
        name: What the message calls it.
        length: Expected n, if there is an expectation.

    Raises:
        ValueError: what is no such column; the message names rows, counted from 0, and values.
    """
    raw = np.asarray(values)
    try:
        column = raw.astype(np.float64)
    except (TypeError, ValueError):
        wrong = _where(raw.ravel(), lambda value: not _is_number(value))
        raise ValueError(f"{name} must hold numbers, got {wrong}.") from None
    if column.ndim != 1 or not len(column):
        raise ValueError(f"{name} must be a column of at least one number, got the shape {column.shape}.")
    if length is not None and len(column) != length:
        raise ValueError(f"{name} has {len(column)} rows, and duration has {length}.")
    _refuse(column, ~np.isfinite(column), f"{name} must be finite, without missing values")
    return column


def _tie(times: np.ndarray) -> np.ndarray:
    distinct = np.unique(times)
    apart = np.diff(distinct, prepend=-np.inf) > _ROUNDING * max(distinct.mean(), 1.0)
    kept = distinct[apart]
    return kept[np.searchsorted(kept, times, side="right") - 1]


def _refuse(values: np.ndarray, wrong: np.ndarray, rule: str) -> None:
    if wrong.any():
        rows = np.flatnonzero(wrong)
        some = ", ".join(f"{values[row]:g} in row {row}" for row in rows[:_NAMED])
        more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        raise ValueError(f"{rule}; got {some}{more}.")


def _where(values: np.ndarray, wrong: Callable[[object], bool]) -> str:
    row = next(row for row, value in enumerate(values) if wrong(value))
    return f"{str(values[row])!r} in row {row}"


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True
