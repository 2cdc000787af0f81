"""`fahr-hf card RUN`."""

from pathlib import Path
from typing import Annotated

import typer


def card(
    run: Annotated[Path, typer.Argument(help="Folder of a finished `fahr-hf train`.")],
    licence: Annotated[
        str | None,
        typer.Option(help="Terms of your own photos: the Hub's identifier, such as cc-by-4.0, or a short text."),
    ] = None,
    change: Annotated[
        str | None,
        typer.Option(help="A line for a new version, such as 'v2: the golden photo is 0.4 years older'."),
    ] = None,
) -> None:
    """Write the card of a trained model again, from what its run recorded and measured.

    Training writes it already. What only you know is added here, and kept: the terms of your own photos, without which
    the model cannot be pushed, and what a new version changes.
    """
    from fahr_hf.hub.cards import write_card

    typer.echo(f"{write_card(run, licence, change)}: the card")
