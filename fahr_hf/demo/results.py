"""Answers as HTML for the page. Pictures and tables travel inside it, so that none of them lies on the server."""

import base64
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from PIL import Image, ImageOps

from fahr_hf.demo.estimates import Comparison, Face, Person, Position, as_csv
from fahr_hf.demo.maps import MapPicture

_SIDE = 900
_SHOWN_ROWS = 50
_BROKEN_EXIF = (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error)

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def faces(photo: bytes, answer: list[Face], drawn: MapPicture | None = None) -> str:
    """A photo with its faces marked, their ages, and perhaps what the age of the largest rests on."""
    return _write("faces", faces=answer, picture=_picture(photo, answer), drawn=drawn)


def person(answer: Person) -> str:
    """The age over several photos, and each of them."""
    return _write("person", person=answer)


def comparison(first: bytes, second: bytes, answer: Comparison) -> str:
    """Two photos side by side, and the difference of their ages."""
    pictures = [_picture(first, [answer["first"]]), _picture(second, [answer["second"]])]
    return _write("comparison", comparison=answer, pictures=pictures)


def table(rows: list[dict[str, Any]]) -> str:
    """The first rows of a table, and all of it to download."""
    link = base64.b64encode(as_csv(rows).encode()).decode()
    photos = len({row["photo"] for row in rows})
    return _write("table", rows=rows[:_SHOWN_ROWS], total=len(rows), photos=photos, link=link)


def position(answer: Position) -> str:
    """A position within a cohort, with what has to stand beside it."""
    return _write("position", position=answer)


def _write(name: str, **values: Any) -> str:
    return _templates.get_template("results.html").render(kind=name, **values)


def _picture(photo: bytes, answer: list[Face]) -> dict[str, Any]:
    """A small copy of a photo as text, its size, and the boxes of the faces on it, in pixels of the copy."""
    with Image.open(BytesIO(photo)) as image:
        longest = max(image.size)
        image.draft("RGB", (_SIDE, _SIDE))
        upright = _upright(image)
        upright.thumbnail((_SIDE, _SIDE))
        copy = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    content = BytesIO()
    copy.save(content, "WEBP", quality=80)
    scale = max(copy.size) / longest
    boxes = [{side: value * scale for side, value in face["box"].items()} for face in answer]
    return {
        "data": base64.b64encode(content.getvalue()).decode(),
        "width": copy.width,
        "height": copy.height,
        "boxes": boxes,
    }


def _upright(image: Image.Image) -> Image.Image:
    """The processor, too, takes a photo with damaged EXIF as it is."""
    try:
        return ImageOps.exif_transpose(image)
    except _BROKEN_EXIF:
        return image
