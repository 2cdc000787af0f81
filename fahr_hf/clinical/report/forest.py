"""Forest plots: one hazard ratio a line, with its interval."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fahr_hf.clinical.report.style import COLOURS, INK, PALE, SOFT, log_ticks, new_figure


def draw_forest(table: pd.DataFrame, overall: pd.Series, title: str) -> Figure:
    """Hazard ratios in subgroups.

    Args:
        table: As `subgroup_analysis` returns it.
        overall: `n`, `events`, `hr`, `hr_low`, `hr_high` of everybody.
        title: What the hazard ratios are of.
    """
    lines = _lines(table, overall)
    figure = new_figure(9.4, 1.3 + 0.27 * len(lines))
    axes = figure.subplots()
    known = [line for line in lines if np.isfinite(line["hr"])]
    low = max(min(min(line["hr_low"] for line in known), 0.8), 0.05)
    high = min(max(max(line["hr_high"] for line in known), 1.25), 20)
    axes.set(xscale="log", xlim=(low * 0.9, high * 1.1), ylim=(len(lines) - 0.4, -1.5))
    ticks = log_ticks(low * 0.9, high * 1.1)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=9)
    axes.set_xticks([], minor=True)
    axes.axvline(1, color=SOFT, linewidth=0.9)
    axes.axvline(overall["hr"], color=COLOURS[0], linewidth=0.9, linestyle=(0, (4, 3)))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_yticks([])
    axes.set_xlabel(f"hazard ratio of {title} (log scale)", fontsize=9.5)
    most = max(line["events"] for line in known)
    for row, line in enumerate(lines):
        if line["heading"]:
            axes.axhspan(
                row - 0.5, row + 0.5, xmin=-0.52, xmax=1.42, color="#f1f4f7", linewidth=0, zorder=0, clip_on=False
            )
        _text(axes, -0.52, row, line["name"], bold=line["heading"])
        _text(axes, -0.04, row, line["counts"], right=True)
        if np.isfinite(line["hr"]):
            shown = max(line["hr_low"], low * 0.9), min(line["hr_high"], high * 1.1)
            axes.plot(shown, [row, row], color=COLOURS[0], linewidth=1.4, solid_capstyle="butt")
            size = 4 + 5 * np.sqrt(line["events"] / most)
            axes.plot([line["hr"]], [row], "D" if line["overall"] else "s", color=COLOURS[0], markersize=size)
        _text(axes, 1.03, row, line["estimate"])
        _text(axes, 1.42, row, line["p"], right=True)
    for x, name, right in ((-0.52, "subgroup", False), (-0.04, "events / n", True), (1.03, "HR (95 % CI)", False)):
        _text(axes, x, -1, name, bold=True, right=right)
    _text(axes, 1.42, -1, "p interaction\n(Holm)", bold=True, right=True)
    axes.axhline(-0.5, color=PALE, linewidth=0.9, xmin=-0.52, xmax=1.42, clip_on=False)
    return figure


def _lines(table: pd.DataFrame, overall: pd.Series) -> list[dict]:
    lines = [_line("Everybody", overall, overall=True)]
    for name, levels in table.groupby("subgroup", sort=False):
        lines.append(_line(str(name), None) | {"p": _p(levels["p_holm"].iloc[0])})
        lines += [_line(f"    {row['level']}", row) for _, row in levels.iterrows()]
    return lines


def _line(name: str, row: pd.Series | None, overall: bool = False) -> dict:
    line = {"name": name, "heading": row is None, "overall": overall, "counts": "", "estimate": "", "p": ""}
    line |= {"hr": np.nan, "hr_low": np.nan, "hr_high": np.nan, "events": 0}
    if row is None:
        return line
    line["counts"] = f"{row['events']:,.0f} / {row['n']:,.0f}"
    if not np.isfinite(row["hr"]):
        return line | {"estimate": "too few events"}
    estimate = f"{row['hr']:.2f} ({row['hr_low']:.2f} to {row['hr_high']:.2f})"
    return line | {key: row[key] for key in ("hr", "hr_low", "hr_high", "events")} | {"estimate": estimate}


def _text(axes: Axes, x: float, y: float, text: str, bold: bool = False, right: bool = False) -> None:
    axes.text(
        x,
        y,
        text,
        transform=axes.get_yaxis_transform(),
        ha="right" if right else "left",
        va="center",
        fontsize=9,
        fontweight="bold" if bold else "normal",
        color=INK,
    )


def _p(p: float) -> str:
    return "" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
