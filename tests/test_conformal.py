"""Intervals of predicted ages: ranks and bins as written down, and coverage as proven, on data drawn to order."""

import json

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from fahr_hf.calibration_tables import save_tables
from fahr_hf.conformal import coverage, fit_intervals, intervals

NOISES = {
    "even": lambda generator, age: generator.normal(0, 5, len(age)),
    "wider with age": lambda generator, age: generator.normal(0, 1 + age / 10),
    "skewed": lambda generator, age: generator.exponential(6, len(age)),
    "biased": lambda generator, age: generator.normal(12, 2, len(age)),
}


def people(n: int, seed: int, noise: str = "even", slope: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """True ages from 0 to 90, and predictions drawn towards the middle, as those of real models are."""
    generator = np.random.default_rng(seed)
    age = generator.uniform(0, 90, n)
    return age, 45 + slope * (age - 45) + NOISES[noise](generator, age)


# ------------------------------------------------------------------------------------------------- ranks and bins


@pytest.mark.parametrize(
    ("n", "level", "below", "above"),
    [
        # Residuals 1 .. n. Upper rank ceil((n + 1) (1 + level) / 2), lower rank n + 1 less that, worked by hand.
        (19, 0.9, 1, 19),
        (20, 0.9, 1, 20),
        (38, 0.9, 1, 38),
        (39, 0.9, 2, 38),
        (199, 0.9, 10, 190),
        (200, 0.9, 10, 191),
        (99, 0.8, 10, 90),
    ],
)
def test_each_tail_has_the_rank_that_is_written_down(n, level, below, above):
    predicted = np.full(n, 40.0)
    table = fit_intervals(40.0 + np.random.default_rng(0).permutation(np.arange(1, n + 1)), predicted, "x", level)

    assert (-table["below"][0], table["above"][0]) == (below, above)
    low, high = intervals(table, predicted[:1])
    assert (low[0], high[0]) == (40 + below, 40 + above), "the whole bias is taken out"


def test_too_few_photos_for_the_rank_say_how_many_are_needed():
    age = np.arange(20.0)

    assert fit_intervals(age[:19], age[:19], "x")["counts"] == [19]
    with pytest.raises(ValueError, match=r"18 calibration photos are too few .* 90% .* at least 19 are needed"):
        fit_intervals(age[:18], age[:18], "x")
    with pytest.raises(ValueError, match="at least 199 are needed"):
        fit_intervals(age, age, "x", level=0.99)


def test_bins_are_merged_until_each_has_enough_photos_and_exactly_enough_will_do():
    predicted = np.repeat([2.0, 7.0, 12.0, 40.0, 88.0], [200, 150, 50, 199, 200])

    table = fit_intervals(predicted, predicted, "x")

    # 199 are one too few for a bin, and wait for the next.
    assert table["edges"] == [3, 13]
    assert table["counts"] == [200, 200, 399]
    assert fit_intervals(predicted, predicted, "x", least=50)["counts"] == [200, 150, 50, 199, 200]
    assert fit_intervals(predicted[:-1], predicted[:-1], "x")["counts"] == [200, 200, 398]


def test_a_last_bin_that_is_too_small_joins_the_one_below():
    predicted = np.repeat([2.0, 7.0, 12.0], [200, 200, 199])

    assert fit_intervals(predicted, predicted, "x")["counts"] == [200, 399]


def test_fewer_photos_than_a_bin_wants_make_one_bin_of_all():
    age, predicted = people(150, seed=0)

    table = fit_intervals(age, predicted, "x")

    assert table["edges"] == []
    assert table["counts"] == [150]
    low, high = intervals(table, np.array([-3.0, 30.0, 140.0]))
    np.testing.assert_allclose(high - [-3, 30, 140], table["above"][0])
    assert low[0] == 0, "no age is below 0"


def test_a_prediction_on_an_edge_belongs_to_the_bin_above():
    predicted = np.repeat([5.0, 4.999, 5.001], [200, 200, 5])
    age = predicted + np.repeat([10.0, 20.0, 10.0], [200, 200, 5])

    table = fit_intervals(age, predicted, "x")

    assert table["counts"] == [200, 205]
    np.testing.assert_allclose(intervals(table, np.array([4.999, 5.0]))[1], [24.999, 15.0])


def test_ages_that_are_no_numbers_and_impossible_levels_are_refused():
    age = np.arange(100.0)

    with pytest.raises(ValueError, match="predicted must be finite"):
        fit_intervals(age, np.full(100, np.nan), "x")
    with pytest.raises(ValueError, match="100 ages and 99 predictions"):
        fit_intervals(age, age[1:], "x")
    with pytest.raises(ValueError, match="level is 90"):
        fit_intervals(age, age, "x", level=90)


# ------------------------------------------------------------------------------------------------------- coverage


@pytest.mark.parametrize("name", NOISES)
def test_new_photos_are_covered_as_promised_overall_and_in_every_bin(name):
    inside, total = np.zeros(3), np.zeros(3)
    for seed in range(200):
        age, predicted = people(700, seed, name)
        table = fit_intervals(age[:600], predicted[:600], "x", least=150)
        low, high = intervals(table, predicted[600:])
        covered = (low <= age[600:]) & (age[600:] <= high)
        # Bins differ between draws by a step or two, so that they are told apart as low, middle and high.
        third = np.digitize(predicted[600:], [table["edges"][0], table["edges"][-1]])
        inside += np.bincount(third, covered, 3)
        total += np.bincount(third, minlength=3)

    # Photos of one draw share a table: its own coverage varies like a Beta(k, n + 1 - k) (Vovk 2012).
    error = np.sqrt(0.9 * 0.1 / total + stats.beta(135, 16).var() / 200)
    assert (abs(inside / total - 0.9) < 4 * error + 1 / 150).all()
    assert abs(inside.sum() / total.sum() - 0.9) < 0.01


def test_each_tail_misses_half_of_what_is_missed_however_skewed_the_errors():
    age, predicted = people(40_000, 0, "skewed")

    low, high = intervals(fit_intervals(age[:20_000], predicted[:20_000], "x"), predicted[20_000:])

    assert (age[20_000:] < low).mean() == pytest.approx(0.05, abs=0.008)
    assert (age[20_000:] > high).mean() == pytest.approx(0.05, abs=0.008)


def test_errors_that_grow_with_age_get_intervals_that_do():
    age, predicted = people(5000, 0, "wider with age")

    table = fit_intervals(age, predicted, "x")
    width = np.add(table["below"], table["above"])

    assert width[-1] > 3 * width[0]


def test_tied_residuals_cover_at_least_as_promised():
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        error = generator.integers(-2, 3, 120)
        table = fit_intervals(40 + error[:100], np.full(100, 40.0), "x")
        low, high = intervals(table, np.full(20, 40.0))
        covered.append(((low <= 40 + error[100:]) & (40 + error[100:] <= high)).mean())

    assert np.mean(covered) >= 0.9


def test_coverage_is_shown_by_decade_of_true_age_where_nothing_promises_it():
    age, predicted = people(40_000, 1, slope=0.4)
    table = fit_intervals(age[:20_000], predicted[:20_000], "x")

    shown = coverage(age[20_000:], *intervals(table, predicted[20_000:])).set_index("age")

    assert list(shown.index[:2]) == ["0 to 9", "10 to 19"]
    assert shown.index[-1] == "all"
    assert shown.loc["all", "coverage"] == pytest.approx(0.9, abs=0.01)
    assert shown.loc["0 to 9", "coverage"] < 0.85, "drawn towards the middle, and so missed more often"
    assert shown["photos"].iloc[:-1].sum() == shown.loc["all", "photos"] == 20_000


def test_coverage_comes_with_wilsons_interval_as_statsmodels_has_it():
    age = np.array([22.0, 25.0, 29.9, 30.0])

    shown = coverage(age, np.array([21.0, 24.0, 30.9, 30.0]), np.array([23.0, 27.0, 32.9, 30.0]))

    assert shown["age"].tolist() == ["20 to 29", "30 to 39", "all"]
    assert shown["coverage"].tolist() == [2 / 3, 1, 3 / 4]
    assert shown["width"].tolist() == [2, 0, 2]
    for row, inside, n in zip(shown.itertuples(), (2, 1, 3), (3, 1, 4), strict=True):
        expected = proportion_confint(inside, n, method="wilson")
        np.testing.assert_allclose((row.coverage_low, row.coverage_high), expected)


# ----------------------------------------------------------------------------------------------------- checkpoints


def test_tables_go_into_config_json_beside_those_that_are_there_and_nothing_else_changes(tmp_path):
    (tmp_path / "config.json").write_text('{"hidden_size": 8, "calibration": {"age": {"level": 0.8}, "risk": [1]}}')
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    table = fit_intervals(*people(500, 0), "x")

    save_tables(tmp_path, {"age": table, "age_flip": table})

    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved == {"hidden_size": 8, "calibration": {"age": table, "age_flip": table, "risk": [1]}}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert (tmp_path / "model.safetensors").read_bytes() == b"weights"
