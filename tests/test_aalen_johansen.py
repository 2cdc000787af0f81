"""Cumulative incidence against R's survfit of a multi-state outcome (tests/r/curves.R)."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")

from fahr_hf.clinical.aalen_johansen import aalen_johansen
from fahr_hf.clinical.kaplan_meier import kaplan_meier

FOLDER = Path(__file__).parent / "r"
REFERENCE = json.loads((FOLDER / "curves.json").read_text())["incidences"]


def cohort(name):
    if name in ("whas500", "ties"):
        table = pd.read_csv(FOLDER / "cohorts" / f"{name}.csv")
        # R counts rows from 1.
        return table.duration, table.event * (1 + np.arange(1, len(table) + 1) % {"whas500": 2, "ties": 3}[name]), None
    table = pd.read_csv(FOLDER / "cohorts" / "b_causes.csv")
    return table.duration, table.cause, table.entry if name == "delayed entry" else None


@pytest.mark.parametrize("name", REFERENCE)
def test_incidence_error_and_limits_are_those_of_r(name):
    ours, r = aalen_johansen(*cohort(name)), REFERENCE[name]
    assert len(ours.time) == r["row"][-1] + 1
    for column in ("time", "at_risk", "events", "censored", "survival", "incidence", "se", "low", "high"):
        expected = np.array(r[column], float)
        actual = getattr(ours, column)[r["row"]]
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12, equal_nan=True, err_msg=column)


def test_one_cause_alone_is_the_complement_of_kaplan_meier():
    table = pd.read_csv(FOLDER / "cohorts" / "whas500.csv")
    alone = aalen_johansen(table.duration, table.event)
    curve = kaplan_meier(table.duration, table.event)
    np.testing.assert_allclose(alone.survival, curve.survival, rtol=1e-12)
    left = curve.survival > 0
    np.testing.assert_allclose(alone.incidence[left, 0], 1 - curve.survival[left], rtol=1e-12)
    np.testing.assert_allclose(alone.se[left, 0], curve.se[left], rtol=1e-9)


def test_incidences_and_survival_add_up_to_one():
    curve = aalen_johansen(*cohort("ties"))
    np.testing.assert_allclose(curve.incidence.sum(axis=1) + curve.survival, 1, rtol=1e-12)


def test_when_everybody_at_risk_has_died_the_curve_stays():
    curve = aalen_johansen([1, 2, 5, 6], [1, 2, 1, 0], [0, 0, 3, 3])
    assert curve.incidence.tolist() == [[0.5, 0], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]
    np.testing.assert_allclose(curve.se[1:], curve.se[0, 0], rtol=1e-12)


def test_where_everybody_has_died_of_one_cause_the_incidence_is_one_without_error():
    entry = [56.0, 96.1, 55.9, 10.2, 31.6, 29.1, 63.7, 77.5]
    duration = [64.1, 142.4, 144.3, 28.1, 88.7, 63.4, 110.3, 106.1]
    curve = aalen_johansen(
        duration, [2, 2, 2, 2, 2, 2, 2, 1], entry
    )  # the one at risk first dies before all others enter
    assert curve.incidence[:, 1].tolist() == [1] * 8
    assert curve.se.tolist() == [[0, 0]] * 8


def test_incidence_at_given_times_names_cause_and_time():
    curve = aalen_johansen([1, 2, 3, 4], [1, 2, 1, 0])
    table = curve.at([0.5, 2, 5])
    assert table.loc[(1, 2), "incidence"] == 0.25
    assert table.loc[(2, 2), "se"] == curve.se[1, 1]
    assert table.loc[(1, 0.5), "incidence"] == 0
    assert table.loc[(2, 5)].isna().all()


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        ([0, 0, 0], "every row of cause is 0"),
        ([0, 1.5, 1], "cause must be 0, 1, 2 and so on, got 1.5 in row 1"),
        ([0, -1, 1], "got -1 in row 1"),
        ([0, 1], "cause has 2 rows, and duration has 3"),
    ],
)
def test_unusable_causes_are_refused(cause, message):
    with pytest.raises(ValueError, match=message):
        aalen_johansen([1, 2, 3], cause)
