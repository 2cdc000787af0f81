"""`fahr-hf data crops SOURCE OUT`."""

from pathlib import Path
from typing import Annotated

import typer


def crops(
    source: Annotated[Path, typer.Argument(help="A data set that `fahr-hf data build` made.")],
    out: Annotated[Path, typer.Argument(help="Folder for the crops; one that was begun is continued.")],
    margin: Annotated[float, typer.Option(help="Widens the crops by this fraction.")] = 0.0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one for each processor.")] = None,
    image_format: Annotated[str, typer.Option("--format", help="jpeg or webp.")] = "jpeg",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the compression; webp of 100 is lossless.")] = 95,
    one_face: Annotated[
        bool, typer.Option("--one-face", help="Leave out photos of several faces, unless a box tells which one counts.")
    ] = False,
) -> None:
    """Find and align the faces of a data set once, for training.

    Photos that cannot be read, or have no face, are listed with the reason in the files rejects-*.parquet.
    """
    from tqdm.auto import tqdm

    from fahr_hf.data.crops import count_outcomes
    from fahr_hf.data.cutting import cut_crops
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor

    processor = FahrFaceImageProcessor(margin=margin)
    with tqdm(unit=" photos") as bar:
        for done, total in cut_crops(source, out, processor, workers, image_format, quality, one_face):
            bar.total = total
            bar.update(done - bar.n)
    crops, reasons = count_outcomes(out)
    typer.echo(f"{out}: {crops:,} crops, {reasons.total():,} photos without one")
    for reason, count in reasons.most_common():
        typer.echo(f"  {count:,} x {reason}")
