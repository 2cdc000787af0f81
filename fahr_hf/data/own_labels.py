"""What a table of one's own photos says about them, checked row by row: ages, or outcomes."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from datasets import Value

from fahr_hf.data.bad_rows import BadRows
from fahr_hf.data.outcome_columns import FIELDS, Clock, check_rows
from fahr_hf.data.outcomes import check_together
from fahr_hf.data.schema import Photo
from fahr_hf.data.sources import Source
from fahr_hf.data.sources.source import Column

OLDEST = 120
"""Years; an age above it is taken for a mistake."""


class Labels(Protocol):
    """What `own_photos` asks of a kind of labels. An object serves for one table.

    Attributes:
        recipe: The training that uses them, as in `fahr-hf train RECIPE`.
        settings: What decides what the labels become, beside the table and its columns; as JSON.
    """

    recipe: str
    settings: Mapping[str, str]

    def split_columns(self, columns: Mapping[str, str]) -> dict[str, str]:
        """Of columns that are named for fields, those that the reader of the table is to know."""
        ...

    def see(self, number: int, photo: Photo, bad: BadRows) -> None:
        """Take note of the photo of a row, counted from 1."""
        ...

    def finish(self, bad: BadRows) -> None:
        """Tell what all rows together are needed for; comes after the last row."""
        ...

    def extend(self, source: Source) -> Source:
        """The source, with the columns that the labels add."""
        ...

    def label(self, number: int, photo: Photo) -> Photo:
        """The photo of a good row, with what the labels add; comes after `finish`."""
        ...


class Ages:
    """Ages in years, from the column `age`."""

    recipe = "age"
    settings: Mapping[str, str] = {}

    def __init__(self) -> None:
        # (row, age) of what must agree: photos, by their file and box.
        self._ages: dict[tuple, dict[int, float]] = defaultdict(dict)

    def split_columns(self, columns: Mapping[str, str]) -> dict[str, str]:
        """As `Labels.split_columns`."""
        # Naming the column makes its absence an error.
        return {"age": "age", **columns}

    def see(self, number: int, photo: Photo, bad: BadRows) -> None:
        """As `Labels.see`."""
        if photo.age is None:
            bad.add(number, "age missing")
        elif photo.age > OLDEST:
            bad.add(number, f"age over {OLDEST}: {photo.age:g}")
        else:
            file = photo.image if isinstance(photo.image, Path) else photo.photo_id
            self._ages[file, photo.box][number] = photo.age

    def finish(self, bad: BadRows) -> None:
        """As `Labels.finish`."""
        for ages in self._ages.values():
            if len(set(ages.values())) > 1:
                for number, age in ages.items():
                    bad.add(number, f"one photo with different ages: {age:g}")

    def extend(self, source: Source) -> Source:
        """As `Labels.extend`."""
        return source

    def label(self, number: int, photo: Photo) -> Photo:
        """As `Labels.label`."""
        del number
        return photo


class Survival:
    """Outcomes, from durations or dates; see `outcomes`. They become the columns `duration`, `event` and `entry`.

    Args:
        clock: What durations count from.
    """

    recipe = "survival"

    def __init__(self, clock: Clock = "time since photo") -> None:
        self.clock = clock
        self.settings: Mapping[str, str] = {"clock": clock}
        self._columns: dict[str, str] = {}
        self._rows: dict[int, dict[str, Any]] = {}
        self._outcomes: dict[int, dict[str, Any]] = {}

    def split_columns(self, columns: Mapping[str, str]) -> dict[str, str]:
        """As `Labels.split_columns`."""
        # The reader knows people too, and gives them their name.
        self._columns = {name: column for name, column in columns.items() if name in FIELDS and name != "subject_id"}
        return {name: column for name, column in columns.items() if name not in self._columns}

    def see(self, number: int, photo: Photo, bad: BadRows) -> None:
        """As `Labels.see`."""
        del bad
        self._rows[number] = {**photo.extra, "subject_id": photo.subject_id or photo.photo_id}

    def finish(self, bad: BadRows) -> None:
        """As `Labels.finish`."""
        if not self._rows:
            return
        numbers = list(self._rows)
        outcomes, found = check_rows(pd.DataFrame(list(self._rows.values())), self._columns, self.clock)
        for position, reasons in found.reasons.items():
            for reason in reasons:
                bad.add(numbers[position - 1], reason)
        if not bad.reasons and (about_all := check_together(outcomes)):
            raise ValueError(about_all)
        kept = outcomes.drop(columns="subject_id").to_dict("records")
        self._outcomes = dict(zip(numbers, kept, strict=True))
        self._rows.clear()

    def extend(self, source: Source) -> Source:
        """As `Labels.extend`."""
        years = Column(Value("float64"), f"years; the clock is {self.clock}")
        added = {"duration": years, "event": Column(Value("bool"), "whether the person died"), "entry": years}
        known = {name for values in self._outcomes.values() for name in values}
        if "entry_year" in known:
            added["entry_year"] = Column(Value("float64"), "calendar year of the photo, or of entry if that was later")
        if "offset" in known:
            added["offset"] = Column(Value("float64"), "log hazard that is known without the face")
        return dataclasses.replace(source, columns={**source.columns, **added})

    def label(self, number: int, photo: Photo) -> Photo:
        """As `Labels.label`."""
        return dataclasses.replace(photo, extra={**photo.extra, **self._outcomes[number]})
