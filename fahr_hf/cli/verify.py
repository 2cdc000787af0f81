"""`fahr-hf verify CHECKPOINT`."""

from pathlib import Path
from typing import Annotated

import typer


def verify(
    checkpoint: Annotated[str, typer.Argument(help="Embedded checkpoint, folder, or org/name.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the golden vectors of a folder instead, in place of earlier ones.")
    ] = False,
) -> None:
    """Check that a checkpoint answers as on the day it was published.

    A public-domain portrait goes through processor and model again; crop, embedding and output are compared with the
    golden vectors beside the weights. A difference beyond what libraries explain is an error, with exit code 1.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    if write:
        _write(Path(checkpoint))
        return
    from fahr_hf.hub.verify import VerificationError
    from fahr_hf.hub.verify import verify as compare

    try:
        typer.echo(str(compare(checkpoint, revision)))
    except VerificationError as error:
        typer.echo(str(error.verification))
        raise


def _write(folder: Path) -> None:
    from fahr_hf.hub.golden import read_golden, write_golden

    if not folder.is_dir():
        raise ValueError(f"--write takes the folder of a checkpoint; there is none at {str(folder)!r}.")
    try:
        before = read_golden(str(folder)).answers.output
    except FileNotFoundError:
        before = {}
    write_golden(folder)
    for name, value in read_golden(str(folder)).answers.output.items():
        was = f", before {before[name]:.5g}" if name in before else ""
        typer.echo(f"{folder}: {name} {value:.5g}{was}")
