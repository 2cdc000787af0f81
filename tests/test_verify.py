"""`fahr_hf.verify`: a checkpoint answers as on the day it was published, or it is said in what it does not."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ALL_MODELS, minute_config
from PIL import Image
from safetensors.torch import load_file, save_file

import fahr_hf
from fahr_hf.hub.golden import PORTRAIT, write_golden
from fahr_hf.hub.verify import VerificationError

EXAMPLE = Path(__file__).parents[1] / "examples/astronaut.jpg"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the embedded age model that a test may change."""
    return Path(shutil.copytree(fahr_hf.checkpoint("fahr-faceage-tiny"), tmp_path / "age"))


def change_weights(folder: Path, name: str, factor: float) -> None:
    weights = load_file(folder / "model.safetensors")
    weights[name] = weights[name] * factor
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_json(file: Path, **changes) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def steps_that_differ(folder: Path) -> list[str]:
    with pytest.raises(VerificationError, match="does not answer as its golden vectors say") as caught:
        fahr_hf.verify(folder)
    return [step.name for step in caught.value.verification.steps if not step.ok]


@pytest.mark.parametrize("name", fahr_hf.checkpoints())
def test_every_embedded_checkpoint_answers_as_when_it_was_published(name):
    """With whatever versions of the libraries this runs on; a failure here means that an upgrade changes answers."""
    verification = fahr_hf.verify(name)
    assert [step.name for step in verification.steps][:2] == ["crop (grey levels)", "embedding"]
    assert verification.computed_with["torch"] == torch.__version__


def test_the_portrait_is_the_one_of_the_examples():
    assert PORTRAIT.read_bytes() == EXAMPLE.read_bytes()


def test_the_wheel_holds_the_portrait_and_every_checkpoints_golden_vectors(wheel):
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("fahr_hf/hub/portrait.jpg") == EXAMPLE.read_bytes()
        for name in fahr_hf.checkpoints():
            folder = f"fahr_hf/checkpoints/{name}"
            assert {f"{folder}/golden.json", f"{folder}/golden.png"} <= set(archive.namelist())


def test_golden_numbers_are_those_that_the_pipelines_give_for_the_stored_crop(folder):
    numbers = json.loads((folder / "golden.json").read_text())["answers"]
    processor = fahr_hf.FahrFaceImageProcessor.from_pretrained(folder, do_detect=False)
    crop = Image.open(folder / "golden.png")
    age = fahr_hf.pipeline("face-age", folder, image_processor=processor)(crop)[0]["age"]
    embedding = fahr_hf.pipeline("face-embedding", folder, image_processor=processor)(crop)[0]["embedding"]
    assert numbers["output"] == {"age": pytest.approx(age, abs=2e-4)}
    np.testing.assert_allclose(numbers["embedding"], embedding, atol=2e-5)


@pytest.mark.parametrize("model_class", ALL_MODELS, ids=lambda model: model.__name__)
def test_golden_vectors_of_every_model_hold_right_after_they_were_written(model_class, tmp_path):
    torch.manual_seed(0)
    model_class(minute_config()).save_pretrained(tmp_path)
    fahr_hf.FahrFaceImageProcessor(size=32).save_pretrained(tmp_path)
    write_golden(tmp_path)
    steps = fahr_hf.verify(tmp_path).steps
    heads = {"FahrFaceForPreTraining": ["loss"], "FahrFaceForAgeEstimation": ["age"], "FahrFaceForSurvival": ["risk"]}
    assert [step.name for step in steps[2:]] == heads.get(model_class.__name__, [])
    assert all(step.difference < step.tolerance / 10 for step in steps)


def test_a_processor_without_detection_takes_the_portrait_for_the_crop(tmp_path):
    fahr_hf.FahrFaceModel(minute_config()).save_pretrained(tmp_path)
    fahr_hf.FahrFaceImageProcessor(size=32, do_detect=False).save_pretrained(tmp_path)
    write_golden(tmp_path)
    shrunk = Image.open(EXAMPLE).resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "golden.png")), np.asarray(shrunk))
    fahr_hf.verify(tmp_path)


def test_a_change_of_weights_too_small_to_move_the_age_is_noticed(folder):
    change_weights(folder, "backbone.layers.3.mlp.up_proj.weight", 1.001)
    assert steps_that_differ(folder) == ["embedding"]


def test_a_changed_weight_of_the_head_is_told_apart(folder):
    change_weights(folder, "age_head.weight", 1.01)
    assert steps_that_differ(folder) == ["age"]


def test_a_processor_that_crops_otherwise_is_noticed(folder):
    change_json(folder / "preprocessor_config.json", margin=0.02)
    assert steps_that_differ(folder) == ["crop (grey levels)"]


def test_a_processor_that_normalises_otherwise_is_noticed(folder):
    change_json(folder / "preprocessor_config.json", image_mean=[0.5, 0.5, 0.49])
    assert steps_that_differ(folder) == ["embedding", "age"]


def test_a_crop_of_another_size_differs(folder):
    Image.open(folder / "golden.png").crop((0, 0, 96, 96)).save(folder / "golden.png")
    assert "crop (grey levels)" in steps_that_differ(folder)


def test_the_error_names_the_libraries_that_changed_since(folder):
    change_json(folder / "golden.json", versions={**fahr_hf.verify(folder).written_with, "opencv": "4.0.0"})
    change_weights(folder, "age_head.weight", 1.01)
    with pytest.raises(VerificationError, match=r"opencv 4\.0\.0 -> \d"):
        fahr_hf.verify(folder)


def test_golden_vectors_of_another_portrait_are_not_compared(folder):
    change_json(folder / "golden.json", photo={"name": "another", "sha256": "0" * 64})
    with pytest.raises(ValueError, match=r"another portrait \(sha256 000000000000\.\.\.\)"):
        fahr_hf.verify(folder)


def test_the_command_shows_a_table(run):
    code, out, err = run("verify", "fahr-faceage-tiny")
    assert (code, err) == (0, "")
    assert [line.split()[-1] for line in out.splitlines()] == ["tolerated", "ok", "ok", "ok"]


def test_the_command_ends_with_a_table_and_one_line_when_answers_differ(run, folder):
    change_weights(folder, "age_head.weight", 1.01)
    code, out, err = run("verify", folder)
    assert code == 1
    assert [line.split()[-1] for line in out.splitlines()] == ["tolerated", "ok", "ok", "DIFFERS"]
    assert len(err.splitlines()) == 1
    assert "age by" in err


def test_a_checkpoint_without_golden_vectors_says_how_they_are_made(run, folder):
    (folder / "golden.json").unlink()
    code, out, err = run("verify", folder)
    assert (code, out) == (1, "")
    assert "has no golden vectors" in err
    assert "fahr-hf verify FOLDER --write" in err


def test_writing_again_tells_what_changed(run, folder):
    change_weights(folder, "age_head.weight", 1.01)
    code, out, _ = run("verify", folder, "--write")
    assert code == 0
    assert ": age " in out
    assert ", before 35.9" in out
    assert run("verify", folder)[0] == 0


def test_golden_vectors_are_written_into_folders_alone(run):
    code, _, err = run("verify", "fahr-faceage-tiny", "--write")
    assert code == 1
    assert "there is none at 'fahr-faceage-tiny'" in err


def test_a_model_of_another_kind_is_refused(run, folder):
    change_json(folder / "config.json", model_type="vit", architectures=["ViTModel"])
    code, _, err = run("verify", folder)
    assert code == 1
    assert "holds a ViTModel of the model_type 'vit'" in err
