"""The FaceAge gap: FaceAge minus age, and what it tells beyond age."""

import numpy as np
import pandas as pd

from fahr_hf.clinical.design import Covariate, Scaled
from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.estimates import Estimate, Estimates
from fahr_hf.clinical.report.study import GAP, Study

_MANY_YEARS = 10


def gap_chapter(study: Study, estimates: Estimates) -> Chapter:
    """The gap's spread and its relation to age; its hazard ratios, with and without adjustment for age."""
    chapter = Chapter("FaceAge gap: FaceAge minus age")
    settings = study.settings
    if settings.face_age is None or settings.age is None:
        chapter.say("This takes FaceAge and age, and the table does not have both.")
        return chapter
    chapter.say(
        "Models pull estimates towards the mean age, so the gap is as a rule larger in the young and smaller in the "
        "old. Its hazard ratio means something only with adjustment for age. With it, the hazard ratio per decade of "
        "the gap is that of FaceAge itself: at a given age, the two differ by a constant."
    )
    with chapter.attempt("the spread of the gap"):
        spread = pd.DataFrame(
            [_spread(study, cohort.name, cohort.people) for cohort in (study.development, *study.external)]
        )
        note = "Years. slope on age: change of the gap for each year of age."
        chapter.table("gap", "The FaceAge gap", spread, note)
        chapter.numbers["spread"] = spread.to_dict(orient="records")
    rows = []
    gap = [Scaled(GAP, per=10)]
    for adjusted_for, covariates in _adjustments(study):
        with chapter.attempt(f"hazard ratio of the gap, adjusted for {adjusted_for}"):
            estimate = estimates.adjusted(gap) if covariates is None else estimates.alone([*gap, *covariates])
            rows.append(_row("per decade", adjusted_for, estimate))
    if rows:
        chapter.table("gap_cox", "Hazard ratios of the FaceAge gap", pd.DataFrame(rows))
        chapter.numbers["hazard_ratios"] = rows
        chapter.methods.append(
            f"The FaceAge gap ({settings.face_age} minus {settings.age}) was analysed per decade, alone and adjusted "
            "for age."
        )
    return chapter


def _adjustments(study: Study) -> list[tuple[str, list[Covariate] | None]]:
    settings = study.settings
    kinds: list[tuple[str, list[Covariate] | None]] = [("nothing", []), ("age", study.adjustment[:1])]
    if settings.covariates:
        kinds.append((", ".join(settings.adjustment()), None))
    return kinds


def _spread(study: Study, name: str, people: pd.DataFrame) -> dict[str, object]:
    gap, age = study.gap(people), people[study.settings.age]
    return {
        "cohort": name,
        "n": len(gap),
        "mean": gap.mean(),
        "SD": gap.std(),
        "median": gap.median(),
        "5th percentile": gap.quantile(0.05),
        "95th percentile": gap.quantile(0.95),
        f"share of {_MANY_YEARS} years or more": (gap >= _MANY_YEARS).mean(),
        "slope on age": np.polyfit(age, gap, 1)[0] if age.nunique() > 1 else np.nan,
    }


def _row(unit: str, adjusted_for: str, estimate: Estimate) -> dict[str, object]:
    first = estimate.summary.iloc[0]
    kept = {key: first[key] for key in ("hr", "hr_low", "hr_high", "p")}
    return {"gap": unit, "adjusted for": adjusted_for, "n": estimate.n, "events": estimate.events, **kept}
