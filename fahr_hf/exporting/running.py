"""An exported folder as a model again, so that the pipelines take it like any other.

Exported models run on the CPU, on as many threads as torch would use.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils import ModelOutput

from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
from fahr_hf.models.modeling_fahr_face import (
    FahrFaceForAgeEstimation,
    FahrFaceForSurvival,
    FahrFacePreTrainedModel,
)

RECORD = "export.json"
"""What makes a folder an exported one: how it was made, and how close its answers are."""

INPUT = "pixel_values"
MODEL_FILES = {"onnx": "model.onnx", "openvino": "openvino_model.xml", "torch": "model.pt2"}
"""The file that each format is opened by."""

# From pixel values (n, channels, height, width) float32 to answers by name, n rows each.
Run = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass
class ExportedOutput(ModelOutput):
    """What an exported model returns: what its architecture answers with, and the embedding.

    Args:
        age: Years, (batch,), of an age model.
        risk: (batch,), of a survival model.
        pooler_output: The embedding, (batch, width).
    """

    age: torch.Tensor | None = None
    risk: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None


class ExportedModel(FahrFacePreTrainedModel):
    """A model without weights of its own: what it answers is computed by the runtime that it was exported to.

    Args:
        config: Of the exported folder.
        run: The opened model.
    """

    def __init__(self, config: FahrFaceConfig, run: Run):
        # Not that of the class of models whose place it takes, which would make the weights.
        FahrFacePreTrainedModel.__init__(self, config)
        self.run = run

    @property
    def device(self) -> torch.device:
        """The CPU: there are no parameters to ask."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Of what goes in and comes out."""
        return torch.float32

    def forward(self, pixel_values: torch.Tensor) -> ExportedOutput:
        """Answers to aligned crops.

        Args:
            pixel_values: (batch, channels, height, width), of the size that the model was exported with.

        Raises:
            ValueError: another size.
        """
        side = self.config.image_size
        if tuple(pixel_values.shape[1:]) != (self.config.num_channels, side, side):
            raise ValueError(
                f"The model was exported for crops of {side} x {side} pixels, got pixel_values of the shape "
                f"{tuple(pixel_values.shape)}. Take the processor of the exported folder."
            )
        answers = {name: torch.from_numpy(values) for name, values in self.run(pixel_values.numpy()).items()}
        answers["pooler_output"] = answers.pop("embedding")
        return ExportedOutput(**answers)


class ExportedAgeModel(ExportedModel, FahrFaceForAgeEstimation):
    """An exported `FahrFaceForAgeEstimation`."""


class ExportedSurvivalModel(ExportedModel, FahrFaceForSurvival):
    """An exported `FahrFaceForSurvival`."""


_CLASSES: dict[str, type[ExportedModel]] = {
    "FahrFaceModel": ExportedModel,
    "FahrFaceForAgeEstimation": ExportedAgeModel,
    "FahrFaceForSurvival": ExportedSurvivalModel,
}


def read_record(folder: str | Path) -> dict[str, Any] | None:
    """`export.json` of an exported folder, None of anything else."""
    path = Path(folder, RECORD)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def open_exported(folder: str | Path, dtype: str | torch.dtype | None = None) -> ExportedModel:
    """The model in an exported folder.

    Args:
        folder: What `fahr_hf.export` wrote.
        dtype: Of the computation. Only OpenVINO leaves a choice: float32, or bfloat16 where the processor has it.

    Raises:
        FileNotFoundError: the folder is no exported one, or not complete.
        ValueError: a dtype that the format does not have, or a torch program.
        ModuleNotFoundError: the runtime is not installed.
    """
    folder, record = Path(folder), read_record(folder)
    if record is None:
        raise FileNotFoundError(
            f"{str(folder)!r} is no exported model: it has no {RECORD}. `fahr-hf export` makes one."
        )
    if record["format"] == "torch":
        # torch.export.load unpickles what it finds without a check, and could run any code.
        raise ValueError(
            f"{str(folder)!r} holds a torch program, and opening one from elsewhere can run code. Take the checkpoint "
            "that it was made from; or, if you trust the folder, torch.export.load yourself."
        )
    path = folder / MODEL_FILES[record["format"]]
    if not path.is_file():
        raise FileNotFoundError(f"{str(folder)!r} is not complete: {path.name} is missing. Export the model again.")
    precision = str(dtype or "float32").removeprefix("torch.")
    allowed = ("float32", "bfloat16") if record["format"] == "openvino" else ("float32",)
    if precision not in allowed:
        raise ValueError(
            f"A model exported to {record['format']} computes in {' or '.join(allowed)}, got dtype={precision!r}. Its "
            "weights were given their type when it was exported: fahr-hf export --dtype."
        )
    config = FahrFaceConfig.from_pretrained(folder)
    return _CLASSES[record["architecture"]](config, open_file(path, precision))


def open_file(path: Path, precision: str = "float32") -> Run:
    """The model in one file of `MODEL_FILES`, ready to run.

    Args:
        path: The file; a torch program must be one's own, since opening it can run code.
        precision: As `open_exported`.

    Raises:
        ModuleNotFoundError: the runtime is not installed.
    """
    if path.suffix == ".onnx":
        return _open_onnx(path)
    if path.suffix == ".xml":
        return _open_openvino(path, precision)
    return _open_torch(path)


def require(package: str) -> Any:
    """A package of the extra `export`, imported.

    Raises:
        ModuleNotFoundError: it is not installed; the message names the extra.
    """
    # OpenVINO otherwise tells its makers over the network that it was imported, and what it converts; without this
    # package it stays silent. Whoever imported OpenVINO before us has made that choice for themselves.
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Exported models need {error.name}, which is not installed: pip install 'fahr-hf[export]'", name=error.name
        ) from error


def _open_onnx(path: Path) -> Run:
    onnxruntime = require("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda values: dict(zip(names, session.run(names, {INPUT: values}), strict=True))


def _open_openvino(path: Path, precision: str) -> Run:
    openvino = require("openvino")
    # Said in any case: left to itself OpenVINO takes bfloat16 where the processor has it, and answers would depend on
    # the machine.
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    model = openvino.Core().compile_model(str(path), "CPU", options)
    names = [output.any_name for output in model.outputs]
    return lambda values: dict(zip(names, model(values).to_tuple(), strict=True))


def _open_torch(path: Path) -> Run:
    program = torch.export.load(path).module()

    def run(values: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {name: answer.numpy() for name, answer in program(torch.from_numpy(values)).items()}

    return run
