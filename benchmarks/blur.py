"""The warning of blurred faces: how many photos it comes with, and what blur does to the answers.

    python benchmarks/blur.py CROPS > benchmarks/results/blur.md

CROPS holds the crop caches `utkface`, `public_figures` and `congress`. Photos are those of the part `calibration`,
which no weights have seen. Crops are blurred as they are stored, by a Gaussian with a standard deviation in pixels, or
by motion over 7 pixels; ages are those of `fahr-faceage-tiny`, where the true ones are known.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from fahr_hf.data.crops import BORDER, Crops, blacken, load_crops
from fahr_hf.metrics import bias, mean_absolute_error
from fahr_hf.models.pipeline_fahr_face import LEAST_SHARPNESS, FaceAgePipeline
from fahr_hf.pipelines import pipeline

BLURS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda image: image,
    **{f"Gaussian, {sigma}": lambda image, s=sigma: cv2.GaussianBlur(image, (0, 0), s) for sigma in (1, 2, 4)},
    "motion, 7": lambda image: cv2.blur(image, (7, 1)),
}


def main(folder: Path) -> None:
    model = pipeline("face-age", "fahr-faceage-tiny")
    print("# The warning of blurred faces\n")
    print(
        f"`python benchmarks/blur.py`; what is measured stands at the top of it. Warned of: below {LEAST_SHARPNESS}.\n"
    )
    print("| photos | n | blur | warned of | mean absolute error, years | bias, years |")
    print("|---|---|---|---|---|---|")
    for name in ("utkface", "public_figures", "congress"):
        crops = load_crops(folder / name, ["calibration"])
        for blur, change in BLURS.items():
            print(f"| {name} | {len(crops):,} | {blur} | {row(model, crops, change)} |", flush=True)


def row(model: FaceAgePipeline, crops: Crops, change: Callable[[np.ndarray], np.ndarray]) -> str:
    processor = model.image_processor
    views = [
        blacken(change(image), corners)[BORDER:-BORDER, BORDER:-BORDER]
        for image, corners in zip(crops.images, crops.corners, strict=True)
    ]
    warned = np.mean([processor.sharpness(view) < LEAST_SHARPNESS for view in views])
    age = crops.column("age").astype(float)
    if np.isnan(age).all():
        return f"{warned:.1%} | |"
    batches = [
        torch.from_numpy(processor.normalize_crops(np.stack(views[i : i + 64]))) for i in range(0, len(views), 64)
    ]
    ages = [model.forward({"pixel_values": batch, "faces": []})["age"].double().numpy() for batch in batches]
    predicted = np.concatenate(ages)
    return f"{warned:.1%} | {mean_absolute_error(age, predicted):.1f} | {bias(age, predicted):+.1f}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
