"""Pre-training: views and masks belong to samples, so batches, accumulation and processes change nothing."""

import dataclasses
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import skimage
import torch
from conftest import minute_config
from photo_sets import ASTRONAUT, encoded
from typer.testing import CliRunner

from fahr_hf import FahrFaceForAgeEstimation, FahrFaceForPreTraining, FahrFaceImageProcessor, FahrFaceModel
from fahr_hf.cli.app import _program
from fahr_hf.data.crops import BORDER, Crops
from fahr_hf.training import augmentation, probe
from fahr_hf.training.augmentation import random_resized_crop
from fahr_hf.training.loop import train
from fahr_hf.training.pretraining import load_pretraining_crops, pretraining_recipe, pretraining_settings
from fahr_hf.training.probe import probe_ages
from fahr_hf.training.randomness import sample_generator
from fahr_hf.training.reconstructions import draw_reconstructions
from fahr_hf.training.samples import CropSamples, frames_of

SIDE = 32 + 2 * BORDER
FULL = np.array([[-5, -5], [SIDE + 5, -5], [SIDE + 5, SIDE + 5], [-5, SIDE + 5]], np.float32)
PROCESSOR = FahrFaceImageProcessor(size=32)


def crops(part: str, count: int = 16, ages: list | None = None) -> Crops:
    """Pieces of a real photo."""
    photo = skimage.data.astronaut()
    starts = np.random.default_rng(len(part)).integers(0, 512 - SIDE, (count, 2))
    pixels = np.stack([photo[y : y + SIDE, x : x + SIDE] for y, x in starts])
    columns = {
        "source": ["astronaut"] * count,
        "photo_id": [str(place) for place in range(count)],
        "age": pa.array(ages or [None] * count, pa.float32()),
        "part": [part] * count,
    }
    return Crops(pixels, np.repeat(FULL[None], count, 0), pa.table(columns), pa.table({}))


def recipe():
    torch.manual_seed(0)
    model = FahrFaceForPreTraining(minute_config())
    fit = crops("train")
    return pretraining_recipe(model, PROCESSOR, CropSamples(fit), frames_of(fit), crops("validation", 4))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return FahrFaceForPreTraining.from_pretrained(folder / "model").state_dict()


