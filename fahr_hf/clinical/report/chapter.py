"""A section in the making: what can be shown is shown, and what cannot is said together with the reason."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fahr_hf.reports.document import Picture, Section, Table


class Chapter:
    """A section of the report, the numbers behind it, and sentences on what was done for it.

    Args:
        title: Heading.
        text: Paragraphs.

    Attributes:
        section: What the page shows.
        numbers: By name, for `numbers.json`.
        models: By name, for the folder `models`, as `cox_content` gives them.
        methods: Sentences for the methods paragraph, of what succeeded.
    """

    def __init__(self, title: str, text: str = "") -> None:
        self.section = Section(title, text)
        self.numbers: dict[str, Any] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.methods: list[str] = []

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Show the inside of this block as far as it gets; an error in it is told in the section, and goes no further.

        Args:
            what: What the reader misses if it fails.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                yield
            # Numbers that cannot be analysed, or a library that is not installed; other errors are ours.
            except (ValueError, ArithmeticError, ImportError) as error:
                told = f"{what}: {error}"
                self.section.problem = f"{self.section.problem} {told}" if self.section.problem else told
        for message in dict.fromkeys(str(warning.message) for warning in caught):
            self.say(f"Note on {what}: {message}")

    def say(self, text: str) -> None:
        """Add a paragraph."""
        self.section.text = f"{self.section.text}\n\n{text}"

    def table(self, name: str, title: str, data: pd.DataFrame, note: str = "") -> None:
        """Show a table."""
        self.section.parts.append(Table(name, title, data, note))

    def picture(self, name: str, title: str, figure: Figure, note: str = "") -> None:
        """Show a picture."""
        self.section.parts.append(Picture(name, title, figure, note))
