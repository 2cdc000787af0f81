"""The pictures of the report."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fahr_hf.clinical.report.style import COLOURS, INK, PALE, SOFT, log_ticks, new_figure, tidy


def draw_forest(table: pd.DataFrame) -> Figure:
    """A line an analysis, as `sensitivity` returns them; analyses that could not be made are left out."""
    lines = table.dropna(subset=["hr"]).reset_index(drop=True)
    figure = new_figure(8.4, 1.1 + 0.34 * len(lines))
    axes = figure.subplots()
    low, high = 0.95 * min(lines["hr_low"].min(), 0.8), 1.05 * max(lines["hr_high"].max(), 1.25)
    axes.set(xscale="log", xlim=(low, high), ylim=(len(lines) - 0.5, -0.5))
    ticks = log_ticks(low, high)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.axvline(1, color=SOFT, linewidth=0.9)
    for row, line in lines.iterrows():
        colour = SOFT if line["note"] else COLOURS[0]
        axes.plot([line["hr_low"], line["hr_high"]], [row, row], color=colour, linewidth=1.5)
        axes.plot([line["hr"]], [row], "D" if row == 0 else "s", color=colour, markersize=6)
        told = f"{line['hr']:.2f} ({line['hr_low']:.2f} to {line['hr_high']:.2f})"
        axes.text(
            1.02, row, told, transform=axes.get_yaxis_transform(), va="center", fontsize=9, color=INK, clip_on=False
        )
    names = [f"{line['analysis']}\n{line['deaths']:.0f} deaths / {line['n']:.0f}" for _, line in lines.iterrows()]
    axes.set_yticks(range(len(lines)), names)
    axes.set_xlabel("hazard ratio per standard deviation of the score (log scale)", fontsize=9.5)
    tidy(axes)
    return figure


def draw_flow(flow: pd.DataFrame) -> Figure:
    """Who was read, left out and analysed, from the table of `select_cohort`."""
    figure = new_figure(7.2, 0.7 + 0.5 * len(flow))
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(len(flow) - 0.4, -0.6))
    axes.axis("off")
    axes.annotate("", (1.6, len(flow) - 1.3), (1.6, 0.3), arrowprops={"arrowstyle": "-|>", "color": SOFT})
    for row, (step, people, deaths) in enumerate(flow.itertuples(index=False)):
        kept = row in (0, len(flow) - 1)
        x, told = (0.2, f"{step}: ") if kept else (3.2, f"excluded, {step}: ")
        if not kept:
            axes.annotate("", (3.1, row), (1.6, row), arrowprops={"arrowstyle": "-|>", "color": SOFT})
        box = {"boxstyle": "round,pad=0.4", "facecolor": "#eef3f8" if kept else "white", "edgecolor": SOFT}
        text = f"{told}{people:,} ({deaths:,} deaths)"
        axes.text(x, row, text, va="center", fontsize=9.5, color=INK, fontweight="bold" if kept else None, bbox=box)
    return figure


def draw_permutations(statistics: np.ndarray, observed: float) -> Figure:
    """The likelihood-ratio statistics with exchanged faces, and that of the faces as they are."""
    figure = new_figure(6.4, 3.0)
    axes = figure.subplots()
    axes.hist(statistics[np.isfinite(statistics)], bins=30, color=PALE, edgecolor=SOFT, linewidth=0.5)
    axes.axvline(observed, color=COLOURS[3], linewidth=1.6, label="faces as they are")
    axes.set_xlabel("likelihood-ratio statistic, faces exchanged within birth year and sex", fontsize=9.5)
    axes.set_ylabel("permutations", fontsize=9.5)
    axes.legend(frameon=False, fontsize=9)
    tidy(axes)
    return figure
