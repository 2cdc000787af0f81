"""Columns of a table as outcomes: durations and events as they are, or made of dates, row by row.

A person is observed from the photo on, or from entry if that is later: nobody can be seen to die before.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from fahr_hf.data.bad_rows import BadRows

Clock = Literal["time since photo", "attained age"]
"""What a duration is counted from."""

FIELDS = (
    "subject_id",
    "duration",
    "event",
    "entry",
    "photo_date",
    "entry_date",
    "last_date",
    "death_date",
    "birth_date",
    "entry_year",
    "offset",
)
"""What a column of a table can be named for. `last_date` is the last day on which a person was known to live,
`entry_year` the calendar year of the photo or entry, and `offset` a log hazard that is known without the face."""

DAYS_A_YEAR = 365.25
LONGEST = 120
"""Years; a duration above it is taken for a mistake, such as days."""

_DATES = ("photo_date", "entry_date", "last_date", "death_date", "birth_date")
_TRUTH = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_STARTS = {"the photo": "photo_date", "entry": "entry_date"}
_NO_TIME = "no time from the photo to the end of follow-up (leave these people out, or count half a day, 0.0014 years)"


def check_rows(
    table: pd.DataFrame, columns: Mapping[str, str] | None = None, clock: Clock = "time since photo"
) -> tuple[pd.DataFrame, BadRows]:
    """The outcome of every row, and what is wrong with which of them.

    Args:
        table: As in `outcomes_of`.
        columns: See there.
        clock: See there.

    Returns:
        As `outcomes_of` without a horizon, but with anything in bad rows; and what is wrong with those.

    Raises:
        ValueError: columns that are missing.
    """
    reader = _Reader(table, chosen_columns(table, columns or {}, clock))
    outcomes, said = reader.by_dates(clock) if "last_date" in reader.columns else reader.by_durations(clock)
    for field in ("entry_year", "offset"):
        if field in reader.columns:
            outcomes[field] = reader.numbers(field)
    if "subject_id" in reader.columns:
        people = reader.given("subject_id")
        reader.refuse_contradictions(people, said)
        outcomes.insert(0, "subject_id", people)
    return outcomes, reader.bad


def chosen_columns(table: pd.DataFrame, columns: Mapping[str, str], clock: Clock) -> dict[str, str]:
    """The column of each field that is read.

    Raises:
        ValueError: columns that are missing, or named for what is none of `FIELDS`.
    """
    unknown = [field for field in columns if field not in FIELDS]
    if unknown:
        raise ValueError(f"A column cannot be named for {unknown[0]!r}; it can for {', '.join(FIELDS)}.")
    lacking = [column for column in columns.values() if column not in table]
    there = ", ".join(map(str, table.columns))
    if lacking:
        raise ValueError(f"No column {', '.join(lacking)} in the table of outcomes; there are {there}.")
    fields = {field: field for field in FIELDS if field in table} | dict(columns)
    by_dates = "duration" not in fields or ("duration" not in columns and any(date in columns for date in _DATES))
    needed = ["last_date", "death_date"] if by_dates else ["duration", "event"]
    if by_dates and "entry_date" not in fields:
        needed.insert(0, "photo_date")
    if clock == "attained age":
        needed.append("birth_date" if by_dates else "entry")
    absent = [field for field in needed if field not in fields]
    if absent:
        raise ValueError(
            f"No column {', '.join(absent)} in the table of outcomes; there are {there}. Needed are duration and "
            "event, or photo_date (or entry_date), last_date and death_date; for the clock attained age also entry, or "
            "birth_date. Say FIELD=COLUMN for what is called otherwise."
        )
    unused = {"duration", "entry", "entry_year"} if by_dates else set(_DATES)
    return {field: column for field, column in fields.items() if field not in unused}


class _Reader:
    """The columns of a table as numbers, truth values and dates, and what is wrong with them."""

    def __init__(self, table: pd.DataFrame, columns: Mapping[str, str]) -> None:
        self.table, self.columns, self.bad = table, columns, BadRows()

    def by_durations(self, clock: Clock) -> tuple[pd.DataFrame, pd.Series]:
        """Outcomes from durations, and in words what all rows of a person must agree on."""
        duration, died = self.numbers("duration"), self.truths("event")
        entry = self.numbers("entry") if "entry" in self.columns else pd.Series(0.0, self.table.index)
        names = self.columns
        self.refuse(duration < 0, f"{names['duration']} negative", duration)
        self.refuse(duration == 0, _NO_TIME)
        self.refuse(duration > LONGEST, f"{names['duration']} over {LONGEST} years", duration)
        if "entry" in names:
            self.refuse(entry < 0, f"{names['entry']} negative", entry)
            values = entry.map("{:g}".format) + " and " + duration.map("{:g}".format)
            late = (entry >= duration) & (duration > 0)
            self.refuse(late, f"{names['entry']} not before {names['duration']}", values)
        said = died.map({True: "died", False: "lives"})
        if clock == "attained age":
            # Time since the photo differs between photos, age does not.
            said += " at " + duration.map("{:.2f}".format)
        return pd.DataFrame({"duration": duration, "event": died, "entry": entry}), said

    def by_dates(self, clock: Clock) -> tuple[pd.DataFrame, pd.Series]:
        """As `by_durations`, from dates."""
        names = self.columns
        death, last = self.dates("death_date"), self.dates("last_date")
        died, end = death.notna(), death.fillna(last)
        self.refuse(~died & last.isna(), f"neither {names['death_date']} nor {names['last_date']}")
        if "event" in names:
            event = self.truths("event")
            self.refuse(event & ~died, f"{names['event']} without {names['death_date']}")
            self.refuse(~event & died, f"{names['death_date']} without {names['event']}", _days(death))
        starts = {name: self.dates(field, needed=True) for name, field in _STARTS.items() if field in names}
        for name, day in starts.items():
            order = _days(end) + " before " + _days(day)
            self.refuse(died & (end < day), f"death before {name}", order)
            self.refuse(~died & (end < day), f"last seen before {name}", order)
        start = pd.concat(starts, axis=1).max(axis=1)
        zero = next(iter(starts.values()))
        if clock == "attained age":
            zero = self.dates("birth_date", needed=True)
            self.refuse(zero > start, "birth after the photo", _days(zero) + " after " + _days(start))
        self.refuse(end == start, _NO_TIME)
        duration, entry = ((day - zero).dt.days / DAYS_A_YEAR for day in (end, start))
        self.refuse(duration > LONGEST, f"over {LONGEST} years", duration.map("{:.0f}".format))
        said = died.map({True: "died ", False: "last seen "}) + _days(end)
        if clock == "attained age":
            said += ", born " + _days(zero)
        years = start.dt.year.astype("float64")
        return pd.DataFrame({"duration": duration, "event": died, "entry": entry, "entry_year": years}), said

    def numbers(self, field: str) -> pd.Series:
        """(n,) float64; what is missing, no number or infinite is noted."""
        given = self.given(field)
        numbers = pd.to_numeric(given, errors="coerce").astype("float64")
        self.refuse(given.isna(), f"{self.columns[field]} missing")
        numbers = numbers.where(np.isfinite(numbers))
        self.refuse(given.notna() & numbers.isna(), f"{self.columns[field]} is no number", given)
        return numbers

    def truths(self, field: str) -> pd.Series:
        """(n,) pandas booleans; what is missing or neither 0 nor 1 is noted."""
        given = self.given(field)
        truths = given.astype("string").str.lower().map(_TRUTH).astype("boolean")
        self.refuse(given.isna(), f"{self.columns[field]} missing")
        self.refuse(given.notna() & truths.isna(), f"{self.columns[field]} is neither 0 nor 1", given)
        return truths

    def dates(self, field: str, needed: bool = False) -> pd.Series:
        """(n,) days, missing where there is none; what is no date is noted, and what is missing if it is needed."""
        given = self.given(field)
        self.refuse(given.isna() & needed, f"{self.columns[field]} missing")
        dates = pd.to_datetime(given, format="%Y-%m-%d", errors="coerce").dt.tz_localize(None).dt.normalize()
        self.refuse(given.notna() & dates.isna(), f"{self.columns[field]} is no date (year-month-day)", given)
        return dates

    def given(self, field: str) -> pd.Series:
        """(n,) the column as it is, missing where a text is blank."""
        values = self.table[self.columns[field]]
        return values.mask(values.astype("string").str.strip() == "")

    def refuse(self, wrong: pd.Series, kind: str, detail: pd.Series | None = None) -> None:
        """Note rows that cannot be used, and what they have."""
        for position in np.flatnonzero(wrong.fillna(False)):
            value = "" if detail is None else detail.iloc[position]
            found = f"{value:g}" if isinstance(value, float) else str(value)
            self.bad.add(int(position) + 1, f"{kind}: {found}" if found else kind)

    def refuse_contradictions(self, people: pd.Series, said: pd.Series) -> None:
        """Note people of whom good rows say different things."""
        good = people.notna() & ~np.isin(np.arange(1, len(people) + 1), list(self.bad.reasons))
        several = said[good].groupby(people[good]).transform("nunique") > 1
        several = several.reindex(people.index, fill_value=False)
        self.refuse(several, "one person with different outcomes", people.astype("string") + " " + said)


def _days(dates: pd.Series) -> pd.Series:
    return dates.dt.strftime("%Y-%m-%d")
