"""Tables of predictions that grow photo by photo and survive being interrupted.

A table has one row a face, and one row for a photo without any. CSV and JSON Lines are appended to, all rows
of a photo in one write, so that a killed run leaves at most a torn end, which the next run cuts off. A
Parquet file can be read only once its last bytes are written; so its rows go to a journal beside it, in
JSON Lines, and move into the file, group of rows by group of rows, when the run ends. A killed run leaves
the journal, and the next run goes on with it.
"""

import csv
import io
import json
import os
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from fahr_hf.models.pipeline_fahr_face import NO_FACE
from fahr_hf.table_files import import_pyarrow, kind_of_table, write_parquet

# All tables have all of these, so that those of different tasks can be put together.
COLUMNS: dict[str, str] = {
    "photo": "string",
    "face": "int32",
    "status": "string",
    "age": "double",
    "interval_low": "double",
    "interval_high": "double",
    "risk": "double",
    "percentile": "double",
    "cohort": "string",
    "survival_1": "double",
    "survival_3": "double",
    "survival_5": "double",
    "survival_10": "double",
    "box_xmin": "double",
    "box_ymin": "double",
    "box_xmax": "double",
    "box_ymax": "double",
    "detection_score": "double",
    "warning": "string",
    "error": "string",
    "model": "string",
}
"""Columns and their types in Parquet.

`face` counts from 1, the largest face of the photo; `status` is `ok`, `no_face` or `unreadable`, or, where a face gets
no risk, why: `refused_minor` or `no_risk`, see `FaceSurvivalPipeline`; ages and their 90 % interval are in years, boxes
in pixels of the photo; higher `risk` means earlier death, `percentile` runs from 0 to 100 within `cohort`, and
`survival_5` is the share of its people with such a risk who were alive after 5 years; `warning` belongs to a face and
`error` to a photo without one; `model` is what made the row.
"""


def shown(text: str) -> str:
    """A text, such as a path, as tables show it: in one line, and with a mark for bytes that are no UTF-8."""
    return os.fsencode(text).decode("utf-8", "replace").translate({10: " ", 13: " "})


def rows(record: dict[str, Any], model: str) -> list[dict[str, Any]]:
    """The rows of one photo.

    Args:
        record: What a pipeline's `records` yields.
        model: For the column of that name.

    Returns:
        One row a face, with every column, None where it has no value; without a face one row with `error`.
    """
    if not record["faces"]:
        return [_row(None, {}, record, model)]
    return [_row(number, face, record, model) for number, face in enumerate(record["faces"], 1)]


def _row(number: int | None, face: dict[str, Any], record: dict[str, Any], model: str) -> dict[str, Any]:
    low, high = face.get("interval") or (None, None)
    without_face = "no_face" if record["error"] == NO_FACE else "unreadable"
    values = {
        **face,
        **{f"box_{side}": value for side, value in (face.get("box") or {}).items()},
        **{f"survival_{years}": value for years, value in (face.get("survival") or {}).items()},
        "face": number,
        "status": face.get("status", "ok") if number else without_face,
        "interval_low": low,
        "interval_high": high,
        "photo": record["photo"],
        "error": record["error"],
        "model": model,
    }
    texts = {name: shown(value) for name, value in values.items() if isinstance(value, str)}
    return {name: {**values, **texts}.get(name) for name in COLUMNS}


