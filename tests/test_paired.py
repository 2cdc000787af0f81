"""Pairs of photos: one row a condition, with the reason where something could not be found."""

import doctest
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")
pytest.importorskip("statsmodels")

from fahr_hf.analysis.paired import comparison
from fahr_hf.analysis.paired.agreement import bland_altman, icc_2_1, icc_3_1
from fahr_hf.analysis.paired.comparison import compare_pairs
from fahr_hf.analysis.paired.equivalence import paired_equivalence
from fahr_hf.analysis.paired.figure import draw_bland_altman
from fahr_hf.analysis.paired.paper import CERTAINTY, PAPER
from fahr_hf.resampling import bootstrap_interval

EXPECTED = json.loads((Path(__file__).parent / "r" / "agreement.json").read_text())
BEFORE, AFTER = np.array(EXPECTED["tables"]["pairs"]).T


def condition(name, after, before=BEFORE, person=None):
    who = [f"p{i}" for i in range(len(before))] if person is None else person
    return pd.DataFrame({"person": who, "condition": name, "before": before, "after": after})


def changed(name, mean, spread, n=60, seed=0):
    random = np.random.default_rng(seed)
    before = random.uniform(20, 80, n)
    return condition(name, before + random.normal(mean, spread, n), before)


def several_each(people=30, seed=1):
    """One to four pairs a person, whose changes they share in part."""
    random = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), random.integers(1, 5, people))
    before = random.uniform(20, 80, people)[person] + random.normal(0, 2, len(person))
    change = random.normal(0.5, 2, people)[person] + random.normal(0, 1, len(person))
    return condition("smile", before + change, before, person)


class TestFigures:
    def test_tests_and_errors_of_one_pair_a_person_are_those_of_r(self):
        row = compare_pairs(condition("smile", AFTER)).iloc[0]
        tests, errors = EXPECTED["equivalence"]["wide"], EXPECTED["errors"]["pairs"]
        assert row["p_equivalent"] == pytest.approx(tests["p"], rel=1e-9)
        assert row["p_different"] == pytest.approx(tests["p_different"], rel=1e-9)
        assert [row["difference_low_90"], row["difference_high_90"]] == pytest.approx(tests["interval_90"], rel=1e-9)
        assert row["sem"] == pytest.approx(errors["sem"], rel=1e-9)
        for name in ("icc_2_1", "icc_3_1"):
            found = row[[name, f"{name}_low", f"{name}_high"]].tolist()
            assert found == pytest.approx(EXPECTED["coefficients"]["pairs"][name], rel=1e-9)
        limits = bland_altman(BEFORE, AFTER)
        assert (row["limit_low"], row["limit_high"]) == (limits.lower.value, limits.upper.value)

    def test_changes_and_their_intervals_are_those_of_the_plain_bootstrap(self):
        row = compare_pairs(condition("smile", AFTER)).iloc[0]
        for name, values in (("difference", AFTER - BEFORE), ("absolute", np.abs(AFTER - BEFORE))):
            assert row[name] == pytest.approx(values.mean())
            interval = bootstrap_interval(lambda x: float(x.mean()), values)
            assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx(interval)

    def test_a_person_of_several_pairs_counts_once(self):
        pairs = several_each()
        row = compare_pairs(pairs).iloc[0]
        people = pairs.assign(change=pairs["after"] - pairs["before"]).groupby("person")["change"]
        assert (row["people"], row["pairs"]) == (30, len(pairs))
        assert row["difference"] == pytest.approx(people.mean().mean())
        assert row["absolute"] == pytest.approx(people.agg(lambda x: x.abs().mean()).mean())
        means = people.mean().to_numpy()
        tests = paired_equivalence(np.zeros(30), means, 1)
        assert (row["p_equivalent"], row["p_different"]) == pytest.approx((tests.p, tests.p_different))
        interval = bootstrap_interval(lambda x: float(x.mean()), means)
        assert (row["difference_low"], row["difference_high"]) == pytest.approx(interval)

    @pytest.mark.parametrize(("name", "coefficient"), [("icc_2_1", icc_2_1), ("icc_3_1", icc_3_1)])
    def test_correlations_of_several_pairs_are_those_of_pairs_and_vary_with_people(self, name, coefficient):
        pairs = several_each()
        row = compare_pairs(pairs).iloc[0]
        values = pairs[["before", "after"]].to_numpy()
        assert row[name] == pytest.approx(coefficient(values).value, rel=1e-9)
        interval = bootstrap_interval(lambda x: coefficient(x).value, values, clusters=pairs["person"].to_numpy())
        assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx(interval, rel=1e-9)

    def test_the_same_pair_four_times_makes_nobody_surer(self):
        once, four = condition("smile", AFTER), pd.concat([condition("smile", AFTER)] * 4)
        columns = ["people", "difference", "difference_low", "difference_high", "absolute_low", "p_different"]
        columns += ["p_equivalent", "difference_low_90"]
        found = [compare_pairs(pairs).loc[0, columns].astype(float) for pairs in (once, four)]
        np.testing.assert_allclose(found[1], found[0], rtol=1e-9)

    def test_pairs_of_somebody_unknown_are_people_of_their_own(self):
        pairs = several_each().assign(person=None)
        assert compare_pairs(pairs).loc[0, "people"] == len(pairs)


