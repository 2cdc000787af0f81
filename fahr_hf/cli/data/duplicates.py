"""`fahr-hf data duplicates CROPS...`."""

from pathlib import Path
from typing import Annotated

import typer


def duplicates(
    crops: Annotated[list[Path], typer.Argument(help="All folders of crops that will be used together.")],
) -> None:
    """Find pictures that are there twice, and leave out of training what would spoil a test.

    A photo of a test always stays; its copies in other parts are left out, those of calibration photos in validation
    and train, and those of validation photos in train. Of copies within train the first stays. Nothing is deleted:
    each folder gets a list, duplicates.parquet, that is heeded where crops are loaded.
    """
    from fahr_hf.data.duplicates import mark_duplicates

    for folder, counts in zip(crops, mark_duplicates(crops), strict=True):
        parts = ", ".join(f"{count:,} of {part}" for part, count in sorted(counts.items()))
        typer.echo(f"{folder}: {counts.total():,} photos left out{f' ({parts})' if parts else ''}")
