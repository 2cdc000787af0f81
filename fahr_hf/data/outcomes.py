"""Outcomes of people, from whatever columns a table has: who was watched from when to when, and who died.

Two forms are read, and come out as one: `duration` and `event` (and `entry`) in years, or dates, of which durations are
made (`outcome_columns`). Time runs on one of two clocks. "time since photo" starts at the photo (where no photo has a
date, at entry); "attained age" starts at birth, and people come under observation at the age that they have then.

Everything that is wrong with a table is told at once, with the numbers of its rows.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from fahr_hf.data.crops import Crops
from fahr_hf.data.outcome_columns import FIELDS, Clock, check_rows, chosen_columns

__all__ = [
    "FIELDS",
    "Clock",
    "add_outcomes",
    "check_together",
    "join_outcomes",
    "one_outcome_each",
    "outcomes_of",
    "read_outcomes",
]


def outcomes_of(
    table: pd.DataFrame,
    columns: Mapping[str, str] | None = None,
    horizon: float | None = None,
    clock: Clock = "time since photo",
) -> pd.DataFrame:
    """Durations, events and entries, or one error that tells everything that is wrong with them.

    Args:
        table: One row a photo or a person, with `duration` (years) and `event` (1 died, 0 censored), or with
            `photo_date` or `entry_date`, `death_date` (empty for the living) and `last_date`. Dates are
            year-month-day, or columns of dates. Where it has both, durations count.
        columns: For each of `FIELDS` that the table calls otherwise, its column, such as `{"event": "Died"}`; naming a
            date makes dates count.
        horizon: Years after entry at which everybody still alive is censored: later deaths become censored lives, and
            their times end there. None for all of the follow-up.
        clock: What durations count from; "attained age" takes `entry`, or with dates `birth_date`.

    Returns:
        With the table's index: float64 `duration`, bool `event`, float64 `entry` (0 where people are observed from the
        start of the clock); `subject_id`, float64 `entry_year` (with dates always) and `offset` where the table has
        them.

    Raises:
        ValueError: columns that are missing; rows that cannot be used, or people with several outcomes; nobody who
            died, or no death that somebody under observation outlived; a horizon that is not positive.
    """
    if horizon is not None and not horizon > 0:
        raise ValueError(f"The horizon must be a positive number of years, got {horizon}.")
    outcomes, bad = check_rows(table, columns, clock)
    good = ~np.isin(np.arange(1, len(table) + 1), list(bad.reasons))
    if horizon is not None:
        outcomes = _censored(outcomes, horizon)
    about_all = check_together(outcomes[good], horizon) if good.any() or not len(table) else ""
    told = [about_all] if about_all else []
    if bad.reasons:
        told.insert(0, bad.complaint(len(table), "the table of outcomes", "Mend them, or leave them out."))
    if told:
        raise ValueError("\n".join(told))
    return outcomes.astype({"event": bool})


def read_outcomes(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    horizon: float | None = None,
    clock: Clock = "time since photo",
) -> pd.DataFrame:
    """As `outcomes_of`, from a file.

    Args:
        path: Ends in .csv, .jsonl or .parquet.
        columns: See there.
        horizon: See there.
        clock: See there.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another suffix, or as `outcomes_of`.
    """
    path = Path(path)
    match path.suffix.lower():
        case ".csv":
            # As texts, since a subject_id such as 007 is no number.
            table = pd.read_csv(path, dtype=str, encoding="utf-8-sig")
        case ".jsonl":
            # Values as they are; pandas' own reader would take some texts for dates.
            lines = path.read_text(encoding="utf-8").splitlines()
            table = pd.DataFrame([json.loads(line) for line in lines if line.strip()])
        case ".parquet":
            table = pd.read_parquet(path)
        case _:
            raise ValueError(f"{path} is no table: expected .csv, .jsonl or .parquet.")
    return outcomes_of(table, columns, horizon, clock)


def add_outcomes(
    crops: Crops,
    columns: Mapping[str, str] | None = None,
    horizon: float | None = None,
    clock: Clock = "time since photo",
) -> Crops:
    """Crops with the outcomes that their own columns tell.

    Args:
        crops: With columns as in `outcomes_of`. Crops that have nothing in any of them are left out, and a photo of
            nobody known counts as a person.
        columns: See there.
        horizon: See there.
        clock: See there.

    Raises:
        ValueError: as `outcomes_of`.
    """
    table = crops.table.to_pandas()
    chosen = chosen_columns(table, columns or {}, clock)
    told = [column for field, column in chosen.items() if field not in ("subject_id", "entry_year", "offset")]
    known = table[told].notna().any(axis=1).to_numpy()
    crops, table = crops.select(known), table[known]
    people = table["subject_id"].fillna(table["photo_id"])
    outcomes = outcomes_of(table.assign(subject_id=people), columns, horizon, clock)
    return _with_columns(crops, outcomes)


def join_outcomes(crops: Crops, outcomes: pd.DataFrame) -> Crops:
    """Crops with the outcomes of their people, and without those of people who have none.

    Args:
        crops: With `subject_id`.
        outcomes: One row a person, though rows may repeat, with `subject_id` and what `outcomes_of` gives; further
            columns come along.

    Raises:
        ValueError: no column `subject_id`, or a row without one; one person with different rows, or no crop of anybody
            in the table.
    """
    if "subject_id" not in outcomes:
        raise ValueError(f"Outcomes are joined by subject_id; the table has {', '.join(outcomes.columns)}.")
    if outcomes["subject_id"].isna().any():
        rows = outcomes.index[outcomes["subject_id"].isna()]
        raise ValueError(f"{len(rows)} rows of outcomes have no subject_id, so nobody knows whose they are.")
    people = outcomes.drop_duplicates().set_index("subject_id")
    twice = people.index[people.index.duplicated()].unique()
    if len(twice):
        raise ValueError(
            f"{len(twice)} people have several rows of outcomes that differ: {', '.join(map(str, twice[:10]))}. Where "
            "outcomes differ by photo, they belong into the columns of the data set, with a row for each photo."
        )
    people.index = people.index.astype(str).str.strip()
    positions = people.index.get_indexer(pd.Index(crops.column("subject_id")))
    known = positions >= 0
    if not known.any():
        raise ValueError(
            f"None of {len(crops)} crops is of anybody in the table of {len(people)} people: subject_id is "
            f"{crops.column('subject_id')[:1]} there, and {people.index[:1].to_numpy()} here."
        )
    return _with_columns(crops.select(known), people.iloc[positions[known]].reset_index())


def one_outcome_each(crops: Crops) -> Crops:
    """Crops with outcomes, without photos of another outcome than that of their person's earliest photo.

    Photos that were taken years apart are at different times from the same death, and for a statistic of people each
    of them counts once.

    Args:
        crops: As of `add_outcomes` or `join_outcomes`.
    """
    names = [name for name in ("duration", "event", "entry", "offset") if name in crops.table.column_names]
    table = crops.table.select(["subject_id", *names]).to_pandas()
    watched = (table["duration"] - table["entry"]).rename("watched")
    # The earliest photo is that after which a person was watched for longest.
    first = table.loc[watched.sort_values(ascending=False, kind="stable").index].drop_duplicates("subject_id")
    own = first.set_index("subject_id").loc[table["subject_id"], names]
    return crops.select((table[names].to_numpy() == own.to_numpy()).all(axis=1))


def _censored(outcomes: pd.DataFrame, horizon: float) -> pd.DataFrame:
    last = outcomes["entry"] + horizon
    return outcomes.assign(
        duration=outcomes["duration"].clip(upper=last), event=outcomes["event"] & (outcomes["duration"] <= last)
    )


def check_together(outcomes: pd.DataFrame, horizon: float | None = None) -> str:
    """What is wrong with all outcomes together: that nobody died, or that nobody can be compared; empty if nothing is.

    Args:
        outcomes: As `outcomes_of` gives them.
        horizon: For the message, where one was applied.
    """
    within = "" if horizon is None else f" within the horizon of {horizon:g} years"
    died = outcomes["event"].to_numpy(bool)
    times, entries = outcomes["duration"].to_numpy(), outcomes["entry"].to_numpy()
    deaths, censored = times[died], np.sort(times[~died])
    if not len(deaths):
        return f"All {len(outcomes)} rows are censored{within}: nobody died, and nothing can be learned from that."
    # Beyond a death are those observed for longer, and those censored on its day, less those who entered later.
    beyond = len(times) - np.searchsorted(np.sort(times), deaths, "right")
    same_day = np.searchsorted(censored, deaths, "right") - np.searchsorted(censored, deaths, "left")
    late = len(entries) - np.searchsorted(np.sort(entries), deaths, "left")
    if (beyond + same_day > late).any():
        return ""
    return (
        f"No pair of people is comparable{within} ({len(deaths)} deaths in {len(outcomes)} rows): nobody under "
        "observation outlived any of them."
    )


def _with_columns(crops: Crops, columns: pd.DataFrame) -> Crops:
    """Crops with these columns, in place of those of their names."""
    table = crops.table.drop_columns([name for name in columns if name in crops.table.column_names])
    for name in columns:
        table = table.append_column(str(name), pa.array(columns[name], from_pandas=True))
    return dataclasses.replace(crops, table=table)
