"""Other cohorts: does what was estimated on the development cohort hold elsewhere?"""

from typing import Any

import pandas as pd

from fahr_hf.clinical.compare_models import Performance, compare_fits
from fahr_hf.clinical.concordance import concordance
from fahr_hf.clinical.cox import Z95, CoxResult
from fahr_hf.clinical.design import Categorical, Covariate, Scaled
from fahr_hf.clinical.prediction import linear_predictor
from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.cohorts import Cohort
from fahr_hf.clinical.report.estimates import labels
from fahr_hf.clinical.report.follow_up import usable_horizons
from fahr_hf.clinical.report.models import model_covariates, tell_problems, with_limits
from fahr_hf.clinical.report.study import GROUP, Study

_PREDICTOR = "linear predictor"


def external_chapter(study: Study) -> Chapter:
    """Hazard ratios in the units and groups of the development cohort, and its models applied without any change."""
    chapter = Chapter("Other cohorts")
    if not study.external:
        chapter.say("The table holds one cohort.")
        return chapter
    chapter.say(
        "Cut points, standard deviations, knots and coefficients are those of the development cohort. Curves, "
        "splines and calibration of the other cohorts stand in the sections before. People who lack a covariate are "
        "left out of what is adjusted for it."
    )
    ratios: list[dict] = []
    applied: list[dict] = []
    compared: list[pd.DataFrame] = []
    settings = study.settings
    for cohort in study.external:
        for name, exposure in _exposures(study).items():
            with chapter.attempt(f"hazard ratios of {name} in {cohort.name}"):
                ratios += _hazard_ratios(study, cohort, name, exposure)
        with chapter.attempt(f"models of the development cohort in {cohort.name}"):
            models = model_covariates(study).items()
            fits = {name: study.predictor(covariates, study.complete) for name, covariates in models}
            people = cohort.people.dropna(subset=settings.adjustment())
            times = usable_horizons(chapter, study, people, cohort.name)
            found = compare_fits(fits, people, settings.duration, settings.event, times, settings.entry)
            applied += [_judge(study, cohort, people, name, fit, found) for name, fit in fits.items()]
            differences = with_limits(found.differences, "difference").drop(columns="se")
            differences.insert(0, "cohort", cohort.name)
            compared.append(differences)
            tell_problems(chapter, found, f" in {cohort.name}")
    if ratios:
        chapter.table("external_cox", "Hazard ratios in other cohorts", pd.DataFrame(ratios))
        chapter.numbers["hazard_ratios"] = ratios
    if applied:
        note = (
            "c: Harrell's concordance of the model's linear predictor; slope: its Cox coefficient in the other "
            "cohort, 1 if effects are as strong as in the development cohort, below 1 if weaker."
        )
        chapter.table(
            "external_models", "Models of the development cohort, applied unchanged", pd.DataFrame(applied), note
        )
        chapter.table("external_differences", "Differences of concordance in other cohorts", pd.concat(compared))
        chapter.numbers["models"] = applied
        chapter.methods.append(
            "In external cohorts the cut points, standard deviations, knots and coefficients of the development "
            "cohort were used unchanged, on people without missing covariates."
        )
    return chapter


def _exposures(study: Study) -> dict[str, list[Covariate]]:
    found: dict[str, list[Covariate]] = {}
    if study.face_age is not None:
        found["FaceAge"] = [study.face_age]
    if (score := study.settings.face_survival) is not None:
        found["FaceSurvival"] = [Scaled(score, per=float(study.people[score].std()))]
        found["FaceSurvival groups"] = [Categorical(GROUP, study.group_names[0])]
    return found


def _hazard_ratios(study: Study, cohort: Cohort, name: str, exposure: list[Covariate]) -> list[dict]:
    people = cohort.people
    if study.settings.face_survival is not None:
        people = people.assign(**{GROUP: study.risk_group(people)})
    if name == "FaceSurvival groups":
        study.check_groups(people)
    complete = people.dropna(subset=study.settings.adjustment())
    alone = study.predictor(exposure, people)
    adjusted = study.predictor([*exposure, *study.adjustment], complete) if study.adjustment else None
    rows = []
    for label, row in alone.summary.iterrows():
        called = "FaceSurvival, per SD of development" if name == "FaceSurvival" else labels(study)[str(label)]
        values = {"cohort": cohort.name, "exposure": called, "n": alone.n, "events": alone.events}
        values |= {"hr": row["hr"], "hr_low": row["hr_low"], "hr_high": row["hr_high"], "p": row["p"]}
        if adjusted is not None:
            own = adjusted.summary.loc[label]
            values |= {"n adjusted": adjusted.n, "hr_adjusted": own["hr"]}
            values |= {"hr_adjusted_low": own["hr_low"], "hr_adjusted_high": own["hr_high"], "p_adjusted": own["p"]}
        rows.append(values)
    return rows


def _judge(
    study: Study, cohort: Cohort, people: pd.DataFrame, name: str, fit: CoxResult, found: Performance
) -> dict[str, Any]:
    """How well a fitted model predicts another cohort."""
    ranking = found.concordance.loc[name]
    own, _ = concordance(**_named(study, study.complete), risk=fit.linear_predictor)
    predicted = people.assign(**{_PREDICTOR: linear_predictor(fit, people)})
    slope = study.predictor([_PREDICTOR], predicted).summary.iloc[0]
    margin = Z95 * slope["se"]
    row = {"cohort": cohort.name, "model": name, "n": found.n, "events": found.events, "c in development": own}
    row |= {"c": ranking["c"], "c_low": ranking["low"], "c_high": ranking["high"]}
    row |= {"slope": slope["coef"], "slope_low": slope["coef"] - margin, "slope_high": slope["coef"] + margin}
    brier = found.integrated_brier
    return row if brier is None else row | {"integrated Brier": brier.loc[name, "integrated_brier"]}


def _named(study: Study, people: pd.DataFrame) -> dict:
    given = study.outcomes(people)
    return {"event": given["event"], "time": given["duration"], "entry": given["entry"]}
