"""Training: what is random belongs to samples and steps, so a killed run goes on as if nothing had happened."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import images, minute_config
from own_photo_sets import write_csv, write_faces
from typer.testing import CliRunner

from fahr_hf import FahrFaceConfig, FahrFaceForAgeEstimation, FahrFaceForPreTraining, FahrFaceImageProcessor
from fahr_hf.cli.train import train as train_program
from fahr_hf.data.crops import BORDER, Crops
from fahr_hf.training.age import StemForAgeEstimation, age_recipe, predict_ages, start_head, with_layers
from fahr_hf.training.augmentation import augment, fills
from fahr_hf.training.loop import train
from fahr_hf.training.randomness import epoch_order, sample_generator, step_randomness
from fahr_hf.training.recipe import Recipe, Settings, learning_rate
from fahr_hf.training.samples import CropSamples

SIDE = 32 + 2 * BORDER
FULL = np.array([[-5, -5], [SIDE + 5, -5], [SIDE + 5, SIDE + 5], [-5, SIDE + 5]], np.float32)
SETTINGS = Settings(epochs=2, batch_size=4, learning_rate=1e-3, seed=3)


class TensorInMemory:
    """20 images that a step sees with noise of the sample's own."""

    def __len__(self):
        return 20

    def __getitem__(self, place):
        epoch, index = place
        noise = sample_generator(3, epoch, index).normal(size=(3, 32, 32))
        return {"pixel_values": images(20)[index] + torch.from_numpy(noise).float(), "name": f"image {index}"}


def masked_autoencoder(at_step=lambda _: None) -> Recipe:
    """A minute masked autoencoder with mask noise and drop path; `at_step` is told how many steps it has begun."""
    torch.manual_seed(0)
    count = 0

    def loss(model, batch, generator):
        nonlocal count
        at_step(count)
        count += 1
        noise = torch.rand(len(batch["pixel_values"]), 16, generator=generator)
        return model(pixel_values=batch["pixel_values"], noise=noise).loss

    return Recipe(
        model=FahrFaceForPreTraining(minute_config(drop_path_rate=0.3)),
        processor=FahrFaceImageProcessor(size=32),
        samples=TensorInMemory(),
        collate=torch.utils.data.default_collate,
        loss=loss,
        validate=lambda model: {"weight": next(model.parameters()).sum().item()},
    )


def kill_myself_at_step_7(count: int) -> None:
    if count == 7:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, train(masked_autoencoder(), SETTINGS, folder, checkpoint_steps=3)


def assert_same_run(folder: Path, history: list, uninterrupted) -> None:
    wanted_folder, wanted_history = uninterrupted
    assert history == wanted_history
    weights = "model/model.safetensors"
    assert (folder / weights).read_bytes() == (wanted_folder / weights).read_bytes()


def test_a_run_reports_every_epoch_and_leaves_a_checkpoint_that_loads(uninterrupted):
    folder, history = uninterrupted
    assert [(entry["epoch"], entry["step"]) for entry in history] == [(1, 5), (2, 10)]
    assert all(np.isfinite(entry["loss"]) for entry in history)
    FahrFaceForPreTraining.from_pretrained(folder / "model")


def test_resuming_after_kill_9_in_mid_epoch_with_workers_changes_not_one_bit(uninterrupted, tmp_path):
    program = (
        "import test_training as t; from pathlib import Path\n"
        "if __name__ == '__main__':\n"
        f"    t.train(t.masked_autoencoder(t.kill_myself_at_step_7), t.SETTINGS, Path({str(tmp_path)!r}), workers=2, "
        "checkpoint_steps=3)"
    )
    killed = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, check=False)
    assert killed.returncode == -signal.SIGKILL
    # Step 7 lies in the second epoch of 5 steps; the last whole checkpoint is that of step 6, in its middle.
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*"))[-1] == "checkpoint-000000006"
    history = train(masked_autoencoder(), SETTINGS, tmp_path, workers=1, checkpoint_steps=4)
    assert_same_run(tmp_path, history, uninterrupted)


def test_ctrl_c_saves_after_the_step_and_the_run_goes_on(uninterrupted, tmp_path):
    def interrupt(count):
        if count == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(masked_autoencoder(interrupt), SETTINGS, tmp_path)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-000000004"]
    torch.rand(100)  # What happens to global state meanwhile does not matter.
    assert_same_run(tmp_path, train(masked_autoencoder(), SETTINGS, tmp_path), uninterrupted)


def test_a_checkpoint_that_was_not_finished_is_passed_over(uninterrupted, tmp_path):
    (tmp_path / ".checkpoint-000000009.partial").mkdir()
    (tmp_path / ".checkpoint-000000009.partial" / "state.pt").write_bytes(b"half of it")
    assert_same_run(tmp_path, train(masked_autoencoder(), SETTINGS, tmp_path), uninterrupted)


