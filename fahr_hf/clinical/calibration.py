"""Do as many people die as was predicted? On average, over the range of predictions, and group by group."""

from math import exp
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fahr_hf.clinical.cox import Z95, CoxResult, cox_regression
from fahr_hf.clinical.design import Covariate, Spline
from fahr_hf.clinical.horizon import Predictions, check_predictions, observed_risk
from fahr_hf.clinical.prediction import predict_survival
from fahr_hf.clinical.risk_groups import risk_groups

# Of three knots, as Harrell's Regression Modeling Strategies places them.
_KNOTS = (0.1, 0.5, 0.9)


class ObservedExpected(NamedTuple):
    """Deaths by a horizon: observed share (Kaplan-Meier), mean predicted probability, their ratio, 95 % interval."""

    observed: float
    expected: float
    ratio: float
    low: float
    high: float


class CalibrationSlope(NamedTuple):
    """Slope of the predictions, 1 is best, below 1 they are too extreme; its standard error and 95 % interval."""

    slope: float
    se: float
    low: float
    high: float


class CalibrationIndex(NamedTuple):
    """Distance of predicted from smoothed observed probabilities: mean, median, 90th percentile, maximum."""

    ici: float
    e50: float
    e90: float
    e_max: float


def observed_expected(
    event: ArrayLike, time: ArrayLike, probability: ArrayLike, horizon: float, entry: ArrayLike | None = None
) -> ObservedExpected:
    """Observed deaths by the horizon over expected ones: calibration in the large.

    Observed is 1 - S(horizon) by Kaplan-Meier, expected the mean of the predictions. The interval is that of log(O / E)
    with the standard error of Greenwood's formula, se / O; the predictions count as fixed (Debray et al. 2017).

    Args:
        event: (n,), whether the follow-up ended in death, 0 and 1 or booleans.
        time: (n,), time to death or censoring.
        probability: (n,), predicted probability of death by the horizon, 0 to 1.
        horizon: In the unit of `time`; deaths at the horizon count.
        entry: (n,), time of entry; None if everybody was observed from the start.

    Raises:
        ValueError: columns that are not such columns, what is no probability, nobody dead by the horizon, or a horizon
            beyond the follow-up.

    Examples:
        >>> predicted = [0.8, 0.4, 0.6, 0.5, 0.3, 0.2]
        >>> observed_expected([1, 1, 1, 0, 1, 0], [1, 2, 3, 4, 5, 6], predicted, horizon=3).observed
        0.5
    """
    outcomes, predicted, horizon = check_predictions(event, time, probability, horizon, entry)
    observed = observed_risk(outcomes, np.ones(len(outcomes), bool), horizon)
    expected = float(predicted.mean())
    ratio, margin = observed.risk / expected, exp(Z95 * observed.se / observed.risk)
    return ObservedExpected(observed.risk, expected, ratio, ratio / margin, ratio * margin)


def calibration_slope(
    event: ArrayLike, time: ArrayLike, probability: ArrayLike, horizon: float, entry: ArrayLike | None = None
) -> CalibrationSlope:
    """Calibration slope: the Cox coefficient of log(-log(1 - probability)), over the whole follow-up.

    For probabilities that a Cox model predicted, that is the slope of its linear predictor, the same at every horizon.
    To judge the time up to a horizon alone, censor everybody there first.

    Args:
        event: As `observed_expected`.
        time: As `observed_expected`.
        probability: As `observed_expected`, but above 0, below 1, and not all the same.
        horizon: As `observed_expected`.
        entry: As `observed_expected`.

    Raises:
        ValueError: as `observed_expected`, or predictions that are all the same, 0 or 1.

    Examples:
        >>> predicted = [0.8, 0.4, 0.6, 0.5, 0.3, 0.2]
        >>> round(calibration_slope([1, 1, 1, 0, 1, 0], [1, 2, 3, 4, 5, 6], predicted, horizon=3).slope, 3)
        2.97
    """
    predictions = check_predictions(event, time, probability, horizon, entry)
    row = _regress(predictions, _log_hazard(predictions.probability), "predicted").summary.loc["predicted"]
    slope, se = float(row["coef"]), float(row["se"])
    return CalibrationSlope(slope, se, slope - Z95 * se, slope + Z95 * se)


