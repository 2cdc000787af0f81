"""`fahr-hf data`: from what people download to what training reads."""

import typer

from fahr_hf.cli.data.build import build
from fahr_hf.cli.data.crops import crops
from fahr_hf.cli.data.duplicates import duplicates
from fahr_hf.cli.data.inspect import inspect

data = typer.Typer(help="Prepare photos for training.", no_args_is_help=True)


@data.callback()
def _group() -> None:
    # With a callback typer keeps the name of the only command.
    pass


data.command()(build)
data.command()(crops)
data.command()(duplicates)
data.command()(inspect)
