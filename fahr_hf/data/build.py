"""From what people download to a data set of the one schema: Parquet files, a table of what was left out, a card.

    OUT/data/train-00000.parquet ...   photos of the part `train`, and so on for every part
    OUT/rejects.parquet                photo_id, source and reason of what was left out
    OUT/README.md                      the card, from which `datasets.load_dataset` learns which file is which split

Photos are copied byte for byte. The source is read four times: for its labels, which decide the parts; for the photos
of test parts; for those that are held out otherwise; and for those of `train`. So labels that contradict one another
stop the work before it has begun, nothing in memory grows with the number of photos, and of photos with the same bytes
the one that is held out more strictly comes first and stays: the same bytes are never in two parts.

A build that is interrupted leaves no OUT.
"""

import hashlib
import io
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Value
from PIL import Image, UnidentifiedImageError

from fahr_hf.data.dataset_card import dataset_card
from fahr_hf.data.folds import Folds
from fahr_hf.data.schema import COLUMNS, Photo
from fahr_hf.data.sources import Reject, Source
from fahr_hf.data.splits import is_test, part_of

_LABELS = ("subject_id", "age", "sex", "race", "box")
_REJECTS = Features({"photo_id": Value("string"), "source": Value("string"), "reason": Value("string")})

# A file is closed when it holds this many rows or bytes of photos, and a group of rows is written when it does.
_FILE_ROWS, _FILE_BYTES = 1000, 256 * 2**20
_GROUP_ROWS, _GROUP_BYTES = 100, 32 * 2**20

# A person whom published folds have in several splits belongs to the first of these.
_PRECEDENCE = ("test", "train", "validation")


@dataclass(frozen=True)
class Selection:
    """Which photos are wanted, and what decides their parts.

    Args:
        ages: Youngest and oldest, in years, both included; a photo without an age passes.
        require: Labels, or columns of the set's own, that must have a value.
        folds: Published folds in place of the data set's own splits.
        all_train: Everything is `train`, for pre-training; only for a data set without splits.
    """

    ages: tuple[float, float] | None = None
    require: Sequence[str] = ()
    folds: Folds | None = None
    all_train: bool = False

    def apply(self, row: Photo | Reject) -> Photo | Reject:
        """The row, with its split; or why it is not wanted."""
        name = row.photo_id.encode("utf-8", "replace").decode()
        if name != row.photo_id:
            return Reject(name, "file name is not UTF-8")
        if isinstance(row, Reject):
            return row
        for name in self.require:
            if (row.extra[name] if name in row.extra else getattr(row, name)) is None:
                return Reject(row.photo_id, f"no {name}")
        if self.ages and row.age is not None and not self.ages[0] <= row.age <= self.ages[1]:
            return Reject(row.photo_id, f"age out of range: {row.age:g}")
        return row if self.folds is None else self.folds.assign(row)

    def options(self) -> list[str]:
        """What says the same on the command line, without folders."""
        options = [f"--ages {self.ages[0]:g} {self.ages[1]:g}"] if self.ages else []
        options += [f"--require {name}" for name in self.require]
        if self.folds:
            options.append(f"--folds {self.folds.name} --fold {self.folds.fold}")
        return [*options, "--all-train"] if self.all_train else options


@dataclass(frozen=True)
class Built:
    """What became of the rows of a source.

    Args:
        kept: Number of photos, by part.
        rejected: Number of rows left out, by kind of reason.
    """

    kept: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)


