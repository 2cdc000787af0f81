"""What a report is made from: the cohorts, what they are adjusted for, and the units and groups of the scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from fahr_hf.clinical.cox import CoxResult, cox_regression
from fahr_hf.clinical.design import Categorical, Covariate, Scaled, Standardised
from fahr_hf.clinical.report.cohorts import Cohort, form_cohort
from fahr_hf.clinical.report.reading import check_identifiers
from fahr_hf.clinical.report.settings import ReportSettings
from fahr_hf.clinical.risk_groups import risk_groups

GROUP = "FaceSurvival group"
"""Column that `risk_group` makes."""

GAP = "FaceAge gap"
"""Column of FaceAge minus age."""


@dataclass(frozen=True, eq=False)
class Study:
    """What every part of the report is made from.

    Args:
        settings: Columns and choices.
        development: The cohort that everything is estimated on.
        external: Cohorts on which that is tried.
        references: Reference group of every covariate that is a group.
    """

    settings: ReportSettings
    development: Cohort
    external: tuple[Cohort, ...]
    references: Mapping[str, object]

    @property
    def people(self) -> pd.DataFrame:
        """The people of the development cohort."""
        return self.development.people

    @property
    def adjustment(self) -> list[Covariate]:
        """What adjusted analyses hold besides the scores: age per decade, then the covariates."""
        age = [] if self.settings.age is None else [Scaled(self.settings.age, per=10)]
        return [*age, *(self.covariate(column) for column in self.settings.covariates)]

    @property
    def face_age(self) -> Covariate | None:
        """FaceAge per decade."""
        return None if self.settings.face_age is None else Scaled(self.settings.face_age, per=10)

    @property
    def face_survival(self) -> Covariate | None:
        """FaceSurvival per standard deviation of the development cohort."""
        return None if self.settings.face_survival is None else Standardised(self.settings.face_survival)

    @property
    def scores(self) -> list[Covariate]:
        """The scores that there are, FaceAge first."""
        return [score for score in (self.face_age, self.face_survival) if score is not None]

    @cached_property
    def complete(self) -> pd.DataFrame:
        """The people of the development cohort who lack no covariate."""
        return self.people.dropna(subset=self.settings.adjustment())

    @property
    def missing(self) -> list[str]:
        """Covariates that somebody of the development cohort lacks."""
        return [column for column in self.settings.adjustment() if self.people[column].isna().any()]

    @cached_property
    def cuts(self) -> np.ndarray:
        """Cut points of FaceSurvival between its groups, from the development cohort.

        Raises:
            ValueError: so many equal scores that a group would be empty.
        """
        score = self.settings.face_survival
        try:
            return risk_groups(self.people[score], self.settings.groups)[1]
        except ValueError as error:
            raise ValueError(f"{score}: {error} That is --groups.") from error

    @property
    def group_names(self) -> list[str]:
        """Names of the groups of FaceSurvival, from low to high risk."""
        letter = "Q" if self.settings.groups == 4 else "G"
        return [f"{letter}{number}" for number in range(1, self.settings.groups + 1)]

    def risk_group(self, people: pd.DataFrame) -> pd.Series:
        """Which group of FaceSurvival people are in, by the cut points of the development cohort."""
        number, _ = risk_groups(people[self.settings.face_survival], cuts=self.cuts)
        groups = pd.Categorical.from_codes(number - 1, self.group_names, ordered=True)
        return pd.Series(groups, people.index, name=GROUP)

    def check_groups(self, people: pd.DataFrame) -> None:
        """Refuse groups of FaceSurvival, in the column `GROUP`, of which one has no death.

        Raises:
            ValueError: with the group and what to do.
        """
        settings = self.settings
        deaths = people.groupby(GROUP, observed=False)[settings.event].agg(["size", "sum"])
        for name, (size, died) in deaths.iterrows():
            if not died:
                raise ValueError(
                    f"Nobody of the {size:.0f} people in {name} of {settings.face_survival} has {settings.event} = 1, "
                    f"so the hazard ratio of {name} is not finite. Take fewer groups (--groups {settings.groups - 1}), "
                    "or the result per SD."
                )

    def gap(self, people: pd.DataFrame) -> pd.Series:
        """FaceAge minus age, years."""
        return (people[self.settings.face_age] - people[self.settings.age]).rename(GAP)

    def covariate(self, column: str) -> Covariate:
        """A column as a covariate: groups with their reference, or numbers."""
        return Categorical(column, self.references[column]) if column in self.references else column

    def fit(self, covariates: Sequence[Covariate], people: pd.DataFrame) -> CoxResult:
        """A Cox regression with the strata and clusters of the settings, for tables of hazard ratios."""
        settings = self.settings
        return cox_regression(
            people,
            settings.duration,
            settings.event,
            covariates,
            entry=settings.entry,
            strata=settings.strata,
            cluster=settings.cluster,
        )

    def predictor(self, covariates: Sequence[Covariate], people: pd.DataFrame) -> CoxResult:
        """A Cox regression without strata and clusters, which other cohorts need not have: for predictions."""
        settings = self.settings
        return cox_regression(people, settings.duration, settings.event, covariates, entry=settings.entry)

    def outcomes(self, people: pd.DataFrame) -> dict[str, Any]:
        """Keyword arguments `duration`, `event` and `entry` of some people."""
        entry = None if self.settings.entry is None else people[self.settings.entry].to_numpy()
        return {
            "duration": people[self.settings.duration].to_numpy(),
            "event": people[self.settings.event].to_numpy(),
            "entry": entry,
        }


def make_study(data: pd.DataFrame, settings: ReportSettings, external: Mapping[str, pd.DataFrame]) -> Study:
    """Check the tables and exclude people who cannot be analysed.

    Excluded is who lacks outcome, score, stratum or cluster, and who left before coming under observation. Who lacks
    a covariate stays.

    Args:
        data: The development cohort, as read.
        settings: Columns and choices.
        external: Other cohorts by name.

    Raises:
        ValueError: a table that is refused (see `check_table`), nobody left, a person in two cohorts, a covariate with
            one value, or a reference group that does not occur.
    """
    development = form_cohort(data, settings, settings.development)
    others = tuple(form_cohort(table, _for_external(settings, table), name) for name, table in external.items())
    if settings.identifier is not None:
        for other in others:
            both = pd.concat([cohort.people[settings.identifier] for cohort in (development, other)], ignore_index=True)
            check_identifiers(both, f"{development.name} and {other.name} together")
    references = {}
    for column in settings.covariates:
        values = development.people[column].dropna()
        if values.nunique() < 2:
            found = f"{values.iloc[0]!r} in all {len(values)} rows" if len(values) else "empty in all rows"
            raise ValueError(f"{development.name}: the covariate {column} is {found}; leave it out of the covariates.")
        if column in settings.references or not pd.api.types.is_float_dtype(values):
            references[column] = _reference(values, settings.references.get(column))
    return Study(settings, development, others, references)


def _for_external(settings: ReportSettings, table: pd.DataFrame) -> ReportSettings:
    """Another cohort needs no strata, clusters or subgroups; without a column of parts, nobody of it trained."""
    part = settings.part if settings.part in table.columns else None
    trained_nobody = settings.out_of_fold if part else False
    return replace(settings, part=part, out_of_fold=trained_nobody, strata=None, cluster=None, subgroups=())


def _reference(values: pd.Series, wanted: str | None) -> object:
    levels = values.value_counts()
    if wanted is None:
        return levels.index[0]
    for level in levels.index:
        if str(level) == wanted or (isinstance(level, float) and f"{level:g}" == wanted):
            return level
    raise ValueError(
        f"The covariate {values.name} is never {wanted!r}, its reference; its groups are "
        f"{', '.join(map(str, sorted(levels.index, key=str)))}."
    )
