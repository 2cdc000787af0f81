"""Cutting crops: the photos of a data set stream through detection and alignment into the shards of a crop cache.

Detection costs far more than a training step of a small model, so it runs once. Photos are read a few at a time and
go, in slices, to worker processes; what comes back is put together in the order of the source, `_SHARD_ROWS` rows a
shard. So nothing in memory grows with the data set, all processors are busy whatever the size of a shard, and the
files are the same, byte for byte, with any number of workers.

A shard is two files: the rows without a crop, and then those with one. Each appears under its name only when it is
whole, so a run that was killed goes on where it stopped.
"""

import copy
import io
import json
import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from fahr_hf.data.crops import (
    ALIGNING,
    BORDER,
    FORMAT,
    RECIPE,
    is_cache,
    read_recipe,
    rejects_path,
    shard_path,
    write_whole,
)
from fahr_hf.data.duplicates import difference_hash
from fahr_hf.models.image_processing_fahr_face import (
    FahrFaceImageProcessor,
    PhotoError,
    _orientation,
    _read,
    similarity,
    warp,
)

FORMATS = ("jpeg", "webp")
"""Formats that crops can be stored in; benchmarks/results/crops.md compares them."""

# Some megabytes of crops; a killed run loses less than this, which is seconds of work.
_SHARD_ROWS = 1024
# Of a shard, a megabyte: what a stream, which mixes them, reads at once.
_GROUP_ROWS = 128
# Rows that a worker takes at a time: few, because photos may have megabytes, and enough to make up for the journey.
_SLICE_ROWS = 8
# Slices under way for each worker: one in its hands, and one to go on with.
_SLICES_A_WORKER = 2
# Of a Parquet file, read at once; otherwise a reader takes in whole row groups, with all their photos.
_READ_BYTES = 1 << 20
# Columns of a cache that a data set does not have.
_ADDED = ("row", "faces", "detection_score", "hash", "corners", "reason")

# photos, boxes -> for each what a cache adds to its row
_Work = Callable[[list[bytes], list[list[float] | None]], list[dict[str, Any]]]


@dataclass(frozen=True)
class Face:
    """One face of a photo, cut out.

    Args:
        image: (side, side, 3) uint8; the processor's crop and `BORDER` pixels more on each side.
        corners: (4, 2), those of the photo in pixels of `image`, clockwise from its upper left.
        detection_score: Of the detector.
        faces: Number of faces found in the photo.
    """

    image: np.ndarray
    corners: np.ndarray
    detection_score: float
    faces: int


class NoFaceError(ValueError):
    """A photo without a face that counts.

    The message is the reason, and `faces` the number of faces found; None if the photo is unreadable.
    """

    def __init__(self, reason: str, faces: int | None):
        super().__init__(reason)
        self.faces = faces


