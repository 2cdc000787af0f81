"""Are hazards proportional? The score test of R's `cox.zph` (survival 3.0 and later)."""

from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy import special

from .cox import CoxResult
from .outcomes import Outcomes

Transform = Literal["km", "rank", "identity", "log"]


def proportional_hazards_test(result: CoxResult, transform: Transform = "km") -> pd.DataFrame:
    """Test whether coefficients change with time.

    The score test of theta = 0 in beta(t) = beta + theta g(t), with the information of beta and theta together. The
    older test, a correlation of scaled Schoenfeld residuals with time, takes the variance to be the same at every death
    and may differ much. As in R, the errors are those of independent rows also where the fit has clusters.

    Args:
        result: A fitted Cox regression.
        transform: g(t). "km": 1 - Kaplan-Meier just before t, of everybody; "rank": mean rank of t among all durations;
            "identity": t; "log": log t.

    Returns:
        Indexed by covariate and at last "GLOBAL": `chisq`, `df`, `p`. The coefficients of a categorical covariate are
        tested together.

    Raises:
        ValueError: an unknown transform, log with a death at time 0, deaths at too few different times.

    Examples:
        >>> from fahr_hf.clinical import cox_regression
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": [1, 0, 1, 1, 1], "age": [70, 72, 58, 66, 60]})
        >>> fit = cox_regression(people, "years", "died", ["age"])
        >>> proportional_hazards_test(fit).round(3)
                   chisq  df      p
        covariate
        age        0.012   1  0.914
        GLOBAL     0.012   1  0.914
    """
    deaths, g = _time_scale(result.outcomes, transform)
    moments = result.maximum.moments
    weight = g[np.searchsorted(deaths, moments.sets.times)][moments.sets.which]
    score, information = moments.score(weight), moments.information()
    cross, square = moments.information(weight), moments.information(weight**2)
    variance = square - cross @ np.linalg.solve(information, cross)
    if np.linalg.eigvalsh(variance)[0] <= 1e-12 * np.trace(square):
        raise ValueError(
            f"Deaths fall on {len(deaths)} different times, too few to see {len(score)} coefficients change with time."
        )
    tests = {}
    start = 0
    for term in result.terms:
        part = slice(start, start := start + len(term.labels))
        tests[term.name] = _chi_squared(score[part], variance[part, part])
    tests["GLOBAL"] = _chi_squared(score, variance)
    return pd.DataFrame.from_dict(tests, orient="index", columns=["chisq", "df", "p"]).rename_axis("covariate")


def _time_scale(outcomes: Outcomes, transform: Transform) -> tuple[np.ndarray, np.ndarray]:
    """The times of death and g at these, less its mean over deaths."""
    deaths, counts = np.unique(outcomes.duration[outcomes.event], return_counts=True)
    durations = np.sort(outcomes.duration)
    before = np.searchsorted(durations, deaths)
    match transform:
        case "km":
            at_risk = len(durations) - before
            if outcomes.entry is not None:
                at_risk = at_risk - (len(durations) - np.searchsorted(np.sort(outcomes.entry), deaths))
            g = 1 - np.concatenate([[1.0], np.cumprod(1 - counts / at_risk)[:-1]])
        case "rank":
            g = (before + np.searchsorted(durations, deaths, side="right") + 1) / 2
        case "identity":
            g = deaths
        case "log":
            if deaths[0] == 0:
                raise ValueError("Somebody dies at time 0, which has no logarithm; take another transform.")
            g = np.log(deaths)
        case _:
            raise ValueError(f"transform must be one of {', '.join(get_args(Transform))}, got {transform!r}.")
    return deaths, g - np.average(g, weights=counts)


def _chi_squared(score: np.ndarray, variance: np.ndarray) -> tuple[float, int, float]:
    statistic = float(score @ np.linalg.solve(variance, score))
    return statistic, len(score), float(special.chdtrc(len(score), statistic))
