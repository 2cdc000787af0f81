"""Pictures that are there twice, in one cache or in two: found by a hash of the crop, and left out where they harm.

A model that has been fitted on a photo of its test looks better than it is, and data sets that were collected from the
web share photos. The hash compares pictures, not people: recompressed and resized copies of a photo agree in nearly all
bits, and other photos of the same person do not.

One of two nearly equal crops has to go, and the part decides which: `test` is stronger than `calibration`, that than
`validation`, and that than `train`. It is the order in which a photo must be new to the model: a test photo to all that
was done, a calibration photo to fitting and selecting, a validation photo to fitting. So a test photo always stays; and
within a part, only `train` is thinned out, where the first stays.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fahr_hf.data.crops import BORDER, DUPLICATES, read_labels, write_whole
from fahr_hf.data.splits import is_test

NEAR = 26
"""Bits by which two hashes may differ, of 264. In UTKFace nearly all pairs up to here are the same picture; at 27 bits
half are, and beyond it few."""

# Of the thumbnail whose pixels the hash compares. Neighbours below count as well as those to the right: aligned faces
# are much alike, and with twice as many to the right alone other people were as near as copies are.
_HASH_SIDE = 12
# From the strongest to the weakest claim to a photo.
_PARTS = ("test", "calibration", "validation", "train")
# Hashes compared at once with as many others: 64 MB of distances.
_BLOCK = 4096


def difference_hash(images: np.ndarray) -> np.ndarray:
    """A hash that survives recompression and resizing: whether pixels of a thumbnail are darker than their neighbours.

    Args:
        images: (n, side, side, 3) uint8, stored crops with their `BORDER`.

    Returns:
        (n, 33) uint8: 264 bits a crop, first the comparisons with neighbours to the right, then with those below.
    """
    bits = np.zeros((len(images), 2 * _HASH_SIDE * (_HASH_SIDE - 1)), bool)
    for row, image in zip(bits, images, strict=True):
        grey = cv2.cvtColor(image[BORDER:-BORDER, BORDER:-BORDER], cv2.COLOR_RGB2GRAY)
        thumbnail = cv2.resize(grey, (_HASH_SIDE, _HASH_SIDE), interpolation=cv2.INTER_AREA)
        right, below = thumbnail[:, :-1] < thumbnail[:, 1:], thumbnail[:-1] < thumbnail[1:]
        row[:] = np.concatenate([right, below], axis=None)
    return np.packbits(bits, axis=1)


def hash_distance(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Number of bits by which each hash differs from each of the others.

    Args:
        hashes: (n, bytes) uint8.
        others: (m, bytes) uint8.

    Returns:
        (n, m) float32, of whole numbers.
    """
    # With signs for bits the inner product is the number of equal bits less that of different ones.
    signs, other_signs = (1 - 2 * np.unpackbits(bits, axis=1).astype(np.float32) for bits in (hashes, others))
    distances = (-0.5 * signs) @ other_signs.T
    distances += signs.shape[1] / 2
    return distances


def find_duplicates(hashes: np.ndarray, parts: Sequence[str]) -> np.ndarray:
    """For each crop the one that stays in its place, where there is one.

    Args:
        hashes: (n, 33) uint8.
        parts: n parts, see `splits`.

    Returns:
        (n,) int: -1 for a crop that stays; otherwise the position of the crop that nearly equals it, stays, and comes
        first, in order of the parts and then of positions.
    """
    claims = np.array([_PARTS.index("test" if is_test(part) else part) for part in parts])
    instead = np.full(len(hashes), -1)
    kept = np.empty(0, int)
    for claim in range(len(_PARTS) - 1):
        own = np.flatnonzero(claims == claim)
        instead[own] = _first_near(hashes, own, kept)
        kept = np.append(kept, own[instead[own] < 0])
    for block in _blocks(np.flatnonzero(claims == len(_PARTS) - 1)):
        instead[block] = _first_near(hashes, block, kept)
        near = np.tril(hash_distance(hashes[block], hashes[block]) <= NEAR, -1)
        for place in np.flatnonzero(near.any(axis=1) & (instead[block] < 0)):
            earlier = block[near[place] & (instead[block] < 0)]
            instead[block[place]] = earlier[0] if len(earlier) else -1
        kept = np.append(kept, block[instead[block] < 0])
    return instead


def mark_duplicates(folders: Sequence[str | Path]) -> list[Counter[str]]:
    """Write into each of several caches which of its rows `load_crops` leaves out; see the top of this module.

    The caches are those that are used together: a photo of one may be left out because of another. What an earlier run
    wrote is replaced. Memory grows by some hundreds of bytes a crop, and time with the square of their number: 40,000
    take 6 seconds of one core, and a million would take an hour.

    Args:
        folders: Complete caches.

    Returns:
        For each folder the number of rows to leave out, by part.

    Raises:
        FileNotFoundError: no cache there, or one that is not complete.
        ValueError: a cache of another format, or one given twice.
    """
    places = [Path(folder) for folder in folders]
    if len({place.resolve() for place in places}) < len(places):
        raise ValueError(f"One of {', '.join(map(str, places))} is given twice; all of it would be a duplicate.")
    tables = [read_labels(place, ["row", "photo_id", "source", "part", "hash"]) for place in places]
    photos = pa.concat_tables(tables)
    hashes = np.frombuffer(b"".join(photos["hash"].to_pylist()), np.uint8).reshape(len(photos), -1)
    instead = find_duplicates(hashes, photos["part"].to_pylist())
    marked = np.flatnonzero(instead >= 0)
    left_out = photos.take(marked).append_column("reason", pa.array(_reasons(photos, hashes, marked, instead[marked])))
    # Where the rows of one cache end and those of the next begin.
    limits = np.searchsorted(marked, np.cumsum([0, *map(len, tables)])).tolist()
    counts = []
    for place, start, end in zip(places, limits[:-1], limits[1:], strict=True):
        rows = left_out.slice(start, end - start)
        write_whole(place / DUPLICATES, partial(pq.write_table, rows.select(["row", "photo_id", "reason"])))
        counts.append(Counter(rows["part"].to_pylist()))
    return counts


def _reasons(photos: pa.Table, hashes: np.ndarray, marked: np.ndarray, instead: np.ndarray) -> list[str]:
    bits = np.bitwise_count(hashes[marked] ^ hashes[instead]).sum(axis=1)
    others = photos.take(instead)
    return [
        f"nearly the same picture as {source}/{photo_id} ({count} of {8 * hashes.shape[1]} bits)"
        for source, photo_id, count in zip(
            others["source"].to_pylist(), others["photo_id"].to_pylist(), bits, strict=True
        )
    ]


def _first_near(hashes: np.ndarray, own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each of the positions `own` the first of `others` that nearly equals it, -1 where none does."""
    first = np.full(len(own), -1)
    for block in _blocks(np.arange(len(own))):
        for rivals in _blocks(others):
            near = hash_distance(hashes[own[block]], hashes[rivals]) <= NEAR
            found = near.any(axis=1)
            first[block[found]] = rivals[near[found].argmax(axis=1)]
            block = block[~found]
    return first


def _blocks(positions: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(positions), _BLOCK):
        yield positions[start : start + _BLOCK]