def calibration_curve(
    event: ArrayLike, time: ArrayLike, probability: ArrayLike, horizon: float, entry: ArrayLike | None = None
) -> pd.DataFrame:
    """The observed probability of death as a smooth function of the predicted one (Austin, Harrell, van Klaveren 2020).

    A Cox regression of the outcome on a restricted cubic spline of log(-log(1 - probability)), with three knots at the
    quantiles 0.1, 0.5, 0.9 (type 7); the observed probability is what that regression gives for each person by the
    horizon, from Efron's baseline hazard.

    Args:
        event: As `observed_expected`.
        time: As `observed_expected`.
        probability: As `observed_expected`, but above 0, below 1, and different at the three quantiles.
        horizon: As `observed_expected`.
        entry: As `observed_expected`.

    Returns:
        One row a person, in order: `predicted`, `observed`. To draw the curve, sort by `predicted`.

    Raises:
        ValueError: as `observed_expected`, or predictions that are 0 or 1, or have too few different values.

    Examples:
        >>> predicted = [0.8, 0.4, 0.6, 0.5, 0.3, 0.2]
        >>> curve = calibration_curve([1, 1, 1, 0, 1, 0], [1, 2, 3, 4, 5, 6], predicted, horizon=3)
        >>> curve["observed"].round(3).tolist()
        [0.999, 0.222, 0.754, 0.468, 0.077, 0.017]
    """
    predictions = check_predictions(event, time, probability, horizon, entry)
    x = _log_hazard(predictions.probability)
    knots = np.quantile(x, _KNOTS)
    if len(np.unique(knots)) < len(knots):
        raise ValueError(
            f"probability has {len(np.unique(x))} different values, too few for a curve: its quantiles at {_KNOTS} "
            "must differ. Use calibration_table with fewer groups."
        )
    fit = _regress(predictions, x, Spline("predicted", tuple(knots)))
    alive = predict_survival(fit, pd.DataFrame({"predicted": x}), predictions.horizon)[:, 0]
    return pd.DataFrame({"predicted": predictions.probability, "observed": 1 - alive})


def calibration_index(
    event: ArrayLike, time: ArrayLike, probability: ArrayLike, horizon: float, entry: ArrayLike | None = None
) -> CalibrationIndex:
    """Integrated calibration index: how far the calibration curve is from the diagonal (Austin et al. 2020).

    Args:
        event: As `calibration_curve`.
        time: As `calibration_curve`.
        probability: As `calibration_curve`.
        horizon: As `calibration_curve`.
        entry: As `calibration_curve`.

    Returns:
        Mean (ICI), median (E50), 90th percentile (E90, type 7) and maximum of |observed - predicted| over the people.

    Raises:
        ValueError: as `calibration_curve`.

    Examples:
        >>> predicted = [0.8, 0.4, 0.6, 0.5, 0.3, 0.2]
        >>> round(calibration_index([1, 1, 1, 0, 1, 0], [1, 2, 3, 4, 5, 6], predicted, horizon=3).ici, 3)
        0.161
    """
    curve = calibration_curve(event, time, probability, horizon, entry)
    distance = (curve["observed"] - curve["predicted"]).abs()
    quantiles = (float(distance.quantile(share)) for share in (0.5, 0.9, 1))
    return CalibrationIndex(float(distance.mean()), *quantiles)


def calibration_table(
    event: ArrayLike,
    time: ArrayLike,
    probability: ArrayLike,
    horizon: float,
    groups: int = 10,
    entry: ArrayLike | None = None,
) -> pd.DataFrame:
    """Predicted and observed deaths in groups of rising predictions.

    Args:
        event: As `observed_expected`.
        time: As `observed_expected`.
        probability: As `observed_expected`.
        horizon: As `observed_expected`.
        groups: Number of groups of about the same size, at the quantiles of `risk_groups`.
        entry: As `observed_expected`.

    Returns:
        Indexed by `group` from 1, the lowest risk: `n`, `deaths` seen by the horizon, `expected` (mean prediction),
        `observed` (1 - Kaplan-Meier, NaN where the follow-up of a group ends before the horizon), `low`, `high` (95 %).

    Raises:
        ValueError: as `observed_expected`, or too many groups for the number of different predictions.

    Examples:
        >>> predicted = [0.8, 0.4, 0.6, 0.5, 0.3, 0.2]
        >>> table = calibration_table([1, 1, 1, 0, 1, 0], [1, 2, 3, 4, 5, 6], predicted, horizon=3, groups=2)
        >>> table["deaths"].tolist()
        [1, 2]
    """
    outcomes, predicted, horizon = check_predictions(event, time, probability, horizon, entry)
    group, _ = risk_groups(predicted, groups)
    died = outcomes.event & (outcomes.duration <= horizon)
    rows = []
    for number in range(1, groups + 1):
        members = group == number
        observed = observed_risk(outcomes, members, horizon)
        rows.append(
            {
                "group": number,
                "n": int(members.sum()),
                "deaths": int(died[members].sum()),
                "expected": predicted[members].mean(),
                "observed": observed.risk,
                "low": observed.low,
                "high": observed.high,
            }
        )
    return pd.DataFrame(rows).set_index("group")


def _log_hazard(probability: np.ndarray) -> np.ndarray:
    certain = np.flatnonzero((probability == 0) | (probability == 1))
    if len(certain):
        raise ValueError(
            f"probability is {probability[certain[0]]:g} in row {certain[0]} ({len(certain)} rows are 0 or 1), which "
            "has no log(-log(1 - probability)): no death is certain. Pull such predictions inwards, to 0.9999 say."
        )
    return np.log(-np.log1p(-probability))


def _regress(predictions: Predictions, x: np.ndarray, covariate: Covariate) -> CoxResult:
    outcomes = predictions.outcomes
    data = pd.DataFrame({"duration": outcomes.duration, "event": outcomes.event.astype(int), "predicted": x})
    if outcomes.entry is not None:
        data["entry"] = outcomes.entry
    return cox_regression(data, "duration", "event", [covariate], entry="entry" if "entry" in data else None)
