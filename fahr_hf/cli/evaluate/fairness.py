"""`fahr-hf evaluate fairness age CHECKPOINT DATA` and `fahr-hf evaluate fairness survival TABLE`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fahr_hf.cli.evaluate.shared import model_name, model_sources

if TYPE_CHECKING:
    import pandas as pd

    from fahr_hf.reports.document import Report

fairness = typer.Typer(help="Find out whom answers serve less well, by the labels of the data.", no_args_is_help=True)

_Label = Annotated[
    list[str] | None, typer.Option(help="Column of groups; repeat. Without: sex and race, where there are any.")
]
_Permutations = Annotated[int, typer.Option(min=99, help="Of the labels; the smallest p is 1 / (1 + this).")]
_Out = Annotated[Path | None, typer.Option(help="Folder for the report: a page, tables, figures, numbers.")]


@fairness.command()
def age(
    checkpoint: Annotated[str, typer.Argument(help="Age model: embedded, a folder, or org/name.")],
    data: Annotated[
        Path, typer.Argument(help="A data set (`fahr-hf data build`), or its crops (`fahr-hf data crops`).")
    ],
    part: Annotated[str, typer.Option(help="Part of the data to score.")] = "validation",
    out: _Out = None,
    label: _Label = None,
    permutations: _Permutations = 999,
    flip: Annotated[bool, typer.Option("--flip", help="Average the ages of each crop and its mirror image.")] = False,
    ledger: Annotated[
        Path | None,
        typer.Option(help="Where scorings of test parts are written; benchmarks/test_ledger.csv by default."),
    ] = None,
) -> None:
    """Errors, bias and coverage of predicted ages by sex, race, age group and crossings, as the data set labels them.

    With the largest gap of each at equal ages, and p of a permutation test. With --out RUN/fairness, `fahr-hf card RUN`
    puts the gaps into the model's card.

    A test part is scored to report on a finished model: every scoring writes its figures into the test ledger first.
    """
    from transformers.utils import logging

    from fahr_hf.analysis.fairness.report import age_fairness
    from fahr_hf.data.ledger import LEDGER, check_ledger
    from fahr_hf.data.splits import is_test
    from fahr_hf.evaluation.predictions import predict_table

    logging.disable_progress_bar()
    if is_test(part):
        check_ledger(ledger or LEDGER)
    model = model_name(checkpoint)
    typer.echo(f"{model} on {data}, part {part} ...", err=True)
    table = predict_table(checkpoint, data, part, flip)
    sources = ", ".join(sorted(set(table["source"])))
    name = f"{model} on {sources}, part {part}{', flip averaged' if flip else ''}"
    report = age_fairness(table, name, label, permutations)
    if is_test(part):
        _record(report, model, sources, part, ledger or LEDGER)
    report.numbers["sources"] = model_sources(checkpoint, data)
    _tell(report, out)


@fairness.command()
def survival(
    table: Annotated[Path, typer.Argument(help="One row a person, .csv, .parquet or .jsonl: score, age and outcome.")],
    duration: Annotated[
        str, typer.Option(help="Column: time from the photo to death or end of follow-up.")
    ] = "duration",
    event: Annotated[str, typer.Option(help="Column: 1 died, 0 censored.")] = "event",
    entry: Annotated[str | None, typer.Option(help="Column: time at which observation began (delayed entry).")] = None,
    risk: Annotated[str, typer.Option(help="Column: the score, higher is riskier.")] = "risk",
    age: Annotated[str, typer.Option(help="Column: chronological age at the photo, years.")] = "age",
    probability: Annotated[
        str | None, typer.Option(help="Column: predicted probability of death by --horizon, for calibration.")
    ] = None,
    horizon: Annotated[float | None, typer.Option(help="Time that --probability is for, in the unit of times.")] = None,
    identifier: Annotated[str | None, typer.Option("--id", help="Column: one value a person, to find doubles.")] = None,
    part: Annotated[
        str | None, typer.Option(help="Column of parts; people of the part train are refused. Without: `part`, if any.")
    ] = None,
    out_of_fold: Annotated[
        bool | None,
        typer.Option(
            "--out-of-fold/--held-out",
            help="Declare that every score comes from a model that had not seen the person (cross-fitting), or that "
            "nobody in the table trained the model.",
        ),
    ] = None,
    out: _Out = None,
    label: _Label = None,
    permutations: _Permutations = 999,
) -> None:
    """Concordance and calibration of risk scores by sex, race, age group and crossings, as the table labels them.

    With the largest gap of each at equal ages, and p of a permutation test. Calibration needs predicted probabilities
    (--probability, --horizon). The scores are research estimates.
    """
    if (probability is None) != (horizon is None):
        raise ValueError("--probability and --horizon belong together: the one is of death by the other. Give both.")
    from fahr_hf.analysis.fairness.groups import USUAL
    from fahr_hf.analysis.fairness.report import survival_fairness
    from fahr_hf.clinical.report.reading import check_table, read_table
    from fahr_hf.clinical.report.settings import ReportSettings
    from fahr_hf.reports.sources import sources

    read = read_table(table)
    settings = ReportSettings(
        duration,
        event,
        face_survival=risk,
        age=age,
        entry=entry,
        identifier=identifier,
        covariates=() if probability is None else (probability,),
        subgroups=tuple(label or [name for name in USUAL if name in read.columns]),
        part=part or ("part" if "part" in read.columns else None),
        out_of_fold=out_of_fold,
    )
    names = {duration: "duration", event: "event", risk: "risk", age: "age"}
    names |= {column: name for column, name in ((entry, "entry"), (probability, "probability")) if column is not None}
    checked = check_table(read, settings, table.name)
    people = checked.rename(columns=names).dropna(subset=list(names.values()))
    typer.echo(f"{len(people)} of {len(read)} people have everything that is needed ...", err=True)
    report = survival_fairness(people, f"{risk} in {table.stem}", label, horizon, permutations)
    report.numbers["sources"] = sources(data=table)
    _tell(report, out)


def _record(report: "Report", model: str, sources: str, part: str, ledger: Path) -> None:
    """Mean absolute errors of all photos and of the labels' groups, for the ledger, before anybody sees them."""
    from fahr_hf.data.ledger import record_test_score

    overall = report.numbers["overall"]["mae"]
    lines = [("MAE (years)", report.numbers["scored"], overall["value"], overall["low"], overall["high"])]
    groups = next(table.data for table in report.tables() if table.name == "groups")
    for _, row in groups[groups["mae"].notna()].iterrows():
        metric = f"MAE {row['label']}: {row['group']} (years)"
        lines.append((metric, row["photos"], row["mae"], row["mae_low"], row["mae_high"]))
    for metric, photos, *figure in lines:
        value, low, high = (round(float(number), 3) for number in figure)
        record_test_score(model, sources, part, int(photos), metric, value, (low, high), ledger)


def _tell(report: "Report", out: Path | None) -> None:
    """The largest gaps, and where the rest is."""
    from fahr_hf.reports.cells import shown
    from fahr_hf.reports.writing import write_report

    typer.echo(report.numbers["name"])
    gaps: pd.DataFrame = next(table.data for table in report.tables() if table.name == "gaps")
    for _, row in gaps.iterrows():
        text = row["problem"] or (
            f"{shown(row['gap'])} between {row['highest']} and {row['lowest']}, p = {shown(row['p'])}, "
            f"{shown(row['p_holm'])} by Holm"
        )
        typer.echo(f"{row['figure']} by {row['label']}: {text}")
    if out is not None:
        write_report(report, out)
        typer.echo(f"{out / 'report.html'}: the report", err=True)
