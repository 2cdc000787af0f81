"""Tables as people read them: rounded numbers, an estimate and its interval in one cell. Files keep every digit."""

import math
from typing import Any

import numpy as np
import pandas as pd

MOST_ROWS = 200
"""Rows of a table that a page shows."""

_NOTHING = "-"


def with_index(data: pd.DataFrame) -> pd.DataFrame:
    """A table whose index, if it has a name, is a column, or several."""
    return data.reset_index() if any(name is not None for name in data.index.names) else data.reset_index(drop=True)


def shown_table(data: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of text, of at most `MOST_ROWS` rows.

    Columns `x`, `x_low` and `x_high` become one, "x (low to high)".
    """
    data = with_index(data).iloc[:MOST_ROWS]
    names = [str(name) for name in data.columns]
    columns = dict(zip(names, (data.iloc[:, position].tolist() for position in range(len(names))), strict=True))
    merged = [name for name in names if {f"{name}_low", f"{name}_high"} <= columns.keys()]
    limits = {f"{name}_{end}" for name in merged for end in ("low", "high")}
    headings, texts = [], []
    for name in names:
        if name in limits:
            continue
        if name in merged:
            headings.append(f"{_heading(name)} (low to high)")
            ends = zip(columns[name], columns[f"{name}_low"], columns[f"{name}_high"], strict=True)
            texts.append([_interval(*values) for values in ends])
        else:
            headings.append(_heading(name))
            is_p = name == "p" or name.startswith("p_")
            texts.append([_p_value(value) if is_p else shown(value) for value in columns[name]])
    return headings, [list(row) for row in zip(*texts, strict=True)]


def shown(value: Any) -> str:
    """One value as text; numbers with four significant digits, at most three of them decimals.

    Missing values are a dash, what is not a number stays as it is.
    """
    if value is None or value is pd.NA or value is pd.NaT:
        return _NOTHING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        count = int(value)
        return f"{count:,}" if abs(count) >= 10_000 else str(count)
    if not isinstance(value, float | np.floating):
        return str(value)
    number = float(value)
    size = abs(number)
    if math.isnan(number):
        return _NOTHING
    if 0 < size < 0.001 or size >= 1e7:
        return f"{number:.2g}"
    decimals = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    return f"{number:,.{decimals}f}" if size >= 10_000 else f"{number:.{decimals}f}"


def _heading(name: str) -> str:
    return name.replace("_", " ")


def _interval(estimate: Any, low: Any, high: Any) -> str:
    if shown(estimate) == _NOTHING or shown(low) == shown(high) == _NOTHING:
        return shown(estimate)
    return f"{shown(estimate)} ({shown(low)} to {shown(high)})"


def _p_value(value: Any) -> str:
    is_small = isinstance(value, float | np.floating) and 0 <= value < 0.001
    return "<0.001" if is_small else shown(value)
