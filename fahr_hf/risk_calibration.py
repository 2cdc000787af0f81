"""What a survival score means in one cohort, fitted on people that the score was neither trained nor chosen on.

A score that was learned by ranking says who is likely to die earlier, and nothing else. On calibration people a Cox
regression with the score as its only covariate makes it a log hazard ratio, 101 quantiles give its percentile within
the cohort, and a cumulative baseline hazard at evenly spaced times gives probabilities of being alive.

These probabilities describe the cohort, and mortality changes over the years; so a table calls itself `calibrated` only
where observed over expected deaths lie within `CALIBRATED` among those who entered in the latest decade that has
`DECADE_DEATHS` of them. They are among the people that the table was fitted on: the ratio shows whether a table over
many decades still holds for the latest. Where everybody entered in one decade it is near 1 by construction.

Nobody's times are in a table: its own are round, and with few deaths so far apart that on average at least five fall
between two of them.
"""

from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fahr_hf.clinical.cox import cox_regression
from fahr_hf.clinical.outcomes import Outcomes, check_column, check_outcomes
from fahr_hf.clinical.prediction import hazards_at
from fahr_hf.clinical.time_grid import round_times
from fahr_hf.data.outcomes import Clock

# All of these are ours.
LEAST_PEOPLE, LEAST_DEATHS = 100, 20
"""Fewer people make no percentiles, and fewer deaths no log hazard ratio."""
CALIBRATED = (0.8, 1.25)
"""Observed over expected deaths of a table whose probabilities may be shown."""
DECADE_DEATHS = 50
"""Deaths that a decade of entry needs to be judged by."""

_MOST_TIMES = 256
_DEATHS_A_STEP = 5


class Standing(NamedTuple):
    """What scores mean in a cohort.

    Args:
        percentile: (n,), 0 to 100, the share of the cohort whose score is not higher; higher is riskier.
        log_hazard_ratio: (n,), against a person with the cohort's mean score.
        survival: (n, k), probabilities of being alive after k times; NaN beyond follow-up.
    """

    percentile: np.ndarray
    log_hazard_ratio: np.ndarray
    survival: np.ndarray


