"""Several photos of one person: a typical age, how far photos disagree, and how fast the face ages.

The age is the median over a person's photos, as the authors of FAHR-FaceAge use it over photos of one session. The
face-aging rate is the slope of predicted age on time, by ordinary least squares over the dated photos: 1 where a face
ages a year in a year.

Its standard error comes from how much photos of a person disagree beyond the line through them, pooled over all persons
who have a line: with residuals e, s^2 = sum e^2 / sum (photos - 2), and the standard error is s / sqrt(sum (t - mean
t)^2) with the person's own dates t. A person with two dates has a line through the mean of each, so that what is left
is the disagreement of photos of one date. For one person alone it is the usual standard error of a slope. Two things
are assumed: that photos disagree as much for one person as for another, and that their errors are independent. Photos
of one session share light, camera and expression, hence error; many photos of few dates therefore make the standard
error too small, and photos of many dates make it honest.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fahr_hf.models.pipeline_fahr_face import NO_FACE

COLUMNS: dict[str, str] = {
    "person": "string",
    "photos": "int32",
    "no_face": "int32",
    "unreadable": "int32",
    "warnings": "int32",
    "age": "double",
    "sd": "double",
    "iqr": "double",
    "dates": "int32",
    "span": "double",
    "rate": "double",
    "rate_se": "double",
    "note": "string",
    "model": "string",
}
"""Columns of a table of persons, and their types in Parquet.

`photos` are those with an age, of which `warnings` came with a warning; `no_face` and `unreadable` count the others.
`age`, `sd` and `iqr` are median, standard deviation and interquartile range of the predicted ages, in years. `dates`
and `span` (years) are of the photos with an age and a date; `rate` is in years of predicted age a year, `rate_se` its
standard error, and `note` says why one of them, or the age, is missing. `model` is what predicted the ages.
"""

MINIMUM_SPAN = 1.0
"""Years between the first and the last photo from which a rate is given; below, noise is all there is to see."""


def summarise(ages: np.ndarray) -> dict[str, float | None]:
    """Median, standard deviation (of a sample) and interquartile range of one person's predicted ages.

    Args:
        ages: In years, (n,), n may be 0.

    Returns:
        `age`, `sd`, `iqr`; None where there are too few photos: one for the age, two for the others.

    Examples:
        >>> summarise(np.array([40.0, 42.0, 47.0]))
        {'age': 42.0, 'sd': 3.605551275463989, 'iqr': 3.5}
    """
    several = len(ages) > 1
    return {
        "age": float(np.median(ages)) if len(ages) else None,
        "sd": float(np.std(ages, ddof=1)) if several else None,
        "iqr": float(np.subtract(*np.quantile(ages, [0.75, 0.25]))) if several else None,
    }


def aging_rates(people: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, dict[str, Any]]:
    """The face-aging rate of every person, with a standard error from the disagreement of photos of all of them.

    Args:
        people: For each person the times of the dated photos, in years from any origin, and their predicted ages in
            years, (n,) each; n may be 0.

    Returns:
        For each person `dates`, `span`, `rate`, `rate_se` and `note`, as in `COLUMNS`.
    """
    refusals = {person: _refusal(times) for person, (times, _) in people.items()}
    lines = {person: _line(*people[person]) for person, refusal in refusals.items() if refusal is None}
    freedom = sum(len(people[person][0]) - 2 for person in lines)
    squares = sum(left for _, _, left in lines.values())
    answers: dict[str, dict[str, Any]] = {}
    for person, (times, _) in people.items():
        answers[person] = {
            "dates": len(np.unique(times)),
            "span": float(np.ptp(times)) if len(times) else None,
            "rate": None,
            "rate_se": None,
            "note": refusals[person],
        }
        if person in lines:
            slope, spread, _ = lines[person]
            answers[person]["rate"] = slope
            if freedom:
                answers[person]["rate_se"] = float(np.sqrt(squares / freedom / spread))
            else:
                answers[person]["note"] = "no standard error: nobody here has a third dated photo"
    return answers


def group(
    records: Iterable[dict[str, Any]], person_of: Mapping[str, str], date_of: Mapping[str, float], model: str
) -> list[dict[str, Any]]:
    """One row a person, from one record a photo; the largest face of a photo is taken for the person's.

    Args:
        records: What a pipeline's `records` yields.
        person_of: The person of each photo.
        date_of: When photos were taken, in years from any origin; photos without a date are left out.
        model: For the column of that name.

    Returns:
        Rows with the columns of `COLUMNS`, persons in the order of their first photo.
    """
    found: dict[str, list[dict[str, Any]]] = {person: [] for person in person_of.values()}
    for record in records:
        found[person_of[record["photo"]]].append(record)
    dated = any(photo in date_of for photo in person_of)
    aged = {person: [r for r in photos if r["faces"]] for person, photos in found.items()}
    rates = aging_rates({person: _dated(photos, date_of) for person, photos in aged.items()}) if dated else {}
    rows = []
    for person, photos in found.items():
        unreadable = sum(_is_unreadable(record) for record in photos)
        values = {
            **summarise(np.array([record["faces"][0]["age"] for record in aged[person]])),
            **rates.get(person, {}),
            "person": person,
            "photos": len(aged[person]),
            "no_face": len(photos) - len(aged[person]) - unreadable,
            "unreadable": unreadable,
            "warnings": sum(record["faces"][0]["warning"] is not None for record in aged[person]),
            "model": model,
        }
        if not aged[person]:
            values["note"] = "no photo with a face"
        rows.append({name: values.get(name) for name in COLUMNS})
    return rows


def _dated(records: list[dict[str, Any]], date_of: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(date_of[r["photo"]], r["faces"][0]["age"]) for r in records if r["photo"] in date_of]
    times, ages = np.reshape(np.array(pairs, np.float64), (-1, 2)).T
    return times, ages


def _is_unreadable(record: dict[str, Any]) -> bool:
    return record["error"] not in (None, NO_FACE)


def _refusal(times: np.ndarray) -> str | None:
    """Why there can be no rate, if so."""
    if len(np.unique(times)) < 2:
        return f"no rate: {len(np.unique(times))} different dates, two are needed"
    # A common year is 365 of 365.25 days.
    if np.ptp(times) < MINIMUM_SPAN - 0.001:
        return f"no rate: photos span {np.ptp(times):.2f} years, {MINIMUM_SPAN:g} is needed"
    return None


def _line(times: np.ndarray, ages: np.ndarray) -> tuple[float, float, float]:
    """Least-squares slope, the sum of squares of the times about their mean, and that of the residuals."""
    t, a = times - times.mean(), ages - ages.mean()
    spread = t @ t
    slope = t @ a / spread
    residuals = a - slope * t
    return float(slope), float(spread), float(residuals @ residuals)
