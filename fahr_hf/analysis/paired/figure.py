"""A drawing of what conditions change, person by person."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fahr_hf.analysis.paired.agreement import bland_altman
from fahr_hf.analysis.paired.comparison import LEAST, check_pairs

# Okabe and Ito, 2008: told apart with any colour vision.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#666666"
_ACROSS = 3


def draw_bland_altman(pairs: pd.DataFrame, unit: str = "years of predicted age") -> Figure:
    """Change against the mean of both answers, one panel a condition, after Bland and Altman (1986).

    Lines are the mean change of a pair and the limits of agreement, between which 95 % of normal changes would lie;
    the bars at the right edge are their 95 % intervals. A condition in which a person has several pairs has no bars,
    since they would be too short; one of fewer than `comparison.LEAST` pairs has no lines.

    Args:
        pairs: As for `comparison.check_pairs`.
        unit: Of `before` and `after`, for the axes.

    Raises:
        ValueError: as `comparison.check_pairs`.
    """
    groups = list(check_pairs(pairs).groupby("condition", sort=False))
    across = min(_ACROSS, len(groups))
    down = -(-len(groups) // across)
    figure = Figure(figsize=(max(5.2, 3.9 * across), 3.4 * down), dpi=150, layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, (name, rows) in zip(panels, groups, strict=False):
        _draw(panel, str(name), rows.dropna(subset=["before", "after"]))
    for panel in panels[len(groups) :]:
        panel.remove()
    for panel in panels[max(len(groups) - across, 0) : len(groups)]:
        panel.tick_params(labelbottom=True)
    figure.supxlabel(f"mean of before and after ({unit})", fontsize=10)
    figure.supylabel("after less before", fontsize=10)
    return figure


def _draw(panel: Axes, name: str, rows: pd.DataFrame) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    title = f"{name} ({len(rows):,} {'pair' if len(rows) == 1 else 'pairs'})"
    panel.axhline(0, color=_GREY, linewidth=0.8)
    before, after = rows["before"].to_numpy(), rows["after"].to_numpy()
    # The more there are, the fainter, or they merge into one patch. As pixels, since thousands make a drawing slow.
    alpha = float(np.clip(300 / max(len(rows), 1), 0.05, 0.6))
    panel.scatter((before + after) / 2, after - before, s=11, color=_BLUE, alpha=alpha, linewidths=0, rasterized=True)
    if len(rows) < LEAST:
        panel.set_title(title, fontsize=10)
        return
    found = bland_altman(before, after)
    panel.set_title(
        f"{title}\n{found.mean.value:+.2g}, limits {found.lower.value:+.2g} to {found.upper.value:+.2g}", fontsize=10
    )
    for line, style in ((found.mean, "-"), (found.lower, "--"), (found.upper, "--")):
        panel.axhline(line.value, color=_ORANGE, linewidth=1.4, linestyle=style)
    if rows["person"].dropna().duplicated().any():
        return
    # Beside one another, since those of few people overlap.
    for place, line in zip((0.93, 0.96, 0.99), (found.mean, found.lower, found.upper), strict=True):
        across = panel.get_yaxis_transform()
        panel.plot([place] * 2, [line.low, line.high], color=_ORANGE, linewidth=3, alpha=0.6, transform=across)
