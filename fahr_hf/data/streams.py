"""Training data larger than memory: an epoch of crops from shards, mixed, split over processes, and resumable.

Everything follows from arithmetic on (seed, epoch), so there is no state to save:

- the blocks of all shards (`shards`) are put in an order drawn from (seed, epoch); this gives each of the N rows a
  position;
- the positions are cut into batches, as many for each process, whose sizes differ by at most one, so that no row is
  lost or seen twice, whatever N is;
- each process has `_LANES` runs of consecutive batches and goes through them in turn. A lane's blocks are read in
  windows of some thousand rows, and each window is shuffled.

So any batch is reached by reading one window, and the order does not depend on the number of workers: worker w of W
makes every W-th batch, which is what torch's DataLoader expects of it. Neighbours in a batch come from several
blocks, anywhere in the set.
"""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from torch.utils.data import IterableDataset, get_worker_info

from fahr_hf.data.shards import EncodedCrop, Shards

# With 1, 2 or 4 workers each row is read once; with more, several read the same lane, and decode their own share.
_LANES = 4
# What a random number is for is the first part of its seed; training's own begin at 0.
_BLOCK_ORDER, _WINDOW_ORDER = 16, 17


@dataclass(frozen=True)
class StreamBatch:
    """What a stream yields.

    Args:
        samples: Each with `image` (side, side, 3) uint8 RGB, `corners` (4, 2) float32 in pixels of the image or None,
            `name`, `epoch`, and `index`, a number of its own that it keeps over epochs.
        unreadable: For each photo that could not be decoded its name and the reason; these are no samples.
    """

    samples: list[dict[str, Any]]
    unreadable: list[str]


