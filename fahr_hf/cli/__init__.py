"""The command line, `fahr-hf`: one file a command.

Start-up must be quick, so this package imports typer alone; each command imports what it needs when it runs.
"""

from fahr_hf.cli.app import app

__all__ = ["app"]
