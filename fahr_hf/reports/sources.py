"""What a result was made of: hashes of the code, the weights and the data."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import fahr_hf

_PACKAGE = Path(__file__).parents[1]
_CODE = (".py", ".jinja", ".md", ".onnx")


def sources(**paths: Path) -> dict[str, Any]:
    """Hashes by which anybody can see whether two results come from the same things.

    Args:
        paths: Files or folders, such as `data=Path("cohort.csv")`, `weights=Path("run/model")`.

    Returns:
        `code` with the package's version, the SHA-256 of its files, and the git commit of the checkout it runs from,
        None where it does not. Then for each path its `name`, without the folders above it, and `sha256`. The hash of
        a folder is that of a list of its files, hidden ones apart, one line a file: its hash, two spaces, and its path
        in the folder; the list is in the order of the paths.

    Raises:
        FileNotFoundError: a path that does not exist.
    """
    code = {"version": fahr_hf.__version__, "commit": _commit(), "sha256": _folder_hash(_PACKAGE, _CODE)}
    named = {
        name: {"name": path.name, "sha256": _folder_hash(path) if path.is_dir() else _file_hash(path)}
        for name, path in paths.items()
    }
    return {"code": code, **named}


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_hash(folder: Path, suffixes: tuple[str, ...] = ()) -> str:
    inside = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    lines = [
        f"{_file_hash(path)}  {name.as_posix()}\n"
        for name, path in sorted(inside.items())
        if not any(part.startswith(".") for part in name.parts) and (not suffixes or path.suffix in suffixes)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _commit() -> str | None:
    """The commit of a checkout whose package is `fahr_hf`; an installed copy inside somebody's repository has none."""
    if not (_PACKAGE.parent / ".git").exists():
        return None
    command = ["git", "-C", str(_PACKAGE.parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