def test_two_processes_share_an_epoch(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_training as t\n"
        f"t.train(t.masked_autoencoder(), t.SETTINGS, {str(tmp_path / 'run')!r})\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    # 20 samples in two batches of 4 for each of two processes.
    assert [entry["step"] for entry in history] == [2, 4]


def test_only_the_last_checkpoints_stay(uninterrupted):
    names = [path.name for path in sorted(uninterrupted[0].glob("checkpoint-*"))]
    assert names == ["checkpoint-000000009", "checkpoint-000000010"]


def test_a_finished_run_is_not_repeated(uninterrupted):
    folder, history = uninterrupted

    def fail(count):
        raise AssertionError(f"began step {count}")

    assert train(masked_autoencoder(fail), SETTINGS, folder) == history


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_batch(tmp_path):
    recipe = masked_autoencoder()
    broken = dataclasses.replace(
        recipe, loss=lambda model, batch, generator: recipe.loss(model, batch, generator) * float("nan")
    )
    first = ", ".join(f"image {index}" for index in epoch_order(3, 0, 20)[:4])
    with pytest.raises(FloatingPointError, match=rf"nan at step 0 of epoch 1, on the samples {first}\."):
        train(broken, SETTINGS, tmp_path)


def test_a_run_cannot_go_on_with_other_settings(uninterrupted):
    with pytest.raises(ValueError, match=r"seed: 3, now 4"):
        train(masked_autoencoder(), Settings(epochs=2, batch_size=4, learning_rate=1e-3, seed=4), uninterrupted[0])


def test_too_few_samples_for_a_batch_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="20 samples do not fill one batch of 21"):
        train(masked_autoencoder(), Settings(epochs=1, batch_size=21), tmp_path)


def test_the_learning_rate_rises_linearly_and_falls_by_half_a_cosine():
    settings = Settings(epochs=1, warmup=0.1)
    factors = [learning_rate(step, 100, settings) for step in (0, 9, 10, 55, 99)]
    assert factors == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.0003], abs=1e-4)


def test_a_step_draws_the_same_whatever_came_before_and_leaves_no_trace():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with step_randomness(1, 5) as generator:
        first = torch.rand(3), torch.rand(3, generator=generator)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    with step_randomness(1, 5) as generator:
        assert torch.equal(torch.rand(3), first[0])
        assert torch.equal(torch.rand(3, generator=generator), first[1])
    for other in ((2, 5), (1, 6), (1, 5, 1)):
        with step_randomness(*other):
            assert not torch.equal(torch.rand(3), first[0])


def test_an_epoch_visits_every_sample_once_in_an_order_of_its_own():
    assert sorted(epoch_order(0, 0, 50)) == list(range(50))
    assert (epoch_order(0, 0, 50) == epoch_order(0, 0, 50)).all()
    assert (epoch_order(0, 0, 50) != epoch_order(0, 1, 50)).any()


# ------------------------------------------------------------------------------------------------------ augmentation


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (SIDE, SIDE, 3), np.uint8)


def test_a_view_depends_on_seed_epoch_and_sample_alone():
    views = [
        augment(picture(), FULL, FULL[None], sample_generator(*place)) for place in ((0, 1, 2), (0, 1, 2), (0, 2, 2))
    ]
    assert views[0].shape == (32, 32, 3)
    assert (views[0] == views[1]).all()
    assert (views[0] != views[2]).any()


def test_a_photo_fills_its_crop_when_no_corner_of_the_models_view_lies_outside():
    inside = FULL.copy()
    inside[0] = BORDER - 1, BORDER - 1
    cut = FULL.copy()
    cut[0] = cut[3] = BORDER + 10, 0
    cut[3, 1] = SIDE
    assert fills(np.stack([FULL, inside, cut]), SIDE).tolist() == [True, True, False]


def test_photos_of_every_source_are_seen_with_and_without_a_black_frame():
    frame = np.array([[12, 12], [36, 12], [36, 36], [12, 36]], np.float32)
    for corners in (FULL, frame):
        views = [augment(picture(), corners, frame[None], sample_generator(0, epoch, 0)) for epoch in range(200)]
        framed = np.mean([view[0, 0].max() < 30 for view in views])
        assert 0.65 < framed < 0.85


# --------------------------------------------------------------------------------------------------------------- age


def faces(part: str, count: int = 8) -> Crops:
    """Crops whose brightness tells the age, 20 to 90 years."""
    ages = np.linspace(20, 90, count)
    pixels = np.stack([np.full((SIDE, SIDE, 3), age * 2, np.uint8) for age in ages])
    names = [f"{age:.0f}.png" for age in ages]
    table = pa.table({"age": ages, "part": [part] * count, "source": ["grey"] * count, "photo_id": names})
    return Crops(pixels, np.repeat(FULL[None], count, 0), table, table.slice(0, 0))


