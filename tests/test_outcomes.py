"""Outcomes: durations and events as they are, or made of dates; everything wrong with a table is told at once."""

import dataclasses
import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fahr_hf.data.crops import Crops, load_crops
from fahr_hf.data.outcomes import add_outcomes, join_outcomes, one_outcome_each, outcomes_of, read_outcomes

DATES = pd.DataFrame(
    {
        "subject_id": ["a", "a", "b", "c"],
        "photo_date": ["2000-01-01", "2004-01-01", "2000-01-01", "2001-01-01"],
        "last_date": ["", "", "2012-01-01", "2003-07-02"],
        "death_date": ["2008-01-01", "2008-01-01", None, "2005-01-01"],
    }
)
YEARS = pd.DataFrame({"subject_id": list("abcd"), "duration": [1, 2.5, 4, 6], "event": [1, 0, 1, 0]})


def complaint(table: pd.DataFrame, **options) -> list[str]:
    with pytest.raises(ValueError, match="rows") as caught:
        outcomes_of(table, **options)
    return [line.strip() for line in str(caught.value).splitlines()]


def test_years_and_events_come_out_as_they_are_and_entry_is_0_where_nobody_has_one():
    outcomes = outcomes_of(YEARS)
    assert outcomes.columns.tolist() == ["subject_id", "duration", "event", "entry"]
    assert outcomes["duration"].tolist() == [1.0, 2.5, 4.0, 6.0]
    assert outcomes["event"].tolist() == [True, False, True, False]
    assert outcomes["entry"].tolist() == [0.0] * 4
    assert [str(kind) for kind in outcomes.dtypes[1:]] == ["float64", "bool", "float64"]


@pytest.mark.parametrize(
    "events", [[1, 0, 1, 0], [True, False, True, False], ["1", "0", "true", "False"], [1.0, 0.0, 1, 0]]
)
def test_events_are_numbers_words_or_truth_values(events):
    assert outcomes_of(YEARS.assign(event=events))["event"].tolist() == [True, False, True, False]


def test_dates_become_years_since_the_photo_so_that_photos_of_one_person_have_durations_of_their_own():
    outcomes = outcomes_of(DATES)
    days = [
        (datetime.date(2008, 1, 1) - datetime.date(2000, 1, 1)).days,
        (datetime.date(2008, 1, 1) - datetime.date(2004, 1, 1)).days,
        (datetime.date(2012, 1, 1) - datetime.date(2000, 1, 1)).days,
        (datetime.date(2005, 1, 1) - datetime.date(2001, 1, 1)).days,
    ]
    assert outcomes["duration"].tolist() == pytest.approx([day / 365.25 for day in days], abs=1e-12)
    # Death counts where it is known, whenever a person was last seen before.
    assert outcomes["event"].tolist() == [True, True, False, True]
    assert outcomes["entry"].tolist() == [0.0] * 4
    assert outcomes["entry_year"].tolist() == [2000, 2004, 2000, 2001]


@pytest.mark.parametrize(
    "kind",
    [
        pd.to_datetime,
        lambda days: pd.to_datetime(days).dt.tz_localize("UTC"),
        lambda days: pd.to_datetime(days).dt.date,
    ],
    ids=["timestamps", "timestamps with a zone", "dates of Python"],
)
def test_columns_of_dates_are_read_like_text(kind):
    typed = DATES.replace("", None).assign(**{name: kind(DATES[name].replace("", None)) for name in DATES.columns[1:]})
    pd.testing.assert_frame_equal(outcomes_of(typed), outcomes_of(DATES))


def test_who_entered_after_the_photo_is_at_risk_from_entry_on_and_nobody_before_the_photo():
    outcomes = outcomes_of(DATES.assign(entry_date=["2001-01-01", "1999-01-01", "2000-01-01", "2001-01-02"]))
    assert outcomes["entry"].tolist() == pytest.approx([366 / 365.25, 0, 0, 1 / 365.25])
    assert outcomes["duration"].tolist() == outcomes_of(DATES)["duration"].tolist()


