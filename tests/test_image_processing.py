"""What `FahrFaceImageProcessor` promises, on a real face: `skimage.data.astronaut()`, NASA, public domain."""

import concurrent.futures
import copy
import functools
import hashlib
import http.server
import io
import json
import multiprocessing
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, ImageOps

from fahr_hf.models.image_processing_fahr_face import (
    ARCFACE_TEMPLATE,
    DETECTOR_FILES,
    FahrFaceImageProcessor,
    PhotoError,
    similarity,
    warp,
)

MODELS = Path(sys.modules[FahrFaceImageProcessor.__module__].__file__).parent
DATA = Path(os.environ.get("FAHR_HF_DATA", Path(__file__).parents[2] / "shared" / "data"))
# The astronaut's eyes by eye, in pixels of the 512 x 512 photo; good to two pixels or so.
EYES = np.array([[203.0, 101.0], [246.0, 103.0]])
MIRRORED = [1, 0, 2, 4, 3]


@pytest.fixture(scope="module")
def processor() -> FahrFaceImageProcessor:
    return FahrFaceImageProcessor()


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def face(processor, photo) -> dict:
    return processor.detect(photo)[0]


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def points(face: dict) -> np.ndarray:
    return np.array(face["landmarks"])


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance of landmarks, in distances between the eyes of the second."""
    return float(np.linalg.norm(a - b, axis=1).mean() / np.linalg.norm(b[1] - b[0]))


# -------------------------------------------------------------------------------- the call


def test_a_photo_becomes_one_row_of_pixel_values(processor, photo):
    batch = processor(photo)
    assert batch["pixel_values"].shape == (1, 3, 112, 112)
    assert batch["pixel_values"].dtype == torch.float32
    assert batch["pixel_values"].min() >= -1
    assert batch["pixel_values"].max() <= 1
    assert [face["image_index"] for face in batch["faces"]] == [0]


def test_rows_belong_to_photos_by_image_index(processor, photo):
    two = Image.fromarray(np.hstack([skimage.data.astronaut()[:, :400]] * 2))
    batch = processor([np.zeros((64, 64, 3), np.uint8), two, photo])
    assert [face["image_index"] for face in batch["faces"]] == [1, 1, 2]
    assert len(batch["pixel_values"]) == 3


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("side", [16, 64, 640])
def test_a_photo_without_contrast_shows_no_face(processor, level, side):
    assert processor.detect(np.full((side, side, 3), level, np.uint8)) == []


def test_no_face_gives_no_rows(processor):
    batch = processor([Image.new("RGB", (300, 200), "grey"), skimage.data.coffee()])
    assert batch["pixel_values"].shape == (0, 3, 112, 112)
    assert batch["faces"] == []
    assert processor([])["pixel_values"].shape == (0, 3, 112, 112)


@pytest.mark.parametrize(("asked", "kind"), [("pt", torch.Tensor), ("np", np.ndarray), (None, np.ndarray)])
def test_return_tensors(processor, photo, asked, kind):
    assert isinstance(processor(photo, return_tensors=asked)["pixel_values"], kind)


def test_a_batch_moves_to_another_dtype_with_its_faces(processor, photo):
    batch = processor(photo).to(torch.bfloat16)
    assert batch["pixel_values"].dtype == torch.bfloat16
    assert batch["faces"][0]["image_index"] == 0


def test_the_call_is_its_steps(processor, photo):
    batch = processor(photo, return_tensors="np")
    crops, faces = processor.crops(photo)
    assert processor.detect(photo) == faces
    assert [{"image_index": 0, **face} for face in faces] == batch["faces"]
    np.testing.assert_array_equal(processor.normalize_crops(crops), batch["pixel_values"])
    np.testing.assert_array_equal(processor.align(photo, faces[0]["landmarks"]), crops[0])


def test_options_of_a_single_call_leave_the_processor_alone(processor, photo):
    before = processor.to_dict()
    assert processor(photo, size=64)["pixel_values"].shape == (1, 3, 64, 64)
    assert processor(photo, min_detection_score=1.0)["faces"] == []
    assert processor.to_dict() == before


# -------------------------------------------------------------------------------- the face


def test_a_face_is_plain_numbers(face):
    assert list(face) == ["box", "landmarks", "detection_score", "roll", "sharpness", "size"]
    assert json.loads(json.dumps(face)) == face


def test_landmarks_lie_on_eyes_nose_and_mouth_viewers_left_first(face):
    right_eye, left_eye, nose, right_mouth, left_mouth = points(face)
    np.testing.assert_allclose([right_eye, left_eye], EYES, atol=4)
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert right_eye[1] < nose[1] < right_mouth[1]


def test_box_holds_the_landmarks_and_gives_the_size(face):
    box = face["box"]
    assert np.all(points(face) > [box["xmin"], box["ymin"]])
    assert np.all(points(face) < [box["xmax"], box["ymax"]])
    area = (box["xmax"] - box["xmin"]) * (box["ymax"] - box["ymin"])
    assert face["size"] == pytest.approx(area**0.5, rel=1e-5)
    assert 0.5 <= face["detection_score"] <= 1


def test_the_box_ends_at_the_photo(processor):
    cut = skimage.data.astronaut()[80:, 200:300]
    box = processor.detect(cut)[0]["box"]
    assert box["ymin"] >= 0
    assert box["xmin"] >= 0
    assert box["xmax"] <= 100


@pytest.mark.parametrize("degrees", [-40, -25, -10, 10, 25, 40])
def test_roll_follows_a_turned_photo_clockwise_positive(processor, photo, face, degrees):
    turned = photo.rotate(-degrees, Image.Resampling.BICUBIC, expand=True)
    measured = processor.detect(turned)[0]["roll"] - face["roll"]
    assert measured == pytest.approx(degrees, abs=2)


def test_the_same_face_is_placed_alike_when_the_photo_is_moved_resized_or_mirrored(processor, photo, face):
    moved = processor.detect(photo.crop((60, 20, 400, 330)))[0]
    assert distance(points(moved) + np.array([60, 20]), points(face)) < 0.03
    resized = processor.detect(photo.resize((1000, 1000), Image.Resampling.LANCZOS))[0]
    assert distance((points(resized) + 0.5) * 0.512 - 0.5, points(face)) < 0.03
    mirrored = points(processor.detect(ImageOps.mirror(photo))[0])[MIRRORED]
    mirrored[:, 0] = 511 - mirrored[:, 0]
    assert distance(mirrored, points(face)) < 0.03


def test_faces_come_largest_first_with_all_that_is_in_the_photo(processor, photo):
    tile = photo.crop((120, 20, 340, 240))
    sheet = Image.new("RGB", (1000, 240), "white")
    for x, side in ((0, 110), (220, 220), (500, 160), (760, 80)):
        sheet.paste(tile.resize((side, side), Image.Resampling.LANCZOS), (x, 0))
    faces = processor.detect(sheet)
    sizes = [face["size"] for face in faces]
    assert len(faces) == 4
    assert sizes == sorted(sizes, reverse=True)
    assert [round(face["landmarks"][2][0]) // 200 for face in faces] == [1, 2, 0, 3]


def test_sharpness_falls_when_a_photo_is_blurred_by_shrinking(processor, photo, face):
    blurred = photo.resize((128, 128), Image.Resampling.LANCZOS).resize((512, 512), Image.Resampling.BICUBIC)
    assert processor.detect(blurred)[0]["sharpness"] < face["sharpness"] / 3


@pytest.mark.parametrize("factor", [4, 7])
def test_coordinates_are_of_the_original_when_the_photo_is_shrunk_for_detection(processor, photo, face, factor):
    large = photo.resize((512 * factor, 512 * factor), Image.Resampling.BICUBIC)
    found = processor.detect(large)[0]
    assert found["size"] == pytest.approx(face["size"] * factor, rel=0.1)
    assert found["box"]["xmin"] == pytest.approx(face["box"]["xmin"] * factor, abs=10 * factor)
    assert distance((points(found) + 0.5) / factor - 0.5, points(face)) < 0.03


# -------------------------------------------------------------------------------- the crop


def test_the_crop_shows_the_landmarks_at_the_template(processor, photo, face):
    crops, _ = processor.crops(photo)
    matrix = similarity(points(face), np.array(ARCFACE_TEMPLATE))
    expected = points(face) @ matrix[:, :2].T + matrix[:, 2]
    assert distance(expected, np.array(ARCFACE_TEMPLATE)) < 0.15
    again = processor.detect(np.pad(crops[0], ((30, 30), (30, 30), (0, 0))))[0]
    assert distance(points(again) - 30, expected) < 0.03
    assert again["roll"] == pytest.approx(0, abs=1)


def test_margin_widens_the_crop_around_its_centre(photo):
    landmarks = FahrFaceImageProcessor().detect(photo)[0]["landmarks"]
    plain = Image.fromarray(FahrFaceImageProcessor().align(photo, landmarks))
    wide = Image.fromarray(FahrFaceImageProcessor(margin=0.25).align(photo, landmarks))
    inner = wide.resize((112, 112), Image.Resampling.BICUBIC, box=(11.2, 11.2, 100.8, 100.8))
    assert np.abs(np.asarray(inner, float) - np.asarray(plain, float)).mean() < 3


def test_template_moves_the_crop(photo, face):
    lower = (np.array(ARCFACE_TEMPLATE) + np.array([0, 10])).tolist()
    plain = FahrFaceImageProcessor().align(photo, face["landmarks"])
    moved = FahrFaceImageProcessor(template=lower).align(photo, face["landmarks"])
    assert np.abs(moved[10:].astype(float) - plain[:-10]).mean() < 1


def test_size_scales_the_crop(photo, face):
    large = FahrFaceImageProcessor(size=224).align(photo, face["landmarks"])
    plain = FahrFaceImageProcessor().align(photo, face["landmarks"])
    small = np.asarray(Image.fromarray(large).resize((112, 112), Image.Resampling.BOX), float)
    assert large.shape == (224, 224, 3)
    assert np.abs(small - plain).mean() < 3


def test_shrinking_is_antialiased():
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 255
    shrink = np.array([[0.1, 0, 0], [0, 0.1, 0]])
    assert warp(stripes, shrink, 64)[2:-2, 2:-2].std() < 3


def test_a_large_photo_gives_the_crop_of_a_small_one(processor, photo, face):
    large = photo.resize((4096, 4096), Image.Resampling.BICUBIC)
    landmarks = (points(face) + 0.5) * 8 - 0.5
    difference = processor.align(large, landmarks).astype(float) - processor.align(photo, face["landmarks"])
    assert np.abs(difference).mean() < 4


def test_a_crop_beyond_the_photo_is_black(processor, photo, face):
    far = points(face) + 5000
    assert not processor.align(photo, far).any()


def test_similarity_recovers_a_known_transform():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(5, 2))
    turn, shift = np.array([[1.2, -0.7], [0.7, 1.2]]), np.array([3, -4])
    np.testing.assert_allclose(similarity(z, z @ turn.T + shift), np.column_stack([turn, shift]))


def test_normalisation_is_rescale_then_mean_and_std():
    crops = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    values = FahrFaceImageProcessor(image_mean=mean, image_std=std).normalize_crops(crops)
    expected = ((crops / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(values, expected, atol=1e-6)
    raw = FahrFaceImageProcessor(do_rescale=False, do_normalize=False).normalize_crops(crops)
    np.testing.assert_array_equal(raw, crops.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("wrong", [np.zeros((112, 112, 3), np.uint8), np.zeros((1, 3, 112, 112), np.float32)])
def test_normalisation_refuses_other_than_uint8_crops(processor, wrong):
    with pytest.raises(ValueError, match=r"expected uint8 \(n, height, width, 3\)"):
        processor.normalize_crops(wrong)


# -------------------------------------------------------------------------------- ready crops


def test_a_ready_crop_is_only_normalised(processor, photo):
    crop = processor.crops(photo)[0][0]
    batch = processor(crop, do_detect=False)
    assert list(batch) == ["pixel_values"]
    torch.testing.assert_close(batch["pixel_values"], processor(photo)["pixel_values"])


def test_a_batch_of_ready_crops_is_one_array_or_a_list(photo):
    ready = FahrFaceImageProcessor(do_detect=False)
    crops = np.stack([np.asarray(photo.resize((112, 112)))] * 3)
    from_array = ready(crops)["pixel_values"]
    from_tensor = ready(torch.from_numpy(crops).permute(0, 3, 1, 2))["pixel_values"]
    assert from_array.shape == (3, 3, 112, 112)
    torch.testing.assert_close(from_array, ready(list(crops))["pixel_values"])
    torch.testing.assert_close(from_array, from_tensor)


def test_a_ready_crop_of_another_size_is_resized_without_aliasing(processor):
    stripes = np.zeros((448, 448, 3), np.uint8)
    stripes[:, ::2] = 255
    values = processor(stripes, do_detect=False)["pixel_values"]
    assert values.shape == (1, 3, 112, 112)
    assert values[..., 4:-4].std() < 0.02


def test_a_ready_crop_must_be_square(processor, photo):
    with pytest.raises(ValueError, match=r"200 x 300 pixels.*do_detect=True"):
        processor(photo.crop((0, 0, 200, 300)), do_detect=False)


# -------------------------------------------------------------------------------- doors


def test_every_door_gives_the_same_face(processor, photo, tmp_path):
    path = tmp_path / "fotografía ü.png"
    photo.save(path)
    array = np.asarray(photo)
    doors = {
        "path as text": str(path),
        "path": path,
        "bytes": path.read_bytes(),
        "file": path.open("rb"),
        "PIL image": photo,
        "numpy": array,
        "torch": torch.from_numpy(array.copy()).permute(2, 0, 1),
    }
    wanted = processor(photo)["pixel_values"]
    for name, door in doors.items():
        torch.testing.assert_close(processor(door)["pixel_values"], wanted, msg=name)
    doors["file"].close()
    assert len(processor([*list(doors.values())[:3], photo])["faces"]) == 4


@pytest.fixture
def web_folder(tmp_path):
    """A folder, and the address at which a real web server hands it out."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_url_is_downloaded(processor, photo, web_folder):
    folder, address = web_folder
    photo.save(folder / "photo.png")
    assert processor.detect(f"{address}/photo.png") == processor.detect(photo)
    with pytest.raises(OSError, match=r"missing\.png.*404"):
        processor.detect(f"{address}/missing.png")