class TestVerdicts:
    def test_each_condition_is_told_apart(self):
        pairs = pd.concat(
            [
                changed("light", 0, 1),
                changed("make-up", 4, 3),
                changed("pose", 0.5, 0.8),
                changed("surgery", 0.5, 9, n=8, seed=3),
            ]
        )
        found = compare_pairs(pairs).set_index("condition")["verdict"]
        assert found.to_dict() == {
            "light": "equivalent within +-1 year",
            "make-up": "different",
            "pose": "different, but equivalent within +-1 year",
            "surgery": "not shown either way",
        }

    def test_holm_adjusts_over_the_conditions_that_were_tested(self):
        pairs = pd.concat([changed(f"c{i}", i / 4, 2, seed=i) for i in range(4)] + [condition("same", BEFORE)])
        found = compare_pairs(pairs)
        for name in ("p_different", "p_equivalent"):
            p = found[name].dropna().to_numpy()
            order = np.argsort(p)
            by_hand = np.empty(4)
            by_hand[order] = np.minimum(np.maximum.accumulate(p[order] * [4, 3, 2, 1]), 1)
            np.testing.assert_allclose(found[f"{name}_holm"].dropna(), by_hand)
        assert found["verdict"].iloc[4] == "not tested"

    def test_one_condition_may_be_shown_that_many_together_do_not_show(self):
        one = changed("light", 0.4, 1.5, n=15)
        alone = compare_pairs(one)
        others = [changed(f"c{i}", 1, 9, n=15, seed=i + 1) for i in range(20)]
        among = compare_pairs(pd.concat([one, *others]))
        assert alone["verdict"][0] == "equivalent within +-1 year"
        assert among["verdict"][0] == "not shown either way"
        assert among["p_equivalent"][0] == alone["p_equivalent"][0]

    def test_the_margin_of_risk_is_a_tenth_of_the_cohorts_standard_deviation(self):
        pairs = condition("smile", AFTER)
        as_risk = compare_pairs(pairs, risk_sd=5).iloc[0]
        assert as_risk["p_equivalent"] == pytest.approx(EXPECTED["equivalence"]["narrow"]["p"], rel=1e-9)
        assert compare_pairs(pairs, risk_sd=20).loc[0, "verdict"] == "different, but equivalent within +-0.1 SD of risk"


