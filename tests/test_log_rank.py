"""Log-rank tests against R's survdiff and exact score tests (tests/r/curves.R)."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")
from scipy.special import chdtrc

from fahr_hf.clinical.log_rank import log_rank_test

FOLDER = Path(__file__).parent / "r"
REFERENCE = json.loads((FOLDER / "curves.json").read_text())


def table_of(case):
    table = pd.read_csv(FOLDER / "cohorts" / f"{case['cohort']}.csv")
    return table, None if "strata" not in case else table[case["strata"]]


def named(case):
    return "-".join(str(value) for key, value in case.items() if key in ("cohort", "group", "strata", "rho", "trend"))


@pytest.mark.parametrize("case", REFERENCE["tests"], ids=named)
def test_groups_strata_and_weights_give_what_survdiff_gives(case):
    table, strata = table_of(case)
    ours = log_rank_test(table.duration, table.event, table[case["group"]], strata=strata, rho=case["rho"])
    for name in ("observed", "expected", "covariance"):
        np.testing.assert_allclose(getattr(ours, name), case[name], rtol=1e-9, atol=1e-10, err_msg=name)
    assert ours.chi2 == pytest.approx(case["chi2"], rel=1e-9)
    assert ours.df == len(case["observed"]) - 1
    assert ours.p == chdtrc(ours.df, ours.chi2)
    assert ours.n.tolist() == table[case["group"]].value_counts().sort_index().tolist()


@pytest.mark.parametrize("case", REFERENCE["scores"], ids=named)
def test_delayed_entry_and_trend_give_what_the_exact_score_test_of_cox_gives(case):
    table, strata = table_of(case)
    table = table.head(case["n"])
    strata = None if strata is None else strata.head(case["n"])
    entry = table.get("entry")
    ours = log_rank_test(
        table.duration, table.event, table[case["group"]], entry=entry, strata=strata, trend=case["trend"]
    )
    assert ours.chi2 == pytest.approx(case["chi2"], rel=1e-9)
    assert ours.df == (1 if case["trend"] else table[case["group"]].nunique() - 1)


def test_entry_at_zero_changes_nothing_with_any_weights():
    table = pd.read_csv(FOLDER / "cohorts" / "veteran.csv")
    columns = (table.duration, table.event, table.Celltype)
    for rho in (0, 1):
        late = log_rank_test(*columns, entry=np.zeros(len(table)), rho=rho)
        assert late.chi2 == log_rank_test(*columns, rho=rho).chi2


def test_a_group_of_which_nobody_is_at_risk_at_a_death_counts_for_nothing():
    duration, event = [1, 2, 3, 4, 5, 0.5], [1, 1, 0, 1, 0, 0]
    without = log_rank_test(duration[:5], event[:5], list("abbaa"))
    with_it = log_rank_test(duration, event, list("abbaac"))
    assert (with_it.chi2, with_it.df) == (without.chi2, 1)


def test_a_categorical_sets_the_order_of_the_groups():
    group = pd.Categorical(["low", "high", "mid", "low", "high"], ["low", "mid", "high", "unused"])
    test = log_rank_test([1, 2, 3, 4, 5], [1, 1, 1, 0, 1], group, trend=True)
    assert test.groups.tolist() == ["low", "mid", "high"]
    numbered = log_rank_test([1, 2, 3, 4, 5], [1, 1, 1, 0, 1], [1, 3, 2, 1, 3], trend=True)
    assert test.chi2 == numbered.chi2


@pytest.mark.parametrize(
    ("event", "group", "message"),
    [
        ([0, 0, 0, 0], list("abab"), "no row of event is 1"),
        ([1, 0, 1, 0], list("aaaa"), "at least two groups, got only a"),
        ([1, 0, 1, 0], ["a", None, "b", "b"], "group must not be missing; it is in row 1"),
        ([1, 0, 1, 0], list("aab"), "group has 3 rows, and duration has 4"),
        ([0, 0, 1, 1], list("aabb"), "the groups a, b cannot be compared"),
    ],
)
def test_what_cannot_be_compared_is_refused(event, group, message):
    with pytest.raises(ValueError, match=message):
        log_rank_test([1, 2, 3, 4], event, group)


def test_groups_that_are_never_at_risk_together_are_refused():
    with pytest.raises(ValueError, match="cannot be compared"):
        log_rank_test([2, 2, 5, 5], [1, 0, 1, 0], list("aabb"), entry=[0, 0, 3, 3])
