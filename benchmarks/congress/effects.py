"""What a score adds to the covariates: hazard ratio, likelihood-ratio test, and what could have been detected."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from known import fit, varying
from scipy import special

from fahr_hf.clinical import likelihood_ratio_test
from fahr_hf.clinical.design import Covariate
from fahr_hf.clinical.outcomes import Outcomes
from fahr_hf.clinical.partial_likelihood import maximise
from fahr_hf.resampling import with_interval

FEWEST_DEATHS = 100
"""Below, an estimate is shown and nothing is claimed from it."""

_POWER, _LEVEL = 0.8, 0.05


class Effect(NamedTuple):
    """What a score adds.

    Args:
        n: People.
        deaths: Deaths among them.
        hr: Hazard ratio per standard deviation of the score, and ...
        hr_low: ... the ends of its 95 % interval (Wald).
        hr_high: See `hr_low`.
        chisq: Of the likelihood-ratio test, one degree of freedom.
        p: Of that test, two-sided.
        r2: Share of the score's variance that the covariates explain.
        detectable_hr: Least hazard ratio per standard deviation that would be found with a power of 80 %.
    """

    n: int
    deaths: int
    hr: float
    hr_low: float
    hr_high: float
    chisq: float
    p: float
    r2: float
    detectable_hr: float


def standardised(values: pd.Series) -> pd.Series:
    """Values in standard deviations from their mean."""
    return (values - values.mean()) / values.std()


def effect(people: pd.DataFrame, score: str, covariates: Sequence[Covariate]) -> Effect:
    """What one unit of a score adds to covariates; covariates that nobody differs in are left out.

    Args:
        people: A row a person: `entry`, `duration`, `event`, the score and the covariates.
        score: The column, in standard deviations of the people whom the ratio is said of.
        covariates: What it has to add to.
    """
    reduced = fit(people, varying(covariates, people))
    full = fit(people, [*varying(covariates, people), score])
    test = likelihood_ratio_test(reduced, full)
    of_score = full.summary.loc[score]
    r2 = explained(people[score].to_numpy(), reduced.design)
    return Effect(
        n=full.n,
        deaths=full.events,
        hr=float(of_score["hr"]),
        hr_low=float(of_score["hr_low"]),
        hr_high=float(of_score["hr_high"]),
        chisq=test.statistic,
        p=test.p,
        r2=r2,
        detectable_hr=detectable_hazard_ratio(full.events, r2),
    )


def detectable_hazard_ratio(deaths: int, r2: float) -> float:
    """Least hazard ratio per standard deviation found with power 80 % at 5 %, two-sided (Schoenfeld 1983).

    Covariates that explain the share `r2` of the score leave it `1 - r2` of its variance (Hsieh and Lavori 2000).
    """
    return float(np.exp((special.ndtri(1 - _LEVEL / 2) + special.ndtri(_POWER)) / np.sqrt(deaths * (1 - r2))))


def explained(values: np.ndarray, design: np.ndarray) -> float:
    """Share of the variance of values, (n,), that is linear in a design, (n, p)."""
    centred = design - design.mean(axis=0)
    centred /= centred.std(axis=0)
    target = values - values.mean()
    left = target - centred @ np.linalg.lstsq(centred, target, rcond=None)[0]
    return float(1 - np.square(left).sum() / np.square(target).sum())


def bootstrap_hazard_ratio(
    people: pd.DataFrame, score: str, covariates: Sequence[Covariate], resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """The hazard ratio of `effect` with the percentile interval of a bootstrap of persons; knots stay where they are.

    A resample in which no finite coefficient fits is left out.
    """
    full = fit(people, [*varying(covariates, people), score])
    labels, generator, outcomes = list(full.summary.index), np.random.default_rng(seed), full.outcomes
    assert outcomes.entry is not None
    coefficients = [full.summary["coef"].iloc[-1]]
    for _ in range(resamples):
        rows = generator.integers(full.n, size=full.n)
        drawn = Outcomes(outcomes.duration[rows], outcomes.event[rows], outcomes.entry[rows])
        try:
            coefficients.append(maximise(drawn, full.design[rows], None, True, labels).beta[-1])
        except ValueError:
            coefficients.append(np.nan)
    return with_interval(np.exp(coefficients))
