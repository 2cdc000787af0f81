"""A Cox model as a file: the same numbers for an external cohort, and nobody's times in it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")

from fahr_hf.clinical.cox import cox_regression
from fahr_hf.clinical.cox_model import load_cox, save_cox
from fahr_hf.clinical.design import Categorical, Interaction, Scaled, Spline, Standardised
from fahr_hf.clinical.prediction import linear_predictor, predict_survival

COHORTS = Path(__file__).parent / "r" / "cohorts"
SEX, STAGE = Categorical("sex", reference="female"), Categorical("stage", reference="I")


def cohort(name):
    return pd.read_csv(COHORTS / f"{name}.csv")


def simulated(seed, n):
    """Follow-up in years that nobody rounded; the last one is neither round nor a death."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({"age": generator.normal(60, 10, n), "risk": generator.normal(size=n)})
    table["faceage"] = table.age + generator.normal(0, 5, n)
    table["sex"] = generator.choice(["female", "male"], n)
    death = generator.exponential(20 * np.exp(-0.04 * (table.faceage - 60) - 0.5 * table.risk))
    leave = generator.uniform(1, 12.34567, n)
    return table.assign(duration=np.minimum(death, leave), event=(death <= leave).astype(int))


@pytest.fixture(scope="module")
def development():
    """FaceAge, FaceSurvival, chronological age and a covariate in one regression."""
    covariates = [Spline("faceage"), Standardised("risk"), Scaled("age", per=10), SEX, Interaction("risk", SEX)]
    return cox_regression(simulated(0, 800), "duration", "event", covariates)


@pytest.fixture
def path(development, tmp_path):
    save_cox(development, tmp_path / "cox.json", "simulated clinic")
    return tmp_path / "cox.json"


def test_an_external_cohort_gets_the_linear_predictor_of_the_fit_in_memory(development, path):
    external = simulated(1, 300)
    pd.testing.assert_series_equal(load_cox(path).linear_predictor(external), linear_predictor(development, external))


def test_at_round_times_survival_is_that_of_the_fit_in_memory(development, path):
    external = simulated(1, 300)
    times = [0, 0.5, 1, 2.5, 5, 10, 12.3]
    found, expected = load_cox(path).predict_survival(external, times), predict_survival(development, external, times)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_between_the_times_of_the_model_the_error_is_at_most_the_step_between_them(development, path):
    external, model = simulated(1, 300), load_cox(path)
    wanted = np.random.default_rng(2).uniform(0, 12.3, 400)
    error = np.abs(model.predict_survival(external, wanted) - predict_survival(development, external, wanted))
    cell = np.searchsorted(model.times, wanted)
    before, after = (model.predict_survival(external, model.times[edge]) for edge in (cell - 1, cell))
    assert (error <= before - after + 1e-12).all()
    assert 0 < error.max() < 0.02


def test_beyond_the_follow_up_nothing_is_known(path):
    model = load_cox(path)
    assert 12.25 <= model.times[-1] <= 12.34567
    assert np.isnan(model.predict_survival(simulated(1, 2), [12, 12.4, 30])).tolist() == 2 * [[False, True, True]]


def test_the_file_holds_at_most_256_times_and_nobody_s(development, path):
    held = set(numbers(json.loads(path.read_text())))
    assert len(load_cox(path).times) <= 256
    assert not held & set(development.outcomes.duration)
    assert not held & set(simulated(0, 800).risk)


def test_the_model_names_its_cohort_and_carries_its_covariance(development, path):
    model = load_cox(path)
    assert (model.cohort, model.n, model.events, model.ties) == ("simulated clinic", 800, development.events, "efron")
    pd.testing.assert_series_equal(model.coefficients, development.summary["coef"], check_names=False)
    pd.testing.assert_frame_equal(model.covariance, development.covariance)
    assert model.terms == development.terms


@pytest.mark.parametrize("last", [1e-3, 0.7, 1, 8, 25.5, 255, 256, 2659, 1e6])
def test_times_are_round_whatever_the_unit(last, tmp_path):
    table = cohort("whas500")
    table["duration"] *= last / table.duration.max()
    save_cox(cox_regression(table, "duration", "event", ["age"]), tmp_path / "cox.json", "whas500")
    times = load_cox(tmp_path / "cox.json").times
    assert 100 <= len(times) <= 256
    digits = [f"{time:.14e}".split("e")[0].replace(".", "").rstrip("0") for time in times]
    assert all(len(some) <= 3 for some in digits)
    assert times[-1] <= last < times[-1] + 2 * times[1]


def test_strata_have_hazards_and_ends_of_their_own(tmp_path):
    table = cohort("ties")
    table = table[(table.stage != "III") | (table.duration < 5)]
    result = cox_regression(table, "duration", "event", ["faceage", SEX], strata="stage")
    save_cox(result, tmp_path / "cox.json", "ties")
    model = load_cox(tmp_path / "cox.json")
    times = [0, 1, 2, 4, 6]
    np.testing.assert_allclose(
        model.predict_survival(table, times), predict_survival(result, table, times), rtol=0, atol=1e-12
    )
    with pytest.raises(ValueError, match="stage is 'IV' in row 0"):
        model.predict_survival(table.assign(stage="IV"), times)


def test_groups_that_are_numbers_stay_numbers(tmp_path):
    table = cohort("whas500")
    result = cox_regression(table, "duration", "event", ["age", Categorical("gender", reference=np.int64(0))])
    save_cox(result, tmp_path / "cox.json", "whas500")
    found = load_cox(tmp_path / "cox.json").linear_predictor(table.astype({"gender": float}))
    np.testing.assert_allclose(found, result.linear_predictor, rtol=1e-12)


class TestBadInput:
    def test_missing_columns_are_named(self, path):
        with pytest.raises(ValueError, match="data has no column 'faceage'"):
            load_cox(path).linear_predictor(simulated(1, 5).drop(columns="faceage"))

    def test_unknown_groups_are_named_with_their_row(self, path):
        table = simulated(1, 5)
        table.loc[3, "sex"] = "unknown"
        with pytest.raises(ValueError, match=r"sex is 'unknown' in row 3.*it saw 'female', 'male'"):
            load_cox(path).predict_survival(table, [1])

    def test_intervals_cannot_be_saved(self, tmp_path):
        table = cohort("ties")
        table["decade"] = pd.cut(table.age, [0, 50, 60, 70, 100])
        group = Categorical("decade", reference=table.decade.cat.categories[0])
        with pytest.raises(ValueError, match=r"Interval\(50, 60, .*'\) is a Interval, which a file cannot hold"):
            save_cox(cox_regression(table, "duration", "event", [group]), tmp_path / "cox.json", "ties")
        assert not (tmp_path / "cox.json").exists()

    @pytest.mark.parametrize("content", ["", "[]", '{"format": "fahr-hf Cox model 2"}', "age,duration"])
    def test_another_file_is_refused_by_name(self, content, tmp_path):
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(ValueError, match=r"other\.json is no 'fahr-hf Cox model 1' file"):
            load_cox(tmp_path / "other.json")


def numbers(tree):
    if isinstance(tree, dict | list):
        return [number for branch in (tree.values() if isinstance(tree, dict) else tree) for number in numbers(branch)]
    return [tree] if isinstance(tree, float) else []
