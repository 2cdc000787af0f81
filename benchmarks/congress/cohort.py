"""Who is analysed: members of Congress who left office alive, observed from that day on; every exclusion is counted.

Only years of birth and death are known, so both are put at the middle of the year. The clock is attained age: somebody
is at risk from the age at leaving office (delayed entry) to death, or to the end of 2024. No one else can be compared:
observed from the first term, people who served long had to live to serve; observed from the last Congress, its date
is itself decided by those who died in it.
"""

from typing import Literal

import numpy as np
import pandas as pd

FOLLOW_UP_END = 2025.0
"""31 December 2024, as a decimal year."""

LAST_ENTRY_YEAR = 2023
_MID_YEAR = 0.5
_CONGRESS = 2.0
_YOUNGEST, _OLDEST = 21, 110

ANALYSED = "analysed"
IMPOSSIBLE = "impossible dates"
IN_OFFICE = "died in office"
STILL_IN_OFFICE = f"not out of office by {LAST_ENTRY_YEAR}"
UNOBSERVED = "died or follow-up ended before observation began"
NO_SEX = "sex not recorded (presidents)"
NO_FACE = "no face found in the portrait, or a duplicate"


def select_cohort(
    members: pd.DataFrame, with_face: set[str], origin: Literal["left office", "first term"] = "left office"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Apply the rules to the members of one part.

    Args:
        members: A row a person: `subject_id`, `sex`, `birth_year`, `first_term_start` and `last_congress_start`
            (year-month-day), `chamber`, `portrait_source`, `death_year` (missing while alive); others stay as they are.
        with_face: Those whose portrait has a crop.
        origin: When observation begins. From the `first term` on, those who died in office or are still there belong
            to the cohort: biased, see the plan.

    Returns:
        Those analysed, with `entry` and `duration` (attained age in years), `event`, `entry_year`, `age_at_first_term`
        and `tenure` (years from the first term to leaving office), `first_term` (decimal year), `chamber` (presidents
        counted with the Senate) and `government` (whether the portrait is); and the flow: `step`, `people`, `deaths`.
    """
    birth = members["birth_year"] + _MID_YEAR
    first, last = decimal_year(members["first_term_start"]), decimal_year(members["last_congress_start"])
    death, dead = members["death_year"], members["death_year"].notna()
    left = last + _CONGRESS
    impossible = (first - birth < _YOUNGEST) | (first >= left) | (death < np.floor(last))
    impossible |= ~dead & (FOLLOW_UP_END - birth > _OLDEST)
    from_office = origin == "left office"
    start = left if from_office else first
    end = np.where(dead, death + _MID_YEAR, FOLLOW_UP_END)
    rules = {
        IMPOSSIBLE: impossible,
        IN_OFFICE: from_office & (death < np.floor(left)),
        STILL_IN_OFFICE: from_office & (np.floor(left) > LAST_ENTRY_YEAR),
        UNOBSERVED: end <= start,
        NO_SEX: members["sex"].isna(),
        NO_FACE: ~members["subject_id"].isin(with_face),
    }
    outcome = np.select([np.asarray(rule, bool) for rule in rules.values()], list(rules), ANALYSED)
    people = members.assign(
        entry=start - birth,
        duration=end - birth,
        event=dead,
        entry_year=np.floor(start).astype(int),
        age_at_first_term=first - birth,
        tenure=left - first,
        first_term=first,
        chamber=members["chamber"].replace("President", "Senate"),
        government=members["portrait_source"] == "bio_guide",
    )
    flow = [("in this part", len(members), int(dead.sum()))]
    flow += [(step, int((outcome == step).sum()), int(dead[outcome == step].sum())) for step in (*rules, ANALYSED)]
    return people[outcome == ANALYSED].reset_index(drop=True), pd.DataFrame(flow, columns=["step", "people", "deaths"])


def decimal_year(dates: pd.Series) -> pd.Series:
    """Years with the part of the year that has passed: 1 January 2021 is 2021.0."""
    days = pd.to_datetime(dates)
    return days.dt.year + (days.dt.day_of_year - 1) / 365.25
