"""A memory of past scores: whom a step is compared with, what its gradient is, and how a run goes on with it."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_survival_training import MILD, PROCESSOR, SETTINGS, TRAIN, VALIDATION, assert_same_weights, minute_model

from fahr_hf.models.survival_losses_fahr_face import cox_loss, ranking_loss
from fahr_hf.training.loop import train
from fahr_hf.training.recipe import Recipe
from fahr_hf.training.score_memory import ScoreMemory
from fahr_hf.training.survival import survival_recipe

N = 60
LOSSES = pytest.mark.parametrize("loss", [ranking_loss, cox_loss], ids=["ranking", "cox"])


def people(seed: int = 0) -> list[torch.Tensor]:
    """Duration, event, entry and number of 60 people, with ties."""
    generator = np.random.default_rng(seed)
    duration = generator.integers(1, 13, N) / 2
    entry = np.maximum(0, duration - generator.integers(1, 8, N) / 2)
    return [torch.tensor(column) for column in (duration, generator.random(N) < 0.6, entry, np.arange(N))]


def scores(n: int = N, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(columns: list[torch.Tensor], places: list[int]) -> list[torch.Tensor]:
    return [column[places] for column in columns]


# ------------------------------------------------------------------------------------------------ whom it compares


def test_each_step_equals_a_double_loop_over_its_people_and_the_newest_score_of_the_others():
    columns, memory, newest = people(), ScoreMemory(ranking_loss, size=N), {}
    duration, event, entry, _ = (column.tolist() for column in columns)
    random = np.random.default_rng(1)
    for step in range(12):
        places = random.permutation(N)[:10].tolist()
        risk = scores(10, seed=step)
        newest |= dict(zip(places, risk.tolist(), strict=True))
        losses = [
            math.log1p(math.exp(newest[j] - newest[i]))
            for i in newest
            for j in newest
            if event[i]
            and entry[j] < duration[i]
            and (duration[j] > duration[i] or (duration[j] == duration[i] and not event[j]))
        ]
        assert memory(risk, *rows(columns, places)).item() == pytest.approx(np.mean(losses), rel=1e-12)
    assert len(newest) > 50


@LOSSES
def test_nobody_is_compared_with_an_older_score_of_their_own(loss):
    columns, memory = people(), ScoreMemory(loss, size=N)
    places = list(range(20))
    memory(100 * scores(20, seed=1), *rows(columns, places))
    risk, now = scores(20, seed=2).requires_grad_(), rows(columns, places)
    value, alone = memory(risk, *now), loss(risk, *now[:-1])
    assert value.item() == alone.item()
    assert torch.equal(torch.autograd.grad(value, risk)[0], torch.autograd.grad(alone, risk)[0])


@LOSSES
def test_the_first_step_is_the_loss_of_its_people_to_the_bit(loss):
    risk, columns = scores().float().requires_grad_(), people()
    value, alone = ScoreMemory(loss, size=5)(risk, *columns), loss(risk, *columns[:-1])
    assert value.item() == alone.item()
    assert torch.equal(torch.autograd.grad(value, risk)[0], torch.autograd.grad(alone, risk)[0])


def test_it_fills_and_then_forgets_those_first_who_were_scored_longest_ago():
    columns, memory = people(), ScoreMemory(ranking_loss, size=5)
    remembered = []
    for places in ([0, 1], [2, 3], [1, 4], [5], [2, 6, 6], list(range(10, 20))):
        memory(torch.tensor(places, dtype=torch.float64) + len(remembered), *rows(columns, places))
        remembered.append(memory.columns[-1].tolist())
    assert remembered == [[0, 1], [0, 1, 2, 3], [0, 2, 3, 1, 4], [2, 3, 1, 4, 5], [1, 4, 5, 2, 6], [15, 16, 17, 18, 19]]
    assert memory.columns[0].tolist() == [20, 21, 22, 23, 24]
    assert [len(column) for column in memory.columns] == [5] * 5


def test_of_somebody_shown_twice_in_a_step_the_last_score_is_remembered():
    memory = ScoreMemory(ranking_loss, size=9)
    memory(torch.tensor([1.0, 2.0, 3.0]), *rows(people(), [7, 8, 7]))
    assert memory.columns[0].tolist() == [2.0, 3.0]
    assert memory.columns[-1].tolist() == [8, 7]


def test_a_memory_of_nobody_is_refused():
    with pytest.raises(ValueError, match="at least 1 person, got 0"):
        ScoreMemory(ranking_loss, size=0)


# ---------------------------------------------------------------------------------------------------- the gradient


@LOSSES
def test_remembered_scores_are_constants(loss):
    columns, memory = people(), ScoreMemory(loss, size=N)
    old = scores(40, seed=1).requires_grad_()
    memory(old, *rows(columns, list(range(40))))
    assert not any(column.requires_grad for column in memory.columns)
    new = scores(20, seed=2).requires_grad_()
    memory(new, *rows(columns, list(range(40, N)))).backward()
    assert old.grad is None

    everybody = torch.cat([old, new]).detach().requires_grad_()
    loss(everybody, *columns[:-1]).backward()
    torch.testing.assert_close(new.grad, everybody.grad[40:] * N / 20)
    # No longer zero in sum: the remembered do not move, and so hold the others in their place.
    assert abs(new.grad.sum()) > 1e-3


@LOSSES
def test_while_scores_do_not_change_the_steps_of_an_epoch_have_on_average_the_gradient_of_everybody(loss):
    columns, x = people(), torch.randn(N, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64, requires_grad=True)
    whole = loss(x @ weight, *columns[:-1])
    [wanted] = torch.autograd.grad(whole, weight)

    memory, random = ScoreMemory(loss, size=N), np.random.default_rng(0)
    for epoch in range(2):
        slopes = []
        for places in random.permutation(N).reshape(-1, 10).tolist():
            value = memory(x[places] @ weight, *rows(columns, places))
            slopes.append(torch.autograd.grad(value, weight)[0])
            if epoch:
                torch.testing.assert_close(value, whole)
    torch.testing.assert_close(torch.stack(slopes).mean(dim=0), wanted)


# ------------------------------------------------------------------------------------------------------------ runs


def recipe_of(memory: int, **changes) -> Recipe:
    return survival_recipe(minute_model(**changes), PROCESSOR, TRAIN, VALIDATION, augmentation=MILD, memory=memory)


def test_it_is_off_by_default_and_then_nothing_is_other_than_it_was(tmp_path):
    recipe = survival_recipe(minute_model(), PROCESSOR, TRAIN, VALIDATION, augmentation=MILD)
    batch = recipe.collate([recipe.samples[0, place] for place in range(16)])
    assert list(batch) == ["pixel_values", "duration", "event", "entry", "offset", "name"]
    risk, labels = scores(16).float(), [batch[name] for name in recipe.joint.labels]
    assert recipe.joint.loss(risk, *labels).item() == recipe.model.survival_loss(risk, *labels[:3]).item()
    once = dataclasses.replace(SETTINGS, epochs=1)
    [default] = train(recipe, once, tmp_path / "default")
    [none] = train(recipe_of(0), once, tmp_path / "none")
    [many] = train(recipe_of(MEMORY), once, tmp_path / "many")
    assert default == none
    assert default["loss"] != many["loss"]
    states = [torch.load(tmp_path / name / "checkpoint-000000004" / "state.pt") for name in ("none", "many")]
    assert ["memory" in state["settings"] for state in states] == [False, True]


# Four steps an epoch of 16 people; from the second on, the others are remembered.
MEMORY = 40


def interrupted_run(folder: Path, stop: int) -> None:
    recipe = recipe_of(MEMORY, drop_path_rate=0.3)
    count = 0

    def score(model, batch):
        nonlocal count
        count += 1
        if count == stop:
            raise InterruptedError
        return recipe.joint.score(model, batch)

    joint = dataclasses.replace(recipe.joint, score=score)
    with pytest.raises(InterruptedError):
        train(dataclasses.replace(recipe, joint=joint), SETTINGS, folder, checkpoint_steps=1)


def test_a_run_that_goes_on_compares_with_whom_it_would_have_compared(tmp_path):
    interrupted_run(tmp_path / "resumed", stop=4)
    state = torch.load(tmp_path / "resumed" / "checkpoint-000000003" / "state.pt")
    assert [len(column) for column in state["progress"]["remembered"]] == [40] * 6
    histories = [
        train(recipe_of(MEMORY, drop_path_rate=0.3), SETTINGS, tmp_path / name) for name in ("resumed", "whole")
    ]
    assert histories[0] == histories[1]
    models = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("resumed", "whole")]
    assert models[0] == models[1]


@pytest.mark.parametrize(("other", "message"), [(0, "memory: 40, now None"), (30, "memory: 40, now 30")])
def test_a_run_does_not_go_on_with_another_memory(tmp_path, other, message):
    interrupted_run(tmp_path, stop=3)
    with pytest.raises(ValueError, match=message):
        train(recipe_of(other, drop_path_rate=0.3), SETTINGS, tmp_path)


def shared_run(folder: Path, batch_size: int, accumulation: int) -> None:
    settings = dataclasses.replace(SETTINGS, epochs=1, batch_size=batch_size, accumulation=accumulation)
    # Everybody is remembered: who is forgotten first among the people of one step depends on who brought them.
    train(recipe_of(64), settings, folder)


def test_two_processes_that_accumulate_remember_the_people_of_both(tmp_path):
    shared_run(tmp_path / "whole", 16, 1)
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_score_memory as t\n"
        f"t.shared_run(t.Path({str(tmp_path / 'run')!r}), 4, 2)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    losses = [json.loads((tmp_path / name / "history.json").read_text())[0]["loss"] for name in ("run", "whole")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert_same_weights(tmp_path / "run", tmp_path / "whole")
