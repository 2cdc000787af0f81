"""The report on pairs of photos: what conditions change, whether that is shown to be little, beside the paper."""

import pandas as pd

from fahr_hf.analysis.paired.answers import pairs_of
from fahr_hf.analysis.paired.comparison import LEAST, compare_pairs
from fahr_hf.analysis.paired.equivalence import AGE_MARGIN, RISK_MARGIN
from fahr_hf.analysis.paired.figure import draw_bland_altman
from fahr_hf.analysis.paired.paper import CERTAINTY, PAPER
from fahr_hf.reports.document import Picture, Report, Section, Table

FEW = 30
"""People below which a condition is called small: its intervals are too narrow, and it can show little."""


def _with_ends(*figures: str) -> list[str]:
    return [f"{figure}{end}" for figure in figures for end in ("", "_low", "_high")]


_TABLES = {
    "change": (
        "Change of a photo's answer",
        ["people", "pairs", "incomplete", *_with_ends("difference", "absolute"), "problem"],
        "Difference: after less before; absolute: its mean size. Means over people, 95 % bootstrap intervals over "
        "people. Incomplete pairs take no further part.",
    ),
    "equivalence": (
        "Is it different, is it equivalent?",
        [
            *("people", "difference", "difference_low_90", "difference_high_90"),
            *("p_different", "p_different_holm", "p_equivalent", "p_equivalent_holm", "verdict"),
        ],
        "Paired t test, and two one-sided t tests against the margin, one mean change a person; p, and p adjusted "
        "for the number of conditions (Holm), by which verdicts go at 5 %. The interval to hold against the "
        "margin is that of 90 %, low 90 to high 90. That a difference is not significant shows no equivalence.",
    ),
    "agreement": (
        "Agreement of single photos",
        ["people", "pairs", *_with_ends("icc_2_1", "icc_3_1"), "sem", "sdc", "limit_low", "limit_high"],
        "ICC(2,1) counts a shift common to all people as error, ICC(3,1) does not; both are the higher the more people "
        "differ. sem: standard error of measurement; sdc: smallest change of a person that is more than error; limit: "
        "between both lie 95 % of normal changes (Bland and Altman).",
    ),
}


def paired_report(answers: pd.DataFrame, name: str, risk_sd: float | None = None) -> Report:
    """Compare the answers of pairs of photos.

    Args:
        answers: What `answers.answer_pairs` returned.
        name: Of the model and the pairs, for the heading.
        risk_sd: Standard deviation of risk in the model's reference cohort, where there are risks.

    Returns:
        Its numbers are `name`, `pairs`, `complete` (pairs with both ages) and `problems` (pairs that lack an answer).
    """
    sections = [_section(answers, "age", None)]
    if risk_sd is not None:
        sections.append(_section(answers, "risk", risk_sd))
    complete = int(answers[["age_before", "age_after"]].notna().all(axis=1).sum())
    with_problem = int(answers["problem"].notna().sum())
    introduction = (
        f"{len(answers):,} pairs, {complete:,} of them with both ages; {with_problem:,} lack an answer, and are listed "
        "below with the reason. Of a photo with several faces the largest counts. A person counts once, however many "
        "pairs there are of one condition.\n\n"
        f"The margins of equivalence were fixed before any data: {AGE_MARGIN:g} year either way"
        + (
            f", and {RISK_MARGIN:g} standard deviations of risk in the model's cohort ({risk_sd:.3g}). "
            if risk_sd
            else ". "
        )
        + "Answers are research estimates: no medical advice, and no basis for a decision about a person."
    )
    numbers = {"name": name, "pairs": len(answers), "complete": complete, "problems": with_problem}
    return Report(f"Pairs of photos: {name}", introduction, [*sections, _left_out(answers), paper_section()], numbers)


def paper_section() -> Section:
    """What is known of the paper's figures, with the certainty of each."""
    rows = [
        {
            "condition": each.condition,
            "figure": each.figure,
            "years": "-" if each.years is None else " to ".join(f"{end:g}" for end in sorted(set(each.years))),
            "certainty": each.certainty,
            "note": each.note,
        }
        for each in PAPER
    ]
    used = sorted({each.certainty for each in PAPER})
    return Section(
        "The paper's figures, for reference",
        "Of FAHR-FaceAge on the authors' photos (arXiv 2506.14909): other people and other photos than these, and not "
        "our model. Its method, numbers of people and intervals are not known to us.",
        [
            Table(
                "paper",
                "Predicted age in the paper",
                pd.DataFrame(rows),
                "Certainty " + "; ".join(f"{letter}: {CERTAINTY[letter]}" for letter in used) + ".",
            )
        ],
    )


def _section(answers: pd.DataFrame, kind: str, risk_sd: float | None) -> Section:
    pairs = pairs_of(answers, kind)
    found = compare_pairs(pairs, risk_sd)
    tables: list[Table | Picture] = [
        Table(f"{kind}_{part}", title, found[["condition", *columns]], note)
        for part, (title, columns, note) in _TABLES.items()
    ]
    unit = "years of predicted age" if kind == "age" else "risk"
    if pairs[["before", "after"]].notna().all(axis=1).any():
        picture = Picture(
            f"{kind}_bland_altman",
            "Change against the mean of both answers",
            draw_bland_altman(pairs, unit),
            "Lines: mean change and limits of agreement; bars at the right edge: their 95 % intervals.",
        )
        tables.append(picture)
    return Section(f"Predicted {kind}", f"In {unit}.{_small(found)}", tables)


def _small(found: pd.DataFrame) -> str:
    small = [
        f"{row.condition} ({row.people} {'person' if row.people == 1 else 'people'})"
        for row in found.itertuples()
        if row.people < FEW
    ]
    if not small:
        return ""
    return (
        f" Few people in {', '.join(small)}: below {FEW}, intervals are too narrow and a lack of difference says "
        f"nothing; below {LEAST} there are no intervals, tests or correlations."
    )


def _left_out(answers: pd.DataFrame) -> Section:
    without = answers[answers["problem"].notna()]
    rows = without[["person", "condition", "problem"]].assign(row=without.index + 1)
    title = f"{len(rows):,} of {len(answers):,} pairs"
    return Section(
        "Pairs that lack an answer",
        "None." if rows.empty else "Rows are counted from 1, without the header.",
        [] if rows.empty else [Table("left_out", title, rows[["row", "person", "condition", "problem"]])],
    )