def assert_same_weights(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    for name, tensor in wanted.items():
        # Sums in another order, magnified by Adam's division where gradients nearly vanish.
        torch.testing.assert_close(found[name], tensor, atol=2e-4, rtol=1e-3, msg=lambda text, name=name: name + text)


def settings(**changes):
    return pretraining_settings(
        **{"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "mixed_precision": "no"} | changes
    )


@pytest.fixture(scope="module")
def large_batch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    history = train(recipe(), settings(), folder)
    return folder, history


# ---------------------------------------------------------------------------------------------------- views and masks


def test_view_and_mask_belong_to_the_sample_whatever_its_batch():
    one = recipe()
    alone, together = (one.collate([one.samples[3, index] for index in indices]) for indices in ([5], [2, 5]))
    torch.testing.assert_close(alone["pixel_values"][0], together["pixel_values"][1], rtol=0, atol=0)
    torch.testing.assert_close(alone["noise"][0], together["noise"][1], rtol=0, atol=0)
    assert together["name"] == ["astronaut/2", "astronaut/5"]
    other_epoch = one.collate([one.samples[4, 5]])
    assert not torch.equal(other_epoch["noise"], alone["noise"])
    assert not torch.equal(other_epoch["pixel_values"], alone["pixel_values"])


def test_the_whole_crop_at_its_own_size_is_the_crop_itself_or_its_mirror_image(monkeypatch):
    monkeypatch.setattr(augmentation, "_AREA", (1.0, 1.0))
    monkeypatch.setattr(augmentation, "_ASPECT", (1.0, 1.0))
    image = crops("train").images[0]
    views = [random_resized_crop(image, FULL, FULL[:0], SIDE, sample_generator(0, epoch, 0)) for epoch in range(20)]
    mirrored = [bool((view == image[:, ::-1]).all()) for view in views]
    assert all(flip or (view == image).all() for flip, view in zip(mirrored, views, strict=True))
    assert 3 < sum(mirrored) < 17


def test_a_view_is_a_part_of_between_half_and_all_of_the_crop():
    across, down = np.meshgrid(np.arange(SIDE, dtype=np.uint8), np.arange(SIDE, dtype=np.uint8))
    ramp = np.stack([across, down, across], axis=2)
    for epoch in range(50):
        view = random_resized_crop(ramp, FULL, FULL[:0], 32, sample_generator(0, epoch, 0)).astype(float)
        # How many pixels of the crop a pixel of the view spans, from its gradient along each axis.
        width, height = (32 * np.abs(np.diff(view[:, :, 0], axis=1)).mean(), 32 * np.diff(view[:, :, 1], axis=0).mean())
        assert 0.45 < width * height / SIDE**2 < 1.05


def test_a_foreign_crop_without_spare_pixels_is_resized_to_the_models_side():
    image = crops("train").images[0][:40, :40]
    assert random_resized_crop(image, FULL, FULL[:0], 32, sample_generator(0, 0, 0)).shape == (32, 32, 3)


# ------------------------------------------------------------------------------------------------------------ the run


def test_a_run_reports_its_losses_draws_and_leaves_a_model(large_batch):
    folder, history = large_batch
    assert [entry["samples"] for entry in history] == [16, 16]
    assert all(np.isfinite(entry["validation_loss"]) for entry in history)
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == ["epoch-0001.png", "epoch-0002.png"]
    assert list(folder.glob("logs/**/events.*"))
    assert type(FahrFaceForPreTraining.from_pretrained(folder / "model")) is FahrFaceForPreTraining


def test_it_learns_the_pieces_of_a_photo(tmp_path):
    history = train(recipe(), settings(epochs=40, learning_rate=3e-3), tmp_path)
    assert history[-1]["validation_loss"] < 0.9 * history[0]["validation_loss"]


def test_accumulated_batches_make_the_step_of_the_large_batch(large_batch, tmp_path):
    train(recipe(), settings(batch_size=2, accumulation=4), tmp_path)
    assert_same_weights(weights(tmp_path), weights(large_batch[0]))


PROGRAM = """
import sys; sys.path.insert(0, {tests!r})
import test_pretraining as t
from fahr_hf.training.loop import train

{before}
settings = t.settings(batch_size=2, accumulation=2)

def fail_at_step_3(recipe):
    count = 0
    def loss(model, batch, generator):
        nonlocal count
        count += 1
        if count > 2 * 3:
            raise RuntimeError("as if killed")
        return recipe.loss(model, batch, generator)
    return t.dataclasses.replace(recipe, loss=loss)

try:
    train(fail_at_step_3(t.recipe()), settings, {out!r}, checkpoint_steps=1)
    raise SystemExit("was to fail")
except RuntimeError:
    pass

def with_weights_named(recipe):
    def loss(model, batch, generator):
        print(type(next(model.parameters())).__name__, flush=True)
        return recipe.loss(model, batch, generator)
    return t.dataclasses.replace(recipe, loss=loss)

train(with_weights_named(t.recipe()), settings, {out!r}, checkpoint_steps=1)
# One run leaves the processes able to make another.
train(t.recipe(), settings, {out!r} + "-again")
"""

# Accelerate shards over accelerators only; told that it may, it shards over CPUs with gloo just as well.
SHARD = """
from accelerate import Accelerator, FullyShardedDataParallelPlugin, PartialState
from accelerate.utils import DistributedType

t.os.environ.update(
    ACCELERATE_USE_FSDP="true", FSDP_VERSION="2", FSDP_AUTO_WRAP_POLICY="TRANSFORMER_BASED_WRAP",
    FSDP_TRANSFORMER_CLS_TO_WRAP="FahrFaceLayer", FSDP_RESHARD_AFTER_FORWARD="true",
)
Accelerator(cpu=True, mixed_precision="no").state.fsdp_plugin = FullyShardedDataParallelPlugin()
PartialState().distributed_type = DistributedType.FSDP
"""


@pytest.mark.parametrize(("before", "kind"), [("", "Parameter"), (SHARD, "DTensor")], ids=["copies", "shards"])
def test_two_processes_with_copies_or_shards_killed_and_resumed_give_the_same_model(
    large_batch, tmp_path, before, kind
):
    program = tmp_path / "program.py"
    out = tmp_path / "run"
    program.write_text(PROGRAM.format(tests=str(Path(__file__).parent), before=before, out=str(out)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    # What was killed after three of four steps goes on with the last, of two batches.
    assert done.stdout.count(kind) == 4
    assert_same_weights(weights(out), weights(large_batch[0]))


def test_samples_that_cannot_be_read_are_counted_and_named(tmp_path):
    whole = recipe()

    def collate(samples):
        return {**whole.collate(samples[1:]), "unreadable": [samples[0]["name"]]}

    history = train(dataclasses.replace(whole, collate=collate), settings(), tmp_path)
    assert [(entry["samples"], entry["unreadable"]) for entry in history] == [(14, 2), (14, 2)]
    assert len((tmp_path / "unreadable-0.txt").read_text().splitlines()) == 4


def test_a_checkpoint_is_written_when_its_time_has_come(tmp_path):
    whole = recipe()
    seen = []

    def loss(model, batch, generator):
        seen.append(sorted(path.name for path in tmp_path.glob("checkpoint-*")))
        return whole.loss(model, batch, generator)

    train(dataclasses.replace(whole, loss=loss), settings(batch_size=4), tmp_path, checkpoint_minutes=0)
    assert seen[1:3] == [["checkpoint-000000001"], ["checkpoint-000000001", "checkpoint-000000002"]]
    assert seen[3] == ["checkpoint-000000002", "checkpoint-000000003"]


def test_crops_of_a_test_part_never_tell_how_far_it_is():
    model = FahrFaceForPreTraining(minute_config())
    with pytest.raises(ValueError, match="Expected crops of the part 'validation'"):
        pretraining_recipe(model, PROCESSOR, CropSamples(crops("train")), FULL[:0], crops("test"))


def test_the_learning_rate_follows_the_number_of_samples_in_a_step():
    assert pretraining_settings(1, 64, accumulation=8, processes=8).learning_rate == pytest.approx(1.5e-4 * 4096 / 256)
    assert pretraining_settings(1, 64, learning_rate=1e-3).learning_rate == 1e-3


# ----------------------------------------------------------------------------------------------- probe and pictures


def test_the_probe_leaves_every_photo_out_of_its_own_prediction(monkeypatch):
    generator = np.random.default_rng(0)
    features = generator.normal(size=(40, 5))
    ages = 40 + features @ np.array([3.0, -2, 0, 1, 5]) + generator.normal(size=40)
    monkeypatch.setattr(probe, "_PENALTIES", np.array([0.1]))
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    wanted = []
    for left_out in range(40):
        kept = np.arange(40) != left_out
        # A penalty is so many more photos with zero features; the mean has none.
        design = np.vstack(
            [np.column_stack([np.ones(39), scaled[kept]]), np.column_stack([np.zeros(5), 2 * np.eye(5)])]
        )
        coefficients = np.linalg.lstsq(design, np.concatenate([ages[kept], np.zeros(5)]), rcond=None)[0]
        wanted.append(coefficients[0] + scaled[left_out] @ coefficients[1:])
    np.testing.assert_allclose(probe_ages(features, ages), wanted, rtol=1e-9)


def test_features_without_meaning_predict_no_better_than_the_mean():
    generator = np.random.default_rng(0)
    ages = generator.uniform(0, 90, 200)
    predicted = probe_ages(generator.normal(size=(200, 100)), ages)
    assert np.square(predicted - ages).mean() > 0.9 * ages.var()


def test_a_probe_of_two_photos_is_refused():
    with pytest.raises(ValueError, match="at least three photos with an age, got 2"):
        probe_ages(np.zeros((2, 4)), np.zeros(2))


def test_photos_with_an_age_are_probed():
    fit = crops("train")
    ages = np.linspace(10, 80, 120).tolist()
    model = FahrFaceForPreTraining(minute_config())
    probing = pretraining_recipe(model, PROCESSOR, CropSamples(fit), FULL[:0], crops("validation", 120, ages))
    with torch.inference_mode():
        figures = probing.validate(model.eval())
    assert 0 < figures["probe_mae"] < 40
    assert -1 <= figures["probe_r"] <= 1


def test_a_picture_shows_what_was_seen_what_was_painted_and_the_original():
    model = FahrFaceForPreTraining(minute_config()).eval()
    whole = crops("validation", 2)
    views = np.stack([whole.framed(index) for index in range(2)])
    pixel_values = torch.from_numpy(PROCESSOR.normalize_crops(views))
    noise = torch.rand(2, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        picture = np.asarray(draw_reconstructions(model, PROCESSOR, pixel_values, noise)).astype(int)
        hidden = model(pixel_values=pixel_values, noise=noise).mask.reshape(2, 4, 4).repeat_interleave(8, 1)
    hidden = hidden.repeat_interleave(8, 2).numpy().astype(bool)
    assert picture.shape == (64, 96, 3)
    for face, view, unseen in zip(np.split(picture, 2), views, hidden, strict=True):
        seen, painted, original = np.split(face, 3, axis=1)
        assert np.abs(original - view).max() <= 1
        assert (seen[unseen] == 128).all()
        assert (seen[~unseen] == original[~unseen]).all()
        assert (painted[~unseen] == original[~unseen]).all()
        assert (painted[unseen] != original[unseen]).any()


# ------------------------------------------------------------------------------- from photos to a backbone, by commands


def run_command(*arguments: object) -> str:
    result = CliRunner().invoke(_program, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("stream", [[], ["--stream"]], ids=["memory", "stream"])
def test_commands_pre_train_a_backbone_that_age_training_starts_from(crop_cache, tmp_path, stream):
    run = tmp_path / "run"
    options = ("--epochs", 2, "--batch-size", 4, "--workers", 0)
    assert "trained on 8 crops" in run_command("train", "pretrain", crop_cache, "--out", run, *options, *stream)
    history = json.loads((run / "history.json").read_text())
    assert [(entry["step"], entry["samples"], entry["unreadable"]) for entry in history] == [(2, 8, 0), (4, 8, 0)]
    FahrFaceImageProcessor.from_pretrained(run / "model")
    backbone = FahrFaceModel.from_pretrained(run / "model").state_dict()
    age = ("train", "age", crop_cache, "--start", run / "model", "--out", tmp_path / "age", "--epochs", 1)
    run_command(*age, "--learning-rate", 1e-9, "--batch-size", 8, "--workers", 0)
    trained = FahrFaceForAgeEstimation.from_pretrained(tmp_path / "age" / "model")
    assert trained.config.age_output == "expectation"
    for name, weight in trained.backbone.state_dict().items():
        torch.testing.assert_close(weight, backbone[name], atol=1e-6, rtol=0)


def test_a_stream_resumes_where_it_was_killed_with_any_number_of_workers(crop_cache, tmp_path):
    """In samples: the names seen by a run that failed and went on are those of one that did not."""
    seen: dict[str, list] = {"whole": [], "failed": []}

    def run(kind: str, fail_at: int, workers: int) -> None:
        torch.manual_seed(0)
        model = FahrFaceForPreTraining(minute_config(image_size=112, patch_size=16))
        samples, frames, validation = load_pretraining_crops([crop_cache], stream=True)
        whole = pretraining_recipe(model, FahrFaceImageProcessor(), samples, frames, validation)

        def loss(model, batch, generator):
            if len(seen[kind]) == fail_at:
                raise RuntimeError("as if killed")
            seen[kind].append((batch["name"], batch["noise"][:, 0].tolist()))
            return whole.loss(model, batch, generator)

        train(dataclasses.replace(whole, loss=loss), settings(batch_size=2), tmp_path / kind, workers, 1)

    run("whole", -1, 0)
    with pytest.raises(RuntimeError, match="as if killed"):
        run("failed", 5, 2)
    run("failed", -1, 1)
    assert seen["failed"] == seen["whole"]
    assert_same_weights(weights(tmp_path / "failed"), weights(tmp_path / "whole"))


def test_foreign_aligned_crops_in_tars_need_no_cache(tmp_path):
    with tarfile.open(tmp_path / "00000.tar", "w") as tar:
        for number in range(8):
            photo = encoded(ASTRONAUT.crop((160, 60, 300, 200)).resize((112, 112)), quality=90 - number)
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = len(photo)
            tar.addfile(member, io.BytesIO(photo))
    options = ("--stream", "--epochs", 1, "--batch-size", 4, "--workers", 0)
    output = run_command("train", "pretrain", tmp_path / "00000.tar", "--out", tmp_path / "run", *options)
    assert "trained on 8 crops" in output
    assert not (tmp_path / "run" / "pictures").exists()
