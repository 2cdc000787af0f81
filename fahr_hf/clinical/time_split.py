"""Where hazards are not proportional: hazard ratios in windows of time, and differences of restricted means."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from .cox import Z95, CoxResult, cox_regression
from .design import Covariate
from .kaplan_meier import RestrictedMean, kaplan_meier
from .outcomes import Outcomes, check_column, check_outcomes


def time_split_hazard_ratios(
    data: pd.DataFrame,
    duration: str,
    event: str,
    exposure: Covariate,
    cuts: ArrayLike,
    covariates: Sequence[Covariate],
    entry: str | None = None,
) -> pd.DataFrame:
    """Hazard ratio of an exposure in each window of time, as R's `survSplit` with `coxph(... exposure:strata(window))`.

    Everybody's follow-up is cut at the same times. The exposure has a coefficient in each window (start, end], so that
    a death at a cut belongs to the window before it; the covariates have one coefficient over all time.

    Args:
        data: One row a person.
        duration: Column with the time of death or censoring.
        event: Column with 1 for death, 0 for censoring.
        exposure: What the hazard ratios are of; a covariate with one coefficient.
        cuts: (k,), times at which one window ends and the next begins, rising, within the follow-up.
        covariates: Adjusted for; may be empty.
        entry: Column with the time at which follow-up begins.

    Returns:
        One row a window: `start`, `end` (of the last: the end of follow-up), `n` (people observed in it), `events`,
        `hr`, `hr_low`, `hr_high` (95 % Wald interval), `p` (Wald), and in all rows the same `p_equal` (likelihood
        ratio: do the hazard ratios of the windows differ?).

    Raises:
        ValueError: what `cox_regression` refuses, an exposure with several coefficients, cuts that do not rise or lie
            outside the follow-up, a window without a death.

    Examples:
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5, 6], "died": 1, "age": [70, 58, 66, 72, 60, 62]})
        >>> table = time_split_hazard_ratios(people, "years", "died", "age", cuts=[3], covariates=[])
        >>> table[["start", "end", "events", "hr", "p_equal"]].round(2)
           start  end  events    hr  p_equal
        0    0.0  3.0       3  1.01     0.34
        1    3.0  6.0       3  1.28     0.34
    """
    whole = cox_regression(data, duration, event, [exposure, *covariates], entry=entry)
    if len(whole.terms[0].labels) > 1:
        raise ValueError(f"exposure must have one coefficient, got {', '.join(whole.terms[0].labels)}.")
    first = 0.0 if whole.outcomes.entry is None else float(whole.outcomes.entry.min())
    last = float(whole.outcomes.duration.max())
    times = check_column(np.atleast_1d(cuts), "cuts")
    if not (np.diff([first, *times, last]) > 0).all():
        raise ValueError(f"cuts must rise within the follow-up, {first:g} to {last:g}, got {times.tolist()}.")
    person, window, episodes = _episodes(whole.outcomes, times)
    windows = pd.DataFrame({"start": [first, *times], "end": [*times, last]})
    windows["n"] = np.bincount(window, minlength=len(windows))
    windows["events"] = np.bincount(window[episodes["dies"]], minlength=len(windows))
    if len(empty := windows[windows["events"] == 0]):
        between = ", ".join(f"{row.start:g} and {row.end:g}" for row in empty.itertuples())
        raise ValueError(f"Nobody dies between {between}: there is no hazard ratio. Choose other cuts.")
    split = _fit(whole, person, window, episodes)
    found = split.summary.iloc[: len(windows)].reset_index(drop=True)
    gain = max(2 * (split.log_likelihood - whole.log_likelihood), 0.0)
    return windows.join(found[["hr", "hr_low", "hr_high", "p"]]).assign(p_equal=special.chdtrc(len(times), gain))


def restricted_mean_differences(
    duration: ArrayLike, event: ArrayLike, group: ArrayLike, tau: float, entry: ArrayLike | None = None
) -> pd.DataFrame:
    """Differences between groups in the mean time lived up to tau: an answer that needs no proportional hazards.

    Args:
        duration: (n,), time to death or censoring.
        event: (n,), 1 for death, 0 for censoring.
        group: (n,), at least two groups.
        tau: Follow-up of every group must reach it, or end with a death of all who are left.
        entry: (n,), time of entry; None if all are observed from the start.

    Returns:
        One row for each pair of groups: `group`, `against`, their restricted means `mean` and `mean_against`,
        `difference` (mean - mean_against, in the unit of the durations), `se`, `low`, `high` (95 %, normal) and `p`.

    Raises:
        ValueError: unusable columns, fewer than two groups, or tau beyond the follow-up of one, which is named.

    Examples:
        >>> table = restricted_mean_differences([1, 2, 3, 4, 5, 6], [1, 1, 1, 0, 1, 0], list("aaabbb"), tau=5)
        >>> table[["group", "against", "difference", "low", "high"]].round(2)
          group against  difference   low  high
        0     b       a         3.0  2.08  3.92
    """
    outcomes = check_outcomes(duration, event, entry)
    groups = pd.Series(group).reset_index(drop=True)
    if len(groups) != len(outcomes) or groups.isna().any():
        raise ValueError(f"group must hold {len(outcomes)} groups, got {groups.notna().sum()}.")
    levels = groups.astype("category").cat.remove_unused_categories().cat.categories
    if len(levels) < 2:
        raise ValueError(f"group is {levels[0]!r} for everybody; a difference takes two groups.")
    means = {level: _restricted_mean(outcomes, (groups == level).to_numpy(), tau, level) for level in levels}
    rows = []
    for against, level in combinations(levels, 2):
        difference = means[level].mean - means[against].mean
        se = float(np.hypot(means[level].se, means[against].se))
        z = difference / se if se > 0 else np.nan
        interval = (difference - Z95 * se, difference + Z95 * se)
        p = 2 * special.ndtr(-abs(z))
        rows.append((level, against, means[level].mean, means[against].mean, difference, se, *interval, p))
    names = ["group", "against", "mean", "mean_against", "difference", "se", "low", "high", "p"]
    return pd.DataFrame(rows, columns=names)


def _episodes(outcomes: Outcomes, cuts: np.ndarray) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """One row for each window in which somebody is observed: the person, the window, and `since`, `until`, `dies`.

    Times are ranks, on which alone a Cox regression depends: so somebody who is there from the start may leave at 0.
    """
    begin = np.full(len(outcomes), -np.inf) if outcomes.entry is None else outcomes.entry
    starts, ends = np.array([-np.inf, *cuts]), np.array([*cuts, np.inf])
    person, window = np.nonzero((outcomes.duration[:, None] > starts) & (begin[:, None] < ends))
    grid = np.unique(np.concatenate([begin[np.isfinite(begin)], outcomes.duration, cuts]))
    since, until = np.maximum(begin[person], starts[window]), np.minimum(outcomes.duration[person], ends[window])
    dies = outcomes.event[person] & (outcomes.duration[person] <= ends[window])
    ranks = {"since": np.searchsorted(grid, since, "right"), "until": np.searchsorted(grid, until, "right")}
    return person, window, pd.DataFrame(ranks | {"dies": dies})


def _fit(whole: CoxResult, person: np.ndarray, window: np.ndarray, episodes: pd.DataFrame) -> CoxResult:
    exposure, covariates = whole.design[person, 0], whole.design[person, 1:]
    label, *others = whole.summary.index
    split = {f"{label} in window {i + 1}": exposure * (window == i) for i in range(window.max() + 1)}
    design = pd.DataFrame(covariates, columns=others).assign(**split)
    table = pd.concat([episodes, design], axis=1)
    return cox_regression(table, "until", "dies", [*split, *others], entry="since")


def _restricted_mean(outcomes: Outcomes, member: np.ndarray, tau: float, level: object) -> RestrictedMean:
    entry = None if outcomes.entry is None else outcomes.entry[member]
    try:
        return kaplan_meier(outcomes.duration[member], outcomes.event[member], entry).restricted_mean(tau)
    except ValueError as error:
        raise ValueError(f"Group {level!r}: {error}") from None
