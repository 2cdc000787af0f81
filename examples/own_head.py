"""A head of one's own on the pre-trained backbone: features of faces, and a linear model on them.

    python examples/own_head.py PHOTOS LABELS.csv

`LABELS.csv` has the columns `photo` and `label`, a number for each photo in the folder PHOTOS, such as a measurement.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import fahr_hf


def main() -> None:
    """Fit and judge the head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("labels", type=Path)
    arguments = parser.parse_args()

    table = pd.read_csv(arguments.labels)
    embed = fahr_hf.pipeline("face-embedding", model="fahr-face-tiny", num_workers=2)
    answers = embed([str(arguments.photos / name) for name in table["photo"]])
    usable = [bool(faces) and "error" not in faces[0] for faces in answers]
    features = np.stack([faces[0]["embedding"] for faces, good in zip(answers, usable, strict=True) if good])
    label = table["label"].to_numpy(float)[usable]

    # Every fifth photo is held out; with several photos of a person, hold out people.
    held = np.arange(len(label)) % 5 == 0
    mean, spread = features[~held].mean(0), features[~held].std(0) + 1e-6
    scaled = np.c_[(features - mean) / spread, np.ones(len(features))]
    penalty = np.diag([10.0] * features.shape[1] + [0.0])
    head = np.linalg.solve(scaled[~held].T @ scaled[~held] + penalty, scaled[~held].T @ label[~held])
    error = np.abs(scaled[held] @ head - label[held]).mean()
    baseline = np.abs(np.median(label[~held]) - label[held]).mean()
    print(f"{usable.count(False)} photos without a face; n {held.sum()} held out")
    print(f"mean absolute error {error:.2f}; of the median of the others {baseline:.2f}")


if __name__ == "__main__":
    main()
