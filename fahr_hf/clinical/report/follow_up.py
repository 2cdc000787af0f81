"""How long people were observed."""

from typing import Any

import numpy as np
import pandas as pd

from fahr_hf.clinical.kaplan_meier import Median, follow_up, kaplan_meier
from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.cohorts import Cohort
from fahr_hf.clinical.report.study import Study


def follow_up_chapter(study: Study) -> Chapter:
    """Median follow-up by reverse Kaplan-Meier, person-time, survival and numbers at risk at the horizons."""
    chapter = Chapter("Follow-up")
    cohorts = (study.development, *study.external)
    unit = study.settings.unit
    with chapter.attempt("follow-up"):
        rows = [_row(cohort, study) for cohort in cohorts]
        note = (
            f"Times in {unit}. Follow-up is the median time to censoring, by the Kaplan-Meier method with deaths "
            "taken as censored (reverse Kaplan-Meier); a dash where more than half died first."
        )
        chapter.table("follow_up", "Follow-up and survival", pd.DataFrame(rows), note)
        chapter.numbers = {str(row["cohort"]): row for row in rows}
        told = [f"{row['cohort']} {row['follow-up']:.3g} {unit}" for row in rows if row["follow-up"] > 0]
        if told:
            chapter.methods.append(f"Median follow-up (reverse Kaplan-Meier) was {', '.join(told)}.")
    with chapter.attempt("survival at the horizons"):
        tables = [_at_horizons(cohort, study) for cohort in cohorts]
        chapter.table("survival", "Survival of everybody (Kaplan-Meier)", pd.concat(tables, ignore_index=True))
    return chapter


def horizons_of(study: Study) -> tuple[float, ...]:
    """The horizons asked for; without any, the median follow-up to two digits.

    Raises:
        ValueError: none asked for, and more than half died before they could be censored.
    """
    if study.settings.horizons:
        return tuple(sorted(study.settings.horizons))
    middle = follow_up(**study.outcomes(study.people)).median
    if not np.isfinite(middle):
        raise ValueError("The median follow-up is not reached, so there is no horizon; name one with --horizon.")
    return (float(f"{middle:.2g}"),)


def usable_horizons(chapter: Chapter, study: Study, people: pd.DataFrame, name: str) -> list[float]:
    """The horizons that some follow-up goes beyond; of the others the chapter tells why not.

    Raises:
        ValueError: there is none.
    """
    usable = []
    for horizon in horizons_of(study):
        with chapter.attempt("AUC and Brier score"):
            check_horizon(study, people, horizon, name)
            usable.append(horizon)
    if not usable:
        raise ValueError("no horizon lies within the follow-up.")
    return usable


def check_horizon(study: Study, people: pd.DataFrame, horizon: float, name: str) -> None:
    """Refuse a horizon that no follow-up reaches.

    Raises:
        ValueError: with the column, its last row, and what to do.
    """
    last = people[study.settings.duration]
    if horizon >= last.max():
        raise ValueError(
            f"the horizon {horizon:g} is not within the follow-up of {name}: {study.settings.duration} ends at "
            f"{last.max():g} (row {last.idxmax()}). Choose --horizon before that, in {study.settings.unit}."
        )


def _row(cohort: Cohort, study: Study) -> dict[str, Any]:
    people, settings = cohort.people, study.settings
    middle = follow_up(**study.outcomes(people))
    alive: Median = kaplan_meier(**study.outcomes(people)).median()
    begin = 0 if settings.entry is None else people[settings.entry]
    return {
        "cohort": cohort.name,
        "people": len(people),
        "deaths": int(people[settings.event].sum()),
        "person-time": float((people[settings.duration] - begin).sum()),
        "longest": float(people[settings.duration].max()),
        "follow-up": middle.median,
        "follow-up_low": middle.low,
        "follow-up_high": middle.high,
        "median survival": alive.median,
        "median survival_low": alive.low,
        "median survival_high": alive.high,
    }


def _at_horizons(cohort: Cohort, study: Study) -> pd.DataFrame:
    curve = kaplan_meier(**study.outcomes(cohort.people))
    table = curve.at(horizons_of(study)).reset_index()
    table = table.rename(columns={"low": "survival_low", "high": "survival_high", "at_risk": "at risk"})
    table.insert(0, "cohort", cohort.name)
    return table.drop(columns="se")