MODES = {
    "grey": lambda image: image.convert("L"),
    "CMYK": lambda image: image.convert("CMYK"),
    "palette": lambda image: image.quantize(256),
    "opaque RGBA": lambda image: image.convert("RGBA"),
    "grey and alpha": lambda image: image.convert("LA"),
    "YCbCr": lambda image: image.convert("YCbCr"),
    "16-bit grey": lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_shows_the_same_face(processor, photo, face, mode):
    found = processor.detect(MODES[mode](photo))
    assert len(found) == 1
    assert distance(points(found[0]), points(face)) < 0.05


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "CMYK"), ("PNG", "16-bit grey"), ("PNG", "palette"), ("TIFF", "CMYK"), ("PNG", "grey")],
)
def test_files_of_every_mode_are_read(processor, photo, face, tmp_path, kind, mode):
    path = tmp_path / "photo"
    MODES[mode](photo).save(path, kind)
    found = processor.detect(path)
    assert len(found) == 1
    assert distance(points(found[0]), points(face)) < 0.05


def test_sixteen_bits_keep_their_brightness():
    levels = Image.fromarray(np.full((20, 20), 0x8000, np.uint16))
    values = FahrFaceImageProcessor(size=20, do_normalize=False)(levels, do_detect=False)["pixel_values"]
    torch.testing.assert_close(values, torch.full((1, 3, 20, 20), 128 / 255))


