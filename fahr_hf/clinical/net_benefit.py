"""Decision curves: is it better to treat by the predictions than to treat everybody or nobody?"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fahr_hf.clinical.horizon import check_predictions, observed_risk
from fahr_hf.clinical.outcomes import check_column


def net_benefit(
    event: ArrayLike,
    time: ArrayLike,
    probability: ArrayLike,
    horizon: float,
    thresholds: ArrayLike,
    entry: ArrayLike | None = None,
) -> pd.DataFrame:
    """Net benefit at each threshold probability (Vickers and Elkin 2006; for censored times Vickers et al. 2008).

    Treated is who has probability >= threshold. Of the treated share q, a part d = 1 - S(horizon) dies by the horizon,
    by Kaplan-Meier among the treated; then

        net benefit = q d - q (1 - d) threshold / (1 - threshold),

    true positives less false positives, in units of true positives per person.

    Args:
        event: (n,), whether the follow-up ended in death, 0 and 1 or booleans.
        time: (n,), time to death or censoring.
        probability: (n,), predicted probability of death by the horizon, 0 to 1.
        horizon: In the unit of `time`; deaths at the horizon count.
        thresholds: (k,), above 0 and below 1.
        entry: (n,), time of entry; None if everybody was observed from the start.

    Returns:
        One row a threshold: `threshold`, `treated` (share), `net_benefit`, `treat_all`, `treat_none` (0). Where nobody
        is treated the net benefit is 0; where the follow-up of the treated ends before the horizon it is NaN.

    Raises:
        ValueError: columns that are not such columns, what is no probability, nobody dead by the horizon, or a horizon
            beyond the follow-up.

    Examples:
        >>> predicted = [0.8, 0.4, 0.6, 0.5, 0.3, 0.2]
        >>> curve = net_benefit([1, 1, 1, 0, 1, 0], [1, 2, 3, 4, 5, 6], predicted, horizon=3, thresholds=[0.25, 0.5])
        >>> curve["net_benefit"].round(3).tolist()
        [0.389, 0.167]
    """
    outcomes, predicted, horizon = check_predictions(event, time, probability, horizon, entry)
    limits = check_column(np.atleast_1d(thresholds), "thresholds")
    if limits.min() <= 0 or limits.max() >= 1:
        raise ValueError(f"thresholds must lie above 0 and below 1, got {limits.min():g} to {limits.max():g}.")

    def dead(treated: np.ndarray) -> float:
        return observed_risk(outcomes, treated, horizon).risk if treated.any() else 0.0

    share = np.array([(predicted >= limit).mean() for limit in limits])
    died = np.array([dead(predicted >= limit) for limit in limits])
    died_of_all = dead(np.ones(len(outcomes), bool))
    odds = limits / (1 - limits)
    columns = {
        "threshold": limits,
        "treated": share,
        "net_benefit": share * (died - (1 - died) * odds),
        "treat_all": died_of_all - (1 - died_of_all) * odds,
        "treat_none": 0.0,
    }
    return pd.DataFrame(columns)
