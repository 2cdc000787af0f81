"""The example in docs/how-to/clinical_cohort.md is a table that the commands take, and means what the page says."""

import io
import re
from pathlib import Path

import pandas as pd
import pytest

from fahr_hf.data.outcomes import outcomes_of
from fahr_hf.data.splits import part_of

PAGE = Path(__file__).parents[1] / "docs/how-to/clinical_cohort.md"


@pytest.fixture(scope="module")
def table():
    (block,) = re.findall(r"```csv\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return pd.read_csv(io.StringIO(block))


def test_its_dates_become_the_outcomes_that_a_calendar_gives(table):
    outcomes = outcomes_of(table)
    assert outcomes["event"].tolist() == [True, False, False, True]
    days = [(pd.Timestamp(row.last_date) - pd.Timestamp(row.photo_date)).days for row in table.itertuples()]
    assert (outcomes["duration"] * 365.25).round(6).tolist() == days


def test_the_person_who_came_a_year_after_the_photo_counts_from_then_on(table):
    entry = outcomes_of(table).set_index("subject_id")["entry"]
    assert entry["p3"] == pytest.approx(365 / 365.25)
    assert (entry.drop("p3") == 0).all()


def test_a_horizon_ends_time_and_event_together(table):
    ended = outcomes_of(table, horizon=2).set_index("subject_id")
    assert (ended.loc["p1", "duration"], ended.loc["p1", "event"]) == (2, False)
    assert ended.loc["p4", "event"]


def test_its_splits_are_known(table):
    parts = {part_of(row.subject_id, row.split, validation_given=True) for row in table.itertuples()}
    assert parts <= {"train", "calibration", "validation", "test_south"}
    assert "test_south" in parts
