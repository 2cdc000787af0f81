"""Portraits of members of the Congress of the United States who were born in 1880 or later.

Read from one Parquet file, or from what anybody can download (`voteview.py`). The splits are by person and binding in
both, by the same rule on another hash. No photo has a date, so no photo has an age.
"""

from collections.abc import Iterator
from pathlib import Path

from datasets import Value

from fahr_hf.data.schema import Photo
from fahr_hf.data.sources.source import Column, Reject, Source, find, parquet_rows, parse_sex
from fahr_hf.data.sources.voteview import TABLE, read_voteview

_EXTRA = {
    "birth_year": Column(Value("int32"), "year of birth"),
    "first_term_start": Column(
        Value("string"), "day the first term began, year-month-day; from voteview's table, the first Congress did"
    ),
    "last_congress_start": Column(Value("string"), "day the last Congress of the person began, year-month-day"),
    "chamber": Column(Value("string"), "`House` or `Senate`; in the Parquet file also `President`"),
    "death_year": Column(Value("int32"), "year of death, null while alive on 2024-12-31"),
    "died": Column(Value("bool"), "whether the person died by 2024-12-31"),
}
_COLUMNS = ("subject_id", "image", "sex", "source", "split", *_EXTRA)


def read(folder: Path) -> Iterator[Photo | Reject]:
    """The photos."""
    place = find(folder, ["congress.parquet", TABLE], "members of Congress")
    return read_voteview(folder) if place.name == TABLE else _read_parquet(place)


def _read_parquet(file: Path) -> Iterator[Photo]:
    for row in parquet_rows([file], _COLUMNS):
        death_year = row["death_year"]
        extra = {name: row[name] for name in _EXTRA}
        yield Photo(
            image=row["image"]["bytes"],
            photo_id=row["image"]["path"],
            subject_id=row["subject_id"],
            sex=parse_sex(row["sex"]),
            split=row["split"],
            extra=extra
            | {"death_year": None if death_year is None else int(death_year), "portrait_source": row["source"]},
        )


CONGRESS = Source(
    name="congress",
    title="Portraits of members of the Congress of the United States",
    homepage="https://github.com/voteview/member_photos",
    licence="portraits of the government and others, mostly in the public domain",
    hub_licence="other",
    terms="Weights trained on the portraits whose `portrait_source` is `bio_guide` are free of others' rights as far "
    "as is known; for the rest that has not been checked.",
    citation="""@misc{member_photos,
  title = {Photos of members of Congress},
  author = {{Voteview}},
  howpublished = {https://github.com/voteview/member_photos}
}""",
    release="The Parquet file congress.parquet with the columns subject_id, image, sex, source, split, birth_year, "
    "first_term_start, last_congress_start, chamber, death_year and died; or voteview's table HSall_members.csv with "
    "the folder images of the repository voteview/member_photos (or the repository as the folder member_photos) "
    "beside it, and for the sex legislators-historical.csv and legislators-current.csv of the project "
    "unitedstates/congress-legislators. The two have different identifiers and so different splits: a checkpoint "
    "trained on the one has seen test people of the other. Follow-up ends on 2024-12-31; whose death the table does "
    "not tell counts as alive. "
    "The starts of the first term and of the last Congress are no sound time zero for survival; two years after the "
    "latter, where the person left office alive, is.",
    read=read,
    columns=_EXTRA
    | {
        "portrait_source": Column(
            Value("string"), "where the portrait is from: `bio_guide` (the government), `wiki` or `manual`"
        )
    },
)
