"""What a data set or a crop cache holds, in numbers: to be looked at before anything is trained on it.

Only labels are read, a file at a time, and no photo is decoded: a million rows take seconds. Nothing in memory grows
with their number but eight bytes for each photo of a known person, by which people are counted, and one for each crop.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fahr_hf.data.crops import DUPLICATES, RECIPE, read_recipe, rejects_path, shards

UNKNOWN = "unknown"
"""The sex of photos that have none in `Part.ages`."""

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 1.0)
"""Those of detection scores that are told: mostly low ones, where there may be no face."""

DUPLICATE = "duplicate"
"""The reason in `Summary.left_out` of crops that a cache's list of duplicates names."""

# Columns of a data set or of a cache that are no labels: pixels, and what is null for good reasons.
_NO_LABELS = ("image", "corners", "box", "hash")
# Of the schema, what is looked at here. The schema itself would take seconds to import.
_NEEDED = ("image", "subject_id", "age", "sex", "race", "source", "part")
# How photos are counted, one counter for all: what has these five in common.
_GROUP = ["source", "part", "sex", "race", "years"]
_PARTS = ("train", "validation", "calibration", "test")
# Of a recipe, what fits on a line and is not told otherwise.
_SETTINGS = ("border", "margin", "min_detection_score", "max_detection_side", "image_format", "quality", "one_face")
# From this number on photos with so many faces are told together.
_MANY_FACES = 4


@dataclass(frozen=True)
class Part:
    """The photos of one part, or of all.

    Args:
        photos: Number of rows; in a cache, of crops.
        people: Number of different identities; None where there are none.
        ages_known: Number of photos with an age.
        youngest: Completed years; None where no age is known, as are the next two.
        median_age: Completed years; of an even number of photos the lower of the two in the middle.
        oldest: Completed years.
        under_18: Number of photos.
        from_60: Number of photos, 60 or older.
        ages: Number of photos by sex, as the data set labels it or `UNKNOWN`, and by completed years.
    """

    photos: int
    people: int | None
    ages_known: int
    youngest: int | None
    median_age: int | None
    oldest: int | None
    under_18: int
    from_60: int
    ages: dict[str, dict[int, int]]


@dataclass(frozen=True)
class Cut:
    """How the crops of a cache were cut, and what the detector found.

    Args:
        settings: The cache's recipe, see `cutting.cut_crops`.
        faces: Number of crops by the number of faces in their photo.
        detection_scores: The scores, 0 to 1 and to a thousandth, at each of `QUANTILES`; empty without crops.
    """

    settings: dict[str, Any]
    faces: dict[int, int]
    detection_scores: dict[float, float]


@dataclass(frozen=True)
class Summary:
    """What a data set or a crop cache holds; `str` of it is a page of text.

    Args:
        folder: Where it lies.
        files: Number of Parquet files with photos.
        sources: Number of photos by data set.
        total: All photos together. Those of a cache are the crops that `load_crops` gives, without duplicates.
        parts: By part, see `splits`.
        sexes: Number of photos by sex, as the data set labels it.
        races: Number of photos by race, in the data set's own words.
        missing: Number of photos without a value, by column; boxes, which most photos need not have, are left out.
        left_out: Number of photos that are not there, by kind of reason. A cache in which nobody has looked for
            duplicates has no `DUPLICATE` among them.
        bytes_each: Mean size of an encoded photo or crop on the disk, in bytes; None where there is none.
        cut: Of a cache; None for a data set.
    """

    folder: str
    files: int
    sources: dict[str, int]
    total: Part
    parts: dict[str, Part]
    sexes: dict[str, int]
    races: dict[str, int]
    missing: dict[str, int]
    left_out: dict[str, int]
    bytes_each: float | None
    cut: Cut | None

    @property
    def what(self) -> str:
        """`photos` or `crops`."""
        return "photos" if self.cut is None else "crops"

    @property
    def name(self) -> str:
        """Of the data set, or of several."""
        return ", ".join(self.sources) or Path(self.folder).resolve().name

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def summarise(folder: str | Path) -> Summary:
    """Count what a data set or a crop cache holds.

    Args:
        folder: What `fahr-hf data build` or `fahr-hf data crops` wrote.

    Raises:
        FileNotFoundError: neither is there, or a cache that is not complete.
        ValueError: a cache of another format, or Parquet files without the columns of the schema.
        OSError: a file is damaged; the message names it.
    """
    folder = Path(folder)
    tally = _Tally()
    for _, _, rows in labels(folder):
        tally.add(rows)
    parts = sorted({group[1] for group in tally.groups}, key=_place)
    return Summary(
        folder=str(folder),
        files=len(_files(folder)),
        sources=_by_number(tally.number_by("source")),
        total=tally.part(parts),
        parts={part: tally.part([part]) for part in parts},
        sexes=_by_number(tally.number_by("sex")),
        races=_by_number(tally.number_by("race")),
        missing=dict(tally.missing),
        left_out=_by_number(_left_out(folder)),
        bytes_each=_bytes_each(folder),
        cut=tally.cut(read_recipe(folder)) if _is_cache(folder) else None,
    )


