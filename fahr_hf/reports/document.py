"""What a report is made of: sections of text, tables and pictures, and every number once more for programs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True, eq=False)
class Table:
    """A table of a report.

    Args:
        name: Of its file, without suffix: small letters, digits, `_` and `-`.
        title: Caption above it.
        data: Numbers as they are; a page shows them rounded, and `x`, `x_low`, `x_high` as one column. The index is a
            column of its own if it has a name.
        note: Below it: units, conventions, what a reader might misunderstand.
    """

    name: str
    title: str
    data: pd.DataFrame
    note: str = ""


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawing of a report.

    Args:
        name: Of its files, without suffix: small letters, digits, `_` and `-`.
        title: Caption above it.
        figure: Made with `matplotlib.figure.Figure`, on a light background.
        note: Below it.
    """

    name: str
    title: str
    figure: Figure
    note: str = ""


@dataclass(eq=False)
class Section:
    """A section of a report.

    Args:
        title: Its heading.
        text: Paragraphs, with an empty line between them; plain text.
        parts: Tables and pictures in the order of the page.
        problem: Why something that belongs here could not be shown; None if all could.
    """

    title: str
    text: str = ""
    parts: list[Table | Picture] = field(default_factory=list)
    problem: str | None = None


@dataclass(eq=False)
class Report:
    """A report.

    Args:
        title: Heading of the page.
        introduction: Paragraphs, with an empty line between them; plain text.
        sections: In the order of the page.
        numbers: What a program may want to read, as strings, numbers, None, lists and dicts; numpy's kinds and NaN are
            allowed. By habit `sources` holds what `fahr_hf.reports.sources.sources` returned. The tables are added
            when the report is written.
        models: Fitted models by name, as JSON can hold them: files of their own, for other programs.

    Raises:
        ValueError: a name that is no file name, or one used twice for tables or for pictures.
    """

    title: str
    introduction: str
    sections: list[Section]
    numbers: dict[str, Any]
    models: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for names in (
            [part.name for part in self.tables()],
            [part.name for part in self.pictures()],
            list(self.models),
        ):
            for name in names:
                if not _FILE_NAME.fullmatch(name):
                    raise ValueError(f"{name!r} cannot name a file; use small letters, digits, _ and -.")
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"A report has {', '.join(twice)} more than once; each is a file of its own.")

    def tables(self) -> Iterator[Table]:
        """All tables, in the order of the page."""
        return (part for section in self.sections for part in section.parts if isinstance(part, Table))

    def pictures(self) -> Iterator[Picture]:
        """All pictures, in the order of the page."""
        return (part for section in self.sections for part in section.parts if isinstance(part, Picture))