def test_without_dates_of_photos_time_starts_at_entry():
    renamed = DATES.rename(columns={"photo_date": "entry_date"})
    pd.testing.assert_frame_equal(outcomes_of(renamed), outcomes_of(DATES))


def test_by_attained_age_people_die_at_their_age_and_enter_at_that_of_the_photo():
    born = DATES.assign(birth_date=["1950-01-01", "1950-01-01", "1960-01-01", "1950-01-01"])
    outcomes = outcomes_of(born, clock="attained age")
    assert outcomes["entry"].tolist() == pytest.approx([50, 54, 40, 51], abs=0.003)
    assert outcomes["duration"].tolist() == pytest.approx([58, 58, 52, 55], abs=0.003)


def test_a_horizon_changes_time_and_event_together_and_a_death_on_its_day_counts():
    outcomes = outcomes_of(YEARS, horizon=4)
    assert outcomes["duration"].tolist() == [1, 2.5, 4, 4]
    assert outcomes["event"].tolist() == [True, False, True, False]
    sooner = outcomes_of(YEARS, horizon=3)
    assert sooner["duration"].tolist() == [1, 2.5, 3, 3]
    assert sooner["event"].tolist() == [True, False, False, False]


def test_a_horizon_counts_from_each_persons_entry():
    entered = YEARS.assign(entry=[0, 0, 3.0, 1.0])
    outcomes = outcomes_of(entered, horizon=2)
    assert outcomes["duration"].tolist() == [1, 2, 4, 3]
    assert outcomes["event"].tolist() == [True, False, True, False]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_file_of_any_kind_is_read_alike_and_identifiers_keep_their_zeros(tmp_path, suffix):
    table = YEARS.assign(subject_id=["007", "008", "009", "010"])
    path = tmp_path / f"registry.{suffix}"
    match suffix:
        case "csv":
            table.to_csv(path, index=False)
        case "jsonl":
            table.to_json(path, orient="records", lines=True)
        case "parquet":
            table.to_parquet(path)
    pd.testing.assert_frame_equal(read_outcomes(path, horizon=5), outcomes_of(table, horizon=5), check_dtype=False)
    with pytest.raises(ValueError, match=r"registry\.xlsx is no table"):
        read_outcomes(tmp_path / "registry.xlsx")


def test_columns_of_other_names_are_named_and_naming_a_date_makes_dates_count():
    renamed = YEARS.rename(columns={"duration": "FU", "event": "Died"})
    pd.testing.assert_frame_equal(outcomes_of(renamed, {"duration": "FU", "event": "Died"}), outcomes_of(YEARS))
    both = DATES.assign(duration=[1.0, 2, 3, 4], event=[1, 1, 0, 1])
    assert outcomes_of(both)["duration"].tolist() == [1, 2, 3, 4]
    named = outcomes_of(both, {"photo_date": "photo_date"})
    assert named["duration"].tolist() == outcomes_of(DATES)["duration"].tolist()


def test_an_offset_comes_along_as_a_number():
    outcomes = outcomes_of(YEARS.assign(known=["0.5", "-1", "0", "2"]), {"offset": "known"})
    assert outcomes["offset"].tolist() == [0.5, -1, 0, 2]


def test_one_error_tells_all_that_is_wrong_with_years_by_kind_with_row_numbers():
    bad = pd.DataFrame(
        {
            "subject_id": ["a", "a", "b", "c", "d", "e", "f", "g", "h", "i"],
            "duration": [1, 2, "x", 0.5, -1, 0, float("inf"), None, 1825, 9],
            "event": [1, 0, 0, "1", "dead", "True", 1, "", 0, 1],
            "entry": [0, 0, 0, 0.6, 0, 0, -1, 0, 0, None],
        }
    )
    lines = complaint(bad)
    assert lines[0] == "10 of 10 rows of the table of outcomes cannot be used:"
    for expected in (
        "one person with different outcomes, 2 rows: 1 (a died), 2 (a lives)",
        "duration is no number, 2 rows: 3 (x), 7 (inf)",
        "entry not before duration, 1 row: 4 (0.6 and 0.5)",
        "event is neither 0 nor 1, 1 row: 5 (dead)",
        "duration negative, 1 row: 5 (-1)",
        "entry negative, 1 row: 7 (-1)",
        "duration missing, 1 row: 8",
        "event missing, 1 row: 8",
        "duration over 120 years, 1 row: 9 (1825)",
        "entry missing, 1 row: 10",
    ):
        assert expected in lines
    assert any(line.startswith("no time from the photo") and line.endswith(", 1 row: 6") for line in lines)
    assert lines[-1].startswith("Rows are counted from 1, without the header.")


