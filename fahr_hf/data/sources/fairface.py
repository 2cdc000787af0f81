"""FairFace: crops labelled with a range of ages, for sex, race and age in balance.

Written from the authors' repository and from scripts that others published for it; not run on the real release. An
age is a range of completed years, such as 20-29, and `more than 70` for 70 and above; so `age` is null, and
`age_low` and `age_high` hold the ends. The authors keep their test photos to themselves, and what people report is
on their validation photos: these are `test` here.

Of the two releases of crops the one with wide margins is taken where both are there. Its crops are 448 pixels wide
and high and dlib made them 3.5 times as large as the face it found, which gives the box of that face; with so wide a
margin others may stand beside it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from datasets import Value

from fahr_hf.data.schema import Photo
from fahr_hf.data.sources.source import Column, Reject, Source, csv_rows, find, parse_sex

_SPLITS = {"train": "train", "val": "test"}
_COLUMNS = ("file", "age", "gender", "race", "service_test")
_WIDE = "fairface-img-margin125-trainval"
_BOX = (160.0, 160.0, 288.0, 288.0)
_RANGE = re.compile(r"(\d+)-(\d+)")


def read(folder: Path) -> Iterator[Photo | Reject]:
    """The photos of both csv files."""
    places = [f"{_WIDE}/train", "fairface-img-margin025-trainval/train", "train"]
    photos = find(folder, places, "photos of FairFace").parent
    box = _BOX if photos.name == _WIDE else None
    for word, split in _SPLITS.items():
        name = f"fairface_label_{word}.csv"
        for row in csv_rows(find(folder, [name], "labels of FairFace"), _COLUMNS):
            try:
                low, high = _ages(row["age"])
                yield Photo(
                    image=photos / row["file"],
                    photo_id=row["file"],
                    sex=parse_sex(row["gender"]),
                    race=row["race"],
                    split=split,
                    box=box,
                    extra={"age_low": low, "age_high": high, "service_test": row["service_test"] == "True"},
                )
            except ValueError as reason:
                yield Reject(row["file"], str(reason))


def _ages(text: str) -> tuple[float, float | None]:
    match = _RANGE.fullmatch(text)
    if match:
        return float(match[1]), float(match[2])
    if text in ("more than 70", "70+"):
        return 70.0, None
    raise ValueError(f"age is no range: {text!r}")


FAIRFACE = Source(
    name="fairface",
    title="FairFace",
    homepage="https://github.com/joojs/fairface",
    licence="CC BY 4.0",
    hub_licence="cc-by-4.0",
    terms="The licence permits weights for any use, with attribution.",
    citation="""@inproceedings{karkkainen2021fairface,
  title     = {{FairFace}: Face Attribute Dataset for Balanced Race, Gender, and Age for Bias Measurement and
               Mitigation},
  author    = {K{\\"a}rkk{\\"a}inen, Kimmo and Joo, Jungseock},
  booktitle = {IEEE Winter Conference on Applications of Computer Vision (WACV)},
  year      = {2021}
}""",
    release="fairface_label_train.csv and fairface_label_val.csv beside fairface-img-margin125-trainval (or the folder "
    "of margin 025). The authors' validation split is `test`. There are no identities.",
    read=read,
    columns={
        "age_low": Column(Value("float32"), "least age of the labelled range, completed years"),
        "age_high": Column(Value("float32"), "greatest age of the range, completed years; null where it is open"),
        "service_test": Column(Value("bool"), "whether the authors tested commercial services on it"),
    },
    weights_licence="cc-by-4.0",
)
