"""Anybody's photos: with a table of what is known about them (csv, jsonl or Parquet), or alone.

Columns called as in the schema are taken for what they are, others are named (`age=Age`), and what is left is carried
along under its own name. Photos are files, named in the column `image` (or `file_name`, as in Hugging Face's image
folders) relative to the table; in Parquet the column may hold their bytes. Without a table every photo in the folder
counts, for pre-training.

`sex` must be m, f, male or female, in any case, or empty: 0 and 1 mean one thing in one table and the other in
another. `split`, if there is one, must be train, validation, test or test_..., and binds.
"""

import csv
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import Features, Value

from fahr_hf.data.schema import COLUMNS, Photo
from fahr_hf.data.sources.source import Column, Reject, Source, check_columns, parquet_rows, parse_age, parse_sex

FIELDS = ("image", "photo_id", "subject_id", "age", "sex", "race", "split", "box")
"""What a column of a table can be named for."""

_SUFFIXES = (".csv", ".jsonl", ".parquet")
# Names to which a set or a crop cache gives a meaning of its own.
_TAKEN = {*COLUMNS, "corners", "detection_score", "faces", "hash", "row", "reason"}
# What begins with a zero, as many identifiers do, is text.
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")


def table(place: str | Path, columns: Mapping[str, str] | None = None, name: str | None = None) -> Source:
    """The source of a folder of photos.

    Args:
        place: The folder, with one table in it, or several Parquet files that are one, or none; or the table.
        columns: For each of `FIELDS` that the table calls otherwise, its column; for `box` one of four numbers, or
            four with commas between them.
        name: Of the data set; that of the folder if not given.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: several tables, a column that does not exist, or one named for what is none of `FIELDS`.
    """
    place = Path(place).absolute()
    columns = columns or {}
    files = _tables(place)
    folder = place if place.is_dir() else place.parent
    name = name or folder.name
    reader = _Table(files, folder, columns) if files else None
    options = [f"--name {shlex.quote(name)}", *(f"--column {shlex.quote(f'{a}={b}')}" for a, b in columns.items())]
    return Source(
        name=name,
        title=name,
        homepage="a folder of photos",
        licence="not recorded; the terms under which the photos were obtained",
        hub_licence="unknown",
        terms="Whoever built the set must know what those terms permit for weights that are trained on it.",
        citation=f"@misc{{{re.sub('[^A-Za-z0-9]+', '_', name)},\n  title = {{{name}}}\n}}",
        release=f"Photos and a {files[0].suffix[1:]} table of them." if files else "Photos without a table.",
        read=reader.read if reader else _read_photos,
        columns=reader.extra if reader else {},
        command=" ".join(["fahr-hf data build table SOURCE OUT", *options]),
    )