def test_one_error_tells_all_that_is_wrong_with_dates():
    bad = pd.DataFrame(
        [
            ("a", "2000-01-01", "2010-01-01", "", 0),
            ("b", "2000-13-01", "", "2010-01-01", 1),
            ("c", "2000", "", "1990-01-01", 0),
            ("d", "", "", "2000-01-01", 0),
            ("e", "2000-01-01", "1999-01-01", "", 1),
            ("f", "2000-01-01", "2000-01-01", "", 1),
            ("g", "2000-01-01", "", "", 1),
            ("h", "1800-01-01", "2010-01-01", "", 1),
            ("i", "2000-01-01", "2010-01-01", "", 1),
            ("i", "2000-01-01", "2011-01-01", "", 1),
        ],
        columns=["subject_id", "photo_date", "death_date", "last_date", "event"],
    )
    lines = complaint(bad)
    assert lines[0] == "10 of 10 rows of the table of outcomes cannot be used:"
    for expected in (
        "death_date without event, 1 row: 1 (2010-01-01)",
        "event without death_date, 2 rows: 2, 7",
        "photo_date is no date (year-month-day), 2 rows: 2 (2000-13-01), 3 (2000)",
        "photo_date missing, 1 row: 4",
        "death before the photo, 1 row: 5 (1999-01-01 before 2000-01-01)",
        "neither death_date nor last_date, 1 row: 7",
        "over 120 years, 1 row: 8 (210)",
        "one person with different outcomes, 2 rows: 9 (i died 2010-01-01), 10 (i died 2011-01-01)",
    ):
        assert expected in lines
    assert any(line.startswith("no time from the photo") and line.endswith(", 1 row: 6") for line in lines)


def test_who_was_last_seen_before_the_photo_or_born_after_it_is_told():
    early = DATES.assign(last_date=["", "", "1999-01-01", ""])
    assert "last seen before the photo, 1 row: 3 (1999-01-01 before 2000-01-01)" in complaint(early)
    young = DATES.assign(birth_date=["1950-01-01", "1950-01-01", "2000-02-01", "1940-01-01"])
    assert "birth after the photo, 1 row: 3 (2000-02-01 after 2000-01-01)" in complaint(young, clock="attained age")


def test_by_attained_age_one_person_cannot_die_at_two_ages():
    twice = pd.DataFrame({"subject_id": ["a", "a", "b"], "duration": [70, 71, 80], "event": 1, "entry": [50, 52, 60]})
    assert "one person with different outcomes, 2 rows: 1 (a died at 70.00), 2 (a died at 71.00)" in complaint(
        twice, clock="attained age"
    )
    # Since the photo, two photos of one death are at different times from it.
    assert len(outcomes_of(twice)) == 3


def test_nobody_dead_is_told_and_no_pair_that_can_be_compared():
    assert complaint(YEARS.assign(event=0))[0].startswith("All 4 rows are censored: nobody died")
    assert complaint(YEARS, horizon=0.5)[0].startswith("All 4 rows are censored within the horizon of 0.5 years")
    assert complaint(YEARS.assign(duration=2, event=1))[0].startswith("No pair of people is comparable (4 deaths")
    # The one who lives longer enters only after the death.
    late = pd.DataFrame({"duration": [1.0, 5.0], "event": [1, 0], "entry": [0, 2]})
    assert complaint(late)[0].startswith("No pair of people is comparable (1 deaths in 2 rows)")
    assert len(outcomes_of(late.assign(entry=[0, 0.9]))) == 2
    # Who is censored on the day of a death outlived it.
    assert len(outcomes_of(pd.DataFrame({"duration": [1.0, 1.0], "event": [1, 0]}))) == 2


