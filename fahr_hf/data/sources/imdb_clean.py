"""IMDB-clean, the cleaned half of IMDB-WIKI: csv files of labels and crops of at most 1024 pixels.

Written from the repository of its authors and from scripts that others published for it; not run on the real
release. A name such as `00/nm0000100_rm46373120_1955-1-6_2003.jpg` begins with the person's identifier.

The authors' validation photos show people of whom others are for training: their test split alone is of other
people (so found by the scripts of Paplham and Franc's benchmark). Training and validation are therefore read as one
split `train`, from which a validation part is cut by person; `authors_split` keeps what the authors said.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from datasets import Value

from fahr_hf.data.schema import Photo
from fahr_hf.data.sources.source import Column, Reject, Source, csv_rows, find, parse_age, parse_box, parse_sex

_SPLITS = {"train": "train", "valid": "train", "test": "test"}
_BOX = ("x_min", "y_min", "x_max", "y_max")
# As the authors' script leaves them, and as copies of the set are packed.
_PLACES = ("data/imdb-clean-1024/", "imdb-clean-1024/imdb-clean-1024/", "imdb-clean-1024/", "")
_PERSON = re.compile(r"(nm\d+)_")


def read(folder: Path) -> Iterator[Photo | Reject]:
    """The photos of all three csv files."""
    photos = find(folder, [f"{place}00" for place in _PLACES], "photos of IMDB-clean").parent
    for word, split in _SPLITS.items():
        name = f"imdb_{word}_new_1024.csv"
        labels = find(folder, [f"{place}{name}" for place in ("csvs/", *_PLACES)], "labels of IMDB-clean")
        for row in csv_rows(labels, ["filename", "age", "gender", *_BOX]):
            yield _photo(photos, row, split, word)


def _photo(photos: Path, row: dict[str, str], split: str, word: str) -> Photo | Reject:
    person = _PERSON.match(Path(row["filename"]).name)
    if not person:
        return Reject(row["filename"], "file name names no person")
    try:
        return Photo(
            image=photos / row["filename"],
            photo_id=row["filename"],
            subject_id=person[1],
            age=parse_age(row["age"]),
            sex=parse_sex(row["gender"]),
            split=split,
            box=parse_box(row, _BOX),
            extra={"authors_split": word},
        )
    except ValueError as reason:
        return Reject(row["filename"], str(reason))


IMDB_CLEAN = Source(
    name="imdb_clean",
    title="IMDB-clean",
    homepage="https://github.com/yiminglin-ai/imdb-clean",
    licence="labels MIT; the photos, of IMDB-WIKI, academic research only, and they belong to their owners",
    hub_licence="other",
    terms="Weights trained on it are for academic research only.",
    citation="""@article{lin2022fpage,
  title   = {{FP-Age}: Leveraging Face Parsing Attention for Facial Age Estimation in the Wild},
  author  = {Lin, Yiming and Shen, Jie and Wang, Yujiang and Pantic, Maja},
  journal = {IEEE Transactions on Image Processing},
  year    = {2022}
}
@article{rothe2018deep,
  title   = {Deep Expectation of Real and Apparent Age from a Single Image Without Facial Landmarks},
  author  = {Rothe, Rasmus and Timofte, Radu and Van Gool, Luc},
  journal = {International Journal of Computer Vision},
  year    = {2018}
}""",
    release="The release of crops of at most 1024 pixels: a folder imdb-clean-1024 of photos and the files "
    "imdb_train_new_1024.csv, imdb_valid_new_1024.csv and imdb_test_new_1024.csv. The authors' validation split shows "
    "people of their training split; both together are `train` here.",
    read=read,
    columns={"authors_split": Column(Value("string"), "the authors' split: `train`, `valid` or `test`")},
)
