"""`fahr-hf export CHECKPOINT --format FORMAT`."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """What `export` can write."""

    onnx = "onnx"
    openvino = "openvino"
    torch = "torch"


class Dtype(StrEnum):
    """The types of weights that `export` can write."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


def export(
    checkpoint: Annotated[str, typer.Argument(help="Embedded checkpoint, folder, or org/name.")],
    format: Annotated[Format, typer.Option(help="Runtime to write for.")],  # noqa: A002
    dtype: Annotated[Dtype, typer.Option(help="Of the weights; torch has no int8.")] = Dtype.float32,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Photos, or crops of 'data crops' (part train), that set the ranges of int8."),
    ] = None,
    parity: Annotated[
        Path | None,
        typer.Option(help="Photos, or crops (part validation), to compare answers on; by default one portrait."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; by default the checkpoint's name, format and dtype, here.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")] = None,
) -> None:
    """Write a checkpoint for ONNX Runtime, OpenVINO or torch.export, and say how far its answers move.

    The folder is complete: model, processor, detectors, calibration, card, licence, and export.json with the changes.
    `fahr-hf predict --model FOLDER` and `fahr_hf.pipeline` open it like any checkpoint, but for torch, whose program is
    for other programs.

    int8 without calibration photos is dynamic (ONNX: ranges are found while it runs) or of the weights alone
    (OpenVINO). Intervals are left out where ages moved by .05 years or more on average.
    """
    from transformers.utils.logging import disable_progress_bar

    from fahr_hf.exporting.export import export as run

    disable_progress_bar()
    # It tells of every operator of torchvision that it does without.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    typer.echo(
        str(
            run(
                checkpoint,
                format=format.value,
                dtype=dtype.value,
                calibration=calibration,
                parity=parity,
                out=out,
                revision=revision,
            )
        )
    )
