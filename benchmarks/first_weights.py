"""The first weights, from data to ledger: `tiny` with a convolution stem, for age, on a CPU.

    python benchmarks/first_weights.py crops    --data SETS --work WORK
    python benchmarks/first_weights.py stem     --work WORK
    python benchmarks/first_weights.py layers   --work WORK
    python benchmarks/first_weights.py export   --work WORK
    python benchmarks/first_weights.py evaluate --work WORK --data SETS

`SETS` holds the data sets `utkface` and `public_figures`, as `fahr-hf data build` makes them, and FaceAge's predictions
in `utkface_faceage_predictions.csv`; `WORK` receives everything.
Each step goes on where an earlier run of it stopped; the weights are those of the last epoch. `stem` and `layers` were
run on two processes of one thread each, which is part of the batch size:

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 benchmarks/first_weights.py stem --work WORK

`export` writes the weights to `WORK/fahr-faceage-tiny` and measures them on validation parts. `evaluate` opens the test
splits and writes a line for each figure into the test ledger: run it once, from the repository's root, when the
weights are final.
"""

import argparse
import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from fahr_hf.data.crops import Crops, join, load_crops
from fahr_hf.data.cutting import cut_crops
from fahr_hf.data.duplicates import mark_duplicates
from fahr_hf.data.ledger import record_test_score
from fahr_hf.metrics import mean_absolute_error
from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFaceForAgeEstimation
from fahr_hf.resampling import bootstrap_interval
from fahr_hf.training.age import StemForAgeEstimation, age_recipe, predict_ages, start_head, with_layers
from fahr_hf.training.loop import train
from fahr_hf.training.recipe import Settings

NAME = "fahr-faceage-tiny"
SETS = ("utkface", "public_figures")

STEM = Settings(epochs=10, batch_size=32, learning_rate=1e-3, weight_decay=0.05, seed=1)
LAYERS = Settings(epochs=4, batch_size=32, learning_rate=6e-4, layer_decay=0.9, weight_decay=0.05, seed=2)


def cut(data: Path, work: Path) -> None:
    """Step `crops`."""
    folders = [work / "crops" / name for name in SETS]
    for name, folder in zip(SETS, folders, strict=True):
        for done, total in cut_crops(data / name, folder):
            print(f"{name}: {done} of {total} photos", end="\r", flush=True)
        print()
    for name, counts in zip(SETS, mark_duplicates(folders), strict=True):
        print(f"{name}: nearly equal photos left out: {dict(counts)}")


def material(work: Path) -> tuple[Crops, dict[str, Crops]]:
    """Crops to fit on, and named crops of the validation parts."""
    fit = [_utkface(work, "train"), _figures(work, "train")]
    held, figures = _utkface(work, "validation"), _figures(work, "validation")
    validation = {
        "utkface_adults": held.select(held.column("age") >= 18),
        "utkface_minors": held.select(held.column("age") < 18),
        # A third of them is enough to watch.
        "public_figures": figures.select(np.arange(0, len(figures), 3)),
    }
    return join(fit, ["source", "photo_id", "age", "part"]), validation


def _utkface(work: Path, part: str) -> Crops:
    return load_crops(work / "crops" / "utkface", [part])


def _figures(work: Path, part: str) -> Crops:
    figures = load_crops(work / "crops" / "public_figures", [part])
    # A photo taken in the year of death may be any number of months before it, or a picture of illness.
    before = figures.column("photo_year") < figures.column("death_year")
    return figures.select(before & (figures.column("age") >= 18))


def train_stem(work: Path) -> None:
    """Step `stem`: the convolution stem and the head alone."""
    fit, validation = material(work)
    torch.manual_seed(STEM.seed)
    model = StemForAgeEstimation(FahrFaceConfig.from_size("tiny", stem="convolution", age_output="expectation"))
    start_head(model, fit.column("age"))
    recipe = age_recipe(model, FahrFaceImageProcessor(), fit, validation, seed=STEM.seed)
    train(replace(recipe, monitor=None), STEM, work / "stem", workers=1, checkpoint_steps=50)


def train_layers(work: Path) -> None:
    """Step `layers`: the whole model, from the trained stem."""
    torch.manual_seed(LAYERS.seed)
    model = with_layers(StemForAgeEstimation.from_pretrained(work / "stem" / "model"))
    fit, validation = material(work)
    # On a CPU the fused attention's backward pass is slow for 50 tokens: 37 against 48 photos a second.
    model.set_attn_implementation("eager")
    recipe = age_recipe(model, FahrFaceImageProcessor(), fit, validation, seed=LAYERS.seed)
    train(replace(recipe, monitor=None), LAYERS, work / "layers", workers=1, checkpoint_steps=50)


