"""Figures of merit, anchored in hand-computed values, scikit-learn, scipy, and plain loops."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from fahr_hf.metrics import age_bins, bias, correlation, cumulative_score, mean_absolute_error, root_mean_square_error

AGE = np.array([20.0, 40.0, 60.0, 80.0])
PREDICTED = np.array([21.0, 35.0, 60.0, 70.0])
ALL = [mean_absolute_error, root_mean_square_error, bias, correlation]


def drawn(n: int = 300, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    age = generator.uniform(1, 90, n)
    return age, age + generator.normal(1.5, 8, n)


def test_the_mean_absolute_error_is_in_years():
    assert mean_absolute_error(AGE, PREDICTED) == 4.0
    age, predicted = drawn()
    assert mean_absolute_error(age, predicted) == pytest.approx(sklearn_metrics.mean_absolute_error(age, predicted))


def test_the_root_mean_square_error_is_that_of_scikit_learn():
    age, predicted = drawn()
    wanted = sklearn_metrics.root_mean_squared_error(age, predicted)
    assert root_mean_square_error(age, predicted) == pytest.approx(wanted)


def test_the_bias_is_positive_where_people_look_older():
    assert bias(AGE, PREDICTED) == -3.5
    assert bias(AGE, AGE + 2) == 2


def test_the_correlation_is_pearsons():
    age, predicted = drawn()
    assert correlation(age, predicted) == pytest.approx(stats.pearsonr(age, predicted).statistic)


@pytest.mark.parametrize("arrays", [(AGE, np.full(4, 30.0)), (np.full(4, 30.0), AGE)])
def test_a_constant_has_no_correlation(arrays):
    assert np.isnan(correlation(*arrays))


def test_the_cumulative_score_counts_errors_up_to_and_including_the_limit():
    assert cumulative_score(AGE, PREDICTED, within=5) == 0.75
    assert cumulative_score(AGE, PREDICTED, within=4.99) == 0.5


def test_bins_begin_at_round_ages():
    assert age_bins(np.array([0.0, 9.99, 10.0, 59.0, 101.5])).tolist() == [0, 0, 10, 50, 100]
    assert age_bins(np.array([0.0, 9.99, 10.0, 59.0]), width=5).tolist() == [0, 5, 10, 55]


@pytest.mark.parametrize("figure", ALL)
@pytest.mark.parametrize(
    ("age", "predicted", "message"),
    [
        (AGE, PREDICTED[:3], r"\(4,\) and \(3,\)"),
        (AGE[:, None], PREDICTED[:, None], "two arrays"),
        (AGE[:0], PREDICTED[:0], "at least 1"),
        (AGE, np.array([1, 2, 3, np.nan]), "finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(figure, age, predicted, message):
    with pytest.raises(ValueError, match=message):
        figure(age, predicted)
