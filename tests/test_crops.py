"""The crop cache in memory: what of the folder is loaded, and what can be done with it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photo_sets import ASTRONAUT, TIGHT, encoded, row, write_set
from PIL import Image

from fahr_hf import FahrFaceImageProcessor
from fahr_hf.data import cutting
from fahr_hf.data.crops import Crops, aligning_options, blacken, decode, join, load_crops
from fahr_hf.data.cutting import cut_crops

PHOTO = encoded(ASTRONAUT, quality=95)
ROWS = [
    row("wide", PHOTO, part="validation"),
    row("flat", encoded(Image.new("RGB", (200, 200))), part="validation"),
    row("tight", encoded(TIGHT, quality=95), age=40.0),
    row("text", b"not a photo"),
    row("large", encoded(ASTRONAUT.resize((900, 900)), quality=95)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three shards, of two rows but the last."""
    place = tmp_path_factory.mktemp("crops")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "_SHARD_ROWS", 2)
        list(cut_crops(write_set(place / "set", ROWS), place / "cache", workers=1))
    return place / "cache"


@pytest.fixture(scope="module")
def crops(folder) -> Crops:
    return load_crops(folder)


def names(rows: pa.Table) -> list[str]:
    return rows["photo_id"].to_pylist()


def test_crops_come_in_the_order_of_the_source(crops):
    assert names(crops.table) == ["wide", "tight", "large"]
    assert names(crops.rejected) == ["flat", "text"]
    assert crops.images.shape == (3, 128, 128, 3)
    assert crops.corners.shape == (3, 4, 2)
    assert crops.column("row").tolist() == [0, 2, 4]


def test_only_the_wanted_parts_are_loaded(folder, crops):
    train = load_crops(folder, ("train",))
    assert (names(train.table), names(train.rejected)) == (["tight", "large"], ["text"])
    assert (train.images == crops.images[1:]).all()
    assert (train.corners == crops.corners[1:]).all()
    assert len(load_crops(folder, ("train", "validation"))) == 3
    assert len(load_crops(folder, ("test",))) == 0


def test_a_limit_takes_crops_from_all_over_the_cache(folder, crops):
    assert names(load_crops(folder, limit=2).table) == ["wide", "tight"]
    assert (load_crops(folder, ("train",), limit=1).images == crops.images[1:2]).all()
    assert len(load_crops(folder, limit=9)) == 3


def test_listed_duplicates_are_left_out_with_their_reason(folder, crops, tmp_path):
    shutil.copytree(folder, tmp_path / "cache")
    listed = pa.table({"row": [2], "photo_id": ["tight"], "reason": ["nearly the same picture as small/wide"]})
    pq.write_table(listed, tmp_path / "cache" / "duplicates.parquet")
    rest = load_crops(tmp_path / "cache")
    assert names(rest.table) == ["wide", "large"]
    assert (rest.images == crops.images[[0, 2]]).all()
    assert names(rest.rejected) == ["flat", "text", "tight"]
    assert rest.rejected["reason"].to_pylist()[2] == "nearly the same picture as small/wide"


def test_the_framed_crop_is_what_the_processor_cuts(crops):
    for index, photo in enumerate((ROWS[0], ROWS[2], ROWS[4])):
        wanted = FahrFaceImageProcessor().crops(photo["image"]["bytes"])[0][0].astype(int)
        assert np.abs(crops.framed(index) - wanted).mean() < 1.5


def test_crops_can_be_selected_and_joined(crops):
    both = join([crops.select(crops.column("age") == 40), crops.select(np.array([2, 1]))], ["age", "part"])
    assert both.column("age").tolist() == [40, 41, 40]
    assert (both.images[0] == both.images[2]).all()
    assert (both.corners[1] == crops.corners[2]).all()
    assert len(both.rejected) == 4


def test_an_unknown_column_is_named_with_those_that_exist(crops):
    with pytest.raises(ValueError, match=r"No column 'mood' .*photo_id, subject_id, age"):
        crops.column("mood")


def test_a_damaged_crop_is_an_error():
    with pytest.raises(OSError, match="stored crop of 100 bytes is damaged"):
        decode(PHOTO[:100])


def test_an_incomplete_cache_is_not_loaded(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="fahr-hf data crops"):
        load_crops(tmp_path)
    for name in ("recipe.json", "shard-00000.parquet", "rejects-00000.parquet", "rejects-00001.parquet"):
        shutil.copy(folder / name, tmp_path)
    with pytest.raises(FileNotFoundError, match="lacks 2 of 3 shards"):
        load_crops(tmp_path)


def test_a_cache_of_an_older_version_is_refused(tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps({"rows": 10, "key": "id"}))
    for read in (load_crops, aligning_options):
        with pytest.raises(ValueError, match=r"format 1, and this version of fahr-hf reads 2. Cut them again"):
            read(tmp_path)


def test_black_is_what_lies_outside_the_corners():
    white = np.full((20, 20, 3), 255, np.uint8)
    # A square of 10 x 10, turned by a third of a right angle; its corners come clockwise.
    angles = np.radians(30 + np.array([225, 315, 45, 135]))
    corners = 9.3 + 5 * np.sqrt(2) * np.column_stack([np.cos(angles), np.sin(angles)])
    left = blacken(white, corners)[:, :, 1] / 255
    assert left[9, 9] == 1
    assert left[0, 0] == left[16, 16] == 0
    # Pixels on an edge are as bright as they lie inside, so the sum is the area.
    assert left.sum() == pytest.approx(100, abs=1)
