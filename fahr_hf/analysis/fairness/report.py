"""Whom does a model serve less well? One page of figures by group, with the largest gaps at equal ages."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fahr_hf.analysis.fairness import age, survival
from fahr_hf.analysis.fairness.figure import draw_groups
from fahr_hf.analysis.fairness.gaps import PERMUTATIONS
from fahr_hf.analysis.fairness.groups import LEAST_EVENTS, groupings
from fahr_hf.evaluation import age_scores
from fahr_hf.reports.document import Picture, Report, Section, Table

_RESEARCH = "{} are research estimates: no medical advice, and no basis for a decision about a person."


def age_fairness(
    table: pd.DataFrame, name: str, labels: Sequence[str] | None = None, draws: int = PERMUTATIONS
) -> Report:
    """Errors of predicted ages, and how often intervals hold the true age, by group.

    Args:
        table: What `predictions.predict_table` returns.
        name: What was scored on what, such as `"fahr-faceage-tiny on utkface, part validation"`.
        labels: Columns of words; None: `sex` and `race`, where there are any.
        draws: How many permutations.

    Returns:
        The report. Its tables are `gaps` (see `gaps.gap_table`) and `groups` (see `age.age_groups`);
        its `numbers` hold `name`, `photos`, `scored`, `drawn` (`"person"` or `"photo"`), `labels`, `permutations` and
        `overall` (`mae` and `bias`, each with `value`, `low`, `high`).

    Raises:
        ValueError: as `age_scores.with_both_ages` and `groups.groupings`.
    """
    scored = age_scores.with_both_ages(table)
    groups = groupings(scored, labels)
    rows, gaps = age.age_groups(scored, groups), age.age_gaps(scored, groups, draws)
    overall = age_scores.overall(scored).loc[["mae", "bias"]]
    drawn = age_scores.drawn_by(scored)[1]
    lines = {"mae": overall.loc["mae", "value"], "bias": 0.0, "coverage": table.attrs.get("level")}
    beside = {
        "mae": "The dashed line is the error of all photos.",
        "bias": "Above 0 people are taken for older than they are.",
        "coverage": "The dashed line is what the intervals are made to hold on average, over photos like those that "
        "they were fitted on.",
    }
    introduction = (
        f"{len(scored):,} of {len(table):,} photos are scored; errors are predicted less true age, in years. "
        f"{_labels(groups, scored)} A group of fewer than {age_scores.LEAST} "
        f"{'people' if drawn == 'person' else 'photos'} keeps its row and has no figures. Intervals are 95 %: of means "
        f"by a bootstrap by {drawn}; of shares by Wilson's method, which takes photos as independent.\n\n"
        + _RESEARCH.format("Predicted ages")
    )
    sections = [
        _gap_section(
            gaps,
            draws,
            "The gap of two groups is the difference of their means that is left when true age, in steps of five "
            "years, is accounted for as well (least squares).",
        ),
        *(_figure_section(rows, *item, lines, beside) for item in age.FIGURES.items() if item[0] in rows),
        _all_groups(rows),
    ]
    numbers = {
        "name": name,
        "photos": len(table),
        "scored": len(scored),
        "drawn": drawn,
        "labels": list(groups),
        "permutations": draws,
        "overall": overall.rename(columns=lambda column: column.removeprefix("value_")).to_dict("index"),
    }
    return Report(f"Fairness: {name}", introduction, sections, numbers)


def survival_fairness(
    people: pd.DataFrame,
    name: str,
    labels: Sequence[str] | None = None,
    horizon: float | None = None,
    draws: int = PERMUTATIONS,
) -> Report:
    """Concordance and calibration of risk scores by group.

    Args:
        people: As for `survival.survival_groups`, with the labels.
        name: What was scored on whom.
        labels: Columns of words; None: `sex` and `race`, where there are any.
        horizon: As for `survival.survival_groups`.
        draws: How many permutations.

    Returns:
        The report. Its tables are `gaps` (see `gaps.gap_table`) and `groups` (see
        `survival.survival_groups`); its `numbers` hold `name`, `people`, `deaths`, `labels`, `permutations`,
        `horizon` and `overall`, the figures of everybody.

    Raises:
        ValueError: too few people or deaths for any figure, people who enter when they have already left, what is no
            probability, what `observed_expected` refuses, and as `groups.groupings`. Messages count rows by
            the table's index, which begins at 0, from 1.
    """
    if "entry" in people:
        _refuse(people, people["entry"] >= people["duration"], "entry", "must be earlier than the end of follow-up")
    if horizon is not None:
        _refuse(people, ~people["probability"].between(0, 1), "probability", "must lie between 0 and 1")
    everybody = pd.Series("all", people.index, dtype="category")
    overall = survival.survival_groups(people, {"everybody": everybody}, horizon).iloc[0]
    if overall["problem"]:
        raise ValueError(f"Nothing can be measured: {overall['problem']}")
    groups = groupings(people, labels)
    rows = survival.survival_groups(people, groups, horizon)
    gaps = survival.survival_gaps(people, groups, horizon, draws)
    beside = {
        "c": "The share of pairs of people, of whom one is known to have died first, in which that one has the higher "
        "score; 0.5 is chance. The dashed line is the figure of everybody. A group of less varied ages has a lower one "
        "for that alone.",
        "oe": f"Deaths by {horizon} (Kaplan-Meier) over the mean predicted probability: above 1 more people die than "
        "was predicted.",
    }
    introduction = (
        f"{len(people):,} people, {int(people['event'].sum()):,} deaths. {_labels(groups, people)} A group of fewer "
        f"than {age_scores.LEAST} people or {LEAST_EVENTS} deaths keeps its row and has no figures. Intervals are 95 %."
        "\n\n" + _RESEARCH.format("Scores")
    )
    sections = [
        _gap_section(
            gaps,
            draws,
            "The gap of two groups is that between what each has more than its ages alone lead to, which is its mean "
            "over the permutations. Where a group makes up most of an age this is smaller than the full difference.",
        ),
        *(
            _figure_section(rows, *item, {"c": overall["c"], "oe": 1.0}, beside)
            for item in survival.FIGURES.items()
            if item[0] in rows
        ),
        _all_groups(rows),
    ]
    numbers = {
        "name": name,
        "people": len(people),
        "deaths": int(people["event"].sum()),
        "labels": list(groups),
        "permutations": draws,
        "horizon": horizon,
        "overall": overall.drop(["label", "group", "people", "events", "problem"]).to_dict(),
    }
    return Report(f"Fairness: {name}", introduction, sections, numbers)


def _refuse(people: pd.DataFrame, wrong: pd.Series, column: str, rule: str) -> None:
    if wrong.any():
        row = people.index[wrong][0]
        raise ValueError(f"The {column} {rule}, got {people[column][row]:g} in row {row + 1}. Correct or remove it.")


def _labels(groups: Mapping[str, pd.Series], table: pd.DataFrame) -> str:
    """What the labels are, and what they are not."""
    single = [name for name in groups if name != "age" and " and " not in name]
    if not single:
        return "The data set has no labels, so there are age groups alone."
    where = ", ".join(sorted(set(table["source"]))) if "source" in table.columns else "this table"
    named = f"{' and '.join(single)} as labelled in {where}"
    return (
        f"Groups are words of the data set ({named}), often a stranger's or a classifier's, and no facts about people."
    )


def _gap_section(gaps: pd.DataFrame, draws: int, what: str) -> Section:
    text = (
        f"{what} p is the share of {draws} permutations of the labels, among people of about the same age, "
        "whose largest gap is at least as large (the data counted as one of them); p holm is adjusted for the number "
        "of labels. A large p is no proof of equal service: with few people no gap is ever found. Age groups are not "
        "compared with each other, since age is what is held equal; crossed with it, a label is compared within them."
    )
    return Section("Largest gaps at equal ages", text, [Table("gaps", "The largest gap by label and figure", gaps)])


def _figure_section(
    rows: pd.DataFrame, figure: str, title: str, lines: Mapping[str, Any], beside: Mapping[str, str]
) -> Section:
    heading = title[0].upper() + title[1:]
    if not rows[figure].notna().any():
        return Section(heading, problem="No group has enough people.")
    drawing = draw_groups(rows, figure, title, lines[figure])
    return Section(heading, parts=[Picture(figure, f"{heading}, by group", drawing, beside[figure])])


def _all_groups(rows: pd.DataFrame) -> Section:
    return Section("All groups", parts=[Table("groups", "Every figure of every group", rows)])
