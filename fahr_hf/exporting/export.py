"""`fahr_hf.export`: a checkpoint as a folder for another runtime, complete, and with what the change costs.

The folder holds the model's file, `config.json` with what was calibrated, the processor's settings and detectors, card
and licence, and `export.json`:

    checkpoint    what it was made from: an embedded name, `org/name`, or the name of a folder
    architecture  class of the model
    format        `onnx`, `openvino` or `torch`
    dtype         of the weights
    int8          `static`, `dynamic` or `weights`, see `export`; null of other types
    parity        faces, how many were compared; and of each answer the mean and largest absolute change
    dropped       why the calibration was left out; null where it was kept, or there was none
    versions      of the libraries that made it
"""

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fahr_hf.embedded import locate
from fahr_hf.exporting.parity import compare, exported_answers, read_faces, reason_to_drop, torch_answers
from fahr_hf.exporting.running import MODEL_FILES, RECORD, open_file, require
from fahr_hf.exporting.writing import write_model
from fahr_hf.hub.golden import open_checkpoint, portrait_crop, versions

DTYPES = ("float32", "float16", "int8")

_PACKAGES = {"onnx": ("onnx", "onnxruntime", "onnxscript"), "openvino": ("openvino",), "torch": ()}
_UNITS = {"age": "years", "risk": "", "embedding": ""}
_TRAVELLING = ("README.md", "LICENSE", "LICENSE.md")


@dataclass(frozen=True)
class Exported:
    """An exported folder.

    Args:
        folder: Where it is.
        checkpoint: What it was made from.
        architecture: Class of the model.
        format: `"onnx"`, `"openvino"` or `"torch"`.
        dtype: Of the weights.
        int8: `"static"`, `"dynamic"` or `"weights"`; None of other types.
        parity: `faces`, how many were compared; and of each answer, `{"mean", "largest"}` absolute change.
        dropped: Why the calibration was left out; None where it was kept, or there was none.
        versions: Of the libraries that made it.
    """

    folder: str
    checkpoint: str
    architecture: str
    format: str
    dtype: str
    int8: str | None
    parity: dict[str, Any]
    dropped: str | None
    versions: dict[str, str]

    def __str__(self) -> str:
        """What was made, a small table of the changes, and what was dropped."""
        made = f"{self.format} {self.dtype}" + (f" ({self.int8})" if self.int8 else "")
        faces = self.parity["faces"]
        lines = [
            f"{self.folder}: {self.architecture} of {self.checkpoint}, {made}",
            f"{'change on ' + str(faces) + (' face' if faces == 1 else ' faces'):26}  {'mean':>8}  {'largest':>8}",
        ]
        for name, unit in _UNITS.items():
            if name in self.parity:
                change = self.parity[name]
                label = f"{name} ({unit})" if unit else name
                lines.append(f"  {label:24}  {change['mean']:>8.2g}  {change['largest']:>8.2g}")
        return "\n".join([*lines, *([f"calibration dropped: {self.dropped}"] if self.dropped else [])])


