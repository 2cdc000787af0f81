"""Training in stages: from the best model of one to the next, and a folder from which the run can be repeated."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.io
import torch
from conftest import minute_config
from test_age_training import PROCESSOR, crops_of

from fahr_hf import FahrFaceForAgeEstimation
from fahr_hf.training import age_stages
from fahr_hf.training.age_stages import Stage, train_age, two_stages
from fahr_hf.training.recipe import Settings
from fahr_hf.training.run_record import draw_ages, draw_curves, fingerprint, recorded

FIT = crops_of(np.repeat([20.0, 40.0, 80.0], [12, 8, 4]))
CURATED = crops_of([30.0] * 8)
VALIDATION = {"held out": crops_of([25.0, 75.0], "validation")}
SETTINGS = Settings(epochs=2, batch_size=4, mixed_precision="no")
STAGES = two_stages(SETTINGS, balance=0.5, cap=4, curated=CURATED, curated_epochs=1)


def minute_model(seed: int = 0, **changes) -> FahrFaceForAgeEstimation:
    torch.manual_seed(seed)
    return FahrFaceForAgeEstimation(minute_config(**changes))


def run(folder: Path, stages: list[Stage] = STAGES, **changes) -> FahrFaceForAgeEstimation:
    return train_age(minute_model(**changes), PROCESSOR, FIT, VALIDATION, folder, stages)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run(folder)
    return folder


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_curated_stage_is_shorter_at_a_fifth_of_the_rate():
    everything, curated = STAGES
    assert everything.settings == SETTINGS
    assert curated.settings == dataclasses.replace(SETTINGS, epochs=1, learning_rate=2e-4)
    assert curated.crops is CURATED
    assert two_stages(SETTINGS, balance=0.5, cap=4) == [everything]


def test_the_last_stage_begins_with_the_first_ones_model_and_gives_the_runs(finished):
    assert weights(finished / "model") == weights(finished / "curated" / "model")
    assert weights(finished / "model") != weights(finished / "everything" / "model")
    alone = finished / "alone"
    first = FahrFaceForAgeEstimation.from_pretrained(finished / "everything" / "model")
    train_age(first, PROCESSOR, CURATED, VALIDATION, alone, [dataclasses.replace(STAGES[1], crops=None)])
    assert weights(alone / "model") == weights(finished / "model")


def test_a_run_that_was_stopped_in_its_second_stage_goes_on_there(finished, tmp_path, monkeypatch):
    whole = age_stages.train
    begun = []

    def stopped_at_first(recipe, settings, folder, workers):
        begun.append(folder.name)

        def loss(*_):
            raise KeyboardInterrupt

        # The second stage; and then the first again, which is not to make another step.
        if len(begun) in (2, 3):
            recipe = dataclasses.replace(recipe, loss=loss)
        return whole(recipe, settings, folder, workers)

    monkeypatch.setattr(age_stages, "train", stopped_at_first)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert not (tmp_path / "model").exists()
    run(tmp_path)
    assert begun == ["everything", "curated"] * 2
    assert weights(tmp_path / "model") == weights(finished / "model")


def test_a_stage_of_the_head_alone_leaves_the_backbone_as_it_was(tmp_path):
    model = run(tmp_path, [Stage("head", SETTINGS, only_head=True)])
    before = minute_model().state_dict()
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {"age_head.weight", "age_head.bias"}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_stage_of_adapters_ends_with_an_ordinary_model_and_can_be_taken_up_again(tmp_path):
    pytest.importorskip("peft")
    stages = [Stage("adapters", SETTINGS, lora_rank=2)]
    model = run(tmp_path, stages)
    before = minute_model().state_dict()
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert set(model.state_dict()) == set(before)
    assert "backbone.layers.1.attention.q_proj.weight" in changed
    assert not any("norm" in name or "embeddings" in name for name in changed)
    saved = weights(tmp_path / "model")
    run(tmp_path, stages)
    assert weights(tmp_path / "model") == saved


def test_two_processes_share_every_stage(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_age_stages as t\n"
        f"model = t.run(t.Path({str(tmp_path / 'run')!r}))\n"
        # In one piece: two processes share the pipe.
        "print('<ended with %r>' % model.age_head.bias.item(), end='', flush=True)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    # Both have the model that was saved.
    bias = FahrFaceForAgeEstimation.from_pretrained(tmp_path / "run" / "model").age_head.bias.item()
    assert done.stdout.count(f"<ended with {bias}>") == 2
    for name, steps in (("everything", [3, 6]), ("curated", [1])):
        history = json.loads((tmp_path / "run" / name / "history.json").read_text())
        assert [entry["step"] for entry in history] == steps
        record = json.loads((tmp_path / "run" / name / "run.json").read_text())
        assert record["run"]["processes"] == 2
        assert len(record["sessions"]) == 1


# ------------------------------------------------------------------------------------------------------- run folder


def test_the_folder_says_what_was_run_on_what_and_for_how_long(finished):
    record = json.loads((finished / "everything" / "run.json").read_text())
    what = record["run"]
    assert what["stage"]["settings"] == dataclasses.asdict(SETTINGS)
    assert (what["stage"]["balance"], what["stage"]["cap"], what["processes"]) == (0.5, 4, 1)
    assert what["data"]["train"] == fingerprint(FIT)
    assert what["data"]["validation"]["held out"]["photos"] == 2
    assert what["model"]["config"]["hidden_size"] == 32
    assert len(record["weights_at_first"]) == 64
    [session] = record["sessions"]
    assert session["packages"]["torch"] == torch.__version__
    assert len(session["code"]["sha256"]) == 64
    assert 0 < record["seconds"] == session["seconds"] < 60
    assert "0.png" not in json.dumps(record)


def test_the_folder_shows_how_the_run_went(finished):
    for stage in ("everything", "curated"):
        for picture in ("curves.png", "ages.png"):
            pixels = skimage.io.imread(finished / stage / picture)
            assert pixels.shape[1] > 500
            assert pixels.std() > 10


def test_a_fingerprint_tells_photos_ages_and_their_order_apart():
    same, other_age, other_order = crops_of([20, 30]), crops_of([20, 31]), crops_of([20, 30]).select(np.array([1, 0]))
    prints = [fingerprint(crops)["sha256"] for crops in (crops_of([20, 30]), same, other_age, other_order)]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": [dataclasses.replace(STAGES[0], balance=1.0)]}, r"stage\.balance: 0\.5, now 1\.0"),
        ({"stages": [dataclasses.replace(STAGES[0], crops=CURATED)]}, r"data\.train\.photos: 24, now 8"),
        ({"drop_path_rate": 0.1}, r"model\.config\.drop_path_rate: 0\.0, now 0\.1"),
    ],
)
def test_a_folder_is_not_continued_with_anything_else(finished, changes, message):
    with pytest.raises(ValueError, match=f"holds another run .*{message}"):
        run(finished, **changes)


def test_every_session_is_recorded_and_a_killed_one_ends_with_its_last_checkpoint(tmp_path):
    with recorded(tmp_path, {"what": 1}, minute_model()):
        pass
    path = tmp_path / "run.json"
    record = json.loads(path.read_text())
    # As if this session had been killed, and another that had come to a checkpoint ten minutes after its start.
    started = dict(record["sessions"][0])
    del started["ended"], started["seconds"]
    path.write_text(json.dumps({**record, "sessions": [started, {**started, "started": "2026-01-01T00:00:00+00:00"}]}))
    checkpoint = tmp_path / "checkpoint-000000001" / "state.pt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    os.utime(checkpoint, (1767226200, 1767226200))
    with recorded(tmp_path, {"what": 1}, minute_model()):
        pass
    record = json.loads(path.read_text())
    assert [session["seconds"] for session in record["sessions"][:2]] == [0, 600]
    assert len(record["sessions"]) == 3
    assert record["seconds"] == pytest.approx(600, abs=5)


def test_a_session_that_fails_is_recorded_too(tmp_path):
    with pytest.raises(FloatingPointError), recorded(tmp_path, {"what": 1}, minute_model()):
        raise FloatingPointError
    assert "ended" in json.loads((tmp_path / "run.json").read_text())["sessions"][0]


def test_curves_need_no_validation_and_ages_no_more_than_one_photo(tmp_path):
    draw_curves([{"epoch": 1, "loss": 3.0}], tmp_path / "curves.png")
    draw_ages(np.array([0.3]), np.ones(1), tmp_path / "ages.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ages.png", "curves.png"]
