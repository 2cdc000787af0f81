"""Copies of photos with a box and a line of text for every face."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

_COLOUR = (255, 210, 0)
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def annotate(photo: str | os.PathLike, faces: list[dict[str, Any]], out: Path) -> None:
    """Draw the faces into a copy of a photo, upright and in RGB.

    Args:
        photo: Image file.
        faces: What a pipeline answered for it.
        out: Image file to write; where its suffix is of a format that is hardly for pictures like this,
            .png is added. Its folders are made.

    Raises:
        OSError: the file cannot be written.
    """
    with Image.open(photo) as image:
        picture = ImageOps.exif_transpose(image)
    if picture.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255 instead of scaling.
        picture = Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
    picture = picture.convert("RGB")
    draw = ImageDraw.Draw(picture)
    for number, face in enumerate(faces, 1):
        box = face["box"]
        if box is None:
            continue
        corners = [box["xmin"], box["ymin"], box["xmax"], box["ymax"]]
        side = max(corners[2] - corners[0], corners[3] - corners[1])
        draw.rectangle(corners, outline=_COLOUR, width=max(1, round(side / 60)))
        font = ImageFont.load_default(size=max(10.0, side / 8))
        text = label(number, face)
        left, top, right, bottom = draw.textbbox((corners[0], corners[1]), text, font=font, anchor="lb")
        # Above the box, or inside it where the photo ends.
        shift = max(0, -top)
        draw.rectangle([left, top + shift, right, bottom + shift], fill=(0, 0, 0))
        draw.text((corners[0], corners[1] + shift), text, fill=_COLOUR, font=font, anchor="lb")
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out if out.suffix.lower() in _SUFFIXES else out.with_name(f"{out.name}.png"))


def label(number: int, face: dict[str, Any]) -> str:
    """One face in a few words, such as `1: age 41.8 (34.0 to 49.9)`; of survival never more than a rank in a cohort."""
    words = []
    if face.get("age") is not None:
        interval = face.get("interval")
        words.append(f"age {face['age']:.1f}" + (f" ({interval[0]:.1f} to {interval[1]:.1f})" if interval else ""))
    if face.get("risk") is not None:
        percentile = face.get("percentile")
        rank = "" if percentile is None else f" (percentile {percentile:.0f} of {face['cohort']})"
        words.append(f"risk {face['risk']:.2f}{rank}")
    return f"{number}: {', '.join(words) or 'no answer'}"