def fit_risk_table(
    risk: ArrayLike,
    duration: ArrayLike,
    event: ArrayLike,
    entry: ArrayLike | None = None,
    *,
    cohort: str,
    clock: Clock,
    entry_year: ArrayLike | None = None,
) -> dict[str, Any]:
    """The table that calibration people give, one row a person.

    A score that does not rise with the hazard is no risk. The table then says so in `warning`; `apply_risk_table`
    refuses it, and the pipeline answers with that warning in place of a risk.

    Args:
        risk: Scores, (n,); higher is meant to be earlier death.
        duration: Years to death or censoring, (n,).
        event: 1 for death, 0 for censoring, (n,).
        entry: Years at which follow-up began, (n,); None if everybody was observed from 0.
        cohort: Name of the people, which every answer will show.
        clock: What the years count from.
        entry_year: Calendar year in which each person's follow-up began, (n,); without it nothing is `calibrated`.

    Returns:
        `config.calibration["survival"]`, plain numbers: `cohort`, `clock`, `people`, `events`; `coefficient`, the log
        hazard ratio a unit of score, `coefficient_se`, `mean` (of the scores); `quantiles` (101); `times` (at most 256,
        evenly spaced from 0, in years) and `baseline_hazard` (cumulative, at the mean score, after each of them);
        `follow_up` (the last of the times); `observed_expected` (None where it was not computed),
        `observed_expected_of` (of whom, or why not), `calibrated` and `warning` (None, or why this is no risk).

    Raises:
        ValueError: an unknown clock, columns that are not such columns, too few people or deaths, scores that are all
            the same, or that separate the dead from the living.
    """
    if clock not in get_args(Clock):
        raise ValueError(f"clock is {clock!r}; expected {' or '.join(map(repr, get_args(Clock)))}.")
    outcomes = check_outcomes(duration, event, entry)
    scores = check_column(risk, "risk", len(outcomes))
    _check_enough(scores, outcomes)
    mean = float(scores.mean())
    people = pd.DataFrame({"risk": scores - mean, "duration": outcomes.duration, "event": outcomes.event})
    if outcomes.entry is not None:
        people["entry"] = outcomes.entry
    try:
        fit = cox_regression(people, "duration", "event", ["risk"], entry=None if entry is None else "entry")
    except ValueError as problem:
        deaths = int(outcomes.event.sum())
        raise ValueError(
            f"Of {len(people)} people {deaths} died, and no hazard fits their scores. {problem}"
        ) from problem
    coefficient, se = fit.summary.loc["risk", ["coef", "se"]].tolist()
    times = round_times(fit.outcomes.duration.max(), min(_MOST_TIMES - 1, fit.events // _DEATHS_A_STEP))
    warning = None
    if not coefficient > 0:
        warning = (
            f"no risk: among the {fit.n} people of {cohort!r} higher scores did not go with earlier death "
            f"(log hazard ratio {coefficient:.3g} a unit of score, standard error {se:.2g})"
        )
    table = {
        "cohort": cohort,
        "clock": clock,
        "people": fit.n,
        "events": fit.events,
        "coefficient": coefficient,
        "coefficient_se": se,
        "mean": mean,
        "quantiles": np.quantile(scores, np.linspace(0, 1, 101)).tolist(),
        "times": times.tolist(),
        "baseline_hazard": hazards_at(fit, times)[0].tolist(),
        "follow_up": float(times[-1]),
        "warning": warning,
    }
    ratio, of_whom = _observed_expected(table, scores, outcomes, entry_year)
    is_close = ratio is not None and CALIBRATED[0] <= ratio <= CALIBRATED[1]
    return {
        **table,
        "observed_expected": ratio,
        "observed_expected_of": of_whom,
        "calibrated": warning is None and is_close,
    }


def apply_risk_table(table: dict[str, Any], risk: ArrayLike, years: ArrayLike = ()) -> Standing:
    """What scores mean in the cohort of a table.

    A score beyond all those of the cohort counts as the nearest of them, since nothing is known of people out there.
    Between two times of the table the cumulative hazard is taken as a straight line.

    Args:
        table: What `fit_risk_table` gave.
        risk: Scores, (n,).
        years: Times on the table's clock, (k,), at which to say who is alive. Whether such probabilities may be shown
            is what the table's `calibrated` says.

    Raises:
        ValueError: the table's `warning`: its score is no risk.
    """
    if table["warning"] is not None:
        raise ValueError(f"The table holds {table['warning']}.")
    wanted, scores = np.asarray(years, np.float64), np.asarray(risk, np.float64)
    log_ratio = _log_hazard_ratio(table, scores)
    hazard = np.interp(wanted, table["times"], table["baseline_hazard"], right=np.nan)
    return Standing(
        percentile=np.interp(scores, table["quantiles"], np.arange(101.0)),
        log_hazard_ratio=log_ratio,
        survival=np.exp(-hazard * np.exp(log_ratio)[:, None]),
    )


def _check_enough(scores: np.ndarray, outcomes: Outcomes) -> None:
    people, deaths = len(outcomes), int(outcomes.event.sum())
    if not deaths:
        raise ValueError(f"All {people} people are censored: without deaths a score cannot be calibrated.")
    if people < LEAST_PEOPLE or deaths < LEAST_DEATHS:
        raise ValueError(
            f"{people} people and {deaths} deaths are too few to calibrate a score: at least {LEAST_PEOPLE} people and "
            f"{LEAST_DEATHS} deaths are needed."
        )
    if scores.min() == scores.max():
        raise ValueError(f"All {people} scores are {scores[0]:g}: the model tells nobody from anybody. Train it first.")


def _log_hazard_ratio(table: dict[str, Any], scores: np.ndarray) -> np.ndarray:
    seen = np.clip(scores, table["quantiles"][0], table["quantiles"][-1])
    return table["coefficient"] * (seen - table["mean"])


def _observed_expected(
    table: dict[str, Any], scores: np.ndarray, outcomes: Outcomes, entry_year: ArrayLike | None
) -> tuple[float | None, str]:
    """Observed over expected deaths in the latest decade of entry that has enough, and whose they are."""
    if entry_year is None:
        return None, "not computed: no years of entry were given"
    decade = np.floor(check_column(entry_year, "entry_year", len(outcomes)) / 10).astype(int) * 10
    died = outcomes.event & (outcomes.duration <= table["follow_up"])
    deaths = pd.Series(died).groupby(decade).sum()
    if deaths.max() < DECADE_DEATHS:
        return None, f"not computed: no decade of entry has {DECADE_DEATHS} deaths"
    latest = deaths.index[deaths >= DECADE_DEATHS].max()
    entry = np.zeros(len(outcomes)) if outcomes.entry is None else outcomes.entry
    # Beyond the last time the hazard stays as it is, and so nothing is expected there.
    until_entry, until_end = (
        np.interp(time, table["times"], table["baseline_hazard"]) for time in (entry, outcomes.duration)
    )
    expected = (until_end - until_entry) * np.exp(_log_hazard_ratio(table, scores))
    inside = decade == latest
    whose = f"{inside.sum()} people who entered from {latest} to {latest + 9}, {deaths[latest]} of whom died"
    return float(died[inside].sum() / expected[inside].sum()), whose
