"""The one schema of photos: what every builder writes, and what cutting, training and evaluation read.

A data set is a folder of Parquet files, one row a labelled face, that `datasets.load_dataset(folder)` opens. Columns
of a data set beyond these, such as an apparent age, follow behind them under names of their own.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Features, Image, List, Value

SEXES = ("female", "male")

COLUMNS = Features(
    {
        # The photo as it was found, encoded; its path is the file's name.
        "image": Image(),
        # Unique within a data set.
        "photo_id": Value("string"),
        # Null where no identities exist.
        "subject_id": Value("string"),
        # Years.
        "age": Value("float32"),
        # One of SEXES, as the data set labels it.
        "sex": Value("string"),
        # The data set's own word.
        "race": Value("string"),
        # Name of the data set.
        "source": Value("string"),
        # What the photo may be used for, see `splits`.
        "part": Value("string"),
        # Of the labelled face, x0, y0, x1, y1 in pixels of the photo as EXIF turns it; null where it is the only face.
        "box": List(Value("float32"), length=4),
    }
)
"""Every column may be null but `image`, `photo_id`, `source` and `part`."""


@dataclass(frozen=True)
class Photo:
    """One labelled face, as a reader of a published data set gives it.

    Args:
        image: The file, or its encoded bytes.
        photo_id: Unique within the data set, and the same on every machine: the path within it, as a rule, with `#`
            and the box behind it where several faces of the photo are labelled.
        subject_id: Identifier of the person; None where no identities exist.
        age: Years.
        sex: `"female"` or `"male"`.
        race: The data set's own word.
        split: The split that the data set's authors put it in: `"train"`, `"validation"`, `"test"` or `"test_..."`;
            None where they made none.
        box: Of the labelled face: x0, y0, x1, y1 in pixels; None where the photo shows no other.
        extra: Values of the data set's own columns.
    """

    image: Path | bytes
    photo_id: str
    subject_id: str | None = None
    age: float | None = None
    sex: str | None = None
    race: str | None = None
    split: str | None = None
    box: tuple[float, float, float, float] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What decides the part: the person, or the photo where no identities exist."""
        return self.photo_id.partition("#")[0] if self.subject_id is None else self.subject_id
