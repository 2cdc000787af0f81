"""`fahr-hf data build NAME SOURCE OUT`."""

from pathlib import Path
from typing import Annotated

import typer

# Written out, since the sources take long to import and --help must be quick. A test compares.
NAMES = (
    "utkface",
    "imdb_clean",
    "agedb",
    "appa_real",
    "fairface",
    "lagenda",
    "morph",
    "public_figures",
    "congress",
    "table",
)


def build(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(NAMES)}; the last for photos of your own.")],
    source: Annotated[Path, typer.Argument(help="Folder it was downloaded to.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    ages: Annotated[
        tuple[float, float] | None, typer.Option(help="Youngest and oldest; a photo without an age passes.")
    ] = None,
    require: Annotated[
        list[str] | None, typer.Option(help="Column that must have a value, such as age; repeatable.")
    ] = None,
    folds: Annotated[Path | None, typer.Option(help="Database of the folds of Paplham and Franc, a JSON file.")] = None,
    fold: Annotated[int | None, typer.Option(help="With --folds: which one, from 0.")] = None,
    all_train: Annotated[
        bool, typer.Option("--all-train", help="Hold nothing out, for pre-training; only for a set without splits.")
    ] = False,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="With 'table', FIELD=COLUMN: what the table's column is; repeatable. Fields: image, photo_id, "
            "subject_id, age, sex, race, split, box (one column, or four with commas)."
        ),
    ] = None,
    set_name: Annotated[
        str | None, typer.Option("--name", help="With 'table': name of the data set; by default the folder's.")
    ] = None,
) -> None:
    """Turn photos and labels as people download them into one data set: Parquet files, and a card.

    Every photo gets a part. What cannot be used is left out, counted, and listed with its reason in rejects.parquet.

    'table' takes a folder with a csv, jsonl or Parquet table, or with photos alone; sex must be m, f, male or female.
    """
    if name not in NAMES:
        raise ValueError(f"There is no data set {name!r}; there are {', '.join(NAMES)}.")
    if name != "table" and (column or set_name):
        raise ValueError(f"--column and --name belong to 'table'; the columns of {name} are known.")
    if (folds is None) != (fold is None):
        raise ValueError("--folds and --fold go together.")

    from tqdm.auto import tqdm

    from fahr_hf.data.build import Selection
    from fahr_hf.data.build import build as run
    from fahr_hf.data.folds import Folds
    from fahr_hf.data.sources import SOURCES, table

    chosen = SOURCES[name] if name != "table" else table(source, named_columns(column or []), set_name)
    selection = Selection(
        ages=ages,
        require=require or (),
        folds=None if folds is None or fold is None else Folds(folds, fold),
        all_train=all_train,
    )
    with tqdm(unit="row") as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        built = run(chosen, source, out, selection, show)
    typer.echo(f"{out}: {built.kept.total()} photos, {built.rejected.total()} rows left out")
    for part, count in built.kept.most_common():
        typer.echo(f"  {part}: {count}")
    for reason, count in built.rejected.most_common():
        typer.echo(f"  left out: {count} x {reason}")


def named_columns(columns: list[str]) -> dict[str, str]:
    """What follows `--column`, each FIELD=COLUMN, as a dictionary.

    Raises:
        ValueError: one without `=`.
    """
    for column in columns:
        if "=" not in column:
            raise ValueError(f"--column needs FIELD=COLUMN, such as age=Age, got {column!r}.")
    return dict(column.split("=", 1) for column in columns)
