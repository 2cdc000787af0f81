"""The report on an age model: every table and drawing of this package, with what a reader has to know beside them."""

from collections import Counter

import numpy as np
import pandas as pd

from fahr_hf.conformal import coverage
from fahr_hf.evaluation import age_figures, age_scores
from fahr_hf.evaluation.age_gaps import by_label
from fahr_hf.evaluation.comparison import Comparison, compare_systems
from fahr_hf.reports.document import Picture, Report, Section, Table

_LABELS = ("sex", "race")
_NAMED = 5


def age_report(table: pd.DataFrame, name: str, other: pd.DataFrame | None = None) -> Report:
    """Score predicted ages, and write down what came of it.

    Args:
        table: What `predictions.predict_table` returns.
        name: What was scored on what, such as `"fahr-faceage-tiny on utkface, part validation"`.
        other: Answers of another system to compare with, as `comparison.read_other` returns them.

    Returns:
        The report. Its `numbers` hold `name`, `photos`, `scored`, `drawn` (`"person"` or `"photo"`), `without_age`,
        `without_answer` (number by reason), `overall` (each figure's `value`, `low`, `high`), and with `other`
        `comparison`.

    Raises:
        ValueError: as `age_scores.with_both_ages` and `comparison.compare_systems`.
    """
    scored = age_scores.with_both_ages(table)
    clusters, drawn = age_scores.drawn_by(scored)
    overall = age_scores.overall(scored)
    numbers = {
        "name": name,
        "photos": len(table),
        "scored": len(scored),
        "drawn": drawn,
        "without_age": int(table["age"].isna().sum()),
        "without_answer": _reasons(table),
        "overall": {
            figure: dict(zip(("value", "low", "high"), row, strict=True))
            for figure, row in zip(overall.index, overall.to_numpy().tolist(), strict=True)
        },
    }
    sections = [_all_photos(scored, overall), _by_age(scored), _minors(scored), _labels(scored)]
    sections.append(_intervals(scored, table.attrs.get("level")))
    if "apparent_age" in table.columns:
        sections.append(_apparent_age(scored))
    if other is not None:
        comparison = compare_systems(table, other)
        numbers["comparison"] = _comparison_numbers(comparison)
        sections.append(_comparison(comparison))
    return Report(f"Age: {name}", _introduction(table, scored, clusters, drawn), sections, numbers)


def _introduction(table: pd.DataFrame, scored: pd.DataFrame, clusters: np.ndarray, drawn: str) -> str:
    way = (
        f"by person ({len(np.unique(clusters)):,} persons), since photos of one person err alike"
        if drawn == "person"
        else "by photo, for want of identities: if some photos show the same person, they are somewhat too narrow"
    )
    left_out = {**_reasons(table), "no true age": int(table["age"].isna().sum())}
    listed = ", ".join(f"{number:,} x {reason}" for reason, number in left_out.items() if number)
    return (
        f"{len(scored):,} of {len(table):,} photos are scored; left out: {listed or 'none'}. Errors are predicted less "
        f"true age, in years. Intervals are 95 %: of means by a bootstrap of 2,000 draws {way}; of counted shares by "
        "Wilson's method, which takes photos as independent. Groups of fewer than "
        f"{age_scores.LEAST} photos have no means.\n\n"
        "Predicted ages are research estimates: no medical advice, and no basis for a decision about a person."
    )


def _reasons(table: pd.DataFrame) -> dict[str, int]:
    """How often each kind of reason left a photo without an answer."""
    if "reason" not in table.columns:
        return {}
    # What follows a colon belongs to the single photo.
    return dict(Counter(reason.partition(":")[0] for reason in table["reason"].dropna()).most_common())


def _all_photos(scored: pd.DataFrame, overall: pd.DataFrame) -> Section:
    figures = overall.reset_index(names="figure").assign(figure=list(age_scores.OVERALL.values()))
    return Section(
        "All photos",
        parts=[
            Table(
                "overall",
                f"Figures of {len(scored):,} photos",
                figures,
                "The correlation grows with the range of ages.",
            ),
            Picture(
                "scatter",
                "Predicted and true age",
                age_figures.draw_scatter(scored),
                "A point a photo. Ages in whole years are drawn anywhere within the year.",
            ),
            Picture(
                "bland_altman",
                "Agreement (Bland and Altman)",
                age_figures.draw_bland_altman(scored),
                "Blue: the mean difference, and the limits between which 95 % of normal differences would lie.",
            ),
        ],
    )


