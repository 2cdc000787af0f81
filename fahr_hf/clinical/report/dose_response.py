"""Dose and response: the hazard ratio along the values of each score, as a restricted cubic spline."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fahr_hf.clinical.design import Spline, fit_terms
from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.cohorts import Cohort
from fahr_hf.clinical.report.study import Study
from fahr_hf.clinical.report.style import COLOURS, INK, SOFT, log_ticks, new_figure, tidy
from fahr_hf.clinical.splines import dose_response, nonlinearity_test
from fahr_hf.clinical.terms import SplineTerm

KNOTS = 4
_POINTS = 100
_QUANTILES = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]
_NOTE = (
    "The line is the hazard ratio against the median of the development cohort (marked), the band its 95 % interval, "
    "both from the 1st to the 99th percentile; diamonds are the knots. Below: how many people have the value."
)


def dose_response_chapter(study: Study) -> Chapter:
    """A spline of each score, adjusted like the main model, in every cohort with the development cohort's knots."""
    chapter = Chapter(
        "Dose and response",
        f"Does risk rise steadily with the score? A restricted cubic spline with {KNOTS} knots lets the line bend.",
    )
    rows = []
    for number, cohort in enumerate((study.development, *study.external)):
        panels: dict[str, tuple[pd.DataFrame, pd.Series, Sequence[float]]] = {}
        for score, name in zip(study.settings.scores(), _names(study), strict=True):
            with chapter.attempt(f"the spline of {name} in {cohort.name}"):
                line, table, row, knots = _line(study, cohort, score)
                panels[_axis(name)] = (line, cohort.people[score], knots)
                rows.append({"cohort": cohort.name, "score": name, **row})
                suffix = f"_{number}" if number else ""
                title = f"Hazard ratio along {name}, {cohort.name}"
                chapter.table(f"dose_{name.lower()}{suffix}", title, table, "Percentiles of the development cohort.")
        if panels:
            name = f"dose_response_{number}" if number else "dose_response"
            chapter.picture(name, f"Dose and response, {cohort.name}", draw_dose_response(panels), _NOTE)
    if rows:
        note = (
            "p nonlinear: Wald test that the line does not bend. Hazard ratio: 90th against 10th percentile of the "
            "score in the development cohort, along the spline."
        )
        chapter.table("dose_response", "Is the line bent?", pd.DataFrame(rows), note)
        chapter.numbers = {f"{row['cohort']}: {row['score']}": row for row in rows}
        adjusted = f"adjusted for {', '.join(study.settings.adjustment())}" if study.adjustment else "unadjusted"
        chapter.methods.append(
            f"Dose-response was a restricted cubic spline with {KNOTS} knots at Harrell's quantiles, {adjusted}, with "
            "a Wald test of nonlinearity."
        )
    return chapter


def draw_dose_response(panels: Mapping[str, tuple[pd.DataFrame, pd.Series, Sequence[float]]]) -> Figure:
    """One panel a score: line and band above, histogram below.

    Args:
        panels: By label of the axis: `value`, `hr`, `hr_low`, `hr_high`; the scores of the people; the knots.
    """
    figure = new_figure(4.6 * len(panels), 4.4)
    grid = figure.subplots(2, len(panels), squeeze=False, sharex="col", gridspec_kw={"height_ratios": [4, 1]})
    for (label, (line, values, knots)), upper, lower in zip(panels.items(), grid[0], grid[1], strict=True):
        upper.fill_between(line["value"], line["hr_low"], line["hr_high"], color=COLOURS[0], alpha=0.16, linewidth=0)
        upper.plot(line["value"], line["hr"], color=COLOURS[0], linewidth=2)
        upper.axhline(1, color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
        upper.set_yscale("log")
        low, high = float(line["hr_low"].min()), float(line["hr_high"].max())
        ticks = log_ticks(min(low, 0.95), max(high, 1.05))
        upper.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        upper.set_yticks([], minor=True)
        upper.set_ylim(min(low, 0.95) * 0.93, max(high, 1.05) * 1.07)
        upper.set_ylabel("hazard ratio (log scale)")
        reference = line["value"].iloc[(np.log(line["hr"])).abs().argmin()]
        upper.plot([reference], [1], "o", color=INK, markersize=5)
        inside = [knot for knot in knots if line["value"].min() <= knot <= line["value"].max()]
        upper.plot(inside, [0.02] * len(inside), "D", color=SOFT, markersize=4, transform=upper.get_xaxis_transform())
        first, last = line["value"].iloc[[0, -1]]
        lower.hist(values[values.between(first, last)], bins=40, range=(first, last), color="#b9c4cf")
        lower.set_ylabel("people")
        lower.set_xlabel(label)
        upper.set_xlim(first, last)
        for axes in (upper, lower):
            tidy(axes)
    return figure


def _names(study: Study) -> list[str]:
    named = [("FaceAge", study.settings.face_age), ("FaceSurvival", study.settings.face_survival)]
    return [name for name, column in named if column is not None]


def _axis(name: str) -> str:
    return "FaceAge (years)" if name == "FaceAge" else "FaceSurvival (score; higher is riskier)"


def _line(
    study: Study, cohort: Cohort, score: str
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float], Sequence[float]]:
    """The line, some of its values, its test, and the knots; all but the line itself as in the development cohort."""
    settings = study.settings
    [knots] = (term.knots for term in fit_terms(study.complete, [Spline(score, KNOTS)]) if isinstance(term, SplineTerm))
    people = cohort.people.dropna(subset=settings.adjustment())
    result = study.predictor([Spline(score, knots), *study.adjustment], people)
    quantiles = study.people[score].quantile(_QUANTILES)
    first, tenth, middle, ninetieth, last = quantiles[[0.01, 0.1, 0.5, 0.9, 0.99]]
    line = dose_response(result, score, np.linspace(first, last, _POINTS), middle)
    table = dose_response(result, score, quantiles, middle)
    table.insert(0, "percentile", [f"{100 * share:g}" for share in _QUANTILES])
    test = nonlinearity_test(result, score)
    contrast = dose_response(result, score, [ninetieth], tenth).iloc[0]
    row = {"n": result.n, "events": result.events, "chi2": test.statistic, "df": test.df, "p_nonlinear": test.p}
    return line, table, row | {key: contrast[key] for key in ("hr", "hr_low", "hr_high")}, knots
