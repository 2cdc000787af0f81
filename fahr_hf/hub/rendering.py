"""Cards in words: the templates `model_cards/*.md.jinja`, and how they write numbers.

`card.md.jinja` is what all kinds of models share; each kind fills it in.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

# In a wheel the templates lie within the package, in the repository beside it.
_TEMPLATES = [Path(__file__).with_name("model_cards"), Path(__file__).parents[2] / "model_cards"]


def render(template: str, **values: Any) -> str:
    """The text of a card.

    Args:
        template: `"age"`, `"backbone"` or `"survival"`.
        values: What it uses; one that is missing is an error.
    """
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined)
    environment.filters |= {
        "thousands": "{:,}".format,
        "number": _number,
        "interval": _interval,
        "with_interval": _with_interval,
        "ages": _ages,
        "duration": _duration,
    }
    return environment.get_template(f"{template}.md.jinja").render(values).rstrip() + "\n"


def _number(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.2f}"


def _interval(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return "not computed"
    return "not defined" if math.isnan(interval[0]) else f"{_number(interval[0])} to {_number(interval[1])}"


def _with_interval(figure: tuple[float, tuple[float, float]]) -> str:
    value, interval = figure
    return "too few photos" if math.isnan(value) else f"{_number(value)} ({_interval(interval)})"


def _ages(part: Mapping[str, Any]) -> str:
    known = part["ages_known"]
    return f"{part['youngest']} to {part['oldest']}, median {part['median_age']}" if known else "not known"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
