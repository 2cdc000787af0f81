"""`fahr-hf export`: a folder that the other commands take for a checkpoint, and errors of one line."""

import importlib.util
import json
import subprocess
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


def test_a_damaged_photo_is_told_of_in_one_line(checkpoint, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    ASTRONAUT.resize((200, 200)).save(photos / "whole.jpg")
    (photos / "torn.jpg").write_bytes((photos / "whole.jpg").read_bytes()[:3000])
    options = ["--format", "onnx", "--parity", str(photos), "--out", str(tmp_path / "out")]

    command = [sys.executable, "-m", "fahr_hf.cli", "export", str(checkpoint), *options]
    error = subprocess.run(command, capture_output=True, text=True, check=True).stderr

    (told,) = [line for line in error.splitlines() if "torn.jpg" in line]
    assert told.startswith("fahr-hf: warning: 1 of 2 photos are left out; the first: ")
    assert "warnings.warn" not in error


@pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="needs fahr-hf[export]")
def test_what_openvino_says_while_it_quantizes_stays_out_of_the_output(checkpoint, tmp_path):
    options = ["--format", "openvino", "--dtype", "int8", "--out", str(tmp_path / "out")]

    command = [sys.executable, "-m", "fahr_hf.cli", "export", str(checkpoint), *options]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert [line.split()[0] for line in output.splitlines()] == [f"{tmp_path / 'out'}:", "change", "age", "embedding"]
