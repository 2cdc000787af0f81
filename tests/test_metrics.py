"""Figures of merit, anchored in hand-computed values, scikit-learn, scipy, and plain loops."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from fahr_hf.metrics import (
    age_bins,
    bias,
    bootstrap_interval,
    correlation,
    cumulative_score,
    mean_absolute_error,
    resampled_sums,
    root_mean_square_error,
)

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


class TestBootstrap:
    def test_the_interval_of_a_mean_has_the_width_that_theory_gives(self):
        values = np.random.default_rng(1).normal(size=400)
        low, high = bootstrap_interval(np.mean, values)
        assert low < values.mean() < high
        # 2 x 1.96 standard errors of 1 / sqrt(400).
        assert high - low == pytest.approx(0.196 * values.std(), rel=0.08)

    def test_the_interval_is_that_of_scipy_but_for_the_draws(self):
        age, predicted = drawn(200)
        theirs = stats.bootstrap(
            (age, predicted), mean_absolute_error, paired=True, vectorized=False, method="percentile", n_resamples=4000
        ).confidence_interval
        ours = bootstrap_interval(mean_absolute_error, age, predicted, resamples=4000)
        assert ours == pytest.approx(tuple(theirs), abs=0.1)

    def test_rows_of_several_arrays_stay_together(self):
        low, high = bootstrap_interval(lambda a, b: float(np.abs(a - b).max()), AGE, AGE + 3)
        assert (low, high) == (3, 3)

    def test_the_same_seed_gives_the_same_interval(self):
        assert bootstrap_interval(np.median, AGE, seed=5) == bootstrap_interval(np.median, AGE, seed=5)
        assert bootstrap_interval(np.median, drawn()[0], seed=5) != bootstrap_interval(np.median, drawn()[0], seed=6)

    def test_persons_are_drawn_whole(self):
        # Two photos each, of errors that are +1 and -1: whoever is drawn, the mean is 0.
        errors, persons = np.tile([1.0, -1.0], 20), np.repeat(np.arange(20), 2)
        assert bootstrap_interval(np.mean, errors, clusters=persons) == (0, 0)
        low, high = bootstrap_interval(np.mean, errors)
        assert low < 0 < high

    def test_copies_of_photos_are_no_information(self):
        values = np.random.default_rng(2).normal(size=100)
        once = bootstrap_interval(np.mean, values)
        copies = bootstrap_interval(np.mean, np.repeat(values, 5), clusters=np.repeat(np.arange(100), 5))
        assert copies == pytest.approx(once, abs=1e-12)

    def test_arrays_of_different_lengths_are_refused(self):
        with pytest.raises(ValueError, match=r"\[3, 4\]"):
            bootstrap_interval(mean_absolute_error, AGE, PREDICTED[:3])
        with pytest.raises(ValueError, match="cluster for each of 4 rows, got 2"):
            bootstrap_interval(mean_absolute_error, AGE, PREDICTED, clusters=np.arange(2))


class TestResampledSums:
    # Persons with one to three photos, in no order; the last makes several chunks.
    @pytest.mark.parametrize("clusters", [None, np.random.default_rng(4).integers(150, size=300)])
    @pytest.mark.parametrize("counts_at_once", [4_000_000, 1000])
    def test_they_give_the_intervals_of_the_loop(self, monkeypatch, clusters, counts_at_once):
        monkeypatch.setattr("fahr_hf.metrics._COUNTS", counts_at_once)
        age, predicted = drawn()
        sums = resampled_sums(np.column_stack([np.ones(300), np.abs(predicted - age)]), clusters, resamples=500, seed=7)
        errors = sums[:, 1] / sums[:, 0]
        assert errors[0] == pytest.approx(mean_absolute_error(age, predicted))
        loop = bootstrap_interval(mean_absolute_error, age, predicted, clusters=clusters, resamples=500, seed=7)
        assert np.quantile(errors[1:], [0.025, 0.975]) == pytest.approx(loop, abs=1e-12)

    def test_each_resample_is_a_sum_over_drawn_rows(self):
        columns = np.random.default_rng(5).integers(9, size=(4, 2)).astype(float)
        generator = np.random.default_rng(8)
        wanted = [columns.sum(axis=0)]
        for _ in range(3):
            rows = generator.integers(4, size=4)
            wanted.append(sum(columns[row] for row in rows))
        assert resampled_sums(columns, resamples=3, seed=8).tolist() == np.array(wanted).tolist()
