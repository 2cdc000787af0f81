"""`fahr-hf export`: a folder that the other commands take for a checkpoint, and errors of one line."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from conftest import minute_config
from photo_sets import ASTRONAUT

from fahr_hf import FahrFaceForAgeEstimation, FahrFaceImageProcessor

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnxruntime", "onnxscript")),
    reason="needs fahr-hf[export]",
)


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    torch.manual_seed(0)
    FahrFaceForAgeEstimation(minute_config(image_size=112, patch_size=16)).save_pretrained(tmp_path / "minute")
    FahrFaceImageProcessor().save_pretrained(tmp_path / "minute")
    return tmp_path / "minute"


def test_an_exported_folder_predicts_like_its_checkpoint(run, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, output, _ = run("export", checkpoint, "--format", "onnx")
    assert code == 0
    first, second, age, embedding = output.splitlines()
    assert first == "minute-onnx-float32: FahrFaceForAgeEstimation of minute, onnx float32"
    assert second.split() == ["change", "on", "1", "face", "mean", "largest"]
    assert age.split()[:2] == ["age", "(years)"]
    assert embedding.split()[0] == "embedding"
    assert float(age.split()[-1]) < 1e-3
    ASTRONAUT.save("photo.png")
    ages = []
    for model in (checkpoint, "minute-onnx-float32"):
        code, output, _ = run("predict", "photo.png", "--model", model, "--json")
        assert code == 0
        ages.append(json.loads(output)[0]["faces"][0]["age"])
    assert ages[1] == pytest.approx(ages[0], abs=1e-3)
    code, output, error = run("export", checkpoint, "--format", "onnx")
    assert code == 1
    assert error == ("fahr-hf: 'minute-onnx-float32' exists. Give the export a folder of its own, with out= (--out).\n")


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_the_extra(run, checkpoint, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    code, _, error = run("export", checkpoint, "--format", "onnx", "--out", tmp_path / "out")
    assert code == 1
    assert f"need {package}" in error or f"needs {package}" in error
    assert error.endswith("pip install 'fahr-hf[export]'\n")
    assert not (tmp_path / "out").exists()
