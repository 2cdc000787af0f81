"""The pre-trained weights, from crops to what they buy: `tiny`, a masked autoencoder, on a CPU.

    python benchmarks/pretraining.py pretrain --crops CROPS --work WORK
    python benchmarks/pretraining.py export   --crops CROPS --work WORK
    python benchmarks/pretraining.py compare  --crops CROPS --work WORK

`CROPS` holds the crop caches of the three data sets, near duplicates marked; `WORK` receives everything. Each step goes
on where an earlier run of it stopped. `pretrain` and `compare` were run on two processes of one thread each, which is
part of the batch size:

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 benchmarks/pretraining.py pretrain --crops CROPS --work WORK

`compare` fine-tunes for age, from random and from these weights, on 1 %, 10 % and all of UTKFace's labels, three times
each, and measures on its validation part; no test split is opened.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState

from fahr_hf.data.crops import Crops, load_crops
from fahr_hf.metrics import mean_absolute_error
from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFaceForAgeEstimation, FahrFaceForPreTraining
from fahr_hf.resampling import bootstrap_interval
from fahr_hf.training.age import age_recipe, predict_ages, start_head
from fahr_hf.training.loop import train
from fahr_hf.training.pretraining import load_pretraining_crops, pretraining_recipe, pretraining_settings
from fahr_hf.training.recipe import Settings

NAME = "fahr-face-tiny"
SETS = ("utkface", "public_figures", "congress")
# For each process. The rate is ten times He et al.'s for such a step: with so few steps a lower one learned less.
PRETRAINING = pretraining_settings(epochs=30, batch_size=128, processes=2, learning_rate=1.5e-3)
# Share of UTKFace's labels, and passes over them; fewer labels get more passes, but still fewer steps.
SHARES = {0.01: 100, 0.1: 20, 1.0: 3}
SEEDS = (0, 1, 2)
STARTS = ("random", "pre-trained")


def pretrain(crops: Path, work: Path) -> None:
    samples, frames, validation = load_pretraining_crops([crops / name for name in SETS], stream=False)
    torch.manual_seed(0)
    model = FahrFaceForPreTraining(FahrFaceConfig.from_size("tiny"))
    # On a CPU the fused attention's backward pass is slower for so few tokens.
    model.set_attn_implementation("eager")
    recipe = pretraining_recipe(model, FahrFaceImageProcessor(), samples, frames, validation)
    train(recipe, PRETRAINING, work / "pretrain")


def export(work: Path) -> None:
    """Step `export`: the checkpoint in float16, decoder included."""
    FahrFaceForPreTraining.from_pretrained(work / "pretrain" / "model").half().save_pretrained(work / NAME)
    FahrFaceImageProcessor().save_pretrained(work / NAME)


def compare(crops: Path, work: Path) -> None:
    """Step `compare`: one line of figures for each start, share of labels and seed; then the table."""
    labelled, validation = (load_crops(crops / "utkface", [part]) for part in ("train", "validation"))
    for seed in SEEDS:
        for share in SHARES:
            for start in STARTS:
                fine_tune(labelled, validation, work, start, share, seed)
    if PartialState().is_main_process:
        report(validation, work)


def fine_tune(labelled: Crops, validation: Crops, work: Path, start: str, share: float, seed: int) -> None:
    folder = work / "compare" / f"{start}-{share:g}-{seed}"
    if (folder / "predicted.npy").exists():
        return
    chosen = np.random.default_rng(seed).permutation(len(labelled))[: round(share * len(labelled))]
    fit = labelled.select(np.sort(chosen))
    options = {"age_output": "expectation", "drop_path_rate": 0.1}
    torch.manual_seed(seed)
    if start == "random":
        model = FahrFaceForAgeEstimation(FahrFaceConfig.from_size("tiny", **options))
    else:
        model = FahrFaceForAgeEstimation.from_pretrained(work / NAME, **options)
    model.set_attn_implementation("eager")
    start_head(model, fit.column("age"))
    processor = FahrFaceImageProcessor()
    settings = Settings(epochs=SHARES[share], batch_size=32, learning_rate=1e-3, layer_decay=0.85, seed=seed)
    # Watching costs more than training on so few photos: the figure is that of the last step.
    recipe = age_recipe(model, processor, fit, {}, seed)
    train(recipe, settings, folder, keep=1)
    if PartialState().is_main_process:
        np.save(folder / "predicted.npy", predict_ages(model.eval(), processor, validation))
    PartialState().wait_for_everyone()


def report(validation: Crops, work: Path) -> None:
    age = validation.column("age").astype(float)
    lines = ["| labels | random | pre-trained | gain |", "|---|---|---|---|"]
    for share in SHARES:
        predicted = [
            [np.load(work / "compare" / f"{start}-{share:g}-{seed}" / "predicted.npy") for seed in SEEDS]
            for start in STARTS
        ]
        cells = [_figure(error, age, *runs) + _each(age, runs) for runs in predicted]
        gain = _figure(_gain, age, *predicted[0], *predicted[1])
        lines.append(f"| {share:.0%} | {' | '.join(cells)} | {gain} |")
    lines += [
        "",
        f"Mean absolute error in years on the validation part of UTKFace (n {len(age)}): mean over three seeds,",
    ]
    lines += ["95 % bootstrap interval by photo, and each seed's own figure."]
    print("\n".join(lines))


def error(age: np.ndarray, *runs: np.ndarray) -> float:
    """Mean absolute error, averaged over runs."""
    return float(np.mean([mean_absolute_error(age, predicted) for predicted in runs]))


def _gain(age: np.ndarray, *runs: np.ndarray) -> float:
    return error(age, *runs[: len(SEEDS)]) - error(age, *runs[len(SEEDS) :])


def _figure(statistic: Callable[..., float], *arrays: np.ndarray) -> str:
    low, high = bootstrap_interval(statistic, *arrays)
    return f"{statistic(*arrays):.2f} ({low:.2f} to {high:.2f})"


def _each(age: np.ndarray, runs: list[np.ndarray]) -> str:
    return "; " + ", ".join(f"{mean_absolute_error(age, predicted):.2f}" for predicted in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["pretrain", "export", "compare"])
    parser.add_argument("--crops", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    match arguments.step:
        case "pretrain":
            pretrain(arguments.crops, arguments.work)
        case "export":
            export(arguments.work)
        case "compare":
            compare(arguments.crops, arguments.work)


if __name__ == "__main__":
    main()
