"""Both scores apart and together, with and without what is known clinically: which model predicts better?"""

import pandas as pd

from fahr_hf.clinical.compare_models import ModelComparison, Performance, compare_models
from fahr_hf.clinical.design import Covariate
from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.follow_up import usable_horizons
from fahr_hf.clinical.report.study import Study

_NOTE = (
    "c: Harrell's concordance, 0.5 is chance and 1 a perfect ranking. Models are judged on the people they were "
    "fitted to, so those with many coefficients for few events look slightly too good."
)


def models_chapter(study: Study) -> Chapter:
    """Models with either score and both: concordance, AUC, Brier score, their differences, likelihood-ratio tests."""
    chapter = Chapter("The scores apart and together", _introduction(study))
    settings = study.settings
    with chapter.attempt("the comparison of models"):
        times = usable_horizons(chapter, study, study.complete, study.development.name)
        found = compare_models(
            study.complete, settings.duration, settings.event, model_covariates(study), times, settings.entry
        )
        chapter.table("models", f"Models on {found.n:,} people, {found.events:,} deaths", _models(found), _NOTE)
        note = "difference of C: above 0, model ranks people better than against; the same people in both."
        differences = with_limits(found.differences, "difference").drop(columns="se")
        chapter.table("model_differences", "Differences of concordance", differences, note)
        note = "Does the larger model fit better? Twice the gain of log likelihood, chi-squared."
        chapter.table("model_tests", "Likelihood-ratio tests of nested models", found.likelihood_ratio, note)
        _show_over_time(chapter, found, settings.unit)
        chapter.numbers = {
            "concordance": found.concordance.to_dict(orient="index"),
            "differences": found.differences.to_dict(orient="records"),
            "likelihood_ratio": found.likelihood_ratio.to_dict(orient="records"),
        }
        chapter.methods.append(
            f"Models ({', '.join(model_covariates(study))}) were fitted to the same {found.n:,} people and compared "
            "by Harrell's C (infinitesimal jackknife, correlated differences) and likelihood-ratio tests"
            + (", by cumulative/dynamic AUC and Brier scores weighted for censoring." if found.auc is not None else ".")
        )
    return chapter


def model_covariates(study: Study) -> dict[str, list[Covariate]]:
    """The models that are compared, smaller ones first: covariates by name of the model."""
    named = (("FaceAge", study.face_age), ("FaceSurvival", study.face_survival))
    apart = {name: [score] for name, score in named if score is not None}
    together = apart | ({"FaceAge + FaceSurvival": study.scores} if len(apart) == 2 else {})
    if not study.adjustment:
        return together
    base = base_name(study)
    more = {f"{base} + {name}": [*study.adjustment, *scores] for name, scores in together.items()}
    return {**together, base: study.adjustment, **more}


def with_limits(table: pd.DataFrame, estimate: str) -> pd.DataFrame:
    """The columns `low` and `high`, named as limits of an estimate."""
    return table.rename(columns={"low": f"{estimate}_low", "high": f"{estimate}_high"})


def base_name(study: Study) -> str:
    """What models call what is known without a photo."""
    return "clinical" if study.settings.covariates else "age"


def _introduction(study: Study) -> str:
    told = "All models are fitted to the same people, those without missing covariates."
    if study.adjustment:
        told += f" “{base_name(study)}” stands for {', '.join(study.settings.adjustment())}."
    return told


def _models(found: ModelComparison) -> pd.DataFrame:
    ranking = with_limits(found.concordance, "c").drop(columns="se")
    table = ranking.join(found.models[["coefficients", "events_per_parameter", "aic"]])
    if found.uno is not None:
        table = table.join(found.uno.rename(columns={"c": "Uno's c"}))
    return table if found.integrated_brier is None else table.join(found.integrated_brier)


def _show_over_time(chapter: Chapter, found: ModelComparison, unit: str) -> None:
    for name, table, title in (
        ("auc", found.auc, f"Cumulative/dynamic AUC at each time ({unit})"),
        ("brier", found.brier, f"Brier score at each time ({unit}); 0 is best, scaled: 1 is best"),
    ):
        if table is not None:
            chapter.table(f"model_{name}", title, table)
            chapter.numbers[name] = table.to_dict(orient="records")
    tell_problems(chapter, found, "")


def tell_problems(chapter: Chapter, found: Performance, where: str) -> None:
    """Say which measures are absent, and why."""
    reasons: dict[str, list[str]] = {}
    for name, reason in found.problems.items():
        reasons.setdefault(reason, []).append(name.replace("_", " "))
    for reason, names in reasons.items():
        with chapter.attempt(", ".join(names) + where):
            raise ValueError(reason)
