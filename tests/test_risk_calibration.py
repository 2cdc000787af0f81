"""From score to meaning: against known truth, R, statsmodels and `fahr_hf.clinical`; and what is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")

from scipy.stats import norm
from statsmodels.duration.hazard_regression import PHReg

from fahr_hf import FahrFaceConfig
from fahr_hf.clinical import cox_regression, predict_survival
from fahr_hf.risk_calibration import LEAST_DEATHS, LEAST_PEOPLE, apply_risk_table, fit_risk_table

R = Path(__file__).parent / "r"
COEFFICIENT, HAZARD = 0.7, 0.04


def simulated(n: int = 3000, seed: int = 0, coefficient: float = COEFFICIENT) -> pd.DataFrame:
    """People with a constant hazard of `HAZARD` a year at score 0, who entered from 1995 to 2024."""
    generator = np.random.default_rng(seed)
    risk = generator.normal(size=n)
    death = generator.exponential(1 / (HAZARD * np.exp(coefficient * risk)))
    leave = generator.uniform(1, 20, n)
    people = pd.DataFrame({"risk": risk, "duration": np.minimum(death, leave), "event": death <= leave})
    return people.assign(entry_year=generator.integers(1995, 2025, n))


def fitted(people: pd.DataFrame, **options) -> dict:
    options = {"cohort": "simulated", "clock": "time since photo", "entry_year": people["entry_year"], **options}
    return fit_risk_table(people["risk"], people["duration"], people["event"], **options)


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    return simulated()


@pytest.fixture(scope="module")
def table(people) -> dict:
    return fitted(people)


# -------------------------------------------------------------------------------------------------- what is fitted


def test_the_truth_of_a_simulation_is_found(table):
    scores, years = np.linspace(-2, 2, 9), np.array([1, 3, 5, 10])
    standing = apply_risk_table(table, scores, years)

    assert table["coefficient"] == pytest.approx(COEFFICIENT, abs=4 * table["coefficient_se"])
    np.testing.assert_allclose(standing.percentile, 100 * norm.cdf(scores), atol=3)
    truth = np.exp(-HAZARD * years * np.exp(COEFFICIENT * scores)[:, None])
    np.testing.assert_allclose(standing.survival, truth, atol=0.03)
    assert table["calibrated"]


def test_coefficient_and_error_are_those_of_statsmodels(people, table):
    other = PHReg(people["duration"], people[["risk"]], status=people["event"].astype(int), ties="efron").fit()

    assert table["coefficient"] == pytest.approx(other.params[0], abs=1e-6)
    assert table["coefficient_se"] == pytest.approx(other.bse[0], abs=1e-6)
    assert (table["people"], table["events"]) == (len(people), people["event"].sum())


@pytest.mark.parametrize("name", ["whas500", "entry"])
def test_coefficient_and_error_are_those_of_r_also_with_delayed_entry(name):
    cohort = pd.read_csv(R / "cohorts" / f"{name}.csv")
    (expected,) = (
        each for each in json.loads((R / "prediction.json").read_text())["results"] if each["cohort"] == name
    )
    # What prediction.R fits a slope of.
    score = np.log(np.log1p(np.exp((cohort["age"] - 65) / 15)))
    options = {"cohort": name, "clock": "time since photo"}
    table = fit_risk_table(score, cohort["duration"], cohort["event"], cohort.get("entry"), **options)

    assert [table["coefficient"], table["coefficient_se"]] == pytest.approx(expected["slope"], rel=1e-6)


def test_at_the_times_of_the_table_survival_is_that_of_the_cox_regression(people, table):
    fit = cox_regression(people, "duration", "event", ["risk"])
    few = people[:50]

    found = apply_risk_table(table, few["risk"], table["times"])

    np.testing.assert_allclose(found.survival, predict_survival(fit, few, table["times"]), atol=1e-12)
    np.testing.assert_allclose(found.log_hazard_ratio, table["coefficient"] * (few["risk"] - people["risk"].mean()))


def test_a_percentile_is_the_share_of_the_cohort_with_no_higher_score(people, table):
    scores = people["risk"].to_numpy()

    share = 100 * (scores[:, None] >= scores).mean(axis=1)

    np.testing.assert_allclose(apply_risk_table(table, scores).percentile, share, atol=0.5)


def test_a_score_beyond_the_cohort_counts_as_the_nearest_in_it(people, table):
    ends = [people["risk"].min(), people["risk"].max()]

    beyond, inside = (apply_risk_table(table, scores, [5]) for scores in ([-1e6, 1e6], ends))

    assert beyond.percentile.tolist() == [0, 100]
    np.testing.assert_array_equal(beyond.survival, inside.survival)


def test_nothing_is_said_beyond_follow_up(people, table):
    survival = apply_risk_table(table, [0.0], [table["follow_up"], table["follow_up"] + 0.01, 50]).survival

    assert np.isnan(survival).tolist() == [[False, True, True]]
    assert people["duration"].max() - 0.1 <= table["follow_up"] <= people["duration"].max()


# --------------------------------------------------------------------------------------------------- what is stored


@pytest.mark.parametrize(("n", "unit"), [(3000, 1), (3000, 365.25), (200, 1), (200, 0.003)])
def test_times_are_few_even_and_round_whatever_the_unit_and_none_is_of_a_person(n, unit):
    people = simulated(n)
    table = fitted(people.assign(duration=people["duration"] * unit))
    times, steps = np.array(table["times"]), np.diff(table["times"])

    assert times[0] == 0
    assert 2 <= len(times) <= min(256, table["events"] / 5 + 1)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)
    assert f"{steps[0]:.6e}"[:8] in ("1.000000", "2.000000", "5.000000")
    assert len(table["baseline_hazard"]) == len(times)
    assert not set(times) & set(people["duration"] * unit)


def test_a_table_fits_into_a_checkpoints_config_and_comes_back_the_same(table, tmp_path):
    FahrFaceConfig.from_size("tiny", calibration={"survival": table}).save_pretrained(tmp_path)

    assert FahrFaceConfig.from_pretrained(tmp_path).calibration == {"survival": table}


# ------------------------------------------------------------------------------------ observed over expected deaths


def test_observed_over_expected_is_a_count_over_a_sum_of_hazards_in_the_latest_decade_with_enough_deaths(people):
    # Of those who entered last nobody has died yet.
    people = people.assign(event=people["event"] & (people["entry_year"] < 2020))
    decade = people[people["entry_year"].between(2010, 2019)]
    fit = cox_regression(people, "duration", "event", ["risk"])

    table = fitted(people)

    at_zero = predict_survival(fit, pd.DataFrame({"risk": [0.0]}), decade["duration"])[0]
    expected = -np.log(at_zero) @ np.exp(fit.linear_predictor[decade.index])
    # Between the times of the table its hazard is a straight line, and that of the regression a staircase.
    assert table["observed_expected"] == pytest.approx(decade["event"].sum() / expected, rel=0.01)
    assert table["observed_expected_of"].startswith(f"{len(decade)} people who entered from 2010 to 2019, ")


def test_where_all_entered_in_one_decade_as_many_are_expected_as_died(people):
    table = fitted(people, entry_year=np.full(len(people), 2015))

    assert table["observed_expected"] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("recently", "calibrated"), [(1.0, True), (2.0, False), (0.5, False)])
def test_a_table_is_not_calibrated_where_mortality_has_changed(people, recently, calibrated):
    generator = np.random.default_rng(1)
    hazard = HAZARD * np.exp(COEFFICIENT * people["risk"]) * np.where(people["entry_year"] < 2015, 1, recently)
    death = generator.exponential(1 / hazard)
    changed = people.assign(event=death <= 10, duration=np.minimum(death, 10))

    table = fitted(changed, entry_year=np.where(people["entry_year"] < 2015, 2005, 2015))

    assert table["calibrated"] is calibrated
    assert (table["observed_expected"] > 1) == (recently > 1) or recently == 1


def test_the_expected_deaths_of_people_with_delayed_entry_begin_at_their_entry():
    people = simulated()
    entry = np.random.default_rng(2).uniform(0, 5, len(people))
    seen = people["duration"] > entry
    table = fitted(people[seen], entry=entry[seen], entry_year=np.full(seen.sum(), 2015), clock="attained age")

    assert table["observed_expected"] == pytest.approx(1, abs=0.02)
    assert table["coefficient"] == pytest.approx(COEFFICIENT, abs=4 * table["coefficient_se"])


def test_without_years_or_deaths_enough_to_judge_by_nothing_is_called_calibrated(people):
    few = fitted(people[:200], entry_year=np.arange(200) % 100 + 1920)

    for table, reason in ((fitted(people, entry_year=None), "no years of entry"), (few, "no decade of entry has 50")):
        assert table["calibrated"] is False
        assert table["observed_expected"] is None
        assert reason in table["observed_expected_of"]


# -------------------------------------------------------------------------------------------------- what is refused


def test_a_score_that_does_not_rise_with_the_hazard_is_called_no_risk_and_not_applied():
    gbsg2 = pd.read_csv(R / "cohorts" / "gbsg2.csv")
    score = np.log(np.log1p(np.exp((gbsg2["age"] - 65) / 15)))
    years = np.full(len(gbsg2), 1985)
    table = fit_risk_table(
        score, gbsg2["duration"], gbsg2["event"], cohort="GBSG2", clock="time since photo", entry_year=years
    )

    # The slope of R for this cohort.
    assert table["coefficient"] == pytest.approx(-0.096028418823887, rel=1e-6)
    assert "'GBSG2' higher scores did not go with earlier death (log hazard ratio -0.096 " in table["warning"]
    assert table["calibrated"] is False
    assert table["observed_expected"] == pytest.approx(1, abs=0.01), "which says nothing about the direction"
    with pytest.raises(ValueError, match="higher scores did not go with earlier death"):
        apply_risk_table(table, score)


def test_a_score_that_does_has_no_warning(table):
    assert table["warning"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event": False}, "All 3000 people are censored"),
        ({"risk": 0.5}, "All 3000 scores are 0.5: the model tells nobody from anybody"),
        ({"risk": np.nan}, "risk must be finite"),
        ({"duration": -1.0}, "duration must not be negative"),
        ({"event": 2}, "event must be 0 or 1"),
    ],
)
def test_what_cannot_calibrate_says_so(people, change, message):
    with pytest.raises(ValueError, match=message):
        fitted(people.assign(**change))


def test_too_few_people_or_deaths_are_named_with_the_least():
    people = simulated(300)
    few_deaths = people.assign(event=people["event"] & (people["event"].cumsum() < LEAST_DEATHS))

    for few in (people[: LEAST_PEOPLE - 1], few_deaths):
        with pytest.raises(
            ValueError, match=f"{len(few)} people and .* deaths are too few .* at least 100 .* 20 deaths"
        ):
            fitted(few)
    assert fitted(people.assign(event=people["event"] & (people["event"].cumsum() <= LEAST_DEATHS)))["events"] == 20


def test_a_score_that_separates_the_dead_from_the_living_is_refused():
    people = simulated(200)
    order = np.argsort(np.argsort(-people["duration"]))

    with pytest.raises(ValueError, match=r"^Of \d+ people \d+ died, .*separat"):
        fitted(people.assign(risk=order, event=True))


def test_an_unknown_clock_is_refused(people):
    with pytest.raises(ValueError, match="clock is 'age'; expected 'time since photo' or 'attained age'"):
        fitted(people, clock="age")
