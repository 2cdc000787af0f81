"""Survival training: whom a step compares, what the offset leaves to the face, and which run is kept."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import skimage.data
import skimage.io
import torch
from conftest import minute_config

from fahr_hf import FahrFaceForAgeEstimation, FahrFaceForSurvival, FahrFaceImageProcessor
from fahr_hf.clinical import concordance, cox_regression
from fahr_hf.data.crops import BORDER, Crops
from fahr_hf.training.augmentation import MILD
from fahr_hf.training.death_order import spread_deaths
from fahr_hf.training.loop import train
from fahr_hf.training.people import PersonSamples, people_of
from fahr_hf.training.recipe import Recipe, Settings
from fahr_hf.training.survival import predict_risks, start_head, survival_recipe, survival_settings
from fahr_hf.training.survival_runs import train_survival

SIDE = 32 + 2 * BORDER
PROCESSOR = FahrFaceImageProcessor(size=32)
FULL = np.array([[-5, -5], [SIDE + 5, -5], [SIDE + 5, SIDE + 5], [-5, SIDE + 5]], np.float32)
FACE = cv2.resize(skimage.data.astronaut()[0:200, 120:320], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
SETTINGS = Settings(epochs=2, batch_size=16, learning_rate=1e-3, mixed_precision="no")


def crops_of(people: int, part: str = "train", photos: int = 1, seed: int = 0, **columns) -> Crops:
    """One real face in different light: the darker, the earlier death. A third of the people are censored."""
    generator = np.random.default_rng(seed)
    light = generator.uniform(0.3, 1.0, people)
    death = 40 * light * generator.uniform(0.8, 1.2, people)
    end = np.where(generator.random(people) < 1 / 3, generator.uniform(0.3, 1, people), 1)
    of_person = {
        "subject_id": [f"{part} {number}" for number in range(people)],
        "duration": death * end,
        "event": end == 1,
        "entry": death * end * generator.choice([0, 0.2], people),
        **columns,
    }
    table = {name: np.repeat(np.asarray(values), photos) for name, values in of_person.items()}
    names = [f"{number}.png" for number in range(people * photos)]
    table |= {"part": [part] * len(names), "source": ["made up"] * len(names), "photo_id": names}
    pixels = np.stack([np.uint8(FACE * brightness) for brightness in np.repeat(light, photos)])
    return Crops(pixels, np.repeat(FULL[None], len(pixels), 0), pa.table(table), pa.table({}))


TRAIN, VALIDATION = crops_of(64), crops_of(40, "validation", seed=1)


def minute_model(seed: int = 0, **changes) -> FahrFaceForSurvival:
    torch.manual_seed(seed)
    return FahrFaceForSurvival(minute_config(**changes))


def recipe_of(train: Crops = TRAIN, validation: Crops = VALIDATION, **changes) -> Recipe:
    return survival_recipe(minute_model(**changes), PROCESSOR, train, validation, augmentation=MILD)


# -------------------------------------------------------------------------------------------------- deaths in steps


def people_with(deaths: int, n: int) -> np.ndarray:
    return np.random.default_rng(n).permutation(np.arange(n) < deaths)


@pytest.mark.parametrize(("deaths", "n", "step"), [(50, 200, 16), (61, 500, 64), (997, 1000, 32), (300, 300, 7)])
def test_every_step_has_its_share_of_the_deaths_and_everybody_is_shown_once(deaths, n, step):
    event = people_with(deaths, n)
    for epoch in range(3):
        order = spread_deaths(event, least=4, seed=0, epoch=epoch, step=step)
        assert sorted(order) == list(range(n))
        counts = [event[order[start : start + step]].sum() for start in range(0, n - step + 1, step)]
        assert set(counts) <= {step * deaths // n, -(-step * deaths // n)}


def test_rare_deaths_come_more_often_than_once_until_every_step_has_enough():
    event = people_with(20, 1000)
    for epoch in range(3):
        order = spread_deaths(event, least=8, seed=0, epoch=epoch, step=64)
        shown = order % 1000
        for start in range(0, 1000 - 63, 64):
            assert event[shown[start : start + 64]].sum() in (8, 9)
        times = np.bincount(shown, minlength=1000)
        # 125 showings of 20 deaths; the rest belongs to survivors, none of them twice.
        assert set(times[event]) == {6, 7}
        assert set(times[~event]) == {0, 1}
        # Every showing is another sample, with a view of its own.
        assert len(set(order)) == 1000


@pytest.mark.parametrize(("deaths", "n", "step", "wanted"), [(3, 100, 10, {3, 4}), (30, 400, 10, {5})])
def test_a_step_is_not_asked_for_more_deaths_than_there_are_nor_for_more_than_its_half(deaths, n, step, wanted):
    event = people_with(deaths, n)
    order = spread_deaths(event, least=8, seed=0, epoch=0, step=step) % n
    assert {int(event[order[start : start + step]].sum()) for start in range(0, n, step)} <= wanted


def test_an_order_follows_from_seed_and_epoch():
    event = people_with(10, 50)
    first = spread_deaths(event, 4, 3, 2, 10)
    assert (spread_deaths(event, 4, 3, 2, 10) == first).all()
    for seed, epoch in ((4, 2), (3, 3)):
        assert (spread_deaths(event, 4, seed, epoch, 10) != first).any()


# ------------------------------------------------------------------------------------------------------------ people


def test_every_showing_of_a_person_draws_one_of_their_photos():
    crops = crops_of(5, photos=3)
    samples = PersonSamples(crops, people_of(crops, "train"), seed=0)
    assert len(samples) == 5
    shown = {samples[epoch, 2]["name"] for epoch in range(30)}
    assert shown == {"made up/6.png", "made up/7.png", "made up/8.png"}
    assert samples[4, 2]["name"] == samples[4, 2]["name"]
    again = samples[4, 2 + 5]
    assert again["duration"] == crops.column("duration")[6]
    assert again["index"] == 7


def test_people_are_scored_by_the_mean_over_their_photos():
    crops = crops_of(12, "validation", photos=2, seed=1)
    shuffled = crops.select(np.random.default_rng(0).permutation(24))
    recipe = recipe_of(validation=shuffled)
    model = recipe.model.eval()
    risk = predict_risks(model, PROCESSOR, crops).reshape(12, 2).mean(axis=1)
    event, duration, entry = (crops.column(name)[::2] for name in ("event", "duration", "entry"))
    c, se = concordance(event, duration, risk, entry)
    figures = recipe.validate(model)
    assert figures["concordance"] == pytest.approx(c)
    assert 1 - figures["one_minus_concordance"] == pytest.approx(c)
    assert figures["concordance_low"] == pytest.approx(max(0, c - 1.959964 * se))
    assert figures["concordance_high"] == pytest.approx(min(1, c + 1.959964 * se))
    assert "concordance_face" not in figures


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "duration",
            [0.0, 9, 9, 9],
            r"duration must be a positive number of years; .*'train' it is not so for train 0\.",
        ),
        ("duration", [9, np.nan, 9, -1], r"not so for train 1, train 3\."),
        ("event", [1.0, 0, 0.5, 1], r"event must be 1 \(death\) or 0 \(censored\); .* train 2\."),
        ("entry", [0, 0, 0, 1e3], r"entry must be at least 0 and earlier than duration; .* train 3\."),
        ("offset", [0, np.inf, 0, 0], r"offset must be a finite number; .* train 1\."),
        ("subject_id", ["a", None, "b", None], r"2 of 4 train crops have no subject_id"),
        ("subject_id", ["a", "b", "b", "c"], r"must have the same duration, .* not so for b\."),
        ("event", [False] * 4, r"No two people of the part 'train' can be compared: 0 of 4 died"),
        ("entry", [8.9, 8.9, 8.9, 8.9], r"can be compared: 4 of 4 died"),
    ],
)
def test_outcomes_that_cannot_be_learned_from_are_refused_with_the_people_named(column, values, message):
    sound = {"duration": [9.0, 9.1, 9.2, 9.3], "event": [True] * 4, "entry": [0.0] * 4}
    if message.endswith("4 of 4 died"):
        sound["duration"] = [9.0] * 4
    crops = crops_of(4, **{**sound, column: values})
    with pytest.raises(ValueError, match=message):
        recipe_of(train=crops)


@pytest.mark.parametrize(("fit", "select"), [("test", "validation"), ("train", "test"), ("train", "train")])
def test_parts_are_used_for_nothing_but_their_purpose(fit, select):
    with pytest.raises(ValueError, match="Expected crops of the part"):
        recipe_of(crops_of(8, fit), crops_of(8, select))


# ------------------------------------------------------------------------------------------------------------ offset


def test_a_face_that_only_repeats_the_offset_has_nothing_to_learn():
    """Closed form: where the offset is the fitted log hazard of x, the slope of the likelihood along x is zero."""
    generator = np.random.default_rng(0)
    people = people_of(TRAIN, "train")
    x = generator.normal(size=len(people)) - people.duration / 20
    table = pd.DataFrame({"t": people.duration, "d": people.event, "start": people.entry, "x": x})
    [beta] = cox_regression(table, "t", "d", ["x"], entry="start").summary["coef"]
    joint = recipe_of(survival_loss="cox").joint

    def slope(offset: np.ndarray) -> float:
        weight = torch.zeros((), dtype=torch.float64, requires_grad=True)
        labels = map(torch.tensor, (people.duration, people.event, people.entry, offset))
        joint.loss(weight * torch.tensor(x), *labels).backward()
        return weight.grad.item()

    assert slope(beta * x) == pytest.approx(0, abs=1e-9)
    assert abs(slope(np.zeros(len(x)))) > 0.1


def test_validation_judges_the_sum_and_the_face_by_itself():
    known = crops_of(40, "validation", seed=1, offset=-VALIDATION.column("duration"))
    with pytest.raises(ValueError, match="both need it, or neither"):
        recipe_of(validation=known)
    recipe = recipe_of(crops_of(64, offset=np.zeros(64)), known)
    start_head(recipe.model)
    figures = recipe.validate(recipe.model.eval())
    assert figures["concordance"] == 1
    assert figures["concordance_face"] == 0.5


# -------------------------------------------------------------------------------------------------------------- runs


def shared_run(folder: Path, batch_size: int, accumulation: int) -> None:
    settings = dataclasses.replace(SETTINGS, epochs=1, batch_size=batch_size, accumulation=accumulation)
    train(recipe_of(), settings, folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Two steps of 32 people, each in a single batch."""
    folder = tmp_path_factory.mktemp("whole")
    shared_run(folder, 32, 1)
    return folder


