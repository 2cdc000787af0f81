"""Kaplan-Meier curves of the groups of FaceSurvival, and of both scores crossed."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fahr_hf.clinical.kaplan_meier import KaplanMeier, kaplan_meier
from fahr_hf.clinical.log_rank import LogRank, log_rank_test
from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.cohorts import Cohort
from fahr_hf.clinical.report.follow_up import horizons_of
from fahr_hf.clinical.report.km_figure import draw_curves
from fahr_hf.clinical.report.study import Study

_BAND = "Bands are 95 % intervals (log scale, Greenwood). The numbers at risk are those just before the time."


def quartile_chapter(study: Study) -> Chapter:
    """Curves of the groups of FaceSurvival, in every cohort with the cut points of the development cohort."""
    chapter = Chapter("Survival by groups of FaceSurvival")
    if study.settings.face_survival is None:
        chapter.say("The table has no FaceSurvival.")
        return chapter
    with chapter.attempt("groups of FaceSurvival"):
        cuts = ", ".join(f"{cut:.4g}" for cut in study.cuts)
        told = (
            f"{study.settings.groups} groups of equal size in the development cohort, cut at {cuts} (quantiles of "
            "type 7; a score equal to a cut point belongs to the lower group)."
        )
        chapter.say(told + (" The other cohorts are cut at the same points." if study.external else ""))
        chapter.numbers["cuts"] = study.cuts
        for number, cohort in enumerate((study.development, *study.external)):
            groups = study.risk_group(cohort.people)
            _show_curves(chapter, study, cohort, groups, f"curves_{number}" if number else "curves")
        chapter.methods.append(f"FaceSurvival was divided into {told} Groups were compared by the log-rank test.")
    return chapter


def cross_chapter(study: Study) -> Chapter:
    """Curves of four groups: FaceAge and FaceSurvival, each below or above its median in the development cohort."""
    chapter = Chapter("FaceAge and FaceSurvival crossed")
    if len(study.scores) < 2:
        chapter.say("This takes both scores, and the table has one.")
        return chapter
    settings = study.settings
    middle = {score: float(study.people[score].median()) for score in settings.scores()}
    age_cut, risk_cut = middle.values()
    chapter.say(
        f"Each score is cut at its median in the development cohort: FaceAge at {age_cut:.4g} years, FaceSurvival at "
        f"{risk_cut:.4g}. Four groups show whether one score still separates people whom the other puts together."
    )
    chapter.numbers["cuts"] = middle
    for number, cohort in enumerate((study.development, *study.external)):
        groups = _crossed(cohort.people, settings.scores(), list(middle.values()))
        _show_curves(chapter, study, cohort, groups, f"crossed_{number}" if number else "crossed")
    chapter.methods.append("FaceAge and FaceSurvival were cross-classified at their medians in the development cohort.")
    return chapter


def _crossed(people: pd.DataFrame, scores: list[str], cuts: list[float]) -> pd.Series:
    high = [(people[score] > cut).to_numpy() for score, cut in zip(scores, cuts, strict=True)]
    names = ["both low", "only FaceSurvival high", "only FaceAge high", "both high"]
    return pd.Series(pd.Categorical.from_codes(2 * high[0].astype(int) + high[1], names), people.index)


def _show_curves(chapter: Chapter, study: Study, cohort: Cohort, groups: pd.Series, name: str) -> None:
    settings = study.settings
    by = "both scores" if name.startswith("crossed") else "FaceSurvival"
    with chapter.attempt(f"curves of {cohort.name}"):
        curves = {
            str(group): kaplan_meier(**study.outcomes(cohort.people[groups == group]))
            for group in groups.cat.categories
            if (groups == group).any()
        }
        test = None
        with chapter.attempt(f"the log-rank test in {cohort.name}"):
            test = log_rank_test(
                cohort.people[settings.duration],
                cohort.people[settings.event],
                groups,
                entry=study.outcomes(cohort.people)["entry"],
            )
        remark = "" if test is None else f"log-rank p {_p(test.p)}"
        figure = draw_curves(curves, settings.unit, remark)
        chapter.picture(name, f"Survival by {by} in {cohort.name}, n = {len(cohort.people):,}", figure, _BAND)
        table = _table(study, curves, test)
        note = f"Times in {settings.unit}."
        if test is not None:
            note += f" Log-rank test: chi-squared {test.chi2:.2f} on {test.df} degrees of freedom, p {_p(test.p)}."
        chapter.table(name, f"Survival by groups of {by} in {cohort.name}", table, note)
        chapter.numbers[cohort.name] = {
            "groups": table.to_dict(orient="records"),
            "log_rank": None if test is None else {"chi2": test.chi2, "df": test.df, "p": test.p},
        }


def _table(study: Study, curves: Mapping[str, KaplanMeier], test: LogRank | None) -> pd.DataFrame:
    rows = []
    for number, (name, curve) in enumerate(curves.items()):
        middle = curve.median()
        row = {"group": name, "n": len(curve.outcomes), "events": int(curve.events.sum())}
        if test is not None:
            row["events expected"] = test.expected[number]
        row |= {
            "median survival": middle.median,
            "median survival_low": middle.low,
            "median survival_high": middle.high,
        }
        for horizon, at in curve.at(horizons_of(study)).iterrows():
            key = f"survival at {horizon:g}"
            row |= {key: at["survival"], f"{key}_low": at["low"], f"{key}_high": at["high"]}
        rows.append(row)
    return pd.DataFrame(rows)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if np.isfinite(p) else "not known"
