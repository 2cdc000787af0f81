"""How the figures look: colours that people with any colour vision tell apart, on white."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, SOFT, PALE = "#1b1f24", "#6b7580", "#d5dae0"
# Okabe and Ito (2008), from low to high risk; dashes tell lines apart in print.
COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#CC79A7", "#009E73")
DASHES = ("-", (0, (6, 1.5)), (0, (3, 1.2)), (0, (1.2, 1)), (0, (6, 1.5, 1.2, 1.5)), (0, (8, 3)))


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, size in inches."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def tidy(axes: Axes) -> None:
    """Only the axes that carry a scale."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def ticks_of(last: float, most: int = 7) -> np.ndarray:
    """Round times from 0 up to `last`."""
    step = last / most
    size = 10 ** np.floor(np.log10(step))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= step * (1 - 1e-9))
    return np.arange(0, last * (1 + 1e-9), step)


def log_ticks(low: float, high: float) -> Sequence[float]:
    """Readable hazard ratios for a logarithmic scale from `low` to `high`."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for factors in ((1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7.5), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**decade for decade in decades for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 8:
            break
    return ticks
