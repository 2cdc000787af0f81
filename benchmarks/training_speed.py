"""Speed of pre-training on a CPU: the masked step against a dense one, and the loader against the step.

    python benchmarks/training_speed.py > benchmarks/results/training_speed.md

Everything runs on one thread of one processor, in turns, so that ratios hold where absolute figures drift; the median
of the turns counts. The crop is one photo's, which changes no time.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import pyarrow as pa
import skimage
import torch

from fahr_hf import FahrFaceConfig, FahrFaceForAgeEstimation, FahrFaceForPreTraining, FahrFaceImageProcessor
from fahr_hf.data.crops import BORDER, Crops
from fahr_hf.training.pretraining import pretraining_recipe
from fahr_hf.training.samples import CropSamples

BATCH = 64


def samples(count: int) -> CropSamples:
    side = 112 + 2 * BORDER
    crop = cv2.resize(skimage.data.astronaut()[60:200, 160:300], (side, side))
    names = {"source": ["astronaut"] * count, "photo_id": [str(place) for place in range(count)]}
    corners = np.array([[0, 0], [side, 0], [side, side], [20, side]], np.float32)
    return CropSamples(Crops(np.stack([crop] * count), np.stack([corners] * count), pa.table(names), pa.table({})))


def step(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=9)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    processor, crops = FahrFaceImageProcessor(), samples(BATCH)
    jobs: dict[tuple[str, str], Callable[[], object]] = {}
    for size in ("tiny", "small"):
        config = FahrFaceConfig.from_size(size)
        recipe = pretraining_recipe(FahrFaceForPreTraining(config), processor, crops, crops.crops.corners)
        dense = FahrFaceForAgeEstimation(config)
        for model in (recipe.model, dense):
            # The faster one here: the fused attention's backward pass is slow for so few tokens.
            model.set_attn_implementation("eager")

        def load(recipe=recipe) -> dict:
            return recipe.collate([recipe.samples[0, index] for index in range(BATCH)])

        batch = load()
        jobs[size, "load"] = load
        jobs[size, "masked"] = step(recipe.model, {name: batch[name] for name in ("pixel_values", "noise")})
        jobs[size, "dense"] = step(dense, {"pixel_values": batch["pixel_values"], "labels": torch.full((BATCH,), 40.0)})
    seconds: dict[tuple[str, str], list[float]] = {job: [] for job in jobs}
    for _ in range(turns + 1):
        for job, run in jobs.items():
            begun = time.perf_counter()
            run()
            seconds[job].append(time.perf_counter() - begun)
    print(
        f"One CPU thread, bfloat16, {BATCH} crops a step, medians of {turns} turns (`benchmarks/training_speed.py`).\n"
    )
    print("| size | masked step, ms a crop | dense step | masked / dense | loading | masked step / loading |")
    print("|---|---|---|---|---|---|")
    for size in ("tiny", "small"):
        # The first turn is for warming up.
        load, masked, dense = (
            1000 * statistics.median(seconds[size, kind][1:]) / BATCH for kind in ("load", "masked", "dense")
        )
        cells = [f"{masked:.2f}", f"{dense:.2f}", f"{masked / dense:.2f}", f"{load:.2f}", f"{masked / load:.1f}"]
        print(f"| {size} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
