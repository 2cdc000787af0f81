"""`fahr-hf evaluate age CHECKPOINT DATA`."""

from pathlib import Path
from typing import Annotated

import typer

from fahr_hf.cli.evaluate.shared import json_text, model_name, model_sources


def age(
    checkpoint: Annotated[str, typer.Argument(help="Age model: embedded, a folder, or org/name.")],
    data: Annotated[
        Path, typer.Argument(help="A data set (`fahr-hf data build`), or its crops (`fahr-hf data crops`).")
    ],
    part: Annotated[str | None, typer.Option(help="Part of the data to score; validation by default.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report: a page, tables, figures, predictions.")
    ] = None,
    other: Annotated[
        Path | None,
        typer.Option(help="Another system's answers, a csv with id (the photo_id) and age: compared in pairs."),
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Average the ages of each crop and its mirror image.")] = False,
    folds: Annotated[
        Path | None,
        typer.Option(
            help="Subject-exclusive protocol: a database of Paplham and Franc, a JSON file. Scored are the test photos "
            "of its folds, found by name in the data set, whatever their part; each fold has its figure."
        ),
    ] = None,
    fold: Annotated[
        int | None, typer.Option(help="With --folds: only this one, from 0, for weights fitted on its training photos.")
    ] = None,
    appa_real: Annotated[
        bool,
        typer.Option(
            "--appa-real", help="APPA-REAL protocol: real ages of its test split; DATA is `data build appa_real`."
        ),
    ] = False,
    ledger: Annotated[
        Path | None,
        typer.Option(help="Where scorings of test parts are written; benchmarks/test_ledger.csv by default."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Measure how well predicted ages agree with true ones.

    Errors with intervals, by age, for minors, by the data set's labels of sex and race at equal ages, and how often
    true ages lie in their intervals. Photos without a face are counted, not hidden.

    A test part is scored to report on a finished model: every scoring writes its figures into the test ledger first.
    """
    if fold is not None and folds is None:
        raise ValueError("--fold says which of --folds; give the database too.")
    if (part is not None) + (folds is not None) + appa_real > 1:
        raise ValueError("--part, --folds and --appa-real each say which photos are scored; give one of them.")
    from transformers.utils import logging

    from fahr_hf.data.ledger import LEDGER, check_ledger
    from fahr_hf.data.splits import is_test
    from fahr_hf.evaluation.age_report import age_report
    from fahr_hf.evaluation.age_summary import summary
    from fahr_hf.evaluation.comparison import read_other
    from fahr_hf.evaluation.predictions import predict_table
    from fahr_hf.evaluation.protocols import appa_real_section, predict_folds
    from fahr_hf.evaluation.recording import record_report
    from fahr_hf.reports.writing import write_report

    logging.disable_progress_bar()
    if folds or appa_real or is_test(part or ""):
        check_ledger(ledger or LEDGER)
    theirs = None if other is None else read_other(other)
    part = "test" if appa_real else part or "validation"
    model, photos = model_name(checkpoint), f"test photos of {folds.name}" if folds else f"part {part}"
    typer.echo(f"{model} on {data}, {photos} ...", err=True)
    if folds is not None:
        table, section = predict_folds(checkpoint, data, folds, fold, flip)
        part, protocol = "test_folds" if fold is None else f"test_fold{fold}", [section]
    else:
        table = predict_table(checkpoint, data, part, flip)
        protocol = [appa_real_section(table)] if appa_real else []
    sources = ", ".join(sorted(set(table["source"])))
    report = age_report(table, f"{model} on {sources}, {photos}{', flip averaged' if flip else ''}", theirs)
    report.sections[:0] = protocol
    if is_test(part):
        record_report(report, model, sources, part, ledger or LEDGER)
    typer.echo(json_text(report) if as_json else summary(report))
    if out is not None:
        report.numbers["sources"] = model_sources(checkpoint, data)
        write_report(report, out)
        table.to_csv(out / "tables" / "predictions.csv", index=False)
        typer.echo(f"{out / 'report.html'}: the report", err=True)
