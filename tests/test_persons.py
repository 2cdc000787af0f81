"""Several photos of one person: figures worked out by hand, and slopes as scipy has them."""

import numpy as np
import pytest
from scipy.stats import linregress

from fahr_hf.batch.persons import COLUMNS, aging_rates, group, summarise

NO_FACE = {"faces": [], "error": "no face found"}
UNREADABLE = {"faces": [], "error": "'a.jpg' is not an image file"}


def record(photo: str, *ages: float, warning: str | None = None) -> dict:
    return {"photo": photo, "faces": [{"age": age, "warning": warning} for age in ages], "error": None}


def test_median_and_spread_are_those_worked_out_by_hand():
    # Mean 43, deviations -3 -1 0 4: squares 26 over 3; quartiles a quarter and three quarters of the way through.
    assert summarise(np.array([40.0, 42.0, 43.0, 47.0])) == {
        "age": 42.5,
        "sd": pytest.approx((26 / 3) ** 0.5),
        "iqr": pytest.approx(44 - 41.5),
    }
    assert summarise(np.array([40.0])) == {"age": 40, "sd": None, "iqr": None}
    assert summarise(np.array([])) == {"age": None, "sd": None, "iqr": None}


def test_the_rate_of_two_sessions_is_the_difference_of_their_means_over_the_time_between():
    # Session means 41 and 45, four years apart. Within sessions the squares are 2 + 2, over 4 - 2 photos: s^2 = 2.
    # Times lie 2 years from their mean, four times: spread 16.
    answer = aging_rates({"ann": (np.array([0.0, 0.0, 4.0, 4.0]), np.array([40.0, 42.0, 44.0, 46.0]))})["ann"]

    assert answer == {"dates": 2, "span": 4, "rate": 1, "rate_se": pytest.approx((2 / 16) ** 0.5), "note": None}


def test_one_person_alone_has_slope_and_standard_error_of_ordinary_regression():
    generator = np.random.default_rng(0)
    times = generator.uniform(0, 10, 12)
    ages = 40 + 1.3 * times + generator.normal(0, 3, 12)

    answer = aging_rates({"ann": (times, ages)})["ann"]
    expected = linregress(times, ages)

    assert answer["rate"] == pytest.approx(expected.slope)
    assert answer["rate_se"] == pytest.approx(expected.stderr)
    assert answer["span"] == pytest.approx(np.ptp(times))


def test_the_disagreement_of_photos_is_pooled_over_persons_by_their_degrees_of_freedom():
    people = {
        "ann": (np.array([0.0, 1.0, 2.0]), np.array([40.0, 43.0, 40.0])),
        # Two photos lie on their line whatever they show, and have nothing to say about the error.
        "bob": (np.array([0.0, 2.0]), np.array([30.0, 33.0])),
        "cleo": (np.array([0.0, 0.0, 3.0, 3.0]), np.array([60.0, 66.0, 60.0, 66.0])),
    }

    answers = aging_rates(people)

    # Ann: slope 0, mean 41, squares 1 + 4 + 1, 1 degree of freedom. Cleo: 4 times 9, 2 degrees. Pooled: 42 / 3.
    assert [answers[name]["rate"] for name in people] == [0, 1.5, 0]
    assert answers["ann"]["rate_se"] == pytest.approx((14 / 2) ** 0.5)
    assert answers["bob"]["rate_se"] == pytest.approx((14 / 2) ** 0.5)
    assert answers["cleo"]["rate_se"] == pytest.approx((14 / 9) ** 0.5)


def test_standard_errors_are_honest_where_errors_are_independent():
    generator = np.random.default_rng(0)
    times = np.repeat([0.0, 2.0, 5.0], 2)
    people = {str(i): (times, 50 + times + generator.normal(0, 4, 6)) for i in range(2000)}

    answers = aging_rates(people).values()

    assert np.std([answer["rate"] for answer in answers]) == pytest.approx(next(iter(answers))["rate_se"], rel=0.05)
    assert np.mean([answer["rate"] for answer in answers]) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("times", "note"),
    [
        ([], "no rate: 0 different dates, two are needed"),
        ([3.0, 3.0, 3.0], "no rate: 1 different dates, two are needed"),
        ([3.0, 3.99], "no rate: photos span 0.99 years, 1 is needed"),
        # The first days of 2021 and of 2022.
        ([0, 365 / 365.25], "no standard error: nobody here has a third dated photo"),
    ],
)
def test_what_cannot_be_known_is_refused_with_the_reason(times, note):
    answer = aging_rates({"ann": (np.array(times), np.linspace(40, 44, len(times)))})["ann"]

    assert answer["note"] == note
    assert (answer["rate"] is None) == note.startswith("no rate")
    assert answer["rate_se"] is None


def test_a_row_counts_every_photo_and_takes_the_largest_face():
    person_of = {"a": "ann", "b": "bob", "c": "ann", "d": "ann", "e": "ann"}
    records = [
        record("a", 40.0, 9.0),
        {"photo": "b", **NO_FACE},
        record("c", 44.0, warning="small face"),
        {"photo": "d", **NO_FACE},
        {"photo": "e", **UNREADABLE},
    ]

    ann, bob = group(records, person_of, {}, "model")

    assert list(ann) == list(bob) == list(COLUMNS)
    counts = {"person": "ann", "photos": 2, "no_face": 1, "unreadable": 1, "warnings": 1, "age": 42, "model": "model"}
    assert ann.items() >= counts.items()
    assert ann["rate"] is ann["dates"] is ann["note"] is None, "no dates were given, so none are missed"
    assert (bob["photos"], bob["no_face"], bob["age"], bob["note"]) == (0, 1, None, "no photo with a face")


def test_photos_without_a_date_count_for_the_age_and_not_for_the_rate():
    photos = ["a", "b", "c", "d"]
    records = [record(photo, age) for photo, age in zip(photos, (40.0, 42.0, 50.0, 100.0), strict=True)]

    (row,) = group(records, dict.fromkeys(photos, "ann"), {"a": 0.0, "b": 1.0, "c": 5.0}, "model")

    expected = linregress([0, 1, 5], [40, 42, 50])
    assert row["age"] == 46
    assert (row["photos"], row["dates"], row["span"]) == (4, 3, 5)
    assert (row["rate"], row["rate_se"]) == (pytest.approx(expected.slope), pytest.approx(expected.stderr))
