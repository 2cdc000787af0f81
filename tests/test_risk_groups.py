"""Groups by quantile, and by another cohort's cut points."""

import numpy as np
import pytest

from fahr_hf.clinical.risk_groups import risk_groups


def test_quartiles_are_those_of_type_7_and_a_score_at_a_cut_belongs_below():
    # R: quantile(c(3, 1, 4, 1.5, 9), c(.25, .5, .75)) is 1.5, 3, 4, and cut(..., include.lowest=TRUE) gives 2 1 3 1 4.
    group, cuts = risk_groups([3, 1, 4, 1.5, 9])
    assert cuts.tolist() == [1.5, 3, 4]
    assert group.tolist() == [2, 1, 3, 1, 4]


def test_cut_points_lie_between_scores_in_proportion():
    # R: quantile(1:4, c(1, 2) / 3) is 2, 3; quantile(1:6, .25) is 2.25.
    assert risk_groups([1, 2, 3, 4], n=3)[1].tolist() == pytest.approx([2, 3])
    assert risk_groups(range(1, 7))[1][0] == 2.25


def test_groups_of_many_scores_have_the_same_size_and_rise_with_the_score():
    score = np.random.default_rng(1).normal(size=1000)
    group, _ = risk_groups(score, n=5)
    assert np.bincount(group).tolist() == [0, 200, 200, 200, 200, 200]
    assert (np.diff(group[np.argsort(score)]) >= 0).all()


def test_the_cut_points_of_another_cohort_are_used_as_they_are():
    _, cuts = risk_groups([1, 2, 3, 4, 5])
    group, same = risk_groups([-10, 2, 2.1, 10], cuts=cuts)
    assert group.tolist() == [1, 1, 2, 4]
    assert same.tolist() == cuts.tolist()


def test_a_group_of_the_other_cohort_may_be_empty_here():
    assert risk_groups([5, 6], cuts=[1, 2, 3])[0].tolist() == [4, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"risk": [1, 1, 1, 1, 2]}, "2 distinct values in 5 rows.*cut points 1, 1, 1 leave group 2 empty"),
        ({"risk": [1, 2]}, "too few for 4 groups"),
        ({"risk": [1, 2, 3], "n": 1}, "at least 2 groups, got 1"),
        ({"risk": [1, 2, 3], "cuts": [2, 2]}, "cuts must rise from each to the next, got 2, 2"),
        ({"risk": [1, np.nan, 3]}, "risk must be finite.*row 1"),
        ({"risk": [1, 2], "cuts": [np.inf]}, "cuts must be finite"),
    ],
)
def test_scores_and_cuts_that_make_no_groups_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        risk_groups(**arguments)
