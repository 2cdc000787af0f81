"""Agreement and equivalence: Shrout and Fleiss's and Bland and Altman's published examples, and R's numbers."""

import doctest
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("statsmodels")

from statsmodels.stats import weightstats

from fahr_hf.analysis.paired import agreement, equivalence
from fahr_hf.analysis.paired.agreement import (
    bland_altman,
    icc_2_1,
    icc_3_1,
    mean_squares,
    smallest_detectable_change,
    standard_error_of_measurement,
)
from fahr_hf.analysis.paired.equivalence import AGE_MARGIN, RISK_MARGIN, paired_equivalence, verdict

R = Path(__file__).parent / "r"
EXPECTED = json.loads((R / "agreement.json").read_text())
# Table 2 of Shrout and Fleiss (1979): six people, four judges.
PUBLISHED = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
# Peak flow (l/min) of 17 people by two meters, table 1 of Bland and Altman (1986).
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
BEFORE, AFTER = np.array(EXPECTED["tables"]["pairs"]).T


def has_psych():
    if shutil.which("Rscript") is None:
        return False
    return subprocess.run(["Rscript", "-e", "library(psych)"], capture_output=True, check=False).returncode == 0


def numbers(tree):
    if isinstance(tree, dict | list):
        return [number for branch in (tree.values() if isinstance(tree, dict) else tree) for number in numbers(branch)]
    return [tree]


class TestPublishedExamples:
    def test_mean_squares_are_those_of_shrout_and_fleiss(self):
        found = mean_squares(PUBLISHED)
        assert [round(x, 2) for x in (found.people, found.conditions, found.residual)] == [11.24, 32.49, 1.02]

    def test_coefficients_are_those_of_shrout_and_fleiss(self):
        assert round(icc_2_1(PUBLISHED).value, 2) == 0.29
        assert round(icc_3_1(PUBLISHED).value, 2) == 0.71

    def test_differences_are_those_of_bland_and_altman(self):
        found = bland_altman(MINI, WRIGHT)
        assert round(found.mean.value, 1) == -2.1
        assert (found.mean.low, found.mean.high) == pytest.approx((-22.0, 17.8), abs=0.1)
        spread = (found.upper.value - found.lower.value) / (2 * 1.96)
        assert round(spread, 1) == 38.8
        # They took 2 for 1.96, and 3 s^2 / n for the variance of a limit.
        assert found.lower.value == pytest.approx(-79.7, abs=2)
        assert (found.lower.low, found.lower.high) == pytest.approx((-114.3, -45.1), abs=3)
        assert (found.upper.low, found.upper.high) == pytest.approx((40.9, 110.1), abs=3)


class TestAgreementWithR:
    @pytest.mark.parametrize("name", EXPECTED["tables"])
    def test_coefficients_and_intervals_are_those_of_psych(self, name):
        table, expected = EXPECTED["tables"][name], EXPECTED["coefficients"][name]
        np.testing.assert_allclose(icc_2_1(table), expected["icc_2_1"], rtol=1e-9)
        np.testing.assert_allclose(icc_3_1(table), expected["icc_3_1"], rtol=1e-9)

    @pytest.mark.parametrize("name", EXPECTED["tables"])
    def test_the_standard_error_of_measurement_is_that_of_aov(self, name):
        table, expected = EXPECTED["tables"][name], EXPECTED["errors"][name]
        np.testing.assert_allclose(mean_squares(table)[2:], expected["mean_squares"], rtol=1e-9)
        assert standard_error_of_measurement(table) == pytest.approx(expected["sem"], rel=1e-9)
        assert smallest_detectable_change(table) == pytest.approx(2.771859 * expected["sem"], rel=1e-6)

    @pytest.mark.parametrize("name", EXPECTED["equivalence"])
    def test_equivalence_is_that_of_t_test(self, name):
        expected = EXPECTED["equivalence"][name]
        found = paired_equivalence(BEFORE, AFTER, expected["margin"])
        assert found.p == pytest.approx(expected["p"], rel=1e-9)
        assert found.p_different == pytest.approx(expected["p_different"], rel=1e-9)
        assert (found.low, found.high) == pytest.approx(expected["interval_90"], rel=1e-9)

    def test_the_interval_of_a_mean_difference_is_that_of_t_test(self):
        expected = EXPECTED["equivalence"]["wide"]["interval_95"]
        assert bland_altman(BEFORE, AFTER).mean[1:] == pytest.approx(expected, rel=1e-9)

    @pytest.mark.skipif(not has_psych(), reason="R or its package psych is not installed")
    def test_the_script_still_gives_the_same_numbers(self, tmp_path):
        subprocess.run(["Rscript", R / "agreement.R", tmp_path / "again.json"], cwd=R.parents[1], check=True)
        again = json.loads((tmp_path / "again.json").read_text())
        np.testing.assert_allclose(numbers(again), numbers(EXPECTED), rtol=1e-6)


