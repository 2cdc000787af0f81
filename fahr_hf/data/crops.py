"""Aligned crops, cut once: photos in Parquet files become a folder of shards that training reads.

Detection costs far more than a training step of a small model, so it runs once. A shard is a Parquet file with
the source's own columns, its photos replaced by crops; a photo without a usable face keeps its row, with the
reason in place of the crop. A shard appears under its name only when it is whole, so a run that was killed goes
on where it stopped.

The stored crop is a little larger than the model's, by `BORDER` pixels on each side, so that augmentation can
shift and turn it without inventing pixels. Where the crop leaves the photo, the photo is continued by reflection,
and the corners of the photo are stored: `Crops.framed` blackens what lies beyond them, as
`FahrFaceImageProcessor` does. Training needs both, because where one data set has tight photos and another wide
ones, the black frame tells the data set, and with it the age.
"""

import io
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps, UnidentifiedImageError

from fahr_hf.data.splits import assign_parts
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor, similarity, warp

BORDER = 8
"""Pixels of a stored crop on each side of what the model sees."""

_SHARD_ROWS = 256
_RECIPE = "recipe.json"
# Options of the processor that decide what a crop shows.
_ALIGNING = ("size", "margin", "template", "min_detection_score", "max_detection_side")
# Columns of a shard that are no columns of the table.
_PIXELS = ("crop", "corners")
# The hash compares grey values of a thumbnail, this many pixels wide and high, with their right neighbours.
_HASH_SIDE = 16


@dataclass(frozen=True)
class Crops:
    """Aligned crops and what is known about them, in the order of the source.

    Args:
        images: (n, side, side, 3) uint8 RGB; side is that of the model's crop plus twice `BORDER`.
        corners: (n, 4, 2) float32; the photo's corners in pixels of the stored crop, clockwise from its upper left.
        table: n rows; the source's columns without its photos, `part`, `row` (position in the source) and
            `detection_score`.
        rejected: Rows without a crop; the same columns, and `reason`.
    """

    images: np.ndarray
    corners: np.ndarray
    table: pa.Table
    rejected: pa.Table

    def __len__(self) -> int:
        return len(self.images)

    def column(self, name: str) -> np.ndarray:
        """A column of the table.

        Raises:
            ValueError: no such column; the message names those that exist.
        """
        if name not in self.table.column_names:
            known = ", ".join(self.table.column_names)
            raise ValueError(f"No column {name!r} in these crops; there are {known}.")
        return self.table[name].to_numpy()

    def select(self, keep: np.ndarray) -> "Crops":
        """The crops that `keep` names: a boolean mask (n,), or positions."""
        positions = np.flatnonzero(keep) if keep.dtype == bool else keep
        table = self.table.take(pa.array(positions))
        return Crops(self.images[positions], self.corners[positions], table, self.rejected)

    def framed(self, index: int) -> np.ndarray:
        """The crop as the processor cuts it, (side - 2 BORDER, the same, 3) uint8: black beyond the photo."""
        crop = blacken(self.images[index], self.corners[index])
        return crop[BORDER:-BORDER, BORDER:-BORDER]


def join(sources: Sequence[Crops], columns: Sequence[str]) -> Crops:
    """Crops of several data sets as one, with the named columns, which all of them have."""
    return Crops(
        images=np.concatenate([source.images for source in sources]),
        corners=np.concatenate([source.corners for source in sources]),
        table=pa.concat_tables([source.table.select(list(columns)) for source in sources]),
        rejected=pa.concat_tables([source.rejected.select([*columns, "reason"]) for source in sources]),
    )


