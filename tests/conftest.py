"""Shared pieces: a model of a few thousand parameters, and a Python that has everything but fahr-hf."""

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fahr_hf import (
    FahrFaceConfig,
    FahrFaceForAgeEstimation,
    FahrFaceForPreTraining,
    FahrFaceForSurvival,
    FahrFaceModel,
)

ALL_MODELS = [FahrFaceModel, FahrFaceForPreTraining, FahrFaceForAgeEstimation, FahrFaceForSurvival]
HEADS = [FahrFaceForPreTraining, FahrFaceForAgeEstimation, FahrFaceForSurvival]


def minute_config(**overrides) -> FahrFaceConfig:
    """32-pixel crops, 16 patches, 2 layers of width 32."""
    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "decoder_hidden_size": 16,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
    }
    return FahrFaceConfig(**{**shape, **overrides})


def images(count: int = 3, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def mask_noise(count: int = 3, patches: int = 16, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, patches, generator=torch.Generator().manual_seed(seed))


def run_model(model, pixel_values: torch.Tensor, **kwargs):
    """Forward, with the masking fixed where there is one."""
    if isinstance(model, FahrFaceForPreTraining):
        patches = (pixel_values.shape[2] // 8) * (pixel_values.shape[3] // 8)
        kwargs.setdefault("noise", mask_noise(len(pixel_values), patches))
    return model(pixel_values, **kwargs)


def main_output(output) -> torch.Tensor:
    return output["last_hidden_state"] if "last_hidden_state" in output else output["logits"]


def assert_same_answers(output: torch.Tensor, wanted: torch.Tensor) -> None:
    """Equal but for summation order: weights that lie elsewhere in memory may take another matrix kernel."""
    torch.testing.assert_close(output, wanted, atol=1e-6, rtol=1e-5)


@pytest.fixture(autouse=True)
def no_accelerator_left_behind():
    """Accelerate keeps one state a process, and refuses other settings in the next test."""
    yield
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(params=[*ALL_MODELS, "convolution stem"], ids=lambda param: getattr(param, "__name__", param))
def model(request):
    torch.manual_seed(0)
    if request.param == "convolution stem":
        return FahrFaceForAgeEstimation(minute_config(stem="convolution")).eval()
    return request.param(minute_config()).eval()


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the program in this process; gives exit code, standard output and standard error."""
    from fahr_hf.cli import app

    def program(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fahr-hf", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            app()
        return exit_.value.code or 0, *capsys.readouterr()

    return program


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The package as it is published."""
    out = tmp_path_factory.mktemp("dist")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(out),
        str(Path(__file__).parents[1]),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="session")
def python_without_fahr_hf(tmp_path_factory) -> Callable[..., subprocess.CompletedProcess]:
    """Run a program in a virtual environment that has every package of this one except fahr-hf, and no network."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=True)
    scheme = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", scheme))
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "fahr_hf" not in entry.name and not (packages / entry.name).exists():
            (packages / entry.name).symlink_to(entry)
    home = tmp_path_factory.mktemp("hf_home")
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("HF_")}
    variables |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}

    def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess:
        guard = "import importlib.util as u; assert u.find_spec('fahr_hf') is None, 'fahr_hf is importable'\n"
        command = [folder / "bin" / "python", "-W", "ignore", "-c", guard + program, *map(str, arguments)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=home,
            env=variables,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    assert sys.prefix != str(folder)
    return run


@pytest.fixture(scope="session")
def crop_cache(tmp_path_factory) -> Path:
    """Crops of one real photo at ten sizes, said to be of ten ages: eight to train on, two for validation."""
    from photo_sets import ASTRONAUT, encoded, row, write_set

    from fahr_hf.data.cutting import cut_crops

    folder = tmp_path_factory.mktemp("photos")
    rows = [
        row(
            f"{size}.jpg",
            encoded(ASTRONAUT.resize((size, size)), quality=95),
            part="train" if size < 320 else "validation",
            age=float(size - 190),
        )
        for size in (*range(200, 320, 15), 330, 340)
    ]
    list(cut_crops(write_set(folder / "set", rows), folder / "crops", workers=1))
    return folder / "crops"
