"""Resampling, anchored in scipy's bootstrap, and in loops over every draw."""

import numpy as np
import pytest
from scipy import stats
from test_metrics import AGE, PREDICTED, drawn

from fahr_hf.metrics import mean_absolute_error
from fahr_hf.resampling import bootstrap_interval, resampled_sums


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
        monkeypatch.setattr("fahr_hf.resampling._COUNTS", counts_at_once)
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
