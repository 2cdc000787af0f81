"""Does a score put those who die early above those who live on? Uno's C and the AUC at a time."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fahr_hf.clinical.concordance import count_pairs
from fahr_hf.clinical.ipcw import as_scikit_survival, check_times, scikit_survival
from fahr_hf.clinical.outcomes import check_column, check_outcomes


def uno_concordance(event: ArrayLike, time: ArrayLike, risk: ArrayLike, tau: float | None = None) -> float:
    """Uno's C: concordance up to tau that does not depend on how people were censored (Uno et al. 2011).

    A comparable pair whose first death comes at t < tau counts 1 / G(t)^2; pairs are comparable as in
    `concordance`, and equal risks count one half. R's `concordance(timewt="n/G2", ymax=tau)`
    weights by the left limit G(t-) and includes t = tau: on tied times the two differ in the third or fourth decimal.

    Args:
        event: (n,), whether the follow-up ended in death, 0 and 1 or booleans.
        time: (n,), time to death or censoring.
        risk: (n,), any score; higher means earlier death, and only its ranks matter.
        tau: Only deaths strictly before it count; choose it where some are still under observation. None: all deaths.

    Raises:
        ImportError: the `survival` extra is not installed.
        ValueError: columns that are not such columns; no death before tau; nobody uncensored at a death.

    Examples:
        >>> risk = [0.8, 0.4, 0.6, 0.5, 0.3, 0.2]
        >>> round(uno_concordance([1, 1, 1, 0, 1, 0], [1, 2, 3, 4, 5, 6], risk, tau=5), 3)
        0.833
    """
    outcomes = check_outcomes(time, event)
    counts = count_pairs(outcomes, check_column(risk, "risk", len(outcomes)))
    limit = np.inf if tau is None else tau
    counted = outcomes.event & (outcomes.duration < limit)
    if not counts.anchor_pairs[counted].any():
        raise ValueError(f"Uno's C needs a death before tau = {limit:g} that somebody outlived; there is none.")
    y = as_scikit_survival(outcomes)
    uncensored = scikit_survival("nonparametric").CensoringDistributionEstimator().fit(y)
    g = uncensored.predict_proba(outcomes.duration[counted])
    if not g.all():
        raise ValueError(
            f"Everybody left is censored at the last death ({outcomes.duration[counted].max():g}), so that it has no "
            "weight: set tau to that time or to an earlier one."
        )
    # scikit-survival's own Uno's C gives the same, but compares all pairs: 7 s for 35,000 people, and a bootstrap
    # repeats that.
    score, pairs = (np.sum(n[counted] / g**2) for n in (counts.anchor_score, counts.anchor_pairs))
    return float((1 + score / pairs) / 2)


def auc_over_time(event: ArrayLike, time: ArrayLike, risk: ArrayLike, times: ArrayLike) -> pd.DataFrame:
    """Cumulative/dynamic AUC: those dead by each time against those alive after it (Uno et al. 2007).

    At horizon h, cases died at t <= h and count 1 / G(t); controls have a time beyond h and count equally; people
    censored by h are neither. Equal risks count one half. R's timeROC and riskRegression weight by left limits, G(t-).

    Args:
        event: (n,), whether the follow-up ended in death, 0 and 1 or booleans.
        time: (n,), time to death or censoring.
        risk: (n,) or (n, k) with one column a horizon; higher means earlier death, and only ranks matter.
        times: (k,), horizons in the unit of `time`, strictly increasing, from the first death to before the last time.

    Returns:
        One row a horizon: `time`, `auc` (0 to 1), `cases`, `controls`.

    Raises:
        ImportError: the `survival` extra is not installed.
        ValueError: columns that are not such columns, or horizons outside the follow-up.

    Examples:
        >>> risk = [0.8, 0.4, 0.6, 0.5, 0.3, 0.2]
        >>> auc_over_time([1, 1, 1, 0, 1, 0], [1, 2, 3, 4, 5, 6], risk, times=[2, 3]).round(3)
           time    auc  cases  controls
        0   2.0  0.750      2         4
        1   3.0  0.889      3         3
    """
    outcomes = check_outcomes(time, event)
    horizons = check_times(times, outcomes)
    risks = np.asarray(risk)
    columns = [risks] * len(horizons) if risks.ndim == 1 else list(risks.T)
    if len(columns) != len(horizons):
        raise ValueError(f"risk has {len(columns)} columns, and there are {len(horizons)} times.")
    ranks = np.stack([_ranks(check_column(column, "risk", len(outcomes))) for column in columns], axis=1)
    y = as_scikit_survival(outcomes)
    # Later deaths concern no horizon, but scikit-survival would ask for their weights.
    y["event"] &= y["time"] <= horizons[-1]
    auc, _ = scikit_survival("metrics").cumulative_dynamic_auc(y, y, ranks, horizons)
    cases = [int((outcomes.event & (outcomes.duration <= horizon)).sum()) for horizon in horizons]
    controls = [int((outcomes.duration > horizon).sum()) for horizon in horizons]
    return pd.DataFrame({"time": horizons, "auc": auc, "cases": cases, "controls": controls})


def _ranks(risk: np.ndarray) -> np.ndarray:
    # scikit-survival takes risks within 1e-8 for equal, on whatever scale they are.
    return np.unique(risk, return_inverse=True)[1].astype(np.float64)
