"""Baseline hazards and probabilities of survival: R's `basehaz`, `survfit` and `predict`, and clear words."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")

from fahr_hf.clinical.cox import cox_regression
from fahr_hf.clinical.design import Categorical, Spline, Standardised
from fahr_hf.clinical.kaplan_meier import kaplan_meier
from fahr_hf.clinical.prediction import baseline_hazard, linear_predictor, predict_survival

R = Path(__file__).parent / "r"
EXPECTED = json.loads((R / "survival.json").read_text())
STAGE, SEX = Categorical("stage", reference="I"), Categorical("sex", reference="female")
MODELS = {
    "whas500": (["age", "gender", "hr"], {}),
    "gbsg2": ([Categorical("horTh", reference="no"), "pnodes", Categorical("tgrade", reference="I")], {}),
    "ties": (["age", "faceage", STAGE], {}),
    "ties, strata": (["faceage", SEX], {"strata": "stage"}),
    "entry": (["age", "risk", SEX], {"entry": "entry"}),
    "entry, strata": (["age", "risk"], {"entry": "entry", "strata": "arm"}),
}


def cohort(name):
    return pd.read_csv(R / "cohorts" / f"{name.split(',')[0]}.csv")


def fit(name, ties="efron"):
    covariates, options = MODELS[name]
    return cox_regression(cohort(name), "duration", "event", covariates, ties=ties, **options)


def close(found, expected, tolerance):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("model", EXPECTED)
class TestAgreementWithR:
    def test_the_baseline_hazard_is_that_of_basehaz(self, model):
        table, expected = baseline_hazard(fit(*model.rsplit(" ", 1))), EXPECTED[model]
        close(table["time"], expected["time"], 1e-12)
        np.testing.assert_allclose(table["hazard"], expected["hazard"], rtol=1e-7, atol=1e-9)

    def test_the_linear_predictor_is_that_of_predict_with_reference_zero(self, model):
        name, ties = model.rsplit(" ", 1)
        close(linear_predictor(fit(name, ties), cohort(name).head(8)), EXPECTED[model]["log_ratio"], 1e-8)

    def test_survival_is_that_of_predict_and_of_survfit(self, model):
        (name, ties), expected = model.rsplit(" ", 1), EXPECTED[model]
        found = predict_survival(fit(name, ties), cohort(name).head(8), expected["times"])
        np.testing.assert_allclose(found, expected["survival"], rtol=0, atol=1e-8)
        if "curves" in expected:  # survfit gives no such table with strata
            np.testing.assert_allclose(found, expected["curves"], rtol=0, atol=1e-8)


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_the_script_still_gives_the_same_numbers(tmp_path):
    subprocess.run(["Rscript", R / "survival.R", tmp_path / "again.json"], cwd=R.parents[1], check=True)
    again = json.loads((tmp_path / "again.json").read_text())
    assert again.keys() == EXPECTED.keys()
    for model, expected in EXPECTED.items():
        for key in ("time", "hazard", "survival", "log_ratio"):
            np.testing.assert_allclose(again[model][key], expected[key], rtol=1e-7)


class TestLinearPredictor:
    def test_an_external_cohort_is_scored_with_the_scales_groups_and_knots_of_development(self):
        table = cohort("ties")
        covariates = [Standardised("age"), STAGE, Spline("faceage")]
        result = cox_regression(table, "duration", "event", covariates)
        close(linear_predictor(result, table), result.linear_predictor, 1e-12)
        older = table[table.faceage > 60]
        pd.testing.assert_series_equal(linear_predictor(result, older), result.linear_predictor[older.index])

    def test_an_unknown_group_is_named_with_its_row(self):
        table = cohort("ties")
        table.loc[5:6, "stage"] = "IV"
        with pytest.raises(
            ValueError, match=r"stage is 'IV' in row 5.*\(2 such rows of 400\); it saw 'I', 'II', 'III'"
        ):
            linear_predictor(fit("ties"), table)

    def test_missing_columns_and_values_are_named(self):
        with pytest.raises(ValueError, match="data has no column 'faceage'"):
            linear_predictor(fit("ties"), cohort("ties").drop(columns="faceage"))
        table = cohort("ties")
        table.loc[7, "age"] = np.nan
        with pytest.raises(ValueError, match=r"1 of 400 rows have missing values \(age 1\), the first in row 7"):
            linear_predictor(fit("ties"), table)


class TestSurvival:
    def test_with_a_covariate_that_says_nothing_the_mean_curve_is_near_kaplan_meier(self):
        table = cohort("whas500")
        table["noise"] = np.random.default_rng(0).permutation(np.linspace(-1, 1, len(table)))
        result = cox_regression(table, "duration", "event", ["noise"])
        curve = kaplan_meier(table.duration, table.event).at([100, 1000, 2000])["survival"]
        mean = predict_survival(result, table, [100, 1000, 2000]).mean(axis=0)
        np.testing.assert_allclose(mean, curve, rtol=0, atol=2e-3)

    def test_beyond_the_follow_up_nothing_is_known(self):
        people = cohort("whas500").head(3)
        last = cohort("whas500").duration.max()
        survival = predict_survival(fit("whas500"), people, [0, last, last + 1])
        assert np.isnan(survival).tolist() == 3 * [[False, False, True]]

    def test_the_follow_up_is_that_of_the_stratum(self):
        table = cohort("ties")
        table = table[(table.stage != "III") | (table.duration < 5)]
        covariates, options = MODELS["ties, strata"]
        result = cox_regression(table, "duration", "event", covariates, **options)
        people = pd.DataFrame({"faceage": 60, "sex": "male", "stage": ["I", "II", "III"]})
        assert np.isnan(predict_survival(result, people, [4, 6])[:, 1]).tolist() == [False, False, True]
        assert baseline_hazard(result).groupby("stratum")["time"].max().to_dict() == {"I": 8, "II": 8, "III": 4}

    def test_one_time_gives_one_column(self):
        assert predict_survival(fit("ties"), cohort("ties"), 3).shape == (400, 1)

    def test_all_people_of_a_stratum_without_deaths_live_on(self):
        table = cohort("ties")
        table.loc[table.stage == "III", "event"] = 0
        covariates, options = MODELS["ties, strata"]
        result = cox_regression(table, "duration", "event", covariates, **options)
        assert (predict_survival(result, table[table.stage == "III"], [1, 2]) == 1).all()

    def test_covariates_far_from_zero_cost_no_digits(self):
        table = cohort("whas500")
        far = cox_regression(table.assign(age=table.age + 1e4), "duration", "event", ["age"])
        near = cox_regression(table, "duration", "event", ["age"])
        expected = predict_survival(near, table, [100, 1000])
        np.testing.assert_allclose(
            predict_survival(far, table.assign(age=table.age + 1e4), [100, 1000]), expected, rtol=1e-9
        )

    def test_negative_times_and_unknown_strata_are_refused(self):
        with pytest.raises(ValueError, match="times must not be negative, got -1"):
            predict_survival(fit("ties"), cohort("ties"), [1, -1])
        with pytest.raises(ValueError, match="stage is 'IV' in row 0"):
            predict_survival(fit("ties, strata"), cohort("ties").assign(stage="IV"), [1])
        with pytest.raises(ValueError, match="no column 'stage'"):
            predict_survival(fit("ties, strata"), cohort("ties").drop(columns="stage"), [1])
