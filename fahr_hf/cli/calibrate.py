"""`fahr-hf calibrate CHECKPOINT DATA...`, and `fahr-hf calibrate CHECKPOINT CROPS... --cohort NAME`."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fahr_hf.cli.data.build import named_columns
from fahr_hf.cli.train.options import Clock

if TYPE_CHECKING:
    import pandas as pd


_AGE, _SURVIVAL = "Of an age model", "Of a survival model"


def calibrate(
    context: typer.Context,
    checkpoint: Annotated[str, typer.Argument(help="Folder of a model; with --out also an embedded one's name.")],
    data: Annotated[
        list[Path],
        typer.Argument(help="Data sets, or their crops from `fahr-hf data crops`; for a survival model crops."),
    ],
    part: Annotated[str, typer.Option(help="Part of every data set that is fitted on.")] = "calibration",
    out: Annotated[Path | None, typer.Option(help="Folder for a calibrated copy of the checkpoint.")] = None,
    level: Annotated[
        float, typer.Option(help="Share of true ages that the intervals hold.", rich_help_panel=_AGE)
    ] = 0.9,
    flip: Annotated[
        bool, typer.Option("--flip", help="Also for ages averaged over the mirror image.", rich_help_panel=_AGE)
    ] = False,
    cohort: Annotated[
        str | None, typer.Option(help="Name of the people, which every answer will show.", rich_help_panel=_SURVIVAL)
    ] = None,
    outcomes: Annotated[
        Path | None,
        typer.Option(
            help="Table of outcomes by subject_id (csv, jsonl, Parquet), if the crops have none.",
            rich_help_panel=_SURVIVAL,
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=COLUMN, such as event=Died: the table's own name; repeat.", rich_help_panel=_SURVIVAL),
    ] = None,
    clock: Annotated[Clock, typer.Option(help="What durations count from.", rich_help_panel=_SURVIVAL)] = Clock.photo,
) -> None:
    """Give an age model intervals, or a survival model percentiles, from photos that it never learned from.

    Nothing about these photos may have been used to train or to choose the model. In the checkpoint only config.json
    changes.

    Ages: of photos like these, the intervals hold the given share of true ages among faces of about the same predicted
    age. That is no promise for every true age: the coverage by decade on the part `validation`, where there is one,
    shows what becomes of it.

    Survival: a Cox regression turns the score into a log hazard ratio, and quantiles into a percentile within the
    cohort; of each person one photo counts. Outcomes are the columns duration, event and entry (years), or dates, see
    `fahr-hf train survival`. Probabilities of survival are given only if deaths in the latest decade of entry were as
    many as expected; the year of entry comes from photo_date or entry_date, or a column entry_year.
    """
    from fahr_hf.data.splits import is_test

    if part in ("train", "validation") or is_test(part):
        use = "is for tests alone" if is_test(part) else "took part in training"
        raise ValueError(f"The part {part!r} {use}. Calibrate on photos kept for it, such as the part 'calibration'.")
    source = _source(checkpoint, out)
    name = f"{part} of {', '.join(folder.resolve().name for folder in data)}"
    if not _check_kind(context, source):
        _calibrate_ages(source, data, part, name, level, flip, out)
    elif cohort is None:
        raise ValueError("A survival model needs --cohort, the name of these people, which every answer will show.")
    else:
        _calibrate_risks(source, data, part, name, cohort, outcomes, column or [], clock, out)


def _check_kind(context: typer.Context, source: Path) -> bool:
    """Whether a checkpoint is a survival model; options of the other kind are an error."""
    from fahr_hf.models.configuration_fahr_face import FahrFaceConfig

    is_survival = "FahrFaceForSurvival" in (FahrFaceConfig.from_pretrained(source).architectures or ())
    kind, foreign = ("a survival", _AGE) if is_survival else ("an age", _SURVIVAL)
    for option in context.command.params:
        given = context.get_parameter_source(str(option.name))
        if getattr(option, "rich_help_panel", None) == foreign and given and given.name == "COMMANDLINE":
            raise ValueError(f"{option.opts[0]} means nothing for {kind} model; leave it out.")
    return is_survival


def _save(source: Path, out: Path | None, tables: dict[str, dict[str, Any]]) -> Path:
    from fahr_hf.calibration_tables import save_tables

    if out is not None:
        shutil.copytree(source, out)
    save_tables(out or source, tables)
    return out or source


def _calibrate_risks(
    source: Path,
    crops: list[Path],
    part: str,
    name: str,
    cohort: str,
    outcomes: Path | None,
    columns: list[str],
    clock: Clock,
    out: Path | None,
) -> None:
    from fahr_hf.cli.calibrate_survival import risk_table, show_risks

    table, held_out = risk_table(source, crops, part, cohort, outcomes, named_columns(columns), clock.value)
    saved = _save(source, out, {"survival": table})
    people = f"{table['people']} people, {table['events']} of whom died, {name}"
    typer.echo(f"{saved}: risks within {cohort!r} by {clock}, from {people}")
    show_risks(table, held_out)


def _calibrate_ages(
    source: Path, data: list[Path], part: str, name: str, level: float, flip: bool, out: Path | None
) -> None:
    from fahr_hf.conformal import fit_intervals

    ways = {"age": False, "age_flip": True} if flip else {"age": False}
    tables = {}
    for key, flipped in ways.items():
        photos = _predict(source, data, part, flipped)
        tables[key] = fit_intervals(photos["age"].to_numpy(), photos["predicted"].to_numpy(), name, level)
    saved = _save(source, out, tables)
    for key, table in tables.items():
        typer.echo(f"{saved}: {key}, {level:.0%} intervals from {table['photos']} photos, {name}")
        typer.echo(_bins(table).to_string(index=False, float_format="{:.1f}".format))
        _show_coverage(source, data, ways[key], table)


def _source(checkpoint: str, out: Path | None) -> Path:
    from fahr_hf.embedded import FOLDER, locate

    source = Path(locate(checkpoint))
    if not source.is_dir():
        raise ValueError(f"{checkpoint!r} is on the Hub. Download it first, and give its folder.")
    if out is None and source.resolve().is_relative_to(FOLDER.resolve()):
        raise ValueError(f"{checkpoint!r} belongs to the package and is not changed. Give --out for a calibrated copy.")
    if out is not None and out.exists():
        raise ValueError(f"{str(out)!r} exists. Give --out the name of a folder that does not.")
    return source


def _predict(source: Path, data: Sequence[Path], part: str, flip: bool) -> "pd.DataFrame":
    """Photos of a part with an age and an answer."""
    import pandas as pd
    from transformers.utils import logging

    from fahr_hf.evaluation.predictions import predict_table

    logging.disable_progress_bar()
    tables = []
    for folder in data:
        typer.echo(f"{part} of {folder}{', flip averaging' if flip else ''} ...", err=True)
        tables.append(predict_table(source, folder, part, flip)[["age", "predicted"]])
    return pd.concat(tables).dropna()


def _bins(table: dict[str, Any]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(
        {
            "predicted from": [0.0, *table["edges"]],
            "photos": table["counts"],
            "years below": table["below"],
            "years above": table["above"],
        }
    )


def _show_coverage(source: Path, data: Sequence[Path], flip: bool, table: dict[str, Any]) -> None:
    from fahr_hf.conformal import coverage, intervals

    held_out = [folder for folder in data if _has_validation(folder)]
    photos = _predict(source, held_out, "validation", flip) if held_out else None
    if photos is None or photos.empty:
        typer.echo("There is no part `validation` with ages to show coverage on.")
        return
    shown = coverage(photos["age"].to_numpy(), *intervals(table, photos["predicted"].to_numpy()))
    typer.echo("Coverage by true age on the part `validation`, which the weights may have been chosen on:")
    typer.echo(shown.to_string(index=False, float_format="{:.3f}".format))


def _has_validation(folder: Path) -> bool:
    from fahr_hf.data.crops import is_cache, read_labels
    from fahr_hf.evaluation.predictions import open_photos

    parts = read_labels(folder, ["part"]) if is_cache(folder) else open_photos(folder).to_table(["part"])
    return "validation" in parts["part"].unique().to_pylist()
