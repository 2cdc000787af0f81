"""A torch model as one file of another runtime: ONNX, OpenVINO, or torch's own exported program.

All three start from the same traced program, so that they compute the same thing. Its batch is dynamic; height and
width are those of the crops that the model was made for.

In int8 are the matrix products with weights, which are most of the time. Convolutions stay in float32: in eight bits
those of a stem moved ages ten times as far as all the rest.
"""

import copy
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from fahr_hf.exporting.running import INPUT, MODEL_FILES, require

SETTINGS = "fahr_hf.preprocessor"
"""Name of the metadata that holds the processor's options as JSON."""

# A batch that is traced with 1 would be taken for a constant.
_TRACED_BATCH = 2
# Photos that the ranges of int8 are found from at a time.
_BATCH = 32


class PlainAnswers(nn.Module):
    """A model whose answers are plain float32 tensors by name: the embedding, and the head's own.

    Args:
        model: A backbone, age or survival model.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """`embedding` (batch, width), and `age` or `risk` (batch,), of (batch, channels, height, width)."""
        embeddings: list[torch.Tensor] = []
        # The backbone's answer is caught on its way into the head, so that it runs once.
        hook = self.model.base_model.register_forward_hook(
            lambda module, inputs, output: embeddings.append(output.pooler_output)  # noqa: ARG005
        )
        output = self.model(pixel_values=pixel_values)
        hook.remove()
        return {"embedding": embeddings[0].float(), **{name: output[name] for name in head_answers(self.model)}}


def head_answers(model: PreTrainedModel) -> list[str]:
    """Names of what a model's head answers with: `age`, `risk`, or none of a backbone alone."""
    return [name for name, head in (("age", "age_head"), ("risk", "survival_head")) if model.head_name == head]


def write_model(
    model: PreTrainedModel,
    folder: Path,
    *,
    format: str,  # noqa: A002
    dtype: str,
    settings: dict[str, Any],
    calibration: torch.Tensor | None = None,
) -> str | None:
    """Write the file of a format into a folder.

    Args:
        model: In float32, on the CPU.
        folder: It exists.
        format: `"onnx"`, `"openvino"` or `"torch"`.
        dtype: `"float32"`, `"float16"` or `"int8"`.
        settings: The processor's options, kept in the file's metadata.
        calibration: For int8: pixel values (n, channels, height, width) that set the ranges.

    Returns:
        For int8 what was made of it: `"static"`, `"dynamic"` (ONNX without calibration) or `"weights"` (OpenVINO
        without calibration); None otherwise.

    Raises:
        ModuleNotFoundError: a package of the extra `export` is not installed.
    """
    path, text = folder / MODEL_FILES[format], json.dumps(settings)
    if dtype == "float16" and format != "openvino":
        model = copy.deepcopy(model).half()
    program, names = trace(model), ["embedding", *head_answers(model)]
    if format == "torch":
        torch.export.save(program, path, extra_files={SETTINGS: text})
        return None
    if format == "onnx":
        return _write_onnx(program, names, path, dtype, text, calibration)
    return _write_openvino(program, names, path, dtype, text, calibration)


def trace(model: PreTrainedModel) -> torch.export.ExportedProgram:
    """The model as a graph of torch operators, with any number of crops."""
    side = model.config.image_size
    example = torch.zeros(_TRACED_BATCH, model.config.num_channels, side, side)
    with _without_torchs_own_warnings():
        return torch.export.export(
            PlainAnswers(model), (example,), dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}}
        )


@contextmanager
def _without_torchs_own_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        # torch copies its own classes in a way that it has itself deprecated.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        yield


# ------------------------------------------------------------------------------------------------------------- ONNX


def _write_onnx(
    program: torch.export.ExportedProgram,
    names: list[str],
    path: Path,
    dtype: str,
    settings: str,
    calibration: torch.Tensor | None,
) -> str | None:
    require("onnxscript")
    onnx = require("onnx")
    with _without_torchs_own_warnings():
        exported = torch.onnx.export(program, dynamo=True, input_names=[INPUT], output_names=names, verbose=False)
    assert exported is not None
    exported.save(path, external_data=False)
    kind = None
    if dtype == "int8":
        kind = "dynamic" if calibration is None else "static"
        _quantize_onnx(onnx, path, calibration)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {SETTINGS: settings})
    onnx.save(model, path)
    return kind


def _quantize_onnx(onnx: Any, path: Path, calibration: torch.Tensor | None) -> None:
    quantization, types = require("onnxruntime.quantization"), ["MatMul", "Gemm"]
    if calibration is None:
        quantization.quantize_dynamic(path, path, op_types_to_quantize=types, per_channel=True)
        return
    require("onnxruntime.quantization.shape_inference").quant_pre_process(path, path, skip_symbolic_shape=True)
    graph = onnx.load(path).graph
    weights = {weight.name for weight in graph.initializer}
    quantization.quantize_static(
        path,
        path,
        _photos_for_onnx(quantization.CalibrationDataReader, calibration),
        op_types_to_quantize=types,
        # The products inside of attention have no weights, and stay in float32.
        nodes_to_exclude=[node.name for node in graph.node if node.op_type in types and not weights & {*node.input}],
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
    )


def _photos_for_onnx(reader: type, calibration: torch.Tensor) -> Any:
    batches = iter(calibration.split(_BATCH))

    class Photos(reader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(batches, None)
            return None if batch is None else {INPUT: batch.numpy()}

    return Photos()


# --------------------------------------------------------------------------------------------------------- OpenVINO


def _write_openvino(
    program: torch.export.ExportedProgram,
    names: list[str],
    path: Path,
    dtype: str,
    settings: str,
    calibration: torch.Tensor | None,
) -> str | None:
    openvino = require("openvino")
    (example,), _ = program.example_inputs
    with _without_torchs_own_warnings():
        model = openvino.convert_model(program)
    model.inputs[0].get_tensor().set_names({INPUT})
    # The conversion forgets that the batch alone is dynamic.
    model.reshape({INPUT: [-1, *example.shape[1:]]})
    for output, name in zip(model.outputs, names, strict=True):
        output.get_tensor().set_names({name})
    kind = None
    if dtype == "int8":
        kind = "weights" if calibration is None else "static"
        # Whoever reads what is written to standard output wants no bars of progress in it.
        with redirect_stdout(sys.stderr):
            model = _quantize_openvino(model, calibration)
    model.set_rt_info(settings, SETTINGS.split("."))
    openvino.save_model(model, path, compress_to_fp16=dtype == "float16")
    return kind


def _quantize_openvino(model: Any, calibration: torch.Tensor | None) -> Any:
    nncf = require("nncf")
    # Its account of every layer goes to what was standard output when nncf was first imported.
    nncf.set_log_level(logging.WARNING)
    # nncf refuses to ignore what is not there.
    present = {node.get_type_name() for node in model.get_ops()}
    convolutions = nncf.IgnoredScope(types=sorted(present & {"Convolution", "GroupConvolution"}))
    if calibration is None:
        return nncf.compress_weights(model, ignored_scope=convolutions)
    photos = nncf.Dataset([photo[None].numpy() for photo in calibration])
    return nncf.quantize(
        model,
        photos,
        subset_size=len(calibration),
        model_type=nncf.ModelType.TRANSFORMER,
        ignored_scope=convolutions,
    )
