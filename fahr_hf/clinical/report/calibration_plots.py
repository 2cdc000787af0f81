"""Calibration: do as many people die as the models say?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fahr_hf.clinical.calibration import (
    calibration_curve,
    calibration_index,
    calibration_slope,
    calibration_table,
    observed_expected,
)
from fahr_hf.clinical.prediction import predict_survival
from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.follow_up import check_horizon, horizons_of
from fahr_hf.clinical.report.study import Study
from fahr_hf.clinical.report.style import COLOURS, SOFT, new_figure, tidy

_FOLDS = 10
_GROUPS = 10
# Of predictions that are no probabilities at all: no death is certain.
_CERTAIN = 1e-9


def calibration_chapter(study: Study) -> Chapter:
    """Predicted against observed deaths at each horizon: cross-validated, and in every other cohort."""
    chapter = Chapter(
        "Calibration",
        f"The model holds {_parts(study)}. In the development cohort each tenth of the people is predicted by a model "
        "fitted on the other nine; other cohorts are predicted by the model of the whole development cohort, "
        "unchanged.",
    )
    rows: list[dict[str, Any]] = []
    with chapter.attempt("calibration"):
        horizons = horizons_of(study)
        for number, name in enumerate([study.development.name, *(cohort.name for cohort in study.external)]):
            panels = {}
            with chapter.attempt(f"predictions in {name}"):
                people, predicted = _predictions(study, number, horizons)
                for horizon, dead in zip(horizons, predicted.T, strict=True):
                    with chapter.attempt(f"calibration at {horizon:g} in {name}"):
                        check_horizon(study, people, horizon, name)
                        row, panel = _at(study, people, dead, horizon)
                        rows.append({"cohort": name, "horizon": horizon, **row})
                        panels[horizon] = panel
            if panels:
                suffix = f"_{number}" if number else ""
                note = (
                    "Points: groups of equal size with 95 % intervals (Kaplan-Meier). Line: smoothed observed risk. "
                    "Below: the spread of predictions. On the dashed line predictions are right."
                )
                figure = draw_calibration(panels, study.settings.unit)
                chapter.picture(f"calibration{suffix}", f"Calibration in {name}", figure, note)
    if rows:
        note = (
            "observed: share dead by Kaplan-Meier; expected: mean prediction; ratio: observed over expected, 1 is "
            "best; slope: 1 is best, below 1 predictions are too extreme; ICI, E90: mean and 90th percentile of the "
            "distance of predicted from smoothed observed risk."
        )
        chapter.table("calibration", f"Calibration (horizons in {study.settings.unit})", pd.DataFrame(rows), note)
        chapter.numbers["calibration"] = rows
        times = ", ".join(f"{horizon:g}" for horizon in sorted({row["horizon"] for row in rows}))
        chapter.methods.append(
            f"Calibration of a Cox model with {_parts(study)} was judged at {times} {study.settings.unit}, with "
            f"{_FOLDS}-fold cross-validation in the development cohort."
        )
    return chapter


def draw_calibration(panels: Mapping[float, tuple[pd.DataFrame, pd.DataFrame]], unit: str) -> Figure:
    """One panel a horizon.

    Args:
        panels: By horizon: what `calibration_table` and `calibration_curve` returned.
        unit: Of the horizons.
    """
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = new_figure(3.3 * columns + 0.5, 4.1 * rows)
    grid = figure.subplots(2 * rows, columns, squeeze=False, gridspec_kw={"height_ratios": [4, 0.8] * rows})
    for number, (horizon, (groups, curve)) in enumerate(panels.items()):
        row, column = divmod(number, columns)
        _draw_panel(grid[2 * row, column], grid[2 * row + 1, column], groups, curve)
        grid[2 * row, column].set_title(f"at {horizon:g} ({unit})", fontsize=10, loc="left")
        if column == 0:
            grid[2 * row, column].set_ylabel("observed risk of death")
    for number in range(len(panels), rows * columns):
        row, column = divmod(number, columns)
        grid[2 * row, column].axis("off")
        grid[2 * row + 1, column].axis("off")
    return figure


def _draw_panel(upper: Axes, lower: Axes, groups: pd.DataFrame, curve: pd.DataFrame) -> None:
    curve = curve.sort_values("predicted")
    inside = curve[curve["predicted"].between(*curve["predicted"].quantile([0.01, 0.99]))]
    top = min(1.0, 1.1 * max(inside["predicted"].max(), groups["expected"].max(), groups["high"].max()))
    upper.plot([0, 1], [0, 1], color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
    thinned = inside.iloc[:: max(1, len(inside) // 300)]
    upper.plot(thinned["predicted"], thinned["observed"], color=COLOURS[0], linewidth=1.8)
    below, above = groups["observed"] - groups["low"], groups["high"] - groups["observed"]
    upper.errorbar(
        groups["expected"], groups["observed"], [below, above], fmt="o", color=COLOURS[3], markersize=4.5, lw=1
    )
    upper.set(xlim=(0, top), ylim=(0, top))
    lower.hist(curve["predicted"], bins=40, range=(0, top), color="#b9c4cf")
    lower.set(xlim=(0, top), xlabel="predicted risk of death", yticks=[])
    for axes in (upper, lower):
        tidy(axes)
        axes.xaxis.set_major_formatter("{x:.0%}")
    upper.yaxis.set_major_formatter("{x:.0%}")
    upper.set_xticks(lower.get_xticks(), [])
    upper.set_xlim(0, top)
    lower.spines["left"].set_visible(False)


def _parts(study: Study) -> str:
    names = [name for name, score in (("FaceAge", study.face_age), ("FaceSurvival", study.face_survival)) if score]
    return ", ".join([*study.settings.adjustment(), *names])


def _predictions(study: Study, number: int, horizons: tuple[float, ...]) -> tuple[pd.DataFrame, np.ndarray]:
    """People of a cohort with all covariates, and their predicted risk of death, (n, horizons)."""
    covariates = [*study.scores, *study.adjustment]
    if number:
        people = study.external[number - 1].people.dropna(subset=study.settings.adjustment())
        survival = predict_survival(study.predictor(covariates, study.complete), people, horizons)
    else:
        people = study.complete
        fold = np.random.default_rng(study.settings.seed).permutation(len(people)) % _FOLDS
        survival = np.empty((len(people), len(horizons)))
        for one in range(_FOLDS):
            fit = study.predictor(covariates, people[fold != one])
            survival[fold == one] = predict_survival(fit, people[fold == one], horizons)
    return people, 1 - survival


def _at(
    study: Study, people: pd.DataFrame, dead: np.ndarray, horizon: float
) -> tuple[dict[str, float], tuple[pd.DataFrame, pd.DataFrame]]:
    settings = study.settings
    unknown = int(np.isnan(dead).sum())
    if unknown:
        raise ValueError(
            f"the model's follow-up ends before the horizon {horizon:g} for {unknown} people; choose an earlier "
            "--horizon."
        )
    risk = np.clip(dead, _CERTAIN, 1 - _CERTAIN)
    entry = None if settings.entry is None else people[settings.entry]
    given = (people[settings.event], people[settings.duration], risk, horizon)
    large = observed_expected(*given, entry=entry)
    slope = calibration_slope(*given, entry=entry)
    index = calibration_index(*given, entry=entry)
    row = {
        "n": len(people),
        "observed": large.observed,
        "expected": large.expected,
        "ratio": large.ratio,
        "ratio_low": large.low,
        "ratio_high": large.high,
        "slope": slope.slope,
        "slope_low": slope.low,
        "slope_high": slope.high,
        "ICI": index.ici,
        "E90": index.e90,
    }
    groups = min(_GROUPS, max(2, int(people[settings.event].sum()) // 10))
    return row, (calibration_table(*given, groups=groups, entry=entry), calibration_curve(*given, entry=entry))