def export(work: Path) -> None:
    """Step `export`: the checkpoint in float16, and what it gives on validation parts once loaded again."""
    FahrFaceForAgeEstimation.from_pretrained(work / "layers" / "model").half().save_pretrained(work / NAME)
    FahrFaceImageProcessor().save_pretrained(work / NAME)
    model, processor = _load(work)
    for name, crops in material(work)[1].items():
        age, predicted = crops.column("age"), predict_ages(model, processor, crops)
        print(f"{name}: n {len(age)}, MAE {_figure(mean_absolute_error, age, predicted)} years")


def evaluate(data: Path, work: Path) -> None:
    """Step `evaluate`: photos of the test splits through processor and model; every figure goes into the ledger."""
    model, processor = _load(work)
    with (data / "utkface_faceage_predictions.csv").open() as file:
        faceage = {row["id"]: float(row["faceage_prediction"]) for row in csv.DictReader(file)}
    for split in ("test", "test_faceage"):
        rows = pq.read_table(data / "utkface" / "data", filters=[("part", "==", split)]).to_pylist()
        predicted = predict_photos(model, processor, [row["image"]["bytes"] for row in rows])
        age, found = np.array([row["age"] for row in rows]), np.isfinite(predicted)
        print(f"{split}: {len(rows)} photos, {(~found).sum()} without a face")
        _record(split, "MAE (years)", mean_absolute_error, age[found], predicted[found])
        minors = found & (age < 18)
        if minors.any():
            _record(split, "MAE under 18 (years)", mean_absolute_error, age[minors], predicted[minors])
        theirs = np.array([faceage.get(row["photo_id"], np.nan) for row in rows])
        both = found & np.isfinite(theirs)
        if both.any():
            print(f"  FaceAge on the same photos: MAE {mean_absolute_error(age[both], theirs[both]):.3f}")
            _record(split, "MAE less FaceAge's (years)", excess, age[both], predicted[both], theirs[both])


def predict_photos(
    model: FahrFaceForAgeEstimation, processor: FahrFaceImageProcessor, photos: list[bytes], batch: int = 64
) -> np.ndarray:
    """Age in years of the largest face in each photo, (n,); NaN where there is none."""
    ages = np.full(len(photos), np.nan)
    for start in range(0, len(photos), batch):
        images = [Image.open(io.BytesIO(photo)) for photo in photos[start : start + batch]]
        inputs = processor(images)
        indices = [face["image_index"] for face in inputs["faces"]]
        with torch.inference_mode():
            predicted = model(pixel_values=inputs["pixel_values"]).age.numpy()
        # Faces of a photo come largest first, so the first of them is the one to keep.
        first = np.unique(indices, return_index=True)[1]
        ages[start + np.array(indices)[first]] = predicted[first]
    return ages


def excess(age: np.ndarray, predicted: np.ndarray, theirs: np.ndarray) -> float:
    return mean_absolute_error(age, predicted) - mean_absolute_error(age, theirs)


def _load(work: Path) -> tuple[FahrFaceForAgeEstimation, FahrFaceImageProcessor]:
    return FahrFaceForAgeEstimation.from_pretrained(work / NAME), FahrFaceImageProcessor.from_pretrained(work / NAME)


def _figure(statistic, *arrays) -> str:
    low, high = bootstrap_interval(statistic, *arrays)
    return f"{statistic(*arrays):.2f} [{low:.2f}, {high:.2f}]"


def _record(split: str, metric: str, statistic, *arrays) -> None:
    interval = bootstrap_interval(statistic, *arrays)
    rounded = round(interval[0], 3), round(interval[1], 3)
    value = round(statistic(*arrays), 3)
    print(" ", record_test_score(NAME, "utkface", split, len(arrays[0]), metric, value, rounded))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["crops", "stem", "layers", "export", "evaluate"])
    parser.add_argument("--data", type=Path, help="for crops and evaluate")
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.step in ("crops", "evaluate") and arguments.data is None:
        parser.error(f"{arguments.step} needs --data")
    match arguments.step:
        case "crops":
            cut(arguments.data, arguments.work)
        case "stem":
            train_stem(arguments.work)
        case "layers":
            train_layers(arguments.work)
        case "export":
            export(arguments.work)
        case "evaluate":
            evaluate(arguments.data, arguments.work)


if __name__ == "__main__":
    main()
