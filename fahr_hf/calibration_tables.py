"""What was fitted on calibration data, put into a checkpoint: intervals of ages, and tables of risks."""

import json
import os
from pathlib import Path
from typing import Any


def save_tables(checkpoint: str | os.PathLike, tables: dict[str, dict[str, Any]]) -> None:
    """Put tables into a checkpoint's config.json, where they replace those of the same name; nothing else changes.

    Args:
        checkpoint: Folder.
        tables: By their name in `config.calibration`: `"age"` and `"age_flip"` (for predictions averaged over the crop
            and its mirror image), see `conformal`; `"survival"`, see `risk_calibration`.
    """
    path = Path(checkpoint) / "config.json"
    config = json.loads(path.read_text())
    config["calibration"] = {**(config.get("calibration") or {}), **tables}
    partial = path.with_name(".config.json.partial")
    # In the layout of transformers, so that a difference of two versions shows the tables alone.
    partial.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    partial.replace(path)
