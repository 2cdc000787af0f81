"""`fahr-hf calibrate CHECKPOINT DATA...`."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd


def calibrate(
    checkpoint: Annotated[str, typer.Argument(help="Folder of an age model; with --out also an embedded one's name.")],
    data: Annotated[list[Path], typer.Argument(help="Data sets, or their crops from `fahr-hf data crops`.")],
    part: Annotated[str, typer.Option(help="Part of every data set that the intervals are fitted on.")] = "calibration",
    level: Annotated[float, typer.Option(help="Share of true ages that the intervals hold.")] = 0.9,
    flip: Annotated[bool, typer.Option("--flip", help="Also for ages averaged over the mirror image.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for a calibrated copy of the checkpoint.")] = None,
) -> None:
    """Give an age model intervals, from photos that it was neither trained nor chosen on.

    Of photos like these, the intervals hold the given share of true ages among faces of about the same predicted age.
    That is no promise for every true age: the coverage by decade on the part `validation`, where there is one, shows
    what becomes of it. In the checkpoint only config.json changes.
    """
    from fahr_hf.conformal import fit_intervals, save_tables
    from fahr_hf.data.splits import is_test

    if part in ("train", "validation") or is_test(part):
        use = "is for tests alone" if is_test(part) else "took part in training"
        raise ValueError(f"The part {part!r} {use}. Calibrate on photos kept for it, such as the part 'calibration'.")
    source = _source(checkpoint, out)
    name = f"{part} of {', '.join(folder.resolve().name for folder in data)}"
    ways = {"age": False, "age_flip": True} if flip else {"age": False}
    tables = {}
    for key, flipped in ways.items():
        photos = _predict(source, data, part, flipped)
        tables[key] = fit_intervals(photos["age"].to_numpy(), photos["predicted"].to_numpy(), name, level)
    if out is not None:
        shutil.copytree(source, out)
    save_tables(out or source, tables)
    for key, table in tables.items():
        typer.echo(f"{out or source}: {key}, {level:.0%} intervals from {table['photos']} photos, {name}")
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
