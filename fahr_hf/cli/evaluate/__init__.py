"""`fahr-hf evaluate`: one command a kind of answer."""

import typer

from fahr_hf.cli.evaluate.age import age
from fahr_hf.cli.evaluate.fairness import fairness
from fahr_hf.cli.evaluate.robustness import robustness
from fahr_hf.cli.evaluate.saliency import saliency
from fahr_hf.cli.evaluate.survival import survival

evaluate = typer.Typer(help="Measure how good answers are.", no_args_is_help=True)


evaluate.command()(age)
evaluate.command()(survival)
evaluate.command()(saliency)
evaluate.add_typer(fairness, name="fairness")
evaluate.command()(robustness)