def assert_same_weights(folder: Path, whole: Path) -> None:
    first = dict(minute_model().named_parameters())
    found, wanted = (
        dict(FahrFaceForSurvival.from_pretrained(place / "model").named_parameters()) for place in (folder, whole)
    )
    for name, weight in wanted.items():
        # Sums in another order; a bias of keys or of the head moves nothing, and has a gradient by rounding alone.
        if weight.ndim > 1:
            assert (found[name] - weight).norm() < 0.01 * (weight - first[name]).norm(), name


def test_accumulated_batches_train_as_the_single_batch_does(whole, tmp_path):
    shared_run(tmp_path, 8, 4)
    assert_same_weights(tmp_path, whole)
    losses = [json.loads((folder / "history.json").read_text())[0]["loss"] for folder in (tmp_path, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_two_processes_that_accumulate_train_as_the_single_batch_does(whole, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_survival_training as t\n"
        f"t.shared_run(t.Path({str(tmp_path / 'run')!r}), 8, 2)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert_same_weights(tmp_path / "run", whole)


def killed_run(folder: Path) -> None:
    recipe = recipe_of(drop_path_rate=0.3)
    count = 0

    def score(model, batch):
        nonlocal count
        count += 1
        if count == 12:
            os.kill(os.getpid(), signal.SIGKILL)
        return recipe.joint.score(model, batch)

    joint = dataclasses.replace(recipe.joint, score=score)
    train(dataclasses.replace(recipe, joint=joint), RESUMED, folder, checkpoint_steps=1)


# Two steps an epoch of two batches each, every one of which is scored twice.
RESUMED = dataclasses.replace(SETTINGS, accumulation=2)


def test_resuming_after_kill_9_changes_not_one_bit(tmp_path):
    program = (
        "import test_survival_training as t\n"
        f"if __name__ == '__main__':\n    t.killed_run(t.Path({str(tmp_path / 'killed')!r}))"
    )
    killed = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert max(path.name for path in (tmp_path / "killed").glob("checkpoint-*")) == "checkpoint-000000002"
    histories = [
        train(recipe_of(drop_path_rate=0.3), RESUMED, tmp_path / name, workers=workers)
        for name, workers in (("killed", 1), ("whole", 0))
    ]
    assert histories[0] == histories[1]
    killed_model, whole_model = (tmp_path / name / "model" / "model.safetensors" for name in ("killed", "whole"))
    assert killed_model.read_bytes() == whole_model.read_bytes()


def test_a_score_that_is_not_finite_stops_the_run_and_names_the_photo(tmp_path):
    recipe = recipe_of()

    def score(model, batch):
        broken = torch.tensor([name == "made up/7.png" for name in batch["name"]])
        return recipe.joint.score(model, batch).masked_fill(broken, float("nan"))

    joint = dataclasses.replace(recipe.joint, score=score)
    with pytest.raises(FloatingPointError, match=r"nan at step \d of epoch 1, on the samples made up/7\.png\. Look"):
        train(dataclasses.replace(recipe, joint=joint), SETTINGS, tmp_path)


def test_a_recipe_has_one_kind_of_loss():
    with pytest.raises(ValueError, match="either a loss or a joint loss"):
        dataclasses.replace(recipe_of(), joint=None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A start that can learn from light, and one that sees nothing, with two seeds each."""
    folder = tmp_path_factory.mktemp("runs")
    return folder, runs_in(folder)


def blind_model() -> FahrFaceForSurvival:
    model = minute_model()
    model.freeze_backbone()
    model.backbone.embeddings.patch_projection.weight.data.zero_()
    return model


STARTS = {"blind": blind_model, "seeing": minute_model}
LEARNING = Settings(epochs=5, batch_size=16, learning_rate=3e-3, mixed_precision="no", patience=2)


def runs_in(folder: Path, **changes):
    arguments = {"starts": STARTS, "fit": TRAIN, "validation": VALIDATION, "settings": LEARNING} | changes
    return train_survival(processor=PROCESSOR, folder=folder, seeds=[0, 1], augmentation=MILD, **arguments)


def test_the_better_start_is_chosen_by_its_mean_and_then_its_better_seed(finished):
    folder, runs = finished
    table = pd.read_csv(folder / "runs.csv")
    pd.testing.assert_frame_equal(table, runs.table)
    assert table[["start", "seed"]].to_numpy().tolist() == [["blind", 0], ["blind", 1], ["seeing", 0], ["seeing", 1]]
    blind, seeing = (table[table["start"] == start] for start in ("blind", "seeing"))
    assert (blind["concordance"] == 0.5).all()
    assert (seeing["concordance_low"] > 0.5).all()
    best = seeing.loc[seeing["concordance"].idxmax()]
    assert (runs.start, runs.seed) == ("seeing", best["seed"])
    model = FahrFaceForSurvival.from_pretrained(folder / "model")
    c, _ = concordance(
        VALIDATION.column("event"),
        VALIDATION.column("duration"),
        predict_risks(model, PROCESSOR, VALIDATION),
        VALIDATION.column("entry"),
    )
    assert c == pytest.approx(best["concordance"], abs=1e-12)


def test_a_run_without_progress_ends_early(finished):
    folder, runs = finished
    # The blind start is never better than at first, and two epochs later patience is at its end.
    assert runs.table[["best_epoch", "epochs"]].to_numpy()[:2].tolist() == [[1, 3], [1, 3]]
    assert len(json.loads((folder / "blind-seed-0" / "history.json").read_text())) == 3


def test_every_run_says_what_it_was_and_shows_how_it_went(finished):
    folder, _ = finished
    for seed in (0, 1):
        record = json.loads((folder / f"seeing-seed-{seed}" / "run.json").read_text())["run"]
        assert record["settings"] == dataclasses.asdict(dataclasses.replace(LEARNING, seed=seed))
        assert record["data"]["train"]["photos"] == 64
        pixels = skimage.io.imread(folder / f"seeing-seed-{seed}" / "curves.png")
        assert pixels.std() > 10


def test_finished_runs_are_not_repeated_and_not_continued_with_other_people(finished):
    folder, runs = finished
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/checkpoint-*/state.pt")}
    pd.testing.assert_frame_equal(runs_in(folder).table, runs.table)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/checkpoint-*/state.pt")} == before
    later = crops_of(64, entry=np.zeros(64))
    with pytest.raises(ValueError, match=r"holds another run \(data\.train\.sha256"):
        runs_in(folder, fit=later)


def test_a_new_head_begins_at_zero_and_a_trained_one_where_it_was(tmp_path):
    FahrFaceForAgeEstimation(minute_config()).save_pretrained(tmp_path / "age")
    minute_model().save_pretrained(tmp_path / "survival")
    starts = {
        name: lambda name=name: FahrFaceForSurvival.from_pretrained(tmp_path / name) for name in ("age", "survival")
    }
    still = Settings(epochs=1, batch_size=16, learning_rate=1e-9, mixed_precision="no")
    runs_in(tmp_path / "runs", starts=starts, settings=still)
    first = minute_model().survival_head.weight
    for start, wanted in (("age", torch.zeros_like(first)), ("survival", first)):
        model = FahrFaceForSurvival.from_pretrained(tmp_path / "runs" / f"{start}-seed-1" / "model")
        torch.testing.assert_close(model.survival_head.weight, wanted, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("people", "epochs", "batch_size"), [(300, 30, 32), (2000, 20, 128), (30_000, 5, 256), (9, 30, 9)]
)
def test_settings_show_few_people_often_and_many_seldom(people, epochs, batch_size):
    settings = survival_settings(people)
    assert (settings.epochs, settings.batch_size) == (epochs, batch_size)
