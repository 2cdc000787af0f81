"""The crop cache: what it holds, what it rejects, and that it goes on after a kill."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage
from PIL import Image
from typer.testing import CliRunner

from fahr_hf import FahrFaceImageProcessor
from fahr_hf.cli.data import data
from fahr_hf.data import crops as module
from fahr_hf.data.crops import (
    BORDER,
    Crops,
    aligning_options,
    blacken,
    cut_crops,
    difference_hash,
    hash_distance,
    join,
    load_crops,
)

ASTRONAUT = Image.fromarray(skimage.data.astronaut())
# Cut so tight that the aligned crop reaches beyond the photo on three sides.
TIGHT = ASTRONAUT.crop((165, 60, 285, 200))


def encoded(image: Image.Image, quality: int = 95) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


PHOTOS = {
    "wide": encoded(ASTRONAUT),
    "tight": encoded(TIGHT),
    "no face": encoded(Image.new("RGB", (200, 200), "gray")),
    "damaged": encoded(ASTRONAUT)[:5000],
    "text": b"not a photo",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    table = pa.table(
        {
            "image": [{"bytes": photo, "path": None} for photo in PHOTOS.values()],
            "subject_id": list(PHOTOS),
            "age": [41.0, 41.0, 1.0, 2.0, 3.0],
            "split": ["train", "test", "train", "train", "train"],
        }
    )
    path = tmp_path_factory.mktemp("source") / "photos.parquet"
    pq.write_table(table, path)
    return path


@pytest.fixture(scope="module")
def interrupted(source, tmp_path_factory):
    """A cache of three shards of two rows, filled by two runs, the first of them killed after one shard."""
    folder = tmp_path_factory.mktemp("cache") / "photos"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SHARD_ROWS", 2)
        first = cut_crops([source], folder, "subject_id", workers=1)
        seen = [next(first), next(first)]
        first.close()
        before = {shard.name: shard.read_bytes() for shard in folder.glob("shard-*")}
        for shard in sorted(folder.glob("shard-*"))[1:]:
            shard.unlink()
        (folder / ".shard-00002.parquet.999").write_bytes(b"what a killed run leaves")
        kept = (folder / "shard-00000.parquet").stat().st_mtime_ns
        seen += list(cut_crops([source], folder, "subject_id", workers=1))
        assert (folder / "shard-00000.parquet").stat().st_mtime_ns == kept
    return folder, seen, before


@pytest.fixture(scope="module")
def cache(interrupted) -> Crops:
    return load_crops(interrupted[0])


def test_a_second_run_goes_on_after_the_whole_shards_of_the_first(interrupted):
    assert interrupted[1] == [0, 2, 2, 4, 5]


def test_two_runs_write_the_same_bytes(interrupted):
    folder, _, before = interrupted
    assert before == {shard.name: shard.read_bytes() for shard in folder.glob("shard-*")}
    assert len(before) == 3


def test_rows_keep_their_columns_and_get_a_part(cache):
    assert cache.column("subject_id").tolist() == ["wide", "tight"]
    assert cache.column("age").tolist() == [41, 41]
    assert cache.column("row").tolist() == [0, 1]
    assert cache.column("part")[1] == "test"
    assert (cache.column("detection_score") > 0.8).all()


def test_a_photo_without_a_crop_says_why(cache):
    reasons = dict(zip(*(cache.rejected[name].to_pylist() for name in ("subject_id", "reason")), strict=True))
    assert reasons["no face"] == "no face"
    assert reasons["damaged"].startswith("unreadable: ")
    assert reasons["text"].startswith("unreadable: ")


@pytest.mark.parametrize(("index", "name"), [(0, "wide"), (1, "tight")])
def test_the_framed_crop_is_what_the_processor_cuts(cache, index, name):
    wanted = FahrFaceImageProcessor().crops(PHOTOS[name])[0][0].astype(int)
    difference = np.abs(cache.framed(index) - wanted)
    # Only along the photo's border do the two ways of blackening differ by more than rounding.
    assert np.median(difference) == 0
    assert difference.mean() < 1.5


def test_a_tight_photo_is_continued_by_reflection_and_its_corners_are_known(cache):
    assert (cache.framed(1) == 0).all(axis=2).mean() > 0.1
    assert (cache.images[1] == 0).all(axis=2).mean() < 0.02
    np.testing.assert_allclose(
        np.linalg.norm(cache.corners[1][1] - cache.corners[1][0])
        / np.linalg.norm(cache.corners[1][3] - cache.corners[1][0]),
        TIGHT.width / TIGHT.height,
        rtol=1e-4,
    )


def test_black_is_what_lies_outside_the_corners():
    white = np.full((10, 10, 3), 255, np.uint8)
    square = np.array([[2, 3], [7, 3], [7, 8], [2, 8]], np.float32)
    assert blacken(white, square)[:, :, 0].astype(bool).sum() == 36


def test_crops_can_be_selected_and_joined(cache):
    both = join([cache.select(cache.column("subject_id") == "tight"), cache], ["age", "part"])
    assert len(both) == 3
    assert (both.images[0] == both.images[2]).all()
    assert both.column("part")[0] == "test"
    assert len(both.rejected) == 6


def test_an_unknown_column_is_named_with_those_that_exist(cache):
    with pytest.raises(ValueError, match=r"No column 'sex' .*subject_id, age"):
        cache.column("sex")


def test_crops_of_other_settings_do_not_mix(interrupted, source):
    with pytest.raises(ValueError, match=r"margin: 0.0, now 0.2"):
        next(cut_crops([source], interrupted[0], "subject_id", FahrFaceImageProcessor(margin=0.2)))
    assert FahrFaceImageProcessor(**aligning_options(interrupted[0])).margin == 0


def test_a_missing_column_is_named(source, tmp_path):
    with pytest.raises(ValueError, match=r"No column id .* image, subject_id, age, split"):
        next(cut_crops([source], tmp_path, "id"))


def test_an_incomplete_cache_is_not_loaded(interrupted, tmp_path):
    with pytest.raises(FileNotFoundError, match="fahr-hf data crops"):
        load_crops(tmp_path)
    for name in ("recipe.json", "shard-00000.parquet"):
        (tmp_path / name).write_bytes((interrupted[0] / name).read_bytes())
    with pytest.raises(FileNotFoundError, match="2 of 5 photos"):
        load_crops(tmp_path)


def test_the_command_line_counts_crops_and_reasons(interrupted, source):
    options = ["crops", str(source), "--out", str(interrupted[0]), "--workers", "1"]
    result = CliRunner().invoke(data, options, catch_exceptions=False)
    assert "2 crops, 3 photos without one" in result.output
    assert "1 x no face" in result.output


def crops_of(*images: np.ndarray) -> Crops:
    padded = [np.pad(image, ((BORDER, BORDER), (BORDER, BORDER), (0, 0))) for image in images]
    corners = np.zeros((len(images), 4, 2), np.float32)
    return Crops(np.stack(padded), corners, pa.table({}), pa.table({}))


def test_the_hash_knows_a_recompressed_photo_and_tells_others_apart(cache):
    crop = cache.framed(0)
    again = np.asarray(Image.open(io.BytesIO(encoded(Image.fromarray(crop), quality=40))))
    hashes = difference_hash(crops_of(crop, again, crop[:, ::-1]))
    assert hash_distance(hashes[:1], hashes[1:2])[0] <= 20
    assert hash_distance(hashes[:1], hashes[2:])[0] > 60


def test_the_hash_distance_is_that_of_the_nearest():
    hashes = np.array([[0b00000000], [0b00000111]], np.uint8)
    others = np.array([[0b11111111], [0b00000110]], np.uint8)
    assert hash_distance(hashes, others).tolist() == [2, 1]
