"""At the edges of what can be computed: R's number where R has one (tests/r/edges.R), else a clear refusal."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fahr_hf.clinical import (
    aalen_johansen,
    brier_score,
    concordance,
    cox_regression,
    kaplan_meier,
    log_rank_test,
    proportional_hazards_test,
    uno_concordance,
)

FOLDER = Path(__file__).parent / "r"
ANCHORS = json.loads((FOLDER / "edges.json").read_text())["results"]
COHORTS = dict(list(pd.read_csv(FOLDER / "cohorts" / "edges.csv").groupby("case")))
every_case = pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: anchor["case"])
# R's survdiff has no delayed entry.
from_the_origin = pytest.mark.parametrize(
    "anchor", [a for a in ANCHORS if not COHORTS[a["case"]]["entry"].any()], ids=lambda anchor: anchor["case"]
)


def cohort(anchor: dict) -> tuple[pd.DataFrame, pd.Series | None]:
    data = COHORTS[anchor["case"]]
    return data, data["entry"] if data["entry"].any() else None


def assert_equal(actual, expected, tolerance=1e-9):
    np.testing.assert_allclose(np.asarray(actual, float), np.asarray(expected, float), rtol=tolerance, atol=1e-9)


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_r_still_gives_the_stored_anchors(tmp_path):
    subprocess.run(["Rscript", str(FOLDER / "edges.R"), str(tmp_path / "edges.json")], check=True)
    for new, stored in zip(json.loads((tmp_path / "edges.json").read_text())["results"], ANCHORS, strict=True):
        assert [name for name in new if new[name] is None] == [name for name in stored if stored[name] is None]
        assert_equal(new["curve"]["high"], stored["curve"]["high"])
        if stored["efron"]:
            assert_equal(new["efron"]["log_likelihood"], stored["efron"]["log_likelihood"])


@every_case
def test_curves_medians_and_means_are_those_of_r(anchor):
    data, entry = cohort(anchor)
    r = anchor["curve"]
    curve = kaplan_meier(data["duration"], data["event"], entry)
    loglog = kaplan_meier(data["duration"], data["event"], entry, conf_type="log-log")
    for name in ("time", "at_risk", "events", "survival", "se", "low", "high"):
        assert_equal(getattr(curve, name), r[name])
    assert_equal(loglog.low, r["low_loglog"])
    assert_equal(loglog.high, r["high_loglog"])
    assert_equal(curve.median(), r["median"])
    assert_equal(curve.restricted_mean()[:2], r["mean"])


@every_case
def test_incidences_are_those_of_r_or_there_was_no_death(anchor):
    data, entry = cohort(anchor)
    if anchor["incidence"] is None:
        with pytest.raises(ValueError, match="without a death there is no incidence"):
            aalen_johansen(data["duration"], data["cause"], entry)
        return
    curve = aalen_johansen(data["duration"], data["cause"], entry)
    assert_equal(curve.incidence, anchor["incidence"]["incidence"])
    assert_equal(curve.se, anchor["incidence"]["se"])


@every_case
def test_concordance_is_that_of_r_or_nobody_can_be_compared(anchor):
    data, entry = cohort(anchor)
    if anchor["concordance"] is None:
        with pytest.raises(ValueError, match="No pair of people is comparable"):
            concordance(data["event"], data["duration"], data["age"], entry)
        return
    assert_equal(
        concordance(data["event"], data["duration"], data["age"], entry),
        [anchor["concordance"]["c"], anchor["concordance"]["se"]],
    )


@pytest.mark.parametrize(("name", "rho"), [("log_rank", 0), ("wilcoxon", 1)])
@from_the_origin
def test_rank_tests_are_those_of_r_or_there_is_nothing_to_compare(anchor, name, rho):
    data, _ = cohort(anchor)
    columns = [data[column] for column in ("duration", "event", "arm")]
    if anchor[name] is None:
        with pytest.raises(ValueError, match=r"nothing to compare|cannot be compared"):
            log_rank_test(*columns, strata=data["site"], rho=rho)
        return
    test = log_rank_test(*columns, strata=data["site"], rho=rho)
    assert_equal(test.chi2, anchor[name]["chi2"])
    assert_equal(test.observed, anchor[name]["observed"])
    assert_equal(test.expected, anchor[name]["expected"])


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@every_case
def test_cox_regression_is_that_of_r_or_says_why_there_is_none(anchor, ties):
    data, entry = cohort(anchor)
    r, column = anchor[ties], None if entry is None else "entry"
    if r is None:
        reason = "event is 0 in all 40 rows|age is 60 in all 40 rows|age to .infinity"
        with pytest.raises(ValueError, match=reason):
            cox_regression(data, "duration", "event", ["age"], entry=column, ties=ties)
        return
    fit = cox_regression(data, "duration", "event", ["age"], entry=column, ties=ties)
    assert_equal(fit.summary.loc["age", ["coef", "se"]], [r["coef"], r["se"]], 1e-6)
    assert_equal(fit.log_likelihood, r["log_likelihood"])
    if r["zph"] is None:
        with pytest.raises(ValueError, match="too few to see 1 coefficients change with time"):
            proportional_hazards_test(fit, "rank")
    else:
        assert_equal(proportional_hazards_test(fit, "rank").loc["age", "chisq"], r["zph"], 1e-5)


def test_every_edge_is_an_edge_for_some_statistic():
    without = {name: {a["case"][:-2] for a in ANCHORS if a[name] is None} for name in ANCHORS[0]}
    assert without["efron"] == {"nobody dies", "constant", "separated"}
    assert without["concordance"] == {"nobody dies", "everybody dies at once"}
    assert without["curve"] == set()


@pytest.mark.parametrize("case", ["nobody dies 0", "everybody dies at once 0"])
def test_weighted_statistics_say_that_there_is_nothing_to_tell_apart(case):
    pytest.importorskip("sksurv")
    data = COHORTS[case]
    with pytest.raises(ValueError, match=r"needs a death before tau|people died|between the first death"):
        uno_concordance(data["event"], data["duration"], data["age"])
    with pytest.raises(ValueError, match=r"people died|between the first death .3. and the end of follow-up .3,"):
        brier_score(data["event"], data["duration"], np.full(len(data), 0.5), 3)


def test_times_that_differ_by_rounding_alone_are_tied():
    exact, rounded = [0.3, 0.3, 0.7, 0.7, 0.9], [0.1 + 0.2, 0.3, 0.7, 0.1 * 7, 0.9]
    assert exact != rounded
    event, risk = [1, 1, 1, 0, 1], [5, 3, 4, 1, 2]
    assert concordance(event, rounded, risk) == concordance(event, exact, risk)
    assert kaplan_meier(rounded, event).survival.tolist() == kaplan_meier(exact, event).survival.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_units_of_time_change_no_test_and_no_order(seed):
    generator = np.random.default_rng(seed)
    n = 30
    begin = generator.integers(0, 4, n).astype(float)
    duration = begin + generator.integers(1, 6, n)
    event, age, arm = generator.random(n) < 0.7, generator.integers(40, 60, n), np.arange(n) % 2
    for factor in (12, 365.25):
        times = {"duration": duration * factor, "entry": begin * factor}
        assert concordance(event, times["duration"], age, times["entry"]) == concordance(event, duration, age, begin)
        assert_equal(
            log_rank_test(times["duration"], event, arm, entry=times["entry"]).chi2,
            log_rank_test(duration, event, arm, entry=begin).chi2,
        )
        data = pd.DataFrame({"event": event.astype(int), "age": age, **times})
        fit = cox_regression(data, "duration", "event", ["age"], entry="entry")
        other = cox_regression(data.assign(duration=duration, entry=begin), "duration", "event", ["age"], entry="entry")
        assert_equal(fit.summary, other.summary)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_rows_changes_nothing(seed):
    generator = np.random.default_rng(seed)
    n = 25
    duration, event = generator.integers(0, 5, n), np.append(generator.integers(0, 2, n - 1), 1)
    age, cause = generator.integers(40, 60, n), event * generator.integers(1, 3, n)
    shuffled = generator.permutation(n)
    for statistic in (
        lambda rows: kaplan_meier(duration[rows], event[rows]).high,
        lambda rows: aalen_johansen(duration[rows], cause[rows]).se,
        lambda rows: concordance(event[rows], duration[rows], age[rows]),
    ):
        assert_equal(statistic(shuffled), statistic(np.arange(n)))