def build(
    source: Source,
    folder: str | Path,
    out: str | Path,
    selection: Selection | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Built:
    """Write a data set of the schema `COLUMNS`, with the source's own columns behind them.

    Args:
        source: What is built, see `fahr_hf.data.sources`.
        folder: Where it lies; a file, if the source reads one.
        out: Where it goes: a folder that does not exist, or is empty.
        selection: Which photos are wanted; all, if not given.
        progress: Called after each row with the number of rows done and their total.

    Raises:
        FileNotFoundError: no such folder, or no such data set in it.
        FileExistsError: `out` holds something.
        ValueError: no photo could be kept, splits that contradict one another, or a required label that there is not.
    """
    folder, out = Path(folder), Path(out).absolute()
    selection = selection or Selection()
    if not folder.exists():
        raise FileNotFoundError(f"There is no {folder}.")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not empty. Name another folder, or remove it.")
    labels = [*_LABELS, *source.columns]
    for name in selection.require:
        if name not in labels:
            raise ValueError(f"{source.name} has no label {name!r} to require; there are {', '.join(labels)}.")

    def rows() -> Iterator[Photo | Reject]:
        return map(selection.apply, source.read(folder))

    parts = _Parts(rows(), selection)
    if not parts.rows:
        raise ValueError(f"There are no photos of {source.title} in {folder}. Expected: {source.release}")
    partial = out.with_name(f".{out.name}.partial")
    # What a killed run may have left.
    shutil.rmtree(partial, ignore_errors=True)
    try:
        built = _write(source, rows, parts, partial, progress)
        card = dataset_card(source, built.kept, built.rejected, parts.rule(), selection.options())
        (partial / "README.md").write_text(card, encoding="utf-8")
        if out.exists():
            # Only some systems put a folder in the place of an empty one.
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return built


class _Parts:
    """The part of each photo, which the labels of all rows together decide."""

    def __init__(self, rows: Iterator[Photo | Reject], selection: Selection) -> None:
        self.selection = selection
        self.rows = 0
        self.splits: set[str | None] = set()
        self.split_of: dict[str, str] = {}
        for row in rows:
            self.rows += 1
            if isinstance(row, Photo):
                self.splits.add(row.split)
                if row.subject_id is not None and row.split is not None:
                    self._see(row.subject_id, row.split)
        if len(self.splits) > 1 and None in self.splits:
            raise ValueError("Some photos have a split and some have none; expected one for each, or none at all.")
        if selection.all_train and self.splits - {None}:
            raise ValueError("--all-train would ignore the splits of this data set; leave it out.")
        for split in self.splits:
            # Raises where it is unknown.
            part_of("", split, validation_given=True)

    def _see(self, person: str, split: str) -> None:
        known = self.split_of.setdefault(person, split)
        if known == split:
            return
        if self.selection.folds is None:
            raise ValueError(f"{person!r} is in the splits {known!r} and {split!r}; a person belongs to one.")
        self.split_of[person] = min(known, split, key=_PRECEDENCE.index)

    def place(self, photo: Photo) -> tuple[Photo, str] | Reject:
        if self.selection.all_train:
            return photo, "train"
        if photo.split and photo.subject_id and self.split_of[photo.subject_id] != photo.split:
            return Reject(photo.photo_id, f"person in several folds: {photo.subject_id}")
        return photo, part_of(photo.key, photo.split, "validation" in self.splits)

    def rule(self) -> str:
        """How they were decided, for the card."""
        if self.selection.all_train:
            return "Everything is `train`: nothing of this set is held out."
        hashed = "a stable hash of the person, or of the photo where no identities exist, sets apart a tenth"
        if self.splits <= {None}:
            return f"The set has no splits of its own; {hashed} each as `calibration`, `validation` and `test`."
        folds = self.selection.folds
        origin = f"Fold {folds.fold} of `{folds.name}` decides" if folds else "The splits of the set decide"
        cut = "as `calibration`" if "validation" in self.splits else "each as `calibration` and `validation`"
        return f"{origin}; of what is `train` by {'it' if folds else 'them'}, {hashed} {cut}."


def _write(
    source: Source,
    rows: Callable[[], Iterator[Photo | Reject]],
    parts: _Parts,
    folder: Path,
    progress: Callable[[int, int], object] | None,
) -> Built:
    (folder / "data").mkdir(parents=True)
    features = Features({**COLUMNS, **{name: column.type for name, column in source.columns.items()}})
    built, first_reason = Built(), ""
    index_file = folder / "index.sqlite"
    with ExitStack() as stack:
        index = stack.enter_context(closing(_Index(index_file)))
        rejects = stack.enter_context(closing(_Files(iter([folder / "rejects.parquet"]), _REJECTS, sys.maxsize)))
        files: dict[str, _Files] = {}
        for done, placed in enumerate(_in_order(rows, parts), 1):
            row = placed if isinstance(placed, Reject) else _row(*placed, source.name, index)
            if isinstance(row, Reject):
                first_reason = first_reason or row.reason
                built.rejected[row.reason.partition(":")[0]] += 1
                rejects.add({"photo_id": row.photo_id, "source": source.name, "reason": row.reason}, 0)
            else:
                part = row["part"]
                built.kept[part] += 1
                if part not in files:
                    names = _names(folder / "data", part)
                    files[part] = stack.enter_context(closing(_Files(names, features, _FILE_ROWS)))
                files[part].add(row, len(row["image"]["bytes"]))
            if progress:
                progress(done, parts.rows)
    index_file.unlink()
    if not built.kept:
        raise ValueError(f"None of {parts.rows} rows could be kept; the first one: {first_reason}.")
    return built


def _names(folder: Path, part: str) -> Iterator[Path]:
    return (folder / f"{part}-{number:05}.parquet" for number in count())


def _in_order(rows: Callable[[], Iterator[Photo | Reject]], parts: _Parts) -> Iterator[tuple[Photo, str] | Reject]:
    """What is left out and the photos of test parts, then what else is held out, then `train`."""
    stages = [2] if parts.selection.all_train else [0, 1, 2]
    for stage in stages:
        for row in rows():
            placed = row if isinstance(row, Reject) else parts.place(row)
            if stage == (stages[0] if isinstance(placed, Reject) else _stage(placed[1])):
                yield placed


def _stage(part: str) -> int:
    return 0 if is_test(part) else 2 if part == "train" else 1


def _row(photo: Photo, part: str, source: str, index: "_Index") -> dict[str, Any] | Reject:
    try:
        data = _read(photo.image)
        index.add(photo, part, data)
    except ValueError as reason:
        return Reject(photo.photo_id, str(reason))
    name = photo.image.name if isinstance(photo.image, Path) else photo.photo_id
    return {
        "image": {"bytes": data, "path": name},
        "photo_id": photo.photo_id,
        "subject_id": photo.subject_id,
        "age": photo.age,
        "sex": photo.sex,
        "race": photo.race,
        "source": source,
        "part": part,
        "box": photo.box,
        **photo.extra,
    }


def _read(image: Path | bytes) -> bytes:
    """The bytes of a photo, of which the header has been read.

    Raises:
        ValueError: the reason why it is no use.
    """
    try:
        data = image if isinstance(image, bytes) else image.read_bytes()
    except FileNotFoundError:
        raise ValueError("missing file") from None
    except OSError as error:
        raise ValueError(f"unreadable: {error.strerror}") from error
    if not data:
        raise ValueError("unreadable: empty file")
    try:
        Image.open(io.BytesIO(data)).close()
    except UnidentifiedImageError:
        # Its message holds an address in memory.
        raise ValueError("unreadable: no image that Pillow knows") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"unreadable: {error}") from error
    return data


