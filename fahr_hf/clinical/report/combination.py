"""All that is known in one model: what each score adds to age, covariates and the other, and the model as a file."""

import pandas as pd

from fahr_hf.clinical.combination import Combination, combine_scores
from fahr_hf.clinical.cox_model import cox_content
from fahr_hf.clinical.design import Covariate
from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.estimates import labels
from fahr_hf.clinical.report.models import base_name
from fahr_hf.clinical.report.study import Study

_FILE = "combination"


def combination_chapter(study: Study) -> Chapter:
    """The hazard ratios of the model of age, covariates and scores, the tests of its parts, and the model as a file."""
    chapter = Chapter("The combination of what is known and the scores")
    known = _blocks(study)
    if len(known) < 2:
        chapter.say("This takes two of FaceAge, FaceSurvival, and age or covariates; the table has one.")
        return chapter
    chapter.say("One Cox regression of the people without missing covariates.")
    with chapter.attempt("the combination"):
        settings = study.settings
        found = combine_scores(study.complete, settings.duration, settings.event, known, entry=settings.entry)
        table = found.fit.summary.reset_index()[["covariate", "coef", "se", "hr", "hr_low", "hr_high", "p"]]
        table["covariate"] = table["covariate"].replace(labels(study))
        title = f"All in one model: {found.fit.n:,} people, {found.fit.events:,} deaths"
        chapter.table("combination", title, table)
        added = _added(found)
        note = (
            "chisq: twice the gain of log likelihood. c and its difference: Harrell's concordance with the part, on "
            "the people whom the models were fitted to. A part is added to those above it, and to all others."
        )
        chapter.table("combination_added", "What each part adds", added, note)
        chapter.models[_FILE] = cox_content(found.fit, study.development.name)
        chapter.say(
            f"As a file for other cohorts the model is models/{_FILE}.json, which fahr_hf.clinical.load_cox reads. It "
            "holds nothing of single people."
        )
        chapter.numbers = {
            "coefficients": table.to_dict(orient="records"),
            "added": added.to_dict(orient="records"),
        }
        chapter.methods.append(
            f"What each of {', '.join(known)} adds was tested by likelihood-ratio tests of nested models, in that "
            "order and each after the others."
        )
    return chapter


def _blocks(study: Study) -> dict[str, list[Covariate]]:
    scores = {"FaceAge": study.face_age, "FaceSurvival": study.face_survival}
    known = {base_name(study): study.adjustment} if study.adjustment else {}
    return known | {name: [score] for name, score in scores.items() if score is not None}


def _added(found: Combination) -> pd.DataFrame:
    tables = [found.in_order, found.last]
    # In the order, the last part is added to all others already.
    return pd.concat(tables).reset_index(names="part").drop_duplicates(["part", "to"], ignore_index=True)
