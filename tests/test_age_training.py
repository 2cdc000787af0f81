"""Age training: what is drawn, what the heads' losses are, which epoch is kept, and what a run leaves behind."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import test_pretraining
import torch
from conftest import images, minute_config

from fahr_hf import FahrFaceConfig, FahrFaceForAgeEstimation, FahrFaceImageProcessor
from fahr_hf.data.crops import BORDER, Crops
from fahr_hf.training.age import age_recipe, start_head
from fahr_hf.training.balance import BalancedSamples, expected_draws
from fahr_hf.training.loop import train
from fahr_hf.training.recipe import Recipe, Settings
from fahr_hf.training.samples import CropSamples

SIDE = 32 + 2 * BORDER
PROCESSOR = FahrFaceImageProcessor(size=32)


def crops_of(ages: list[float] | np.ndarray, part: str = "train") -> Crops:
    """Crops whose brightness tells the age."""
    ages = np.asarray(ages, np.float64)
    pixels = np.stack([np.full((SIDE, SIDE, 3), 2 * age, np.uint8) for age in ages])
    names = [f"{number}.png" for number in range(len(ages))]
    columns = {"age": ages, "part": [part] * len(ages), "source": ["grey"] * len(ages), "photo_id": names}
    corners = np.array([[-5, -5], [SIDE + 5, -5], [SIDE + 5, SIDE + 5], [-5, SIDE + 5]], np.float32)
    return Crops(pixels, np.repeat(corners[None], len(ages), 0), pa.table(columns), pa.table({}))


# ----------------------------------------------------------------------------------------------------- balanced draw


def balanced(ages: list[float] | np.ndarray, balance: float, cap: float = 4.0, seed: int = 0) -> BalancedSamples:
    return BalancedSamples(CropSamples(crops_of(ages), ["age"]), balance, cap, seed)


def times_drawn(samples: BalancedSamples, epoch: int) -> np.ndarray:
    return np.bincount(samples.drawn(epoch), minlength=len(samples))


# 60 photos of age 20, 30 of 40, 10 of 70; some with a fraction of a year.
UNEVEN = np.repeat([20.0, 20.7, 40.0, 70.9], [30, 30, 30, 10])


@pytest.mark.parametrize(
    ("balance", "share"),
    [
        (0.0, {20: 60, 40: 30, 70: 10}),
        # An age's share grows with the square root of its photos.
        (0.5, {20: 100 * 60**0.5 / 16.386, 40: 100 * 30**0.5 / 16.386, 70: 100 * 10**0.5 / 16.386}),
        (1.0, {20: 100 / 3, 40: 100 / 3, 70: 100 / 3}),
    ],
)
def test_every_epoch_draws_each_age_as_often_as_its_weight_says(balance, share):
    samples = balanced(UNEVEN, balance)
    years = np.floor(UNEVEN)
    for epoch in range(20):
        drawn = times_drawn(samples, epoch)
        assert drawn.sum() == len(UNEVEN)
        for age, wanted in share.items():
            # Rounded down or up; no further luck is in it.
            assert abs(drawn[years == age].sum() - wanted) < 1
            assert np.ptp(drawn[years == age]) <= 1


def test_which_photos_of_an_age_come_once_more_is_left_to_chance():
    samples = balanced(UNEVEN, 1.0)
    # The 30 photos of age 40 are drawn 33 times in 33 or 34 draws an epoch: 1.11 times each.
    drawn = np.mean([times_drawn(samples, epoch)[60:90] for epoch in range(1000)], axis=0)
    # 5 standard errors of a mean of 1,000 draws whose variance is p (1 - p).
    assert drawn == pytest.approx(np.full(30, 10 / 9), abs=5 * (1 / 9 * 8 / 9 / 1000) ** 0.5)


def test_no_photo_is_expected_more_often_than_the_cap_and_the_excess_goes_to_other_ages():
    # Evenly, each of the 3 ages would come 100 / 3 times: the only photo of age 90 therefore 33 times.
    expected = expected_draws(np.repeat([20, 40, 90], [70, 29, 1]), balance=1.0, cap=4.0)
    assert expected[-1] == 4
    assert expected[70:99].sum() == pytest.approx(48)
    assert expected[:70].sum() == pytest.approx(48)
    # With a cap of 1.5 the 29 photos cannot make up their half either.
    expected = expected_draws(np.repeat([20, 40, 90], [70, 29, 1]), balance=1.0, cap=1.5)
    assert expected[70:].tolist() == [1.5] * 30
    assert expected[:70].sum() == pytest.approx(55)


def test_the_cap_fills_an_epoch_as_water_finds_its_level():
    """Against a search for the level: every photo min(cap, level x weight), so that the sum is their number."""
    years = np.random.default_rng(0).geometric(0.05, 2000).clip(max=110)
    counts = np.bincount(years)[years]
    for balance in (0.3, 0.5, 1.0):
        for cap in (1.0, 1.2, 2.0, 6.0):
            weights = counts.astype(float) ** -balance
            low, high = 0.0, 1e6
            for _ in range(200):
                level = (low + high) / 2
                low, high = (level, high) if np.minimum(cap, level * weights).sum() < len(years) else (low, level)
            wanted = np.minimum(cap, high * weights)
            np.testing.assert_allclose(expected_draws(years, balance, cap), wanted, rtol=1e-9)


def test_a_rare_age_with_one_photo_is_drawn_cap_times():
    samples = balanced([30.0] * 99 + [90.0], balance=1.0, cap=3.0)
    assert {times_drawn(samples, epoch)[-1] for epoch in range(10)} == {3}


def test_a_single_age_has_nothing_to_balance():
    assert (balanced([33.0] * 7, 1.0).drawn(4) == np.arange(7)).all()


def test_without_balance_every_photo_is_drawn_once_as_if_nothing_were_drawn():
    samples, plain = balanced(UNEVEN, 0.0), CropSamples(crops_of(UNEVEN), ["age"])
    for index in (0, 57, 99):
        assert all(np.array_equal(value, plain[3, index][name]) for name, value in samples[3, index].items())


def test_a_draw_follows_from_seed_and_epoch_alone():
    first = balanced(UNEVEN, 0.5, seed=1)
    again = [first.drawn(epoch).tolist() for epoch in (0, 1, 0)]
    assert again[0] == again[2] == balanced(UNEVEN, 0.5, seed=1).drawn(0).tolist()
    assert again[0] != again[1]
    assert again[0] != balanced(UNEVEN, 0.5, seed=2).drawn(0).tolist()
    # Whichever epoch was asked for before, as by a worker that starts in the middle.
    assert [first[1, index]["name"] for index in range(100)] == [f"grey/{place}.png" for place in again[1]]


def test_a_photo_that_comes_twice_is_seen_in_two_ways():
    recipe = age_recipe(
        FahrFaceForAgeEstimation(minute_config()), PROCESSOR, crops_of([20] * 9 + [70]), {}, balance=1.0, cap=3
    )
    places = [index for index in range(10) if recipe.samples[0, index]["name"] == "grey/9.png"]
    views = recipe.collate([recipe.samples[0, index] for index in places])["pixel_values"]
    assert len(views) == 3
    assert not torch.equal(views[0], views[1])


@pytest.mark.parametrize(("balance", "cap", "message"), [(1.5, 4, "balance must lie"), (0.5, 0.9, "cap must be")])
def test_a_balance_or_cap_without_meaning_is_refused(balance, cap, message):
    with pytest.raises(ValueError, match=message):
        balanced(UNEVEN, balance, cap)


# ------------------------------------------------------------------------------------------------------ ordinal head


def ordinal(**changes) -> FahrFaceForAgeEstimation:
    torch.manual_seed(0)
    return FahrFaceForAgeEstimation(minute_config(age_output="ordinal", **changes)).eval()


def test_an_ordinal_age_is_the_sum_of_the_probabilities_to_be_older():
    output = ordinal(min_age=18, max_age=90)(images())
    logits = output.logits.detach().double().numpy()
    assert logits.shape == (3, 72)
    for row, age in zip(logits, output.age.tolist(), strict=True):
        assert age == pytest.approx(18 + sum(1 / (1 + np.exp(-logit)) for logit in row), rel=1e-6)


def test_the_ordinal_loss_is_the_cross_entropy_of_every_threshold():
    model = ordinal(min_age=10, max_age=80)
    # A whole year, the half of one, and both ends of the range and beyond.
    labels = [30.0, 42.25, 10.0, 3.0, 80.0, 95.0]
    output = model(images(6), labels=torch.tensor(labels))
    total = 0.0
    for row, label in zip(output.logits.detach().double().tolist(), labels, strict=True):
        for threshold, logit in zip(range(10, 80), row, strict=True):
            above = min(max(label - threshold, 0.0), 1.0)
            probability = 1 / (1 + np.exp(-logit))
            total -= above * np.log(probability) + (1 - above) * np.log(1 - probability)
    assert output.loss.item() == pytest.approx(total / 6, rel=1e-6)


def test_an_ordinal_age_in_bfloat16_keeps_its_years():
    model = ordinal()
    torch.nn.init.zeros_(model.age_head.weight)
    torch.nn.init.constant_(model.age_head.bias, 0.3)
    wanted = 100 / (1 + np.exp(-torch.tensor(0.3).bfloat16().item()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(images(1), labels=torch.tensor([50.0]))
    assert output.age.item() == pytest.approx(wanted, abs=1e-4)
    assert output.loss.dtype == torch.float32


def test_an_ordinal_model_learns_and_is_saved(tmp_path):
    model = ordinal().train()
    x, labels = images(8), torch.linspace(5, 85, 8)
    optimizer = torch.optim.AdamW(model.parameter_groups(lr=3e-3, weight_decay=0.01))
    for _ in range(200):
        optimizer.zero_grad()
        model(x, labels=labels).loss.backward()
        optimizer.step()
    assert (model.eval()(x).age - labels).abs().mean() < 2
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(FahrFaceForAgeEstimation.from_pretrained(tmp_path)(x).age, model(x).age)


@pytest.mark.parametrize(("age_output", "outputs"), [("years", 1), ("expectation", 73), ("ordinal", 72)])
def test_each_head_has_its_number_of_outputs(age_output, outputs):
    assert FahrFaceConfig(age_output=age_output, min_age=18, max_age=90).num_age_outputs == outputs


@pytest.mark.parametrize(("age_output", "wanted"), [("years", 30.0), ("expectation", 40.0), ("ordinal", 40.0)])
def test_an_untrained_head_starts_at_the_median_or_mean_of_the_ages(age_output, wanted):
    model = FahrFaceForAgeEstimation(minute_config(age_output=age_output)).eval()
    start_head(model, np.array([20.0, 30.0, 70.0]))
    torch.nn.init.zeros_(model.age_head.weight)
    assert model(images()).age.tolist() == pytest.approx([wanted] * 3, abs=0.5)


def test_an_untrained_ordinal_head_knows_how_many_are_older():
    model = ordinal()
    start_head(model, np.array([20.5, 30.0, 70.0]))
    above = model.age_head.bias.sigmoid().tolist()
    assert [above[threshold] for threshold in (19, 20, 29, 30, 69)] == pytest.approx(
        [1, 5 / 6, 2 / 3, 1 / 3, 1 / 3], abs=1e-3
    )


# ---------------------------------------------------------------------------------------- best epoch, early stopping

PATIENT = Settings(epochs=9, batch_size=4, learning_rate=0.1, warmup=0.0, patience=2, mixed_precision="no")


def passing_by(only_head: bool = True) -> Recipe:
    """A model that answers 20 years, learns 80 and more, and is validated at 50: its best epoch is in the middle."""
    torch.manual_seed(0)
    model = FahrFaceForAgeEstimation(minute_config(drop_path_rate=0.1))
    start_head(model, np.array([20.0]))
    if only_head:
        model.freeze_backbone()
    fit, held_out = crops_of([78.0] * 20 + [85.0] * 4), crops_of([50.0] * 3, "validation")
    return age_recipe(model, PROCESSOR, fit, {"middle": held_out}, balance=0.5)


def run_patiently(folder: Path, kill_at: int | None = None, **options) -> list[dict[str, float]]:
    """Train until patience ends; `kill_at` is the number of steps before which this process dies."""
    recipe, steps = passing_by(), 0

    def loss(model, batch, generator):
        nonlocal steps
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1
        return recipe.loss(model, batch, generator)

    return train(dataclasses.replace(recipe, loss=loss), PATIENT, folder, checkpoint_steps=4, **options)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> tuple[Path, list[dict[str, float]]]:
    folder = tmp_path_factory.mktemp("stopped")
    return folder, run_patiently(folder)


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def test_a_run_ends_when_its_patience_does_and_its_model_is_that_of_the_best_epoch(stopped):
    folder, history = stopped
    best = int(np.argmin([entry["mae"] for entry in history]))
    assert 0 < best < 6
    assert len(history) == best + 1 + 2
    model = FahrFaceForAgeEstimation.from_pretrained(folder / "model")
    recipe = passing_by()
    assert recipe.validate(model) == pytest.approx(
        {name: history[best][name] for name in ("mae_middle", "mae")}, abs=1e-4
    )
    assert [path.name for path in folder.glob("best-*")] == [f"best-{best + 1:04}.pt"]


def test_the_figure_that_chooses_is_the_mean_over_validation_sets():
    fit, young, old = crops_of([50.0] * 4), crops_of([20.0], "validation"), crops_of([70.0] * 5, "validation")
    model = FahrFaceForAgeEstimation(minute_config()).eval()
    start_head(model, np.array([50.0]))
    torch.nn.init.zeros_(model.age_head.weight)
    recipe = age_recipe(model, PROCESSOR, fit, {"young": young, "old": old})
    assert recipe.validate(model) == pytest.approx({"mae_young": 30, "mae_old": 20, "mae": 25})


def test_without_patience_a_run_goes_to_its_end_and_still_keeps_the_best(stopped, tmp_path):
    history = train(passing_by(), dataclasses.replace(PATIENT, patience=None), tmp_path)
    assert len(history) == 9
    assert weights(tmp_path) == weights(stopped[0])


def test_a_killed_run_stops_at_the_same_epoch_with_the_same_model(stopped, tmp_path):
    # 6 steps an epoch, the third is the best: while the run is waiting for a better one.
    program = f"import test_age_training as t; t.run_patiently(t.Path({str(tmp_path)!r}), kill_at=21)"
    killed = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert run_patiently(tmp_path, workers=1) == stopped[1]
    assert weights(tmp_path) == weights(stopped[0])


def test_a_run_that_died_between_its_best_weights_and_their_checkpoint_makes_them_again(stopped, tmp_path):
    folder, history = stopped
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    best = int(np.argmin([entry["mae"] for entry in history])) + 1
    for path in tmp_path.glob("checkpoint-*"):
        shutil.rmtree(path)
    (tmp_path / f"best-{best:04}.pt").write_bytes(b"of another time")
    assert run_patiently(tmp_path) == history
    assert weights(tmp_path) == weights(folder)


def test_a_finished_run_stays_finished_and_keeps_its_model(stopped, tmp_path):
    shutil.copytree(stopped[0], tmp_path, dirs_exist_ok=True)
    assert run_patiently(tmp_path, kill_at=0) == stopped[1]
    assert weights(tmp_path) == weights(stopped[0])


TWO_PROCESSES = """
import sys; sys.path.insert(0, {tests!r})
import test_age_training as t
import test_pretraining
{before}
settings = t.dataclasses.replace(t.PATIENT, batch_size=2)
history = t.train(t.passing_by(only_head={only_head}), settings, {out!r})
print("<%d>" % len(history), end="", flush=True)  # in one piece: two processes share the pipe
"""


@pytest.mark.parametrize("sharded", [False, True], ids=["copies", "shards"])
def test_two_processes_stop_together_at_the_best_epoch(tmp_path, sharded):
    program, out = tmp_path / "program.py", tmp_path / "run"
    before = test_pretraining.SHARD.replace("t.os", "test_pretraining.os") if sharded else ""
    program.write_text(
        TWO_PROCESSES.format(tests=str(Path(__file__).parent), before=before, out=str(out), only_head=not sharded)
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    history = json.loads((out / "history.json").read_text())
    best = int(np.argmin([entry["mae"] for entry in history]))
    assert len(history) == best + 3 < 9
    assert done.stdout.count(f"<{len(history)}>") == 2
    model = FahrFaceForAgeEstimation.from_pretrained(out / "model")
    assert passing_by().validate(model)["mae"] == pytest.approx(history[best]["mae"], abs=1e-3)


def test_a_checkpoint_from_before_there_was_patience_goes_on(tmp_path):
    settings = dataclasses.replace(PATIENT, patience=None, epochs=1)
    recipe = dataclasses.replace(passing_by(), monitor=None, validate=lambda _: {})
    train(recipe, settings, tmp_path)
    path = next(tmp_path.glob("checkpoint-*")) / "state.pt"
    state = torch.load(path)
    del state["settings"]["patience"]
    torch.save(state, path)
    assert len(train(recipe, settings, tmp_path)) == 1


def test_patience_needs_something_to_wait_for(tmp_path):
    recipe = age_recipe(FahrFaceForAgeEstimation(minute_config()), PROCESSOR, crops_of([20.0] * 4), {})
    with pytest.raises(ValueError, match="patience = 2, but the recipe has no figure to watch"):
        train(recipe, PATIENT, tmp_path)


def test_what_is_saved_is_the_model_after_its_finish(tmp_path):
    def without_head(model):
        torch.nn.init.zeros_(model.age_head.weight)
        return model

    recipe = dataclasses.replace(passing_by(), finish=without_head)
    train(recipe, dataclasses.replace(PATIENT, epochs=1), tmp_path)
    assert not FahrFaceForAgeEstimation.from_pretrained(tmp_path / "model").age_head.weight.any()