class Table:
    """A table file, new or to be continued; used in a `with` statement, which finishes it.

    Args:
        path: Ends in .csv, .jsonl or .parquet.
        model: What makes the rows. A table is never continued by another model, which would go unnoticed.

    Attributes:
        done: Photos that are in the table already, as `shown`.

    Raises:
        ValueError: another suffix, or an existing file that is no such table or was made by another model.
        FileNotFoundError: the folder of the file does not exist.
        ImportError: Parquet without pyarrow.
    """

    def __init__(self, path: str | os.PathLike, model: str):
        self._path, self._model = Path(path), model
        suffix = kind_of_table(self._path)
        self._is_parquet = suffix == ".parquet"
        self._lines: _Csv | _Jsonl = _Csv() if suffix == ".csv" else _Jsonl()
        self._growing = self._path
        self.done: set[str] = set()
        if self._is_parquet:
            self._growing = self._path.with_name(f"{self._path.name}.partial.jsonl")
            if self._path.exists():
                self._continue_parquet()
        if self._growing.exists():
            self._continue_lines()
        # Unbuffered: what is written belongs to the system, and outlives the process.
        self._file = self._growing.open("ab", buffering=0)
        if self._growing.stat().st_size == 0:
            self._file.write(self._lines.header)

    def write(self, record: dict[str, Any]) -> None:
        """Add the rows of one photo; they are in the file when this returns.

        Args:
            record: What a pipeline's `records` yields.
        """
        self._file.write("".join(map(self._lines.dump, rows(record, self._model))).encode())

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None and self._is_parquet:
            with self._growing.open(encoding="utf-8") as journal:
                _merge(self._path, map(self._lines.parse, journal))
            self._growing.unlink()

    def _continue_lines(self) -> None:
        position = start_of_photo = 0
        photo = None
        with self._growing.open("rb") as file:
            header = file.readline() if self._lines.header else b""
            if header != self._lines.header[: len(header)]:
                raise self._not_ours(f"it begins with {header.decode('utf-8', 'replace').strip()!r}")
            is_torn = header != self._lines.header
            position = start_of_photo = 0 if is_torn else len(header)
            for line in file:
                if not line.endswith(b"\n"):
                    is_torn = True
                    if position == 0 and not line.startswith(b'{"photo": '[: len(line)]):
                        raise self._not_ours("its only line is no row")
                    break
                try:
                    row = self._lines.parse(line.decode())
                except ValueError as error:
                    raise self._not_ours(f"after {position} bytes: {error}") from error
                if row["photo"] != photo:
                    photo, start_of_photo = row["photo"], position
                self._take_over(row)
                position += len(line)
        if is_torn:
            # The torn row may be one of several of the photo before it, which is therefore done again.
            self.done.discard(photo or "")
            os.truncate(self._growing, start_of_photo)

    def _continue_parquet(self) -> None:
        with _open_parquet(self._path) as file:
            names = file.schema_arrow.names
            if names != list(COLUMNS):
                raise self._not_ours(f"its columns are {', '.join(names)}")
            for batch in file.iter_batches(columns=["photo", "model"]):
                for row in batch.to_pylist():
                    self._take_over(row)
        # A run killed between its last two steps leaves a journal whose rows are in the table already.
        if self._growing.exists():
            with self._growing.open(encoding="utf-8") as journal:
                first = journal.readline()
            if first.endswith("\n") and self._lines.parse(first)["photo"] in self.done:
                self._growing.unlink()

    def _take_over(self, row: dict[str, Any]) -> None:
        if row["model"] != self._model:
            raise ValueError(
                f"{str(self._path)!r} was made with {row['model']!r} and cannot be continued with "
                f"{self._model!r}. Give the table another name, or delete the file."
            )
        self.done.add(row["photo"])

    def _not_ours(self, reason: str) -> ValueError:
        return ValueError(
            f"{str(self._path)!r} exists and is no table that can be continued: {reason}. Expected the "
            f"columns {', '.join(COLUMNS)}. Give the table another name, or delete the file."
        )


class _Csv:
    header = (",".join(COLUMNS) + "\n").encode()

    def dump(self, row: dict[str, Any]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row.values())
        return text.getvalue()

    def parse(self, line: str) -> dict[str, Any]:
        values = next(csv.reader([line]))
        if len(values) != len(COLUMNS):
            raise ValueError(f"a row of {len(values)} values")
        return dict(zip(COLUMNS, values, strict=True))


class _Jsonl:
    header = b""

    def dump(self, row: dict[str, Any]) -> str:
        return json.dumps(row) + "\n"

    def parse(self, line: str) -> dict[str, Any]:
        row = json.loads(line)
        if not isinstance(row, dict) or row.keys() != COLUMNS.keys():
            raise ValueError("a line that is no row")
        return row


def _open_parquet(path: Path) -> Any:
    pyarrow = import_pyarrow()
    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{str(path)!r} is no Parquet file: {error}. Give the table another name.") from error


def _merge(path: Path, more: Iterable[dict[str, Any]]) -> None:
    """Add rows to a Parquet file, by way of a second one, so that it is whole at every moment."""
    whole = path.with_name(f"{path.name}.tmp")
    with _open_parquet(path) if path.exists() else nullcontext() as file:
        before = map(file.read_row_group, range(file.num_row_groups)) if file else ()
        write_parquet(whole, COLUMNS, more, before)
    whole.replace(path)
