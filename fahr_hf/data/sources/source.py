"""What a builder must know about a data set: how to read it, and what its card says."""

import csv
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fahr_hf.data.schema import SEXES, Photo


@dataclass(frozen=True)
class Reject:
    """A photo, or a row of labels, that is left out.

    Args:
        photo_id: As in `Photo`.
        reason: Why. What stands before a colon is the kind of reason, by which they are counted.
    """

    photo_id: str
    reason: str


@dataclass(frozen=True)
class Column:
    """A column that a data set has beyond those of the schema.

    Args:
        type: Its type.
        meaning: For the card, with the unit.
    """

    type: Any
    meaning: str


@dataclass(frozen=True)
class Source:
    """A data set as people download it.

    Args:
        name: For the command line and the column `source`.
        title: For people.
        homepage: Where it comes from.
        licence: SPDX identifier, or a short text.
        hub_licence: The Hub's identifier of that licence, `other` where it has none.
        terms: One sentence: what the licence permits for weights that were trained on the set.
        citation: BibTeX.
        release: Release and layout that the reader was written for, and what else a user of the set should know.
        read: Gives the photos in a folder, and the rows that are no use; several times the same, in the same order.
        columns: Those beyond the schema, by name.
        command: The command line that builds it, where that takes more than its name.
        weights_licence: The Hub's identifier of a licence that fits weights trained on it; None where none is known to.
    """

    name: str
    title: str
    homepage: str
    licence: str
    hub_licence: str
    terms: str
    citation: str
    release: str
    read: Callable[[Path], Iterator[Photo | Reject]]
    columns: dict[str, Column] = field(default_factory=dict)
    command: str = ""
    weights_licence: str | None = None


def parse_sex(text: str | None) -> str | None:
    """One of `SEXES` from `m`, `f`, `male` or `female`, in any case; None from nothing.

    Raises:
        ValueError: anything else. Codes such as 0 and 1 mean one thing in one set and the other in another.
    """
    word = (text or "").strip().lower()
    if not word:
        return None
    for sex in SEXES:
        if word in (sex, sex[0]):
            return sex
    raise ValueError(f"sex is none of m, f, male, female: {text!r}")


def parse_number(value: str | float, column: str) -> float:
    """A number.

    Raises:
        ValueError: it is none; the message names the column.
    """
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{column} is no number: {value!r}") from None


def parse_box(row: Mapping[str, str], columns: Sequence[str]) -> tuple[float, float, float, float]:
    """The corners of a box from the columns of x0, y0, x1 and y1.

    Raises:
        ValueError: one is no number.
    """
    x0, y0, x1, y1 = (parse_number(row[column], column) for column in columns)
    return x0, y0, x1, y1


def parse_age(value: str | float | None) -> float | None:
    """Years from a number or a text; None from nothing or not-a-number.

    Raises:
        ValueError: no number, a negative one, or infinity.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    age = parse_number(value, "age")
    if age < 0 or math.isinf(age):
        raise ValueError(f"age cannot be: {value!r}")
    return None if math.isnan(age) else age


def walk(folder: Path) -> Iterator[Path]:
    """All files below a folder, always in the same order, without hidden ones."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def find(folder: Path, places: Sequence[str], what: str) -> Path:
    """The first of `places` in a folder that exists.

    Raises:
        FileNotFoundError: none does; the message says where they were looked for.
    """
    for place in places:
        if (folder / place).exists():
            return folder / place
    raise FileNotFoundError(f"No {what} in {folder}: looked for {', '.join(places)}.")


def csv_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a csv file with a header.

    Raises:
        ValueError: one of `columns` is missing.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        check_columns(path, reader.fieldnames or (), columns)
        yield from reader


def parquet_rows(files: Sequence[Path], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of Parquet files, a few in memory at a time.

    Raises:
        ValueError: one of `columns` is missing.
    """
    for path in files:
        with pq.ParquetFile(path) as file:
            check_columns(path, file.schema_arrow.names, columns)
            for batch in file.iter_batches(batch_size=64, columns=list(columns)):
                yield from batch.to_pylist()


def check_columns(path: Path, there: Sequence[str], needed: Sequence[str]) -> None:
    """Whether a table has the columns that are needed.

    Raises:
        ValueError: one is missing; the message names those that are there.
    """
    missing = [name for name in needed if name not in there]
    if missing:
        raise ValueError(f"No column {', '.join(missing)} in {path}; there are {', '.join(there)}.")
