"""Predicted ages of a data set's photos, beside what is known about them.

A photo for which there is no answer, such as one without a face, keeps its row: what a system leaves out belongs to its
evaluation.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import torch
from tqdm.auto import tqdm

from fahr_hf.conformal import intervals
from fahr_hf.data.crops import Crops, check_cut, is_cache, load_crops, read_labels
from fahr_hf.data.cutting import NoFaceError, choose_face
from fahr_hf.models.image_processing_fahr_face import PhotoError
from fahr_hf.models.pipeline_fahr_face import FaceAgePipeline
from fahr_hf.pipelines import pipeline

_BATCH = 64
_NEEDED = ("image", "photo_id", "subject_id", "age", "part", "box")
# What is read of a photo but says nothing that ages could be compared by.
_NO_LABELS = ("image", "box", "row", "hash")


def predict_table(checkpoint: str | os.PathLike, data: Path, part: str, flip: bool = False) -> pd.DataFrame:
    """Predicted ages of one part of a data set.

    Args:
        checkpoint: Embedded name, folder, or `org/name` on the Hub, of a `FahrFaceForAgeEstimation`.
        data: Folder of a crop cache, whose crops go to the model as they are, duplicates left out; or of a data set,
            whose photos go through the checkpoint's processor, a few at a time.
        part: Such as `"validation"`. Whoever scores a test part writes it into the test ledger.
        flip: Average the ages of each crop and its mirror image.

    Returns:
        A row a photo: the labels of the data (`photo_id`, `subject_id`, `age`, `sex`, `race`, `source`, `part`, and its
        own, such as `apparent_age`), `reason` (why there is no answer, or None), `predicted`, `low` and `high` (years;
        NaN without an answer, and the ends of the interval also where the checkpoint is not calibrated for this way of
        predicting). `attrs["level"]` is the level of the intervals, None where there are none.

    Raises:
        FileNotFoundError: neither a data set nor a complete crop cache.
        ValueError: no such part, no column `age`, an unknown checkpoint or one of another kind, or crops that were cut
            otherwise than its processor cuts.
    """
    data = Path(data)
    parts = read_labels(data, ["part"]) if is_cache(data) else open_photos(data).to_table(["part"])
    known = sorted(set(parts["part"].to_pylist()))
    if part not in known:
        raise ValueError(f"{data} has no part {part!r}; there are {', '.join(known)}.")
    if not is_cache(data):
        return predict_photos(checkpoint, data, pc.field("part") == part, flip)
    model = _open(checkpoint, flip)
    check_cut(data, model.image_processor)
    return _with_intervals(_of_crops(model, load_crops(data, [part])), model)


def predict_photos(
    checkpoint: str | os.PathLike, data: Path, wanted: pc.Expression, flip: bool = False
) -> pd.DataFrame:
    """As `predict_table`, of any rows of a data set with photos.

    Args:
        checkpoint: As there.
        data: Folder of a data set.
        wanted: Which rows, in pyarrow's words.
        flip: As there.
    """
    model = _open(checkpoint, flip)
    photos = open_photos(data)
    batches = photos.to_batches(filter=wanted, batch_size=_BATCH, batch_readahead=1, fragment_readahead=1)
    tables = []
    # Without a terminal there is no bar.
    with tqdm(total=photos.count_rows(filter=wanted), unit=" photos", disable=None) as bar:
        for batch in batches:
            if len(batch):
                tables.append(_of_photos(model, batch))
                bar.update(len(batch))
    return _with_intervals(pd.concat(tables, ignore_index=True), model)


def open_photos(data: Path) -> ds.Dataset:
    """A data set of the schema, unread.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it lacks a column of those that are needed here.
    """
    files = sorted(Path(data, "data").glob("*.parquet"))
    if not files:
        raise FileNotFoundError(
            f"{data} is neither a data set, which has Parquet files in a folder `data`, nor a crop cache. Make the one "
            "with `fahr-hf data build`, or from it the other with `fahr-hf data crops`."
        )
    dataset = ds.dataset(files)
    missing = [name for name in _NEEDED if name not in dataset.schema.names]
    if missing:
        raise ValueError(f"{data} lacks the columns {', '.join(missing)}. Make it with `fahr-hf data build`.")
    return dataset


def _open(checkpoint: str | os.PathLike, flip: bool) -> FaceAgePipeline:
    return cast(FaceAgePipeline, pipeline("face-age", checkpoint, flip=flip))


def _of_crops(model: FaceAgePipeline, crops: Crops) -> pd.DataFrame:
    ages = []
    with tqdm(total=len(crops), unit=" photos", disable=None) as bar:
        for start in range(0, len(crops), _BATCH):
            ages.append(_ages(model, [crops.framed(i) for i in range(start, min(start + _BATCH, len(crops)))]))
            bar.update(len(ages[-1]))
    # Only what was found to be a duplicate has a crop and is left out.
    without = crops.rejected.filter(crops.rejected["detection_score"].is_null())
    answered, unanswered = _labels(crops.table), _labels(without)
    answered["predicted"] = np.concatenate([*ages, np.empty(0)])
    return pd.concat([answered.assign(reason=None), unanswered.assign(predicted=np.nan)], ignore_index=True)


def _of_photos(model: FaceAgePipeline, batch: pa.RecordBatch) -> pd.DataFrame:
    views: list[np.ndarray] = []
    reasons: list[str | None] = []
    for photo, box in zip(batch["image"].to_pylist(), batch["box"].to_pylist(), strict=True):
        try:
            crops, faces = model.image_processor.crops(photo["bytes"])
            views.append(crops[choose_face(faces, box, one_face=False)])
            reasons.append(None)
        except NoFaceError as error:
            reasons.append(str(error))
        except PhotoError as error:
            reasons.append(f"unreadable: {error}")
    table = _labels(pa.Table.from_batches([batch]))
    table["reason"], table["predicted"] = pd.Series(reasons, dtype=object), np.nan
    table.loc[table["reason"].isna(), "predicted"] = _ages(model, views)
    return table


def _ages(model: FaceAgePipeline, views: Sequence[np.ndarray]) -> np.ndarray:
    """Predicted ages of aligned crops, (n,) float64; n may be 0."""
    if not views:
        return np.empty(0)
    pixel_values = torch.from_numpy(model.image_processor.normalize_crops(np.stack(views)))
    return model.forward({"pixel_values": pixel_values, "faces": []})["age"].double().numpy()


def _labels(table: pa.Table) -> pd.DataFrame:
    return table.drop_columns([name for name in table.column_names if name in _NO_LABELS]).to_pandas()


def _with_intervals(table: pd.DataFrame, model: FaceAgePipeline) -> pd.DataFrame:
    tables: dict[str, Any] = model.model.config.calibration or {}
    calibration = tables.get("age_flip" if model.flip else "age")
    table["low"] = table["high"] = np.nan
    if calibration is not None:
        answered = table["predicted"].notna()
        ends = intervals(calibration, table.loc[answered, "predicted"].to_numpy())
        table.loc[answered, "low"], table.loc[answered, "high"] = ends
    table.attrs["level"] = None if calibration is None else calibration["level"]
    return table
