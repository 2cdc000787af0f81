"""Table files as such: which kinds there are, and tables that are written in one go."""

import csv
import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

# Rows are held as dicts until their group is written.
_ROW_GROUP = 1_000


def kind_of_table(path: Path) -> str:
    """The suffix of a table that is to be written: .csv, .jsonl or .parquet.

    Raises:
        ValueError: another suffix.
        FileNotFoundError: the folder of the file does not exist.
        ImportError: Parquet without pyarrow.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".jsonl", ".parquet"):
        raise ValueError(
            f"Cannot tell the kind of table from {str(path)!r}; the name must end in .csv, .jsonl or .parquet."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} for the table; make it first.")
    if suffix == ".parquet":
        import_pyarrow()
    return suffix


def write_table(path: Path, rows: Iterable[dict[str, Any]], columns: dict[str, str]) -> None:
    """Write a table, which appears under its name only when it is whole.

    Args:
        path: Ends in .csv, .jsonl or .parquet; a file of that name is replaced.
        rows: Each with all the columns.
        columns: Their types in Parquet, in order.

    Raises:
        ValueError: another suffix.
        FileNotFoundError: the folder of the file does not exist.
        ImportError: Parquet without pyarrow.
    """
    kind = kind_of_table(path)
    # Hidden, so that nobody who reads a folder of tables while one is written stumbles over it.
    whole = path.with_name(f".{path.name}.tmp")
    if kind == ".parquet":
        write_parquet(whole, columns, rows)
    else:
        with whole.open("w", encoding="utf-8", newline="") as file:
            if kind == ".csv":
                writer = csv.DictWriter(file, list(columns), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            else:
                file.writelines(json.dumps(row) + "\n" for row in rows)
    whole.replace(path)


def write_parquet(
    path: Path, columns: dict[str, str], rows: Iterable[dict[str, Any]], before: Iterable[Any] = ()
) -> None:
    """Write a Parquet file, group of rows by group of rows.

    Args:
        path: Of the file.
        columns: Their types, in order.
        rows: Each with all the columns.
        before: Tables of pyarrow that come first.
    """
    pyarrow, schema = import_pyarrow(), arrow_schema(columns)
    stream = iter(rows)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for table in before:
            writer.write_table(table)
        while chunk := list(islice(stream, _ROW_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(chunk, schema))


def arrow_schema(columns: dict[str, str]) -> Any:
    """Columns and their types as a schema of pyarrow."""
    pyarrow = import_pyarrow()
    return pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in columns.items()])


def import_pyarrow() -> Any:
    """The module `pyarrow` with `pyarrow.parquet`.

    Raises:
        ImportError: it is not installed; the message says what to do.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "A Parquet table needs pyarrow: `pip install pyarrow`. Tables in .csv and .jsonl do not."
        ) from error
    return pyarrow
