"""What a scoring of a test part leaves in the test ledger."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from fahr_hf.data.ledger import TestScore, record_test_score
from fahr_hf.reports.document import Report

_OVERALL = {"mae": "MAE (years)", "bias": "bias (years)", "r": "correlation"}

# Split, number of photos, metric; value, low, high.
_Line = tuple[str, int, str, tuple[float, float, float]]


def record_report(report: Report, checkpoint: str, data: str, split: str, ledger: Path) -> list[TestScore]:
    """Write the main figures of a report on a test part into the ledger, before anybody sees them.

    These are mean absolute error, bias and correlation of all photos, the mean absolute errors of the stages of life
    that have one, and the difference to another system; of several folds also the mean absolute error of each.

    Args:
        report: What `age_report` returns for a test part, with the section of the folds where there is one.
        checkpoint: Name of the model.
        data: Name of the data set.
        split: `test` or `test_...`.
        ledger: The csv file.

    Returns:
        The lines.

    Raises:
        ValueError, FileNotFoundError: as `record_test_score`.
    """
    scores = []
    for name, photos, metric, figure in _lines(report, split):
        value, low, high = (round(number, 3) for number in figure)
        scores.append(record_test_score(checkpoint, data, name, photos, metric, value, (low, high), ledger))
    return scores


def _lines(report: Report, split: str) -> Iterator[_Line]:
    tables = {table.name: table.data for table in report.tables()}
    for figure, metric in _OVERALL.items():
        values = report.numbers["overall"][figure]
        yield split, report.numbers["scored"], metric, (values["value"], values["low"], values["high"])
    stages = tables["stages_of_life"]
    for _, stage in stages[stages["mae"].notna()].iterrows():
        yield split, stage["photos"], f"MAE {stage['age']} (years)", _mae(stage)
    if "folds" in tables and len(tables["folds"]) > 1:
        for _, fold in tables["folds"].dropna().iterrows():
            yield f"test_fold{fold['fold']}", fold["photos"], _OVERALL["mae"], _mae(fold)
    if comparison := report.numbers.get("comparison"):
        difference = comparison["difference"]
        values = (difference["value"], difference["low"], difference["high"])
        yield split, comparison["photos"], "MAE less another system's (years)", values


def _mae(row: pd.Series) -> tuple[float, float, float]:
    return float(row["mae"]), float(row["mae_low"]), float(row["mae_high"])
