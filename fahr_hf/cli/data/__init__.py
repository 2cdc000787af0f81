"""`fahr-hf data`: from what people download to what training reads."""

import typer

from fahr_hf.cli.data.crops import crops

data = typer.Typer(help="Prepare photos for training.", no_args_is_help=True)


@data.callback()
def _group() -> None:
    # With a callback typer keeps the name of the only command.
    pass


data.command()(crops)
