"""`fahr-hf train`: one command a recipe."""

import typer

from fahr_hf.cli.train.age import age
from fahr_hf.cli.train.pretrain import pretrain
from fahr_hf.cli.train.survival import survival

train = typer.Typer(help="Train models on aligned crops.", no_args_is_help=True)


train.command()(pretrain)
train.command()(age)
train.command()(survival)
