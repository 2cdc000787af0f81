"""`fahr-hf push FOLDER REPO`."""

from pathlib import Path
from typing import Annotated

import typer


def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a checkpoint, with card and golden vectors.")],
    repo: Annotated[str, typer.Argument(help="Where to: org/name on the Hub; made if it does not exist.")],
    private: Annotated[bool, typer.Option("--private", help="Make it a private one.")] = False,
    tag: Annotated[str | None, typer.Option(help="Name of this version, such as v1; never changed later.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and send nothing.")] = False,
) -> None:
    """Send a checkpoint to the Hub, where it works with and without fahr-hf.

    Before anything is sent the weights are loaded strictly, the golden vectors computed again, and the card checked. A
    push that failed is continued by the same command.
    """
    from transformers.utils import logging

    from fahr_hf.hub.push import files_to_send
    from fahr_hf.hub.push import push as send

    logging.disable_progress_bar()
    address = send(folder, repo, private, tag, dry_run)
    files = files_to_send(folder)
    for name, file in files.items():
        typer.echo(f"{file.stat().st_size:>12,} bytes  {name}")
    if kept := sorted({file.name for file in folder.iterdir()} - files.keys()):
        typer.echo(f"Stays here: {', '.join(kept)}")
    typer.echo(f"Would go to {address}" if dry_run else address)
