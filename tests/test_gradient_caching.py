"""Gradients by batches and processes are those of everybody at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate")

from accelerate import Accelerator
from conftest import images, minute_config

from fahr_hf import FahrFaceForSurvival
from fahr_hf.training.gradient_caching import cached_gradients

N = 16
SPLIT = [5, 8, 3]


def survival_model(**options):
    torch.manual_seed(0)
    return FahrFaceForSurvival(minute_config(**options)).train()


def sample():
    generator = torch.Generator().manual_seed(3)
    duration = torch.randint(2, 9, (N,), generator=generator).float()
    event = torch.rand(N, generator=generator) < 0.6
    return {"pixel_values": images(N), "duration": duration, "event": event, "entry": duration - 1.5}


def batches(sizes):
    parts = {name: values.split(sizes) for name, values in sample().items()}
    return [{name: parts[name][i] for name in parts} for i in range(len(sizes))]


def cached(model, parts, accelerator=None):
    accelerator = accelerator or Accelerator(cpu=True)
    wrapped = accelerator.prepare(model)
    return cached_gradients(
        accelerator,
        wrapped,
        parts,
        lambda batch: wrapped(batch["pixel_values"]).risk,
        model.survival_loss,
        ("duration", "event", "entry"),
    )


def gradients(model):
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_same_gradients(found, wanted):
    # Sums over 16 samples in another order, in float32.
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("survival_loss", ["ranking", "cox"])
def test_they_are_those_of_a_single_batch_and_not_those_of_accumulation(survival_loss):
    model = survival_model(survival_loss=survival_loss)
    loss = model(**sample()).loss
    loss.backward()
    wanted = gradients(model)
    model.zero_grad()
    value = cached(model, batches(SPLIT))
    assert not value.requires_grad
    torch.testing.assert_close(value, loss.detach())
    assert_same_gradients(gradients(model), wanted)

    model.zero_grad()
    for batch in batches(SPLIT):
        (model(**batch).loss * len(batch["event"]) / N).backward()
    weight = "survival_head.weight"
    assert (gradients(model)[weight] - wanted[weight]).norm() > 0.1 * wanted[weight].norm()


def test_a_single_batch_in_a_single_process_is_scored_once():
    model = survival_model()
    model(**sample()).loss.backward()
    wanted = gradients(model)
    model.zero_grad()
    passes = []
    model.register_forward_pre_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    cached(model, batches([N]))
    assert passes == [True]
    assert_same_gradients(gradients(model), wanted)
    cached(model, batches(SPLIT))
    assert passes[1:] == [False] * 3 + [True] * 3


def test_they_are_added_to_what_is_there():
    model = survival_model()
    cached(model, batches(SPLIT))
    once = gradients(model)
    cached(model, batches(SPLIT))
    assert_same_gradients(gradients(model), {name: 2 * gradient for name, gradient in once.items()})


@pytest.mark.parametrize("options", [{"drop_path_rate": 0.5}, {"stem": "convolution"}], ids=["drop path", "statistics"])
def test_what_is_drawn_and_what_is_counted_is_that_of_one_pass(options):
    def one_graph(model):
        parts = batches(SPLIT)
        risk = torch.cat([model(batch["pixel_values"]).risk for batch in parts])
        whole = sample()
        model.survival_loss(risk, whole["duration"], whole["event"], whole["entry"]).backward()

    results = []
    for run in (one_graph, lambda model: cached(model, batches(SPLIT))):
        model = survival_model(**options)
        torch.manual_seed(7)
        run(model)
        results.append((gradients(model), dict(model.named_buffers()), torch.get_rng_state()))
    (wanted, buffers, state), (found, found_buffers, found_state) = results
    assert_same_gradients(found, wanted)
    assert torch.equal(found_state, state)
    for name, buffer in buffers.items():
        assert torch.equal(found_buffers[name], buffer), name


def test_in_half_precision_the_scoring_without_a_graph_hides_no_weight_from_the_gradient():
    model = survival_model()
    cached(model, batches(SPLIT), Accelerator(cpu=True, mixed_precision="bf16"))
    found = gradients(model)
    whole = survival_model()
    whole(**sample()).loss.backward()
    for name, wanted in gradients(whole).items():
        # bfloat16 holds 8 bits of a number; some biases only shift all scores, and have a gradient by rounding alone.
        if wanted.ndim > 1:
            assert (found[name] - wanted).norm() < 0.1 * wanted.norm(), name


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
import test_gradient_caching as t

accelerator = t.Accelerator(cpu=True)
parts = t.batches([3, 4, 6, 3])
own = parts[:1] if accelerator.process_index == 0 else parts[1:]
model = t.survival_model()
value = t.cached(model, own, accelerator)
t.torch.save((value, t.gradients(model)), f"{out}/{{accelerator.process_index}}")
accelerator.end_training()
"""


def test_two_processes_with_unequal_shares_have_the_gradients_of_one(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(tests=str(Path(__file__).parent), out=tmp_path))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    model = survival_model()
    loss = model(**sample()).loss
    loss.backward()
    for rank in "01":
        value, found = torch.load(tmp_path / rank)
        torch.testing.assert_close(value, loss.detach())
        assert_same_gradients(found, gradients(model))
