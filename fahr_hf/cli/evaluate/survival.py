"""`fahr-hf evaluate survival TABLE --out FOLDER`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd


def survival(
    table: Annotated[Path, typer.Argument(help="One row a person, .csv, .parquet or .jsonl: scores and outcome.")],
    out: Annotated[Path, typer.Option(help="Folder of the report; a report that is there is replaced.")],
    duration: Annotated[
        str, typer.Option(help="Column: time from the photo to death or end of follow-up.")
    ] = "duration",
    event: Annotated[str, typer.Option(help="Column: 1 died, 0 censored.")] = "event",
    entry: Annotated[str | None, typer.Option(help="Column: time at which observation began (delayed entry).")] = None,
    identifier: Annotated[str | None, typer.Option("--id", help="Column: one value a person, to find doubles.")] = None,
    face_age: Annotated[str | None, typer.Option(help="Column: age estimated from the face, years.")] = None,
    face_survival: Annotated[
        str | None, typer.Option(help="Column: risk estimated from the face, higher is riskier.")
    ] = None,
    age: Annotated[str | None, typer.Option(help="Column: chronological age at the photo, years.")] = None,
    covariate: Annotated[list[str] | None, typer.Option(help="Column to adjust for, besides age; repeat.")] = None,
    categorical: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN or COLUMN:REFERENCE: a covariate of groups; text always is. Repeat."),
    ] = None,
    subgroup: Annotated[list[str] | None, typer.Option(help="Column of groups for the forest plots; repeat.")] = None,
    horizon: Annotated[
        list[float] | None, typer.Option(help="Time to judge predictions at; repeat. Without: the median follow-up.")
    ] = None,
    groups: Annotated[int, typer.Option(help="Groups of FaceSurvival; 4 are quartiles.")] = 4,
    unit: Annotated[str, typer.Option(help="Unit of all times, for the labels.")] = "years",
    strata: Annotated[str | None, typer.Option(help="Column: baseline hazards of their own in the Cox tables.")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Column: dependent people; robust errors in the Cox tables.")
    ] = None,
    external: Annotated[list[Path] | None, typer.Option(help="Table of another cohort; repeat.")] = None,
    cohort: Annotated[str | None, typer.Option(help="Column of cohorts, if they are in one table.")] = None,
    development: Annotated[
        str | None, typer.Option(help="With --cohort: the one that everything is estimated on.")
    ] = None,
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
    weights: Annotated[
        list[Path] | None, typer.Option(help="Checkpoint behind the scores: its hash goes into the report; repeat.")
    ] = None,
    imputations: Annotated[int, typer.Option(min=2, help="Imputed tables, where covariates are missing.")] = 20,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Evaluate FaceAge and FaceSurvival against survival: the tables and figures of a manuscript, in one report.

    Flow of people, Table 1, follow-up, Cox regressions alone and adjusted, dose-response, Kaplan-Meier, FaceAge gap,
    subgroups, comparison of models, the combination of all in one, calibration, other cohorts, missing covariates,
    proportional hazards, a methods paragraph and checklists: report.html, report.md, numbers.json, every table and
    figure as a file, and the combination as models/combination.json, which fahr_hf.clinical.load_cox reads. The scores
    are research estimates.
    """
    from fahr_hf.clinical.report.assembly import survival_report
    from fahr_hf.clinical.report.reading import read_table, split_cohorts
    from fahr_hf.clinical.report.settings import ReportSettings
    from fahr_hf.reports.sources import sources
    from fahr_hf.reports.writing import write_report

    data = read_table(table)
    others: dict[str, pd.DataFrame] = {path.stem: read_table(path) for path in external or []}
    if len(others) < len(external or []):
        raise ValueError("Two tables of --external have the same name; a report tells cohorts apart by it.")
    if cohort is not None:
        data, development, within = split_cohorts(data, cohort, development)
        others |= within
    references = dict(_reference(text) for text in categorical or [])
    named = [*(covariate or []), *(column for column in references if column not in (covariate or []))]
    settings = ReportSettings(
        duration,
        event,
        face_age,
        face_survival,
        age,
        entry,
        identifier,
        covariates=tuple(named),
        references=references,
        subgroups=tuple(dict.fromkeys(subgroup or [])),
        horizons=tuple(horizon or []),
        groups=groups,
        unit=unit,
        strata=strata,
        cluster=cluster,
        part=part or ("part" if "part" in data.columns else None),
        out_of_fold=out_of_fold,
        development=development or table.stem,
        imputations=imputations,
        seed=seed,
    )
    files = {"data": table, **{f"external_{path.stem}": path for path in external or []}}
    files |= {f"weights_{number}": path for number, path in enumerate(weights or [], 1)}
    report = survival_report(data, settings, others, sources(**files))
    write_report(report, out)
    _tell(report.numbers, out)


def _reference(text: str) -> tuple[str, str | None]:
    column, _, reference = text.partition(":")
    return column, reference or None


def _tell(numbers: dict[str, Any], out: Path) -> None:
    """The main numbers, and where the rest is."""
    for name, people in numbers["people"].items():
        typer.echo(f"{name}: {people['analysed']} of {people['read']} people analysed, {people['events']} deaths")
    for row in numbers.get("hazard_ratios", {}).values():
        kind = "multivariable" if "hr_multivariable" in row else "univariable"
        hr, low, high = (row[f"hr_{kind}{end}"] for end in ("", "_low", "_high"))
        typer.echo(f"{row['exposure']}: {kind} hazard ratio {hr:.2f} ({low:.2f} to {high:.2f}), model {row['model']}")
    for name, problem in numbers["not_shown"].items():
        typer.secho(f"not shown in {name}: {problem}", fg="yellow", err=True)
    typer.echo(f"{out / 'report.html'}: the report, with tables, figures and numbers beside it")
