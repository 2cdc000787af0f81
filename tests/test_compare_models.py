"""Cox models side by side: R's numbers (`tests/r/models.R`), and words for the tables that cannot be made."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")
pytest.importorskip("sksurv")

from fahr_hf.clinical.brier import integrated_brier_score
from fahr_hf.clinical.compare_models import compare_fits, compare_models, events_per_parameter
from fahr_hf.clinical.concordance import concordance
from fahr_hf.clinical.cox import cox_regression
from fahr_hf.clinical.design import Categorical, Spline, Standardised
from fahr_hf.clinical.discrimination import auc_over_time, uno_concordance
from fahr_hf.clinical.optimism import optimism_corrected_concordance
from fahr_hf.clinical.prediction import linear_predictor, predict_survival

R = Path(__file__).parent / "r"
EXPECTED = json.loads((R / "models.json").read_text())
CLINICAL = ["age", Categorical("horTh", reference="no")]
MODELS = {
    "clinical": CLINICAL,
    "nodes": [*CLINICAL, "pnodes"],
    "size": [*CLINICAL, "tsize"],
    "both": [*CLINICAL, "pnodes", "tsize"],
}
TIMES = [365, 1000, 1800]
WEIGHTED = ["uno", "auc", "brier", "integrated_brier"]


def cohort(name):
    return pd.read_csv(R / "cohorts" / f"{name}.csv")


def compare(name):
    if name == "gbsg2":
        return compare_models(cohort(name), "duration", "event", MODELS, TIMES)
    models = {"age": ["age"], "both": ["age", "risk"]}
    return compare_models(cohort(name), "duration", "event", models, [2, 4], entry="entry")


def numbers(tree):
    if isinstance(tree, dict | list):
        return [number for branch in (tree.values() if isinstance(tree, dict) else tree) for number in numbers(branch)]
    return [] if isinstance(tree, str) else [tree]


class TestAgreementWithR:
    @pytest.mark.parametrize("name", ["gbsg2", "entry"])
    def test_c_and_likelihoods_are_those_of_concordance_and_coxph(self, name):
        found, expected = compare(name), pd.DataFrame(EXPECTED[name]["models"]).T
        assert found.models.index.tolist() == found.concordance.index.tolist() == expected.index.tolist()
        np.testing.assert_allclose(found.concordance[["c", "se"]], expected[["c", "se"]], rtol=1e-9)
        both = ["log_likelihood", "aic"]
        np.testing.assert_allclose(found.models[both], expected[both], rtol=1e-9)

    @pytest.mark.parametrize("name", ["gbsg2", "entry"])
    def test_every_pair_is_compared_as_rs_concordance_does(self, name):
        found, expected = compare(name).differences, pd.DataFrame(EXPECTED[name]["differences"])
        assert found[["model", "against"]].equals(expected[["model", "against"]])
        np.testing.assert_allclose(found["difference"], expected["difference"], rtol=1e-9)
        np.testing.assert_allclose(found[["se", "p"]], expected[["se", "p"]], rtol=1e-8)

    @pytest.mark.parametrize("name", ["gbsg2", "entry"])
    def test_nested_pairs_are_tested_as_anova_does(self, name):
        found, expected = compare(name).likelihood_ratio, pd.DataFrame(EXPECTED[name]["likelihood_ratio"])
        assert found[["reduced", "full", "df"]].equals(expected[["reduced", "full", "df"]])
        np.testing.assert_allclose(found[["chisq", "p"]], expected[["chisq", "p"]], rtol=1e-6)

    def test_brier_scores_are_those_of_survfits_predictions(self):
        found = compare("gbsg2").brier
        assert found["time"].tolist() == TIMES * len(MODELS)
        for model, expected in EXPECTED["gbsg2"]["brier"].items():
            np.testing.assert_allclose(found.loc[found["model"] == model, "brier"], expected, rtol=1e-8)

    @pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
    def test_the_script_still_gives_the_same_numbers(self, tmp_path):
        subprocess.run(["Rscript", R / "models.R", tmp_path / "again.json"], cwd=R.parents[1], check=True)
        again = json.loads((tmp_path / "again.json").read_text())
        np.testing.assert_allclose(numbers(again), numbers(EXPECTED), rtol=1e-6)


class TestTables:
    def test_the_weighted_statistics_are_those_of_their_own_functions(self):
        table, found = cohort("gbsg2"), compare("gbsg2")
        fit = cox_regression(table, "duration", "event", MODELS["both"])
        y, risk = (table.event, table.duration), fit.linear_predictor
        assert found.problems == {}
        assert found.uno.loc["both", "c"] == pytest.approx(uno_concordance(*y, risk, tau=1800), rel=1e-12)
        auc = auc_over_time(*y, risk, TIMES)["auc"]
        np.testing.assert_allclose(found.auc.loc[found.auc["model"] == "both", "auc"], auc, rtol=1e-12)
        fine = np.linspace(table.duration[table.event == 1].min(), 1800, 1000)
        integral = integrated_brier_score(*y, predict_survival(fit, table, fine), fine)
        assert found.integrated_brier.loc["both", "integrated_brier"] == pytest.approx(integral, rel=1e-3)

    def test_events_per_parameter_counts_coefficients_not_covariates(self):
        covariates = [Spline("age", knots=4), Categorical("tgrade", reference="I")]
        fit = cox_regression(cohort("gbsg2"), "duration", "event", covariates)
        assert events_per_parameter(fit) == 299 / 5
        assert compare("gbsg2").models["events_per_parameter"].tolist() == [299 / 2, 299 / 3, 299 / 3, 299 / 4]

    def test_people_who_lack_a_covariate_of_any_model_are_left_out_of_all_and_counted(self):
        table = cohort("gbsg2")
        gaps = table.assign(pnodes=table.pnodes.where(table.index >= 40), tsize=table.tsize.where(table.index != 50))
        found = compare_models(gaps, "duration", "event", MODELS, TIMES)
        complete = compare_models(gaps.dropna(), "duration", "event", MODELS, TIMES)
        assert (found.dropped, found.n, found.events) == (41, 645, complete.events)
        pd.testing.assert_frame_equal(found.concordance, complete.concordance)

    def test_a_model_that_is_part_of_no_other_has_no_likelihood_ratio_test(self):
        found = compare_models(cohort("gbsg2"), "duration", "event", {"a": ["age"], "b": ["pnodes"]}, TIMES)
        assert found.likelihood_ratio.empty
        assert found.differences["model"].tolist() == ["b"]

    def test_a_single_model_has_nothing_to_be_compared_with(self):
        found = compare_models(cohort("gbsg2"), "duration", "event", {"a": ["age"]}, TIMES)
        assert found.differences.empty
        assert len(found.auc) == len(TIMES)


class TestOtherPeople:
    def test_an_external_cohort_is_scored_with_the_coefficients_scales_and_hazards_of_development(self):
        table = cohort("gbsg2")
        here, there = table[table.index % 2 == 0], table[table.index % 2 == 1]
        fits = {"age": ["age"], "nodes": ["age", Standardised("pnodes")]}
        fits = {name: cox_regression(here, "duration", "event", covariates) for name, covariates in fits.items()}
        found = compare_fits(fits, there, "duration", "event", TIMES)
        assert (found.n, found.events) == (len(there), there.event.sum())
        risk = linear_predictor(fits["nodes"], there)
        assert found.uno.loc["nodes", "c"] == uno_concordance(there.event, there.duration, risk, tau=1800)
        # Coefficients of other people cannot beat those that fit best there, but for chance.
        best = compare_models(there, "duration", "event", {"nodes": ["age", "pnodes"]}, TIMES)
        assert found.concordance.loc["nodes", "c"] == pytest.approx(best.concordance.loc["nodes", "c"], abs=0.02)


class TestProblems:
    def test_with_delayed_entry_the_weighted_tables_are_absent_and_say_so(self):
        found = compare("entry")
        assert list(found.problems) == WEIGHTED
        for table in WEIGHTED:
            assert getattr(found, table) is None
            assert "Not defined with delayed entry" in found.problems[table]

    def test_without_scikit_survival_they_name_the_extra(self, monkeypatch):
        for module in ("nonparametric", "metrics", "util"):
            monkeypatch.setitem(sys.modules, f"sksurv.{module}", None)
        found = compare("gbsg2")
        assert list(found.problems) == WEIGHTED
        assert all("fahr-hf[survival]" in problem for problem in found.problems.values())
        assert found.concordance.loc["both", "c"] > 0.6

    def test_a_time_beyond_follow_up_costs_the_weighted_tables_only(self):
        found = compare_models(cohort("gbsg2"), "duration", "event", MODELS, [365, 9999])
        assert set(found.problems.values()) == {
            "times must lie between the first death (72) and the end of follow-up (2659, exclusive), got 9999."
        }
        assert len(found.differences) == 6

    @pytest.mark.parametrize(
        ("models", "message"),
        [
            ({}, "models is empty"),
            ({"clinical": ["weight"]}, "no column 'weight'"),
            ({"a": ["age"], "constant": ["age", "one"]}, "Model 'constant': one is 1 in all 686 rows"),
        ],
    )
    def test_a_message_names_the_model(self, models, message):
        with pytest.raises(ValueError, match=message):
            compare_models(cohort("gbsg2").assign(one=1), "duration", "event", models, TIMES)


class TestOptimism:
    def simulate(self, n, seed):
        random = np.random.default_rng(seed)
        table = pd.DataFrame(random.normal(size=(n, 10)), columns=[f"x{i}" for i in range(10)])
        death, leave = random.exponential(np.exp(-0.5 * table.x0)), random.exponential(1.5, n)
        return table.assign(duration=np.minimum(death, leave), event=death <= leave)

    def test_the_corrected_c_is_what_new_people_give(self):
        found, new = [], []
        population = self.simulate(5_000, 99)
        for seed in range(10):
            table = self.simulate(120, seed)
            names = list(table.columns[:10])
            found.append(optimism_corrected_concordance(table, "duration", "event", names, samples=20))
            risk = linear_predictor(cox_regression(table, "duration", "event", names), population)
            new.append(concordance(population.event, population.duration, risk)[0])
        apparent, corrected = np.mean([(one.c, one.corrected) for one in found], axis=0)
        assert apparent - np.mean(new) > 0.05
        assert abs(corrected - np.mean(new)) < 0.02
        assert {one.samples for one in found} == {20}
        assert all(one.corrected == one.c - one.optimism for one in found)

    def test_it_is_repeated_by_the_seed_alone(self):
        table = self.simulate(80, 0)
        first, second = (optimism_corrected_concordance(table, "duration", "event", ["x0"], samples=5) for _ in "ab")
        other = optimism_corrected_concordance(table, "duration", "event", ["x0"], samples=5, seed=1)
        assert first == second != other

    def test_samples_without_a_group_are_left_out_and_counted(self):
        table = self.simulate(80, 0)
        rare = int(np.flatnonzero(table.event)[0])
        table["site"] = np.where(table.index == rare, "rare", "common")
        covariates = ["x0", Categorical("site", reference="rare")]
        found = optimism_corrected_concordance(table, "duration", "event", covariates, samples=30)
        assert 0 < found.samples < 30
        alone = next(seed for seed in range(20) if rare not in np.random.default_rng([seed, 0]).integers(0, 80, 80))
        with pytest.raises(ValueError, match="fitted to none of 1 samples; merge groups"):
            optimism_corrected_concordance(table, "duration", "event", covariates, samples=1, seed=alone)
