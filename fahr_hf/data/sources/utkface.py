"""UTKFace: the label is the file's name, `[age]_[sex]_[race]_[date].jpg`, or `.jpg.chip.jpg` for aligned crops.

Written from the description on the data set's page and from scripts that others published for it; of the files
themselves the author had a part of the aligned crops. Three names of the release lack a field, one ends without a
dot and one has a blank; the first are left out, the others read. A photo's identifier is its name up to the date,
which the photo in the wild shares with its aligned crop, so that both fall into the same part.

A second layout is read as well: the Parquet files with binding splits (`utkface-*.parquet`) from which this
package's own weights were trained.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from fahr_hf.data.schema import Photo
from fahr_hf.data.sources.source import Reject, Source, parquet_rows, parse_age, parse_sex, walk

RACES = ("White", "Black", "Asian", "Indian", "Others")

_NAME = re.compile(r"((\d+)_([01])_([0-4])_\d{17}) ?(?:\.?jpe?g|\.pg)(?:\.chip\.jpg)?", re.IGNORECASE)
_COLUMNS = ("id", "image", "age", "sex", "race", "split")


def read(folder: Path) -> Iterator[Photo | Reject]:
    """The photos of either layout."""
    tables = sorted(folder.glob("utkface-*.parquet"))
    yield from _read_tables(tables) if tables else _read_files(folder)


def _read_files(folder: Path) -> Iterator[Photo | Reject]:
    for path in walk(folder):
        match = _NAME.fullmatch(path.name)
        if match:
            photo_id, age, sex, race = match.groups()
            yield Photo(path, photo_id, age=float(age), sex=("male", "female")[int(sex)], race=RACES[int(race)])
        else:
            yield Reject(path.relative_to(folder).as_posix(), "file name is not age_sex_race_date")


def _read_tables(tables: list[Path]) -> Iterator[Photo]:
    for row in parquet_rows(tables, _COLUMNS):
        yield Photo(
            image=row["image"]["bytes"],
            photo_id=row["id"],
            age=parse_age(row["age"]),
            sex=parse_sex(row["sex"]),
            race=row["race"],
            split=row["split"],
        )


UTKFACE = Source(
    name="utkface",
    title="UTKFace",
    homepage="https://susanqq.github.io/UTKFace/",
    licence="non-commercial research only; the photos belong to their owners",
    hub_licence="other",
    terms="Weights trained on it are for non-commercial research too; CC BY-NC 4.0 fits them.",
    citation="""@inproceedings{zhang2017age,
  title     = {Age Progression/Regression by Conditional Adversarial Autoencoder},
  author    = {Zhang, Zhifei and Song, Yang and Qi, Hairong},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2017}
}""",
    release="The photos in the wild or the aligned and cropped faces, labels in the file names; "
    "or Parquet files with the columns id, image, age, sex, race and split. "
    "Ages were estimated by a model and checked by people. There are no identities.",
    read=read,
    weights_licence="cc-by-nc-4.0",
)
