"""The primary analysis again, where one thing is otherwise: which photos, which people, what the model is shown."""

from collections.abc import Iterator, Sequence

import pandas as pd
from effects import FEWEST_DEATHS, effect
from known import BASELINE, KNOWN

from fahr_hf.clinical.design import Covariate

# Dates of the oath differ by some days.
_BRACKET = 4.05
_BORN = (1900, 1935)

PRIMARY = "primary: after baseline and era"

_Analysis = tuple[str, pd.DataFrame, str, Sequence[Covariate]]


def sensitivity(people: pd.DataFrame, first_term: pd.DataFrame) -> pd.DataFrame:
    """Hazard ratios per standard deviation of the score under each choice.

    Args:
        people: The cohort, with `score`, `score_grey` and `score_masked` in standard deviations within it.
        first_term: Everybody, observed from the first term on, with `score` on the same scale.

    Returns:
        A row an analysis: `analysis`, the fields of `Effect`, and `note` where nothing may be claimed. An analysis that
        cannot be made, such as one of a subset in which nobody of a group died, has a row without numbers that says so.
    """
    rows = []
    for name, some, score, covariates in _analyses(people, first_term):
        try:
            found = effect(some, score, covariates)
            note = f"fewer than {FEWEST_DEATHS} deaths: no claim" if found.deaths < FEWEST_DEATHS else ""
            rows.append({"analysis": name, **found._asdict(), "note": note})
        except ValueError as error:
            rows.append({"analysis": name, "n": len(some), "deaths": int(some["event"].sum()), "note": str(error)})
    return pd.DataFrame(rows)


def _analyses(people: pd.DataFrame, first_term: pd.DataFrame) -> Iterator[_Analysis]:
    to_last_congress = people["tenure"] - 2
    yield PRIMARY, people, "score", KNOWN
    yield "after the baseline alone", people, "score", BASELINE
    yield "first to last Congress at most 4 years", people[to_last_congress <= _BRACKET], "score", KNOWN
    yield "government portraits only", people[people["government"]], "score", KNOWN
    yield f"born {_BORN[0]} to {_BORN[1]}", people[people["birth_year"].between(*_BORN)], "score", KNOWN
    yield "shown in grey", people, "score_grey", KNOWN
    yield "face masked out", people, "score_masked", KNOWN
    yield "observed from the first term (biased)", first_term, "score", KNOWN
