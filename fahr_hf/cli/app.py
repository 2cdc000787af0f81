"""The `fahr-hf` program: its commands, its version, and how its errors look."""

import gc
import re
import sys
import tempfile
import traceback
import warnings
from functools import partial
from importlib.metadata import requires
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from fahr_hf.cli.calibrate import calibrate
from fahr_hf.cli.card import card
from fahr_hf.cli.convert import convert
from fahr_hf.cli.data import data
from fahr_hf.cli.demo import demo
from fahr_hf.cli.evaluate import evaluate
from fahr_hf.cli.export import export
from fahr_hf.cli.predict import predict
from fahr_hf.cli.push import push
from fahr_hf.cli.train import train
from fahr_hf.cli.verify import verify

_program = typer.Typer(
    name="fahr-hf",
    help="Face-based health models: research estimates, not medical advice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_program.command()(predict)
_program.add_typer(data, name="data")
_program.add_typer(train, name="train")
_program.add_typer(evaluate, name="evaluate")
_program.command()(calibrate)
_program.command()(convert)
_program.command()(export)
_program.command()(demo)
_program.command()(card)
_program.command()(verify)
_program.command()(push)


def _print_version(wanted: bool) -> None:
    if wanted:
        import fahr_hf

        typer.echo(fahr_hf.__version__)
        raise typer.Exit


@_program.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    del version


def app() -> None:
    """Run the program; no error ends in a bare traceback.

    What a user can mend is one line on standard error and exit code 1. Anything else is our mistake: its traceback goes
    to a file, so that it can be reported.
    """
    # What commands import stays. Python's own threshold, 700, looks through it so often that a first answer takes a
    # tenth longer.
    gc.set_threshold(10_000)
    warnings.showwarning = partial(_show_warning, warnings.showwarning)
    try:
        _program()
    except ModuleNotFoundError as error:
        _fail(_missing(error))
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted", code=130)
    except Exception as error:
        with tempfile.NamedTemporaryFile("w", prefix="fahr-hf-", suffix=".log", delete=False) as log:
            traceback.print_exc(file=log)
        _fail(f"unexpected {type(error).__name__}: {error}. Please report it together with {log.name}", code=70)


def _show_warning(others: Any, message: Warning | str, category: type[Warning], filename: str, *rest: Any) -> None:
    """One line for a warning of ours, which is about the user's data; `others` shows those of libraries."""
    if category is UserWarning and Path(filename).is_relative_to(Path(__file__).parents[1]):
        typer.secho(f"fahr-hf: warning: {message}", fg="yellow", err=True)
    else:
        others(message, category, filename, *rest)


def _missing(error: ModuleNotFoundError) -> str:
    """What to install: the smallest extra with the package, by the metadata of this one."""
    package = (error.name or "").partition(".")[0]
    extras: dict[str, list[str]] = {}
    for requirement in requires("fahr-hf") or ():
        if found := re.match(r"([\w-]+).*extra == ['\"](\w+)", requirement):
            extras.setdefault(found[2], []).append(found[1])
    having = [extra for extra, packages in extras.items() if package in packages]
    if not having:
        return str(error)
    smallest = min(having, key=lambda extra: len(extras[extra]))
    return f"this command needs {package}: pip install 'fahr-hf[{smallest}]'"


def _fail(message: str, code: int = 1) -> NoReturn:
    typer.secho(f"fahr-hf: {message}", fg="red", err=True)
    sys.exit(code)
