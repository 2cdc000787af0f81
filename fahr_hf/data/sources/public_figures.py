"""Portraits of public figures who have died: Parquet files with a year of birth, of the photo, and of death.

Read from the files themselves. The splits are by person and binding.
"""

from collections.abc import Iterator
from pathlib import Path

from datasets import Value

from fahr_hf.data.schema import Photo
from fahr_hf.data.sources.source import Column, Source, parquet_rows, parse_age, parse_sex

_EXTRA = {
    "birth_year": Column(Value("int32"), "year of birth"),
    "photo_year": Column(Value("int32"), "year of the photo"),
    "death_year": Column(Value("int32"), "year of death"),
    "died": Column(Value("bool"), "whether the person has died: true for everybody here"),
}
_COLUMNS = ("subject_id", "image", "age", "sex", "split", *_EXTRA)


def read(folder: Path) -> Iterator[Photo]:
    """The photos."""
    for row in parquet_rows(sorted(folder.glob("public_figures-*.parquet")), _COLUMNS):
        yield Photo(
            image=row["image"]["bytes"],
            photo_id=row["image"]["path"],
            subject_id=row["subject_id"],
            age=parse_age(row["age"]),
            sex=parse_sex(row["sex"]),
            split=row["split"],
            extra={name: row[name] for name in _EXTRA},
        )


PUBLIC_FIGURES = Source(
    name="public_figures",
    title="Portraits of public figures who have died",
    homepage="https://www.wikipedia.org/",
    licence="mixed and unattributed rights; research only, never to be passed on",
    hub_licence="other",
    terms="Weights trained on it are for research only.",
    citation="""@misc{public_figures,
  title = {Portraits of public figures who have died, from Wikipedia}
}""",
    release="Parquet files public_figures-*.parquet with the columns subject_id, image, age, sex, birth_year, "
    "photo_year, death_year, died and split. Sex is a classifier's answer. Everybody has died, most between 2011 and "
    "2023, so that the year of the photo largely bounds the time to death.",
    read=read,
    columns=_EXTRA,
)