def _tables(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise FileNotFoundError(f"There is no {place}.")
    files = sorted(file for file in place.iterdir() if file.suffix in _SUFFIXES)
    if len(files) > 1 and any(file.suffix != ".parquet" for file in files):
        names = ", ".join(file.name for file in files)
        raise ValueError(f"Several tables in {place}: {names}. Name one of them instead of the folder.")
    return files


def _read_photos(folder: Path) -> Iterator[Photo]:
    # Takes seconds to import.
    from fahr_hf.models.pipeline_fahr_face import photo_files

    for path in map(Path, photo_files(folder)):
        yield Photo(path, path.relative_to(folder).as_posix())


class _Table:
    """A reader of one table."""

    def __init__(self, files: Sequence[Path], folder: Path, columns: Mapping[str, str]) -> None:
        self.files = files
        self.folder = folder
        self.typed = files[0].suffix == ".parquet"
        self.types = _types(files)
        self.fields = _fields(files[0], list(self.types), columns)
        used = {column for names in self.fields.values() for column in names}
        self.names = {
            f"original_{column}" if column in _TAKEN else column: column
            for column in self.types
            # Without a name it is the index that pandas writes.
            if column and column not in used
        }
        self.extra = {name: Column(self.types[column], "as in the table") for name, column in self.names.items()}

    def read(self, place: Path) -> Iterator[Photo | Reject]:
        del place  # It was read for the columns already.
        for number, row in enumerate(_rows(self.files), 1):
            yield row if isinstance(row, Reject) else self._photo(row, number)

    def _values(self, row: Mapping[str, Any], field: str) -> list[Any]:
        values = [row.get(column) for column in self.fields.get(field, ())]
        return [None if value == "" else value for value in values]

    def _text(self, row: Mapping[str, Any], field: str) -> str | None:
        (value,) = self._values(row, field) or [None]
        return None if value is None else str(value).strip()

    def _photo(self, row: Mapping[str, Any], number: int) -> Photo | Reject:
        image, path = self._image(row)
        box = self._values(row, "box")
        named = self._text(row, "photo_id") or path
        if image is None:
            return Reject(named or f"row {number}", "no photo in the row")
        if named is None:
            raise ValueError(f"The photos in {self.files[0]} have no names. Say photo_id=COLUMN.")
        try:
            corners = _box(box)
            if corners and "photo_id" not in self.fields:
                named = f"{named}#{','.join(f'{x:g}' for x in corners)}"
            (age,) = self._values(row, "age") or [None]
            years = parse_age(age)
        except ValueError as reason:
            return Reject(named, str(reason))
        return Photo(
            image=image,
            photo_id=named,
            subject_id=self._text(row, "subject_id"),
            age=years,
            # Not a reject: where one is wrong, the whole column is.
            sex=parse_sex(self._text(row, "sex")),
            race=self._text(row, "race"),
            split=self._text(row, "split"),
            box=corners,
            extra={name: self._extra(row.get(column), column) for name, column in self.names.items()},
        )

    def _extra(self, value: Any, column: str) -> Any:
        return value if self.typed else _cast(value, self.types[column])

    def _image(self, row: Mapping[str, Any]) -> tuple[Path | bytes | None, str | None]:
        """The photo, and its path as the table has it."""
        (value,) = self._values(row, "image")
        data, path = (value["bytes"], value["path"]) if isinstance(value, dict) else (value, None)
        if isinstance(data, str):
            data, path = None, data
        if path is not None and Path(path).is_absolute():
            raise ValueError(f"The path of a photo must be relative to its table, got {path!r}.")
        if path is None:
            return data, None
        return self.folder / path if data is None else data, Path(path).as_posix()


def _fields(file: Path, there: Sequence[str], columns: Mapping[str, str]) -> dict[str, list[str]]:
    unknown = [field for field in columns if field not in FIELDS]
    if unknown:
        raise ValueError(f"A column cannot be named for {unknown[0]!r}; it can for {', '.join(FIELDS)}.")
    defaults = {field: field for field in FIELDS if field in there}
    if "file_name" in there:
        defaults.setdefault("image", "file_name")
    chosen = {**defaults, **columns}
    if "image" not in chosen:
        raise ValueError(f"No column image or file_name in {file}; there are {', '.join(there)}. Say image=COLUMN.")
    fields = {field: column.split(",") if field == "box" else [column] for field, column in chosen.items()}
    check_columns(file, there, [column for names in fields.values() for column in names])
    return fields


def _box(values: list[Any]) -> tuple[float, float, float, float] | None:
    """Of one list, or of four numbers."""
    numbers = values[0] if len(values) == 1 else values
    if numbers is None or all(number is None for number in numbers):
        return None
    try:
        x0, y0, x1, y1 = map(float, numbers)
    except (TypeError, ValueError):
        raise ValueError(f"box is not four numbers: {numbers}") from None
    return x0, y0, x1, y1


def _rows(files: Sequence[Path]) -> Iterator[dict[str, Any] | Reject]:
    if files[0].suffix == ".parquet":
        yield from parquet_rows(files, pq.read_schema(files[0]).names)
    elif files[0].suffix == ".jsonl":
        yield from _json_rows(files[0])
    elif files[0].suffix == ".csv":
        yield from _csv_rows(files[0])
    else:
        raise ValueError(f"{files[0]} is no table: expected {', '.join(_SUFFIXES)}.")


def _csv_rows(file: Path) -> Iterator[dict[str, Any] | Reject]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        for number, row in enumerate(csv.DictReader(lines), 1):
            # Where DictReader puts what is too much.
            yield Reject(f"row {number}", "row has more fields than the header") if None in row else row


def _json_rows(file: Path) -> Iterator[dict[str, Any] | Reject]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                yield Reject(f"row {number}", f"line is no JSON: {error}")
            else:
                yield row if isinstance(row, dict) else Reject(f"row {number}", "line is no JSON object")


def _types(files: Sequence[Path]) -> dict[str, Any]:
    """The columns of a table and their types, which csv and jsonl do not state."""
    if files[0].suffix == ".parquet":
        return dict(Features.from_arrow_schema(pq.read_schema(files[0])))
    kinds: dict[str, set[type]] = {}
    for row in _rows(files):
        if isinstance(row, dict):
            for column, value in row.items():
                kinds.setdefault(column, set()).add(type(_guess(value)))
    return {column: _widest(seen - {type(None)}) for column, seen in kinds.items()}


def _widest(kinds: set[type]) -> Value:
    if kinds == {bool}:
        return Value("bool")
    if kinds == {int}:
        return Value("int64")
    return Value("float64") if kinds and kinds <= {int, float} else Value("string")


def _guess(value: Any) -> Any:
    """What a text says: nothing, a truth value, a number, or just text."""
    if not isinstance(value, str):
        return value
    if not value:
        return None
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if _INTEGER.fullmatch(value):
        return int(value)
    if value[0] == "0" and value.isdecimal():
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _cast(value: Any, feature: Any) -> Any:
    if feature == Value("string") and value is not None:
        return (value if isinstance(value, str) else json.dumps(value)) or None
    guess = _guess(value)
    return float(guess) if feature == Value("float64") and guess is not None else guess
