"""The published folds of Paplham and Franc, "A Call to Reflect on Evaluation Practices for Age Estimation", CVPR 2024.

For every data set they publish a database, a JSON list with an entry a photo: `img_path`, `folder` (a number), and
labels. Benchmarks then say which folders are for what. They all say the same: a database with the folders 0 to 2
has one fold, its authors' (0 train, 1 validation, 2 test); one with the folders 0 to 9 has five. See
https://github.com/paplhjak/Facial-Age-Estimation-Benchmark-Databases.
"""

import json
from dataclasses import replace
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from fahr_hf.data.schema import Photo
from fahr_hf.data.sources.source import Reject

# The first of ten folders that train, for each fold. Six train, the next two validate, the last two test.
_FIRST = (0, 2, 4, 5, 6)


class Folds:
    """One fold of a database.

    Args:
        database: The JSON file.
        fold: Which: 0 to 4, or 0 where the database has one.

    Raises:
        ValueError: another kind of file, folders that are not 0 to 2 or 0 to 9, or no such fold.
    """

    def __init__(self, database: str | Path, fold: int) -> None:
        self.name = Path(database).name
        self.fold = fold
        entries = _read(Path(database))
        self._split_of = _splits({entry["folder"] for entry in entries}, fold, self.name)
        self._by_file: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        for entry in entries:
            path = PurePosixPath(entry["img_path"])
            self._by_file.setdefault(path.name, []).append((path.parts[::-1], entry["folder"]))

    def assign(self, photo: Photo) -> Photo | Reject:
        """The photo with the split that the fold gives it.

        A photo is found by the end of its path: its file's name, and as much above it as is needed to tell it from
        others.
        """
        path = photo.image if isinstance(photo.image, Path) else PurePosixPath(photo.photo_id)
        parts = path.parts[::-1]
        entries = [(_common(parts, other), folder) for other, folder in self._by_file.get(path.name, ())]
        longest = max((length for length, _ in entries), default=0)
        folders = {folder for length, folder in entries if length == longest}
        if not folders:
            return Reject(photo.photo_id, "not in the folds")
        if len(folders) > 1:
            return Reject(photo.photo_id, f"in several folders of the folds: {sorted(folders)}")
        return replace(photo, split=self._split_of[folders.pop()])


def _read(database: Path) -> list[dict[str, Any]]:
    expected = "expected a JSON list of entries with img_path and folder"
    try:
        entries = json.loads(database.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{database} is no database of folds: {expected}, got {error}.") from error
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, dict) or not {"img_path", "folder"} <= entry.keys():
            raise ValueError(f"{database} is no database of folds: {expected}, got {str(entry)[:80]}.")
    return entries


def _splits(folders: set[int], fold: int, name: str) -> dict[int, str]:
    if folders == set(range(3)):
        folds = [{0: "train", 1: "validation", 2: "test"}]
    elif folders == set(range(10)):
        roles = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
        folds = [{(first + i) % 10: role for i, role in enumerate(roles)} for first in _FIRST]
    else:
        raise ValueError(f"The folders of {name} are {sorted(folders)}; expected 0 to 2 or 0 to 9.")
    if not 0 <= fold < len(folds):
        raise ValueError(f"{name} has {len(folds)} folds, counted from 0; got {fold}.")
    return folds[fold]


def _common(parts: tuple[str, ...], others: tuple[str, ...]) -> int:
    """How many names two paths, each from its end, have in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(parts, others, strict=False)))
