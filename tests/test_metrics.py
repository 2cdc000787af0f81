"""Figures of merit, anchored in hand-computed values."""

import numpy as np
import pytest

from fahr_hf.metrics import bootstrap_interval, cumulative_score, mean_absolute_error

AGE = np.array([20.0, 40.0, 60.0, 80.0])
PREDICTED = np.array([21.0, 35.0, 60.0, 70.0])


def test_the_mean_absolute_error_is_in_years():
    assert mean_absolute_error(AGE, PREDICTED) == 4.0


def test_the_cumulative_score_counts_errors_up_to_and_including_the_limit():
    assert cumulative_score(AGE, PREDICTED, within=5) == 0.75
    assert cumulative_score(AGE, PREDICTED, within=4.99) == 0.5


@pytest.mark.parametrize(
    ("age", "predicted", "message"),
    [
        (AGE, PREDICTED[:3], r"\(4,\) and \(3,\)"),
        (AGE[:, None], PREDICTED[:, None], "one|two arrays"),
        (AGE[:0], PREDICTED[:0], "at least 1"),
        (AGE, np.array([1, 2, 3, np.nan]), "finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(age, predicted, message):
    with pytest.raises(ValueError, match=message):
        mean_absolute_error(age, predicted)


def test_the_bootstrap_interval_of_a_mean_has_the_width_that_theory_gives():
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap_interval(np.mean, values)
    assert low < values.mean() < high
    # 2 x 1.96 standard errors of 1 / sqrt(400).
    assert high - low == pytest.approx(0.196 * values.std(), rel=0.08)


def test_rows_of_several_arrays_stay_together():
    low, high = bootstrap_interval(lambda a, b: float(np.abs(a - b).max()), AGE, AGE + 3)
    assert (low, high) == (3, 3)


def test_the_same_seed_gives_the_same_interval():
    assert bootstrap_interval(np.median, AGE, seed=5) == bootstrap_interval(np.median, AGE, seed=5)


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\[3, 4\]"):
        bootstrap_interval(mean_absolute_error, AGE, PREDICTED[:3])
