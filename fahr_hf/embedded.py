"""The checkpoints that come with the package: complete Hub-style folders below `fahr_hf/checkpoints/`.

The functions live here and not in that folder, since `fahr_hf.checkpoints` cannot be a function and a
module at once.
"""

import os
import re
from pathlib import Path

FOLDER = Path(__file__).with_name("checkpoints")

DEFAULTS = {
    "face-age": "fahr-faceage-tiny",
    "face-embedding": "fahr-faceage-tiny",
    "face-survival": "fahr-facesurvival-tiny",
}
"""The checkpoint that a task takes where none is named."""

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def checkpoints() -> list[str]:
    """Names of the embedded checkpoints, sorted."""
    return sorted(config.parent.name for config in FOLDER.glob("*/config.json"))


def checkpoint(name: str) -> str:
    """Folder of an embedded checkpoint, for `from_pretrained`.

    Args:
        name: One of `checkpoints()`.

    Raises:
        ValueError: an unknown name. The network is never asked.

    Examples:
        >>> AutoModel.from_pretrained(fahr_hf.checkpoint("fahr-faceage-tiny"))  # doctest: +SKIP
    """
    if name not in checkpoints():
        raise ValueError(f"No checkpoint named {name!r} is embedded. {_names()}")
    return str(FOLDER / name)


def default_model(task: str) -> str:
    """Name of the embedded checkpoint that a task takes by default.

    Args:
        task: As for `fahr_hf.pipeline`.

    Raises:
        ValueError: it is not embedded in this version.
    """
    name = DEFAULTS[task]
    if name not in checkpoints():
        raise ValueError(
            f"{task} has no default weights in this version: {name} is not embedded. Give a model: a folder, or "
            "'org/name' on the Hub."
        )
    return name


def locate(model: str | os.PathLike) -> str:
    """What `from_pretrained` takes for a model that a user names; a typing error never reaches the network.

    Args:
        model: An embedded checkpoint, a folder, or `org/name` on the Hub; looked for in this order.

    Raises:
        ValueError: none of these.
    """
    name = os.fspath(model)
    if name in checkpoints():
        return checkpoint(name)
    if name and Path(name).is_dir():
        return name
    if isinstance(model, str) and _HUB_NAME.fullmatch(name):
        return name
    raise ValueError(
        f"Unknown model {name!r}: no embedded checkpoint and no folder. {_names()} Models on the Hub are "
        "written 'org/name'."
    )


def _names() -> str:
    """A sentence for error messages that lists the embedded checkpoints."""
    names = checkpoints()
    return f"Embedded are: {', '.join(names)}." if names else "This version embeds no checkpoint yet."
