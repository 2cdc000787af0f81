"""Aligned crops, cut once by `cutting` and kept in a folder that training reads.

A folder holds shards: Parquet files with the columns of a data set, its photos replaced by crops. A photo without a
usable face has its row, with the reason, in a file beside the shard. `recipe.json` tells how the crops were cut, and
`duplicates.parquet`, if there is one, which of them to leave out.

The stored crop is a little larger than the model's, by `BORDER` pixels on each side, so that augmentation can
shift and turn it without inventing pixels. Where the crop leaves the photo, the photo is continued by reflection,
and the corners of the photo are stored: `Crops.framed` blackens what lies beyond them, as
`FahrFaceImageProcessor` does. Training needs both, because where one data set has tight photos and another wide
ones, the black frame tells the data set, and with it the age.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor

BORDER = 8
"""Pixels of a stored crop on each side of what the model sees."""

FORMAT = 2
"""Number of the layout of the folder, which its recipe holds."""

ALIGNING = ("size", "margin", "template", "min_detection_score", "max_detection_side")
"""Options of the processor that decide what a crop shows."""

RECIPE = "recipe.json"
DUPLICATES = "duplicates.parquet"

# Columns of a shard that are no columns of the table.
_PIXELS = ("image", "corners")


@dataclass(frozen=True)
class Crops:
    """Aligned crops and what is known about them, in the order of the source.

    Args:
        images: (n, side, side, 3) uint8 RGB; side is that of the model's crop plus twice `BORDER`.
        corners: (n, 4, 2) float32; the photo's corners in pixels of the stored crop, clockwise from its upper left.
        table: n rows; the columns of the data set but its photos and boxes, and `detection_score`, `faces` (how many
            were found in the photo), `hash` (see `duplicates.difference_hash`) and `row` (position in the data set).
        rejected: Rows left out, for want of a crop or as duplicates; the same columns, and `reason`.
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
    """Black where an image lies outside a convex quadrilateral, grey levels in between where an edge cuts a pixel.

    Args:
        image: (side, side, 3) uint8.
        corners: (4, 2), clockwise as seen by the viewer, in pixels; integers are pixel centres.
    """
    pixels = np.arange(len(image), dtype=np.float32)
    edges = np.roll(corners, -1, axis=0) - corners
    directions = (edges / np.linalg.norm(edges, axis=1, keepdims=True)).astype(np.float32)
    # How far each pixel's centre lies inside of the nearest edge; half a pixel inside, all of it is in the photo.
    depth = np.minimum.reduce(
        [
            np.subtract.outer(dx * (pixels - y), dy * (pixels - x))
            for (dx, dy), (x, y) in zip(directions, corners, strict=True)
        ]
    )
    share = cv2.convertScaleAbs(depth.clip(-0.5, 0.5), alpha=255, beta=127.5)
    return cv2.multiply(image, cv2.cvtColor(share, cv2.COLOR_GRAY2RGB), scale=1 / 255)


