"""LAGENDA: photos of Open Images in which people voted on the age and sex of those shown.

Written from the repository of MiVOLO, whose authors published it, and from scripts of others that list its columns
and name a file; not run on the real release. A row is a person; `-1` stands for what is not known. Rows without age
and sex are people whom nobody labelled, rows without a face box show no face; both are left out. Boxes are
pixels of the photo as OpenCV opens it, that is, turned by EXIF. The set is published as a benchmark: all is `test`.
"""

from collections.abc import Iterator
from pathlib import Path

from fahr_hf.data.schema import Photo
from fahr_hf.data.sources.source import Reject, Source, csv_rows, find, parse_age, parse_box, parse_sex

_BOX = ("face_x0", "face_y0", "face_x1", "face_y1")
_UNKNOWN = "-1"


def read(folder: Path) -> Iterator[Photo | Reject]:
    """The labelled faces."""
    name = "lagenda_annotation.csv"
    labels = find(folder, [name, f"annotations/{name}"], "labels of LAGENDA")
    for row in csv_rows(labels, ["img_name", "age", "gender", *_BOX]):
        box = [row[side] for side in _BOX]
        face = f"{row['img_name']}#{','.join(box)}"
        known = {name: text for name, text in row.items() if text != _UNKNOWN}
        if "age" not in known and "gender" not in known:
            yield Reject(face, "not labelled")
        elif _UNKNOWN in box:
            yield Reject(face, "no box of the face")
        else:
            yield _photo(folder / row["img_name"], face, known)


def _photo(path: Path, face: str, row: dict[str, str]) -> Photo | Reject:
    try:
        return Photo(
            image=path,
            photo_id=face,
            age=parse_age(row.get("age")),
            sex=parse_sex(row.get("gender")),
            split="test",
            box=parse_box(row, _BOX),
        )
    except ValueError as reason:
        return Reject(face, str(reason))


LAGENDA = Source(
    name="lagenda",
    title="LAGENDA",
    homepage="https://wildchlamydia.github.io/lagenda/",
    licence="photos of Open Images, CC BY 2.0 as listed there; the licence of the labels was not confirmed",
    hub_licence="other",
    terms="What the labels' licence permits for weights was not confirmed: see the homepage.",
    citation="""@article{kuprashevich2023mivolo,
  title   = {{MiVOLO}: Multi-input Transformer for Age and Gender Estimation},
  author  = {Kuprashevich, Maksim and Tolstykh, Irina},
  journal = {arXiv preprint arXiv:2307.04616},
  year    = {2023}
}""",
    release="The benchmark: the folder lag_benchmark of photos and lagenda_annotation.csv beside it, 67,159 photos "
    "with 84,192 labelled people. Ages are what people voted. There are no identities.",
    read=read,
)
