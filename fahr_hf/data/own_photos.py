"""From a table of one's own photos to crops that a model can be fine-tuned on, in one call.

The reading, building, cutting and the search for copies are those of every other data set (`sources.table`, `build`,
`cutting`, `duplicates`). What is new here is that the whole table is checked first, and that everything wrong with it
is told at once (`bad_rows`). What the table says about the photos, ages or outcomes, is checked by `own_labels`.

    FOLDER/photos    the data set; its rejects.parquet names what was left out
    FOLDER/crops     its crops

The table's own `split` (or `part`) binds: train, validation, test or test_.... Without one, a stable hash of the
person, or of the photo where no people are named, decides (`splits`).
"""

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from fahr_hf.data.bad_rows import BadRows
from fahr_hf.data.build import build
from fahr_hf.data.crops import DUPLICATES
from fahr_hf.data.cutting import cut_crops
from fahr_hf.data.duplicates import mark_duplicates
from fahr_hf.data.own_labels import Ages, Labels
from fahr_hf.data.schema import Photo
from fahr_hf.data.sources import Reject, Source
from fahr_hf.data.sources import table as table_source
from fahr_hf.data.splits import is_test
from fahr_hf.data.summary import summarise
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor

_BEGUN = "table.json"
_MEND = (
    "Nothing has been done yet: mend them, or leave them out with --skip-bad-rows (in Python: skip_bad_rows=True), "
    "which counts and lists them."
)


def crops_of_own_photos(
    table: str | Path,
    images: str | Path,
    folder: str | Path,
    columns: Mapping[str, str] | None = None,
    skip_bad_rows: bool = False,
    progress: Callable[[int, int], object] | None = None,
    processor: FahrFaceImageProcessor | None = None,
    labels: Labels | None = None,
) -> Path:
    """Check a table of photos, and cut their faces; what an interrupted call has done is not done again.

    It starts processes, so a script that calls it does so behind `if __name__ == "__main__":`.

    Args:
        table: As in `build_own_photos`, which comes first.
        images: See there.
        folder: Receives `photos` and `crops`.
        columns: See there.
        skip_bad_rows: See there.
        progress: Called with the number of rows done and of all, first while photos are copied, then while faces are
            cut.
        processor: That of the model to be trained; the default one if not given.
        labels: See there.

    Returns:
        The folder of crops. Some of them are of the part `train`, and some of `validation`.

    Raises:
        FileNotFoundError: no such table, or no such folder.
        ValueError: as `build_own_photos`, or too few photos for a part `train` and one `validation`.
    """
    crops = Path(folder) / "crops"
    photos = build_own_photos(table, images, Path(folder), columns, skip_bad_rows, progress, labels)
    _check_parts(photos)
    for done, total in cut_crops(photos, crops, processor):
        if progress:
            progress(done, total)
    if not (crops / DUPLICATES).exists():
        mark_duplicates([crops])
    # Photos without a face are gone, and copies.
    _check_parts(crops)
    return crops


def build_own_photos(
    table: str | Path,
    images: str | Path,
    folder: str | Path,
    columns: Mapping[str, str] | None = None,
    skip_bad_rows: bool = False,
    progress: Callable[[int, int], object] | None = None,
    labels: Labels | None = None,
) -> Path:
    """Check a table of photos, and build a data set from it, unless an earlier call has.

    Args:
        table: A csv, jsonl or Parquet file with columns of labels, and one of photos: `image` or `file_name`.
        images: Folder that the paths of the photos start from.
        folder: Receives `photos`.
        columns: For each of `sources.table.FIELDS`, and of what `labels` reads, that the table calls otherwise its
            column, such as `{"age": "Age", "subject_id": "Patient"}`.
        skip_bad_rows: Leave out, count and list rows that cannot be used; otherwise they are an error.
        progress: Called with the number of rows done and of all.
        labels: What the table says of each photo; ages, in years, if not given.

    Returns:
        The folder of the data set.

    Raises:
        FileNotFoundError: no such table, or no such folder.
        ValueError: rows that cannot be used (the message names those of all kinds), no column of labels or photos, or
            a `folder` that was begun with another table.
    """
    table, images, folder = Path(table), Path(images), Path(folder)
    if not table.is_file():
        raise FileNotFoundError(f"There is no table {table}.")
    if not images.is_dir():
        raise FileNotFoundError(f"There is no folder of photos {images}.")
    labels = labels or Ages()
    photos, begun = folder / "photos", folder / _BEGUN
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    wanted = {"sha256": digest, "columns": dict(columns or {}), **labels.settings}
    if photos.exists():
        if not begun.exists() or json.loads(begun.read_text(encoding="utf-8")) != wanted:
            raise ValueError(f"{photos} is of another table than {table}, or of other columns. Take a new folder.")
        return photos
    source = _checked_source(table, images, columns or {}, labels, skip_bad_rows)
    folder.mkdir(parents=True, exist_ok=True)
    begun.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
    build(source, images, photos, progress=progress)
    return photos


