"""What a Cox regression says of other people: their log hazard ratio, and their probability of being alive at a time.

Nothing is centred: somebody whose covariates are all 0 has the linear predictor 0 and the hazard of `baseline_hazard`.
R centres by default; these are its `predict(reference="zero")` and `basehaz(centered=FALSE)`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .cox import CoxResult
from .design import check_complete
from .outcomes import check_column
from .terms import Term, check_known, design_matrix


def linear_predictor(result: CoxResult, data: pd.DataFrame) -> pd.Series:
    """The log hazard ratio of people such as an external cohort, with the scales, groups and knots of the fit.

    Args:
        result: A fitted Cox regression.
        data: One row a person.

    Returns:
        x times coefficients, not centred, indexed as `data`; higher means earlier death.

    Raises:
        ValueError: missing columns or values, text in numbers, groups that the fit did not see.

    Examples:
        >>> from fahr_hf.clinical import cox_regression
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": [1, 0, 1, 1, 1], "age": [70, 72, 58, 66, 60]})
        >>> fit = cox_regression(people, "years", "died", ["age"])
        >>> linear_predictor(fit, pd.DataFrame({"age": [55, 65]})).round(2).tolist()
        [5.11, 6.03]
    """
    return log_ratio(result.terms, result.summary["coef"], data)


def baseline_hazard(result: CoxResult) -> pd.DataFrame:
    """The cumulative hazard of somebody whose covariates are all 0, with the method of ties of the fit.

    At a time of death it grows by the sum of 1 / S0 over the deaths at it, S0 as in `partial_likelihood.py`: Breslow's
    estimator, or Efron's. Averages of covariates far from 0 make it tiny or huge; it is meant to be multiplied by
    exp(linear predictor).

    Returns:
        One row for each distinct duration (of a stratum): `stratum` (its group; only with strata), `time`, `hazard`
        after the deaths at that time.

    Examples:
        >>> from fahr_hf.clinical import cox_regression
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4], "died": [1, 0, 1, 1], "above_60": [10, 12, -2, 6]})
        >>> baseline_hazard(cox_regression(people, "years", "died", ["above_60"])).round(2)
           time  hazard
        0   1.0    0.27
        1   2.0    0.27
        2   3.0    0.78
        3   4.0    1.85
    """
    curves = []
    for stratum, level in enumerate(result.strata_levels):
        time, hazard = _curve(result, stratum)
        curves.append(pd.DataFrame({"stratum": level, "time": time, "hazard": hazard}))
    table = pd.concat(curves, ignore_index=True)
    return table if result.strata_column else table.drop(columns="stratum")


def predict_survival(result: CoxResult, data: pd.DataFrame, times: ArrayLike) -> np.ndarray:
    """The probability that each person is alive after each time, exp(-baseline hazard x exp(linear predictor)).

    With delayed entry, too, it is that of somebody alive at time 0.

    Args:
        result: A fitted Cox regression.
        data: One row a person, with the column of strata if the fit has any.
        times: (k,) or one number, at least 0, in any order.

    Returns:
        (n, k); NaN at times beyond the follow-up of the fit (of the person's stratum).

    Raises:
        ValueError: as `linear_predictor`, negative times, strata that the fit did not see.

    Examples:
        >>> from fahr_hf.clinical import cox_regression
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": [1, 0, 1, 1, 1], "age": [70, 72, 58, 66, 60]})
        >>> fit = cox_regression(people, "years", "died", ["age"])
        >>> predict_survival(fit, pd.DataFrame({"age": [55, 65]}), times=[2, 4]).round(2).tolist()
        [[0.93, 0.62], [0.84, 0.3]]
    """
    wanted = check_times(times)
    eta = linear_predictor(result, data).to_numpy()
    hazards = hazards_at(result, wanted)
    return survival(hazards[stratum_codes(data, result.strata_column, result.strata_levels)], eta)


def log_ratio(terms: Sequence[Term], coefficients: pd.Series, data: pd.DataFrame) -> pd.Series:
    """What `linear_predictor` computes, from terms and their coefficients."""
    check_complete(data, [column for term in terms for column in term.columns])
    values = design_matrix(terms, data) @ coefficients.to_numpy()
    return pd.Series(values, index=data.index, name="linear_predictor")


def hazards_at(result: CoxResult, times: np.ndarray) -> np.ndarray:
    """The baseline hazard of each stratum at given times, (strata, k); NaN beyond the follow-up of the stratum."""
    hazards = []
    for stratum in range(len(result.strata_levels)):
        time, hazard = _curve(result, stratum)
        after = np.concatenate([[0.0], hazard])[np.searchsorted(time, times, side="right")]
        hazards.append(np.where(times > time[-1], np.nan, after))
    return np.stack(hazards)


def survival(hazards: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Probabilities, (n, k), from baseline hazards, (n, k), and linear predictors, (n,)."""
    return np.exp(-hazards * np.exp(eta)[:, None])


def check_times(times: ArrayLike) -> np.ndarray:
    """Times as a column, (k,).

    Raises:
        ValueError: what is no number, or negative.
    """
    wanted = check_column(np.atleast_1d(times), "times")
    if (wanted < 0).any():
        raise ValueError(f"times must not be negative, got {wanted.min():g}.")
    return wanted


def stratum_codes(data: pd.DataFrame, column: str | None, levels: tuple[object, ...]) -> np.ndarray:
    """The number of each person's stratum, (n,).

    Raises:
        ValueError: an absent column, missing values, or a group that the fit did not see.
    """
    if column is None:
        return np.zeros(len(data), np.int64)
    check_complete(data, [column])
    groups = data[column].to_numpy(dtype=object)
    check_known(column, groups, levels)
    number = {level: code for code, level in enumerate(levels)}
    return np.array([number[group] for group in groups])


def _curve(result: CoxResult, stratum: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct durations of a stratum, and the cumulative hazard after each."""
    moments = result.maximum.moments
    sets = moments.sets
    members = sets.strata == stratum
    # The moments hold exp(linear predictor - a constant of the stratum).
    constant = (result.linear_predictor.to_numpy() - moments.eta)[members].mean()
    growth = np.add.reduceat(1 / moments.total, sets.first_death) * np.exp(-constant)
    own = sets.strata[sets.dead[sets.first_death]] == stratum
    time = np.unique(result.outcomes.duration[members])
    return time, np.concatenate([[0.0], np.cumsum(growth[own])])[np.searchsorted(sets.times[own], time, side="right")]
