"""The weights that come with the package: complete, licensed, and answering as on the day they were made."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from PIL import Image

import fahr_hf
from fahr_hf import models

REPOSITORY = Path(__file__).parents[1]
PHOTO = REPOSITORY / "examples/astronaut.jpg"
AGE = 35.95
NAMES = fahr_hf.checkpoints()


def test_a_backbone_an_age_model_and_a_survival_model_are_there():
    assert NAMES == ["fahr-face-tiny", "fahr-faceage-tiny", "fahr-facesurvival-tiny"]


def test_the_age_of_the_example_is_what_it_was():
    # Other versions of OpenCV and torch move the crop by a rounding error, and with it the answer.
    assert fahr_hf.pipeline("face-age")(PHOTO)[0]["age"] == pytest.approx(AGE, abs=0.3)


def test_bfloat16_hardly_moves_the_age_of_the_example_however_it_lies():
    photo = Image.open(PHOTO)
    photos = [photo.rotate(angle, Image.Resampling.BICUBIC) for angle in range(-20, 25, 5)]
    pipelines = [fahr_hf.pipeline("face-age", dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    exact, rounded = ([face["age"] for (face,) in pipeline(photos)] for pipeline in pipelines)

    changes = [abs(before - after) for before, after in zip(exact, rounded, strict=True)]

    assert 0 < sum(changes) / len(changes) < 0.05


def test_the_readmes_first_command():
    command = REPOSITORY.joinpath("README.md").read_text().split("```")[1].splitlines()[1].split(" && ")[1].split()
    assert command[0] == "fahr-hf"
    program = Path(sys.executable).with_name("fahr-hf")
    result = subprocess.run([program, *command[1:]], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    age = float(re.search(r"age (\d+\.\d)", result.stdout)[1])
    assert age == pytest.approx(AGE, abs=0.3)
    assert "research estimates" in result.stderr


def test_transformers_own_pipeline_takes_them_by_default():
    answers = transformers.pipeline("face-age")(Image.open(PHOTO))
    assert answers[0]["age"] == pytest.approx(AGE, abs=0.3)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_of_the_published_folder_answers_without_fahr_hf(name, wheel, tmp_path, python_without_fahr_hf):
    with zipfile.ZipFile(wheel) as archive:
        inside = [file for file in archive.namelist() if file.startswith(f"fahr_hf/checkpoints/{name}/")]
        archive.extractall(tmp_path, inside)
    folder = tmp_path / "fahr_hf/checkpoints" / name
    for file in Path(models.__file__).parent.glob("*_fahr_face.py"):
        assert (folder / file.name).read_bytes() == file.read_bytes()
    program = (
        "import sys, transformers\n"
        "model = transformers.AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "processor = transformers.AutoImageProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "print(model(processor(sys.argv[2])['pixel_values']).pooler_output[0, :5].tolist())"
    )
    result = python_without_fahr_hf(program, folder, PHOTO)
    assert result.returncode == 0, result.stderr
    backbone = fahr_hf.FahrFaceModel.from_pretrained(fahr_hf.checkpoint(name))
    with torch.no_grad():
        wanted = backbone(fahr_hf.FahrFaceImageProcessor()(PHOTO)["pixel_values"]).pooler_output[0, :5]
    assert json.loads(result.stdout.splitlines()[-1]) == pytest.approx(wanted.tolist(), rel=1e-4, abs=1e-4)


def test_a_copy_of_the_published_age_model_answers_without_fahr_hf(wheel, tmp_path, python_without_fahr_hf):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "import sys, transformers\n"
        "age = transformers.pipeline('face-age', model=sys.argv[1], trust_remote_code=True)\n"
        "print(age(sys.argv[2])[0]['age'])"
    )
    result = python_without_fahr_hf(program, tmp_path / "fahr_hf/checkpoints/fahr-faceage-tiny", PHOTO)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.split()[-1]) == pytest.approx(AGE, abs=0.3)


def test_the_backbone_paints_hidden_parts_of_the_example_better_than_their_mean():
    model = fahr_hf.FahrFaceForPreTraining.from_pretrained(fahr_hf.checkpoint("fahr-face-tiny"))
    pixel_values = fahr_hf.FahrFaceImageProcessor()(PHOTO)["pixel_values"]
    noise = torch.rand(8, 49, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = model(pixel_values.expand(8, -1, -1, -1), noise=noise).loss
    # Patches are normalised: their mean alone would give 1.
    assert loss < 0.6


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_stored_in_half_and_answer_in_single_precision(name):
    from safetensors.torch import load_file

    stored = load_file(Path(fahr_hf.checkpoint(name)) / "model.safetensors")
    assert {value.dtype for value in stored.values() if value.is_floating_point()} == {torch.float16}
    assert transformers.AutoModel.from_pretrained(fahr_hf.checkpoint(name)).dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_the_card_states_licence_and_the_ledgers_figures(name):
    text = Path(fahr_hf.checkpoint(name), "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    card = yaml.safe_load(header)
    assert card["license"] == "cc-by-nc-4.0"
    assert "[More Information Needed]" not in text
    ledger = (REPOSITORY / "benchmarks/test_ledger.csv").read_text()
    for result in card["model-index"][0]["results"]:
        if result["dataset"]["split"].startswith("test"):
            assert f",{result['metrics'][0]['value']}," in ledger
        assert f"{result['metrics'][0]['value']:.2f}" in body
    for section in ("Out of scope", "Limits", "Training", "Measured", "not medical advice"):
        assert section in body
