"""The checkpoints that come with the package, by name."""

import subprocess
import sys

import numpy as np
import pytest
from skimage.data import astronaut
from transformers import AutoImageProcessor, AutoModel, AutoModelForImageClassification

import fahr_hf
from fahr_hf import FahrFaceConfig, FahrFaceForAgeEstimation, FahrFaceImageProcessor, FahrFaceModel, embedded


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A folder in the place of the package's own, with one checkpoint and one thing that is none."""
    FahrFaceForAgeEstimation(FahrFaceConfig.from_size("tiny", num_hidden_layers=2)).save_pretrained(tmp_path / "mine")
    FahrFaceImageProcessor().save_pretrained(tmp_path / "mine")
    (tmp_path / "__pycache__").mkdir()
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_embedded_checkpoints_are_listed_by_name():
    assert fahr_hf.checkpoints() == ["mine"]


def test_a_name_gives_a_path_that_feeds_from_pretrained(folder):
    path = fahr_hf.checkpoint("mine")

    assert path == str(folder / "mine")
    assert type(AutoModel.from_pretrained(path)) is FahrFaceModel
    assert type(AutoModelForImageClassification.from_pretrained(path)) is FahrFaceForAgeEstimation
    assert type(AutoImageProcessor.from_pretrained(path)) is FahrFaceImageProcessor


@pytest.mark.usefixtures("folder")
def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"No checkpoint named 'yours' is embedded\. Embedded are: mine\."):
        fahr_hf.checkpoint("yours")
    with pytest.raises(ValueError, match=r"No checkpoint named '\.\./tests'"):
        fahr_hf.checkpoint("../tests")


def test_where_none_is_embedded_the_list_is_empty_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "FOLDER", tmp_path / "nowhere")

    assert fahr_hf.checkpoints() == []
    with pytest.raises(ValueError, match="This version embeds no checkpoint yet"):
        fahr_hf.checkpoint("fahr-faceage-tiny")


def test_every_checkpoint_of_this_version_loads_strictly_and_answers():
    for name in fahr_hf.checkpoints():
        vectors = fahr_hf.pipeline("face-embedding", name)

        assert np.isfinite(vectors(astronaut())[0]["embedding"]).all()


def test_listing_costs_no_heavy_import():
    program = "import sys, fahr_hf; fahr_hf.checkpoints(); print('torch' in sys.modules, 'transformers' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "False"]
