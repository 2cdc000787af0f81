"""Shards of encoded crops, read block by block: Parquet files of a crop cache, or WebDataset tars of aligned crops.

A block is the least that is read at once: a row group of a Parquet file, or a run of photos in a tar. Each is reached
without reading what lies before it, so a stream can take blocks in any order and begin anywhere. Of a set nothing
stays in memory but the names of its files, a few numbers a block, and one for each row that is left out.

The formats are those of `datasets`, which reads the same shards; they are opened here with pyarrow and tarfile because
it knows no blocks. It reads a shard from its beginning, picks one of many shards in a time that grows with their
number, leaves a lock file in the user's home for each call, and splits once more, among a loader's workers, what a
worker asks for. What both take to read is in `benchmarks/results/streams.md`.
"""

import contextlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fahr_hf.data.crops import DUPLICATES, RECIPE, write_whole
from fahr_hf.data.crops import shards as cache_shards

_PHOTOS = (".jpg", ".jpeg", ".webp", ".png")
# Photos of a tar in a block: at some kilobytes each about a megabyte, which disks and network file systems read well.
_TAR_BLOCK = 128
# What decides whether a row is used, and what a crop consists of.
_CHOOSING = ("part", "row")
_CROP = ("image", "corners", "source", "photo_id")


@dataclass(frozen=True, slots=True)
class EncodedCrop:
    """One crop as it is stored.

    Args:
        index: Position among all rows of all shards, used or not: the same as long as the shards are.
        name: `source/photo_id`, or the file with the row or the tar's member.
        data: The encoded image.
        corners: (4, 2) float32, the photo's corners in pixels of the crop; None where the shard has none.
    """

    index: int
    name: str
    data: bytes
    corners: np.ndarray | None


class Shards:
    """The blocks of a set of shards.

    A Parquet file should hold its rows in groups of some hundred, which is what mixes them. The photos of a tar are
    counted when it is first opened, and their number is remembered in a hidden file beside it, where that can be
    written.

    Args:
        sources: Crop caches, folders of tars, or single Parquet files and tars. Rows that a `duplicates.parquet` beside
            them lists are left out.
        part: Rows of this part; None for all. A shard without a column `part`, such as a tar, is used whole.

    Attributes:
        rows: (n,) int64, the rows of each block that are used, at least 1.

    Raises:
        FileNotFoundError: a source does not exist, holds no shards, or is a cache that is not complete.
        ValueError: a file or a cache of another kind.
        OSError: a file is damaged; the message names it.
    """

    def __init__(self, sources: Sequence[str | Path], part: str | None):
        self._paths = [str(path) for source in sources for path in _find(Path(source))]
        self._part = part
        self._left_out = {folder: _read_duplicates(folder) for folder in {Path(path).parent for path in self._paths}}
        blocks: list[tuple[int, int, int, int]] = []
        first = 0
        for shard, path in enumerate(self._paths):
            for place, stored, used in self._blocks(Path(path)):
                if used:
                    blocks.append((shard, place, first, used))
                first += stored
        self._shard, self._place, self._first, self.rows = np.array(blocks, np.int64).reshape(-1, 4).T.copy()

    def read(self, block: int) -> list[EncodedCrop]:
        """The used rows of a block, in the order of the file.

        Raises:
            OSError: the file is damaged, gone, or another than when it was counted; the message names it.
        """
        path = Path(self._paths[self._shard[block]])
        place, first = int(self._place[block]), int(self._first[block])
        try:
            crops = self._read_tar(path, place, first) if _is_tar(path) else self._read_parquet(path, place, first)
        except (OSError, pa.ArrowException, tarfile.TarError) as error:
            raise OSError(f"{path} can no longer be read: {error}") from error
        if len(crops) != self.rows[block]:
            raise OSError(f"{path} has changed: {len(crops)} crops where {self.rows[block]} were. Start again.")
        return crops

    def _blocks(self, path: Path) -> Iterator[tuple[int, int, int]]:
        """Where each block begins, and how many rows are stored and used in it."""
        try:
            if _is_tar(path):
                yield from ((offset, photos, photos) for offset, photos in _tar_blocks(path))
            else:
                with pq.ParquetFile(path) as file:
                    _check_columns(path, file.schema_arrow)
                    used = self._used(path, file.read(_present(file, _CHOOSING), use_threads=False))
                    stored = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
                for group, rows in enumerate(np.split(used, np.cumsum(stored[:-1]))):
                    yield group, len(rows), int(rows.sum())
        except (OSError, pa.ArrowException, tarfile.TarError) as error:
            raise OSError(f"{path} cannot be read: {error}. Leave it out, or make it again.") from error

    def _used(self, path: Path, table: pa.Table) -> np.ndarray:
        used = np.ones(len(table), bool)
        if self._part is not None and "part" in table.column_names:
            used &= pc.equal(table["part"], self._part).fill_null(False).to_numpy()
        left_out = self._left_out[path.parent]
        if len(left_out):
            rows = table["row"].to_numpy()
            used &= left_out[np.searchsorted(left_out, rows).clip(max=len(left_out) - 1)] != rows
        return used

    def _read_parquet(self, path: Path, group: int, first: int) -> list[EncodedCrop]:
        with pq.ParquetFile(path) as file:
            # Without threads: each worker of a loader has one core, and threads do not survive a fork.
            table = file.read_row_group(group, _present(file, _CHOOSING + _CROP), use_threads=False)
        used = np.flatnonzero(self._used(path, table))
        columns = table.take(pa.array(used)).to_pydict()
        nothing = [None] * len(used)
        return [
            EncodedCrop(
                index=first + int(row),
                name=f"{path.name}/{row}" if photo is None else f"{source}/{photo}",
                data=image["bytes"],
                corners=None if corners is None else np.array(corners, np.float32).reshape(4, 2),
            )
            for row, image, corners, source, photo in zip(
                used, *(columns.get(name, nothing) for name in _CROP), strict=True
            )
        ]

    def _read_tar(self, path: Path, offset: int, first: int) -> list[EncodedCrop]:
        with path.open("rb") as file:
            file.seek(offset)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                return [
                    EncodedCrop(first + number, f"{path.name}/{photo.name}", tar.extractfile(photo).read(), None)  # type: ignore[union-attr]
                    for number, photo in enumerate(islice(_photos(tar), _TAR_BLOCK))
                ]


