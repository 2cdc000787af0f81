"""Harrell's C, its error and the difference of two, anchored in R and in a loop over all pairs."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fahr_hf.clinical.compare_concordance import compare_concordance
from fahr_hf.clinical.concordance import concordance, concordance_influence

R = Path(__file__).parent / "r"
ANCHORS = json.loads((R / "concordance.json").read_text())["results"]
GENERATOR = np.random.default_rng(0)


def cohort(name):
    table = pd.read_csv(R / "cohorts" / f"{name}.csv")
    return table, {"event": table["event"], "time": table["duration"], "entry": table.get("entry")}


def loop(event, time, risk, entry=None):
    """C and its influences by the definition, pair by pair."""
    n = len(time)
    entry = np.full(n, -1.0) if entry is None else entry
    score, pairs = np.zeros(n), np.zeros(n)
    for i in range(n):
        for j in range(n):
            outlived = time[i] < time[j] or (time[i] == time[j] and not event[j])
            if event[i] and outlived and entry[j] < time[i]:
                score[[i, j]] += (risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j])
                pairs[[i, j]] += 1
    c = score.sum() / pairs.sum()
    return c, (score - c * pairs) / (pairs.sum() / 2)


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: anchor["cohort"])
def test_c_and_its_error_are_those_of_r(anchor):
    table, outcomes = cohort(anchor["cohort"])
    c, se = concordance(risk=table[anchor["risk_a"]], **outcomes)
    assert c == pytest.approx(anchor["c"], abs=1e-12)
    assert se == pytest.approx(anchor["se"], rel=1e-9)
    _, influence = concordance_influence(risk=table[anchor["risk_a"]], **outcomes)
    np.testing.assert_allclose(influence[: len(anchor["influence"])], anchor["influence"], atol=1e-12)


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: anchor["cohort"])
def test_the_difference_of_two_scores_is_tested_as_in_r(anchor):
    table, outcomes = cohort(anchor["cohort"])
    result = compare_concordance(risk_a=table[anchor["risk_a"]], risk_b=table[anchor["risk_b"]], **outcomes)
    assert (result.c_a, result.c_b) == pytest.approx((anchor["c"], anchor["c_b"]), abs=1e-12)
    assert result.difference == pytest.approx(anchor["difference"], abs=1e-12)
    assert result.se == pytest.approx(anchor["difference_se"], rel=1e-9)
    assert result.p == pytest.approx(anchor["p"], rel=1e-9)
    assert result.high - result.low == pytest.approx(2 * 1.959964 * result.se)


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_r_still_gives_the_stored_anchors(tmp_path):
    subprocess.run(["Rscript", R / "concordance.R", tmp_path / "again.json"], check=True)
    again = json.loads((tmp_path / "again.json").read_text())["results"]
    for new, old in zip(again, ANCHORS, strict=True):
        for key, value in old.items():
            assert new[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-9, abs=1e-12))


@pytest.mark.parametrize("levels", [2, 5, 1000], ids=lambda levels: f"{levels} levels")
@pytest.mark.parametrize("delayed", [False, True], ids=["from the start", "delayed entry"])
def test_counting_by_sorting_equals_a_loop_over_pairs(levels, delayed):
    for n in (3, 17, 60):
        time = np.ceil(GENERATOR.random(n) * levels)
        time[:2] = 1, 2
        event = GENERATOR.random(n) < 0.6
        event[0] = True
        risk = GENERATOR.integers(0, levels, n)
        entry = np.floor(time * GENERATOR.random(n)) if delayed else None
        if delayed:
            entry[:2] = 0
        c, influence = concordance_influence(event, time, risk, entry)
        expected_c, expected = loop(event, time, risk, entry)
        assert c == pytest.approx(expected_c, abs=1e-14)
        np.testing.assert_allclose(influence, expected, atol=1e-14)


def test_a_person_who_entered_at_or_after_a_death_is_not_compared_with_it():
    event, time, risk = [1, 0, 0], [2.0, 5.0, 6.0], [0.5, 0.1, 0.9]
    assert concordance(event, time, risk)[0] == 0.5
    assert concordance(event, time, risk, entry=[0.0, 0.0, 1.9])[0] == 0.5
    assert concordance(event, time, risk, entry=[0.0, 0.0, 2.0])[0] == 1.0
    assert concordance(event, time, risk, entry=[0.0, 3.0, 0.0])[0] == 0.0


def test_a_death_comes_before_a_censoring_at_the_same_time_and_two_deaths_are_not_compared():
    assert concordance([1, 0], [1.0, 1.0], [0.9, 0.1])[0] == 1.0
    assert concordance([1, 1, 1], [1.0, 1.0, 2.0], [0.1, 0.9, 0.5])[0] == 0.5


def test_deaths_at_time_zero_count():
    assert concordance([1, 1, 0], [0.0, 1.0, 2.0], [0.9, 0.5, 0.1])[0] == 1.0


def test_equal_risks_give_one_half_without_error():
    table, outcomes = cohort("gbsg2")
    assert concordance(risk=np.full(len(table), 3.0), **outcomes) == (0.5, 0.0)


def test_one_death_is_enough():
    table, outcomes = cohort("one_event")
    c, se = concordance(risk=table["age"], **outcomes)
    expected, influence = loop(table["event"], table["duration"], table["age"])
    assert (c, se) == pytest.approx((expected, np.sqrt((influence**2).sum())), abs=1e-12)


def test_a_higher_risk_means_earlier_death_and_only_ranks_matter():
    table, outcomes = cohort("whas500")
    c, se = concordance(risk=table["age"], **outcomes)
    assert c > 0.7
    assert concordance(risk=-table["age"], **outcomes) == pytest.approx((1 - c, se), abs=1e-12)
    assert concordance(risk=np.exp(table["age"] / 10), **outcomes) == pytest.approx((c, se), abs=1e-12)


@pytest.mark.parametrize(
    ("event", "time", "message"),
    [([0, 0, 0], [1.0, 2.0, 3.0], "0 of 3 died"), ([0, 0, 1], [1.0, 2.0, 3.0], "1 of 3 died"), ([1], [1.0], "1 of 1")],
)
def test_people_among_whom_nobody_can_be_compared_are_refused(event, time, message):
    with pytest.raises(ValueError, match=message):
        concordance(event, time, np.arange(len(time)))


def test_a_risk_that_is_no_column_of_numbers_is_named():
    with pytest.raises(ValueError, match=r"risk must be finite.*nan in row 1"):
        concordance([1, 1], [1.0, 2.0], [0.5, np.nan])
    with pytest.raises(ValueError, match="risk has 3 rows"):
        concordance([1, 1], [1.0, 2.0], [0.5, 0.1, 0.2])


def test_a_score_compared_with_itself_makes_no_difference():
    table, outcomes = cohort("whas500")
    result = compare_concordance(risk_a=table["age"], risk_b=table["age"] * 2 + 1, **outcomes)
    assert (result.difference, result.se, result.p) == (0.0, 0.0, 1.0)


def test_a_difference_without_error_has_no_p_value():
    result = compare_concordance([1, 1, 1], [1.0, 2.0, 3.0], risk_a=[3, 2, 1], risk_b=[1, 2, 3])
    assert result.difference == 1.0
    assert np.isnan(result.p)


def test_the_error_is_the_spread_of_c_over_repeated_cohorts():
    def draw(seed):
        generator = np.random.default_rng(seed)
        risk = generator.normal(size=300)
        death, leave = generator.exponential(np.exp(-risk)), generator.exponential(1.5, 300)
        return concordance(death <= leave, np.minimum(death, leave), risk)

    c, se = np.transpose([draw(seed) for seed in range(400)])
    assert se.mean() == pytest.approx(c.std(), rel=0.1)


def test_a_hundred_thousand_people_take_seconds():
    n = 100_000
    risk, leave = GENERATOR.normal(size=n), GENERATOR.exponential(1.0, n)
    death = GENERATOR.exponential(np.exp(-risk))
    start = time.perf_counter()
    concordance(death <= leave, np.minimum(death, leave), risk, entry=np.minimum(death, leave) * GENERATOR.random(n))
    assert time.perf_counter() - start < 10
