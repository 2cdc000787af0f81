"""Members of Congress from what anybody can download: voteview's table of members, and its repository of portraits.

    HSall_members.csv            of voteview.com: members' ideology, both chambers, all Congresses, as csv
    images/                      of the repository voteview/member_photos, or the repository itself as member_photos/
    legislators-*.csv            of the project unitedstates/congress-legislators, for the sex; may be absent

Written from the columns and rows of the table, and the names of files, that others quote; not run on the real releases.
The table has a row for each member, chamber and Congress; a portrait is named by the member's ICPSR number. Whoever
changed party has several numbers and one `bioguide_id`, which is the person. The rows of Presidents are not read: they
are no members, and those who had been members have another number there, often without the identifier.

Of several portraits the government's is taken, then that of Wikipedia, as the repository does itself.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fahr_hf.data.schema import Photo
from fahr_hf.data.sources.source import Reject, csv_rows, find, parse_number, parse_sex
from fahr_hf.data.splits import subject_split

TABLE = "HSall_members.csv"
FIRST_BIRTH, FOLLOW_UP_ENDS = 1880, 2024
_COLUMNS = ("congress", "chamber", "icpsr", "bioguide_id", "born", "died")
_IMAGES = ("images", "member_photos/images")
_SEXES = ("legislators-historical.csv", "legislators-current.csv")
# The order in which the repository prefers them.
_SOURCES = ("bio_guide", "wiki", "manual")
# A year of death that the table lacks is likelier than such an age.
_OLDEST = 110


def read_voteview(folder: Path) -> Iterator[Photo | Reject]:
    """The portraits, one a person, with the columns of the Parquet file."""
    images = find(folder, _IMAGES, "portraits of voteview/member_photos")
    person_of, rows_of = _members(folder / TABLE)
    sexes = _sexes(folder)
    taken: set[str] = set()
    for source in _SOURCES:
        for path in sorted((images / source).glob("*.jpg")):
            person = person_of.get(path.stem)
            try:
                if person is None:
                    raise ValueError("no member has this number")
                if person in taken:
                    raise ValueError("another portrait of the person is taken")
                extra = _extra(rows_of[person])
            except ValueError as reason:
                yield Reject(f"{source}/{path.name}", str(reason))
                continue
            taken.add(person)
            subject = hashlib.sha256(f"voteview:{person}".encode()).hexdigest()[:12]
            yield Photo(
                image=path,
                photo_id=f"{source}/{path.name}",
                subject_id=subject,
                sex=sexes.get(person),
                split=subject_split(subject),
                extra={**extra, "portrait_source": source},
            )


def congress_start(number: int) -> str:
    """The day a Congress began, year-month-day.

    The 3rd of January since the 20th Amendment (the 74th Congress, 1935), the 4th of March before it.

    Args:
        number: From 1, for that of 1789.
    """
    year = 1789 + 2 * (number - 1)
    return f"{year}-01-03" if year >= 1935 else f"{year}-03-04"


def _members(table: Path) -> tuple[dict[str, str], dict[str, list[dict[str, str]]]]:
    """The person of each number, as files are named by it, and the rows of each person."""
    rows = [row for row in csv_rows(table, _COLUMNS) if row["chamber"] != "President"]
    person_of = {row["icpsr"].zfill(6): row["bioguide_id"] for row in rows if row["bioguide_id"]}
    rows_of: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        number = row["icpsr"].zfill(6)
        rows_of[person_of.setdefault(number, number)].append(row)
    return person_of, rows_of


def _sexes(folder: Path) -> dict[str, str | None]:
    tables = [folder / name for name in _SEXES if (folder / name).exists()]
    rows = (row for table in tables for row in csv_rows(table, ("bioguide_id", "gender")))
    return {row["bioguide_id"]: parse_sex(row["gender"]) for row in rows}


def _extra(rows: list[dict[str, str]]) -> dict[str, object]:
    """What the rows of a person say.

    Raises:
        ValueError: the reason why the person is left out.
    """
    birth, death = _year(rows, "born"), _year(rows, "died")
    if birth is None:
        raise ValueError("no year of birth")
    if birth < FIRST_BIRTH:
        raise ValueError(f"born before {FIRST_BIRTH}")
    if death is None and FOLLOW_UP_ENDS - birth > _OLDEST:
        raise ValueError(f"no year of death: born in {birth}")
    died = death is not None and death <= FOLLOW_UP_ENDS
    first, last = (choose(rows, key=lambda row: int(row["congress"])) for choose in (min, max))
    return {
        "birth_year": birth,
        "first_term_start": congress_start(int(first["congress"])),
        "last_congress_start": congress_start(int(last["congress"])),
        "chamber": last["chamber"],
        "death_year": death if died else None,
        "died": died,
    }


def _year(rows: list[dict[str, str]], column: str) -> int | None:
    """The year that the rows of a person agree on; the table writes it as 1944.0, or not at all."""
    years = {int(parse_number(row[column], column)) for row in rows if row[column]}
    if len(years) > 1:
        raise ValueError(f"several years in {column}: {', '.join(map(str, sorted(years)))}")
    return years.pop() if years else None
