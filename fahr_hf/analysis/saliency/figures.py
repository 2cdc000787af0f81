"""Pictures of maps that people understand: on the face, and as bars of its regions."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from fahr_hf.analysis.saliency.regions import REGIONS

# Okabe and Ito, 2008: told apart with any colour vision.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#666666"
_TWELVE = "tab20"
# Of the photo under a map, so that the map is what one sees.
_FADED = 0.45


def draw_saliency(crop: np.ndarray, values: np.ndarray, labels: np.ndarray, table: pd.DataFrame, unit: str) -> Figure:
    """A face, its map, and the shares of its regions.

    Args:
        crop: (side, side, 3) uint8, of one photo or the mean of many.
        values: Its map, (side, side); colours are red and blue around 0 if it is negative anywhere.
        labels: What `regions.region_labels` returns.
        table: `summary.regional_table`.
        unit: Of the map, for its scale.
    """
    figure = Figure(figsize=(11.5, 3.9), dpi=150, layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1.2, 1.5))
    left.imshow(crop)
    left.set_axis_off()
    figure.colorbar(_lay_over(middle, crop, values, labels), ax=middle, shrink=0.8, label=unit)
    _draw_shares(right, table)
    return figure


def draw_groups(crops: dict[str, np.ndarray], maps: dict[str, np.ndarray], labels: np.ndarray) -> Figure:
    """Average maps of several groups, on one scale.

    Args:
        crops: By group, the mean crop (side, side, 3) uint8.
        maps: By group, what `summary.average_map` returns.
        labels: What `regions.region_labels` returns.
    """
    figure = Figure(figsize=(3 * len(maps) + 1, 3.2), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    most = max(float(values.max()) for values in maps.values())
    for panel, (name, values) in zip(panels, maps.items(), strict=True):
        image = _lay_over(panel, crops[name], values, labels, most)
        panel.set_title(name, fontsize=10)
    figure.colorbar(image, ax=list(panels), shrink=0.8, label="times the average place")
    return figure


def draw_curves(curves: dict[str, np.ndarray], unit: str) -> Figure:
    """Mean change of the answer as ever more of the crop is covered.

    Args:
        curves: `checks.covering_curves`.
        unit: Of the answer.
    """
    figure = Figure(figsize=(6, 3.8), dpi=150, layout="constrained")
    panel = figure.subplots()
    panel.spines[["top", "right"]].set_visible(False)
    styles = {
        "deletion": (_ORANGE, "most salient places first"),
        "random": (_GREY, "in random order"),
        "insertion": (_BLUE, "most salient places last"),
    }
    for name, (colour, label) in styles.items():
        means = curves[name].mean(axis=0)
        panel.plot(np.linspace(0, 100, len(means)), means, color=colour, marker="o", markersize=3, label=label)
    panel.set(xlabel="covered (% of the crop)", ylabel=f"change of the answer ({unit})", ylim=(0, None))
    panel.legend(frameon=False, fontsize=9)
    return figure


def draw_regions(crop: np.ndarray, labels: np.ndarray) -> Figure:
    """The regions themselves, on a face.

    Args:
        crop: (side, side, 3) uint8.
        labels: What `regions.region_labels` returns.
    """
    figure = Figure(figsize=(6.4, 3.8), dpi=130, layout="constrained")
    panel = figure.subplots()
    panel.imshow(crop)
    image = panel.imshow(labels, cmap=_TWELVE, vmin=0, vmax=len(REGIONS) - 1, alpha=0.45, interpolation="nearest")
    panel.set_axis_off()
    for number, name in enumerate(REGIONS):
        panel.scatter([], [], marker="s", s=60, color=image.to_rgba(np.array([number])), alpha=0.7, label=name)
    panel.legend(frameon=False, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=9)
    return figure


def _lay_over(
    panel: Axes, crop: np.ndarray, values: np.ndarray, labels: np.ndarray, most: float | None = None
) -> AxesImage:
    panel.imshow(crop.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    is_signed = values.min() < 0
    # Single pixels of gradients are far larger than their neighbours; they would take all the colours for themselves.
    end = most or max(float(np.quantile(abs(values), 0.995)), np.finfo(float).tiny)
    image = panel.imshow(
        values,
        cmap="RdBu_r" if is_signed else "Purples",
        vmin=-end if is_signed else 0,
        vmax=end,
        alpha=1 - _FADED,
        interpolation="nearest",
    )
    panel.contour(labels == REGIONS.index("background"), levels=[0.5], colors="white", linewidths=0.6)
    panel.set_axis_off()
    return image


def _draw_shares(panel: Axes, table: pd.DataFrame) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    rows = table.sort_values("density")
    places = np.arange(len(rows))
    ends = [rows["share"] - rows["share_low"], rows["share_high"] - rows["share"]]
    panel.barh(places, rows["share"], xerr=ends, color=_BLUE, height=0.6, ecolor=_GREY, capsize=2)
    panel.scatter(rows["area"], places, marker="|", s=90, color=_ORANGE, zorder=3, label="its share of the crop's area")
    panel.set_yticks(places, list(rows["region"]), fontsize=9)
    panel.set_xlabel("share of the map (%)")
    panel.legend(frameon=False, fontsize=8, loc="lower right")
