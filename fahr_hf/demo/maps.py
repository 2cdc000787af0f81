"""What an age rests on, as a picture and in words: red and blue squares on the aligned face, with their years.

The colours mean what they mean in the reports of `fahr-hf evaluate saliency`. They are drawn here with Pillow, as the
demo does without matplotlib.
"""

import base64
from io import BytesIO
from typing import TypedDict

import numpy as np
from PIL import Image

# The ends of Matplotlib's RdBu, which people with any colour vision tell apart; and how much of the photo stays.
_RED, _WHITE, _BLUE = (np.array(colour, np.float32) for colour in ((178, 24, 43), (247, 247, 247), (33, 102, 172)))
_FADED = 0.45
_ENLARGED = 4
# In years. Answers that hardly change at all must not look as if they changed a lot.
_LEAST_END = 0.5
_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


class MapPicture(TypedDict):
    """A drawn map: the picture as a data URL, the years at the ends of its scale, and where it is how strong."""

    source: str
    end: float
    older: float
    older_place: str
    younger: float
    younger_place: str


def draw(crop: np.ndarray, saliency: np.ndarray) -> MapPicture:
    """Lay a map over a face.

    Args:
        crop: (side, side, 3) uint8 RGB.
        saliency: (side, side), years that each place adds to the age.
    """
    older, younger = max(0.0, float(saliency.max())), max(0.0, float(-saliency.min()))
    end = max(older, younger, _LEAST_END)
    side = _ENLARGED * len(crop)
    grey = np.asarray(Image.fromarray(crop).convert("L").resize((side, side), Image.Resampling.BICUBIC), np.float32)
    strength = np.kron(saliency / end, np.ones((_ENLARGED, _ENLARGED)))[..., None]
    colour = _WHITE + abs(strength) * (np.where(strength > 0, _RED, _BLUE) - _WHITE)
    picture = _FADED * grey[..., None] + (1 - _FADED) * colour
    return {
        "source": as_data(picture.round().astype(np.uint8), "WEBP"),
        "end": end,
        "older": older,
        "older_place": _place(saliency == saliency.max()),
        "younger": younger,
        "younger_place": _place(saliency == saliency.min()),
    }


def as_data(picture: np.ndarray, kind: str) -> str:
    """A picture, (height, width, 3) uint8 RGB, as a data URL of a `"PNG"` or `"WEBP"`."""
    content = BytesIO()
    Image.fromarray(picture).save(content, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"


def _place(where: np.ndarray) -> str:
    """Which ninth of a picture some of its pixels lie in, as a viewer would say it."""
    row, column = (3 * np.argwhere(where).mean(axis=0) // len(where)).astype(int)
    return "centre" if row == column == 1 else f"{_ROWS[row]} {_COLUMNS[column]}"
