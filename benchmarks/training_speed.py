"""Speed of training on a CPU: masked pre-training, the age recipe, and whether data keeps up with the model.

    OMP_NUM_THREADS=1 python benchmarks/training_speed.py > benchmarks/results/training_speed.md

Everything runs on one thread of one processor, in turns, so that ratios hold where absolute figures drift; the median
of the turns counts. Worker processes take a second one. The crop is one photo's, which changes no time.

- The share of the peak: operations of a step a second, over those of the product of two large matrices of the same
  numbers in the same turns. A step counts as three times what `torch.utils.flop_counter` counts on the way forward; on
  the way back it counts convolutions of single channels as if they were of all.
- Waiting: the share of the time in which a training loop has no batch to learn from.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import pyarrow as pa
import skimage
import torch
from torch.utils.flop_counter import FlopCounterMode

from fahr_hf import FahrFaceConfig, FahrFaceForAgeEstimation, FahrFaceForPreTraining, FahrFaceImageProcessor
from fahr_hf.data.crops import BORDER, Crops
from fahr_hf.training.age import age_recipe
from fahr_hf.training.augmentation import STRONG
from fahr_hf.training.loading import load_batches
from fahr_hf.training.pretraining import pretraining_recipe
from fahr_hf.training.recipe import Recipe, Settings
from fahr_hf.training.samples import CropSamples

BATCH, AGE_BATCH = 64, 32
MODELS = {"tiny": ("tiny", "patch"), "tiny, EfficientNet's stem": ("tiny", "efficientnet"), "small": ("small", "patch")}
WORKERS = (0, 1, 2)
MATRIX = 2048
PROCESSOR = FahrFaceImageProcessor()

Seconds = dict[tuple[str, str], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--batches", type=int, default=12, help="Batches of each loop whose waiting is measured")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print("# Training, timed\n")
    print(f"One CPU thread, medians of {options.turns} turns (`benchmarks/training_speed.py`).")
    show_pretraining(options.turns)
    show_age(options.turns)
    show_waiting(options.batches)


def show_pretraining(turns: int) -> None:
    jobs: dict[tuple[str, str], Callable[[], object]] = {}
    crops = crops_of_one_photo(BATCH)
    for size in ("tiny", "small"):
        config = FahrFaceConfig.from_size(size)
        masked, dense = FahrFaceForPreTraining(config), FahrFaceForAgeEstimation(config)
        recipe = pretraining_recipe(masked, PROCESSOR, CropSamples(crops), crops.corners)
        batch = loaded(recipe, BATCH)
        jobs[size, "load"] = partial(loaded, recipe, BATCH)
        ages = torch.full((BATCH,), 40.0)
        jobs[size, "dense"] = partial(learner(dense), pixel_values=batch["pixel_values"], labels=ages)
        jobs[size, "masked"] = partial(learner(masked), pixel_values=batch["pixel_values"], noise=batch["noise"])
        fused = FahrFaceForPreTraining(config)
        jobs[size, "sdpa"] = partial(learner(fused), pixel_values=batch["pixel_values"], noise=batch["noise"])
        for model, attention in ((dense, "eager"), (masked, "eager"), (fused, "sdpa")):
            model.set_attn_implementation(attention)
    seconds = in_turns(jobs, turns)
    print(f"\n## Masked pre-training, bfloat16, {BATCH} crops a step\n")
    print(
        "| size | masked step, ms a crop | dense step | masked / dense | sdpa / eager attention, masked | loading "
        "| masked step / loading |"
    )
    print("|---|---|---|---|---|---|---|")
    for size in ("tiny", "small"):
        load, masked, dense, fused = (
            1000 * seconds[size, kind] / BATCH for kind in ("load", "masked", "dense", "sdpa")
        )
        cells = [
            f"{masked:.2f}",
            f"{dense:.2f}",
            f"{masked / dense:.2f}",
            f"{fused / masked:.2f}",
            f"{load:.2f}",
            f"{masked / load:.1f}",
        ]
        print(f"| {size} | {' | '.join(cells)} |")


def show_age(turns: int) -> None:
    jobs: dict[tuple[str, str], Callable[[], object]] = {
        ("peak", "bf16"): partial(torch.mm, *torch.ones(2, MATRIX, MATRIX, dtype=torch.bfloat16)),
        ("peak", "f32"): partial(torch.mm, *torch.ones(2, MATRIX, MATRIX)),
    }
    operations = {}
    for name in MODELS:
        for attention in ("eager", "sdpa"):
            recipe = recipe_of(name, attention)
            batch = loaded(recipe, AGE_BATCH)
            inputs = {key: batch[key] for key in ("pixel_values", "labels")}
            jobs[name, attention] = partial(learner(recipe.model), **inputs)
            if attention == "eager":
                jobs[name, "load"] = partial(loaded, recipe, AGE_BATCH)
                jobs[name, "f32"] = partial(learner(recipe.model, bfloat16=False), **inputs)
                with FlopCounterMode(display=False) as counter:
                    recipe.model(**inputs)
                operations[name] = 3 * counter.get_total_flops()
    seconds = in_turns(jobs, turns)
    rates = {number: 2 * MATRIX**3 / seconds["peak", number] for number in ("bf16", "f32")}
    print(f"\n## The age recipe, {AGE_BATCH} crops a step, strong augmentation\n")
    print(f"Product of two matrices of {MATRIX} x {MATRIX}: ", end="")
    print(", ".join(f"{rate / 1e9:.0f} GFLOP/s in {number}" for number, rate in rates.items()) + ".\n")
    print(
        "| model | step, ms a crop | images/s | of the bf16 peak | of the f32 peak in f32 | f32 / bf16 step "
        "| sdpa / eager attention | loading, ms a crop | step / loading |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, count in operations.items():
        eager, f32, sdpa, load = (seconds[name, kind] for kind in ("eager", "f32", "sdpa", "load"))
        cells = [
            f"{1000 * eager / AGE_BATCH:.2f}",
            f"{AGE_BATCH / eager:.0f}",
            f"{count / eager / rates['bf16']:.2f}",
            f"{count / f32 / rates['f32']:.2f}",
            f"{f32 / eager:.2f}",
            f"{sdpa / eager:.2f}",
            f"{1000 * load / AGE_BATCH:.2f}",
            f"{eager / load:.1f}",
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def show_waiting(batches: int) -> None:
    print(f"\n## Waiting for data, {batches} batches of the age recipe\n")
    print("| model | worker processes | images/s | share of the time that is waiting |\n|---|---|---|---|")
    for name in MODELS:
        for workers in WORKERS:
            waiting, working = loop(recipe_of(name, "eager", batches + 1), batches, workers)
            rate, share = batches * AGE_BATCH / (waiting + working), waiting / (waiting + working)
            print(f"| {name} | {workers} | {rate:.0f} | {share:.1%} |")


def loop(recipe: Recipe, batches: int, workers: int) -> tuple[float, float]:
    """Seconds that a loop waits for batches, and that it learns from them; the first batch starts the workers."""
    settings = Settings(epochs=1, batch_size=AGE_BATCH)
    learn, waiting, working = learner(recipe.model), [], []
    loader = load_batches(recipe, settings, 0, 0, 1, 0, batches + 1, workers, pin=False)
    for _ in range(batches + 1):
        begun = time.perf_counter()
        batch = next(loader)
        received = time.perf_counter()
        learn(pixel_values=batch["pixel_values"], labels=batch["labels"])
        waiting.append(received - begun)
        working.append(time.perf_counter() - received)
    return sum(waiting[1:]), sum(working[1:])


def recipe_of(name: str, attention: str, batches: int = 1) -> Recipe:
    size, stem = MODELS[name]
    model = FahrFaceForAgeEstimation(FahrFaceConfig.from_size(size, stem=stem, age_output="expectation"))
    model.set_attn_implementation(attention)
    return age_recipe(model, PROCESSOR, crops_of_one_photo(batches * AGE_BATCH), {}, augmentation=STRONG)


def crops_of_one_photo(count: int) -> Crops:
    side = 112 + 2 * BORDER
    crop = cv2.resize(skimage.data.astronaut()[60:200, 160:300], (side, side))
    photos = [str(place) for place in range(count)]
    table = {"source": ["astronaut"] * count, "photo_id": photos, "age": [40.0] * count, "part": ["train"] * count}
    corners = np.array([[0, 0], [side, 0], [side, side], [20, side]], np.float32)
    return Crops(np.stack([crop] * count), np.stack([corners] * count), pa.table(table), pa.table({}))


def loaded(recipe: Recipe, count: int) -> dict:
    """A batch, in this process."""
    return recipe.collate([recipe.samples[0, index] for index in range(count)])


def learner(model: torch.nn.Module, bfloat16: bool = True) -> Callable[..., None]:
    """What takes a training step as `fahr_hf.training.loop` does, at a rate that hardly moves the weights."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def learn(**inputs: torch.Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = model(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return learn


def in_turns(jobs: dict[tuple[str, str], Callable[[], object]], turns: int) -> Seconds:
    """Median seconds of each job; a first turn, for warming up, does not count."""
    seconds: dict[tuple[str, str], list[float]] = {job: [] for job in jobs}
    for turn in range(turns + 1):
        for job, run in jobs.items():
            begun = time.perf_counter()
            run()
            seconds[job].append(time.perf_counter() - begun)
        print(f"turn {turn} of {turns}", end="\r", file=sys.stderr)
    return {job: statistics.median(values[1:]) for job, values in seconds.items()}


if __name__ == "__main__":
    main()
