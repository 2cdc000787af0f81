"""APPA-REAL: photos with the real age, and with the age that some 38 people guessed.

Written from the release's description and from scripts that others published for it; not run on the real release.
`age` is the real one; what people guessed has columns of its own. Read are the photos themselves and not the
`_face.jpg` beside them: those were found, turned and cut by another detector, and here every face goes one way.
"""

from collections.abc import Iterator
from pathlib import Path

from datasets import Value

from fahr_hf.data.schema import Photo
from fahr_hf.data.sources.source import Column, Reject, Source, csv_rows, find, parse_age, parse_number

_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
_COLUMNS = ("file_name", "num_ratings", "apparent_age_avg", "apparent_age_std", "real_age")


def read(folder: Path) -> Iterator[Photo | Reject]:
    """The photos of all three csv files."""
    for word, split in _SPLITS.items():
        for row in csv_rows(find(folder, [f"gt_avg_{word}.csv"], "labels of APPA-REAL"), _COLUMNS):
            name = f"{word}/{row['file_name']}"
            try:
                yield Photo(
                    image=folder / name,
                    photo_id=name,
                    age=parse_age(row["real_age"]),
                    split=split,
                    extra={
                        "apparent_age": parse_number(row["apparent_age_avg"], "apparent_age_avg"),
                        "apparent_age_sd": parse_number(row["apparent_age_std"], "apparent_age_std"),
                        "ratings": int(parse_number(row["num_ratings"], "num_ratings")),
                    },
                )
            except ValueError as reason:
                yield Reject(name, str(reason))


APPA_REAL = Source(
    name="appa_real",
    title="APPA-REAL",
    homepage="https://chalearnlap.cvc.uab.cat/dataset/26/description/",
    licence="research only, as far as is known (terms of ChaLearn Looking at People)",
    hub_licence="other",
    terms="Weights trained on it are for research only.",
    citation="""@inproceedings{agustsson2017apparent,
  title     = {Apparent and Real Age Estimation in Still Images with Deep Residual Regressors on {APPA-REAL} Database},
  author    = {Agustsson, Eirikur and Timofte, Radu and Escalera, Sergio and Bar{\\'o}, Xavier and Guyon, Isabelle and
               Rothe, Rasmus},
  booktitle = {IEEE International Conference on Automatic Face and Gesture Recognition (FG)},
  year      = {2017}
}""",
    release="The release appa-real-release: gt_avg_train.csv, gt_avg_valid.csv and gt_avg_test.csv beside the folders "
    "train, valid and test; 7,591 photos. There are no identities. FAHR-FaceAge was trained on none of these and "
    "tested on 6,783 of them.",
    read=read,
    columns={
        "apparent_age": Column(Value("float32"), "mean of the ages that people guessed, years"),
        "apparent_age_sd": Column(Value("float32"), "their standard deviation, years"),
        "ratings": Column(Value("int32"), "number of guesses"),
    },
)
