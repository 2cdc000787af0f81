"""Net benefit, anchored in R and in counts made by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fahr_hf.clinical.net_benefit import net_benefit

R = Path(__file__).parent / "r"
ANCHORS = json.loads((R / "prediction.json").read_text())["results"]
EVENT, TIME, PROBABILITY = [1, 1, 1, 0, 0], [1.0, 2.0, 3.0, 4.0, 5.0], [0.9, 0.6, 0.2, 0.6, 0.1]


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: anchor["cohort"])
def test_net_benefit_is_that_of_kaplan_meier_in_r(anchor):
    table = pd.read_csv(R / "cohorts" / f"{anchor['cohort']}.csv")
    probability = 1 / (1 + np.exp(-(table["age"] - 65) / 15))
    result = net_benefit(
        table["event"], table["duration"], probability, anchor["horizon"], anchor["thresholds"], table.get("entry")
    )
    np.testing.assert_allclose(result["net_benefit"], anchor["net_benefit"], rtol=1e-9)
    np.testing.assert_allclose(result["treat_all"], anchor["treat_all"], rtol=1e-9)


def test_without_censoring_it_counts_true_less_weighted_false_positives():
    # Three are treated, of whom two die by 3.5; a false positive at threshold 0.6 weighs 0.6 / 0.4.
    result = net_benefit(EVENT, TIME, PROBABILITY, horizon=3.5, thresholds=[0.6])
    assert result.loc[0, "treated"] == 0.6
    assert result.loc[0, "net_benefit"] == pytest.approx(2 / 5 - 1 / 5 * 1.5)
    assert result.loc[0, "treat_all"] == pytest.approx(3 / 5 - 2 / 5 * 1.5)
    assert result.loc[0, "treat_none"] == 0


def test_a_probability_at_the_threshold_is_treated():
    result = net_benefit(EVENT, TIME, PROBABILITY, horizon=3.5, thresholds=[0.6, 0.6000001])
    assert result["treated"].tolist() == [0.6, 0.2]


def test_below_every_prediction_all_are_treated_and_above_nobody():
    result = net_benefit(EVENT, TIME, PROBABILITY, horizon=3.5, thresholds=[0.05, 0.95])
    assert result.loc[0, "net_benefit"] == result.loc[0, "treat_all"]
    assert result.loc[1, ["treated", "net_benefit"]].tolist() == [0, 0]


def test_where_the_follow_up_of_the_treated_ends_too_early_there_is_no_number():
    result = net_benefit([0, 1, 0], [1.0, 2.0, 3.0], [0.9, 0.2, 0.1], horizon=2.0, thresholds=[0.5, 0.05])
    assert result["net_benefit"].isna().tolist() == [True, False]


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_threshold_that_is_no_choice_is_refused(threshold):
    with pytest.raises(ValueError, match="thresholds must lie above 0 and below 1"):
        net_benefit(EVENT, TIME, PROBABILITY, horizon=3.5, thresholds=[threshold])