class TestWhatCannotBeFound:
    def test_every_condition_has_a_row_in_the_order_of_its_first_pair(self):
        pairs = pd.concat([changed("z", 0, 1), condition("a", [31.0], [30.0]), condition("m", [np.nan], [30.0])])
        found = compare_pairs(pairs)
        assert found["condition"].tolist() == ["z", "a", "m"]
        assert found["problem"].tolist() == [
            "",
            "Fewer than 3 people, 1: no intervals, tests or correlations.",
            "No pair has both values.",
        ]
        assert found["verdict"].tolist()[1:] == ["not tested"] * 2
        assert found["difference"].tolist()[1:] == pytest.approx([1, np.nan], nan_ok=True)

    def test_few_people_are_few_however_many_pairs_they_have(self):
        row = compare_pairs(condition("smile", AFTER, person=["a", "b"] * 20)).iloc[0]
        assert (row["people"], row["pairs"]) == (2, 40)
        assert "Fewer than 3 people, 2" in row["problem"]
        assert np.isnan([row["p_different"], row["difference_low"], row["icc_2_1"]]).all()

    def test_half_a_pair_is_counted_and_left_out(self):
        pairs = condition("smile", AFTER)
        gaps = pairs.assign(after=pairs["after"].where(pairs.index > 1), before=pairs["before"].where(pairs.index != 5))
        found, rest = compare_pairs(gaps), compare_pairs(pairs.drop([0, 1, 5]))
        assert (found.loc[0, "pairs"], found.loc[0, "incomplete"]) == (37, 3)
        pd.testing.assert_frame_equal(found.drop(columns="incomplete"), rest.drop(columns="incomplete"))

    def test_no_change_at_all_has_no_test_but_full_agreement(self):
        row = compare_pairs(condition("identity", BEFORE)).iloc[0]
        assert row["problem"] == "All changes are the same, 0: no t test."
        assert row[["difference", "difference_low", "difference_high", "absolute"]].tolist() == [0] * 4
        assert row["sdc"] == pytest.approx(0, abs=1e-12)
        assert row[["icc_2_1", "icc_3_1"]].tolist() == [1, 1]
        assert row["verdict"] == "not tested"

    @pytest.mark.parametrize("half", ["before", "after"])
    def test_a_half_that_never_varies_has_no_correlation_but_tests(self, half):
        row = compare_pairs(condition("smile", AFTER).assign(**{half: 40.0})).iloc[0]
        assert row["problem"] == f"All values {half} are the same: no ICC."
        assert row[["icc_2_1", "icc_3_1_high"]].isna().all()
        assert row[["p_different", "p_equivalent", "sem"]].notna().all()

    def test_a_table_without_any_test_is_still_a_table(self):
        found = compare_pairs(condition("smile", [np.nan, 31], [30, np.nan]))
        assert found["incomplete"].tolist() == [2]
        assert found["p_different_holm"].isna().all()


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"after": ["31", "x", "32"]}, "after must be finite numbers or empty; row 1 holds x"),
            ({"before": [30, 40, np.inf]}, "row 2 holds inf"),
            ({"condition": ["a", None, "b"]}, "Row 1 has no condition"),
        ],
    )
    def test_a_message_names_the_row(self, change, message):
        with pytest.raises(ValueError, match=message):
            compare_pairs(condition("smile", [31, 41, 51], [30, 40, 50]).assign(**change))

    def test_a_message_names_the_columns(self):
        with pytest.raises(ValueError, match="lack the column person and after; there are condition, before"):
            compare_pairs(pd.DataFrame({"condition": ["a"], "before": [1]}))
        with pytest.raises(ValueError, match="There are no pairs"):
            compare_pairs(condition("smile", [], []))

    def test_a_standard_deviation_of_risk_is_above_0(self):
        with pytest.raises(ValueError, match="risk_sd must be above 0, got 0"):
            compare_pairs(condition("smile", AFTER), risk_sd=0)


class TestFigure:
    def test_there_is_a_panel_a_condition_with_its_lines_where_they_can_be_drawn(self):
        pairs = pd.concat([changed("light", 0, 1), several_each(), condition("few", [31.0], [30.0])])
        light, smile, few = draw_bland_altman(pairs).axes
        assert [panel.get_title().split("\n")[0] for panel in (light, few)] == ["light (60 pairs)", "few (1 pair)"]
        limits = bland_altman(*changed("light", 0, 1)[["before", "after"]].to_numpy().T)
        heights = [line.get_ydata()[0] for line in light.lines[:4]]
        assert heights == [0, limits.mean.value, limits.lower.value, limits.upper.value]
        bars = [tuple(bar.get_ydata()) for bar in light.lines[4:]]
        assert bars == [tuple(limit[1:]) for limit in (limits.mean, limits.lower, limits.upper)]
        assert (len(smile.lines), len(few.lines)) == (4, 1)
        points = light.collections[0].get_offsets()
        np.testing.assert_allclose(points[:, 1], changed("light", 0, 1).eval("after - before"))


class TestPaper:
    def test_every_figure_says_how_certain_it_is(self):
        assert {figure.certainty for figure in PAPER} <= set(CERTAINTY)
        assert {figure.condition: figure.years for figure in PAPER}["make-up"] == (4.37, 4.37)

    def test_a_lack_of_significance_is_not_called_stability(self):
        silent = [figure for figure in PAPER if figure.years is None]
        assert len(silent) == 4
        assert all("does not show" in figure.note for figure in silent)


def test_the_example_in_the_docstring_runs():
    found = doctest.testmod(comparison)
    assert found.attempted
    assert not found.failed
