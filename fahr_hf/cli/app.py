"""The `fahr-hf` program: its commands, its version, and how its errors look."""

import sys
from typing import Annotated

import typer

from fahr_hf.cli.convert import convert

_program = typer.Typer(
    name="fahr-hf",
    help="Face-based health models: research estimates, not medical advice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_program.command()(convert)


def _print_version(wanted: bool) -> None:
    if wanted:
        import fahr_hf

        typer.echo(fahr_hf.__version__)
        raise typer.Exit


@_program.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    del version


def app() -> None:
    """Run the program. What a user can mend is one line on standard error, without a traceback, and exit code 1."""
    try:
        _program()
    except (ValueError, OSError, ImportError) as error:
        typer.secho(f"fahr-hf: {error}", fg="red", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.secho("fahr-hf: interrupted", fg="red", err=True)
        sys.exit(130)
