"""Predicted probabilities of death by a horizon, checked once, and the share that died, by Kaplan-Meier."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fahr_hf.clinical.kaplan_meier import kaplan_meier
from fahr_hf.clinical.outcomes import Outcomes, check_column, check_outcomes


class Predictions(NamedTuple):
    """What was predicted for n people, and what became of them.

    Args:
        outcomes: Their follow-up.
        probability: (n,), predicted probability of death by the horizon, 0 to 1.
        horizon: In the unit of the follow-up.
    """

    outcomes: Outcomes
    probability: np.ndarray
    horizon: float


class ObservedRisk(NamedTuple):
    """Share of people dead by a horizon, 1 - S(horizon), with standard error and 95 % interval."""

    risk: float
    se: float
    low: float
    high: float


def check_predictions(
    event: ArrayLike, time: ArrayLike, probability: ArrayLike, horizon: float, entry: ArrayLike | None
) -> Predictions:
    """Turn columns into predictions with their outcomes.

    Args:
        event: (n,), whether the follow-up ended in death, 0 and 1 or booleans.
        time: (n,), time to death or censoring.
        probability: (n,), predicted probability of death by the horizon, 0 to 1.
        horizon: Not before the first death, nor beyond the end of follow-up.
        entry: (n,), time of entry; None if everybody was observed from the start.

    Raises:
        ValueError: columns that are not such columns, what is no probability, nobody dead by the horizon, or a horizon
            beyond the follow-up.
    """
    outcomes = check_outcomes(time, event, entry)
    values = check_column(probability, "probability", len(outcomes))
    if values.min() < 0 or values.max() > 1:
        row = int(np.flatnonzero((values < 0) | (values > 1))[0])
        raise ValueError(
            f"probability must lie between 0 and 1, got {values[row]:g} in row {row}; a risk score is not one."
        )
    last = outcomes.duration.max()
    if horizon > last:
        raise ValueError(f"The horizon is {horizon:g}, and follow-up ends at {last:g}; choose an earlier one.")
    if not (outcomes.event & (outcomes.duration <= horizon)).any():
        raise ValueError(
            f"Nobody of {len(outcomes)} died by the horizon, {horizon:g}: there is nothing to compare with."
        )
    return Predictions(outcomes, values, float(horizon))


def observed_risk(outcomes: Outcomes, rows: np.ndarray, horizon: float) -> ObservedRisk:
    """Kaplan-Meier's share of some people dead by the horizon; NaN where their follow-up ends before it.

    Args:
        outcomes: Of n people.
        rows: (n,) bool, whom to take; at least one.
        horizon: A death at the horizon itself counts.
    """
    entry = None if outcomes.entry is None else outcomes.entry[rows]
    row = kaplan_meier(outcomes.duration[rows], outcomes.event[rows], entry).at(horizon).iloc[0]
    survival, se, low, high = (float(row[name]) for name in ("survival", "se", "low", "high"))
    return ObservedRisk(1 - survival, se, 1 - high, 1 - low)
