"""The main figures of a report on an age model, as some lines for a terminal."""

from collections.abc import Iterator

from fahr_hf.reports.cells import shown, shown_table
from fahr_hf.reports.document import Report


def summary(report: Report) -> str:
    """The lines.

    Args:
        report: What `age_report` returns, with or without a protocol's section.
    """
    numbers = report.numbers
    left_out = numbers["photos"] - numbers["scored"]
    head = f"{numbers['scored']:,} photos scored, {left_out:,} left out; 95 % intervals by {numbers['drawn']}"
    rows = list(_rows(report))
    width = max(len(label) for label, _ in rows) + 2
    return "\n".join([numbers["name"], head, *(f"{label:<{width}}{figure}" for label, figure in rows)])


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    """Labels and figures."""
    tables = {table.name: table.data for table in report.tables()}
    error = ["photos", "mae", "mae_low", "mae_high"]
    if "folds" in tables:
        for fold, photos, figure in shown_table(tables["folds"][["fold", *error]])[1]:
            yield f"MAE, fold {fold} (n {photos})", figure
    yield from ((label, figure) for label, figure in shown_table(tables["overall"])[1])
    for age, photos, figure in shown_table(tables["stages_of_life"][["age", *error]])[1]:
        yield f"MAE, {age} (n {photos})", figure
    for mistake, photos, mistaken, figure in shown_table(tables["age_of_majority"])[1]:
        yield f"{mistake} ({mistaken} of {photos})", figure
    if "coverage" in tables:
        yield "true ages inside their intervals", shown_table(tables["coverage"].tail(1))[1][0][2]
    if comparison := report.numbers.get("comparison"):
        value, low, high = (shown(comparison["difference"][end]) for end in ("value", "low", "high"))
        label = f"MAE less the other system's (n {comparison['photos']}, p {shown(comparison['p'])})"
        yield label, f"{value} ({low} to {high})"