def labels(folder: Path, *columns: str) -> Iterator[tuple[Path, np.ndarray, pa.Table]]:
    """The labels of all photos of a data set, or of all crops of a cache that are no duplicates, some at a time.

    Args:
        folder: A data set or a crop cache.
        columns: Those to read; all that are labels if not given.

    Yields:
        The file, the positions of some of its rows in it, (n,) int, and their labels, n rows.

    Raises:
        FileNotFoundError, ValueError, OSError: as `summarise`.
    """
    used = _used(folder)
    for path in _files(folder):
        with _open(path) as file:
            there = file.schema_arrow.names
            if lacking := [name for name in _NEEDED if name not in there]:
                raise ValueError(
                    f"{path} lacks the columns {', '.join(lacking)}; there are {', '.join(there)}. Make a data set of "
                    "the right columns with `fahr-hf data build`."
                )
            names = list(columns or (name for name in there if name not in _NO_LABELS))
            if used is not None and "row" not in names:
                names.append("row")
            start = 0
            for batch in file.iter_batches(columns=names):
                rows = pa.Table.from_batches([batch])
                positions = np.arange(start, start + len(rows))
                start += len(rows)
                if used is not None:
                    keep = used[rows["row"].to_numpy()]
                    positions, rows = positions[keep], rows.filter(pa.array(keep))
                yield path, positions, rows


# -------------------------------------------------------------------------------------------------------- the folder


def _is_cache(folder: Path) -> bool:
    return (folder / RECIPE).is_file()


def _files(folder: Path) -> list[Path]:
    if _is_cache(folder):
        return shards(folder)
    files = sorted((folder / "data").glob("*.parquet"))
    if not files:
        raise FileNotFoundError(
            f"{folder} is neither a data set, which has Parquet files in a folder `data`, nor a crop cache, which has "
            f"a {RECIPE}. Make the one with `fahr-hf data build`, or from it the other with `fahr-hf data crops`."
        )
    return files


