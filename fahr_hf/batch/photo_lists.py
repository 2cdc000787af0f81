"""Which photos a run is about: every one once, in order, however many there are.

A folder may hold more photos than memory holds names. So their names are put in order by SQLite, which sorts in
temporary files.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from fahr_hf.models.pipeline_fahr_face import PHOTO_SUFFIXES


def find_photos(photos: Iterable[str]) -> Iterator[str]:
    """The photos that are meant, each of them once, with few in memory.

    Args:
        photos: Image files, URLs, folders, which are searched at any depth, and lists: files that end in .txt, with a
            path or URL a line.

    Returns:
        An iterator over paths and URLs: in the order given, and of a folder in that of `photo_files`.

    Raises:
        OSError: a list or a folder, at any depth, that cannot be read.
    """
    # The database lies in a temporary file, which is gone when it is closed.
    with closing(sqlite3.connect("")) as database:
        database.execute("CREATE TABLE photos (place BLOB, name BLOB)")
        database.executemany("INSERT INTO photos VALUES (?, ?)", _found(photos))
        for (name,) in database.execute("SELECT name FROM photos GROUP BY name ORDER BY min(place)"):
            yield os.fsdecode(name)


def is_url(photo: str) -> bool:
    """Whether a photo is to be downloaded."""
    return photo.startswith(("http://", "https://"))


def is_list(photo: str) -> bool:
    """Whether what is given for a photo is a file with one a line."""
    return photo.endswith(".txt")


def _found(photos: Iterable[str]) -> Iterator[tuple[bytes, bytes]]:
    """Photos in any order; each with a place such that the smaller bytes come first."""
    for number, photo in enumerate(photos):
        place = b"%012d" % number
        if is_url(photo):
            yield place, os.fsencode(photo)
        elif Path(photo).is_dir():
            yield from _in_folder(str(Path(photo)), place)
        elif is_list(photo):
            yield from _in_list(photo, place)
        else:
            yield place, os.fsencode(photo)


def _in_folder(folder: str, place: bytes) -> Iterator[tuple[bytes, bytes]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = os.fsencode(entry.name)
            if not entry.is_dir():
                if Path(entry.name).suffix.lower() in PHOTO_SUFFIXES:
                    # Photos come before the folders beside them.
                    yield place + b"\0" + name, os.fsencode(Path(entry.path))
            elif not entry.is_symlink():
                yield from _in_folder(entry.path, place + b"\1" + name + b"\0")


def _in_list(path: str, place: bytes) -> Iterator[tuple[bytes, bytes]]:
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines):
            if name := line.strip():
                yield place + b"%012d" % number, name
