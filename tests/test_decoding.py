"""Photos of 12 megapixels decoded small: the same faces, crops and ages, and more pixels where a crop needs them."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

import fahr_hf
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor, PhotoError, _read

WIDTH, HEIGHT = 3000, 4000
EXIF_ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def processor() -> FahrFaceImageProcessor:
    return FahrFaceImageProcessor()


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    """A photo of 12 megapixels; the face is a quarter as high."""
    return Image.fromarray(astronaut()[:384, 80:368]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def portrait_file(portrait) -> bytes:
    return encoded(portrait)


def encoded(photo: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def fully(file: bytes) -> Image.Image:
    """The photo as an image in memory, which cannot be decoded small any more."""
    image = Image.open(io.BytesIO(file))
    image.load()
    return image


def with_face_of(portrait: Image.Image, height: int) -> bytes:
    """12 megapixels of grey with the portrait in them, that many pixels high."""
    sheet = Image.new("RGB", (WIDTH, HEIGHT), (120, 130, 140))
    sheet.paste(portrait.resize((height * 3 // 4, height), Image.Resampling.LANCZOS), (600, 900))
    return encoded(sheet)


def test_a_portrait_is_decoded_at_a_quarter_of_its_side_and_described_in_its_own_pixels(processor, portrait_file):
    draft = _read(portrait_file, WIDTH * HEIGHT, draft_side=processor.max_detection_side)
    (face,) = processor.detect(portrait_file)

    assert draft.pixels.shape == (HEIGHT // 4, WIDTH // 4, 3)
    assert (draft.width, draft.height) == (WIDTH, HEIGHT)
    assert face["size"] > HEIGHT / 5


@pytest.mark.parametrize("kind", ["rgb", "grey", "cmyk", "progressive", "turned"])
def test_a_jpeg_of_any_kind_gives_the_crop_and_landmarks_of_full_decoding(processor, portrait, kind):
    match kind:
        case "grey":
            file = encoded(portrait.convert("L"))
        case "cmyk":
            file = encoded(portrait.convert("CMYK"))
        case "progressive":
            file = encoded(portrait, progressive=True)
        case "turned":
            exif = Image.Exif()
            exif[EXIF_ORIENTATION] = 6
            file = encoded(portrait.transpose(Image.Transpose.ROTATE_90), exif=exif)
        case _:
            file = encoded(portrait)

    (crop,), (face,) = processor.crops(file)
    (wanted_crop,), (wanted,) = processor.crops(fully(file))

    eyes = np.linalg.norm(np.subtract(*wanted["landmarks"][:2]))
    assert np.abs(np.subtract(face["landmarks"], wanted["landmarks"])).max() < 0.03 * eyes
    assert face["size"] == pytest.approx(wanted["size"], rel=0.03)
    assert face["sharpness"] == pytest.approx(wanted["sharpness"], rel=0.15)
    assert np.abs(crop.astype(float) - wanted_crop).mean() < 2


@pytest.mark.parametrize("height", [500, 1000, 2000])
def test_however_small_the_face_its_crop_is_that_of_full_decoding(processor, portrait, height):
    file = with_face_of(portrait, height)

    (crop,), (face,) = processor.crops(file)
    (wanted_crop,), (wanted,) = processor.crops(fully(file))

    assert face["sharpness"] == pytest.approx(wanted["sharpness"], rel=0.15)
    assert np.abs(crop.astype(float) - wanted_crop).mean() < 2


def test_a_face_for_which_the_file_has_no_pixel_to_spare_is_cut_from_all_of_them(processor, portrait):
    file = with_face_of(portrait, 500)

    crops, faces = processor.crops(file)
    wanted_crops, wanted = processor.crops(fully(file))

    assert faces == wanted
    np.testing.assert_array_equal(crops, wanted_crops)


def test_other_formats_are_decoded_fully(processor, portrait):
    file = io.BytesIO()
    portrait.resize((1500, 2000)).save(file, "PNG", compress_level=1)
    image = np.asarray(Image.open(file))

    assert _read(file.getvalue(), WIDTH * HEIGHT, draft_side=640).pixels.shape == (2000, 1500, 3)
    np.testing.assert_array_equal(processor.crops(file.getvalue())[0], processor.crops(image)[0])


def test_the_limit_on_pixels_is_about_the_file_and_not_about_what_is_decoded(portrait_file):
    with pytest.raises(PhotoError, match=r"3000 x 4000 = 12,000,000 pixels, more than max_pixels = 11,999,999"):
        FahrFaceImageProcessor(max_pixels=WIDTH * HEIGHT - 1).detect(portrait_file)


def test_the_age_is_that_of_full_decoding(portrait_file):
    age = fahr_hf.pipeline("face-age")

    (face,), (wanted,) = age([portrait_file, fully(portrait_file)])

    assert face["age"] == pytest.approx(wanted["age"], abs=1)
