"""Cutting crops: what is cut and what is rejected, and that nothing but the photos decides what the files hold."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from multiprocessing import active_children
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from photo_sets import ASTRONAUT, TIGHT, encoded, row, side_by_side, write_set
from PIL import Image
from typer.testing import CliRunner

import fahr_hf
from fahr_hf import FahrFaceForAgeEstimation, FahrFaceImageProcessor
from fahr_hf.cli.data import data
from fahr_hf.data import cutting
from fahr_hf.data.crops import BORDER, aligning_options, blacken, decode, load_crops
from fahr_hf.data.cutting import FORMATS, Face, NoFaceError, cut_crops, cut_face, encode
from fahr_hf.data.duplicates import difference_hash

PROCESSOR = FahrFaceImageProcessor()
PHOTO = encoded(ASTRONAUT, quality=95)
# Of the smaller face in `side_by_side`.
SMALL_FACE = (650.0, 110.0, 720.0, 200.0)

# Ten photos, which fill shards of four rows but not the last, and of which slices of three reach over the shards' ends.
ROWS = [
    row("wide", PHOTO),
    row("tight", encoded(TIGHT, quality=95), part="test", subject_id="someone", sex="female"),
    row("no face", encoded(Image.new("RGB", (200, 200), "gray"))),
    row("damaged", PHOTO[:5000]),
    row("text", b"not a photo"),
    row("labelled", encoded(side_by_side(), quality=95), box=SMALL_FACE),
    row("labelled elsewhere", encoded(side_by_side(), quality=95), box=(0.0, 400.0, 100.0, 500.0)),
    row("several", encoded(side_by_side(), quality=95)),
    row("png", encoded(ASTRONAUT, "PNG")),
    row("damaged exif", encoded(ASTRONAUT, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")),
]


@pytest.fixture(scope="module", autouse=True)
def _small_shards():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "_SHARD_ROWS", 4)
        patch.setattr(cutting, "_SLICE_ROWS", 3)
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp("source") / "photos", ROWS[:5], ROWS[5:])


@pytest.fixture(scope="module")
def cache(source, tmp_path_factory) -> Path:
    """Cut by one worker at one go."""
    folder = tmp_path_factory.mktemp("cache") / "photos"
    assert list(cut_crops(source, folder, workers=1))[-1] == (10, 10)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ------------------------------------------------------------------------------------------------- goes on after a kill


def test_after_kill_9_another_run_with_more_workers_completes_the_same_bytes(source, cache, tmp_path):
    folder = tmp_path / "photos"
    program = (
        "import os, signal, sys\n"
        "from fahr_hf.data import cutting\n"
        "cutting._SHARD_ROWS, cutting._SLICE_ROWS = 4, 3\n"
        "if __name__ == '__main__':\n"
        f"    for done, total in cutting.cut_crops({str(source)!r}, {str(folder)!r}, workers=2):\n"
        "        if done > 4:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "program.py").write_text(program)
    # Output ends when the last process has gone: a worker must not outlive the one that was killed.
    killed = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in folder.glob("shard-*")] == ["shard-00000.parquet"]
    # A kill a moment later: the rejects of the next shard are there, and half of the shard itself.
    shutil.copy(cache / "rejects-00001.parquet", folder)
    (folder / ".shard-00001.parquet.partial").write_bytes((cache / "shard-00001.parquet").read_bytes()[:1000])
    kept = (folder / "shard-00000.parquet").stat().st_mtime_ns
    progress = list(cut_crops(source, folder, workers=2))
    assert (progress[0], progress[-1]) == ((4, 10), (10, 10))
    assert (folder / "shard-00000.parquet").stat().st_mtime_ns == kept
    assert contents(folder) == contents(cache)


def test_a_worker_that_is_killed_is_an_error_that_says_where_and_what_to_do(source, tmp_path):
    progress = cut_crops(source, tmp_path, workers=1)
    assert next(progress) == (0, 10)
    next(progress)
    for worker in active_children():
        os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(ChildProcessError, match=r"ended in shard \d, at row \d.* Run the same again"):
        list(progress)


def test_a_complete_cache_is_left_alone(source, cache):
    before = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert list(cut_crops(source, cache)) == [(10, 10)]
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == before


# ----------------------------------------------------------------------------------------------------- what is written


def test_every_row_is_either_a_crop_or_a_rejected_row_with_its_reason(cache):
    crops = load_crops(cache)
    assert crops.column("photo_id").tolist() == ["wide", "tight", "labelled", "several", "png", "damaged exif"]
    assert crops.column("row").tolist() == [0, 1, 5, 7, 8, 9]
    assert crops.column("faces").tolist() == [1, 1, 2, 2, 1, 1]
    assert (crops.column("detection_score") > 0.8).all()
    reasons = dict(zip(*(crops.rejected[name].to_pylist() for name in ("photo_id", "reason")), strict=True))
    assert list(reasons) == ["no face", "damaged", "text", "labelled elsewhere"]
    assert reasons["no face"] == "no face"
    assert reasons["labelled elsewhere"] == "no face in the box"
    assert "truncated" in reasons["damaged"]
    assert reasons["text"].startswith("unreadable: ")
    assert crops.rejected["faces"].to_pylist() == [0, None, None, 2]


def test_rows_keep_the_columns_of_the_data_set(cache):
    crops = load_crops(cache)
    tight = {name: crops.column(name)[1] for name in crops.table.column_names}
    assert (tight["part"], tight["subject_id"], tight["sex"], tight["age"]) == ("test", "someone", "female", 41)
    assert "box" not in tight
    assert [name for name in crops.rejected.column_names if name != "reason"] == crops.table.column_names


def test_the_hash_is_that_of_the_crop(cache):
    crops = load_crops(cache)
    stored = np.stack([np.frombuffer(value, np.uint8) for value in crops.column("hash")])
    # The stored pixels have gone through JPEG.
    assert np.bitwise_count(stored ^ difference_hash(crops.images)).sum(axis=1).max() <= 8


def test_datasets_opens_the_shards_as_they_are(cache, tmp_path):
    files = sorted(map(str, cache.glob("shard-*.parquet")))
    opened = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert opened.features["image"] == datasets.Image()
    assert (np.asarray(opened[1]["image"]) == load_crops(cache).images[1]).all()


def test_the_command_line_counts_crops_and_reasons(source, cache):
    result = CliRunner().invoke(data, ["crops", str(source), str(cache)], catch_exceptions=False)
    assert "6 crops, 4 photos without one" in result.output
    assert "2 x unreadable\n" in result.output
    assert "1 x no face in the box\n" in result.output


# ------------------------------------------------------------------------------------------------------ what is refused


def test_crops_of_other_settings_or_of_another_source_do_not_mix(source, cache, tmp_path):
    with pytest.raises(ValueError, match=r"margin: 0.0, now 0.2"):
        next(cut_crops(source, cache, FahrFaceImageProcessor(margin=0.2)))
    with pytest.raises(ValueError, match=r"quality: 95, now 90"):
        next(cut_crops(source, cache, quality=90))
    rebuilt = write_set(tmp_path / "rebuilt", [*ROWS[:-1], row("other", PHOTO)])
    with pytest.raises(ValueError, match=r"bytes: \d+, now \d+"):
        next(cut_crops(rebuilt, cache))
    assert FahrFaceImageProcessor(**aligning_options(cache)).margin == 0


def test_a_folder_of_something_else_is_refused(source, tmp_path):
    (tmp_path / "holiday.txt").touch()
    with pytest.raises(ValueError, match=r"holds 'holiday.txt' and no crops"):
        next(cut_crops(source, tmp_path))
    old = tmp_path / "old"
    old.mkdir()
    (old / "recipe.json").write_text(json.dumps({"rows": 10, "key": "id"}))
    with pytest.raises(ValueError, match=r"format 1, and this version of fahr-hf reads 2"):
        next(cut_crops(source, old))


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="fahr-hf data build"):
        next(cut_crops(tmp_path, tmp_path / "out"))
    table = pq.read_table(write_set(tmp_path / "photos", ROWS[:2]) / "data")
    for columns, message in (
        (table.drop_columns(["part", "box"]), "lacks the columns part, box"),
        (table.append_column("hash", table["age"]), "has a column 'hash'"),
    ):
        pq.write_table(columns, tmp_path / "other.parquet")
        with pytest.raises(ValueError, match=message):
            next(cut_crops(tmp_path / "other.parquet", tmp_path / "out"))
    pq.write_table(table.append_column("extra", table["age"]), tmp_path / "photos" / "data" / "00001.parquet")
    with pytest.raises(ValueError, match=r"00001.parquet has other columns than .*00000.parquet"):
        next(cut_crops(tmp_path / "photos", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"image_format": "bmp"}, "'bmp'; choose from jpeg, webp"), ({"quality": 0}, "is 0; expected 1 to 100")],
)
def test_an_unknown_format_or_quality_is_refused(source, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        next(cut_crops(source, tmp_path / "out", **options))


# ----------------------------------------------------------------------------------------------------------- one photo


def framed(face: Face) -> np.ndarray:
    return blacken(face.image, face.corners)[BORDER:-BORDER, BORDER:-BORDER]


CUT = {
    "cmyk": encoded(ASTRONAUT.convert("CMYK"), quality=95),
    "palette": encoded(ASTRONAUT.convert("P"), "GIF"),
    "animated": encoded(ASTRONAUT, "GIF", save_all=True, append_images=[Image.new("RGB", ASTRONAUT.size)] * 2),
    "16-bit grey": encoded(Image.fromarray(np.asarray(ASTRONAUT.convert("L")).astype(np.uint16) * 257), "PNG"),
    "transparent": encoded(Image.merge("RGBA", (*ASTRONAUT.split(), Image.new("L", ASTRONAUT.size, 255))), "PNG"),
    "webp": encoded(ASTRONAUT, "WEBP", quality=95),
    "tiff of two pages": encoded(ASTRONAUT, "TIFF", save_all=True, append_images=[ASTRONAUT]),
    "12 megapixels": encoded(ASTRONAUT.resize((3456, 3456)), quality=95),
}


@pytest.mark.parametrize("kind", CUT)
def test_photos_of_all_kinds_are_cut_like_the_plain_one(kind):
    plain, face = cut_face(PHOTO, PROCESSOR), cut_face(CUT[kind], PROCESSOR)
    assert face.image.shape == (128, 128, 3)
    grey, other = ((image @ (0.299, 0.587, 0.114)).ravel() for image in (plain.image, face.image))
    # A different grey moves the landmarks by a pixel or two.
    assert np.corrcoef(grey, other)[0, 1] > 0.97


REJECTED = {
    "empty": (b"", "unreadable: .*not an image file"),
    "cut off": (PHOTO[: len(PHOTO) // 2], "unreadable: .*truncated"),
    "cut off in the header": (encoded(ASTRONAUT, "PNG")[:30], "unreadable: "),
    "text": (b"GIF, it says here", "unreadable: .*not an image file"),
    "decompression bomb": (
        encoded(Image.new("1", (20_000, 20_000)), "PNG"),
        "unreadable: .*larger than Pillow's",
    ),
    "32-bit pixels": (encoded(ASTRONAUT.convert("F"), "TIFF"), "unreadable: .*whose range is not known"),
    "one pixel": (encoded(Image.new("RGB", (1, 1)), "PNG"), "^no face$"),
    "a line": (encoded(Image.new("RGB", (30_000, 1)), "PNG"), "^no face$"),
    "flat": (encoded(Image.new("RGB", (300, 300), "white")), "^no face$"),
}


@pytest.mark.parametrize("kind", REJECTED)
def test_what_cannot_be_used_has_a_reason(kind):
    photo, reason = REJECTED[kind]
    with pytest.raises(NoFaceError, match=reason) as error:
        cut_face(photo, PROCESSOR)
    assert error.value.faces == (0 if reason == "^no face$" else None)


def test_of_several_faces_the_largest_counts_or_that_in_the_box():
    photo = encoded(side_by_side(), "PNG")
    left, right = cut_face(photo, PROCESSOR), cut_face(photo, PROCESSOR, SMALL_FACE)
    # Where the photo begins, in face widths to the left.
    assert left.corners[0, 0] > right.corners[0, 0] + 128
    assert left.faces == right.faces == 2
    # A box around everything holds both; its overlap with the larger one is better.
    assert (cut_face(photo, PROCESSOR, (0, 0, 854, 512)).image == left.image).all()


def test_no_face_in_the_box_is_not_replaced_by_another():
    with pytest.raises(NoFaceError, match=r"^no face in the box$") as error:
        cut_face(PHOTO, PROCESSOR, (0, 400, 100, 500))
    assert error.value.faces == 1


def test_a_photo_of_several_faces_can_be_refused_unless_a_box_tells():
    photo = encoded(side_by_side(), "PNG")
    with pytest.raises(NoFaceError, match=r"^2 faces$"):
        cut_face(photo, PROCESSOR, one_face=True)
    assert cut_face(photo, PROCESSOR, SMALL_FACE, one_face=True).faces == 2
    assert cut_face(PHOTO, PROCESSOR, one_face=True).faces == 1


def test_box_and_corners_are_those_of_the_photo_that_a_viewer_sees():
    sideways = encoded(side_by_side().transpose(Image.Transpose.ROTATE_90), "PNG", exif=orientation(6))
    upright = encoded(side_by_side(), "PNG")
    turned, wanted = (cut_face(photo, PROCESSOR, SMALL_FACE) for photo in (sideways, upright))
    assert (turned.image == wanted.image).all()
    assert (turned.corners == wanted.corners).all()


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("photo", [ASTRONAUT, TIGHT, ASTRONAUT.resize((3000, 3000))], ids=["wide", "tight", "large"])
def test_the_crop_without_its_border_is_the_processors(photo, margin):
    processor, photo = FahrFaceImageProcessor(margin=margin), encoded(photo, quality=95)
    face = cut_face(photo, processor)
    assert face.image.shape == (112 + 2 * BORDER, 112 + 2 * BORDER, 3)
    difference = np.abs(framed(face) - processor.crops(photo)[0][0].astype(int))
    assert np.median(difference) == 0
    # A photo that has to be continued is decoded whole, and else no larger than the crop needs.
    assert difference.mean() < 0.5


def test_a_tight_photo_is_continued_by_reflection_and_its_corners_are_known():
    face = cut_face(encoded(TIGHT, quality=95), PROCESSOR)
    assert (framed(face) == 0).all(axis=2).mean() > 0.1
    assert (face.image == 0).all(axis=2).mean() < 0.02
    upper, left = (np.linalg.norm(face.corners[end] - face.corners[0]) for end in (1, 3))
    np.testing.assert_allclose(upper / left, TIGHT.width / TIGHT.height, rtol=1e-6)


# ------------------------------------------------------------------------------------------- training on it is the same


@pytest.mark.parametrize("photo", [ASTRONAUT, TIGHT], ids=["wide", "tight"])
def test_training_on_the_cache_and_on_the_photo_agrees_within_jpeg_error(photo):
    photo = encoded(photo, quality=95)
    from_photo = PROCESSOR.crops(photo)[0][0]
    face = cut_face(photo, PROCESSOR)
    stored = decode(encode(face.image, "jpeg", 95))
    from_cache = blacken(stored, face.corners)[BORDER:-BORDER, BORDER:-BORDER]
    # What JPEG alone does to that crop.
    again = decode(encode(from_photo, "jpeg", 95))
    jpeg = np.abs(again - from_photo.astype(int)).mean()
    assert np.abs(from_cache - from_photo.astype(int)).mean() < 1.25 * jpeg

    model = FahrFaceForAgeEstimation.from_pretrained(fahr_hf.checkpoint("fahr-faceage-tiny"))
    age, loss, gradient = answer(model, from_cache)
    age_again, loss_again, gradient_again = answer(model, again)
    age_photo, loss_photo, gradient_photo = answer(model, from_photo)
    assert abs(age - age_again) < 0.3
    # In a loss per year of error, as this one is, the same years.
    assert abs(loss - loss_again) < 0.3
    # How far JPEG moves answers and gradients is the model's affair; the cache moves them no further.
    assert abs(age - age_photo) < 1.25 * abs(age_again - age_photo)
    assert abs(loss - loss_photo) < 1.25 * abs(loss_again - loss_photo)
    moved = (gradient_again - gradient_photo).norm()
    assert (gradient - gradient_photo).norm() < 1.25 * moved
    assert (gradient - gradient_again).norm() < 0.5 * moved


def answer(model: FahrFaceForAgeEstimation, crop: np.ndarray) -> tuple[float, float, torch.Tensor]:
    """Age in years, loss and its gradient for one crop."""
    model.zero_grad()
    output = model(pixel_values=torch.from_numpy(PROCESSOR.normalize_crops(crop[None])), labels=torch.tensor([41.0]))
    output.loss.backward()
    gradient = torch.cat([parameter.grad.ravel() for parameter in model.parameters() if parameter.grad is not None])
    return output.age.item(), output.loss.item(), gradient


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("quality", [90, 100])
def test_a_stored_crop_decodes_as_pillow_decodes_it(image_format, quality):
    crop = encode(cut_face(PHOTO, PROCESSOR).image, image_format, quality)
    opened = Image.open(io.BytesIO(crop))
    assert opened.format == image_format.upper()
    assert (decode(crop) == np.asarray(opened.convert("RGB"))).all()


def test_webp_of_quality_100_loses_nothing():
    image = cut_face(PHOTO, PROCESSOR).image
    assert (decode(encode(image, "webp", 100)) == image).all()
