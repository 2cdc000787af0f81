"""Missing covariates: how many there are, and what difference it makes to impute them."""

from typing import Any

import pandas as pd

from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.estimates import Estimates, exposures, labels
from fahr_hf.clinical.report.study import Study


def missing_chapter(study: Study, estimates: Estimates) -> Chapter:
    """Counts of missing values; hazard ratios from imputed tables beside those of complete cases."""
    chapter = Chapter("Missing covariates")
    if not study.missing:
        chapter.say("Nobody lacks a covariate." if study.adjustment else "There are no covariates.")
        return chapter
    settings, n = study.settings, len(study.people)
    gaps = study.people[study.missing].isna()
    counts = pd.DataFrame(
        {"covariate": study.missing, "missing": gaps.sum().to_numpy(), "share": gaps.mean().to_numpy()}
    )
    chapter.table("missing", "Missing values of the covariates", counts, f"Of {n:,} people in the development cohort.")
    complete = len(study.complete)
    told = (
        f"Missing covariates were imputed {settings.imputations} times by chained equations (predictive mean matching "
        "for numbers, multinomial regression for groups; predictors: all covariates, the scores, the event and the "
        "Nelson-Aalen cumulative hazard), and results pooled by Rubin's rules with Barnard and Rubin's degrees of "
        f"freedom. {complete:,} of {n:,} people are complete; they are the sensitivity analysis, and the people of "
        "the dose-response, subgroup, model-comparison, calibration and proportional-hazards analyses."
    )
    chapter.say(told)
    rows = []
    for name, exposure in exposures(study).items():
        with chapter.attempt(f"complete cases of {name}"):
            imputed, cases = estimates.adjusted(exposure), estimates.complete_cases(exposure)
            for label in estimates.alone(exposure).summary.index:
                values: dict[str, Any] = {"model": name, "exposure": labels(study)[label]}
                for kind, estimate in (("imputed", imputed), ("complete cases", cases)):
                    row = estimate.summary.loc[label]
                    values |= {f"n {kind}": estimate.n, f"events {kind}": estimate.events}
                    values |= {f"hr {kind}": row["hr"]}
                    values |= {f"hr {kind}_{end}": row[f"hr_{end}"] for end in ("low", "high")}
                rows.append(values)
    if rows:
        title = "Multivariable hazard ratios, imputed and in complete cases"
        chapter.table("complete_cases", title, pd.DataFrame(rows))
        chapter.methods.append(told)
    chapter.numbers = {"missing": dict(zip(study.missing, counts["missing"], strict=True)), "complete": complete}
    return chapter
