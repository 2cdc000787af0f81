"""AgeDB: the label is the file's name, `[number]_[person]_[age]_[m or f].jpg`.

Written from the names that the benchmark of Paplham and Franc lists; not run on the real release. Some names have a
blank behind the person, as in `16079_WillSmith _45_m.jpg`; it is not part of who that is. No splits.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from fahr_hf.data.schema import Photo
from fahr_hf.data.sources.source import Reject, Source, parse_sex, walk

_NAME = re.compile(r"\d+_(.+)_(\d+)_([mf])\.jpg", re.IGNORECASE)


def read(folder: Path) -> Iterator[Photo | Reject]:
    """The photos."""
    for path in walk(folder):
        match = _NAME.fullmatch(path.name)
        if match:
            person, age, sex = match.groups()
            yield Photo(path, path.name, subject_id=person.strip(), age=float(age), sex=parse_sex(sex))
        else:
            yield Reject(path.relative_to(folder).as_posix(), "file name is not number_person_age_sex.jpg")


AGEDB = Source(
    name="agedb",
    title="AgeDB",
    homepage="https://ibug.doc.ic.ac.uk/resources/agedb/",
    licence="non-commercial research only, as far as is known; its authors give it out on request",
    hub_licence="other",
    terms="Weights trained on it are for non-commercial research too.",
    citation="""@inproceedings{moschoglou2017agedb,
  title     = {{AgeDB}: the First Manually Collected, In-the-Wild Age Database},
  author    = {Moschoglou, Stylianos and Papaioannou, Athanasios and Sagonas, Christos and Deng, Jiankang and
               Kotsia, Irene and Zafeiriou, Stefanos},
  booktitle = {CVPR Workshops},
  year      = {2017}
}""",
    release="The release of 2017: 16,488 files named number_person_age_sex.jpg.",
    read=read,
)
