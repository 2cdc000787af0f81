"""Pages of the reference that are made from the code, so that they cannot fall behind it."""

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from fahr_hf import clinical
from fahr_hf.cli.app import _program


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    files.append(File.generated(config, "reference/clinical.md", content=clinical_page()))
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    return files


def clinical_page() -> str:
    """Every public name of `fahr_hf.clinical`, where it is defined."""
    names = (f"::: fahr_hf.clinical.{clinical._HOMES[name]}.{name}" for name in clinical.__all__)
    return "\n\n".join(["# Survival statistics", *names])


def commands_page() -> str:
    """Every command with its help, arguments and options."""
    program = typer.main.get_command(_program)
    context = program.make_context("fahr-hf", ["--help"], resilient_parsing=True)
    return get_docs_for_click(obj=program, ctx=context, name="fahr-hf", title="Commands")
