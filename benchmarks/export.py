"""Exported models beside torch: how fast the bare models are, and how far their answers move.

    python benchmarks/export.py --crops CROPS > benchmarks/results/export.md

CROPS is a crop cache (`fahr-hf data crops`). Speed is that of the models alone, on ready crops in batches of 32 and all
cores that torch takes, with random weights; candidates run in turns and medians are compared, so that what else the
machine does falls on all of them alike. Answers are those of a checkpoint, on at most 300 crops of the part
`validation`; ranges of int8 come from the part `train`. Exported models compute in float32 where nothing else is said.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from fahr_hf import FahrFaceConfig, FahrFaceForAgeEstimation, FahrFaceImageProcessor
from fahr_hf.embedded import locate
from fahr_hf.exporting.parity import Answers, compare, exported_answers, read_faces, torch_answers
from fahr_hf.exporting.running import MODEL_FILES, Run, open_file
from fahr_hf.exporting.writing import write_model
from fahr_hf.hub.golden import open_checkpoint
from fahr_hf.models.modeling_fahr_face import FahrFacePreTrainedModel

BATCH = 32
# Format, dtype of the weights, whether int8 has calibration photos, and what it is computed in.
CANDIDATES = (
    ("onnx", "float32", False, "float32"),
    ("onnx", "float16", False, "float32"),
    ("onnx", "int8", False, "float32"),
    ("onnx", "int8", True, "float32"),
    ("openvino", "float32", False, "float32"),
    ("openvino", "float32", False, "bfloat16"),
    ("openvino", "float16", False, "float32"),
    ("openvino", "int8", False, "float32"),
    ("openvino", "int8", True, "float32"),
    ("openvino", "int8", True, "bfloat16"),
)
# The stem of the published weights for the small model, plain patches for the large one.
STEMS = {"tiny": "efficientnet", "base": "patch"}

# Pixel values to answers, by the name of a candidate.
Models = dict[str, Callable[[torch.Tensor], Answers]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--crops", type=Path, required=True)
    parser.add_argument("--checkpoint", default="fahr-faceage-tiny")
    parser.add_argument("--sizes", nargs="+", default=list(STEMS))
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    print("# Exported models\n")
    print("`python benchmarks/export.py`; what is measured stands at the top of it.\n", flush=True)
    faces = read_faces(arguments.crops, "train", FahrFaceImageProcessor())[:BATCH]
    for size in arguments.sizes:
        torch.manual_seed(0)
        config = FahrFaceConfig.from_size(size, stem=STEMS[size], age_output="expectation")
        models = variants(FahrFaceForAgeEstimation(config).eval(), faces)
        print_speeds(f"{size}, stem {STEMS[size]!r}", models, faces, arguments.turns)
    print_parities(arguments.checkpoint, arguments.crops)


def variants(model: FahrFacePreTrainedModel, ranges: torch.Tensor) -> Models:
    """The model in torch, and in all that it is exported to."""
    models: Models = {f"torch {precision}": torch_model(model, precision) for precision in ("float32", "bfloat16")}
    with tempfile.TemporaryDirectory() as folder:
        for kind, dtype, calibrated, precision in CANDIDATES:
            place = Path(folder, f"{kind}-{dtype}-{calibrated}")
            if not place.exists():
                place.mkdir()
                calibration = ranges if calibrated else None
                made = write_model(model, place, format=kind, dtype=dtype, settings={}, calibration=calibration)
            name = f"{kind} {dtype}" + (f" ({made})" if made else "")
            name += f", computed in {precision}" if precision != "float32" else ""
            models[name] = exported_model(open_file(place / MODEL_FILES[kind], precision))
    return models


def torch_model(model: FahrFacePreTrainedModel, precision: str) -> Callable[[torch.Tensor], Answers]:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        # Loaded as users would: a model keeps some of its parts in float32.
        own = type(model).from_pretrained(folder, dtype=getattr(torch, precision))
    return lambda pixel_values: torch_answers(own, pixel_values)


def exported_model(run: Run) -> Callable[[torch.Tensor], Answers]:
    return lambda pixel_values: exported_answers(run, pixel_values)


def print_speeds(title: str, models: Models, faces: torch.Tensor, turns: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in models}
    # The first turn warms up.
    for _ in range(turns + 1):
        for name, model in models.items():
            start = time.perf_counter()
            model(faces)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: median(times[1:]) for name, times in seconds.items()}
    print(f"## Speed: {title}, {torch.get_num_threads()} threads\n")
    print("| model | crops a second | against torch float32 |\n|---|---|---|")
    for name, time_ in medians.items():
        print(f"| {name} | {len(faces) / time_:.0f} | {medians['torch float32'] / time_:.2f} |")
    print(flush=True)


def print_parities(checkpoint: str, crops: Path) -> None:
    model, processor = open_checkpoint(locate(checkpoint))
    models = variants(model, read_faces(crops, "train", processor))
    faces = read_faces(crops, "validation", processor)
    answers = {name: run(faces) for name, run in models.items()}
    wanted = answers.pop("torch float32")
    print(f"## Change of the ages of {checkpoint}, years, {len(faces)} validation crops\n")
    print("| model | mean | largest |\n|---|---|---|")
    for name, found in answers.items():
        change = compare(wanted, found)["age"]
        print(f"| {name} | {change['mean']:.2g} | {change['largest']:.2g} |")


if __name__ == "__main__":
    main()
