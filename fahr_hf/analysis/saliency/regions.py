"""Regions of the face on the aligned crop, where eyes and mouth always lie at the same pixels.

The regions are drawn once, as polygons in units of the face itself: u runs from the face's midline to the viewer's
right, in half distances between the eyes; v runs from the eyes, 0, down to the mouth, 1. They fit the average upright
face; of a single one, above all a child's or a turned one, edges are a few pixels off. Their outlines are ours, and the
skin above the upper lip belongs to the mouth.
"""

import cv2
import numpy as np

from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor

REGIONS = (
    "forehead",
    "temples",
    "brows",
    "eyes",
    "under-eyes",
    "nasal bridge",
    "nose",
    "cheeks",
    "nasolabial folds",
    "mouth",
    "chin",
    "background",
)
"""Names of the regions; the position of a name is the region's number on `region_labels`."""

# In the order of painting: what comes later lies on top. Of regions on both sides the one at the viewer's right is
# given, the other one is its mirror image. The first polygon is the whole face, whose rest becomes the cheeks.
_OUTLINES: tuple[tuple[str, tuple[tuple[float, float], ...]], ...] = (
    (
        "cheeks",
        (
            (0, -1.15),
            (0.8, -1.12),
            (1.5, -0.95),
            (2.0, -0.6),
            (2.2, 0),
            (2.15, 0.5),
            (1.95, 0.95),
            (1.55, 1.35),
            (1.1, 1.6),
            (0, 1.7),
        ),
    ),
    ("forehead", ((0, -1.15), (0.8, -1.12), (1.5, -0.95), (1.55, -0.35), (0, -0.2))),
    ("temples", ((1.5, -0.95), (2.0, -0.6), (2.2, 0), (2.18, 0.12), (1.6, 0.12), (1.55, -0.35))),
    ("chin", ((0, 1.15), (0.7, 1.15), (1.05, 1.22), (1.15, 1.6), (0, 1.7))),
    ("eyes", ((0.3, -0.3), (1.0, -0.36), (1.72, -0.3), (1.68, 0.06), (1.0, 0.16), (0.3, 0.06))),
    ("brows", ((0.35, -0.22), (0.4, -0.4), (1.0, -0.5), (1.65, -0.38), (1.75, -0.18), (1.0, -0.24))),
    ("under-eyes", ((0.3, 0.05), (1.0, 0.15), (1.68, 0.05), (1.5, 0.36), (1.0, 0.44), (0.45, 0.32))),
    ("mouth", ((0, 0.6), (0.6, 0.6), (1.0, 0.98), (0.65, 1.2), (0, 1.24))),
    ("nasolabial folds", ((0.55, 0.62), (0.62, 0.42), (1.15, 0.72), (1.35, 1.12), (1.05, 1.22), (0.95, 0.98))),
    ("nasal bridge", ((0, -0.28), (0.36, -0.24), (0.32, 0.28), (0, 0.28))),
    ("nose", ((0, 0.28), (0.32, 0.28), (0.62, 0.5), (0.58, 0.66), (0, 0.76))),
)
# Corners are given to the painter in 1/16 of a pixel.
_SHIFT = 4


def region_labels(processor: FahrFaceImageProcessor) -> np.ndarray:
    """The region of every pixel of the crops that a processor cuts.

    Args:
        processor: Its template, margin and size say where eyes and mouth lie.

    Returns:
        (side, side) uint8, numbers of `REGIONS`. Every pixel has exactly one region.
    """
    side = processor.size["height"]
    left, right, _, *corners = processor.target_landmarks()
    eyes, mouth = (left + right) / 2, np.mean(corners, axis=0)
    axes = np.stack([(right - left) / 2, mouth - eyes])
    labels = np.full((side, side), REGIONS.index("background"), np.uint8)
    for name, outline in _OUTLINES:
        for mirror in (1, -1):
            points = eyes + (np.array(outline) * (mirror, 1)) @ axes
            fixed = (points * 2**_SHIFT).round().astype(np.int32)
            cv2.fillPoly(labels, [fixed], REGIONS.index(name), shift=_SHIFT)
    return labels


def region_sums(maps: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Maps summed over the pixels of each region.

    Args:
        maps: (n, side, side).
        labels: What `region_labels` returns.

    Returns:
        (n, regions) float64, in the order of `REGIONS`; a row sums to its map's sum.
    """
    inside = np.stack([labels.ravel() == number for number in range(len(REGIONS))], axis=1)
    return maps.reshape(len(maps), -1).astype(np.float64) @ inside


def region_shares(maps: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Shares of the regions in a map's absolute values: whether a place makes older or younger does not matter.

    Args:
        maps: (n, side, side); none is zero everywhere.
        labels: What `region_labels` returns.

    Returns:
        (n, regions) float64, in the order of `REGIONS`; a row sums to 1.
    """
    sums = region_sums(abs(maps), labels)
    return sums / sums.sum(axis=1, keepdims=True)


def region_areas(labels: np.ndarray) -> np.ndarray:
    """Shares of the regions in the crop's pixels, (regions,); they sum to 1."""
    return np.bincount(labels.ravel(), minlength=len(REGIONS)) / labels.size
