"""How far the ages of `fahr-faceage-tiny` move when photos are changed before a face is looked for.

    python benchmarks/robustness.py SETS --photos 75 > benchmarks/results/robustness.md

SETS holds the data sets `utkface` and `public_figures`, made by `fahr-hf data build`. Of the part `validation` of each,
`--photos` photos are taken, evenly over its rows; photos of public figures so that each is of another person. It takes
about 2 seconds of one CPU a photo.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch

from fahr_hf.analysis.perturbation.sensitivity import AGE_LIMIT, Photo, curves, perturbed_answers, tolerances
from fahr_hf.evaluation.predictions import open_photos
from fahr_hf.pipelines import pipeline
from fahr_hf.reports.cells import shown

MODEL = "fahr-faceage-tiny"
SOURCES = ("utkface", "public_figures")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", type=Path)
    parser.add_argument("--photos", type=int, default=75, help="of each data set")
    parser.add_argument("--figure", type=Path, help="an image file for the curves")
    parser.add_argument("--model", default=MODEL, help="embedded name, or a folder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    photos = [photo for name in SOURCES for photo in sample(arguments.sets / name, arguments.photos)]
    answers = perturbed_answers(pipeline("face-age", arguments.model), photos)
    found = curves(answers)
    if arguments.figure is not None:
        from fahr_hf.analysis.perturbation.figure import draw_curves

        draw_curves(found, AGE_LIMIT, "years of predicted age").savefig(arguments.figure)
    name = Path(arguments.model).name
    used = answers.dropna(subset="perturbation")["photo"].nunique()
    print("# Changed photos and predicted age\n")
    print(
        f"`python benchmarks/robustness.py`; what is measured stands at the top of it. {name}, {used} photos with "
        f"a face of {len(photos)} ({' and '.join(SOURCES)}, validation, {arguments.photos} each). Changes in years, "
        "after less before; intervals are 95 %, by a bootstrap of people. Lost: faces that were not found any more. "
        "Coverings, colours and the turned cylinder (yaw) are drawings.\n"
    )
    print(f"## How far one may go before the mean absolute change passes {AGE_LIMIT:g} year\n")
    print("| change | unit | nothing changes at | passed at | tested to | mean absolute change there | lost there |")
    print("|---|---|---|---|---|---|---|")
    for row in tolerances(found).itertuples():
        passed = "not passed" if np.isnan(row.passes_at) else shown(row.passes_at)
        print(
            f"| {title(row.perturbation)} | {row.unit} | {row.identity:g} | {passed} | {row.tested_to:g} | "
            f"{row.absolute:.1f} | {row.lost:.0%} |"
        )
    print("\n## Curves\n")
    print("| change | strength | n | mean change | mean absolute change | lost |\n|---|---|---|---|---|---|")
    for row in found.itertuples():
        print(
            f"| {title(row.perturbation)} | {row.strength:g} | {row.n} | "
            f"{row.change:+.1f} ({shown(row.change_low)} to {shown(row.change_high)}) | "
            f"{row.absolute:.1f} ({shown(row.absolute_low)} to {shown(row.absolute_high)}) | {row.lost:.0%} |"
        )


def sample(folder: Path, count: int) -> list[Photo]:
    """Photos of the validation part, evenly over its rows; one a person where people are known."""
    dataset = open_photos(folder)
    wanted = pc.field("part") == "validation"
    labels = dataset.to_table(["photo_id", "subject_id"], filter=wanted).to_pandas()
    labels = labels[labels["subject_id"].isna() | ~labels["subject_id"].duplicated()]
    chosen = labels.iloc[np.linspace(0, len(labels) - 1, count).round().astype(int)]
    rows = dataset.to_table(
        ["photo_id", "image"], filter=wanted & pc.field("photo_id").isin(chosen["photo_id"].tolist())
    )
    images = {row["photo_id"]: row["image"]["bytes"] for row in rows.to_pylist()}
    return [Photo(row.photo_id, row.subject_id, images[row.photo_id]) for row in chosen.itertuples()]


def title(name: str) -> str:
    return name.replace("_", " ")


if __name__ == "__main__":
    main()