def test_columns_that_are_missing_or_unknown_are_named_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"No column event .*there are subject_id, duration\. Needed are duration and"):
        outcomes_of(YEARS.drop(columns="event"))
    with pytest.raises(ValueError, match="No column photo_date"):
        outcomes_of(DATES.drop(columns="photo_date"))
    with pytest.raises(ValueError, match="No column birth_date"):
        outcomes_of(DATES, clock="attained age")
    with pytest.raises(ValueError, match=r"No column Died .*there are subject_id, duration, event"):
        outcomes_of(YEARS, {"event": "Died"})
    with pytest.raises(ValueError, match="cannot be named for 'died'; it can for subject_id, duration"):
        outcomes_of(YEARS, {"died": "event"})
    with pytest.raises(ValueError, match="positive number of years, got 0"):
        outcomes_of(YEARS, horizon=0)


def test_outcomes_join_crops_by_person_and_crops_of_nobody_known_are_left_out(crop_cache):
    crops = load_crops(crop_cache)
    people = [f"p{number % 4}" for number in range(len(crops))]
    crops = with_column(crops, "subject_id", people)
    outcomes = outcomes_of(YEARS.assign(subject_id=["p0", "p1", "p2", "q"])).assign(offset=[0.1, 0.2, 0.3, 0.4])
    joined = join_outcomes(crops, outcomes)
    kept = [number for number, person in enumerate(people) if person != "p3"]
    assert len(joined) == len(kept) < len(crops)
    np.testing.assert_array_equal(joined.images, crops.images[kept])
    assert joined.column("photo_id").tolist() == crops.column("photo_id")[kept].tolist()
    wanted = {"p0": 1.0, "p1": 2.5, "p2": 4.0}
    assert joined.column("duration").tolist() == [wanted[people[number]] for number in kept]
    assert joined.column("event").dtype == bool
    assert joined.column("offset").tolist() == [outcomes["offset"][int(people[number][1])] for number in kept]

    with pytest.raises(ValueError, match=r"1 people have several rows .*: p0\."):
        join_outcomes(crops, pd.concat([outcomes, outcomes[:1].assign(duration=9.0)]))
    with pytest.raises(ValueError, match=r"None of 10 crops is of anybody in the table of 1 people"):
        join_outcomes(crops, outcomes[3:])
    padded = outcomes.assign(subject_id=outcomes["subject_id"] + " ")
    assert len(join_outcomes(crops, padded)) == len(joined)
    with pytest.raises(ValueError, match="1 rows of outcomes have no subject_id"):
        join_outcomes(crops, outcomes.assign(subject_id=["p0", "p1", None, "q"]))
    with pytest.raises(ValueError, match="the table has duration, event"):
        join_outcomes(crops, outcomes.drop(columns="subject_id"))


def test_crops_with_outcomes_of_their_own_are_read_and_a_photo_of_nobody_known_is_a_person(crop_cache):
    crops = load_crops(crop_cache)
    years = [float(number) for number in range(1, len(crops) + 1)]
    crops = with_column(crops, "duration", [None, *years[1:]])
    crops = with_column(crops, "event", [None, *(number % 2 for number in range(1, len(crops)))])
    added = add_outcomes(crops, horizon=5)
    assert added.column("duration").tolist() == [min(year, 5.0) for year in years[1:]]
    assert added.column("subject_id").tolist() == added.column("photo_id").tolist()
    assert len(added) == len(crops) - 1


def test_of_a_person_whose_photos_are_of_several_years_those_with_the_outcome_of_the_first_stay(crop_cache):
    crops = with_column(load_crops(crop_cache).select(np.arange(5)), "subject_id", list("aaabb"))
    crops = with_column(crops, "duration", [4.0, 6.0, 6.0, 2.0, 2.0])
    added = add_outcomes(with_column(crops, "event", [True, True, True, False, False]))
    assert one_outcome_each(added).column("photo_id").tolist() == added.column("photo_id")[1:].tolist()


def with_column(crops: Crops, name: str, values: list) -> Crops:
    table = crops.table.drop_columns([name] if name in crops.table.column_names else [])
    return dataclasses.replace(crops, table=table.append_column(name, pa.array(values)))
