"""Drawings of how predicted ages agree with true ones; colours are told apart with any colour vision."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fahr_hf.evaluation.age_scores import LEAST
from fahr_hf.metrics import age_bins

# Okabe and Ito, 2008.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#666666"
# Years of age that a point of a mean curve stands for, and how many photos it needs.
_STEP, _LEAST = 5, 10
# Of normal differences, 95 % lie within so many standard deviations.
_LIMITS = 1.96


def draw_scatter(table: pd.DataFrame) -> Figure:
    """Predicted against true age, with the line on which they are the same and the mean prediction along it.

    Args:
        table: What `age_scores.with_both_ages` returns.
    """
    age, predicted = table["age"].to_numpy(), table["predicted"].to_numpy()
    figure, panel = _panel((6.2, 6))
    _points(panel, _spread_out(age), predicted)
    end = float(max(age.max(), predicted.max())) + 3
    panel.plot([0, end], [0, end], color=_GREY, linewidth=1.2, linestyle="--", label="predicted age = true age")
    _mean_curve(panel, age, predicted, f"mean prediction by {_STEP} years of age")
    panel.set(xlabel="true age (years)", ylabel="predicted age (years)", xlim=(-1, end), ylim=(-1, end), aspect="equal")
    panel.legend(frameon=False, loc="upper left", fontsize=9)
    return figure


def draw_bland_altman(table: pd.DataFrame) -> Figure:
    """Differences of predicted and true age against their mean, after Bland and Altman (1986).

    Lines are the mean difference and the limits of agreement, between which 95 % of normal differences would lie.

    Args:
        table: What `age_scores.with_both_ages` returns.
    """
    age, predicted = table["age"].to_numpy(), table["predicted"].to_numpy()
    middle, difference = (age + predicted) / 2, predicted - age
    figure, panel = _panel((7.6, 4.6))
    _points(panel, middle, difference)
    mean, spread = difference.mean(), difference.std(ddof=1) if len(table) > 1 else 0.0
    panel.axhline(0, color=_GREY, linewidth=0.8)
    for height, style in ((mean, "-"), (mean + _LIMITS * spread, "--"), (mean - _LIMITS * spread, "--")):
        panel.axhline(height, color=_BLUE, linewidth=1.4, linestyle=style)
        _name_line(panel, height, f"{height:+.1f}", _BLUE)
    _mean_curve(panel, middle, difference, f"mean difference by {_STEP} years")
    panel.set(xlabel="mean of true and predicted age (years)", ylabel="predicted less true age (years)")
    panel.legend(frameon=False, loc="lower left", fontsize=9)
    return figure


def draw_error_by_age(decades: pd.DataFrame) -> Figure:
    """Mean absolute error and bias by decade of true age, with their intervals.

    Args:
        decades: What `age_scores.by_decade` returns; decades without figures are left out.
    """
    shown = decades[decades["mae"].notna()]
    figure = Figure(figsize=(7.6, 4.4), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    _bars(upper, shown, "mae", _BLUE)
    upper.set(ylabel="mean absolute\nerror (years)", ylim=(0, None))
    _bars(lower, shown, "bias", _ORANGE)
    lower.axhline(0, color=_GREY, linewidth=0.8)
    lower.set(ylabel="bias: predicted\nless true (years)", xlabel="true age (years), and number of photos")
    _name_groups(lower, shown)
    _strip(upper, lower)
    return figure


def draw_coverage(coverage: pd.DataFrame, level: float) -> Figure:
    """Share of true ages inside their intervals by decade of true age, and how wide the intervals are.

    Args:
        coverage: What `fahr_hf.conformal.coverage` returns; decades of fewer than `LEAST` photos are left out.
        level: The share that the intervals are made for, between 0 and 1.
    """
    figure = Figure(figsize=(7.6, 4.4), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    shown = coverage[(coverage["photos"] >= LEAST) | (coverage["age"] == "all")]
    percent = shown.assign(**{name: 100 * shown[name] for name in ("coverage", "coverage_low", "coverage_high")})
    _bars(upper, percent, "coverage", _BLUE)
    upper.axhline(100 * level, color=_GREY, linewidth=1.2, linestyle="--")
    _name_line(upper, 100 * level, f"{100 * level:g} %", _GREY)
    upper.set(ylabel="ages inside their\nintervals (%)", ylim=(None, 101))
    lower.bar(np.arange(len(percent)), percent["width"], width=0.5, color=_ORANGE)
    lower.set(ylabel="median width\n(years)", xlabel="true age (years), and number of photos")
    _name_groups(lower, percent)
    _strip(upper, lower)
    return figure


# --------------------------------------------------------------------------------------------------------------- parts


def _panel(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    panel = figure.subplots()
    _strip(panel)
    return figure, panel


def _strip(*panels: Axes) -> None:
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)


def _points(panel: Axes, x: np.ndarray, y: np.ndarray) -> None:
    # The more there are, the fainter, or they merge into one patch. As pixels, since thousands make a drawing slow.
    alpha = float(np.clip(500 / len(x), 0.03, 0.6))
    panel.scatter(x, y, s=9, color=_BLUE, alpha=alpha, linewidths=0, rasterized=True)


def _spread_out(age: np.ndarray) -> np.ndarray:
    """Ages in whole years, drawn anywhere in the year, so that points do not hide one another; others as they are."""
    if (age % 1).any():
        return age
    return age + np.random.default_rng(0).uniform(0, 1, len(age))


def _mean_curve(panel: Axes, x: np.ndarray, y: np.ndarray, label: str) -> None:
    bins = (
        pd.DataFrame({"x": x, "y": y})
        .groupby(age_bins(x, _STEP))
        .agg(x=("x", "mean"), y=("y", "mean"), n=("y", "size"))
    )
    shown = bins[bins["n"] >= _LEAST]
    panel.plot(shown["x"], shown["y"], color=_ORANGE, linewidth=2, marker="o", markersize=4, label=label)


def _bars(panel: Axes, rows: pd.DataFrame, figure: str, colour: str) -> None:
    ends = [rows[figure] - rows[f"{figure}_low"], rows[f"{figure}_high"] - rows[figure]]
    panel.errorbar(np.arange(len(rows)), rows[figure], yerr=ends, fmt="o", color=colour, capsize=4, markersize=6)


def _name_line(panel: Axes, height: float, text: str, colour: str) -> None:
    """Write beside a horizontal line, to its right."""
    panel.annotate(text, (1.01, height), xycoords=("axes fraction", "data"), color=colour, va="center", fontsize=9)


def _name_groups(panel: Axes, rows: pd.DataFrame) -> None:
    names = rows["age"].str.replace(" to ", "–")  # noqa: RUF001 - a dash between numbers
    texts = [f"{name}\n({photos:,})" for name, photos in zip(names, rows["photos"], strict=True)]
    panel.set_xticks(np.arange(len(rows)), texts, fontsize=9)
