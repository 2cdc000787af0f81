"""Hazard ratios of the scores: from one fit, or pooled over imputed tables where covariates are missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from fahr_hf.clinical.cox import CoxResult
from fahr_hf.clinical.design import Categorical, Covariate, covariate_columns
from fahr_hf.clinical.imputation import impute, pool
from fahr_hf.clinical.report.study import GAP, GROUP, Study


@dataclass(frozen=True, eq=False)
class Estimate:
    """Coefficients of a regression.

    Args:
        summary: As `CoxResult.summary`, or as `pool` returns it.
        n: People.
        events: Deaths.
        fits: The fits behind it: one, or one an imputation.
    """

    summary: pd.DataFrame
    n: int
    events: int
    fits: tuple[CoxResult, ...]


class Estimates:
    """The regressions of one study; imputations are made once, when first needed.

    Args:
        study: The people.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self._made: dict[tuple[Covariate, ...], Estimate] = {}

    @cached_property
    def imputed(self) -> list[pd.DataFrame]:
        """The development cohort with every gap filled, several times."""
        settings = self.study.settings
        # The scores help to predict the gaps; they have none themselves.
        columns = [*settings.adjustment(), *settings.scores()]
        return impute(
            self.study.people,
            columns,
            settings.duration,
            settings.event,
            settings.imputations,
            settings.seed,
            entry=settings.entry,
        )

    def alone(self, exposures: Sequence[Covariate]) -> Estimate:
        """Exposures without adjustment, on the people who lack none of them."""
        return self._one(list(exposures), self.study.people)

    def adjusted(self, exposures: Sequence[Covariate]) -> Estimate:
        """Exposures with age and the covariates; pooled over imputations where covariates are missing."""
        key = tuple(exposures)
        if key not in self._made:
            self._made[key] = self._adjust(exposures)
        return self._made[key]

    def _adjust(self, exposures: Sequence[Covariate]) -> Estimate:
        covariates = self._with_adjustment(exposures)
        if not set(self.study.missing) & set(covariate_columns(covariates)):
            return self._one(covariates, self.study.people)
        fits = tuple(self.study.fit(covariates, self._prepared(table, covariates)) for table in self.imputed)
        return Estimate(pool(fits), fits[0].n, fits[0].events, fits)

    def complete_cases(self, exposures: Sequence[Covariate]) -> Estimate:
        """The same on the people who lack no covariate."""
        return self._one(self._with_adjustment(exposures), self.study.complete)

    def _with_adjustment(self, exposures: Sequence[Covariate]) -> list[Covariate]:
        return [*exposures, *self.study.adjustment]

    def _one(self, covariates: list[Covariate], people: pd.DataFrame) -> Estimate:
        people = self._prepared(people, covariates)
        fit = self.study.fit(covariates, people.dropna(subset=covariate_columns(covariates)))
        return Estimate(fit.summary, fit.n, fit.events, (fit,))

    def _prepared(self, people: pd.DataFrame, covariates: list[Covariate]) -> pd.DataFrame:
        """The people with the groups of FaceSurvival and the gap, where the regression takes them."""
        columns = covariate_columns(covariates)
        if GROUP in columns:
            people = people.assign(**{GROUP: self.study.risk_group(people)})
            self.study.check_groups(people)
        return people.assign(**{GAP: self.study.gap(people)}) if GAP in columns else people


def exposures(study: Study) -> dict[str, list[Covariate]]:
    """What hazard ratios are reported of: FaceAge, FaceSurvival, its groups, and both scores together."""
    found: dict[str, list[Covariate]] = {}
    if study.face_age is not None:
        found["FaceAge"] = [study.face_age]
    if study.face_survival is not None:
        found["FaceSurvival"] = [study.face_survival]
        found["FaceSurvival groups"] = [Categorical(GROUP, study.group_names[0])]
    if len(study.scores) == 2:
        found["FaceAge and FaceSurvival"] = study.scores
    return found


def labels(study: Study) -> dict[str, str]:
    """What tables call coefficients that have no name a reader would know."""
    names = {
        f"{column}: {level}": f"{column}: {level} against {reference}"
        for column, reference in study.references.items()
        for level in pd.unique(study.people[column].dropna())
    }
    names |= {
        f"{study.settings.face_age} per 10": "FaceAge, per decade",
        f"{study.settings.face_survival} per SD": "FaceSurvival, per SD",
        f"{study.settings.age} per 10": f"{study.settings.age}, per decade",
    }
    first, *others = study.group_names
    return names | {f"{GROUP}: {name}": f"FaceSurvival, {name} against {first}" for name in others}