class TestAgreement:
    def test_the_intervals_of_both_coefficients_hold_the_truth_as_often_as_they_say(self):
        random = np.random.default_rng(0)
        inside = []
        for _ in range(1000):
            # Of variances 4, 0.5 and 1: 4 / 5.5 of absolute agreement, 4 / 5 of consistency.
            people, conditions = random.normal(0, 2, (25, 1)), random.normal(0, 0.5**0.5, (1, 6))
            table = people + conditions + random.normal(size=(25, 6))
            both = zip((icc_2_1(table), icc_3_1(table)), (4 / 5.5, 4 / 5), strict=True)
            inside.append([found.low < truth < found.high for found, truth in both])
        absolute, consistent = np.mean(inside, axis=0)
        assert consistent == pytest.approx(0.95, abs=0.02)
        assert absolute == pytest.approx(0.95, abs=0.03)

    def test_the_interval_of_a_limit_of_agreement_holds_the_truth_as_often_as_it_says(self):
        random = np.random.default_rng(0)
        found = [bland_altman(np.zeros(30), random.normal(1, 2, 30)).upper for _ in range(2000)]
        inside = [one.low < 1 + 1.96 * 2 < one.high for one in found]
        assert np.mean(inside) == pytest.approx(0.95, abs=0.02)

    def test_a_common_shift_lowers_absolute_agreement_alone(self):
        shifted = np.column_stack([BEFORE, BEFORE + 5])
        assert icc_3_1(shifted) == pytest.approx((1, 1, 1))
        assert icc_2_1(shifted).value < 0.95
        assert standard_error_of_measurement(shifted) == pytest.approx(5 / 2**0.5)

    def test_the_same_answers_twice_agree_fully(self):
        same = np.column_stack([BEFORE, BEFORE])
        assert icc_2_1(same) == icc_3_1(same) == (1, 1, 1)
        assert smallest_detectable_change(same) == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([[1, 2]], r"at least 2 people by 2 conditions, got the shape \(1, 2\)"),
            ([1, 2, 3], r"got the shape \(3,\)"),
            ([[1, 2], [3, np.nan]], "row 1, column 1 is nan"),
            ([[0.1, 0.1], [0.1, 0.1], [0.1, 0.1]], "All values are the same"),
        ],
    )
    def test_a_message_names_what_was_wrong(self, values, message):
        with pytest.raises(ValueError, match=message):
            icc_2_1(values)

    def test_before_and_after_of_different_lengths_are_refused(self):
        with pytest.raises(ValueError, match=r"got shapes \(3,\), \(2,\)"):
            bland_altman([1, 2, 3], [1, 2])


class TestEquivalence:
    def test_margins_are_fixed(self):
        assert (AGE_MARGIN, RISK_MARGIN) == (1.0, 0.1)

    @pytest.mark.parametrize("margin", [0.3, 0.5, 1])
    def test_it_is_that_of_statsmodels(self, margin):
        p, (low, *_), (high, *_) = weightstats.ttost_paired(AFTER, BEFORE, -margin, margin)
        found = paired_equivalence(BEFORE, AFTER, margin)
        assert found.p == pytest.approx(p, rel=1e-9)
        different = weightstats.DescrStatsW(AFTER - BEFORE).ttest_mean(0)
        assert found.p_different == pytest.approx(different[1], rel=1e-9)
        assert low > 0
        assert (high < 0) == (margin > found.difference)

    def test_it_is_shown_exactly_where_the_interval_is_inside_the_margins(self):
        found = paired_equivalence(BEFORE, AFTER, 1)
        assert paired_equivalence(BEFORE, AFTER, found.high * 1.0001).p < 0.05
        assert paired_equivalence(BEFORE, AFTER, found.high * 0.9999).p > 0.05

    @pytest.mark.parametrize(
        ("p_different", "p_equivalent", "words"),
        [
            (0.5, 0.01, "equivalent within +-1 year"),
            (0.01, 0.01, "different, but equivalent within +-1 year"),
            (0.01, 0.5, "different"),
            (0.5, 0.5, "not shown either way"),
            (np.nan, np.nan, "not tested"),
        ],
    )
    def test_a_difference_that_is_not_significant_is_not_called_equivalent(self, p_different, p_equivalent, words):
        assert verdict(p_different, p_equivalent, "+-1 year") == words

    @pytest.mark.parametrize(
        ("before", "after", "margin", "message"),
        [
            ([30, 40.3, 50], [30.1, 40.4, 50.1], 1, "All changes are the same, 0.1: no t test"),
            ([30, 40], [31, 42], 0, "margin must be above 0, got 0"),
            ([30, 40], [31, np.inf], 1, "1 finite changes"),
            ([30], [31], 1, "n at least 2"),
        ],
    )
    def test_a_message_names_what_was_wrong(self, before, after, margin, message):
        with pytest.raises(ValueError, match=message):
            paired_equivalence(before, after, margin)


@pytest.mark.parametrize("module", [agreement, equivalence])
def test_the_examples_in_docstrings_run(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed
