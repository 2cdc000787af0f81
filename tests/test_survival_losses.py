"""What trains FAHR-FaceSurvival: losses of scores, equal to what they say, and their way through model and Trainer."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import images, minute_config
from torch.autograd.graph import saved_tensors_hooks

from fahr_hf import FahrFaceForSurvival
from fahr_hf.models import survival_losses_fahr_face
from fahr_hf.models.survival_losses_fahr_face import comparable_pairs, cox_loss, ranking_loss

R = Path(__file__).parent / "r"
LOSSES = pytest.mark.parametrize("loss", [ranking_loss, cox_loss], ids=["ranking", "cox"])
ENTRY = pytest.mark.parametrize("delayed", [False, True], ids=["all from 0", "delayed entry"])


def people(n, delayed=False, seed=0, dtype=torch.float64):
    """Scores and follow-up in halves of years, 0.5 to 6: ties among deaths, and of deaths with censorings."""
    generator = np.random.default_rng(seed)
    duration = generator.integers(1, 13, n) / 2
    event = generator.random(n) < 0.6
    entry = np.maximum(0, duration - generator.integers(1, 8, n) / 2)
    risk = torch.tensor(generator.normal(size=n), dtype=dtype, requires_grad=True)
    columns = [torch.tensor(duration), torch.tensor(event)] + [torch.tensor(entry)] * delayed
    return risk, columns


def compared(columns):
    """The pairs (who died, who was observed to live on)."""
    duration, event = columns[0].tolist(), columns[1].tolist()
    entry = columns[2].tolist() if len(columns) > 2 else [0.0] * len(duration)
    return [
        (i, j)
        for i, t in enumerate(duration)
        for j in range(len(duration))
        if event[i] and entry[j] < t and (duration[j] > t or (duration[j] == t and not event[j]))
    ]


class TestRanking:
    @ENTRY
    @pytest.mark.parametrize("temperature", [1.0, 0.3])
    def test_it_equals_a_double_loop(self, delayed, temperature):
        risk, columns = people(60, delayed)
        scores, pairs = risk.tolist(), compared(columns)
        wanted = np.mean([math.log1p(math.exp(-(scores[i] - scores[j]) / temperature)) for i, j in pairs])
        assert ranking_loss(risk, *columns, temperature=temperature).item() == pytest.approx(wanted, rel=1e-12)
        assert comparable_pairs(*columns).item() == len(pairs)

    @ENTRY
    def test_it_compares_the_pairs_of_concordance_and_bounds_the_share_in_wrong_order(self, delayed):
        pytest.importorskip("scipy")
        from fahr_hf.clinical.concordance import concordance, count_pairs
        from fahr_hf.clinical.outcomes import check_outcomes

        for seed in range(20):
            risk, columns = people(40, delayed, seed)
            scores, arrays = risk.detach().numpy(), [column.numpy() for column in columns]
            pairs = count_pairs(check_outcomes(*arrays), scores).anchor_pairs.sum()
            assert comparable_pairs(*columns).item() == pairs
            c, _ = concordance(arrays[1], arrays[0], scores, *arrays[2:])
            # Large scores come nearest to the bound, and small ones stay at ln 2.
            for scale in (1, 0.01, 100):
                assert ranking_loss(scale * risk, *columns).item() / math.log(2) >= 1 - c

    def test_temperature_scales_the_scores(self):
        risk, columns = people(30)
        assert ranking_loss(risk, *columns, temperature=2.0).item() == ranking_loss(risk / 2, *columns).item()
        with pytest.raises(ValueError, match=r"temperature must be a positive finite number, got 0\.0"):
            ranking_loss(risk, *columns, temperature=0.0)


class TestCox:
    @ENTRY
    def test_efron_equals_a_loop_over_deaths(self, delayed):
        risk, columns = people(50, delayed)
        duration, event = columns[0].tolist(), columns[1].tolist()
        entry = columns[2].tolist() if delayed else [-1.0] * 50
        hazard, total = np.exp(risk.tolist()), 0.0
        for time in {t for t, died in zip(duration, event, strict=True) if died}:
            dying = [i for i in range(50) if event[i] and duration[i] == time]
            at_risk = [j for j in range(50) if entry[j] < time <= duration[j]]
            for earlier, i in enumerate(dying):
                share = earlier / len(dying) * hazard[dying].sum()
                total += math.log(hazard[at_risk].sum() - share) - math.log(hazard[i])
        assert cox_loss(risk, *columns).item() == pytest.approx(total / sum(event), rel=1e-12)

    @pytest.mark.parametrize("ties", ["efron", "breslow"])
    @pytest.mark.parametrize("name", ["whas500", "gbsg2", "ties", "entry"])
    def test_at_scores_of_zero_it_is_the_null_likelihood_of_coxph(self, name, ties):
        table = pd.read_csv(R / "cohorts" / f"{name}.csv")
        expected = json.loads((R / "cox.json").read_text())["models"][f"{name} {ties}"]
        columns = [torch.tensor(table[c].to_numpy()) for c in ("duration", "event", "entry") if c in table]
        loss = cox_loss(torch.zeros(len(table), dtype=torch.float64), *columns, ties=ties).item()
        assert -loss * expected["events"] == pytest.approx(expected["null_log_likelihood"], rel=1e-9)

    @pytest.mark.parametrize("ties", ["efron", "breslow"])
    @pytest.mark.parametrize(("name", "covariates"), [("ties", ["age", "faceage"]), ("entry", ["age", "risk"])])
    def test_at_the_coefficients_of_a_regression_it_is_its_likelihood_and_flat(self, name, covariates, ties):
        pytest.importorskip("scipy")
        from fahr_hf.clinical.cox import cox_regression

        table = pd.read_csv(R / "cohorts" / f"{name}.csv")
        entry = {"entry": "entry"} if "entry" in table else {}
        result = cox_regression(table, "duration", "event", covariates, ties=ties, **entry)
        beta = torch.tensor(result.summary["coef"].to_numpy(), requires_grad=True)
        columns = [torch.tensor(table[c].to_numpy()) for c in ("duration", "event", *entry)]
        loss = cox_loss(torch.tensor(table[covariates].to_numpy()) @ beta, *columns, ties=ties)
        assert -loss.item() * result.events == pytest.approx(result.log_likelihood, rel=1e-9)
        loss.backward()
        assert beta.grad.abs().max() < 1e-8

    def test_an_unknown_handling_of_ties_is_refused(self):
        risk, columns = people(5)
        with pytest.raises(ValueError, match='ties must be "efron" or "breslow", got \'exact\''):
            cox_loss(risk, *columns, ties="exact")


@LOSSES
@ENTRY
class TestBoth:
    def test_a_shift_of_all_scores_changes_nothing_and_gradients_sum_to_zero(self, loss, delayed):
        risk, columns = people(80, delayed)
        value = loss(risk, *columns)
        value.backward()
        assert loss(risk + 7, *columns).item() == pytest.approx(value.item(), rel=1e-12)
        assert risk.grad.sum().item() == pytest.approx(0, abs=1e-12)
        assert risk.grad.abs().max() > 1e-3

    def test_the_gradient_is_that_of_differences(self, loss, delayed):
        risk, columns = people(12, delayed)
        assert torch.autograd.gradcheck(lambda risk: loss(risk, *columns), risk)

    def test_scores_a_hundred_times_too_large_are_finite(self, loss, delayed):
        risk, columns = people(80, delayed, dtype=torch.float32)
        scores = (100 * risk).detach().requires_grad_()
        value = loss(scores, *columns)
        value.backward()
        assert value.isfinite()
        assert value > 10
        assert scores.grad.isfinite().all()

    def test_it_does_not_depend_on_how_many_pairs_are_in_memory(self, loss, delayed, monkeypatch):
        risk, columns = people(100, delayed)
        whole = loss(risk, *columns)
        [gradient] = torch.autograd.grad(whole, risk)
        for pairs in (1, 700):
            monkeypatch.setattr(survival_losses_fahr_face, "_PAIRS_AT_ONCE", pairs)
            value = loss(risk, *columns)
            torch.testing.assert_close(value, whole)
            torch.testing.assert_close(torch.autograd.grad(value, risk)[0], gradient)

    def test_between_forward_and_backward_memory_is_of_order_n(self, loss, delayed):
        risk, columns = people(4096, delayed, dtype=torch.float32)
        held: dict[int, int] = {}

        def note(tensor):
            storage = tensor.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
            return tensor

        with saved_tensors_hooks(note, lambda tensor: tensor):
            value = loss(risk, *columns)
        # The matrix of all pairs would take 40 MB.
        assert sum(held.values()) < 500_000
        value.backward()
        assert risk.grad.isfinite().all()

    def test_half_precision_scores_give_a_float32_loss(self, loss, delayed):
        risk, columns = people(40, delayed)
        rounded = risk.detach().bfloat16().requires_grad_()
        value = loss(rounded, *columns)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(loss(rounded.double(), *columns).item(), rel=1e-5)
        value.backward()
        assert rounded.grad.dtype == torch.bfloat16

    def test_nobody_to_compare_is_a_zero_with_a_graph(self, loss, delayed):
        for duration, event in (([1.0, 2.0], [0, 0]), ([2.0], [1]), ([], [])):
            risk = torch.zeros(len(event), requires_grad=True)
            columns = [torch.tensor(duration), torch.tensor(event, dtype=torch.int64)]
            columns += [torch.zeros(len(event))] * delayed
            value = loss(risk, *columns)
            value.backward()
            assert (value.item(), risk.grad.abs().sum().item()) == (0, 0)
            assert comparable_pairs(*columns).item() == 0

    def test_labels_may_be_of_any_type_of_number(self, loss, delayed):
        risk, columns = people(40, delayed)
        whole = [2 * columns[0], columns[1], *(2 * column for column in columns[2:])]
        wanted = loss(risk, *columns).item()
        assert loss(risk, *whole).item() == wanted
        assert loss(risk, whole[0].int(), whole[1].int(), *whole[2:]).item() == wanted
        assert loss(risk, whole[0].float(), whole[1].float(), *(column.long() for column in whole[2:])).item() == wanted


GOOD = {"duration": [1.0, 2.0, 3.0], "event": [1, 0, 1], "entry": [0.0, 1.0, 2.5]}


@LOSSES
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"duration": [[1.0], [2.0], [3.0]]}, r"duration must have the shape \(3,\), got \(3, 1\)"),
        ({"event": [1, 0]}, r"event must have the shape \(3,\), got \(2,\)"),
        ({"entry": 0.0}, r"entry must have the shape \(3,\), got \(\)"),
        ({"duration": [1.0, -2.0, 3.0]}, "duration must be at least 0, finite and not missing; got -2 at place 1"),
        ({"duration": [math.nan, 2.0, math.inf]}, "got nan at place 0, inf at place 2"),
        ({"event": [1, 2, 0]}, r"event must be 0 \(censored\) or 1 \(death\); got 2 at place 1"),
        ({"event": [math.nan, 1.0, 0.0]}, "got nan at place 0"),
        ({"entry": [0.0, math.nan, 0.0]}, "entry must be at least 0, finite and not missing; got nan at place 1"),
        ({"entry": [0.0, 2.0, 9.0]}, "entry must be earlier than duration; got 2 at place 1, 9 at place 2"),
    ],
)
def test_bad_labels_are_named(loss, wrong, message):
    with pytest.raises(ValueError, match=message):
        loss(torch.zeros(3), **{name: torch.tensor(values) for name, values in {**GOOD, **wrong}.items()})


def test_many_bad_labels_are_counted():
    with pytest.raises(ValueError, match=r"got -1 at place 0, .*-1 at place 4 and 3 more\."):
        ranking_loss(torch.zeros(8), torch.full((8,), -1.0), torch.ones(8))
    with pytest.raises(ValueError, match=r"risk must have the shape \(n,\), got \(3, 1\)"):
        ranking_loss(torch.zeros(3, 1), torch.ones(3), torch.ones(3))


class TestModel:
    LABELS = {
        "duration": torch.tensor([1.0, 2.0, 2.0, 5.0]),
        "event": torch.tensor([1, 1, 1, 0]),
        "entry": torch.tensor([0.0, 0.5, 1.5, 1.0]),
    }

    @pytest.mark.parametrize(
        ("options", "loss"),
        [
            ({}, ranking_loss),
            ({"ranking_temperature": 0.1}, lambda *labels: ranking_loss(*labels, temperature=0.1)),
            ({"survival_loss": "cox"}, cox_loss),
            ({"survival_loss": "cox", "cox_ties": "breslow"}, lambda *labels: cox_loss(*labels, ties="breslow")),
        ],
    )
    def test_the_configuration_chooses_the_loss_and_a_checkpoint_keeps_the_choice(self, options, loss, tmp_path):
        FahrFaceForSurvival(minute_config(**options)).save_pretrained(tmp_path)
        model = FahrFaceForSurvival.from_pretrained(tmp_path)
        output = model(images(4), **self.LABELS)
        assert output.loss.item() == loss(output.risk, *self.LABELS.values()).item()
        assert model(images(4)).loss is None
        assert not math.isclose(output.loss.item(), model(images(4), **self.LABELS | {"entry": None}).loss.item())

    @pytest.mark.parametrize("survival_loss", ["ranking", "cox"])
    def test_under_autocast_the_loss_is_float32(self, survival_loss):
        model = FahrFaceForSurvival(minute_config(survival_loss=survival_loss)).train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(images(4), **self.LABELS)
        assert (output.logits.dtype, output.loss.dtype) == (torch.bfloat16, torch.float32)
        assert output.loss.item() == model.survival_loss(output.risk, **self.LABELS).item()
        output.loss.backward()
        assert model.survival_head.weight.grad.abs().max() > 0

    @pytest.mark.parametrize("survival_loss", ["ranking", "cox"])
    def test_the_trainer_of_transformers_learns_an_order(self, survival_loss, tmp_path):
        pytest.importorskip("accelerate")
        from transformers import Trainer, TrainingArguments

        torch.manual_seed(0)
        n = 24
        x, duration, event = images(n), torch.linspace(3, 9, n), torch.arange(n) % 3 > 0
        data = [
            {"pixel_values": x[i], "duration": float(duration[i]), "event": int(event[i]), "entry": i / 12}
            for i in range(n)
        ]
        model = FahrFaceForSurvival(minute_config(survival_loss=survival_loss))
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=30,
            per_device_train_batch_size=12,
            per_device_eval_batch_size=24,
            learning_rate=5e-3,
            label_names=["duration", "event", "entry"],
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=data, eval_dataset=data)
        before = trainer.evaluate()["eval_loss"]
        trainer.train()
        predicted = trainer.predict(data)
        assert predicted.metrics["test_loss"] < 0.8 * before
        logits, risk = predicted.predictions
        assert (logits.shape, risk.shape) == ((n, 1), (n,))
        assert np.corrcoef(risk, duration)[0, 1] < -0.5


REMOTE = """
import sys, pathlib, torch, transformers
folder, reference = sys.argv[1:]
wanted = torch.load(reference)
model = transformers.AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=True)
loss = model(wanted["pixel_values"], **wanted["labels"]).loss
torch.testing.assert_close(loss, wanted["loss"], atol=1e-6, rtol=1e-5)
model.save_pretrained(folder + "-again")
assert (pathlib.Path(folder + "-again") / "survival_losses_fahr_face.py").exists()
"""


def test_the_losses_travel_with_a_checkpoint(python_without_fahr_hf, tmp_path):
    torch.manual_seed(0)
    model = FahrFaceForSurvival(minute_config(survival_loss="cox")).eval()
    model.save_pretrained(tmp_path / "model")
    loss = model(images(4), **TestModel.LABELS).loss.detach()
    reference = tmp_path / "wanted.pt"
    torch.save({"pixel_values": images(4), "labels": TestModel.LABELS, "loss": loss}, reference)
    result = python_without_fahr_hf(REMOTE, tmp_path / "model", reference)
    assert result.returncode == 0, result.stderr