class _Index:
    """The photos so far, on disk: by their bytes, and by their identifier."""

    def __init__(self, path: Path) -> None:
        self.database = sqlite3.connect(path, isolation_level=None)
        # It need not survive a crash.
        self.database.execute("PRAGMA journal_mode = OFF")
        self.database.execute("PRAGMA synchronous = OFF")
        self.database.execute("CREATE TABLE photos (digest BLOB, box TEXT, part TEXT, photo_id TEXT UNIQUE)")
        self.database.execute("CREATE INDEX digests ON photos (digest)")

    def add(self, photo: Photo, part: str, data: bytes) -> None:
        """Take note of a photo.

        Raises:
            ValueError: the reason why it must be left out.
        """
        digest, box = hashlib.sha256(data).digest(), str(photo.box)
        same = self.database.execute("SELECT box, part, photo_id FROM photos WHERE digest = ?", [digest])
        for other_box, other_part, other in same.fetchall():
            if other_part != part:
                raise ValueError(f"same photo in another part: {other} in {other_part}")
            # With another box it shows another face of the same photo.
            if other_box == box:
                raise ValueError(f"duplicate: {other}")
        try:
            self.database.execute("INSERT INTO photos VALUES (?, ?, ?, ?)", [digest, box, part, photo.photo_id])
        except sqlite3.IntegrityError:
            raise ValueError("photo_id occurs twice") from None

    def close(self) -> None:
        self.database.close()


class _Files:
    """Parquet files of a bounded number of rows and bytes, written group of rows by group of rows."""

    def __init__(self, paths: Iterator[Path], features: Features, file_rows: int) -> None:
        self.paths = paths
        self.schema = features.arrow_schema
        self.file_rows = file_rows
        self._open()

    def _open(self) -> None:
        self.writer = pq.ParquetWriter(next(self.paths), self.schema)
        self.rows = self.bytes = self.group_bytes = 0
        self.group: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any], size: int) -> None:
        """Add a row whose photo has `size` bytes."""
        if self.rows >= self.file_rows or self.bytes >= _FILE_BYTES:
            self.close()
            self._open()
        self.group.append(row)
        self.rows += 1
        self.bytes += size
        self.group_bytes += size
        if len(self.group) >= _GROUP_ROWS or self.group_bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self.group:
            self.writer.write_table(pa.Table.from_pylist(self.group, self.schema))
        self.group, self.group_bytes = [], 0

    def close(self) -> None:
        self._flush()
        self.writer.close()