def export(
    checkpoint: str | os.PathLike,
    *,
    format: str,  # noqa: A002
    dtype: str = "float32",
    calibration: str | os.PathLike | None = None,
    parity: str | os.PathLike | None = None,
    out: str | os.PathLike | None = None,
    revision: str | None = None,
) -> Exported:
    """Write a checkpoint as a folder for another runtime; with ONNX and OpenVINO, `fahr_hf.pipeline` opens it.

    int8 is about matrix products; convolutions stay in float32. It is `static` with calibration photos: weights and
    what flows between layers are in eight bits. Without them it is, with ONNX, `dynamic`: ranges are found while it
    runs; with OpenVINO `weights`: nothing but the weights is kept in eight bits. float16 makes the file small: on a CPU
    both runtimes compute most of it in float32.

    What was calibrated on the checkpoint's answers, such as interval tables, is kept only where the export moves ages
    by less than .05 years, or percentiles of risk by less than .5, on average; with int8 on at least 100 faces.

    Args:
        checkpoint: Name of an embedded checkpoint, folder, or `org/name` on the Hub; a backbone, age or survival model.
        format: `"onnx"`, `"openvino"` or `"torch"` (a program of `torch.export`).
        dtype: `"float32"`, `"float16"` or `"int8"`, which torch does not have.
        calibration: Faces that set the ranges of int8: a folder with photos, or crops of `fahr-hf data crops`, of
            which the part `train` counts. At most 300 are taken.
        parity: Faces on which the answers are compared, the same; of crops the part `validation`. By default one: the
            portrait that comes with the package.
        out: Folder to write, which must not exist; by default the checkpoint's name with format and dtype, here.
        revision: Branch, tag or commit on the Hub.

    Returns:
        What was made, and how far its answers moved.

    Raises:
        ValueError: an unknown format or dtype, calibration without int8, or a checkpoint that is damaged or of
            something else.
        FileExistsError: there is something at `out`.
        OSError: the checkpoint or photos are missing.
        ModuleNotFoundError: a package of the extra `export` is not installed.

    Examples:
        >>> print(fahr_hf.export("fahr-faceage-tiny", format="onnx"))  # doctest: +SKIP
        fahr-faceage-tiny-onnx-float32: FahrFaceForAgeEstimation of fahr-faceage-tiny, onnx float32
        change on 1 face                mean   largest
          age (years)                7.6e-06   7.6e-06
          embedding                  4.3e-07     2e-06
    """
    _check(format, dtype, calibration)
    source = locate(checkpoint)
    name = _name(source)
    target = Path(f"{name.rpartition('/')[2]}-{format}-{dtype}" if out is None else out)
    if target.exists():
        raise FileExistsError(f"{str(target)!r} exists. Give the export a folder of its own, with out= (--out).")
    packages = [*_PACKAGES[format], *(["nncf"] if (format, dtype) == ("openvino", "int8") else [])]
    libraries = {package: require(package).__version__ for package in packages}
    model, processor = open_checkpoint(source, revision)
    architecture = type(model).__name__
    if architecture == "FahrFaceForPreTraining":
        raise ValueError(
            f"{name} is a pre-training model, whose decoder is of no use to a runtime. Save its backbone alone: "
            "FahrFaceModel.from_pretrained(checkpoint).save_pretrained(folder)."
        )
    if parity is None:
        import torch

        faces = torch.from_numpy(processor.normalize_crops(portrait_crop(processor)[None]))
    else:
        faces = read_faces(Path(parity), "validation", processor)
    ranges = None if calibration is None else read_faces(Path(calibration), "train", processor)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A folder that appears when it is whole.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as place:
        folder = Path(place) / "export"
        processor.save_pretrained(folder)
        int8 = write_model(model, folder, format=format, dtype=dtype, settings=processor.to_dict(), calibration=ranges)
        wanted, found = torch_answers(model, faces), exported_answers(open_file(folder / MODEL_FILES[format]), faces)
        dropped = reason_to_drop(model.config.calibration, wanted, found, dtype)
        if dropped:
            model.config.calibration = None
        model.config.save_pretrained(folder)
        _copy_texts(source, folder, revision)
        record = Exported(
            folder=str(target),
            checkpoint=name,
            architecture=architecture,
            format=format,
            dtype=dtype,
            int8=int8,
            parity={"faces": len(faces), **compare(wanted, found)},
            dropped=dropped,
            versions={**versions(), **libraries},
        )
        written = {key: value for key, value in asdict(record).items() if key != "folder"}
        (folder / RECORD).write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
        folder.rename(target)
    return record


def _check(format: str, dtype: str, calibration: str | os.PathLike | None) -> None:  # noqa: A002
    if format not in MODEL_FILES:
        raise ValueError(f"Unknown format {format!r}; the formats are {', '.join(MODEL_FILES)}.")
    if dtype not in DTYPES:
        raise ValueError(f"Unknown dtype {dtype!r}; the types are {', '.join(DTYPES)}.")
    if dtype == "int8" and format == "torch":
        raise ValueError("The format torch has no int8 here; take onnx or openvino, or another dtype.")
    if calibration is not None and dtype != "int8":
        raise ValueError(f"Calibration photos set the ranges of int8, and dtype is {dtype!r}; leave them out.")


def _name(source: str) -> str:
    """Of a folder its last part alone, which tells nothing about the machine; of the Hub's all of it."""
    return Path(source).resolve().name if Path(source).is_dir() else source


def _copy_texts(source: str, folder: Path, revision: str | None) -> None:
    """Card and licence, as far as the checkpoint has them."""
    from transformers.utils import cached_file

    for name in _TRAVELLING:
        file = cached_file(source, name, revision=revision, _raise_exceptions_for_missing_entries=False)
        if file is not None:
            shutil.copyfile(file, folder / name)
