"""Brier scores, anchored in their definition and in what a forecast without skill must give."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fahr_hf.clinical.brier import brier_score, integrated_brier_score

pytest.importorskip("sksurv")

COHORTS = Path(__file__).parent / "r" / "cohorts"
EVENT, TIME = [1, 1, 0, 1, 0], [1.0, 2.0, 2.5, 4.0, 5.0]


def cohort(name):
    table = pd.read_csv(COHORTS / f"{name}.csv")
    return table["event"].to_numpy(), table["duration"].to_numpy(float), table["age"].to_numpy(float)


def uncensored(event, time, at):
    """G: the product over times s <= at of 1 - censored(s) / those at risk after the deaths at s."""
    g = 1.0
    for s in np.unique(time[(event == 0) & (time <= at)]):
        g *= 1 - ((time == s) & (event == 0)).sum() / ((time > s) | ((time == s) & (event == 0))).sum()
    return g


@pytest.mark.parametrize("name", ["gbsg2", "ties"])
def test_the_score_is_its_definition(name):
    event, time, age = cohort(name)
    horizons = np.quantile(time[event == 1], [0.2, 0.5, 0.8])
    survival = 1 / (1 + np.exp((age[:, None] - 70) / 10 + np.array([-1, 0, 1])))
    result = brier_score(event, time, survival, horizons)
    for row, horizon in enumerate(horizons):
        died, alive = (event == 1) & (time <= horizon), time > horizon
        weights = np.array([uncensored(event, time, min(at, horizon)) for at in time])
        errors = np.where(died, survival[:, row] ** 2, np.where(alive, (1 - survival[:, row]) ** 2, 0))
        assert result.loc[row, "brier"] == pytest.approx((errors / weights).mean(), abs=1e-12)
    np.testing.assert_allclose(result["scaled"], 1 - result["brier"] / result["reference"])


def test_without_censoring_it_is_the_mean_squared_error():
    result = brier_score([1, 1, 1, 1], [1.0, 2.0, 3.0, 4.0], [0.1, 0.2, 0.7, 1.0], [2.0])
    assert result["brier"].tolist() == pytest.approx([(0.1**2 + 0.2**2 + 0.3**2 + 0) / 4])
    # Half of them alive: everybody gets 0.5.
    assert result["reference"].tolist() == pytest.approx([0.25])


def test_giving_everybody_the_kaplan_meier_estimate_has_no_skill():
    result = brier_score(EVENT, TIME, np.full((5, 2), [0.8, 0.6]), [1.0, 2.0])
    assert result["scaled"].tolist() == pytest.approx([0, 0])


def test_foreknowledge_scores_zero():
    result = brier_score(EVENT, TIME, [0, 0, 1, 1, 1], [2.0])
    assert result.loc[0, ["brier", "scaled"]].tolist() == [0, 1]


def test_the_integral_is_the_mean_over_the_times_by_trapezia():
    survival = np.array([[0.9, 0.5, 0.4], [0.8, 0.7, 0.3], [0.9, 0.8, 0.7], [1.0, 0.9, 0.8], [0.9, 0.6, 0.2]])
    scores = brier_score(EVENT, TIME, survival, [1.0, 2.0, 4.0])["brier"]
    expected = ((scores[0] + scores[1]) / 2 * 1 + (scores[1] + scores[2]) / 2 * 2) / 3
    assert integrated_brier_score(EVENT, TIME, survival, [1.0, 2.0, 4.0]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("survival", "message"),
    [
        ([0.5, 0.5], r"\(5, 1\), got the shape \(2, 1\)"),
        ([0.5, 0.5, 0.5, 1.5, -0.5], "got -0.5 to 1.5; a risk score is not a probability"),
        ([0.5, np.nan, 0.5, 0.5, 0.5], "survival at 2 must be finite.*row 1"),
    ],
)
def test_what_is_no_probability_of_survival_is_refused(survival, message):
    with pytest.raises(ValueError, match=message):
        brier_score(EVENT, TIME, survival, [2.0])


def test_horizons_outside_the_follow_up_are_refused():
    with pytest.raises(ValueError, match=r"end of follow-up \(5, exclusive\), got 5, 6"):
        brier_score(EVENT, TIME, np.full((5, 2), 0.5), [5.0, 6.0])
    with pytest.raises(ValueError, match="at least two times, got 2 alone"):
        integrated_brier_score(EVENT, TIME, np.full((5, 1), 0.5), [2.0])
