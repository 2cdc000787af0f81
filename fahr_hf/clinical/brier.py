"""How far are predicted probabilities of survival from what happened?"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fahr_hf.clinical.ipcw import as_scikit_survival, check_times, scikit_survival
from fahr_hf.clinical.kaplan_meier import kaplan_meier
from fahr_hf.clinical.outcomes import Outcomes, check_column, check_outcomes


def brier_score(event: ArrayLike, time: ArrayLike, survival: ArrayLike, times: ArrayLike) -> pd.DataFrame:
    """Brier score at each time: the mean squared error of predicted survival, weighted for censoring (Graf 1999).

    At horizon h, a death at t <= h counts survival^2 / G(t), a time beyond h counts (1 - survival)^2 / G(h), and a
    censoring by h counts nothing. riskRegression in R weights deaths by the left limit G(t-).

    Args:
        event: (n,), whether the follow-up ended in death, 0 and 1 or booleans.
        time: (n,), time to death or censoring.
        survival: (n, k), or (n,) if there is one horizon: predicted probability of being alive at each horizon, 0 to 1.
        times: (k,), horizons in the unit of `time`, strictly increasing, from the first death to before the last time.

    Returns:
        One row a horizon: `time`; `brier`, 0 is best; `reference`, the score of giving everybody the Kaplan-Meier
        estimate; `scaled`, 1 - brier / reference, 1 is best and 0 is no better than the estimate.

    Raises:
        ImportError: the `survival` extra is not installed.
        ValueError: columns that are not such columns, probabilities outside 0 to 1, or horizons outside the follow-up.

    Examples:
        >>> alive = [[0.5, 0.2], [0.7, 0.5], [0.6, 0.4], [0.8, 0.6], [0.9, 0.7], [0.9, 0.8]]
        >>> brier_score([1, 1, 1, 0, 1, 0], [1, 2, 3, 4, 5, 6], alive, times=[2, 4]).round(3)
           time  brier  reference  scaled
        0   2.0  0.160      0.222    0.28
        1   4.0  0.108      0.250    0.57
    """
    outcomes = check_outcomes(time, event)
    horizons = check_times(times, outcomes)
    score = _brier(outcomes, _check_survival(survival, outcomes, horizons), horizons)
    marginal = kaplan_meier(outcomes.duration, outcomes.event).at(horizons)["survival"].to_numpy()
    reference = _brier(outcomes, np.broadcast_to(marginal, (len(outcomes), len(horizons))), horizons)
    return pd.DataFrame({"time": horizons, "brier": score, "reference": reference, "scaled": 1 - score / reference})


def integrated_brier_score(event: ArrayLike, time: ArrayLike, survival: ArrayLike, times: ArrayLike) -> float:
    """Mean Brier score from the first to the last of the times, by the trapezium rule.

    Args:
        event: As `brier_score`.
        time: As `brier_score`.
        survival: (n, k), as `brier_score`.
        times: (k,), at least two; the closer they lie, the more exact is the integral.

    Raises:
        ImportError: the `survival` extra is not installed.
        ValueError: as `brier_score`, or a single time.

    Examples:
        >>> alive = [[0.5, 0.2], [0.7, 0.5], [0.6, 0.4], [0.8, 0.6], [0.9, 0.7], [0.9, 0.8]]
        >>> round(integrated_brier_score([1, 1, 1, 0, 1, 0], [1, 2, 3, 4, 5, 6], alive, times=[2, 4]), 3)
        0.134
    """
    outcomes = check_outcomes(time, event)
    horizons = check_times(times, outcomes)
    if len(horizons) < 2:
        raise ValueError(f"An integral needs at least two times, got {horizons[0]:g} alone.")
    score = _brier(outcomes, _check_survival(survival, outcomes, horizons), horizons)
    return float(np.trapezoid(score, horizons) / (horizons[-1] - horizons[0]))


def _brier(outcomes: Outcomes, survival: np.ndarray, horizons: np.ndarray) -> np.ndarray:
    y = as_scikit_survival(outcomes)
    return scikit_survival("metrics").brier_score(y, y, survival, horizons)[1]


def _check_survival(survival: ArrayLike, outcomes: Outcomes, horizons: np.ndarray) -> np.ndarray:
    values = np.asarray(survival)
    values = values[:, None] if values.ndim == 1 else values
    if values.shape != (len(outcomes), len(horizons)):
        raise ValueError(
            f"survival must have one row a person and one column a time, ({len(outcomes)}, {len(horizons)}), "
            f"got the shape {values.shape}."
        )
    columns = [check_column(column, f"survival at {at:g}") for at, column in zip(horizons, values.T, strict=True)]
    probabilities = np.stack(columns, axis=1)
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise ValueError(
            f"survival must hold probabilities from 0 to 1, got {probabilities.min():g} to {probabilities.max():g}; "
            "a risk score is not a probability."
        )
    return probabilities
