"""Calibration, anchored in R and in predictions that are right or wrong by construction."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fahr_hf.clinical.calibration import (
    calibration_curve,
    calibration_index,
    calibration_slope,
    calibration_table,
    observed_expected,
)

R = Path(__file__).parent / "r"
ANCHORS = json.loads((R / "prediction.json").read_text())["results"]


def columns(anchor):
    table = pd.read_csv(R / "cohorts" / f"{anchor['cohort']}.csv")
    return {
        "event": table["event"],
        "time": table["duration"],
        "probability": 1 / (1 + np.exp(-(table["age"] - 65) / 15)),
        "horizon": anchor["horizon"],
        "entry": table.get("entry"),
    }


def simulated(hazard_of_x):
    """5000 people with standard normal x, known hazards, and censoring between 1 and 3 years."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=5000)
    death, leave = generator.exponential(1 / hazard_of_x(x)), generator.uniform(1, 3, 5000)
    return x, {"event": death <= leave, "time": np.minimum(death, leave), "horizon": 1.0}


def risk(hazard):
    return -np.expm1(-hazard)


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: anchor["cohort"])
def test_calibration_is_that_of_r(anchor):
    given = columns(anchor)
    assert observed_expected(**given) == pytest.approx(anchor["observed_expected"], rel=1e-9)
    assert calibration_slope(**given)[:2] == pytest.approx(anchor["slope"], rel=1e-6)
    np.testing.assert_allclose(calibration_curve(**given)["observed"][:10], anchor["curve"], rtol=1e-6)
    assert calibration_index(**given) == pytest.approx(anchor["index"], rel=1e-6)


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_r_still_gives_the_stored_anchors(tmp_path):
    subprocess.run(["Rscript", R / "prediction.R", tmp_path / "again.json"], check=True)
    again = json.loads((tmp_path / "again.json").read_text())["results"]
    for new, old in zip(again, ANCHORS, strict=True):
        for key, value in old.items():
            assert new[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-8))


def test_true_probabilities_are_calibrated():
    x, outcomes = simulated(lambda x: 0.5 * np.exp(0.8 * x))
    probability = risk(0.5 * np.exp(0.8 * x))
    ratio = observed_expected(probability=probability, **outcomes)
    assert ratio.low < 1 < ratio.high
    slope = calibration_slope(probability=probability, **outcomes)
    assert slope.low < 1 < slope.high
    assert calibration_index(probability=probability, **outcomes).ici < 0.015
    table = calibration_table(probability=probability, **outcomes)
    assert ((table["low"] < table["expected"]) & (table["expected"] < table["high"])).sum() >= 8


def test_predictions_twice_as_extreme_have_the_slope_one_half():
    x, outcomes = simulated(lambda x: 0.5 * np.exp(0.4 * x))
    slope = calibration_slope(probability=risk(0.5 * np.exp(0.8 * x)), **outcomes)
    assert slope.slope == pytest.approx(0.5, abs=2 * slope.se)


def test_the_curve_finds_the_bend_that_a_straight_line_misses():
    x, outcomes = simulated(lambda x: 0.5 * np.exp(0.5 * np.abs(x)))
    truth = risk(0.5 * np.exp(0.5 * np.abs(x)))
    curve = calibration_curve(probability=risk(0.5 * np.exp(0.3 * x)), **outcomes)
    assert np.abs(curve["observed"] - truth).mean() < 0.03
    assert curve["observed"].corr(pd.Series(truth)) > 0.9


def test_half_the_predicted_probability_doubles_the_ratio():
    anchor = columns(ANCHORS[0])
    whole, half = observed_expected(**anchor), observed_expected(**anchor | {"probability": anchor["probability"] / 2})
    assert half.ratio == pytest.approx(2 * whole.ratio)
    assert half.low == pytest.approx(2 * whole.low)


def test_the_groups_of_the_table_hold_everybody_and_every_death_by_the_horizon():
    given = columns(ANCHORS[0])
    table = calibration_table(**given, groups=4)
    assert table.index.tolist() == [1, 2, 3, 4]
    assert table["n"].sum() == len(given["event"])
    assert table["deaths"].sum() == (given["event"].astype(bool) & (given["time"] <= given["horizon"])).sum()
    assert table["expected"].is_monotonic_increasing


def test_a_group_whose_follow_up_ends_before_the_horizon_has_no_observed_share():
    table = calibration_table([0, 0, 1, 0], [1.0, 1.0, 1.0, 3.0], [0.1, 0.2, 0.8, 0.9], horizon=2.0, groups=2)
    assert np.isnan(table.loc[1, "observed"])
    assert table.loc[2, "observed"] == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probability": [0.1, 0.2, 0.3, 1.5]}, "got 1.5 in row 3; a risk score is not one"),
        ({"probability": [0.1, -2.0, 0.3, 0.4]}, "got -2 in row 1"),
        ({"horizon": 9.0}, "horizon is 9, and follow-up ends at 4"),
        ({"horizon": 0.5}, "Nobody of 4 died by the horizon, 0.5"),
        ({"event": [0, 0, 0, 0]}, "Nobody of 4 died"),
    ],
)
def test_what_cannot_be_judged_is_refused(change, message):
    given = {"event": [1, 1, 0, 0], "time": [1, 2, 3, 4], "probability": [0.4, 0.3, 0.2, 0.1], "horizon": 2.0}
    with pytest.raises(ValueError, match=message):
        observed_expected(**given | change)


def test_a_certain_death_has_no_slope_but_a_place_in_the_ratio():
    given = {"event": [1, 1, 0, 0], "time": [1, 2, 3, 4], "probability": [1.0, 0.3, 0.2, 0.1], "horizon": 2.0}
    assert observed_expected(**given).ratio == pytest.approx(2 / 1.6)
    with pytest.raises(ValueError, match=r"probability is 1 in row 0 \(1 rows are 0 or 1\)"):
        calibration_slope(**given)


def test_predictions_that_are_all_the_same_have_no_slope():
    with pytest.raises(ValueError, match="predicted"):
        calibration_slope([1, 1, 0, 0], [1, 2, 3, 4], [0.3, 0.3, 0.3, 0.3], 2.0)


def test_predictions_with_few_values_have_no_curve():
    x, outcomes = simulated(np.exp)
    with pytest.raises(ValueError, match=r"2 different values, too few for a curve.*calibration_table"):
        calibration_index(probability=np.where(x > 1.5, 0.8, 0.2), **outcomes)
