"""What the file of a portrait tells about its time without the face: colour, size, margins.

Photographs became coloured, scans larger. A model of faces can read the year of birth from that, and appears to know
who dies first. These figures of the original file, not of the crop, stand beside the face in every model.
"""

import io

import numpy as np
import pandas as pd
from PIL import Image

ERA = ("saturation", "grey", "log_bytes", "log_pixels", "border")

# Levels of 255. Compression leaves a little colour in what has none, and a little structure in what is flat.
_COLOURLESS, _FLAT = 2.0, 6.0


def era_features(encoded: bytes) -> dict[str, float]:
    """Features of an encoded portrait.

    Returns:
        `saturation` (mean over pixels, 0 to 1, as of HSV), `grey` (1 if the portrait has no colour), `log_bytes` of the
        file, `log_pixels` of the photo, `border` (share of its area in rows and columns, from the edges inwards,
        whose brightness does not change along them).
    """
    pixels = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"), np.float64)
    highest, spread = pixels.max(axis=2), np.ptp(pixels, axis=2)
    brightness = pixels.mean(axis=2)
    height, width = (_structured(brightness.std(axis=axis)) for axis in (1, 0))
    return {
        "saturation": float((spread / np.maximum(highest, 1)).mean()),
        "grey": float(spread.mean() < _COLOURLESS),
        "log_bytes": float(np.log(len(encoded))),
        "log_pixels": float(np.log(brightness.size)),
        "border": 1 - height * width / brightness.size,
    }


def with_era(members: pd.DataFrame) -> pd.DataFrame:
    """Members with the features of their portraits in place of these (`image`, bytes)."""
    features = pd.DataFrame([era_features(encoded) for encoded in members["image"]], members.index)
    return members.drop(columns="image").join(features)


def _structured(deviations: np.ndarray) -> int:
    """How many rows or columns there are from the first to the last that is not flat."""
    structured = np.flatnonzero(deviations >= _FLAT)
    return int(np.ptp(structured)) + 1 if len(structured) else 0