class CropStream:
    """Aligned crops in shards, too many to hold in memory.

    Args:
        sources: Crop caches, folders of WebDataset tars, or single shards; see `Shards`, also for the errors.
        part: Rows of this part; None for all. A shard without a column `part`, such as a tar, is used whole.
        seed: Of the order, at least 0.
        window: Rows that are shuffled together, rounded up to whole blocks. A process holds four such windows, shared
            among 1, 2 or 4 workers; with other numbers several workers hold the same.
    """

    def __init__(self, sources: Sequence[str | Path], part: str | None = "train", seed: int = 0, window: int = 1024):
        self.shards = Shards(sources, part)
        self.seed = seed
        self.window = window
        self._rows = int(self.shards.rows.sum())
        if not self._rows:
            wanted = "" if part is None else f" of the part {part!r}"
            raise ValueError(f"No rows{wanted} in {', '.join(map(str, sources))}.")

    def __len__(self) -> int:
        """Rows in an epoch."""
        return self._rows

    def steps(self, batch_size: int, processes: int = 1) -> int:
        """Batches in an epoch for each of `processes`, the same for all.

        None has more than `batch_size` rows (than two, if that is one), and their sizes differ by at most one.

        Raises:
            ValueError: fewer rows than processes.
        """
        if len(self) < processes:
            raise ValueError(f"{len(self)} rows do not suffice for {processes} processes.")
        # Not more than leave each batch a row.
        return min(math.ceil(len(self) / (batch_size * processes)), len(self) // processes)

    def batches(
        self, epoch: int, *, batch_size: int, process: int = 0, processes: int = 1, start: int = 0
    ) -> IterableDataset[StreamBatch]:
        """The batches of one epoch and process, for a DataLoader with `batch_size=None` and any number of workers.

        Args:
            epoch: At least 0.
            batch_size: Largest number of rows in a batch.
            process: This one, 0 ... processes - 1.
            processes: That train together.
            start: Batches to leave out, because they were seen before an interruption.

        Raises:
            OSError: on iteration, where a shard is damaged or no photo of a batch can be decoded.
        """
        return _EpochBatches(self, epoch, self.steps(batch_size, processes), process, processes, start)


class _EpochBatches(IterableDataset[StreamBatch]):
    def __init__(self, stream: CropStream, epoch: int, steps: int, process: int, processes: int, start: int):
        self.stream, self.epoch, self.steps, self.start = stream, epoch, steps, start
        self.process, self.processes = process, processes

    def __iter__(self) -> Iterator[StreamBatch]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        order = _EpochOrder(self.stream, self.epoch)
        lanes: dict[int, _Lane] = {}
        for batch in range(self.start + number, self.steps, workers):
            lane, place = batch % _LANES, batch // _LANES
            if lane not in lanes:
                lanes[lane] = _Lane(order, self._row(lane, 0), self._row(lane + 1, 0))
            yield _decode(lanes[lane].read(self._row(lane, place), self._row(lane, place + 1)), self.epoch)

    def _row(self, lane: int, place: int) -> int:
        """Position of the first row of the batch at a place of a lane."""
        before = sum(math.ceil((self.steps - earlier) / _LANES) for earlier in range(lane))
        batch = self.process * self.steps + before + place
        return batch * len(self.stream) // (self.processes * self.steps)


class _EpochOrder:
    """The rows of an epoch: the blocks in their order, and where each ends."""

    def __init__(self, stream: CropStream, epoch: int):
        self.shards, self.window, self.seed = stream.shards, stream.window, (stream.seed, epoch)
        self.blocks = np.random.default_rng((_BLOCK_ORDER, *self.seed)).permutation(len(stream.shards.rows))
        self.ends = np.cumsum(stream.shards.rows[self.blocks])

    def window_end(self, first: int) -> int:
        """Where a window that begins at position `first` ends, if nothing else ends before."""
        return int(self.ends[np.searchsorted(self.ends[:-1], first + self.window)])

    def shuffled(self, first: int, stop: int) -> list[EncodedCrop]:
        """The rows at positions `first` ... `stop` - 1, as one window."""
        crops: list[EncodedCrop] = []
        begin, end = np.searchsorted(self.ends, (first, stop - 1), side="right")
        for block in range(begin, end + 1):
            offset = int(self.ends[block] - self.shards.rows[self.blocks[block]])
            crops += self.shards.read(self.blocks[block])[max(first - offset, 0) : stop - offset]
        order = np.random.default_rng((_WINDOW_ORDER, *self.seed, first)).permutation(len(crops))
        return [crops[place] for place in order]


class _Lane:
    """Consecutive rows of an epoch, read forwards and shuffled in windows."""

    def __init__(self, order: _EpochOrder, first: int, stop: int):
        self.order, self.stop = order, stop
        self.begin = self.end = first
        self.window: list[EncodedCrop] = []

    def read(self, first: int, stop: int) -> list[EncodedCrop]:
        crops: list[EncodedCrop] = []
        while first < stop:
            if first >= self.end:
                self._move(first)
            crops += self.window[first - self.begin : stop - self.begin]
            first = min(stop, self.end)
        return crops

    def _move(self, position: int) -> None:
        while self.end <= position:
            self.begin, self.end = self.end, min(self.order.window_end(self.end), self.stop)
        # Never two windows at once.
        self.window.clear()
        self.window = self.order.shuffled(self.begin, self.end)


def _decode(crops: list[EncodedCrop], epoch: int) -> StreamBatch:
    samples, unreadable = [], []
    for crop in crops:
        try:
            image = _pixels(crop.data)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            unreadable.append(f"{crop.name}: {error}")
        else:
            samples.append(
                {"image": image, "corners": crop.corners, "name": crop.name, "epoch": epoch, "index": crop.index}
            )
    if not samples:
        raise OSError(f"No photo of a batch of {len(crops)} can be decoded. The first are {'; '.join(unreadable[:3])}.")
    return StreamBatch(samples, unreadable)


def _pixels(data: bytes) -> np.ndarray:
    # By Pillow, because not every version of OpenCV notices that a JPEG file is cut short.
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width != image.height:
                raise ValueError(f"{image.width} x {image.height} pixels, but an aligned crop is square")
            return np.array(image.convert("RGB"))
    except UnidentifiedImageError:
        # Its message holds an address in memory.
        raise ValueError("no image that Pillow knows") from None
