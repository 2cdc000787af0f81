"""The documentation site: it builds without a warning, holds all commands and statistics, and is complete by itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from fahr_hf import clinical
from fahr_hf.cli.app import _program

pytest.importorskip("mkdocs")
REPOSITORY = Path(__file__).parents[1]
FETCHED = re.compile(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(https?:[^"]*)"')


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a warning ends the build."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return folder


def commands(group, name="fahr-hf"):
    for key, child in group.commands.items():
        yield from commands(child, f"{name} {key}") if hasattr(child, "commands") else [f"{name} {key}"]


def test_every_command_is_documented(site):
    page = (site / "reference/commands/index.html").read_text()
    names = list(commands(typer.main.get_command(_program)))
    assert len(names) > 10
    assert [name for name in names if f"<code>{name}</code>" not in page] == []


def test_every_statistic_is_documented(site):
    page = (site / "reference/clinical/index.html").read_text()
    missing = [name for name in clinical.__all__ if f'id="fahr_hf.clinical.{clinical._HOMES[name]}.{name}"' not in page]
    assert missing == []


def test_a_visitor_fetches_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        fetched = re.findall(
            r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(https?:[^"]*)"', page.read_text()
        )
        assert fetched == [], page
