"""What the statistics that weight by inverse probability of censoring share; scikit-survival (GPL, an extra) weights.

A death at t stands for 1 / G(t) people, where G is the Kaplan-Meier estimate of being uncensored beyond t, made from
the same people; a death at t precedes a censoring at t. The weights assume that censoring is independent of risk.
"""

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fahr_hf.clinical.outcomes import Outcomes, check_column


def scikit_survival(module: str) -> Any:
    """A module of scikit-survival.

    Args:
        module: Name below `sksurv`.

    Raises:
        ImportError: scikit-survival is not installed.
    """
    try:
        return import_module(f"sksurv.{module}")
    except ImportError as error:
        raise ImportError(
            "Uno's C, AUC over time and Brier scores need scikit-survival: pip install 'fahr-hf[survival]'."
        ) from error


def as_scikit_survival(outcomes: Outcomes) -> np.ndarray:
    """The structured array, (n,), that scikit-survival takes for outcomes."""
    return scikit_survival("util").Surv.from_arrays(outcomes.event, outcomes.duration)


def check_times(times: ArrayLike, outcomes: Outcomes) -> np.ndarray:
    """Times at which people are split into dead and alive, (k,) float64.

    Args:
        times: (k,) or one number, strictly increasing.
        outcomes: Whom they split.

    Raises:
        ValueError: times that do not increase, or a time by which nobody has died or beyond which nobody is observed.
    """
    horizons = check_column(np.atleast_1d(times), "times")
    if (np.diff(horizons) <= 0).any():
        raise ValueError(f"times must increase strictly, got {_list(horizons)}.")
    deaths = outcomes.duration[outcomes.event]
    first, last = deaths.min(initial=np.inf), outcomes.duration.max()
    if not len(deaths):
        raise ValueError(f"None of {len(outcomes)} people died: there is nothing to tell apart.")
    outside = horizons[(horizons < first) | (horizons >= last)]
    if len(outside):
        raise ValueError(
            f"times must lie between the first death ({first:g}) and the end of follow-up ({last:g}, exclusive), "
            f"got {_list(outside)}."
        )
    return horizons


def _list(values: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in values)
