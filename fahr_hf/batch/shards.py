"""Predictions of very many photos: a folder of Parquet files that grows file by file and survives being killed.

The photos are listed once, in order, and every so many of them are a shard. A shard is a file that appears under its
name only when it is whole; what is missing is what remains to be done. So a killed run loses the shards that were under
way, one a process, and the next run does no other photo again. Readers of Parquet take the folder for one table: what
else lies in it has a name that begins with a dot, which they pass over.
"""

import filecmp
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from filelock import Timeout
from huggingface_hub.utils import WeakFileLock

from fahr_hf.batch.photo_counts import PhotoCounts
from fahr_hf.batch.photo_lists import find_photos
from fahr_hf.batch.tables import COLUMNS, rows
from fahr_hf.table_files import import_pyarrow, write_table

SHARD_PHOTOS = 10_000
"""Photos of a shard, unless somebody wants another number: minutes of work, and a thousand files for ten million."""

_LISTING = ".photos.jsonl"
_RUN = ".run.json"
_LOCK = ".lock"


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """While the block runs, no other run can write into the folder, which is made if it does not exist.

    Raises:
        BlockingIOError: another run does so now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with WeakFileLock(folder / _LOCK, timeout=1):
            yield
    except Timeout as error:
        raise BlockingIOError(f"Another run is writing into {str(folder)!r}. Wait for it, or end it.") from error


def begin(folder: Path, photos: Sequence[str], model: str, shard_photos: int = SHARD_PHOTOS) -> None:
    """List the photos in a new folder; or make sure that the photos of one that was begun are still the same.

    Args:
        folder: Exists.
        photos: As for `find_photos`.
        model: What makes the rows.
        shard_photos: Photos a shard.

    Raises:
        ValueError: no photos; or the folder holds something else, or was begun with other photos or settings.
        ImportError: there is no pyarrow.
    """
    import_pyarrow()
    is_begun = (folder / _RUN).exists()
    if is_begun:
        _check_settings(folder, model, shard_photos)
    else:
        _check_empty(folder)
    listing, found = folder / _LISTING, folder / f"{_LISTING}.tmp"
    try:
        count = _list_photos(photos, found)
        if not count:
            raise ValueError(f"There are no photos in {', '.join(photos)}: no file there has the suffix of an image.")
        if is_begun:
            if not filecmp.cmp(listing, found, shallow=False):
                raise ValueError(_difference(folder, listing, found))
            return
        found.replace(listing)
    finally:
        found.unlink(missing_ok=True)
    run = folder / f"{_RUN}.tmp"
    run.write_text(json.dumps({"model": model, "shard_photos": shard_photos, "photos": count}))
    # Last: from here on the folder is begun.
    run.replace(folder / _RUN)


class Shards:
    """A folder that was begun.

    Attributes:
        photos: Number of all photos.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        run = json.loads((folder / _RUN).read_text())
        self.photos: int = run["photos"]
        self._model, self._size = run["model"], run["shard_photos"]

    def __len__(self) -> int:
        return -(-self.photos // self._size)

    def path(self, number: int) -> Path:
        """Where a shard is, or will be; their names sort as their photos do."""
        return self.folder / f"part-{number:05}.parquet"

    def size(self, number: int) -> int:
        """Number of photos of a shard."""
        return min(self._size, self.photos - number * self._size)

    def missing(self) -> list[int]:
        """The shards that are not there."""
        return [number for number in range(len(self)) if not self.path(number).exists()]

    def names(self, numbers: Sequence[int]) -> Iterator[tuple[int, list[str]]]:
        """The photos of some shards, one shard at a time."""
        wanted = set(numbers)
        with (self.folder / _LISTING).open(encoding="ascii") as listing:
            for number in range(len(self)):
                lines = list(islice(listing, self._size))
                if number in wanted:
                    yield number, list(map(json.loads, lines))

    def write(self, number: int, records: Iterable[dict[str, Any]]) -> None:
        """Write a shard from what a pipeline's `records` yields."""
        table = (row for record in records for row in rows(record, self._model))
        write_table(self.path(number), table, COLUMNS)

    def count(self) -> tuple[PhotoCounts, Path | None]:
        """What became of the photos of all shards that are there, and the first shard with an unreadable one."""
        total, first = PhotoCounts(), None
        for number in sorted({*range(len(self))} - {*self.missing()}):
            counts = _count(self.path(number))
            total += counts
            if counts.unreadable and first is None:
                first = self.path(number)
        return total, first


def _check_empty(folder: Path) -> None:
    strangers = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
    if strangers:
        raise ValueError(f"{str(folder)!r} holds {strangers[0]!r} and no predictions. Give a new folder.")


def _check_settings(folder: Path, model: str, shard_photos: int) -> None:
    begun = json.loads((folder / _RUN).read_text())
    if begun["model"] != model:
        raise ValueError(
            f"{str(folder)!r} was begun with {begun['model']!r} and cannot be continued with {model!r}. Give a new "
            "folder."
        )
    if begun["shard_photos"] != shard_photos:
        raise ValueError(
            f"{str(folder)!r} was begun with --shard-photos {begun['shard_photos']}, not {shard_photos}. Give the same "
            "again, or a new folder."
        )


def _list_photos(photos: Sequence[str], listing: Path) -> int:
    """Write the names down, and say how many there are."""
    count = 0
    with listing.open("w", encoding="ascii") as file:
        for name in find_photos(photos):
            # As JSON, because a name may be any bytes, those of a line's end included.
            file.write(json.dumps(name) + "\n")
            count += 1
    return count


def _difference(folder: Path, listed: Path, found: Path) -> str:
    """A sentence on where two listings part."""
    with listed.open() as before, found.open() as now:
        number, old, new = next(
            (number, *pair) for number, pair in enumerate(zip_longest(before, now), 1) if len({*pair}) > 1
        )
    names = ["none" if line is None else repr(json.loads(line)) for line in (new, old)]
    return (
        f"The photos are not those that {str(folder)!r} was begun with: photo {number} is now {names[0]}, and was "
        f"{names[1]}. Give a new folder; or bring back the photos as they were, to go on with this one."
    )


def _count(shard: Path) -> PhotoCounts:
    pyarrow = import_pyarrow()
    table = pyarrow.parquet.read_table(shard, columns=["face", "status"])
    numbers, statuses = table["face"].to_pylist(), table["status"].to_pylist()
    return PhotoCounts(
        photos=sum(number in (None, 1) for number in numbers),
        faces=sum(number is not None for number in numbers),
        no_face=statuses.count("no_face"),
        unreadable=statuses.count("unreadable"),
    )
