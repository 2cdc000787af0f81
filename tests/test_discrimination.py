"""Uno's C and the AUC at a time, anchored in their definitions, in R, and in a cohort without censoring."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fahr_hf.clinical.concordance import concordance
from fahr_hf.clinical.discrimination import auc_over_time, uno_concordance

concordance_index_ipcw = pytest.importorskip("sksurv.metrics").concordance_index_ipcw
Surv = pytest.importorskip("sksurv.util").Surv

R = Path(__file__).parent / "r"
ANCHORS = [anchor for anchor in json.loads((R / "concordance.json").read_text())["results"] if "uno" in anchor]


def cohort(name):
    table = pd.read_csv(R / "cohorts" / f"{name}.csv")
    return table, table["event"].to_numpy(), table["duration"].to_numpy(float)


def uncensored(event, time, at, before=False):
    """G: the product over times s <= at, or s < at, of 1 - censored(s) / those at risk after the deaths at s."""
    g = 1.0
    for s in np.unique(time[event == 0]):
        if s < at or (s == at and not before):
            g *= 1 - ((time == s) & (event == 0)).sum() / ((time > s) | ((time == s) & (event == 0))).sum()
    return g


def uno_by_definition(event, time, risk, died_in_time, before):
    concordant = total = 0.0
    for i in np.flatnonzero((event == 1) & died_in_time):
        later = (time > time[i]) | ((time == time[i]) & (event == 0))
        weight = uncensored(event, time, time[i], before) ** -2
        concordant += weight * ((risk[i] > risk[later]).sum() + 0.5 * (risk[i] == risk[later]).sum())
        total += weight * later.sum()
    return concordant / total


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: anchor["cohort"])
def test_unos_c_is_its_definition_and_r_differs_by_its_left_limits_alone(anchor):
    table, event, time = cohort(anchor["cohort"])
    risk, tau = table[anchor["risk_a"]].to_numpy(), anchor["tau"]
    assert uno_concordance(event, time, risk, tau) == pytest.approx(
        uno_by_definition(event, time, risk, time < tau, before=False), abs=1e-12
    )
    assert uno_by_definition(event, time, risk, time <= tau, before=True) == pytest.approx(anchor["uno"], abs=1e-12)
    assert uno_concordance(event, time, risk, np.nextafter(tau, np.inf)) == pytest.approx(anchor["uno"], abs=2e-3)


@pytest.mark.parametrize("name", ["gbsg2", "whas500", "flchain", "ties"])
def test_unos_c_is_that_of_scikit_survival(name):
    table, event, time = cohort(name)
    y = Surv.from_arrays(event.astype(bool), time)
    tau = np.quantile(time, 0.7)
    expected = concordance_index_ipcw(y, y, table["age"].to_numpy(), tau)[0]
    assert uno_concordance(event, time, table["age"], tau) == pytest.approx(expected, abs=1e-12)


def test_without_censoring_unos_c_is_harrells():
    table, _, time = cohort("whas500")
    everybody = np.ones(len(time))
    assert uno_concordance(everybody, time, table["age"]) == pytest.approx(
        concordance(everybody, time, table["age"])[0], abs=1e-12
    )


def test_tau_is_strict():
    event, time, risk = [1, 1, 0], [1.0, 2.0, 3.0], [0.2, 0.1, 0.9]
    assert uno_concordance(event, time, risk, tau=2.0) == 0.5
    assert uno_concordance(event, time, risk, tau=2.1) == pytest.approx(1 / 3)


def test_small_differences_between_risks_are_differences():
    event, time = [1, 1, 1], [1.0, 2.0, 3.0]
    assert uno_concordance(event, time, [3e-12, 2e-12, 1e-12]) == 1.0
    assert auc_over_time(event, time, [3e-12, 2e-12, 1e-12], [1.5])["auc"].tolist() == [1.0]


@pytest.mark.parametrize("name", ["gbsg2", "ties"])
def test_the_auc_is_its_definition(name):
    table, event, time = cohort(name)
    risk = table["age"].round().to_numpy()
    horizons = np.quantile(time[event == 1], [0.2, 0.5, 0.8])
    result = auc_over_time(event, time, risk, horizons)
    for row, horizon in enumerate(horizons):
        case, control = (event == 1) & (time <= horizon), time > horizon
        weight = np.array([1 / uncensored(event, time, at) for at in time[case]])
        above = (risk[case][:, None] > risk[control]) + 0.5 * (risk[case][:, None] == risk[control])
        expected = (weight @ above).sum() / (weight.sum() * control.sum())
        assert result.loc[row, "auc"] == pytest.approx(expected, abs=1e-12)
        assert result.loc[row, ["time", "cases", "controls"]].tolist() == [horizon, case.sum(), control.sum()]


def test_each_horizon_may_have_a_score_of_its_own():
    table, event, time = cohort("whas500")
    both = auc_over_time(event, time, table[["age", "hr"]], [365, 730])["auc"]
    assert both[0] == auc_over_time(event, time, table["age"], [365])["auc"][0]
    assert both[1] == auc_over_time(event, time, table["hr"], [730])["auc"][0]


def test_a_last_death_at_which_everybody_else_is_censored_concerns_no_earlier_horizon():
    assert auc_over_time([1, 0, 1, 0], [1.0, 2.0, 3.0, 3.0], [4, 3, 2, 1], [1.0])["auc"].tolist() == [1.0]
    with pytest.raises(ValueError, match=r"Everybody left is censored at the last death \(3\).*set tau"):
        uno_concordance([1, 0, 1, 0], [1.0, 2.0, 3.0, 3.0], [4, 3, 2, 1])
    assert uno_concordance([1, 0, 1, 0], [1.0, 2.0, 3.0, 3.0], [4, 3, 2, 1], tau=3.0) == 1.0


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([2.0, 1.0], "increase strictly, got 2, 1"),
        ([0.5], r"first death \(1\).*got 0.5"),
        ([4.0], r"end of follow-up \(4, exclusive\), got 4"),
    ],
)
def test_horizons_at_which_nothing_can_be_compared_are_refused(times, message):
    with pytest.raises(ValueError, match=message):
        auc_over_time([1, 1, 0, 0], [1.0, 2.0, 3.0, 4.0], [4, 3, 2, 1], times)


def test_cohorts_without_a_death_that_counts_are_refused():
    with pytest.raises(ValueError, match="None of 2 people died"):
        auc_over_time([0, 0], [1.0, 2.0], [1, 2], [1.5])
    with pytest.raises(ValueError, match="needs a death before tau = inf"):
        uno_concordance([0, 0], [1.0, 2.0], [1, 2])
    with pytest.raises(ValueError, match="before tau = 1 that somebody outlived"):
        uno_concordance([1, 0], [1.0, 2.0], [1, 2], tau=1.0)
    with pytest.raises(ValueError, match="that somebody outlived; there is none"):
        uno_concordance([1, 1], [1.0, 1.0], [1, 2])


def test_scores_that_do_not_fit_the_horizons_are_refused():
    with pytest.raises(ValueError, match="risk has 2 columns, and there are 1 times"):
        auc_over_time([1, 0], [1.0, 2.0], [[1, 2], [3, 4]], [1.5])


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "sksurv"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "sksurv", None)
    with pytest.raises(ImportError, match=r"pip install 'fahr-hf\[survival\]'"):
        uno_concordance([1, 0], [1.0, 2.0], [1, 2])
