"""Cox regressions of the scores, alone and adjusted, and everything that the adjusted models hold."""

import pandas as pd

from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.estimates import Estimate, Estimates, exposures, labels
from fahr_hf.clinical.report.study import Study

_NOTE = "hr: hazard ratio with its 95 % interval; above 1 means earlier death. p: two-sided Wald test."


def cox_chapter(study: Study, estimates: Estimates) -> Chapter:
    """Univariable and multivariable hazard ratios."""
    chapter = Chapter("Hazard ratios of the scores", _introduction(study))
    rows: list[dict] = []
    models: list[pd.DataFrame] = []
    for name, exposure in exposures(study).items():
        with chapter.attempt(f"hazard ratios of {name}"):
            alone = estimates.alone(exposure)
            adjusted = estimates.adjusted(exposure) if study.adjustment else None
            rows += _rows(study, name, alone, adjusted)
            if adjusted is not None:
                models.append(_whole(study, name, adjusted))
    if rows:
        data = pd.DataFrame(rows)
        chapter.table("cox", "Hazard ratios of the scores", data, f"{_NOTE} {_scale(study)}")
        chapter.numbers = {f"{row['model']}: {row['exposure']}": row for row in rows}
    if models:
        chapter.table("cox_models", "The multivariable models in full", pd.concat(models, ignore_index=True), _NOTE)
        _show_covariates(chapter, study, estimates)
    chapter.methods.append(_method(study))
    return chapter


def _introduction(study: Study) -> str:
    adjustment = study.settings.adjustment()
    if not adjustment:
        return "Neither age nor covariates were named, so nothing is adjusted for."
    more = (
        f" Covariates are missing for some people: multivariable results are pooled over {study.settings.imputations} "
    )
    more += "imputations." if study.missing else ""
    adjusted = f"Univariable: the score alone. Multivariable: adjusted for {', '.join(adjustment)}."
    return adjusted + (more if study.missing else "")


def _scale(study: Study) -> str:
    told = []
    if study.settings.face_age is not None:
        told.append("FaceAge is per 10 years.")
    if study.settings.face_survival is not None:
        spread = study.people[study.settings.face_survival].std()
        told.append(f"FaceSurvival is per standard deviation of the development cohort, {spread:.4g} (primary).")
    return " ".join(told)


def _rows(study: Study, name: str, alone: Estimate, adjusted: Estimate | None) -> list[dict]:
    rows = []
    for label, row in alone.summary.iterrows():
        values = {"model": name, "exposure": labels(study)[str(label)], "n": alone.n, "events": alone.events}
        values |= _columns("univariable", row)
        if adjusted is not None:
            values |= _columns("multivariable", adjusted.summary.loc[label])
        rows.append(values)
    return rows


def _columns(kind: str, row: pd.Series) -> dict[str, float]:
    limits = {f"hr_{kind}_{end}": row[f"hr_{end}"] for end in ("low", "high")}
    return {f"hr_{kind}": row["hr"], **limits, f"p_{kind}": row["p"]}


def _whole(study: Study, name: str, estimate: Estimate) -> pd.DataFrame:
    shown = estimate.summary.reset_index()
    shown["covariate"] = shown["covariate"].replace(labels(study))
    kept = ["covariate", "coef", "se", "hr", "hr_low", "hr_high", "p", *(["fmi"] if "fmi" in shown else [])]
    shown = shown[kept]
    shown.insert(0, "model", name)
    return shown


def _show_covariates(chapter: Chapter, study: Study, estimates: Estimates) -> None:
    rows = []
    for covariate in study.adjustment:
        with chapter.attempt(f"the univariable hazard ratio of {covariate}"):
            estimate = estimates.alone([covariate])
            shown = estimate.summary.reset_index()[["covariate", "hr", "hr_low", "hr_high", "p"]]
            shown["covariate"] = shown["covariate"].replace(labels(study))
            shown.insert(1, "n", estimate.n)
            shown.insert(2, "events", estimate.events)
            rows.append(shown)
    if rows:
        note = f"{_NOTE} Each on the people of whom it is known."
        chapter.table("cox_covariates", "Univariable hazard ratios of the covariates", pd.concat(rows), note)


def _method(study: Study) -> str:
    settings = study.settings
    told = "Hazard ratios are from Cox regression (Efron's method for ties) with 95 % Wald intervals"
    if settings.entry is not None:
        told += f"; people were at risk from {settings.entry} on (delayed entry)"
    if settings.strata is not None:
        told += f"; baseline hazards were stratified by {settings.strata}"
    if settings.cluster is not None:
        told += f"; standard errors were robust to clusters of {settings.cluster}"
    scales = []
    if settings.face_age is not None:
        scales.append("FaceAge entered per 10 years")
    if settings.face_survival is not None:
        scales.append(
            f"FaceSurvival per standard deviation and, secondarily, in {settings.groups} groups of equal size"
        )
    adjusted = f", adjusted for {', '.join(settings.adjustment())}" if settings.adjustment() else ""
    return f"{told}. {' and '.join(scales)}{adjusted}."