def _by_age(scored: pd.DataFrame) -> Section:
    decades = age_scores.by_decade(scored)
    parts: list[Table | Picture] = [
        Table("stages_of_life", "Children, adults, and people of 60 or more", age_scores.by_stage_of_life(scored)),
        Table("decades", "By decade of true age", decades, "mae and bias in years; cs 5: share at most 5 years off."),
    ]
    if decades["mae"].notna().any():
        parts.append(Picture("error_by_age", "Errors by true age", age_figures.draw_error_by_age(decades)))
    return Section(
        "By age",
        "A model that is unsure answers with a middle age: the young then look older and the old younger than they "
        "are, and a mean over all photos hides it.",
        parts,
    )


def _minors(scored: pd.DataFrame) -> Section:
    return Section(
        "Minors and adults",
        f"How often a predicted age falls on the wrong side of {age_scores.ADULT} years.",
        [
            Table(
                "age_of_majority", "Minors taken for adults, and adults for minors", age_scores.age_of_majority(scored)
            )
        ],
    )


def _labels(scored: pd.DataFrame) -> Section:
    found = [label for label in _LABELS if label in scored.columns and scored[label].notna().any()]
    text = (
        "Groups are the words of the data set, given by strangers or by a classifier, and no facts about people. The "
        "gaps are the group's error less that of all others with the label, in years, at equal ages: averaged within "
        "decades of true age, which are weighted by the ages of both together. Compared is the share of the group's "
        "photos in decades that both sides have."
    )
    tables: list[Table | Picture] = [
        Table(f"label_{label}", f"By the data set's label {label}", by_label(scored, label)) for label in found
    ]
    return Section(
        "By the data set's labels",
        text if found else "",
        tables,
        None if found else f"No photo has a label {' or '.join(_LABELS)}.",
    )


def _intervals(scored: pd.DataFrame, level: float | None) -> Section:
    title = "Intervals of single ages"
    if level is None:
        return Section(
            title,
            problem="The checkpoint has no interval table for this way of predicting; `fahr-hf calibrate` makes one.",
        )
    share = coverage(*(scored[name].to_numpy() for name in ("age", "low", "high")))
    return Section(
        title,
        f"The intervals are made to hold {100 * level:g} % of true ages among photos of about the same predicted age. "
        "By true age nothing is promised, and the table shows what becomes of it.",
        [
            Table(
                "coverage", "True ages inside their intervals, by decade of true age", share, "width: median, in years."
            ),
            Picture("coverage", "Coverage and width by true age", age_figures.draw_coverage(share, level)),
        ],
    )


def _apparent_age(scored: pd.DataFrame) -> Section:
    """What people guess from the photo, as another truth and as another system."""
    guessed = scored[scored["apparent_age"].notna()]
    if guessed.empty:
        return Section("Apparent age", problem="No photo that is scored has an apparent age.")
    apparent = guessed.assign(apparent_age=guessed["apparent_age"].astype(np.float64))
    pairs = {
        "predicted and true age": apparent,
        "predicted and apparent age": apparent.assign(age=apparent["apparent_age"]),
        "apparent and true age": apparent.assign(predicted=apparent["apparent_age"]),
    }
    everybody = np.ones(len(apparent), bool)
    rows = [
        age_scores.by_group(pair, {name: everybody}, "error_between", ("mae", "bias", "r"))
        for name, pair in pairs.items()
    ]
    return Section(
        "Apparent age",
        f"Of {len(apparent):,} photos it is known what age people guessed on average; the last row is how well they "
        "did.",
        [Table("apparent_age", "Model, guesses and truth", pd.concat(rows))],
    )


def _comparison(comparison: Comparison) -> Section:
    difference, low, high = comparison.difference
    figures = comparison.figures.reset_index(names="figure").assign(figure=list(age_scores.OVERALL.values()))
    return Section(
        "Another system on the same photos",
        f"Both have an answer for {comparison.photos:,} photos. Our mean absolute error less theirs is "
        f"{difference:+.2f} years ({low:+.2f} to {high:+.2f}, paired bootstrap by {comparison.drawn}; "
        f"p = {comparison.p:.2g}, paired permutation test).\n\n"
        f"Only ours: {_named(comparison.only_ours)}. Only theirs: {_named(comparison.only_theirs)}.",
        [Table("comparison", f"Figures of the same {comparison.photos:,} photos", figures)],
    )


def _comparison_numbers(comparison: Comparison) -> dict[str, object]:
    return {
        "photos": comparison.photos,
        "difference": dict(zip(("value", "low", "high"), comparison.difference, strict=True)),
        "p": comparison.p,
        "only_ours": len(comparison.only_ours),
        "only_theirs": len(comparison.only_theirs),
    }


def _named(names: list[str]) -> str:
    """How many, and the first of them."""
    if not names:
        return "none"
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names):,} ({', '.join(names[:_NAMED])}{more})"
