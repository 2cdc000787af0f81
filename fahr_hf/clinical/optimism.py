"""How much too good does a model look on the people it was fitted to? Harrell's C less its optimism."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from .concordance import concordance
from .cox import cox_regression
from .design import Covariate
from .outcomes import Outcomes
from .prediction import linear_predictor


class CorrectedConcordance(NamedTuple):
    """Harrell's C of a model on its own data, its mean optimism, C less that, and how many samples went into it."""

    c: float
    optimism: float
    corrected: float
    samples: int


def optimism_corrected_concordance(
    data: pd.DataFrame,
    duration: str,
    event: str,
    covariates: Sequence[Covariate],
    entry: str | None = None,
    *,
    samples: int = 200,
    seed: int = 0,
) -> CorrectedConcordance:
    """Harrell's C of a Cox model less its optimism, by Harrell's bootstrap.

    The model is fitted to samples of as many people, drawn with replacement; the optimism is the mean of its C on the
    sample less its C on `data`. Knots, standard deviations and coefficients are learned anew in every sample. A sample
    to which the model cannot be fitted, for lack of a group, is left out; the answer says how many were used.

    Args:
        data: One row a person, without missing values.
        duration: Column with the time of death or censoring.
        event: Column with 1 for death, 0 for censoring.
        covariates: Of the model.
        entry: Column with the time at which follow-up begins.
        samples: How many are drawn.
        seed: Of the random numbers; a sample depends on it and on its number alone.

    Raises:
        ValueError: what `cox_regression` refuses, or a model that can be fitted to no sample.

    Examples:
        >>> noise = np.random.default_rng(0).uniform(size=(50, 4))
        >>> people = pd.DataFrame(noise, columns=["years", "a", "b", "c"]).assign(died=1)
        >>> found = optimism_corrected_concordance(people, "years", "died", ["a", "b", "c"], samples=20)
        >>> round(found.c, 2), round(found.corrected, 2)
        (0.62, 0.6)
    """
    whole = cox_regression(data, duration, event, covariates, entry=entry)
    c = _c(whole.outcomes, whole.linear_predictor.to_numpy())
    optimism = []
    for number in range(samples):
        rows = np.random.default_rng([seed, number]).integers(0, len(data), len(data))
        try:
            fit = cox_regression(data.iloc[rows], duration, event, covariates, entry=entry)
            own, other = fit.linear_predictor.to_numpy(), linear_predictor(fit, data).to_numpy()
        except ValueError:
            continue
        optimism.append(_c(fit.outcomes, own) - _c(whole.outcomes, other))
    if not optimism:
        raise ValueError(f"The model can be fitted to none of {samples} samples; merge groups that are rare.")
    return CorrectedConcordance(c, float(np.mean(optimism)), c - float(np.mean(optimism)), len(optimism))


def _c(outcomes: Outcomes, risk: np.ndarray) -> float:
    return concordance(outcomes.event, outcomes.duration, risk, outcomes.entry)[0]
