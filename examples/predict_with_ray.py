"""Ages of all faces in very many photos, by Ray Data: on this machine, or on as many as the Ray cluster has.

    pip install "fahr-hf[train]" "ray[data]"
    python examples/predict_with_ray.py s3://bucket/photos s3://bucket/ages --processes 64
    python examples/predict_with_ray.py PHOTOS AGES --processes 8 --gpus 1

The folder of Parquet files has the columns of `fahr-hf predict`. On one machine, or a few that share a file system,
`fahr-hf predict PHOTOS --out AGES` needs no Ray, and goes on where it was interrupted.
"""

import argparse
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

import fahr_hf
from fahr_hf.batch.tables import COLUMNS, rows
from fahr_hf.models.pipeline_fahr_face import NO_FACE, PHOTO_SUFFIXES
from fahr_hf.table_files import arrow_schema


class Ages:
    """The pipeline as a function of batches: Ray makes one for each process, which loads the model once."""

    def __init__(self, model: str):
        self.model = model
        self.age = fahr_hf.pipeline("face-age", model)

    def __call__(self, batch: dict[str, Any]) -> pa.Table:
        """Photos as `bytes` with their `path`; one row a face, or one that says why there is none."""
        table: list[dict[str, Any]] = []
        for path, faces in zip(batch["path"], self.age(list(batch["bytes"])), strict=True):
            error = faces[0]["error"] if faces and "error" in faces[0] else None if faces else NO_FACE
            table += rows({"photo": path, "faces": [] if error else faces, "error": error}, self.model)
        return pa.Table.from_pylist(table, arrow_schema(COLUMNS))


def main() -> None:
    """Read, predict and write, a few batches at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", help="folder, local or in a cloud")
    parser.add_argument("ages", help="folder for the tables, likewise")
    parser.add_argument("--model", default="fahr-faceage-tiny", help="embedded checkpoint, or org/name")
    parser.add_argument("--processes", type=int, default=1, help="each has a model of its own")
    parser.add_argument("--gpus", type=float, default=0, help="for each process")
    arguments = parser.parse_args()

    photos = ray.data.read_binary_files(
        _place(arguments.photos), include_paths=True, file_extensions=[suffix[1:] for suffix in PHOTO_SUFFIXES]
    )
    ages = photos.map_batches(
        Ages,
        fn_constructor_args=[arguments.model],
        batch_size=64,
        compute=ray.data.ActorPoolStrategy(size=arguments.processes),
        num_gpus=arguments.gpus,
    )
    ages.write_parquet(_place(arguments.ages))


def _place(text: str) -> str:
    """Ray's workers have a current folder of their own."""
    return text if "://" in text else str(Path(text).resolve())


if __name__ == "__main__":
    main()
