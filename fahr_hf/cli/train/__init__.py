"""`fahr-hf train`: one command a recipe."""

import typer

from fahr_hf.cli.train.age import age

train = typer.Typer(help="Train models on aligned crops.", no_args_is_help=True)


@train.callback()
def _group() -> None:
    # With a callback typer keeps the name of the only command.
    pass


train.command()(age)
