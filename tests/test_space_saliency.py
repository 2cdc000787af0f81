"""What an age rests on, in the demo: a map of the largest face for who asks for it, drawn and as numbers."""

import base64
import importlib.util
import re
from io import BytesIO

import numpy as np
import pytest
import torch
from photo_sets import side_by_side
from PIL import Image
from test_space import SPACE, Demo, nobody, photo  # noqa: F401

import fahr_hf
from fahr_hf import FahrFaceForAgeEstimation, FahrFaceImageProcessor
from fahr_hf.hub.golden import PORTRAIT
from tests.conftest import minute_config

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="the demo is drawn by gradio")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A minute model for ages that has learned nothing, but whose answers depend on the photo."""
    torch.manual_seed(0)
    model = FahrFaceForAgeEstimation(minute_config(initializer_range=0.5))
    folder = tmp_path_factory.mktemp("ages")
    model.save_pretrained(folder)
    FahrFaceImageProcessor(size=32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(checkpoint, tmp_path_factory):
    demo = Demo(tmp_path_factory.mktemp("space"), [str(SPACE / "app.py")], FAHR_FACE_MODEL=str(checkpoint))
    yield demo
    demo.interrupt()


def decoded(source: str) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(source.partition("base64,")[2]))).convert("RGB"))


def test_the_api_gives_the_map_of_the_pipeline_and_the_crop_that_it_lies_on(server, photo, checkpoint):  # noqa: F811
    pipeline = fahr_hf.pipeline("face-age", checkpoint, explain=True)
    (wanted,) = pipeline(str(PORTRAIT))
    face = server.call("/saliency", photo(PORTRAIT.read_bytes()))
    assert wanted["saliency"].std() > 0
    assert np.array(face["saliency"]) == pytest.approx(wanted["saliency"], abs=1e-3)
    assert face["age"] == pytest.approx(wanted["age"], abs=1e-3)
    assert face["box"] == pytest.approx(wanted["box"])
    assert (decoded(face["crop"]) == pipeline.image_processor.crops(PORTRAIT)[0][0]).all()


def test_of_two_faces_the_map_is_that_of_the_largest(server, photo):  # noqa: F811
    both = photo(side_by_side())
    assert server.call("/saliency", both)["box"]["xmax"] < 512
    page, _ = server.call("/page_saliency", both)
    first, second = page.split('<p class="ff-name">')[1:]
    assert (first[:6], second[:6]) == ("Face 1", "Face 2")
    assert first.count("<figure") == 1
    assert "<figure" not in second


def test_a_photo_without_a_face_has_no_map(server, photo):  # noqa: F811
    for function in ("/saliency", "/page_saliency"):
        assert server.refusal(function, photo(nobody())).startswith("No face was found in this photo.")


def test_nothing_of_a_map_is_kept(server, photo):  # noqa: F811
    server.call("/page_saliency", photo(PORTRAIT.read_bytes()))
    assert server.files() == []


def test_a_map_is_red_where_a_place_adds_years_and_blue_where_it_takes_some():
    from fahr_hf.demo.maps import draw

    years = np.zeros((90, 90), np.float32)
    years[:30, 60:] = 4
    years[60:, 30:60] = -2
    drawn = draw(np.full((90, 90, 3), 128, np.uint8), years)
    picture = decoded(drawn["source"]).astype(int)
    assert picture.shape == (360, 360, 3)
    red, nothing, blue = picture[60, 300], picture[180, 180], picture[300, 180]
    assert red[0] > nothing[0] - 40
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 20
    assert np.ptp(nothing) < 10
    words = {"older_place": "upper right", "younger_place": "lower centre", "older": 4, "younger": 2, "end": 4}
    assert {name: drawn[name] for name in words} == words


def test_a_map_of_hardly_anything_has_pale_colours():
    from fahr_hf.demo.maps import draw

    drawn = draw(np.full((32, 32, 3), 128, np.uint8), np.full((32, 32), 0.01, np.float32))
    assert drawn["end"] == 0.5
    assert np.ptp(decoded(drawn["source"]).astype(int), axis=2).max() < 10
    assert drawn["younger"] == 0


def test_the_page_says_in_words_what_the_map_shows_and_what_it_does_not_mean():
    from fahr_hf.demo.maps import draw
    from fahr_hf.demo.results import faces

    face = {"age": 40.0, "interval": None, "warning": None, "box": {"xmin": 1, "ymin": 1, "xmax": 9, "ymax": 9}}
    years = np.zeros((48, 48), np.float32)
    years[16:32, 16:32] = 1.26
    plain, explained = (
        faces(PORTRAIT.read_bytes(), [face], drawn) for drawn in (None, draw(np.zeros((48, 48, 3), np.uint8), years))
    )
    assert "<figure" not in plain
    (alternative,) = re.findall(r'<img [^>]*alt="([^"]+)"', explained)
    assert "looks older most by the centre, by 1.3 years" in alternative
    assert "1.3 years older</span>" in explained
    assert "This describes the model and not the person" in explained