def cut_crops(
    source: str | Path,
    folder: str | Path,
    processor: FahrFaceImageProcessor | None = None,
    workers: int | None = None,
    image_format: str = "jpeg",
    quality: int = 95,
    one_face: bool = False,
) -> Iterator[tuple[int, int]]:
    """Fill the cache of one data set, or what is missing of it.

    It starts processes, so a script that calls it does so behind `if __name__ == "__main__":`.

    Args:
        source: Folder of the data set, with Parquet files of our `schema` in `data`; or one such file.
        folder: Where the shards go; made if it does not exist.
        processor: Finds and aligns; the default one if not given.
        workers: Processes; as many as there are processors if not given. The result does not depend on it.
        image_format: Of the stored crops, one of `FORMATS`.
        quality: Of their compression, 1 to 100; WebP of quality 100 is lossless.
        one_face: Reject photos with several faces, unless a box says which one counts.

    Yields:
        Number of photos done so far, from those done by an earlier run up to all of them; and number of all.

    Raises:
        FileNotFoundError: no Parquet files.
        ValueError: they are not of our schema, an option is out of its range, or the folder holds something else or was
            begun with other settings.
        ChildProcessError: a worker was killed. What was done is kept, and another run goes on from there.
    """
    files, folder = _files(Path(source)), Path(folder)
    processor = processor or FahrFaceImageProcessor()
    if image_format not in FORMATS:
        raise ValueError(f"Crops cannot be stored as {image_format!r}; choose from {', '.join(FORMATS)}.")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; expected 1 to 100.")
    schemas = _schemas(files)
    total = sum(pq.read_metadata(file).num_rows for file in files)
    options: dict[str, Any] = processor.to_dict()
    recipe = {
        "format": FORMAT,
        "rows": total,
        # A data set that was built anew rarely has as many bytes as before.
        "bytes": sum(file.stat().st_size for file in files),
        "shard_rows": _SHARD_ROWS,
        "border": BORDER,
        "image_format": image_format,
        "quality": quality,
        "one_face": one_face,
        **{name: options[name] for name in (*ALIGNING, "max_pixels")},
    }
    _check_recipe(folder, recipe)
    missing = {number for number in range(-(-total // _SHARD_ROWS)) if not shard_path(folder, number).exists()}
    done = total - sum(min(_SHARD_ROWS, total - number * _SHARD_ROWS) for number in missing)
    yield done, total
    work = partial(_cut_slice, processor, image_format, quality, one_face)
    cut = _in_order(work, _slices(files, missing), workers or os.cpu_count() or 1)
    for number, slices in groupby(cut, lambda piece: piece.start // _SHARD_ROWS):
        pieces = []
        for piece in slices:
            pieces.append(piece)
            done += len(piece.added)
            yield done, total
        _write_shard(folder, number, pieces, *schemas)


def cut_face(
    photo: bytes,
    processor: FahrFaceImageProcessor,
    box: Sequence[float] | None = None,
    one_face: bool = False,
) -> Face:
    """Find the face that counts in a photo, and cut it out.

    Without a box it is the largest. With one it is the face whose centre lies in the box and whose own box overlaps it
    best (by intersection over union).

    Args:
        photo: Encoded.
        processor: Finds and aligns.
        box: x0, y0, x1, y1 in pixels of the photo as EXIF turns it.
        one_face: Reject a photo with several faces and no box.

    Raises:
        NoFaceError: the photo cannot be read, or has no face that counts.
    """
    wide = _with_border(processor)
    try:
        crops, faces = wide.crops(photo)
    except PhotoError as error:
        raise NoFaceError(f"unreadable: {error}", None) from error
    chosen = choose_face(faces, box, one_face)
    image, face = crops[chosen], faces[chosen]
    matrix = similarity(np.array(face["landmarks"]), wide.target_landmarks())
    width, height = _upright_size(photo)
    beyond = _beyond(matrix, len(image), width, height)
    if any(beyond):
        image = warp(*_continue(_read(photo, processor.max_pixels).pixels, matrix, beyond), len(image))
    edges = np.array([[0, 0], [width, 0], [width, height], [0, height]]) - 0.5
    return Face(image, edges @ matrix[:, :2].T + matrix[:, 2], face["detection_score"], len(faces))


def encode(image: np.ndarray, image_format: str, quality: int) -> bytes:
    """A crop (side, side, 3) uint8 as `cut_crops` stores it, of one of `FORMATS`."""
    options: dict[str, Any] = {"quality": quality}
    if image_format == "jpeg":
        # Colours at full resolution.
        options["subsampling"] = 0
    elif quality == 100:
        # The quality of lossless WebP is the effort: a fifth of the time for 2 % more bytes.
        options = {"lossless": True, "quality": 0, "method": 1}
    file = io.BytesIO()
    Image.fromarray(image).save(file, image_format, **options)
    return file.getvalue()


# --------------------------------------------------------------------------------------------------------- one photo


def _with_border(processor: FahrFaceImageProcessor) -> FahrFaceImageProcessor:
    """The same, with `BORDER` pixels more on each side of its crops."""
    inner = processor.size["height"]
    side = inner + 2 * BORDER
    wide = copy.copy(processor)
    wide.size, wide.margin = {"height": side, "width": side}, (1 + processor.margin) * side / inner - 1
    return wide


def choose_face(faces: list[dict[str, Any]], box: Sequence[float] | None, one_face: bool) -> int:
    """Which of the faces of a photo a row of a data set is about.

    Args:
        faces: As the processor found them, the largest first.
        box: The row's own (x0, y0, x1, y1), if it has one: the face that overlaps it most.
        one_face: Without a box: whether several faces are one too many; otherwise the largest is meant.

    Raises:
        NoFaceError: no face, several where one was expected, or none in the box.
    """
    if not faces:
        raise NoFaceError("no face", 0)
    if box is None:
        if one_face and len(faces) > 1:
            raise NoFaceError(f"{len(faces)} faces", len(faces))
        return 0
    overlaps = [_overlap(box, face["box"]) for face in faces]
    if not any(overlaps):
        raise NoFaceError("no face in the box", len(faces))
    return int(np.argmax(overlaps))


def _overlap(box: Sequence[float], found: dict[str, float]) -> float:
    """Intersection over union; 0 if the centre of the found box is not in the other."""
    x0, y0, x1, y1 = box
    u0, v0, u1, v1 = (found[side] for side in ("xmin", "ymin", "xmax", "ymax"))
    if not (x0 <= (u0 + u1) / 2 <= x1 and y0 <= (v0 + v1) / 2 <= y1):
        return 0.0
    common = (min(x1, u1) - max(x0, u0)) * (min(y1, v1) - max(y0, v0))
    return common / ((x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - common)


def _upright_size(photo: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(photo)) as image:
        width, height = image.size
        return (height, width) if _orientation(image) >= 5 else (width, height)


def _beyond(matrix: np.ndarray, side: int, width: int, height: int) -> tuple[int, ...]:
    """Pixels by which a crop, with one pixel of its own to spare, leaves its photo: left, top, right, bottom."""
    corners = np.array([[-1, -1], [side, -1], [side, side], [-1, side]])
    needed = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    beyond = np.ceil([*-needed.min(axis=0), *(needed.max(axis=0) - (width - 1, height - 1))])
    # Further out than twice the photo nothing is worth continuing.
    return tuple(beyond.clip(0, 2 * max(width, height)).astype(int).tolist())


def _continue(rgb: np.ndarray, matrix: np.ndarray, beyond: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A photo continued by reflection, and the matrix that goes with it."""
    left, top, right, bottom = beyond
    rgb = cv2.copyMakeBorder(rgb, top, bottom, left, right, cv2.BORDER_REFLECT_101)
    return rgb, np.column_stack([matrix[:, :2], matrix[:, 2] - matrix[:, :2] @ (left, top)])


# --------------------------------------------------------------------------------------------------- worker processes


def _start_worker() -> None:
    cv2.setNumThreads(1)
    # What Pillow warns of is either harmless or ends in a reason.
    warnings.simplefilter("ignore")
    # Ctrl-C is for the process that hands out the work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without this a worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _cut_slice(
    processor: FahrFaceImageProcessor,
    image_format: str,
    quality: int,
    one_face: bool,
    photos: list[bytes],
    boxes: list[list[float] | None],
) -> list[dict[str, Any]]:
    added: list[dict[str, Any]] = []
    for photo, box in zip(photos, boxes, strict=True):
        try:
            face = cut_face(photo, processor, box, one_face)
        except NoFaceError as error:
            added.append({"faces": error.faces, "reason": str(error)})
            continue
        added.append(
            {
                "faces": face.faces,
                "detection_score": face.detection_score,
                "hash": difference_hash(face.image[None]).tobytes(),
                "image": {"bytes": encode(face.image, image_format, quality)},
                "corners": face.corners.ravel().tolist(),
            }
        )
    return added


# ------------------------------------------------------------------------------------------------ the stream of photos


@dataclass(frozen=True)
class _Slice:
    """Some rows of the source: the position of the first, their columns without photos, and what the cache adds."""

    start: int
    columns: pa.Table
    added: list[dict[str, Any]]


def _files(source: Path) -> list[Path]:
    files = [source] if source.is_file() else sorted((source / "data").glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"No Parquet files in {source / 'data'}. Make a data set with `fahr-hf data build`.")
    return files


def _schemas(files: list[Path]) -> tuple[pa.Schema, pa.Schema]:
    """Of a shard and of its rejects, such that `datasets` decodes the crops."""
    # Not at the top: worker processes have no use for it, and it takes a while.
    from datasets import Features, Image, List, Value

    from fahr_hf.data.schema import COLUMNS

    source = pq.read_schema(files[0])
    missing = [name for name in COLUMNS if name not in source.names]
    if missing:
        raise ValueError(f"{files[0]} lacks the columns {', '.join(missing)}. Make it with `fahr-hf data build`.")
    taken = [name for name in _ADDED if name in source.names]
    if taken:
        raise ValueError(f"{files[0]} has a column {taken[0]!r}, which the cache has for itself. Give it another name.")
    for file in files:
        if not pq.read_schema(file).equals(source):
            raise ValueError(f"{file} has other columns than {files[0]}; expected the files of one data set.")
    table = {name: kind for name, kind in Features.from_arrow_schema(source).items() if name not in ("image", "box")}
    table |= {
        "row": Value("int64"),
        "faces": Value("int32"),
        "detection_score": Value("float32"),
        "hash": Value("binary"),
    }
    pixels = {"image": Image(), "corners": List(Value("float32"), length=8)}
    return Features(pixels | table).arrow_schema, Features(table | {"reason": Value("string")}).arrow_schema


def _slices(files: list[Path], shards: set[int]) -> Iterator[tuple[int, pa.Table]]:
    """The rows of some shards, a few at a time, with the position of the first; none reaches over a shard's end."""
    start = 0
    for file in files:
        with pq.ParquetFile(file, buffer_size=_READ_BYTES) as parquet:
            for group in range(parquet.num_row_groups):
                end = start + parquet.metadata.row_group(group).num_rows
                if shards.isdisjoint(range(start // _SHARD_ROWS, -(-end // _SHARD_ROWS))):
                    start = end
                    continue
                for batch in parquet.iter_batches(_SLICE_ROWS, row_groups=[group]):
                    rows = pa.Table.from_batches([batch])
                    while len(rows):
                        head = rows.slice(0, _SHARD_ROWS - start % _SHARD_ROWS)
                        if start // _SHARD_ROWS in shards:
                            yield start, head
                        start, rows = start + len(head), rows.slice(len(head))


def _in_order(work: _Work, slices: Iterable[tuple[int, pa.Table]], workers: int) -> Iterator[_Slice]:
    """The slices with what the workers made of them; only a few are under way at any time."""
    running: deque[tuple[int, pa.Table, Future]] = deque()

    def first() -> _Slice:
        start, columns, future = running[0]
        added = future.result()
        running.popleft()
        return _Slice(start, columns, added)

    # Not forked: the threads of OpenCV and torch do not survive that.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
            for start, rows in slices:
                photos = pc.struct_field(rows["image"], "bytes").to_pylist()
                future = pool.submit(work, photos, rows["box"].to_pylist())
                running.append((start, rows.drop_columns(["image", "box"]), future))
                if len(running) == _SLICES_A_WORKER * workers:
                    yield first()
            while running:
                yield first()
    except BrokenProcessPool as error:
        row = running[0][0]
        raise ChildProcessError(
            f"A worker process ended in shard {row // _SHARD_ROWS}, at row {row} or soon after, most likely for want "
            "of memory. Run the same again: it goes on with that shard. Fewer workers need less memory."
        ) from error


# ---------------------------------------------------------------------------------------------------------- the folder


def _check_recipe(folder: Path, recipe: dict[str, Any]) -> None:
    """Shards of two recipes must not mix: the first run writes down its own, and later ones compare."""
    if is_cache(folder):
        begun = read_recipe(folder)
        changed = [f"{name}: {begun[name]!r}, now {value!r}" for name, value in recipe.items() if begun[name] != value]
        if changed:
            raise ValueError(f"{folder} was begun with other settings ({'; '.join(changed)}). Take a new folder.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    strangers = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
    if strangers:
        raise ValueError(f"{folder} holds {strangers[0]!r} and no crops. Take a new folder.")
    write_whole(folder / RECIPE, lambda file: file.write_text(json.dumps(recipe, indent=1)))


def _write_shard(folder: Path, number: int, slices: list[_Slice], shard: pa.Schema, rejects: pa.Schema) -> None:
    table = pa.concat_tables([piece.columns for piece in slices])
    added = [{"row": piece.start + index, **row} for piece in slices for index, row in enumerate(piece.added)]
    fields = [*(shard.field(name) for name in shard.names if name not in table.column_names), rejects.field("reason")]
    for field, values in zip(fields, pa.Table.from_pylist(added, pa.schema(fields)).columns, strict=True):
        table = table.append_column(field, values)
    has_crop = table["reason"].is_null()
    for path, rows, schema in (
        (rejects_path(folder, number), table.filter(pc.invert(has_crop)), rejects),
        (shard_path(folder, number), table.filter(has_crop), shard),
    ):
        whole = rows.select(schema.names).cast(schema).combine_chunks()
        write_whole(path, partial(pq.write_table, whole, row_group_size=_GROUP_ROWS, compression="zstd"))
