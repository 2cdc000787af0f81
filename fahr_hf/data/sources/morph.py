"""MORPH, Album 2, the non-commercial release of 2008: `Album2/009055_1M54.JPG` and a csv file.

Written from scripts that others published for it; not run on the real release. A name holds the person's number, the
number of the picture, sex and age; so photos without the csv file are read as well, and lack the race alone. Dates of
birth and of arrest are not carried along. No splits.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from datasets import Value

from fahr_hf.data.schema import Photo
from fahr_hf.data.sources.source import Column, Reject, Source, csv_rows, parse_age, parse_sex, walk

_LABELS = "morph_2008_nonCommercial.csv"
_NAME = re.compile(r"(\d+)_(\d+)([MF])(\d+)\.jpg", re.IGNORECASE)


def read(folder: Path) -> Iterator[Photo | Reject]:
    """The photos that the csv file lists; without one, all that are there."""
    if (folder / _LABELS).exists():
        for row in csv_rows(folder / _LABELS, ["photo", "age", "gender", "race"]):
            yield _photo(folder, folder / row["photo"], row)
    else:
        for path in walk(folder):
            yield _photo(folder, path, {})


def _photo(folder: Path, path: Path, row: dict[str, str]) -> Photo | Reject:
    match = _NAME.fullmatch(path.name)
    if not match:
        return Reject(path.relative_to(folder).as_posix(), "file name is not person_pictureSEXage.JPG")
    person, picture, sex, age = match.groups()
    try:
        return Photo(
            image=path,
            photo_id=path.stem,
            subject_id=person,
            age=parse_age(row.get("age", age)),
            sex=parse_sex(row.get("gender", sex)),
            race=row.get("race"),
            extra={"picture": int(picture)},
        )
    except ValueError as reason:
        return Reject(path.stem, str(reason))


MORPH = Source(
    name="morph",
    title="MORPH, Album 2",
    homepage="https://uncw.edu/oic/tech/morph.html",
    licence="by agreement with the University of North Carolina Wilmington, non-commercial",
    hub_licence="other",
    terms="Weights trained on it are bound by that agreement, non-commercial research as a rule.",
    citation="""@inproceedings{ricanek2006morph,
  title     = {{MORPH}: A Longitudinal Image Database of Normal Adult Age-Progression},
  author    = {Ricanek, Karl and Tesafaye, Tamirat},
  booktitle = {IEEE International Conference on Automatic Face and Gesture Recognition (FG)},
  year      = {2006}
}""",
    release="The non-commercial release of 2008: morph_2008_nonCommercial.csv beside the folder Album2, or files named "
    "person_pictureSEXage.JPG alone; 55,134 photos of people under arrest.",
    read=read,
    columns={"picture": Column(Value("int32"), "number of the picture among those of the person")},
)