@contextmanager
def _open(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise OSError(f"{path} cannot be read: {error}. Make it again.") from error


def _used(folder: Path) -> np.ndarray | None:
    """For each row of a cache's data set whether its crop, if there is one, is no duplicate; None for a data set."""
    if not _is_cache(folder):
        return None
    used = np.ones(read_recipe(folder)["rows"], bool)
    if (folder / DUPLICATES).exists():
        used[pq.read_table(folder / DUPLICATES, columns=["row"])["row"].to_numpy()] = False
    return used


def _left_out(folder: Path) -> Counter[str]:
    reasons: Counter[str] = Counter()
    if _is_cache(folder):
        files = [rejects_path(folder, number) for number in range(len(shards(folder)))]
    else:
        # A data set that came from elsewhere need not have it.
        files = [path for path in [folder / "rejects.parquet"] if path.exists()]
    for path in files:
        with _open(path) as file:
            for batch in file.iter_batches(columns=["reason"]):
                # What follows a colon belongs to the single photo.
                reasons.update(reason.partition(":")[0] for reason in batch["reason"].to_pylist())
    if (folder / DUPLICATES).exists():
        reasons[DUPLICATE] = pq.read_metadata(folder / DUPLICATES).num_rows
    return reasons


def _bytes_each(folder: Path) -> float | None:
    """As the files' own tables of contents tell; no photo is read."""
    rows = size = 0
    for path in _files(folder):
        with _open(path) as file:
            metadata = file.metadata
        rows += metadata.num_rows
        names = [metadata.schema.column(column).path for column in range(metadata.num_columns)]
        encoded = names.index("image.bytes")
        groups = range(metadata.num_row_groups)
        size += sum(metadata.row_group(group).column(encoded).total_compressed_size for group in groups)
    return size / rows if rows else None


# ----------------------------------------------------------------------------------------------------------- counting


class _Tally:
    """What has been counted so far."""

    def __init__(self) -> None:
        self.groups: Counter[tuple] = Counter()
        self.missing: Counter[str] = Counter()
        self.faces: Counter[tuple] = Counter()
        self.scores: Counter[tuple] = Counter()
        # By part, hashes of identities, 64 bits each: of a million people two fall together once in 30 million sets.
        self.people: dict[str, list[np.ndarray]] = {}

    def add(self, rows: pa.Table) -> None:
        for name in rows.column_names:
            self.missing[name] += rows[name].null_count
        years = pc.floor(rows["age"]).cast(pa.int32())
        self.groups += _count(rows.append_column("years", years), _GROUP)
        known = rows.filter(rows["subject_id"].is_valid())
        for part in known["part"].unique().to_pylist():
            people = known.filter(pc.equal(known["part"], part))["subject_id"].unique().to_pylist()
            self.people.setdefault(part, []).append(np.fromiter(map(hash, people), np.int64, len(people)))
        if "detection_score" in rows.column_names:
            thousandths = pc.round(pc.multiply(rows["detection_score"], 1000)).cast(pa.int32())
            self.faces += _count(rows, ["faces"])
            self.scores += _count(rows.append_column("thousandths", thousandths), ["thousandths"])

    def number_by(self, label: str) -> Counter[str]:
        index = _GROUP.index(label)
        return _sum((group[index], number) for group, number in self.groups.items())

    def part(self, parts: list[str]) -> Part:
        groups = [(sex, years, number) for (_, part, sex, _, years), number in self.groups.items() if part in parts]
        ages: dict[str, dict[int, int]] = {}
        for wanted in sorted({sex or UNKNOWN for sex, _, _ in groups}):
            counts = _sum((years, number) for sex, years, number in groups if (sex or UNKNOWN) == wanted)
            if counts:
                ages[wanted] = dict(sorted(counts.items()))
        counts = _sum((years, number) for _, years, number in groups)
        people = [hashes for part in parts for hashes in self.people.get(part, [])]
        return Part(
            photos=sum(number for *_, number in groups),
            people=len(np.unique(np.concatenate(people))) if people else None,
            ages_known=counts.total(),
            youngest=min(counts, default=None),
            median_age=_quantile(counts, 0.5) if counts else None,
            oldest=max(counts, default=None),
            under_18=sum(number for years, number in counts.items() if years < 18),
            from_60=sum(number for years, number in counts.items() if years >= 60),
            ages=ages,
        )

    def cut(self, recipe: dict[str, Any]) -> Cut:
        scores = Counter({thousandths: number for (thousandths,), number in self.scores.items()})
        return Cut(
            settings=recipe,
            faces={faces: number for (faces,), number in sorted(self.faces.items())},
            detection_scores={share: _quantile(scores, share) / 1000 for share in QUANTILES} if scores else {},
        )


def _count(rows: pa.Table, names: list[str]) -> Counter[tuple]:
    """How many rows have the same values."""
    grouped = rows.group_by(names).aggregate([([], "count_all")])
    keys = zip(*(grouped[name].to_pylist() for name in names), strict=True)
    return Counter(dict(zip(keys, grouped["count_all"].to_pylist(), strict=True)))


def _sum(numbers: Iterable[tuple[Any, int]]) -> Counter[Any]:
    """The numbers of each value but None."""
    total: Counter[Any] = Counter()
    for value, number in numbers:
        if value is not None:
            total[value] += number
    return total


def _by_number(counts: Counter[str]) -> dict[str, int]:
    """Largest first; equal ones in order of their names."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _quantile(counts: Counter[int], share: float) -> int:
    """The least value that at least this share of all do not exceed."""
    values = sorted(counts)
    below = np.cumsum([counts[value] for value in values])
    return values[int(np.searchsorted(below, share * below[-1]))]


def _place(part: str) -> tuple[int, str]:
    return _PARTS.index(part) if part in _PARTS else len(_PARTS), part


# ----------------------------------------------------------------------------------------------------------- in words


def _lines(summary: Summary) -> Iterator[str]:
    total, what = summary.total, summary.what
    size = "" if summary.bytes_each is None else f", {summary.bytes_each / 1000:.1f} kB each on the disk"
    files = "file" if summary.files == 1 else "files"
    kind = "a data set" if summary.cut is None else f"crops of {summary.name}"
    yield f"{summary.folder}: {kind}, {total.photos:,} {what} in {summary.files:,} {files}{size}"
    yield ""
    yield from _table(summary)
    yield ""
    yield f"sex, as the data set labels it: {_shares(summary.sexes, total.photos)}"
    yield f"race, as the data set labels it: {_shares(summary.races, total.photos)}"
    missing = {name: number for name, number in sorted(summary.missing.items()) if number}
    yield f"without a value: {_shares(missing, total.photos)}"
    if summary.cut:
        yield from _cut_lines(summary.cut, total.photos)
    yield f"left out: {sum(summary.left_out.values()):,} photos"
    yield from (f"  {number:,} x {reason}" for reason, number in summary.left_out.items())
    if summary.cut and DUPLICATE not in summary.left_out:
        yield "  (nobody has looked for duplicates yet: `fahr-hf data duplicates` does)"


def _table(summary: Summary) -> Iterator[str]:
    rows = [["part", summary.what, "people", "with age", "youngest", "median", "oldest", "under 18", "60 or older"]]
    for name, part in [*summary.parts.items(), ("all", summary.total)]:
        ages = (part.youngest, part.median_age, part.oldest)
        groups = (
            _share(number, part.ages_known) if part.ages_known else "-" for number in (part.under_18, part.from_60)
        )
        people = "unknown" if part.people is None else f"{part.people:,}"
        years = ("-" if age is None else str(age) for age in ages)
        rows.append([name, f"{part.photos:,}", people, f"{part.ages_known:,}", *years, *groups])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join([row[0].ljust(widths[0]), *cells])
    yield "(ages in completed years)"


def _cut_lines(cut: Cut, crops: int) -> Iterator[str]:
    faces = {str(number): cut.faces[number] for number in cut.faces if number < _MANY_FACES}
    many = sum(number for faces, number in cut.faces.items() if faces >= _MANY_FACES)
    if many:
        faces[f"{_MANY_FACES} or more"] = many
    yield f"faces in the photo of a crop: {_shares(faces, crops)}"
    names = {0.0: "lowest", 0.5: "median", 1.0: "highest"}
    scores = (f"{names.get(share, f'{share:.0%} below')} {score:.3f}" for share, score in cut.detection_scores.items())
    yield f"detection scores: {', '.join(scores) or 'none'}"
    yield f"cut with: {', '.join(f'{name} {cut.settings[name]}' for name in _SETTINGS)}"


def _shares(numbers: Mapping[str, int], of: int) -> str:
    return ", ".join(f"{name}: {_share(number, of)}" for name, number in numbers.items()) or "none"


def _share(number: int, of: int) -> str:
    return f"{number:,} ({number / of:.1%})"
