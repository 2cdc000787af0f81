"""Folders below spaces/ that `evaluate.load` opens: they answer what the functions of the package answer."""

import doctest
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import datasets
import evaluate
import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import RepoCard
from sksurv.metrics import integrated_brier_score
from sksurv.util import Surv
from transformers import Trainer, TrainingArguments

from fahr_hf import FahrFaceForAgeEstimation
from fahr_hf.clinical.concordance import concordance
from fahr_hf.clinical.kaplan_meier import kaplan_meier
from fahr_hf.metrics import cumulative_score, mean_absolute_error
from fahr_hf.resampling import bootstrap_interval
from tests.conftest import images, minute_config

SPACES = Path(__file__).parents[1] / "spaces"
MODULES = ["age_mae", "concordance_index", "cumulative_score", "integrated_brier"]
R = Path(__file__).parent / "r"


@pytest.fixture(autouse=True, scope="module")
def _offline(tmp_path_factory):
    """Nothing is asked of the Hub, and nothing is written outside the test."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr("evaluate.config.HF_EVALUATE_OFFLINE", True)
        patch.setattr("evaluate.config.HF_METRICS_CACHE", str(cache / "metrics"))
        patch.setattr("evaluate.config.HF_MODULES_CACHE", str(cache / "modules"))
        patch.syspath_prepend(cache / "modules")
        yield


def load(name: str, *arguments) -> evaluate.EvaluationModule:
    return evaluate.load(str(SPACES / name), *arguments)


def ages(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    true = generator.uniform(1, 90, n)
    return true, true + generator.normal(1, 6, n)


def cohort(name: str) -> pd.DataFrame:
    return pd.read_csv(R / "cohorts" / f"{name}.csv")


@pytest.mark.parametrize("name", MODULES)
def test_the_example_in_the_help_of_a_module_runs(name, monkeypatch):
    monkeypatch.chdir(SPACES.parent)
    runner = doctest.DocTestRunner()
    runner.run(doctest.DocTestParser().get_doctest(load(name).inputs_description, {}, name, None, 0))
    assert runner.tries > 0
    assert runner.failures == 0


@pytest.mark.parametrize("name", MODULES)
def test_the_example_in_the_readme_of_a_space_runs(name, monkeypatch):
    monkeypatch.chdir(SPACES.parent)
    code = re.search(r"```python\n(.*?)```", (SPACES / name / "README.md").read_text(), re.DOTALL)[1]
    *lines, promised = code.strip().splitlines()
    space = {}
    exec("\n".join(lines[:-1]), space)
    result = eval(lines[-1], space)
    assert result == pytest.approx(json.loads(promised.removeprefix("# ")), abs=1e-3)


@pytest.mark.parametrize("name", MODULES)
def test_the_card_of_a_space_says_what_the_hub_asks(name):
    card = RepoCard.load(SPACES / name / "README.md").data.to_dict()
    assert card["sdk"] == "gradio"
    assert (SPACES / name / card["app_file"]).exists()
    assert card["license"] == "apache-2.0"
    assert {"evaluate", "metric"} <= set(card["tags"])
    assert any(line.startswith("fahr-hf") for line in (SPACES / name / "requirements.txt").read_text().splitlines())


def test_age_mae_is_the_mean_absolute_error_with_its_interval():
    true, predicted = ages()
    result = load("age_mae").compute(predictions=predicted, references=true)
    low, high = bootstrap_interval(mean_absolute_error, true, predicted)
    assert result == {"age_mae": np.abs(predicted - true).mean(), "low": low, "high": high}


def test_photos_of_one_person_are_drawn_together():
    true, predicted = (np.repeat(column, 5) for column in ages())
    persons = [f"person {number // 5}" for number in range(len(true))]
    metric = load("age_mae")
    alone = metric.compute(predictions=predicted, references=true)
    together = metric.compute(predictions=predicted, references=true, persons=persons)
    assert together["age_mae"] == alone["age_mae"]
    # Five copies of a person say no more than one: the interval is about the square root of 5 as wide.
    widths = [result["high"] - result["low"] for result in (together, alone)]
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(5), rel=0.1)


@pytest.mark.parametrize("within", [3, 5, 7])
def test_the_cumulative_score_counts_errors_up_to_its_limit(within):
    true, predicted = ages()
    result = load("cumulative_score").compute(predictions=predicted, references=true, within=within)
    assert result["cumulative_score"] == cumulative_score(true, predicted, within)
    assert result["low"] < result["cumulative_score"] < result["high"]


@pytest.mark.parametrize(
    "anchor", json.loads((R / "concordance.json").read_text())["results"], ids=lambda a: a["cohort"]
)
def test_the_concordance_index_and_its_error_are_those_of_r(anchor):
    table = cohort(anchor["cohort"])
    columns = {"predictions": table[anchor["risk_a"]], "duration": table["duration"], "event": table["event"]}
    metric = load("concordance_index")
    if "entry" in table:
        metric = load("concordance_index", "delayed_entry")
        columns["entry"] = table["entry"]
    result = metric.compute(**columns)
    assert result["concordance_index"] == pytest.approx(anchor["c"], rel=1e-9)
    assert result["se"] == pytest.approx(anchor["se"], rel=1e-9)
    assert result["high"] - result["concordance_index"] == pytest.approx(1.959964 * anchor["se"], rel=1e-6)


def test_the_integrated_brier_score_is_that_of_scikit_survival():
    table = cohort("whas500")
    event, duration = table["event"].to_numpy(), table["duration"].to_numpy()
    times = np.arange(200, 1600, 200)
    marginal = kaplan_meier(duration, event).at(times)["survival"].to_numpy()
    alive = marginal ** np.exp((table["age"].to_numpy()[:, None] - 70) / 20)
    result = load("integrated_brier").compute(predictions=alive, duration=duration, event=event, times=times)
    y = Surv.from_arrays(event.astype(bool), duration)
    assert result == {"integrated_brier": pytest.approx(integrated_brier_score(y, y, alive, times), rel=1e-12)}


@pytest.mark.parametrize("kind", [list, torch.tensor, pd.Series])
def test_lists_tensors_and_columns_are_the_same_to_a_module(kind):
    table = cohort("veteran")
    risk, duration, event = (table[name].tolist() for name in ("Age_in_years", "duration", "event"))
    result = load("concordance_index").compute(predictions=kind(risk), duration=kind(duration), event=kind(event))
    assert (result["concordance_index"], result["se"]) == concordance(event, duration, risk)


def test_risks_keep_their_last_digit():
    risk = 1 + 1e-12 * np.arange(4)
    result = load("concordance_index").compute(predictions=risk, duration=[4.0, 3.0, 2.0, 1.0], event=[1, 1, 1, 1])
    assert result["concordance_index"] == 1


def test_batches_add_up_to_the_whole():
    table = cohort("veteran")
    alive = np.linspace(0.9, 0.1, 2 * len(table)).reshape(-1, 2)
    whole = {"predictions": alive, "duration": table["duration"].to_numpy(), "event": table["event"].to_numpy()}
    metric = load("integrated_brier")
    for start in range(0, len(table), 50):
        metric.add_batch(**{name: column[start : start + 50] for name, column in whole.items()})
    assert metric.compute(times=[100, 300]) == metric.compute(**whole, times=[100, 300])


def test_modules_combine():
    true, predicted = ages()
    both = evaluate.combine([load("age_mae"), load("cumulative_score")])
    result = both.compute(predictions=predicted, references=true)
    assert result["age_mae"] == mean_absolute_error(true, predicted)
    assert result["cumulative_score"] == cumulative_score(true, predicted, 5)


def test_the_trainer_evaluates_with_a_module_as_the_readme_says(tmp_path):
    space = {"metric": load("age_mae")}
    code = re.findall(r"```python\n(.*?)```", (SPACES / "age_mae/README.md").read_text(), re.DOTALL)[1]
    exec(code.partition("trainer =")[0], space)
    model = FahrFaceForAgeEstimation(minute_config())
    photos = datasets.Dataset.from_dict({"pixel_values": images(6), "labels": [20.0, 30, 40, 50, 60, 70]}).with_format(
        "torch"
    )
    arguments = TrainingArguments(tmp_path, report_to=[], use_cpu=True, per_device_eval_batch_size=4)
    figures = Trainer(model, arguments, eval_dataset=photos, compute_metrics=space["compute_metrics"]).evaluate()
    assert figures["eval_age_mae"] == pytest.approx(figures["eval_loss"], rel=1e-5)
    assert figures["eval_low"] <= figures["eval_age_mae"] <= figures["eval_high"]


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("age_mae", {"predictions": [30.0], "references": [np.nan]}, "Ages must be finite numbers"),
        ("age_mae", {"predictions": [30.0, 31.0], "references": [30.0]}, "predictions .2. and references .1."),
        (
            "concordance_index",
            {"predictions": [1.0, 2.0], "duration": [1.0, 2.0], "event": [1, 2]},
            "event must be 0 or 1; got 2 in row 1",
        ),
        (
            "concordance_index",
            {"predictions": [1.0, 2.0], "duration": [1.0, 2.0], "event": [0, 0]},
            "0 of 2 died",
        ),
        ("concordance_index", {"predictions": [1.0], "references": [1.0]}, "missing: .'duration', 'event'"),
        (
            "integrated_brier",
            {"predictions": [[0.9, 1.8], [0.9, 0.8]], "duration": [1.0, 3.0], "event": [1, 0], "times": [1, 2]},
            "a risk score is not a probability",
        ),
        (
            "integrated_brier",
            {"predictions": [[0.9, 0.8], [0.9, 0.8]], "duration": [1.0, 3.0], "event": [1, 0]},
            "Pass times",
        ),
    ],
)
def test_what_cannot_be_computed_is_refused_and_the_module_goes_on(name, inputs, message):
    metric = load(name)
    with pytest.raises(ValueError, match=message):
        metric.compute(**inputs)
    good = {
        "age_mae": {"predictions": [30.0], "references": [31.0]},
        "concordance_index": {"predictions": [2.0, 1.0], "duration": [1.0, 2.0], "event": [1, 1]},
        "integrated_brier": {
            "predictions": [[0.0, 0.0], [1.0, 1.0]],
            "duration": [1.0, 3.0],
            "event": [1, 0],
            "times": [1, 2],
        },
    }[name]
    best = {"age_mae": 1.0, "concordance_index": 1.0, "integrated_brier": 0.0}
    assert metric.compute(**good)[name] == best[name]


def test_delayed_entry_is_the_only_other_configuration():
    with pytest.raises(ValueError, match="default, delayed_entry, got 'left'"):
        load("concordance_index", "left")


@pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="the pages are drawn by gradio")
def test_the_page_of_a_space_computes_its_example(tmp_path):
    script = "import runpy, sys\nfor page in map(runpy.run_path, sys.argv[1:]): print(page['compute'](page['EXAMPLE']))"
    pages = [str(SPACES / name / "app.py") for name in MODULES]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "0", "HF_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", script, *pages], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert all(f"'{name}': " in run.stdout for name in MODULES)
