"""The checkpoints that come with the package: complete Hub-style folders below `fahr_hf/checkpoints/`.

The functions live here and not in that folder, since `fahr_hf.checkpoints` cannot be a function and a
module at once.
"""

from pathlib import Path

FOLDER = Path(__file__).with_name("checkpoints")


def checkpoints() -> list[str]:
    """Names of the embedded checkpoints, sorted."""
    return sorted(config.parent.name for config in FOLDER.glob("*/config.json"))


def checkpoint(name: str) -> str:
    """Folder of an embedded checkpoint, for `from_pretrained`.

    Args:
        name: One of `checkpoints()`.

    Raises:
        ValueError: an unknown name. The network is never asked.

    Example:
        >>> AutoModel.from_pretrained(fahr_hf.checkpoint("fahr-faceage-tiny"))  # doctest: +SKIP
    """
    if name not in checkpoints():
        raise ValueError(f"No checkpoint named {name!r} is embedded. {embedded_names()}")
    return str(FOLDER / name)


def embedded_names() -> str:
    """A sentence for error messages that lists the embedded checkpoints."""
    names = checkpoints()
    return f"Embedded are: {', '.join(names)}." if names else "This version embeds no checkpoint yet."
