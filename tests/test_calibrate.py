"""`fahr-hf calibrate`: intervals into a checkpoint, and out of it as soon as its weights change."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import images, minute_config
from photo_sets import ASTRONAUT, encoded, row, write_set
from transformers import Trainer, TrainingArguments

import fahr_hf
from fahr_hf import FahrFaceConfig, FahrFaceForAgeEstimation, FahrFaceImageProcessor
from fahr_hf.conformal import fit_intervals, intervals
from fahr_hf.data.cutting import cut_crops
from fahr_hf.evaluation.predictions import predict_table

TABLES = {"age": fit_intervals(np.arange(50.0), np.full(50, 30.0), "x"), "risk": {"quantiles": [0.5]}}


@pytest.fixture(scope="module")
def crops(tmp_path_factory) -> Path:
    """Crops of one photo at several sizes: ten for calibration and one for validation."""
    folder = tmp_path_factory.mktemp("photos")
    parts = [*["calibration"] * 10, "validation"]
    rows = [
        row(f"{i}.jpg", encoded(ASTRONAUT.resize((200 + 5 * i,) * 2)), part=part, age=float(30 + i))
        for i, part in enumerate(parts)
    ]
    list(cut_crops(write_set(folder / "set", rows), folder / "crops", workers=1))
    return folder / "crops"


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    torch.manual_seed(0)
    model = FahrFaceForAgeEstimation(FahrFaceConfig.from_size("tiny", num_hidden_layers=2))
    torch.nn.init.constant_(model.age_head.bias, 40)
    model.save_pretrained(tmp_path / "age")
    FahrFaceImageProcessor().save_pretrained(tmp_path / "age")
    return tmp_path / "age"


# ------------------------------------------------------------------------------------------------------ the command


def test_a_checkpoint_is_calibrated_by_changing_its_config_and_nothing_else(run, checkpoint, crops):
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}

    code, output, _ = run("calibrate", checkpoint, crops, "--flip", "--level", "0.8")

    assert code == 0
    after = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    assert {name for name in after if after[name] != before.get(name)} == {"config.json"}
    config, old = json.loads(after["config.json"]), json.loads(before["config.json"])
    calibration = config.pop("calibration")
    assert {**config, "calibration": None} == old
    for key, flip in (("age", False), ("age_flip", True)):
        photos = predict_table(checkpoint, crops, "calibration", flip)
        assert calibration[key] == fit_intervals(photos["age"], photos["predicted"], "calibration of crops", level=0.8)
    assert calibration["age"] != calibration["age_flip"]
    assert "80% intervals from 10 photos, calibration of crops" in output
    assert "which the weights may have been chosen on" in output
    assert [line.split()[1] for line in output.splitlines() if line.strip().startswith("all ")] == ["1", "1"]


def test_the_pipeline_answers_with_what_was_fitted(run, checkpoint, crops):
    assert fahr_hf.pipeline("face-age", checkpoint)(ASTRONAUT)[0]["interval"] is None

    run("calibrate", checkpoint, crops, "--level", "0.8")

    (face,) = fahr_hf.pipeline("face-age", checkpoint)(ASTRONAUT)
    table = FahrFaceConfig.from_pretrained(checkpoint).calibration["age"]
    assert table["level"] == 0.8
    assert face["interval"] == [*np.concatenate(intervals(table, np.array([face["age"]])))]


def test_a_copy_is_calibrated_where_one_is_asked_for(run, checkpoint, crops, tmp_path):
    before = (checkpoint / "config.json").read_bytes()

    code, _, _ = run("calibrate", checkpoint, crops, "--level", "0.8", "--out", tmp_path / "copy")

    assert code == 0
    assert (checkpoint / "config.json").read_bytes() == before
    assert set(FahrFaceForAgeEstimation.from_pretrained(tmp_path / "copy").config.calibration) == {"age"}
    code, _, error_output = run("calibrate", checkpoint, crops, "--out", tmp_path / "copy")
    assert (code, "exists" in error_output) == (1, True)


def test_an_embedded_checkpoint_is_left_as_it_was_published(run, crops):
    for name in ("fahr-faceage-tiny", fahr_hf.checkpoint("fahr-faceage-tiny")):
        code, _, error_output = run("calibrate", name, crops)

        assert code == 1
        assert "belongs to the package and is not changed. Give --out" in error_output


@pytest.mark.parametrize("part", ["train", "validation", "test", "test_young"])
def test_photos_that_were_used_or_are_for_tests_do_not_calibrate(run, checkpoint, crops, part):
    code, _, error_output = run("calibrate", checkpoint, crops, "--part", part)

    assert code == 1
    assert f"The part '{part}'" in error_output
    assert json.loads((checkpoint / "config.json").read_text())["calibration"] is None


def test_too_few_photos_leave_the_checkpoint_as_it_was(run, checkpoint, crops):
    before = (checkpoint / "config.json").read_bytes()

    code, _, error_output = run("calibrate", checkpoint, crops)

    assert code == 1
    assert "10 calibration photos are too few" in error_output
    assert "at least 19 are needed" in error_output
    assert (checkpoint / "config.json").read_bytes() == before


# ---------------------------------------------------------------------------------------------- weights that change


@pytest.fixture
def calibrated(tmp_path) -> Path:
    torch.manual_seed(0)
    FahrFaceForAgeEstimation(minute_config(calibration=TABLES)).save_pretrained(tmp_path / "calibrated")
    return tmp_path / "calibrated"


def test_loading_evaluating_and_saving_keep_the_tables(calibrated, tmp_path):
    model = FahrFaceForAgeEstimation.from_pretrained(calibrated)
    model.eval().train(False)(images())
    model.save_pretrained(tmp_path / "again")

    assert FahrFaceForAgeEstimation.from_pretrained(tmp_path / "again").config.calibration == TABLES


def test_training_mode_drops_all_tables_for_good(calibrated, tmp_path):
    model = FahrFaceForAgeEstimation.from_pretrained(calibrated)
    model.train().eval()
    model.save_pretrained(tmp_path / "again")

    assert model.config.calibration is model.backbone.config.calibration is None
    assert FahrFaceForAgeEstimation.from_pretrained(tmp_path / "again").config.calibration is None


def test_the_trainer_of_transformers_saves_no_tables_of_other_weights(calibrated, tmp_path):
    data = [{"pixel_values": image, "labels": torch.tensor(30.0)} for image in images(4)]
    arguments = TrainingArguments(
        str(tmp_path / "run"), max_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True
    )
    trainer = Trainer(FahrFaceForAgeEstimation.from_pretrained(calibrated), arguments, train_dataset=data)
    trainer.train()
    trainer.save_model(str(tmp_path / "tuned"))

    assert FahrFaceForAgeEstimation.from_pretrained(tmp_path / "tuned").config.calibration is None


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapters_of_peft_drop_them_too(calibrated):
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(
        FahrFaceForAgeEstimation.from_pretrained(calibrated), peft.LoraConfig(r=2, target_modules=["q_proj"])
    )

    adapted.train()

    assert adapted.eval().merge_and_unload().config.calibration is None
