"""Who is analysed, and who is excluded and why."""

from dataclasses import dataclass

import pandas as pd

from fahr_hf.clinical.report.reading import check_table
from fahr_hf.clinical.report.settings import ReportSettings


@dataclass(frozen=True)
class Step:
    """One step of the flow of people: `people` and `events` that `reason` left out; the first step is those read."""

    reason: str
    people: int
    events: int


@dataclass(frozen=True, eq=False)
class Cohort:
    """One cohort.

    Args:
        name: What the report calls it.
        people: Who is analysed; covariates may be missing, nothing else is.
        flow: Those read, then those excluded, a step a reason.
    """

    name: str
    people: pd.DataFrame
    flow: tuple[Step, ...]


def form_cohort(data: pd.DataFrame, settings: ReportSettings, name: str) -> Cohort:
    """Check a table and exclude people who cannot be analysed, counting them.

    Excluded is who lacks outcome, score, age, stratum or cluster, and who left before coming under observation. Who
    lacks a covariate stays.

    Raises:
        ValueError: a table that is refused (see `check_table`), or one in which nobody, or no death, is left.
    """
    people = check_table(data, settings, name)
    flow = [_step("read", people, settings)]
    *others, last = settings.outcome()
    reasons = [(f"{', '.join(others)} or {last} missing", people[settings.outcome()].isna().any(axis=1))]
    if settings.entry is not None:
        reasons.append(("left before coming under observation", people[settings.entry] >= people[settings.duration]))
    needed = [*settings.scores(), *([settings.age] if settings.age else [])]
    needed += [column for column in (settings.strata, settings.cluster) if column is not None]
    reasons += [(f"{column} missing", people[column].isna()) for column in needed]
    for reason, excluded in reasons:
        excluded = excluded.loc[people.index]
        if excluded.any():
            flow.append(_step(reason, people[excluded], settings))
            people = people[~excluded]
    if not len(people):
        told = "; ".join(f"{step.people} {step.reason}" for step in flow)
        raise ValueError(f"{name}: nobody is left to analyse ({told}). Fill the columns, or name others.")
    if not people[settings.event].any():
        raise ValueError(f"{name}: {settings.event} is 0 in all {len(people)} rows left; survival needs deaths.")
    return Cohort(name, people, tuple(flow))


def _step(reason: str, people: pd.DataFrame, settings: ReportSettings) -> Step:
    return Step(reason, len(people), int(people[settings.event].sum()))
