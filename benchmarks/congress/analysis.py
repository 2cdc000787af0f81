"""The benchmark as a report: the analyses of PLAN.md, in its order, for one checkpoint and one part."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cohort import select_cohort
from controls import exchangeable, permuted_tests, predictable
from effects import Effect, bootstrap_hazard_ratio, effect, standardised
from figures import draw_flow, draw_forest, draw_permutations
from known import BASELINE, KNOWN, fit
from pairs import alike, pair_concordance
from sensitivity import sensitivity

from fahr_hf.clinical.prediction import linear_predictor
from fahr_hf.data.ledger import record_test_score
from fahr_hf.reports.document import Picture, Report, Section, Table

PHOTO_FREE = "no photo: baseline and era, fitted on train"


@dataclass(frozen=True, eq=False)
class Material:
    """What is analysed.

    Args:
        people: The cohort of one part, with the columns of `select_cohort`, of era, and `known` (log hazard by the
            covariates, fitted on the part train).
        first_term: The same people and those who died in office or are still there, from the first term on.
        flow: Of the cohort.
    """

    people: pd.DataFrame
    first_term: pd.DataFrame
    flow: pd.DataFrame


def gather(members: pd.DataFrame, train: pd.DataFrame, with_face: set[str]) -> Material:
    """Select the cohort of a part.

    Args:
        members: Of the part, from `read_members`.
        train: Of the part train.
        with_face: Those whose portrait has a crop.
    """
    people, flow = select_cohort(members, with_face)
    return Material(
        people=people.assign(known=log_hazard(people, select_cohort(train, with_face)[0])),
        first_term=select_cohort(members, with_face, "first term")[0],
        flow=flow,
    )


def log_hazard(people: pd.DataFrame, train: pd.DataFrame) -> np.ndarray:
    """What baseline and era say of people, (n,), fitted on the cohort of the part train; its mean there is 0."""
    found = fit(train, KNOWN)
    return linear_predictor(found, people).to_numpy() - found.linear_predictor.mean()


def analyse(
    material: Material,
    scores: pd.DataFrame,
    others: dict[str, pd.Series],
    name: str,
    part: str,
    resamples: int = 2000,
    permutations: int = 200,
) -> Report:
    """Everything that PLAN.md asks for.

    Args:
        material: From `gather`.
        scores: From `scores.score_faces`, of everybody in it.
        others: Further scores to stand beside: name to values, indexed by `subject_id`.
        name: Of the checkpoint.
        part: Of the data.
        resamples: Of the bootstrap of persons.
        permutations: Of faces within cells.
    """
    people = material.people.merge(scores, "left", on="subject_id", validate="one_to_one")
    first_term = material.first_term.merge(scores, "left", on="subject_id", validate="one_to_one")
    first_term["score"] = (first_term["score"] - people["score"].mean()) / people["score"].std()
    for column in ("score", "score_grey", "score_masked"):
        people[column] = standardised(people[column])
    primary = effect(people, "score", KNOWN)
    bootstrap = bootstrap_hazard_ratio(people, "score", KNOWN, resamples)
    compared = _compared(people, {name: people["score"], **_aligned(others, people)}, resamples)
    found = sensitivity(people, first_term)
    permuted = permuted_tests(people, permutations)
    rank = (1 + np.sum(permuted >= primary.chisq)) / (1 + np.isfinite(permuted).sum())
    verdict = _verdict(primary)
    sections = [
        Section(
            "Who was analysed",
            "Members who left office alive by 2023, from that day on, on the clock of attained age.",
            [Picture("flow", "Flow of people", draw_flow(material.flow)), Table("flow", "Flow", material.flow)],
        ),
        Section(
            "Primary analysis",
            verdict,
            [Table("primary", "The score after baseline and era", _primary(primary, bootstrap), _PRIMARY_NOTE)],
        ),
        Section(
            "Other scores, and pairs of people who are alike",
            "Each score alone, and after baseline and era. C since leaving office is mostly age.",
            [Table("scores", "Scores compared", compared, _SCORES_NOTE)],
        ),
        Section(
            "Sensitivity",
            parts=[
                Picture("forest", "Hazard ratios under other choices", draw_forest(found)),
                Table("sensitivity", "Hazard ratios under other choices", found),
            ],
        ),
        Section(
            "Negative controls",
            f"Faces were exchanged {permutations} times among people of the same year of birth and sex "
            f"({exchangeable(people)} of {len(people)} people share their cell with somebody). "
            f"The p-value of the faces as they are is {rank:.3f}.",
            [
                Table("predictable", "What the score predicts and no face should show", predictable(people, resamples)),
                Picture("permutations", "Faces exchanged", draw_permutations(permuted, primary.chisq)),
            ],
        ),
    ]
    numbers: dict[str, Any] = {
        "checkpoint": name,
        "part": part,
        "primary": {**primary._asdict(), "bootstrap_low": bootstrap[1], "bootstrap_high": bootstrap[2]},
        "verdict": verdict,
        "permutation_p": rank,
    }
    return Report(f"{name} on the congress benchmark, part {part}", _INTRODUCTION, sections, numbers)


def record(report: Report, ledger: Path) -> None:
    """Write the main figures of a report on a test part into the ledger."""
    name, part, primary = (report.numbers[key] for key in ("checkpoint", "part", "primary"))
    scores = next(table.data for table in report.tables() if table.name == "scores").set_index("score")
    lines = {"HR per SD after baseline + era": (primary["hr"], primary["bootstrap_low"], primary["bootstrap_high"])}
    for column, metric in _CONCORDANCES.items():
        lines[metric] = tuple(scores.loc[name, [column, f"{column}_low", f"{column}_high"]])
    for metric, figures in lines.items():
        value, low, high = (round(float(figure), 3) for figure in figures)
        record_test_score(name, "congress", part, primary["n"], metric, value, (low, high), ledger)


def _compared(people: pd.DataFrame, scores: dict[str, pd.Series], resamples: int) -> pd.DataFrame:
    duration, event, entry = (people[column].to_numpy() for column in ("duration", "event", "entry"))
    pairs = alike(people)
    rows = []
    for name, values in {**scores, PHOTO_FREE: people["known"]}.items():
        risk = values.to_numpy()
        row: dict[str, Any] = {"score": name}
        # What baseline and era say cannot be added to themselves.
        for prefix, covariates in (("hr", KNOWN), ("hr_baseline", BASELINE)):
            if name != PHOTO_FREE:
                found = effect(people.assign(compared=standardised(values)), "compared", covariates)
                row |= {prefix: found.hr, f"{prefix}_low": found.hr_low, f"{prefix}_high": found.hr_high}
        at_age = pair_concordance(risk, duration, event, entry, resamples=resamples)
        within = pair_concordance(risk, duration, event, entry, pairs, resamples)
        since = pair_concordance(risk, duration - entry, event, resamples=resamples)
        for column, c in (("c_age", at_age), ("c_alike", within), ("c_since", since)):
            row |= {column: c.c, f"{column}_low": c.c_low, f"{column}_high": c.c_high}
        rows.append(row | {"pairs_alike": within.pairs})
    return pd.DataFrame(rows)


def _aligned(others: dict[str, pd.Series], people: pd.DataFrame) -> dict[str, pd.Series]:
    masked = {"face masked out": people["score_masked"]}
    return masked | {name: values.loc[people["subject_id"]].set_axis(people.index) for name, values in others.items()}


def _primary(found: Effect, bootstrap: tuple[float, float, float]) -> pd.DataFrame:
    row = found._asdict() | {"bootstrap_low": bootstrap[1], "bootstrap_high": bootstrap[2]}
    return pd.DataFrame({"figure": list(row), "value": pd.Series(row.values(), dtype=object)})


def _verdict(found: Effect) -> str:
    told = f"{found.hr:.2f} ({found.hr_low:.2f} to {found.hr_high:.2f}) per standard deviation, p = {found.p:.3g}"
    if found.hr <= 1:
        return f"A failure: the hazard ratio is not above 1, {told}."
    if found.p < 0.05:
        return f"The face adds to baseline and era: hazard ratio {told}."
    return (
        f"The face was not found to add anything to baseline and era: hazard ratio {told}. A hazard ratio of "
        f"{found.detectable_hr:.2f} or more would have been found with a power of 80 %."
    )


_CONCORDANCES = {
    "c_alike": "C within pairs of the same sex, age +-2, first term +-5",
    "c_since": "C of the score alone, since leaving office",
}
_INTRODUCTION = """
Does a portrait tell more about how long a member of the US Congress lives after leaving office than what is known
without it, and than the age of the photograph? Research estimates about politicians of one country; they say nothing
reliable about any single person.

Baseline: sex, year of birth (spline), age at first term, tenure, chamber, whether the portrait is the government's.
Era: saturation, lack of colour, size of the file and of the photo, flat margins.
"""
_PRIMARY_NOTE = (
    "hr: per standard deviation of the score. chisq, p: likelihood-ratio test, one degree of freedom. r2: share of the "
    "score's variance that baseline and era explain. detectable_hr: least hazard ratio found with a power of 80 %. "
    "bootstrap: percentile interval, persons drawn."
)
_SCORES_NOTE = (
    "hr: per standard deviation after baseline and era; hr baseline: after the baseline alone. c age: C on attained "
    "age with delayed entry; c alike: the same within pairs of the same sex, age at first term +-2, first term +-5 "
    "years; c since: C of time since leaving office, descriptive."
)
