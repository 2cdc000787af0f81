"""`fahr-hf` as a user types it, in a process of its own."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from test_conversion import as_original_mae, vit_mae

from fahr_hf import FahrFaceForPreTraining

PROGRAM = Path(sys.executable).with_name("fahr-hf")


def run(*arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_version():
    assert run("--version").stdout.strip() == version("fahr-hf")


def test_help_names_the_commands():
    result = run("--help")
    assert result.returncode == 0
    assert "convert" in result.stdout


def test_a_package_that_a_command_needs_is_named_with_its_extra(tmp_path):
    """As where only the core, or another extra, is installed."""
    program = "import sys\nsys.modules['statsmodels'] = None\nfrom fahr_hf.cli import app\napp()"
    (tmp_path / "cohort.csv").write_text("duration,event,face_age\n1,1,50\n")
    command = [
        sys.executable,
        "-c",
        program,
        "evaluate",
        "survival",
        tmp_path / "cohort.csv",
        "--out",
        tmp_path / "out",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.strip() == "fahr-hf: this command needs statsmodels: pip install 'fahr-hf[clinical]'"


def test_an_unknown_option_is_explained():
    result = run("convert", "a", "b", "--heads", "3")
    assert result.returncode == 2
    assert "No such option" in result.stderr


@pytest.fixture
def mae_file(tmp_path):
    torch.save({"model": as_original_mae(vit_mae().state_dict())}, tmp_path / "mae.pth")
    return tmp_path / "mae.pth"


OPTIONS = [
    *("--num-attention-heads", "2", "--layer-norm-eps", "1e-6", "--template", "arcface"),
    *("--image-mean", "0.485", "0.456", "0.406", "--image-std", "0.229", "0.224", "0.225"),
    *("--decoder-num-attention-heads", "2", "--mask-ratio", "0.75", "--norm-pix-loss"),
]


def test_convert(mae_file, tmp_path):
    result = run("convert", mae_file, tmp_path / "out", *OPTIONS)
    assert result.returncode == 0, result.stderr
    assert "FahrFaceForPreTraining" in result.stdout
    assert "hidden_size = 32 (shapes)" in result.stdout
    assert "layer_norm_eps = 1e-06 (caller)" in result.stdout
    FahrFaceForPreTraining.from_pretrained(tmp_path / "out")


def test_convert_asks_for_what_it_cannot_know_in_one_line(mae_file, tmp_path):
    result = run("convert", mae_file, tmp_path / "out")
    assert result.returncode == 1
    assert "--num-attention-heads ... --layer-norm-eps ..." in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_convert_a_missing_file_in_one_line(tmp_path):
    result = run("convert", tmp_path / "absent.pth", tmp_path / "out")
    assert result.returncode == 1
    assert "does not exist" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("template", ["1,2 3,4", "a,b c,d e,f g,h i,j", "elsewhere"])
def test_convert_a_template_that_is_none(template, mae_file, tmp_path):
    options = [template if option == "arcface" else option for option in OPTIONS]
    result = run("convert", mae_file, tmp_path / "out", *options)
    assert result.returncode == 1
    assert repr(template) in result.stderr
    assert "Traceback" not in result.stderr
