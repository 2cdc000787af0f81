"""A drawing of one figure in every group: a dot and its interval a row."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

# Okabe and Ito, 2008: told apart with any colour vision.
_BLUE, _GREY = "#0072B2", "#666666"
_ROW = 0.22


def draw_groups(groups: pd.DataFrame, figure: str, axis: str, line: float) -> Figure:
    """Dots with 95 % intervals, label by label; a group without the figure keeps its row.

    Args:
        groups: What `age_groups` or `survival_groups` returns.
        figure: Column, with `_low` and `_high`.
        axis: Words below the axis.
        line: Where a line is drawn to compare with, such as the figure of everybody.
    """
    count = "people" if "people" in groups.columns else "photos"
    places: list[int] = []
    texts: list[str] = []
    headings: list[int] = []
    for label, rows in groups.groupby("label", sort=False):
        headings.append(len(texts))
        texts += [f"by {label}", *(f"{row['group']} ({row[count]:,})" for _, row in rows.iterrows())]
        places += list(range(headings[-1] + 1, len(texts)))
    drawing = Figure(figsize=(7.2, 0.9 + _ROW * len(texts)), dpi=150, layout="constrained")
    panel = drawing.subplots()
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.axvline(line, color=_GREY, linewidth=0.8, linestyle="--")
    value = groups[figure].to_numpy()
    ends = np.abs(groups[[f"{figure}_low", f"{figure}_high"]].to_numpy().T - value)
    panel.errorbar(value, places, xerr=ends, fmt="o", color=_BLUE, markersize=4, linewidth=1.2)
    for place, known in zip(places, ~np.isnan(value), strict=True):
        if not known:
            across = panel.get_yaxis_transform()
            panel.text(0.01, place, "not shown", transform=across, color=_GREY, fontsize=8, va="center")
    panel.set_yticks(range(len(texts)), texts, fontsize=8)
    for heading in headings:
        panel.get_yticklabels()[heading].set_fontweight("bold")
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(len(texts) - 0.5, -0.5)
    panel.set_xlabel(axis, fontsize=9)
    return drawing
