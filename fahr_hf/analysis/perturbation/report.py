"""The report on perturbed photos: curves, and how far one may go."""

import pandas as pd

from fahr_hf.analysis.perturbation.figure import draw_curves
from fahr_hf.analysis.perturbation.sensitivity import AGE_LIMIT, LEAST, RISK_LIMIT, curves, tolerances
from fahr_hf.reports.document import Picture, Report, Section, Table


def sensitivity_report(answers: pd.DataFrame, name: str, risk_sd: float | None = None) -> Report:
    """What became of the answers for perturbed photos.

    Args:
        answers: What `sensitivity.perturbed_answers` returned.
        name: Of the model and the photos, for the heading.
        risk_sd: Standard deviation of risk in the model's reference cohort, where there are risks.

    Returns:
        Its numbers are `name`, `photos`, `answered` (photos with an answer as they are), `people` (with an answer) and
        `without_answer` (number by reason).

    Raises:
        ValueError: no photo has an answer as it is.
    """
    unanswered = answers[answers["perturbation"].isna()]
    known = answers[answers["perturbation"].notna()]
    photos = known.drop_duplicates("photo")
    if photos.empty:
        raise ValueError(
            f"None of the {len(unanswered)} photos has an answer as it is; of the first: {unanswered['reason'].iloc[0]}"
        )
    people = photos["person"].nunique() + int(photos["person"].isna().sum())
    sections = [_section(known, "age", 1.0, AGE_LIMIT, "years of predicted age")]
    if risk_sd is not None:
        sections.append(_section(known, "risk", risk_sd, RISK_LIMIT, "standard deviations of risk in the cohort"))
    reasons = {str(reason): int(count) for reason, count in unanswered["reason"].value_counts().items()}
    numbers = {
        "name": name,
        "photos": len(photos) + len(unanswered),
        "answered": len(photos),
        "people": people,
        "without_answer": reasons,
    }
    introduction = (
        f"{len(photos):,} of {numbers['photos']:,} photos have an answer as they are, of {people:,} people; "
        "each is its own comparison. The photo is changed before a face is looked for, and the same face is followed; "
        f"where it is not found, it counts as lost, and not in the changes. Bands and intervals are 95 %, by a "
        f"bootstrap of people; below {LEAST} photos there are none.\n\n"
        "Coverings, colours and the turned cylinder are drawings: they show what an answer rests on. What real make-up "
        "or a real turn of the head does, pairs of photos show. Answers are research estimates."
    )
    return Report(f"Perturbed photos: {name}", introduction, [*sections, _left_out(unanswered)], numbers)


def _section(known: pd.DataFrame, kind: str, unit: float, limit: float, words: str) -> Section:
    found = curves(known, kind, unit)
    if found.empty:
        return Section(f"Predicted {kind}", problem=f"No photo has a {kind} as it is.")
    far = tolerances(found, limit)
    few = f" Fewer than {LEAST} photos: no intervals." if found["photos"].max() < LEAST else ""
    return Section(
        f"Predicted {kind}",
        f"Changes are in {words}.{few}",
        [
            Table(
                f"{kind}_tolerance",
                f"How far one may go before the mean absolute change passes {limit:g}",
                far,
                f"passes at: the strength, on straight lines between those tried, in the unit; - where {limit:g} is "
                "not passed up to `tested to`, where `absolute` is the mean absolute change and `lost` the share of "
                "faces that were not found. identity: the strength that changes nothing.",
            ),
            Picture(
                f"{kind}_curves",
                "Change by strength",
                draw_curves(found, limit, words),
                "Every panel has its own scale; the dotted line is the same limit in all.",
            ),
            Table(
                f"{kind}_curves",
                "The same as numbers",
                found,
                "photos: those that were changed, as some are too small already to be cut or shrunk so far; lost: "
                "share of faces not found; refused: share without a risk; change: after less before.",
            ),
        ],
    )


def _left_out(unanswered: pd.DataFrame) -> Section:
    rows = unanswered[["photo", "reason"]]
    return Section(
        "Photos without an answer as they are",
        "None." if rows.empty else "",
        [] if rows.empty else [Table("left_out", f"{len(rows):,} photos", rows)],
    )