def _checked_source(
    table: Path, images: Path, columns: Mapping[str, str], labels: Labels, skip_bad_rows: bool
) -> Source:
    """A source of the table's photos whose bad rows are rejects; an error where they are not to be skipped."""
    try:
        source = table_source(table, labels.split_columns(columns), table.stem)
    except UnicodeDecodeError as error:
        raise ValueError(f"{table} is not UTF-8 ({error}). Save it as 'CSV UTF-8'.") from error
    rows = _Rows(source, table, images, labels)
    if rows.bad.reasons and not skip_bad_rows:
        raise ValueError(rows.bad.complaint(rows.count, table, _MEND))
    command = f"fahr-hf train {labels.recipe} --data {table.name} --images FOLDER --out RUN"
    return dataclasses.replace(labels.extend(source), read=rows.read, command=command)


class _Rows:
    """The rows of a table with their photos in a folder of its own choice, and what is wrong with them."""

    def __init__(self, source: Source, table: Path, images: Path, labels: Labels):
        self.source, self.table, self.images, self.labels = source, table, images, labels
        self.count = 0
        self.bad = BadRows()
        self._check()

    def read(self, folder: Path) -> Iterator[Photo | Reject]:
        """As `Source.read`."""
        del folder
        for number, row in self._numbered():
            if isinstance(row, Reject) or number in self.bad.reasons:
                kind, _, detail = self.bad.reasons[number][0].partition(": ")
                yield Reject(row.photo_id, f"{kind}: row {number}{detail and f', {detail}'}")
            else:
                yield self.labels.label(number, row)

    def _numbered(self) -> Iterator[tuple[int, Photo | Reject]]:
        number = 0
        try:
            for number, row in enumerate(self.source.read(self.table), 1):
                yield number, row if isinstance(row, Reject) else self._placed(row)
        except ValueError as error:
            # What no single row can be blamed for, such as codes in place of words, but one shows it.
            raise ValueError(f"Row {number + 1} of {self.table}: {error}") from error

    def _placed(self, photo: Photo) -> Photo:
        """With the photo in its folder, and its split from whichever column has it."""
        split = photo.split or photo.extra.get("original_part")
        image = photo.image
        if isinstance(image, Path):
            image = self.images / image.relative_to(self.table.absolute().parent)
        return dataclasses.replace(photo, image=image, split=None if split is None else str(split))

    def _check(self) -> None:
        bad = self.bad
        # (row, split) of each person's photos.
        splits: dict[str, dict[int, str]] = defaultdict(dict)
        unsplit, some_split = [], False
        for number, row in self._numbered():
            self.count = number
            if isinstance(row, Reject):
                bad.add(number, row.reason)
                continue
            self.labels.see(number, row, bad)
            if isinstance(row.image, Path) and not row.image.is_file():
                bad.add(number, f"photo does not exist: {row.image.relative_to(self.images)}")
            some_split |= row.split is not None
            if row.split is None:
                unsplit.append(number)
            elif row.split not in ("train", "validation") and not is_test(row.split):
                bad.add(number, f"split is none of train, validation, test, test_...: {row.split}")
            elif row.subject_id is not None:
                splits[row.subject_id][number] = row.split
        for number in unsplit if some_split else []:
            bad.add(number, "no split, where other rows have one")
        self.labels.finish(bad)
        for person, split_of in splits.items():
            if len(set(split_of.values())) > 1:
                for number, split in split_of.items():
                    bad.add(number, f"one person in several splits: {person} {split}")


def _check_parts(folder: Path) -> None:
    summary = summarise(folder)
    for part in ("train", "validation"):
        if part not in summary.parts:
            found = ", ".join(f"{name}: {known.photos}" for name, known in summary.parts.items()) or "none"
            raise ValueError(
                f"No photo is left for the part {part!r}, which training needs (there are {found}). Add "
                "photos, or say with a column split which are train and which validation."
            )