def _find(source: Path) -> list[Path]:
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist.")
    if (source / RECIPE).is_file():
        return cache_shards(source)
    if source.is_dir():
        tars = sorted(source.glob("*.tar"))
        if not tars:
            raise FileNotFoundError(f"Neither crops nor *.tar in {source}. Cut crops with `fahr-hf data crops`.")
        return tars
    if source.suffix not in (".parquet", ".tar"):
        raise ValueError(f"Expected a folder, a .parquet or a .tar file, got {source}.")
    return [source]


def _is_tar(path: Path) -> bool:
    return path.suffix == ".tar"


def _check_columns(path: Path, schema: pa.Schema) -> None:
    if "image" not in schema.names or not pa.types.is_struct(schema.field("image").type):
        raise ValueError(
            f"{path} has no column `image` of encoded photos, as Hugging Face stores them; there are "
            f"{', '.join(schema.names)}. Cut crops with `fahr-hf data crops`."
        )


def _present(file: pq.ParquetFile, columns: Sequence[str]) -> list[str]:
    return [name for name in columns if name in file.schema_arrow.names]


def _read_duplicates(folder: Path) -> np.ndarray:
    path = folder / DUPLICATES
    if not path.is_file():
        return np.empty(0, np.int64)
    return np.unique(pq.read_table(path, columns=["row"])["row"].to_numpy())


def _tar_blocks(path: Path) -> list[list[int]]:
    """For each block the byte that it begins at, and its photos."""
    remembered = path.with_name(f".{path.name}.blocks.json")
    file = [path.stat().st_size, path.stat().st_mtime_ns, _TAR_BLOCK]
    try:
        known = json.loads(remembered.read_text())
        if known["file"] == file:
            return known["blocks"]
    except (OSError, ValueError):
        pass
    blocks: list[list[int]] = []
    with tarfile.open(path, "r:") as tar:
        for number, photo in enumerate(_photos(tar)):
            if number % _TAR_BLOCK == 0:
                blocks.append([photo.offset, 0])
            blocks[-1][1] += 1
    # Where nothing can be written it is counted every time.
    with contextlib.suppress(OSError):
        write_whole(remembered, lambda partial: partial.write_text(json.dumps({"file": file, "blocks": blocks})))
    return blocks


def _photos(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    return (member for member in tar if member.isfile() and member.name.lower().endswith(_PHOTOS))
