"""`fahr-hf predict --group-by person`: whose photos they are, and one line a person."""

import csv
from datetime import date
from pathlib import Path
from typing import Any

_YEAR = 365.25


def read_persons(source: str) -> tuple[dict[str, str], dict[str, float]]:
    """The person of each photo, and when photos were taken as far as that is known.

    Args:
        source: A folder with one sub-folder a person, which gives no dates; or a .csv with the columns `photo` (path,
            relative ones from the csv's own folder, or URL), `person` and, if there are any, `date` (such as
            2024-05-31; may be empty). Other columns are left alone.

    Returns:
        Person by photo, and date by photo in years from an arbitrary origin.

    Raises:
        ValueError: neither of these; photos outside of sub-folders; missing columns, or rows that cannot be, by number.
    """
    path = Path(source)
    if path.is_dir():
        return _from_folder(path), {}
    if path.suffix.lower() == ".csv" and path.is_file():
        return _from_csv(path)
    raise ValueError(
        f"--group-by person takes a folder with one sub-folder a person, or a .csv with the columns photo, person and, "
        f"optionally, date; {source!r} is neither."
    )


def in_words(row: dict[str, Any]) -> str:
    """A row of `fahr_hf.batch.persons` in a line: `ann: age 41.8 of 5 photos (SD 2.1), ageing 1.2 years a year`."""
    text = f"{row['person']}: "
    if row["age"] is not None:
        photos = f"{row['photos']} photo{'s' if row['photos'] > 1 else ''}"
        text += f"age {row['age']:.1f} of {photos}" + (f" (SD {row['sd']:.1f})" if row["sd"] is not None else "")
    if row["rate"] is not None:
        error = f" (standard error {row['rate_se']:.2f})" if row["rate_se"] is not None else ""
        text += f", ageing {row['rate']:.2f} years a year{error}"
    left_out = [f"{row[name]} {word}" for name, word in (("no_face", "without a face"), ("unreadable", "unreadable"))]
    notes = [*(note for note in left_out if not note.startswith("0 ")), *([row["note"]] if row["note"] else [])]
    return text + (f" [{'; '.join(notes)}]" if notes else "")


def _from_folder(folder: Path) -> dict[str, str]:
    from fahr_hf.models.pipeline_fahr_face import photo_files

    places = {photo: Path(photo).relative_to(folder).parts for photo in photo_files(folder)}
    stray = [photo for photo, parts in places.items() if len(parts) == 1]
    if stray or not places:
        problem = f"{len(stray)} lie outside of them, such as {stray[0]!r}" if stray else "there are none"
        raise ValueError(f"In {str(folder)!r} every photo must lie in the sub-folder of its person, and {problem}.")
    return {photo: parts[0] for photo, parts in places.items()}


def _from_csv(path: Path) -> tuple[dict[str, str], dict[str, float]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    missing = [name for name in ("photo", "person") if name not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(
            f"{str(path)!r} has no column {', '.join(missing)}; it has {', '.join(reader.fieldnames or ())}."
        )
    persons: dict[str, str] = {}
    dates: dict[str, float] = {}
    problems = []
    for number, row in enumerate(rows, 1):
        photo, person, day = (row.get(name) or "" for name in ("photo", "person", "date"))
        if not photo or not person:
            problems.append(f"row {number} names no {'person' if photo else 'photo'}")
            continue
        # A path that is absolute already stays as it is.
        place = photo if photo.startswith(("http://", "https://")) else str(path.parent / photo)
        if place in persons:
            problems.append(f"row {number} has {photo!r} a second time")
        persons[place] = person
        if day:
            try:
                dates[place] = date.fromisoformat(day).toordinal() / _YEAR
            except ValueError:
                problems.append(f"row {number} has the date {day!r}, expected one such as 2024-05-31")
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError(
            f"{str(path)!r} cannot be used: {'; '.join(problems[:5])}{more}. Rows are counted from 1, without the "
            "header; correct these."
        )
    if not persons:
        raise ValueError(f"{str(path)!r} has no rows.")
    return persons, dates
