"""`fahr-hf data crops FILES... --out FOLDER`."""

from pathlib import Path
from typing import Annotated

import typer


def crops(
    files: Annotated[list[Path], typer.Argument(help="All Parquet files of one data set.")],
    out: Annotated[Path, typer.Option(help="Folder for the crops; one that was begun is continued.")],
    key: Annotated[
        str, typer.Option(help="Column that identifies the person, or the photo where no identities exist.")
    ] = "subject_id",
    margin: Annotated[float, typer.Option(help="Widens the crops by this fraction.")] = 0.0,
    workers: Annotated[int | None, typer.Option(help="Processes; by default one for each processor.")] = None,
) -> None:
    """Find and align the faces of a data set once, for training.

    The files have a column `image` of encoded photos and a column `split`; all others are carried along.
    """
    from tqdm.auto import tqdm

    from fahr_hf.data.crops import cut_crops, load_crops
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor

    with tqdm(unit="photo") as bar:
        for done in cut_crops(files, out, key, FahrFaceImageProcessor(margin=margin), workers):
            bar.update(done - bar.n)
    result = load_crops(out)
    typer.echo(f"{out}: {len(result)} crops, {len(result.rejected)} photos without one")
    for entry in result.rejected["reason"].value_counts().to_pylist():
        typer.echo(f"  {entry['counts']} x {entry['values']}")