def load_crops(folder: str | Path, parts: Collection[str] | None = None, limit: int | None = None) -> Crops:
    """A cache in memory, without the rows that `duplicates.mark_duplicates` told to leave out.

    Args:
        folder: What `cutting.cut_crops` filled.
        parts: Only photos of these parts, such as `("train",)`; others are not even read. All if not given.
        limit: If there are more, only so many, spread evenly over the cache.

    Raises:
        FileNotFoundError: no cache there, or one that is not complete.
        ValueError: a cache of another format.
    """
    folder = Path(folder)
    recipe = read_recipe(folder)
    table, rejected = _labels(folder)
    if parts is not None:
        table, rejected = (rows.filter(pc.is_in(rows["part"], pa.array(parts))) for rows in (table, rejected))
    if limit is not None and len(table) > limit:
        table = table.take(np.arange(limit) * len(table) // limit)
    side = recipe["size"]["height"] + 2 * BORDER
    images = np.empty((len(table), side, side, 3), np.uint8)
    corners = np.empty((len(table), 4, 2), np.float32)
    rows = table["row"].to_numpy()
    with ThreadPoolExecutor() as pool:
        for number, path in enumerate(shards(folder)):
            first, last = np.searchsorted(rows, [number * recipe["shard_rows"], (number + 1) * recipe["shard_rows"]])
            if first == last:
                continue
            shard = pq.read_table(path, columns=["row", *_PIXELS])
            shard = shard.filter(pc.is_in(shard["row"], pa.array(rows[first:last])))
            encoded = pc.struct_field(shard["image"], "bytes").to_pylist()
            for image, pixels in zip(images[first:last], pool.map(decode, encoded), strict=True):
                image[:] = pixels
            corners[first:last] = np.reshape(shard["corners"].to_pylist(), (-1, 4, 2))
    return Crops(images, corners, table, rejected)


def decode(encoded: bytes) -> np.ndarray:
    """The pixels of a stored crop, (side, side, 3) uint8 RGB: the same as Pillow's, in less time.

    Raises:
        OSError: it is damaged.
    """
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise OSError(f"A stored crop of {len(encoded)} bytes is damaged. Cut the crops again, into a new folder.")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def aligning_options(folder: str | Path) -> dict[str, Any]:
    """The options of `FahrFaceImageProcessor` that decided what the crops in a folder show.

    Raises:
        FileNotFoundError: no crops there.
        ValueError: a cache of another format.
    """
    recipe = read_recipe(Path(folder))
    return {name: recipe[name] for name in ALIGNING}


def check_cut(folder: str | Path, processor: FahrFaceImageProcessor) -> None:
    """Refuse crops that show a face otherwise than a processor would cut it.

    Args:
        folder: A cache.
        processor: Of the model that is to see the crops.

    Raises:
        FileNotFoundError: no crops there.
        ValueError: an option that decides what a crop shows differs; the message names it.
    """
    wanted = processor.to_dict()
    for name, found in aligning_options(folder).items():
        if found != wanted[name]:
            raise ValueError(
                f"The crops in {folder} were cut with {name} = {found!r}, and the model's processor has "
                f"{wanted[name]!r}. Cut them again with the model's settings."
            )


# ------------------------------------------------------------------------------------------------------ the folder


def is_cache(folder: str | Path) -> bool:
    """Whether crops were cut into a folder, or begun to be."""
    return (Path(folder) / RECIPE).is_file()


def read_recipe(folder: Path) -> dict[str, Any]:
    """How the crops in a folder were cut.

    Raises:
        FileNotFoundError: no crops there.
        ValueError: a cache of another format.
    """
    if not is_cache(folder):
        raise FileNotFoundError(f"No crops in {folder}. Cut them with `fahr-hf data crops`.")
    recipe = json.loads((folder / RECIPE).read_text())
    found = recipe.get("format", 1)
    if found != FORMAT:
        raise ValueError(
            f"The crops in {folder} are of format {found}, and this version of fahr-hf reads {FORMAT}. Cut them again, "
            "into a new folder."
        )
    return recipe


def shards(folder: Path) -> list[Path]:
    """The shards of a complete cache.

    Raises:
        FileNotFoundError: no cache there, or one that is not complete.
        ValueError: a cache of another format.
    """
    recipe = read_recipe(folder)
    paths = [shard_path(folder, number) for number in range(-(-recipe["rows"] // recipe["shard_rows"]))]
    missing = sum(not path.exists() for path in paths)
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {missing} of {len(paths)} shards: cutting was interrupted. Run `fahr-hf data crops` again."
        )
    return paths


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard is, or will be."""
    return folder / f"shard-{number:05}.parquet"


def rejects_path(folder: Path, number: int) -> Path:
    """Where the rows of a shard without a crop are, or will be."""
    return folder / f"rejects-{number:05}.parquet"


def read_labels(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of a complete cache, all but the pixels if not given: every row with a crop, duplicates included.

    Raises:
        FileNotFoundError: no cache there, or one that is not complete.
        ValueError: a cache of another format.
    """
    paths = shards(folder)
    names = columns or [name for name in pq.read_schema(paths[0]).names if name not in _PIXELS]
    return pa.concat_tables([pq.read_table(path, columns=names) for path in paths]).replace_schema_metadata()


def count_outcomes(folder: Path) -> tuple[int, Counter[str]]:
    """The number of crops in a complete cache, and that of photos without one by reason.

    Raises:
        FileNotFoundError: no cache there, or one that is not complete.
        ValueError: a cache of another format.
    """
    crops = sum(pq.read_metadata(path).num_rows for path in shards(folder))
    # What follows a colon belongs to the single photo.
    reasons = (reason.partition(":")[0] for reason in _rejects(folder)["reason"].to_pylist())
    return crops, Counter(reasons)


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a file that appears under its name only when it is whole."""
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    partial.replace(path)


def _rejects(folder: Path) -> pa.Table:
    paths = [rejects_path(folder, number) for number in range(len(shards(folder)))]
    return pa.concat_tables([pq.read_table(path) for path in paths]).replace_schema_metadata()


def _labels(folder: Path) -> tuple[pa.Table, pa.Table]:
    """Rows to use, and rows left out with their reasons."""
    table, rejected = read_labels(folder), _rejects(folder)
    if not (folder / DUPLICATES).exists():
        return table, rejected
    marked = pq.read_table(folder / DUPLICATES)
    reasons = dict(zip(marked["row"].to_pylist(), marked["reason"].to_pylist(), strict=True))
    is_marked = pc.is_in(table["row"], marked["row"])
    left_out = table.filter(is_marked)
    reason = pa.array([reasons[row] for row in left_out["row"].to_pylist()], pa.string())
    left_out = left_out.append_column("reason", reason)
    return table.filter(pc.invert(is_marked)), pa.concat_tables([rejected, left_out])
