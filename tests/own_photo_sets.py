"""Tables of one's own photos, and faces for them: one photo of the public domain under many kinds of light."""

import re
from pathlib import Path

import numpy as np
from photo_sets import ASTRONAUT
from PIL import Image

_FACE = ASTRONAUT.crop((100, 0, 356, 256))


def in_patchy_light(number: int) -> Image.Image:
    """A face in a light of its own, different enough from the others to be no copy of them."""
    light = np.random.default_rng(number).uniform(0.2, 1, (8, 8))
    mask = np.asarray(Image.fromarray((255 * light).astype(np.uint8)).resize(_FACE.size, Image.Resampling.BILINEAR))
    return Image.fromarray((np.asarray(_FACE) * (mask[..., None] / 255)).astype(np.uint8))


def write_faces(folder: Path, count: int) -> Path:
    """0.jpg, 1.jpg ... of several sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        side = 200 + 10 * (number % 8)
        in_patchy_light(number).resize((side, side)).save(folder / f"{number}.jpg", quality=95)
    return folder


def write_csv(path: Path, text: str) -> Path:
    """A csv file from lines that may be indented."""
    path.write_text(re.sub(" *\n *", "\n", text.strip()) + "\n")
    return path
