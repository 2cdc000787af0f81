"""`fahr-hf evaluate robustness --pairs PAIRS.csv | --perturb PHOTOS`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fahr_hf.cli.evaluate.shared import json_text, model_name

if TYPE_CHECKING:
    import pandas as pd

    from fahr_hf.analysis.perturbation.sensitivity import Photo
    from fahr_hf.models.pipeline_fahr_face import FacePipeline
    from fahr_hf.reports.document import Report


def robustness(
    pairs: Annotated[
        Path | None,
        typer.Option(help="A csv with person, condition, before, after: photos of the same people in two states."),
    ] = None,
    perturb: Annotated[
        Path | None,
        typer.Option(help="A folder of photos, or a csv with photo and person: each photo is changed in many ways."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="With --pairs: where relative paths begin; the csv's own folder by default.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="With --perturb: this change alone, such as blur; repeat.")
    ] = None,
    age_model: Annotated[
        str | None, typer.Option(help="Age model: embedded, a folder, or org/name; the embedded one by default.")
    ] = None,
    risk_model: Annotated[
        str | None, typer.Option(help="Survival model with a table of risks: its risks are compared as well.")
    ] = None,
    adult: Annotated[
        bool, typer.Option("--adult", help="Declare that everybody shown is an adult; --risk-model demands it.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the report: a page, tables, figures, answers.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Measure what moves a model's answers that should not: make-up, a smile, light, blur, a covered mouth.

    With --pairs, photos before and after: for each condition the mean change, its size, tests of equivalence (within 1
    year, or .1 SD of risk), agreement and Bland-Altman plots. A pair of which one photo is missing, unreadable or
    without a face has a row that says so.

    With --perturb, photos that are changed before a face is looked for: curves of change against strength, the share of
    faces lost, and how far one may go before answers move by more than a year. It takes some seconds a photo.
    """
    if (pairs is None) == (perturb is None):
        raise ValueError("Give either --pairs, a csv of photos before and after, or --perturb, photos to be changed.")
    if perturb is not None and folder is not None:
        raise ValueError("--folder belongs to --pairs; with --perturb, name the folder there.")
    if pairs is not None and only:
        raise ValueError("--only belongs to --perturb.")
    if risk_model is not None and not adult:
        raise ValueError(
            "--risk-model needs --adult, which declares that everybody shown is an adult. Faces whose predicted age is "
            "below 25 years are refused all the same."
        )
    from fahr_hf.analysis.paired.reference_cohort import risk_sd
    from fahr_hf.embedded import default_model
    from fahr_hf.reports.writing import write_report

    names = [model_name(model) for model in (age_model or default_model("face-age"), risk_model) if model]
    pipeline = _open(age_model, risk_model)
    sd = None if risk_model is None else risk_sd(pipeline.model.config.calibration)
    title = f"{' and '.join(names)} on {(pairs or perturb or Path()).name}"
    typer.echo(f"{title} ...", err=True)
    if pairs is not None:
        report, answers = _pairs(pipeline, pairs, folder, title, sd)
    elif perturb is not None:
        report, answers = _perturbed(pipeline, perturb, only, title, sd)
    typer.echo(json_text(report) if as_json else _summary(report))
    if out is not None:
        write_report(report, out)
        answers.to_csv(out / "tables" / "answers.csv", index=False)
        typer.echo(f"{out / 'report.html'}: the report", err=True)


def _open(age_model: str | None, risk_model: str | None) -> "FacePipeline":
    """A pipeline of ages, or one of risks, which gives the ages too."""
    from transformers.utils import logging

    from fahr_hf.pipelines import pipeline

    logging.disable_progress_bar()
    if risk_model is None:
        return pipeline("face-age", age_model)
    return pipeline("face-survival", risk_model, age_model=age_model)


def _pairs(
    pipeline: "FacePipeline", path: Path, folder: Path | None, title: str, sd: float | None
) -> "tuple[Report, pd.DataFrame]":
    from fahr_hf.analysis.paired.answers import answer_pairs, read_pairs
    from fahr_hf.analysis.paired.report import paired_report

    answers = answer_pairs(pipeline, read_pairs(path, folder))
    return paired_report(answers, title, sd), answers


def _perturbed(
    pipeline: "FacePipeline", source: Path, only: list[str] | None, title: str, sd: float | None
) -> "tuple[Report, pd.DataFrame]":
    from tqdm import tqdm

    from fahr_hf.analysis.perturbation.perturbations import PERTURBATIONS, perturbation
    from fahr_hf.analysis.perturbation.report import sensitivity_report
    from fahr_hf.analysis.perturbation.sensitivity import perturbed_answers

    chosen = tuple(map(perturbation, dict.fromkeys(only))) if only else PERTURBATIONS
    # Without a terminal there is no bar.
    photos = tqdm(_photos(source), unit=" photos", disable=None)
    answers = perturbed_answers(pipeline, photos, chosen)
    return sensitivity_report(answers, title, sd), answers


def _photos(source: Path) -> "list[Photo]":
    from fahr_hf.analysis.perturbation.sensitivity import Photo
    from fahr_hf.cli.persons import read_persons
    from fahr_hf.models.pipeline_fahr_face import photo_files

    if source.is_dir():
        found = [Photo(name, None, name) for name in photo_files(source)]
        if not found:
            raise ValueError(f"There are no photos in {source}: no file there has the suffix of an image.")
        return found
    if source.suffix.lower() != ".csv":
        raise ValueError(f"--perturb takes a folder of photos, or a .csv with photo and person; {source} is neither.")
    return [Photo(name, person, name) for name, person in read_persons(str(source))[0].items()]


def _summary(report: "Report") -> str:
    """The main tables as text; the rest is in the report."""
    import pandas as pd

    from fahr_hf.reports.cells import shown_table

    lines = [report.title]
    for table in report.tables():
        if table.name.endswith(("_equivalence", "_tolerance", "left_out")):
            headings, rows = shown_table(table.data)
            lines += ["", table.title, pd.DataFrame(rows, columns=headings).to_string(index=False)]
    return "\n".join(lines)
