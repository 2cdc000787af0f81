"""Small data sets of the schema, made from one photo of the public domain."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import skimage
from PIL import Image

from fahr_hf.data.schema import COLUMNS

ASTRONAUT = Image.fromarray(skimage.data.astronaut())
# Cut so tight that the aligned crop reaches beyond the photo on three sides.
TIGHT = ASTRONAUT.crop((165, 60, 285, 200))


def encoded(image: Image.Image, image_format: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def side_by_side() -> Image.Image:
    """A large face on the left, and the same person at two thirds of the size on the right."""
    photo = Image.new("RGB", (512 + 342, 512))
    photo.paste(ASTRONAUT, (0, 0))
    photo.paste(ASTRONAUT.resize((342, 342)), (512, 85))
    return photo


def row(photo_id: str, photo: bytes, **columns: Any) -> dict[str, Any]:
    values = {"age": 41.0, "source": "small", "part": "train", **columns}
    return {
        **dict.fromkeys(COLUMNS),
        "image": {"bytes": photo, "path": f"{photo_id}.jpg"},
        "photo_id": photo_id,
        **values,
    }


def write_set(folder: Path, *files: list[dict[str, Any]]) -> Path:
    """A data set in the layout of `fahr-hf data build`, of these rows in each file, three to a group."""
    (folder / "data").mkdir(parents=True)
    for number, rows in enumerate(files):
        table = pa.Table.from_pylist(rows, COLUMNS.arrow_schema)
        pq.write_table(table, folder / "data" / f"{number:05}.parquet", row_group_size=3)
    return folder
