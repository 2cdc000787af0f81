"""Completes the embedded checkpoints in the wheel, and adds the templates of model cards.

A checkpoint on the Hub holds the code and detectors that let it work without this package. In the repository they would
be second copies of `fahr_hf/models`; so they join the checkpoints when a wheel is built. The templates lie in
`model_cards`, where people look for cards; `fahr_hf.hub.cards` finds them in either place.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompleteCheckpoints(BuildHookInterface):
    """Adds remote code and detectors to every folder in `fahr_hf/checkpoints`, and templates to `fahr_hf/hub`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a build; an editable one uses the repository as it is."""
        if self.target_name != "wheel" or version == "editable":
            return
        for template in Path(self.root, "model_cards").glob("*.jinja"):
            build_data["force_include"][str(template)] = f"fahr_hf/hub/model_cards/{template.name}"
        # Hatchling would move, not copy, files that are included under another name as well.
        self._copies = tempfile.TemporaryDirectory()
        models = Path(self.root, "fahr_hf", "models")
        for file in (*models.glob("*_fahr_face.py"), *models.glob("*.onnx")):
            for weights in models.with_name("checkpoints").glob("*/model.safetensors"):
                copy = Path(self._copies.name, weights.parent.name, file.name)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, copy)
                target = Path("fahr_hf", "checkpoints", weights.parent.name, file.name)
                build_data["force_include"][str(copy)] = target.as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called after a build."""
        del version, build_data, artifact_path
        if hasattr(self, "_copies"):
            self._copies.cleanup()
