"""Reading a table of people, and refusing what cannot be analysed: which column, which rows, what to do."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from fahr_hf.clinical.report.settings import TRAIN, ReportSettings

_NAMED = 5


def read_table(path: Path) -> pd.DataFrame:
    """Read a table, one row a person.

    Args:
        path: Ends in .csv, .jsonl or .parquet.

    Raises:
        ValueError: another suffix, or a file that is no such table.
        FileNotFoundError: no such file.
    """
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": pd.read_csv,
        ".jsonl": _read_json_lines,
        ".parquet": pd.read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"Cannot tell the kind of table from {path.name!r}; the name must end in {', '.join(readers)}."
        )
    try:
        return reader(path)
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        raise ValueError(f"{path.name} cannot be read as {path.suffix}: {error}") from error


def _read_json_lines(path: Path) -> pd.DataFrame:
    """Values as they are; `pandas.read_json` would take some columns for dates."""
    return pd.DataFrame([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()])


def check_table(data: pd.DataFrame, settings: ReportSettings, name: str) -> pd.DataFrame:
    """Refuse a table that cannot be analysed as it stands.

    Missing values are no reason to refuse it: they are counted, excluded or imputed later.

    Args:
        data: As read.
        settings: Which columns it must have.
        name: What messages call the table.

    Returns:
        The columns that are needed, numbers as float64 with NaN where missing.

    Raises:
        ValueError: missing or doubled columns, text in numbers, infinite values, doubled people, negative times, events
            other than 0 and 1, or people whose photos trained the model.
    """
    _check_columns(data, settings, name)
    data = data[settings.columns()].copy()
    if not pd.api.types.is_integer_dtype(data.index):
        data = data.reset_index(drop=True)
    for column in [*settings.outcome(), *settings.scores(), *_number_columns(data, settings)]:
        data[column] = _numbers(data, column, settings, name)
    where = _Where(data, settings, name)
    where.refuse(data[settings.duration] < 0, settings.duration, "must not be negative", "correct the dates behind it")
    events = ~data[settings.event].isin([0, 1]) & data[settings.event].notna()
    where.refuse(events, settings.event, "must be 1 (died) or 0 (censored)", "recode it")
    if settings.entry is not None:
        where.refuse(data[settings.entry] < 0, settings.entry, "must not be negative", "count it from the same origin")
    if settings.identifier is not None:
        check_identifiers(data[settings.identifier], name)
    _check_parts(data, settings, name)
    # Only now: one cohort of a table keeps its rows' numbers in the whole for the messages above.
    return data.reset_index(drop=True)


def split_cohorts(
    data: pd.DataFrame, column: str, development: str | None
) -> tuple[pd.DataFrame, str, dict[str, pd.DataFrame]]:
    """Take a table of several cohorts apart.

    Args:
        data: As read.
        column: Names the cohort of each row.
        development: The one that everything is estimated on.

    Returns:
        Its rows, its name, and the rows of the others by name.

    Raises:
        ValueError: no such column, rows without a cohort, or a development cohort that is not among them.
    """
    if column not in data.columns:
        raise ValueError(
            f"There is no column {column!r} of cohorts; the columns are {', '.join(map(str, data.columns))}."
        )
    if data[column].isna().any():
        rows = _listed(data[column].isna())
        raise ValueError(f"{column} is missing in {rows}; give every row its cohort, or leave it out.")
    tables = {str(name): rows for name, rows in data.groupby(column)}
    if development not in tables:
        raise ValueError(
            f"The cohorts of {column} are {', '.join(tables)}; name the one that everything is estimated on with "
            f"--development, got {development!r}."
        )
    return tables.pop(development), development, tables


def check_identifiers(identifiers: pd.Series, name: str) -> None:
    """Refuse people who stand in more than one row, or have no identifier."""
    if identifiers.isna().any():
        rows = _listed(identifiers.isna())
        raise ValueError(f"{name}: {identifiers.name} is missing in {rows}; give everybody an identifier.")
    double = identifiers.duplicated(keep=False)
    if double.any():
        values = identifiers[double].unique()
        rows = _listed(identifiers == values[0])
        raise ValueError(
            f"{name}: {identifiers.name} must name each person once; {len(values)} stand in more than one row, first "
            f"{values[0]!r} in {rows}. Keep one row a person: for several photos, the median of the scores."
        )


class _Where:
    def __init__(self, data: pd.DataFrame, settings: ReportSettings, name: str) -> None:
        self.data, self.settings, self.name = data, settings, name

    def refuse(self, wrong: pd.Series, column: str, rule: str, remedy: str) -> None:
        if wrong.any():
            value = self.data.loc[wrong, column].iloc[0]
            rows = _listed(wrong)
            raise ValueError(f"{self.name}: {column} {rule}, got {value} in {rows}; {remedy}, or leave the rows out.")


def _check_columns(data: pd.DataFrame, settings: ReportSettings, name: str) -> None:
    if absent := [column for column in settings.columns() if column not in data.columns]:
        raise ValueError(
            f"{name} has no column {', '.join(map(repr, absent))}; its columns are "
            f"{', '.join(map(str, data.columns))}. Name the right ones, or add them."
        )
    if doubled := [column for column in settings.columns() if (data.columns == column).sum() > 1]:
        raise ValueError(f"{name} has more than one column {', '.join(map(repr, doubled))}; rename or drop the others.")
    if not len(data):
        raise ValueError(f"{name} has no rows.")


def _number_columns(data: pd.DataFrame, settings: ReportSettings) -> list[str]:
    """Age, and the covariates that are numbers: not declared as groups, and not text throughout."""
    groups = [
        column
        for column in settings.covariates
        if column in settings.references or pd.to_numeric(data[column], errors="coerce").notna().sum() == 0
    ]
    return [column for column in settings.adjustment() if column not in groups]


def _numbers(data: pd.DataFrame, column: str, settings: ReportSettings, name: str) -> pd.Series:
    raw = data[column]
    if raw.dtype.kind in "mM":
        raise ValueError(f"{name}: {column} holds dates or spans of time; turn it into a number of {settings.unit}.")
    values = pd.to_numeric(raw, errors="coerce").astype(np.float64)
    text = values.isna() & raw.notna()
    if text.any():
        groups = f", or name its groups with --categorical {column}" if column in settings.covariates else ""
        raise ValueError(
            f"{name}: {column} must hold numbers, got {str(raw[text].iloc[0])!r} in {_listed(text)}. "
            f"Correct them, leave them empty for missing{groups}."
        )
    infinite = np.isinf(values)
    if infinite.any():
        rows = _listed(infinite)
        raise ValueError(f"{name}: {column} is infinite in {rows}. Correct them, or leave them empty for missing.")
    return values


def _check_parts(data: pd.DataFrame, settings: ReportSettings, name: str) -> None:
    if settings.out_of_fold:
        return
    if settings.part is None:
        if settings.out_of_fold is None:
            raise ValueError(
                f"Nothing says which people of {name} trained the model, and scores of those are too good to "
                "evaluate. Name the column of parts (train, test ...) with --part; or declare with --held-out that "
                "nobody here trained it, or with --out-of-fold that the scores come from models that had not seen "
                "the person."
            )
        return
    train = data[settings.part] == TRAIN
    if train.any():
        raise ValueError(
            f"{name}: {settings.part} is {TRAIN!r} in {_listed(train)}: these people trained the "
            "model, so their scores are too good. Leave the rows out; or, if their scores come from models that had "
            "not seen them (cross-fitting), declare it with --out-of-fold."
        )


def _listed(wrong: pd.Series) -> str:
    """Rows by their numbers in the table that was read."""
    rows = wrong.index[wrong] + 1
    some = ", ".join(str(row) for row in rows[:_NAMED])
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"row{'s' if len(rows) > 1 else ''} {some}{more} (counted from 1, without the header)"
