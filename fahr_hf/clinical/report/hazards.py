"""Are hazards proportional? Where they are not: hazard ratios by time, and times lived that need no such assumption."""

import pandas as pd

from fahr_hf.clinical.design import Covariate
from fahr_hf.clinical.proportional_hazards import proportional_hazards_test
from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.estimates import labels
from fahr_hf.clinical.report.study import Study
from fahr_hf.clinical.time_split import restricted_mean_differences, time_split_hazard_ratios

LIMIT = 0.05
"""Below this p, proportional hazards are taken for violated."""


def hazards_chapter(study: Study) -> Chapter:
    """The score test of each score's model; what to report instead where it fails."""
    chapter = Chapter("Proportional hazards")
    chapter.say(
        f"A hazard ratio is one number for the whole follow-up. Where the test says that it changes (p < {LIMIT}), "
        "hazard ratios of parts of the follow-up are shown as well. With many deaths the test finds changes that do "
        "not matter: look at their size. Restricted mean survival times need no such assumption."
    )
    violated, tables, changing = [], [], set()
    exposures = {name: exposure for name, exposure in _named(study) if exposure is not None}
    for name, exposure in exposures.items():
        with chapter.attempt(f"the test of {name}"):
            test = proportional_hazards_test(study.fit([exposure, *study.adjustment], study.complete))
            tables.append(test.reset_index().assign(model=name))
            if test["p"].iloc[0] < LIMIT:
                violated.append(name)
            changing |= {str(term) for term, p in test["p"].iloc[1:-1].items() if p < LIMIT}
    if tables:
        data = pd.concat(tables, ignore_index=True)
        data = data[["model", "covariate", "chisq", "df", "p"]]
        data["covariate"] = data["covariate"].replace(labels(study))
        if changing:
            chapter.say(
                f"Covariates whose hazard ratio changes with time: {', '.join(sorted(changing))}. Groups may be given "
                "baseline hazards of their own: --strata in place of --covariate."
            )
        note = "Score test on the Kaplan-Meier time scale, as cox.zph of R. GLOBAL: all covariates together."
        chapter.table("proportional_hazards", "Do hazard ratios change with time?", data, note)
        chapter.numbers["tests"] = data.to_dict(orient="records")
        found = f"violated for {' and '.join(violated)}" if violated else "not rejected for the scores"
        chapter.methods.append(
            f"Proportional hazards were tested by the score test (Kaplan-Meier time scale) and {found} at p < {LIMIT}."
        )
    for name in violated:
        with chapter.attempt(f"hazard ratios of {name} by time"):
            _show_time_split(chapter, study, name, exposures[name])
    if study.settings.face_survival is not None:
        with chapter.attempt("restricted means"):
            _show_restricted_means(chapter, study)
    return chapter


def _named(study: Study) -> tuple[tuple[str, Covariate | None], ...]:
    return ("FaceAge", study.face_age), ("FaceSurvival", study.face_survival)


def _show_time_split(chapter: Chapter, study: Study, name: str, exposure: Covariate) -> None:
    settings, people = study.settings, study.complete
    deaths = people.loc[people[settings.event] == 1, settings.duration]
    cuts = sorted({float(f"{cut:.2g}") for cut in deaths.quantile([1 / 3, 2 / 3])})
    table = time_split_hazard_ratios(
        people, settings.duration, settings.event, exposure, cuts, study.adjustment, entry=settings.entry
    )
    note = f"Cut where about a third and two thirds of the deaths have happened, {', '.join(f'{c:g}' for c in cuts)}."
    chapter.table(f"time_split_{name.lower()}", f"Hazard ratios of {name} by time ({settings.unit})", table, note)
    chapter.numbers[f"time_split_{name}"] = table.to_dict(orient="records")
    chapter.methods.append(f"For {name}, hazard ratios were estimated in parts of the follow-up.")


def _show_restricted_means(chapter: Chapter, study: Study) -> None:
    """Mean time lived up to the last time that every group reaches."""
    people, unit = study.people, study.settings.unit
    groups = study.risk_group(people)
    tau = float(people.groupby(groups, observed=True)[study.settings.duration].max().min())
    table = restricted_mean_differences(**study.outcomes(people), group=groups, tau=tau)
    table = table.rename(columns={"low": "difference_low", "high": "difference_high"}).drop(columns="se")
    note = f"Mean time lived in the first {tau:.4g} {unit}, while every group was observed; unadjusted."
    title = f"Restricted mean survival times by group of FaceSurvival ({unit})"
    chapter.table("restricted_means", title, table, note)
    chapter.numbers["restricted_means"] = {"tau": tau, "differences": table.to_dict(orient="records")}
    chapter.methods.append(f"Restricted mean survival times were taken up to {tau:.4g} {unit}.")
