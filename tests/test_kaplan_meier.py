"""Survival curves against R's survfit (tests/r/curves.R), and what they say of themselves."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")

from fahr_hf.clinical.kaplan_meier import follow_up, kaplan_meier

FOLDER = Path(__file__).parent / "r"
REFERENCE = json.loads((FOLDER / "curves.json").read_text())
EDGES = pd.read_csv(FOLDER / "cohorts" / "b_edges.csv")
CLOSE = {"rtol": 1e-9, "atol": 1e-12, "equal_nan": True}


def cohort(name):
    table = EDGES[EDGES.case == name] if name in set(EDGES.case) else pd.read_csv(FOLDER / "cohorts" / f"{name}.csv")
    delayed = "entry" in table and (table.entry > 0).any()
    return table.duration, table.event, table.entry if delayed else None


def numbers(values):
    # R's NA and Inf are null and text in JSON.
    return np.array([np.nan if value in (None, "Inf") else value for value in np.atleast_1d(values)], float)


def leaves(tree, place=()):
    if not isinstance(tree, dict | list):
        yield place, tree
        return
    for key, branch in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from leaves(branch, (*place, key))


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_the_reference_is_what_r_says_today(tmp_path):
    out = tmp_path / "curves.json"
    subprocess.run(["Rscript", FOLDER / "curves.R", out], check=True, timeout=120)
    today, then = (dict(leaves(result)) for result in (json.loads(out.read_text()), REFERENCE))
    assert today.keys() == then.keys()
    for place, value in then.items():
        same = pytest.approx(value, rel=1e-10, abs=1e-13) if isinstance(value, float) else value
        assert today[place] == same, place


@pytest.mark.parametrize("name", REFERENCE["curves"])
def test_the_curve_and_both_kinds_of_limits_are_those_of_r(name):
    ours, r = kaplan_meier(*cohort(name)), REFERENCE["curves"][name]
    rows = np.atleast_1d(r["row"])
    for column in ("time", "at_risk", "events", "censored", "survival", "se", "low", "high"):
        np.testing.assert_allclose(getattr(ours, column)[rows], numbers(r[column]), **CLOSE, err_msg=column)
    assert len(ours.time) == rows[-1] + 1
    ours = kaplan_meier(*cohort(name), conf_type="log-log", level=0.9)
    np.testing.assert_allclose(ours.low[rows], numbers(r["low_loglog_90"]), **CLOSE)
    np.testing.assert_allclose(ours.high[rows], numbers(r["high_loglog_90"]), **CLOSE)
    np.testing.assert_allclose(ours.median(), numbers(r["median_loglog_90"]), **CLOSE)


@pytest.mark.parametrize("name", REFERENCE["curves"])
def test_median_follow_up_and_restricted_means_are_those_of_r(name):
    columns, r = cohort(name), REFERENCE["curves"][name]
    curve = kaplan_meier(*columns)
    np.testing.assert_allclose(curve.median(), numbers(r["median"]), **CLOSE)
    np.testing.assert_allclose(follow_up(*columns), numbers(r["follow_up"]), **CLOSE)
    for expected in r["restricted_mean"]:
        ours = curve.restricted_mean(expected["tau"])
        np.testing.assert_allclose([ours.mean, ours.se], [expected["mean"], expected["se"]], **CLOSE)
    assert curve.restricted_mean() == curve.restricted_mean(curve.time[-1])


@pytest.mark.parametrize("name", REFERENCE["curves"])
def test_values_at_given_times_are_those_of_r(name):
    columns, r = cohort(name), REFERENCE["curves"][name]["at"]
    ours = kaplan_meier(*columns).at(r["time"])
    if columns[2] is None:
        assert ours.at_risk.tolist() == r["at_risk"]
    for column in ("survival", "se", "low", "high"):
        np.testing.assert_allclose(ours[column], numbers(r[column]), **CLOSE, err_msg=column)


def test_people_at_risk_have_entered_before_the_time_and_not_left_before_it():
    curve = kaplan_meier([2, 4, 6], [1, 0, 1], [0, 2, 3])
    assert curve.at([0, 1, 2, 2.5, 3, 3.5, 4, 5, 6, 7]).at_risk.tolist() == [0, 1, 1, 1, 1, 2, 2, 1, 1, 0]


def test_beyond_follow_up_nobody_is_at_risk_and_survival_is_unknown():
    row = kaplan_meier([1, 2, 3], [1, 1, 0]).at(3.5).loc[3.5]
    assert row.at_risk == 0
    assert row.drop("at_risk").isna().all()


def test_a_mean_beyond_follow_up_is_refused_unless_everybody_has_died():
    with pytest.raises(ValueError, match=r"tau is 4, but follow-up ends at 3 with survival 0.333"):
        kaplan_meier([1, 2, 3], [1, 1, 0]).restricted_mean(4)
    assert kaplan_meier([1, 2, 3], [1, 1, 1]).restricted_mean(4).mean == pytest.approx(2)


@pytest.mark.parametrize("tau", [0, -1, np.nan, np.inf])
def test_a_mean_up_to_no_positive_time_is_refused(tau):
    with pytest.raises(ValueError, match="tau must be a positive time"):
        kaplan_meier([1, 2, 3], [1, 1, 1]).restricted_mean(tau)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"conf_type": "plain"}, '"log" or "log-log", got \'plain\''),
        ({"level": 95}, "level must lie between 0 and 1, got 95"),
        ({"level": 95, "conf_type": "log-log"}, "level must lie between 0 and 1, got 95"),
    ],
)
def test_unknown_intervals_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        kaplan_meier([1, 2], [1, 0], **arguments)


def test_unusable_columns_are_refused():
    with pytest.raises(ValueError, match="event must be 0 or 1; got 2 in row 1"):
        kaplan_meier([1, 2], [1, 2])