@pytest.mark.parametrize("kind", ["RGBA", "palette with a transparent colour"])
def test_transparent_parts_are_white(kind):
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    if kind != "RGBA":
        image = Image.new("P", (20, 20), 0)
        image.info["transparency"] = 0
    values = FahrFaceImageProcessor(size=20, do_normalize=False)(image, do_detect=False)["pixel_values"]
    assert (values == 1).all()


def test_an_animation_counts_with_its_first_frame(processor, photo, face, tmp_path):
    path = tmp_path / "moving.gif"
    photo.save(path, save_all=True, append_images=[Image.new("RGB", photo.size)] * 2)
    assert distance(points(processor.detect(path)[0]), points(face)) < 0.05


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(processor, photo, face, orientation):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what a camera held so would store
    image = photo.crop((0, 0, 400, 500))
    stored = image if orientation == 1 else image.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for source in (encoded(stored, exif=exif), Image.open(io.BytesIO(encoded(stored, exif=exif)))):
        assert distance(points(processor.detect(source)[0]), points(face)) < 0.01


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_exif_block_does_not_matter(processor, photo):
    data = bytearray(encoded(photo, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xee" * 40))
    assert len(processor.detect(bytes(data))) == 1


# -------------------------------------------------------------------------------- drafts


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_small_with_the_same_answer(processor, photo, orientation):
    large = photo.resize((5120, 5120), Image.Resampling.BICUBIC).crop((0, 0, 5117, 4001))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = large if orientation == 1 else large.transpose(Image.Transpose.ROTATE_90)
    data = encoded(stored, "JPEG", quality=95, exif=exif)
    with Image.open(io.BytesIO(data)) as whole:
        whole.load()
        crops, faces = processor.crops(whole)
    draft_crops, draft_faces = processor.crops(data)
    assert distance(points(draft_faces[0]), points(faces[0])) < 0.02
    assert draft_faces[0]["size"] == pytest.approx(faces[0]["size"], rel=0.03)
    assert np.abs(draft_crops[0].astype(float) - crops[0]).mean() < 3


def test_a_small_face_in_a_large_jpeg_keeps_its_pixels(processor, photo):
    sheet = Image.new("RGB", (4000, 3000), "white")
    sheet.paste(photo.resize((700, 700), Image.Resampling.LANCZOS), (1500, 1000))
    data = encoded(sheet, "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as whole:
        whole.load()
        wanted = processor.detect(whole)[0]
    assert processor.detect(data)[0] == wanted


# -------------------------------------------------------------------------------- bad input


def test_a_missing_file_is_named(processor, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nobody\.jpg.*path to an image file"):
        processor.detect(tmp_path / "nobody.jpg")
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        processor.detect(tmp_path)


def test_a_truncated_jpeg_is_an_error(processor, photo, tmp_path):
    path = tmp_path / "half.jpg"
    data = encoded(photo, "JPEG")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(PhotoError, match=r"half\.jpg.*damaged"):
        processor.detect(path)
    with Image.open(path) as opened, pytest.raises(PhotoError, match=r"PIL image of mode RGB.*damaged"):
        processor.detect(opened)


@pytest.mark.parametrize("content", [b"", b"Dear Sir or Madam,"])
def test_text_under_the_name_of_a_photo_is_an_error(processor, tmp_path, content):
    path = tmp_path / "letter.jpg"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(PhotoError, match="not an image file"):
            processor.detect(source)


@pytest.mark.filterwarnings("ignore")  # Pillow also warns about some of these files
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_damaged_files_give_a_face_or_a_photo_error_and_nothing_else(processor, photo, kind):
    rng = np.random.default_rng(0)
    whole = np.frombuffer(encoded(photo.resize((96, 96)), kind), np.uint8)
    for _ in range(60):
        damaged = whole.copy()
        damaged[rng.integers(0, len(whole), 6)] = rng.integers(0, 256, 6)
        try:
            processor.detect(damaged[: rng.integers(1, len(whole) + 1)].tobytes())
        except PhotoError:
            continue


def bomb(side: int) -> bytes:
    """A PNG of a few bytes whose header claims `side` x `side` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_is_refused(processor, monkeypatch):
    with pytest.raises(PhotoError, match=r"900000000 pixels.*max_pixels"):
        processor.detect(bomb(30_000))
    # Many programs switch Pillow's own guard off; max_pixels still holds.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(PhotoError, match="30000 x 30000 = 900,000,000 pixels, more than max_pixels = 178,956,970"):
        processor.detect(bomb(30_000))


def test_max_pixels_is_an_option(photo):
    with pytest.raises(PhotoError, match="262,144 pixels, more than max_pixels = 200,000"):
        FahrFaceImageProcessor(max_pixels=200_000).detect(photo)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 5000), (5000, 1), (3, 900), (15, 15), (16, 16), (5000, 100), (33, 47)], ids=str
)
def test_tiny_photos_and_strips_hold_no_face(processor, shape):
    for seed, low in ((0, 0), (1, 250)):
        noise = np.random.default_rng(seed).integers(low, 256, (*shape, 3), dtype=np.uint8)
        assert processor.detect(noise) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "numpy array of dtype float32.*convert it to uint8"),
        (np.zeros((8, 8, 3), np.uint16), "numpy array of dtype uint16.*convert it to uint8"),
        (np.zeros((8, 8, 3), bool), "numpy array of dtype bool"),
        (torch.zeros(3, 8, 8), "torch tensor of dtype float32"),
        (torch.zeros(3, 8, 8, dtype=torch.bfloat16), "torch tensor of dtype bfloat16"),
        (np.zeros((3, 8, 9), np.uint8), r"numpy array of shape \(3, 8, 9\).*expected \(height, width, 3\)"),
        (torch.zeros(8, 9, 3, dtype=torch.uint8), r"torch tensor of shape \(8, 9, 3\).*\(3, height, width\)"),
        (np.zeros((0, 8, 3), np.uint8), "empty"),
        (np.zeros(8, np.uint8), r"shape \(8,\)"),
        (Image.new("F", (8, 8)), "mode F.*range is not known"),
        (Image.new("I", (8, 8)), "mode I"),
        (Image.new("RGB", (0, 8)), "empty"),
    ],
)
def test_uncertain_values_are_refused(processor, wrong, message):
    with pytest.raises(PhotoError, match=message):
        processor.detect(wrong)
    with pytest.raises(PhotoError, match=message):
        processor([wrong], do_detect=False)


@pytest.mark.parametrize("wrong", [None, 7, {"image": 1}])
def test_other_objects_are_refused(processor, wrong):
    with pytest.raises(TypeError, match=f"{type(wrong).__name__}.*Give a path, URL, bytes"):
        processor(wrong)


def test_a_file_opened_as_text_is_refused(processor):
    with Path(__file__).open(encoding="utf-8") as file, pytest.raises(TypeError, match=r"gives str.*mode 'rb'"):
        processor.detect(file)


@pytest.mark.parametrize("wrong", [[], [[1, 2]] * 5, [[np.nan, 2]] * 5, [[1, 2, 3]] * 5])
def test_align_refuses_what_are_not_five_points(processor, photo, wrong):
    with pytest.raises(ValueError, match=r"landmarks are .*expected five different"):
        processor.align(photo, wrong)


# -------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("size", {"height": 112, "width": 96}, r"size is .*96.*expected"),
        ("size", {"shortest_edge": 112}, "size is .*shortest_edge"),
        ("size", 0, "size is .*0.*at least 16"),
        ("margin", -0.1, "margin is -0.1; expected a number from 0"),
        ("margin", "wide", "margin is 'wide'"),
        ("margin", float("nan"), "margin is nan"),
        ("template", [[1, 2]], "template are .*expected five"),
        ("template", [[x, y + 30] for x, y in ARCFACE_TEMPLATE], "template is .*inside a 112 x 112 crop"),
        ("min_detection_score", 1.5, "min_detection_score is 1.5"),
        ("max_detection_side", 10, "max_detection_side is 10"),
        ("max_pixels", 0, "max_pixels is 0"),
        ("rescale_factor", True, "rescale_factor is True"),
        ("image_mean", [0.5], r"image_mean is \[0.5\]; expected three"),
        ("image_std", [0.5, 0.5, 0.0], "image_std is .*above 0"),
    ],
)
def test_an_option_out_of_range_is_named(option, value, message):
    with pytest.raises(ValueError, match=message):
        FahrFaceImageProcessor(**{option: value})


def test_an_unknown_option_is_named(processor, photo):
    with pytest.raises(TypeError, match=r"no option 'margins'.*Options: do_detect, size, margin"):
        FahrFaceImageProcessor(margins=0.2)
    with pytest.raises(TypeError, match="no option 'resample'"):
        processor(photo, resample=3)


# -------------------------------------------------------------------------------- saving and loading


def test_detector_files_are_those_that_the_record_names():
    record = (MODELS / "DETECTORS.md").read_text(encoding="utf-8")
    for file in DETECTOR_FILES:
        data = (MODELS / file).read_bytes()
        assert hashlib.sha256(data).hexdigest() in record
        assert f"{len(data):,}" in record


def test_opencv_reads_the_landmark_network_as_onnx_means_it():
    # The answer of ONNX Runtime. OpenCV 5.0 pads the pooling layers of the file in the wheel on the wrong side.
    network = cv2.dnn.readNetFromONNX(str(MODELS / "mtcnn_onet.onnx"))
    network.setInput(np.sin(np.arange(48 * 48 * 3, dtype=np.float32) / 50).reshape(1, 48, 48, 3))
    landmarks = network.forward(["dense_5", "dense_6", "softmax_2"])[1][0]
    wanted = [0.22759, 0.5794, 0.35198, 0.29445, 0.5314, 0.26526, 0.18704, 0.55045, 0.83612, 0.79192]
    # .001 of the crop is a twentieth of its pixels; the wrong padding moves landmarks by .025.
    np.testing.assert_allclose(landmarks, wanted, atol=1e-3)


def test_a_saved_processor_comes_back_with_its_detectors(photo, tmp_path):
    template = (np.array(ARCFACE_TEMPLATE) + 1).tolist()
    processor = FahrFaceImageProcessor(margin=0.1, template=template, image_mean=[0.1, 0.2, 0.3])
    processor.save_pretrained(tmp_path / "a")
    loaded = FahrFaceImageProcessor.from_pretrained(tmp_path / "a")
    assert {**loaded.to_dict(), "auto_map": processor.auto_map} == processor.to_dict()
    assert {Path(file).parent for file in loaded._detector_files} == {tmp_path / "a"}
    torch.testing.assert_close(loaded(photo)["pixel_values"], processor(photo)["pixel_values"])
    loaded.save_pretrained(tmp_path / "a")
    loaded.save_pretrained(tmp_path / "b")
    for file in (*DETECTOR_FILES, "preprocessor_config.json", "image_processing_fahr_face.py"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_saved_options_are_the_options_and_nothing_else(processor, photo, tmp_path):
    processor.detect(photo)
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert set(saved) == set(FahrFaceImageProcessor.valid_kwargs.__annotations__) | {
        "auto_map",
        "image_processor_type",
    }
    assert saved["auto_map"] == {"AutoImageProcessor": "image_processing_fahr_face.FahrFaceImageProcessor"}
    assert saved["size"] == {"height": 112, "width": 112}


def test_loading_overrides_options_and_hands_back_what_it_does_not_know(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded, rest = FahrFaceImageProcessor.from_pretrained(
        tmp_path, margin=0.3, colour="blue", return_unused_kwargs=True
    )
    assert loaded.margin == 0.3
    assert rest["colour"] == "blue"
    assert FahrFaceImageProcessor.from_pretrained(tmp_path / "preprocessor_config.json").margin == 0


def test_a_subfolder_has_its_own_detectors(processor, photo, tmp_path):
    processor.save_pretrained(tmp_path / "age")
    loaded = FahrFaceImageProcessor.from_pretrained(tmp_path, subfolder="age")
    assert {Path(file).parent for file in loaded._detector_files} == {tmp_path / "age"}
    assert len(loaded.detect(photo)) == 1


def test_a_revision_loads_offline_from_the_hub_cache(processor, photo, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--faces"
    snapshot = repository / "snapshots" / commit
    processor.save_pretrained(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text(commit)
    loaded = FahrFaceImageProcessor.from_pretrained(
        "someone/faces", revision="v1", cache_dir=tmp_path, local_files_only=True
    )
    assert {Path(file).parent for file in loaded._detector_files} == {snapshot}
    assert len(loaded.detect(photo)) == 1


def test_a_checkpoint_without_detectors_uses_those_of_the_package(processor, photo, tmp_path):
    processor.save_pretrained(tmp_path)
    for file in DETECTOR_FILES:
        (tmp_path / file).unlink()
    loaded = FahrFaceImageProcessor.from_pretrained(tmp_path)
    assert {Path(file).parent for file in loaded._detector_files} == {MODELS}
    assert len(loaded.detect(photo)) == 1


def test_copies_and_pickles_hold_no_network(photo):
    processor = FahrFaceImageProcessor(margin=0.2)
    wanted = processor.detect(photo)
    assert len(pickle.dumps(processor)) < 2000
    for twin in (copy.deepcopy(processor), copy.copy(processor), pickle.loads(pickle.dumps(processor))):
        assert twin.to_dict() == processor.to_dict()
        assert twin.detect(photo) == wanted


def test_a_pickle_finds_its_detectors_where_the_saved_ones_are_gone(processor, photo, tmp_path):
    processor.save_pretrained(tmp_path / "a")
    data = pickle.dumps(FahrFaceImageProcessor.from_pretrained(tmp_path / "a"))
    shutil.rmtree(tmp_path / "a")
    assert len(pickle.loads(data).detect(photo)) == 1


def test_threads_each_open_their_own_detectors(processor, photo, face):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(processor.detect, [photo] * 12):
            assert found == [face]


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_worker_processes_open_their_own_detectors(processor, photo, face, method):
    processor.detect(photo)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map_async(processor.detect, [photo] * 2).get(timeout=100) == [[face]] * 2


WITHOUT_CV2 = """
import sys
sys.modules["cv2"] = None  # what `import cv2` meets where it is not installed
import numpy as np
from transformers import AutoImageProcessor
processor = AutoImageProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
crop = np.zeros((112, 112, 3), np.uint8)
assert processor(crop, do_detect=False)["pixel_values"].shape == (1, 3, 112, 112)
for refused in (lambda: processor(crop), lambda: processor.align(crop, processor.template)):
    try:
        refused()
    except ImportError as error:
        assert "pip install opencv-python-headless" in str(error) and "do_detect=False" in str(error)
    else:
        raise AssertionError("detection without OpenCV must say what is missing")
processor.save_pretrained("again")
"""

REMOTE = """
import sys
import numpy as np
from transformers import AutoImageProcessor
processor = AutoImageProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
assert type(processor).__module__.startswith("transformers_modules"), type(processor)
batch = processor(sys.argv[2])
np.testing.assert_array_equal(batch["pixel_values"].numpy(), np.load(sys.argv[3]))
processor.save_pretrained("again")
again = AutoImageProcessor.from_pretrained("again", trust_remote_code=True)
assert again.detect(sys.argv[2]) == processor.detect(sys.argv[2])
bare = type(processor)()
try:
    bare.detect(sys.argv[2])
except FileNotFoundError as error:
    assert "mtcnn_onet.onnx" in str(error) and "install fahr-hf" in str(error), error
else:
    raise AssertionError("there are no detector files beside remote code")
"""


def succeed(result: subprocess.CompletedProcess) -> None:
    assert result.returncode == 0, result.stdout + result.stderr


def test_without_opencv_ready_crops_still_work(processor, tmp_path, python_without_fahr_hf):
    processor.save_pretrained(tmp_path)
    succeed(python_without_fahr_hf(WITHOUT_CV2, tmp_path))


def test_a_checkpoint_works_as_remote_code(processor, photo, tmp_path, python_without_fahr_hf):
    processor.save_pretrained(tmp_path / "checkpoint")
    photo.save(tmp_path / "photo.png")
    np.save(tmp_path / "wanted.npy", processor(photo, return_tensors="np")["pixel_values"])
    paths = [tmp_path / "checkpoint", tmp_path / "photo.png", tmp_path / "wanted.npy"]
    succeed(python_without_fahr_hf(REMOTE, *paths))


def test_the_file_stands_alone():
    source = (MODELS / "image_processing_fahr_face.py").read_text(encoding="utf-8")
    assert not re.search(r"^\s*(from|import)\s+\.", source, flags=re.MULTILINE)
    assert "fahr_hf" not in source


# -------------------------------------------------------------------------------- many photos


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the photo sets; point FAHR_HF_DATA at them")
@pytest.mark.parametrize("name", ["utkface-00000-of-00004", "public_figures-00000-of-00002", "congress"])
def test_nearly_every_portrait_has_a_face(processor, name):
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = next(parquet.ParquetFile(DATA / f"{name}.parquet").iter_batches(100, columns=["image"]))
    found = [bool(processor.detect(image["bytes"])) for image in rows.column("image").to_pylist()]
    assert sum(found) >= 97