def minute_stem(**changes) -> StemForAgeEstimation:
    torch.manual_seed(0)
    return StemForAgeEstimation(minute_config(stem="convolution", age_output="expectation", **changes))


def test_a_sample_is_a_stored_crop_with_its_name_and_age():
    sample = CropSamples(faces("train"), ["age"])[1, 3]
    assert sample["image"].shape == (SIDE, SIDE, 3)
    assert (sample["name"], sample["age"], sample["epoch"], sample["index"]) == ("grey/50.png", 50, 1, 3)


def test_a_batch_holds_views_with_their_ages():
    recipe = age_recipe(minute_stem(), FahrFaceImageProcessor(size=32), faces("train"), {"some": faces("validation")})
    batch = recipe.collate([recipe.samples[0, 2], recipe.samples[0, 5]])
    assert batch["pixel_values"].shape == (2, 3, 32, 32)
    assert batch["labels"].tolist() == [40, 70]
    assert batch["name"] == ["grey/40.png", "grey/70.png"]


def test_a_missing_age_is_an_error():
    crops = faces("train")
    table = crops.table.set_column(0, "age", pa.array([float("nan")] + [30.0] * 7))
    broken = Crops(crops.images, crops.corners, table, crops.rejected)
    with pytest.raises(ValueError, match="1 of 8 crops have no age"):
        age_recipe(minute_stem(), FahrFaceImageProcessor(size=32), broken, {"some": faces("validation")})


@pytest.mark.parametrize(("fit", "select"), [("test", "validation"), ("train", "test"), ("train", "train")])
def test_parts_are_used_for_nothing_but_their_purpose(fit, select):
    with pytest.raises(ValueError, match="Expected crops of the part"):
        age_recipe(minute_stem(), FahrFaceImageProcessor(), faces(fit), {"some": faces(select)})


def test_an_untrained_head_answers_with_the_mean_of_the_ages():
    model = minute_stem().eval()
    start_head(model, np.array([20.0, 30.0, 70.0]))
    model.age_head.weight.data.zero_()
    assert model(images()).age.tolist() == pytest.approx([40.0] * 3, abs=0.5)


def test_the_stem_alone_learns_and_the_whole_model_begins_where_it_ended(tmp_path):
    stem = minute_stem()
    crops = faces("train", 64)
    start_head(stem, crops.column("age"))
    processor = FahrFaceImageProcessor(size=32)
    recipe = age_recipe(stem, processor, crops, {"bright": faces("validation", 64)})
    history = train(recipe, Settings(epochs=6, batch_size=8, learning_rate=5e-3), tmp_path)
    assert history[-1]["mae_bright"] < 0.6 * history[0]["mae_bright"]
    loaded = StemForAgeEstimation.from_pretrained(tmp_path / "model")
    whole = with_layers(loaded, drop_path_rate=0.1).eval()
    assert type(whole) is FahrFaceForAgeEstimation
    assert all(parameter.requires_grad for parameter in whole.parameters())
    by_stem, by_whole = (predict_ages(model, processor, crops) for model in (loaded, whole))
    assert np.abs(by_stem - by_whole).mean() < 0.1 * by_stem.std()


def test_the_whole_tiny_model_begins_where_its_stem_ended():
    torch.manual_seed(0)
    config = FahrFaceConfig.from_size("tiny", stem="convolution", age_output="expectation")
    stem = StemForAgeEstimation(config).eval()
    pixels = images(4, size=112)
    with torch.no_grad():
        stem.age_head.weight.normal_(std=0.1)
        torch.testing.assert_close(with_layers(stem).eval()(pixels).age, stem(pixels).age, atol=1.0, rtol=0)


# ------------------------------------------------------------------------------------------------------ command line


def run_train(*arguments: object):
    return CliRunner().invoke(train_program, ["age", *map(str, arguments)])


def test_the_command_line_trains_a_checkpoint_that_can_be_trained_further(crop_cache, tmp_path):
    first = run_train(crop_cache, "--out", tmp_path / "run", "--epochs", 1, "--batch-size", 4, "--workers", 0)
    assert "trained on 8 photos" in first.output
    start = ("--start", tmp_path / "run" / "model")
    again = run_train(crop_cache, "--out", tmp_path / "more", *start, "--epochs", 1, "--batch-size", 8, "--workers", 0)
    assert "trained on 8 photos" in again.output
    FahrFaceForAgeEstimation.from_pretrained(tmp_path / "more" / "model")


