"""A drawing of how far answers move with the strength of each perturbation."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fahr_hf.analysis.perturbation.perturbations import PERTURBATIONS, Perturbation

# Okabe and Ito, 2008: told apart with any colour vision.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#666666"
_ACROSS = 4


def draw_curves(
    found: pd.DataFrame, limit: float, unit: str, perturbations: Iterable[Perturbation] = PERTURBATIONS
) -> Figure:
    """Mean and mean absolute change against strength, one panel a perturbation, bands being 95 % intervals.

    Grey columns from below are the share of photos whose face was lost, the whole height being all. Every panel has
    its own scale; the dotted line is the same limit in all.

    Args:
        found: What `sensitivity.curves` returned; not empty.
        limit: Of mean absolute change, drawn as a line; in the unit of `found`.
        unit: Of the changes, for the axis.
        perturbations: Those that `found` lacks are left out.
    """
    names = set(found["perturbation"])
    chosen = [each for each in perturbations if each.name in names]
    across = min(_ACROSS, len(chosen))
    down = -(-len(chosen) // across)
    figure = Figure(figsize=(max(5.0, 3.1 * across), 2.7 * down + 0.5), dpi=150, layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for panel, each in zip(panels, chosen, strict=False):
        _draw(panel, each, found[found["perturbation"] == each.name], limit)
    for panel in panels[len(chosen) :]:
        panel.remove()
    figure.supylabel(f"change ({unit})", fontsize=10)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False, fontsize=9
    )
    return figure


def _draw(panel: Axes, each: Perturbation, curve: pd.DataFrame, limit: float) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_title(each.name.replace("_", " "), fontsize=10)
    panel.set_xlabel(each.unit, fontsize=8)
    panel.tick_params(labelsize=8)
    panel.axhline(0, color=_GREY, linewidth=0.8)
    panel.axhline(limit, color=_GREY, linewidth=1, linestyle=":", label="limit")
    same = pd.DataFrame([dict.fromkeys(curve.columns, 0.0) | {"perturbation": each.name, "strength": each.identity}])
    curve = pd.concat([curve, same]).sort_values("strength")
    x = curve["strength"].to_numpy(np.float64)
    width = 0.5 * float(np.diff(x).min())
    # In shares of the panel's height.
    panel.bar(
        x, curve["lost"], width, color=_GREY, alpha=0.25, transform=panel.get_xaxis_transform(), label="face lost"
    )
    for name, colour, label in (("absolute", _ORANGE, "mean absolute change"), ("change", _BLUE, "mean change")):
        panel.plot(x, curve[name], color=colour, linewidth=1.5, marker="o", markersize=2.5, label=label)
        panel.fill_between(x, curve[f"{name}_low"], curve[f"{name}_high"], color=colour, alpha=0.2, linewidth=0)
