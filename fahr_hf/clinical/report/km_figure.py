"""Kaplan-Meier curves with the numbers at risk below them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fahr_hf.clinical.kaplan_meier import KaplanMeier, count_at_risk
from fahr_hf.clinical.report.style import COLOURS, DASHES, INK, SOFT, new_figure, ticks_of, tidy

# More steps than this are not seen apart in a figure.
_STEPS = 500


def draw_curves(
    curves: Mapping[str, KaplanMeier], unit: str, remark: str = "", colours: Sequence[str] = COLOURS
) -> Figure:
    """Survival with 95 % bands, and a row of numbers at risk for each curve.

    Args:
        curves: By name, from low to high risk.
        unit: Of the times.
        remark: A line inside the figure, such as the p of a test.
        colours: One a curve.
    """
    figure = new_figure(7.4, 4.5 + 0.24 * len(curves))
    panel, numbers = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [1, 0.085 * (len(curves) + 1)], "hspace": 0.02}
    )
    last = max(curve.time[-1] for curve in curves.values())
    ticks = ticks_of(last)
    for (name, curve), colour, dash in zip(curves.items(), colours, DASHES, strict=False):
        time, survival, low, high = _steps(curve)
        panel.step(time, survival, where="post", color=colour, linestyle=dash, linewidth=1.8, label=name)
        panel.fill_between(time, low, high, step="post", color=colour, alpha=0.13, linewidth=0)
    panel.set(ylim=(0, 1.02), xlim=(0, last * 1.02), ylabel="probability of survival")
    panel.yaxis.set_major_formatter("{x:.0%}")
    panel.grid(axis="y", color="#eceff2", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.set_xticks(ticks)
    panel.tick_params(labelbottom=True)
    panel.set_xlabel(f"time ({unit})")
    panel.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(curves), borderpad=0)
    panel.text(0.02, 0.04, remark, transform=panel.transAxes, fontsize=9, color=INK)
    tidy(panel)
    _write_at_risk(numbers, curves, ticks, colours)
    return figure


def _write_at_risk(axes: Axes, curves: Mapping[str, KaplanMeier], ticks: np.ndarray, colours: Sequence[str]) -> None:
    axes.set_ylim(len(curves) - 0.4, -0.9)
    axes.spines[:].set_visible(False)
    axes.tick_params(bottom=False, labelbottom=False, left=False, pad=18)
    axes.set_yticks(range(len(curves)), list(curves), fontsize=9)
    for label, colour in zip(axes.get_yticklabels(), colours, strict=False):
        label.set_color(colour)
    axes.set_title("Number at risk", loc="left", fontsize=9, color=SOFT, y=0.98, pad=0)
    for row, curve in enumerate(curves.values()):
        # With delayed entry nobody is at risk at 0 itself; those under observation right after it are meant.
        moments = ticks if curve.outcomes.entry is None else np.maximum(ticks, np.nextafter(0, 1))
        for time, count in zip(ticks, count_at_risk(curve.outcomes, moments), strict=True):
            axes.text(time, row, f"{count:,.0f}", ha="center", va="center", fontsize=9, color=INK)


def _steps(curve: KaplanMeier) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    is_short = len(curve.time) <= _STEPS
    times = np.concatenate([[0.0], curve.time]) if is_short else np.linspace(0, curve.time[-1], _STEPS)
    at = curve.at(times)
    return times, at["survival"].to_numpy(), at["low"].to_numpy(), at["high"].to_numpy()