def test_the_command_line_refuses_crops_that_the_model_would_not_see(crop_cache, tmp_path):
    FahrFaceForAgeEstimation(minute_config()).save_pretrained(tmp_path / "model")
    FahrFaceImageProcessor(margin=0.3).save_pretrained(tmp_path / "model")
    result = run_train(crop_cache, "--out", tmp_path / "run", "--start", tmp_path / "model")
    assert isinstance(result.exception, ValueError)
    assert "margin = 0.0, and the model's processor has 0.3" in str(result.exception)


@pytest.mark.parametrize("arguments", [[], ["{crops}", "--data", "my.csv", "--images", "photos"]])
def test_the_command_line_wants_crops_or_a_table_and_not_both(crop_cache, tmp_path, arguments):
    result = run_train("--out", tmp_path, *(argument.format(crops=crop_cache) for argument in arguments))
    assert isinstance(result.exception, ValueError)
    assert "Give either folders of crops, or --data and --images" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "my.csv"], "--data needs --images"),
        (["--data", "my.csv", "--images", "photos", "--balance", 1], "--balance means nothing with --data"),
        (["{crops}", "--lora", 4], "--lora means nothing with CROPS"),
    ],
)
def test_the_command_line_refuses_options_that_would_be_without_effect(crop_cache, tmp_path, arguments, message):
    result = run_train("--out", tmp_path, *(str(argument).format(crops=crop_cache) for argument in arguments))
    assert isinstance(result.exception, ValueError)
    assert message in str(result.exception)


def test_the_command_line_runs_two_stages_with_a_head_of_ones_choice(crop_cache, tmp_path):
    options = ("--loss", "ordinal", "--balance", 1, "--drop-path", 0.2, "--patience", 1, "--batch-size", 4)
    curated = ("--curated", crop_cache, "--curated-epochs", 1, "--epochs", 1, "--workers", 0)
    result = run_train(crop_cache, "--out", tmp_path / "run", *options, *curated)
    assert "trained on 8 photos" in result.output
    model = FahrFaceForAgeEstimation.from_pretrained(tmp_path / "run" / "model")
    assert (model.config.age_output, model.config.drop_path_rate) == ("ordinal", 0.2)
    stages = [json.loads((tmp_path / "run" / name / "run.json").read_text()) for name in ("everything", "curated")]
    assert [stage["run"]["stage"]["balance"] for stage in stages] == [1, 1]
    another = run_train(
        crop_cache, "--out", tmp_path / "more", "--start", tmp_path / "run" / "model", "--loss", "years"
    )
    assert "has an age head already, an 'ordinal' one" in str(another.exception)


def test_two_folders_of_one_name_are_refused(crop_cache, tmp_path):
    result = run_train(crop_cache, crop_cache, "--out", tmp_path / "run")
    assert isinstance(result.exception, ValueError)
    assert "have one name" in str(result.exception)


def test_the_command_line_fine_tunes_on_a_table_of_ones_own_photos(tmp_path):
    write_faces(tmp_path / "photos", 16)
    rows = [f"{n}.jpg, {20 + 2 * n}, {'validation' if n % 4 == 0 else 'train'}" for n in range(16)]
    table = write_csv(tmp_path / "my.csv", "\n".join(["image,Years,split", *rows, "none.jpg, 30, train"]))
    start = tmp_path / "start"
    FahrFaceForAgeEstimation(minute_config(image_size=112, patch_size=16)).save_pretrained(start)
    FahrFaceImageProcessor().save_pretrained(start)
    own = ("--data", table, "--images", tmp_path / "photos", "--column", "age=Years", "--start", start)
    short = ("--head-epochs", 1, "--epochs", 1, "--lora", 2, "--workers", 0)
    refused = run_train(*own, *short, "--out", tmp_path / "run")
    assert "photo does not exist, 1 row: 17 (none.jpg)" in str(refused.exception)
    result = run_train(*own, *short, "--out", tmp_path / "run", "--skip-bad-rows")
    assert "trained on 12 photos" in result.output
    FahrFaceForAgeEstimation.from_pretrained(tmp_path / "run" / "model")
    assert [path.parent.name for path in sorted((tmp_path / "run").glob("*/run.json"))] == ["head", "lora"]
    assert (tmp_path / "run" / "model" / "README.md").is_file()
    assert (tmp_path / "run" / "report" / "report.html").is_file()


def test_the_command_line_never_asks_the_network_for_a_typing_error(crop_cache, tmp_path):
    result = run_train(crop_cache, "--out", tmp_path / "run", "--start", "fahr-faceage-tinny")
    assert isinstance(result.exception, ValueError)
    assert "Unknown model 'fahr-faceage-tinny'" in str(result.exception)
    assert not (tmp_path / "run").exists()