def blacken(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Black where an image lies outside a convex quadrilateral.

    Args:
        image: (side, side, 3) uint8.
        corners: (4, 2), in order around it, in pixels; integers are pixel centres.
    """
    inside = np.zeros(image.shape[:2], np.uint8)
    # Fixed-point coordinates with four fractional bits.
    cv2.fillConvexPoly(inside, (corners * 16).round().astype(np.int32), 1, shift=4)
    return image * inside[:, :, None]


def cut_crops(
    files: Sequence[str | Path],
    folder: str | Path,
    key: str,
    processor: FahrFaceImageProcessor | None = None,
    workers: int | None = None,
) -> Iterator[int]:
    """Fill the cache of one data set, or what is missing of it.

    Args:
        files: Its Parquet files, all of them, with the columns `image` (encoded bytes, as Hugging Face stores
            them), `split`, and the one that `key` names.
        folder: Where the shards go; made if it does not exist.
        key: Column that identifies the person, or the photo where no identities exist: it decides the part.
        processor: Finds and aligns; the default one if not given. Of several faces the largest counts.
        workers: Processes; as many as there are processors if not given. The result does not depend on it.

    Yields:
        The number of photos done so far, from those done by an earlier run up to all of them.

    Raises:
        ValueError: no files, a column is missing, or the folder was begun with other settings.
    """
    if not files:
        raise ValueError(f"No Parquet files to fill {folder} from.")
    processor = processor or FahrFaceImageProcessor()
    source = pa.concat_tables([pq.read_table(file) for file in files])
    missing = [name for name in ("image", "split", key) if name not in source.column_names]
    if missing:
        known = ", ".join(source.column_names)
        raise ValueError(f"No column {', '.join(missing)} in {files[0]}; there are {known}.")
    folder = Path(folder)
    _check_recipe(folder, processor, source, key)
    parts = assign_parts(source["split"].to_pylist(), source[key].to_pylist())
    source = source.append_column("part", pa.array(parts)).append_column("row", pa.array(range(len(source))))
    shards = {
        folder / f"shard-{number:05}.parquet": source.slice(number * _SHARD_ROWS, _SHARD_ROWS)
        for number in range(-(-len(source) // _SHARD_ROWS))
    }
    todo = {path: rows for path, rows in shards.items() if not path.exists()}
    done = len(source) - sum(map(len, todo.values()))
    yield done
    # Not forked: the threads of OpenCV and torch do not survive that.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        for count in pool.map(_cut_shard, todo, todo.values(), [processor] * len(todo)):
            done += count
            yield done


def load_crops(folder: str | Path) -> Crops:
    """A whole cache, in memory.

    Args:
        folder: What `cut_crops` filled.

    Raises:
        FileNotFoundError: no cache there, or one that is not complete.
    """
    folder = Path(folder)
    recipe = _read_recipe(folder)
    table = pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("shard-*.parquet"))])
    if len(table) != recipe["rows"]:
        raise FileNotFoundError(
            f"{folder} holds {len(table)} of {recipe['rows']} photos: cutting was interrupted. Run it again."
        )
    side = recipe["size"]["height"] + 2 * BORDER
    usable = table.filter(table["crop"].is_valid())
    images = np.empty((len(usable), side, side, 3), np.uint8)
    for image, crop in zip(images, usable["crop"], strict=True):
        image[:] = np.frombuffer(crop.as_buffer(), np.uint8).reshape(side, side, 3)
    return Crops(
        images=images,
        corners=np.array(usable["corners"].to_pylist(), np.float32).reshape(-1, 4, 2),
        table=usable.drop_columns([*_PIXELS, "reason"]),
        rejected=table.filter(table["crop"].is_null()).drop_columns(list(_PIXELS)),
    )


def aligning_options(folder: str | Path) -> dict[str, Any]:
    """The options of `FahrFaceImageProcessor` that decided what the crops in a folder show.

    Raises:
        FileNotFoundError: no crops there.
    """
    recipe = _read_recipe(Path(folder))
    return {name: recipe[name] for name in _ALIGNING}


def difference_hash(crops: Crops) -> np.ndarray:
    """A hash that survives recompression and resizing: whether each pixel of a thumbnail is darker than the next.

    Returns:
        (n, 32) uint8: 256 bits a crop.
    """
    bits = np.zeros((len(crops), _HASH_SIDE**2 // 8), np.uint8)
    for row, image in zip(bits, crops.images, strict=True):
        grey = cv2.cvtColor(image[BORDER:-BORDER, BORDER:-BORDER], cv2.COLOR_RGB2GRAY)
        thumbnail = cv2.resize(grey, (_HASH_SIDE + 1, _HASH_SIDE), interpolation=cv2.INTER_AREA)
        row[:] = np.packbits(thumbnail[:, :-1] < thumbnail[:, 1:])
    return bits


def hash_distance(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each hash the number of bits by which the nearest of `others` differs from it.

    Args:
        hashes: (n, bytes) uint8.
        others: (m, bytes) uint8, m at least 1.

    Returns:
        (n,) int.
    """
    signs, other_signs = (1 - 2 * np.unpackbits(bits, axis=1).astype(np.float32) for bits in (hashes, others))
    bits = signs.shape[1]
    # In pieces: all pairs of two large sets would not fit into memory.
    pieces = np.split(signs, range(512, len(signs), 512))
    nearest = np.concatenate([(piece @ other_signs.T).max(axis=1) for piece in pieces])
    return ((bits - nearest) / 2).round().astype(int)


def _read_recipe(folder: Path) -> dict[str, Any]:
    if not (folder / _RECIPE).is_file():
        raise FileNotFoundError(f"No crops in {folder}. Cut them with `fahr-hf data crops`.")
    return json.loads((folder / _RECIPE).read_text())


def _check_recipe(folder: Path, processor: FahrFaceImageProcessor, source: pa.Table, key: str) -> None:
    """Shards of two recipes must not mix: the first run writes down its own, and later ones compare."""
    options: dict[str, Any] = processor.to_dict()
    recipe = {"rows": len(source), "key": key, "border": BORDER, **{name: options[name] for name in _ALIGNING}}
    path = folder / _RECIPE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write_whole(path, lambda file: file.write_text(json.dumps(recipe, indent=1)))
        return
    begun = _read_recipe(folder)
    changed = [f"{name}: {begun[name]!r}, now {value!r}" for name, value in recipe.items() if begun[name] != value]
    if changed:
        raise ValueError(f"{folder} was begun with other settings ({'; '.join(changed)}). Take a new folder.")


def _write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    write(partial)
    partial.replace(path)


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _cut_shard(path: Path, rows: pa.Table, processor: FahrFaceImageProcessor) -> int:
    cut = [_cut(photo["bytes"], processor) for photo in rows["image"].to_pylist()]
    columns = {
        "crop": pa.array([row.get("crop") for row in cut], pa.binary()),
        "corners": pa.array([row.get("corners") for row in cut], pa.list_(pa.float32())),
        "detection_score": pa.array([row.get("detection_score") for row in cut], pa.float32()),
        "reason": pa.array([row.get("reason") for row in cut], pa.string()),
    }
    table = rows.drop_columns(["image"])
    for name, values in columns.items():
        table = table.append_column(name, values)
    _write_whole(path, lambda file: pq.write_table(table, file, compression="zstd"))
    return len(rows)


def _cut(photo: bytes, processor: FahrFaceImageProcessor) -> dict[str, Any]:
    try:
        with Image.open(io.BytesIO(photo)) as image:
            rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        faces = processor.detect(rgb)
    except UnidentifiedImageError:
        # Its message holds an address in memory.
        return {"reason": "unreadable: no image that Pillow knows"}
    except (OSError, ValueError, SyntaxError) as error:
        return {"reason": f"unreadable: {error}"}
    if not faces:
        return {"reason": "no face"}
    side = processor.size["height"] + 2 * BORDER
    matrix = similarity(np.array(faces[0]["landmarks"]), processor.target_landmarks() + BORDER)
    height, width = rgb.shape[:2]
    edges = np.array([[0, 0], [width, 0], [width, height], [0, height]]) - 0.5
    corners = edges @ matrix[:, :2].T + matrix[:, 2]
    pad = _missing(matrix, side, width, height)
    if pad:
        rgb = cv2.copyMakeBorder(rgb, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
        matrix = np.column_stack([matrix[:, :2], matrix[:, 2] - matrix[:, :2] @ (pad, pad)])
    return {
        "crop": warp(rgb, matrix, side).tobytes(),
        "corners": corners.astype(np.float32).ravel().tolist(),
        "detection_score": faces[0]["detection_score"],
    }


def _missing(matrix: np.ndarray, side: int, width: int, height: int) -> int:
    """Pixels by which the photo must be continued so that the crop lies inside it."""
    crop = np.array([[0, 0], [side, 0], [side, side], [0, side]])
    needed = (crop - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    beyond = max(*(-needed.min(axis=0)), *(needed.max(axis=0) - (width, height)))
    # Two pixels more for interpolation; further out than twice the photo nothing is worth continuing.
    return min(int(np.ceil(beyond)) + 2, 2 * max(width, height)) if beyond > 0 else 0
