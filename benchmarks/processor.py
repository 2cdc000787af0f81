"""How well the image processor finds, levels and places faces, with the settings that it ships.

    python benchmarks/processor.py DATA_FOLDER --out benchmarks/results/processor.md

DATA_FOLDER holds `utkface-*.parquet`, `public_figures-*.parquet` and `congress.parquet`, each with an `image`
column.

Three figures for each set:

- found: share of all photos whose largest face lies where the set's photos have their face (see
  `is_plausible`), with the 95 % Wilson interval;
- roll gain: a random sample of photos is turned by known angles; the gain is the slope of the measured change
  of roll on the true one, pooled within photos, where the head is turned at most 40 degrees; the 95 %
  interval comes from a bootstrap over photos;
- landmark consistency: each photo of the sample is shifted, resized, turned and mirrored, its landmarks are
  mapped back, and their mean distance from those of the untouched photo is divided by the distance between
  the eyes.
"""

import argparse
import functools
import io
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor

SETS = ("utkface", "public_figures", "congress")
ANGLES = (-40, -30, -20, -10, 10, 20, 30, 40)
LARGEST_ROLL = 40
MIRRORED = [1, 0, 2, 4, 3]

Face = dict[str, Any]


@functools.cache
def processor() -> FahrFaceImageProcessor:
    """One for each worker process, as `from_pretrained` would give it."""
    cv2.setNumThreads(1)
    return FahrFaceImageProcessor()


def photos(folder: Path, name: str) -> Iterator[bytes]:
    """The encoded photos of one set, in the order of its files."""
    for file in sorted(folder.glob(f"{name}*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(batch_size=256, columns=["image"]):
            for image in batch.column("image").to_pylist():
                yield image["bytes"] if isinstance(image, dict) else image


def is_plausible(face: Face, width: int, height: int) -> bool:
    """Whether a face lies where a portrait has its face.

    The centre of its box is in the middle three fifths of the width and between a twentieth and three quarters of the
    height, and the box is at least a twentieth as large as the photo's shorter side: some portraits show the whole
    person.
    """
    box = face["box"]
    x = (box["xmin"] + box["xmax"]) / 2 / width
    y = (box["ymin"] + box["ymax"]) / 2 / height
    return 0.2 <= x <= 0.8 and 0.05 <= y <= 0.75 and face["size"] >= min(width, height) / 20


def find(data: bytes) -> tuple[bool, bool, int, float]:
    """Whether the largest face is plausible, whether there is any, how many there are, and the CPU seconds."""
    start = time.process_time()
    faces = processor().detect(data)
    seconds = time.process_time() - start
    width, height = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size
    return bool(faces) and is_plausible(faces[0], width, height), bool(faces), len(faces), seconds


# The photo changes that a user would make, each with the map from old to new pixel coordinates.


def shift(image: Image.Image, right: int, down: int) -> tuple[Image.Image, np.ndarray]:
    """Move the window over the photo; what lies outside is black."""
    moved = image.crop((-right, -down, image.width - right, image.height - down))
    return moved, np.array([[1.0, 0, right], [0, 1, down]])


def resize(image: Image.Image, factor: float) -> tuple[Image.Image, np.ndarray]:
    """Resample, with the exact ratio of each axis in the map."""
    width, height = round(image.width * factor), round(image.height * factor)
    x, y = width / image.width, height / image.height
    resized = image.resize((width, height), Image.Resampling.LANCZOS)
    return resized, np.array([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5]])


def turn(image: Image.Image, degrees: float) -> tuple[Image.Image, np.ndarray]:
    """Turn clockwise as seen by the viewer, on a canvas that keeps all of the photo."""
    turned = image.rotate(-degrees, Image.Resampling.BICUBIC, expand=True)
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.array([[c, -s], [s, c]])
    old = (np.array(image.size) - 1) / 2
    new = (np.array(turned.size) - 1) / 2
    return turned, np.hstack([matrix, (new - matrix @ old)[:, None]])


def mirror(image: Image.Image) -> tuple[Image.Image, np.ndarray]:
    """Left becomes right."""
    return ImageOps.mirror(image), np.array([[-1.0, 0, image.width - 1], [0, 1, 0]])


def follow(image: Image.Image, expected: np.ndarray) -> Face | None:
    """The face whose landmarks lie nearest to the expected ones, unless it is another one altogether."""
    eyes = np.linalg.norm(expected[1] - expected[0])
    faces = processor().detect(image)
    distances = [np.linalg.norm(np.array(face["landmarks"]).mean(0) - expected.mean(0)) for face in faces]
    if not faces or min(distances) > eyes:
        return None
    return faces[int(np.argmin(distances))]


def move(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def turned_rolls(data: bytes) -> list[tuple[float, float | None]]:
    """True and measured change of roll for each angle that keeps the head in range; None if not found."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    faces = processor().detect(image)
    if not faces:
        return []
    landmarks = np.array(faces[0]["landmarks"])
    pairs = []
    for angle in ANGLES:
        if abs(faces[0]["roll"] + angle) <= LARGEST_ROLL:
            turned, matrix = turn(image, angle)
            face = follow(turned, move(landmarks, matrix))
            pairs.append((float(angle), None if face is None else face["roll"] - faces[0]["roll"]))
    return pairs


def displacements(task: tuple[int, bytes]) -> dict[str, float | None]:
    """Mean landmark displacement over the distance between the eyes, by change of the photo; None if lost."""
    seed, data = task
    rng = np.random.default_rng(seed)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    faces = processor().detect(image)
    if not faces:
        return {}
    landmarks = np.array(faces[0]["landmarks"])
    eyes = np.linalg.norm(landmarks[1] - landmarks[0])
    reach = 0.1 * faces[0]["size"]
    right, down = rng.uniform(-reach, reach, 2).round().astype(int).tolist()
    factor = math.exp(rng.uniform(math.log(0.7), math.log(1.4)))
    degrees = rng.uniform(-15, 15)
    changes: dict[str, list[Callable]] = {
        "shifted": [lambda x: shift(x, right, down)],
        "resized": [lambda x: resize(x, factor)],
        "turned": [lambda x: turn(x, degrees)],
        "mirrored": [mirror],
        "all four": [
            lambda x: shift(x, right, down),
            lambda x: resize(x, factor),
            lambda x: turn(x, degrees),
            mirror,
        ],
    }
    result: dict[str, float | None] = {}
    for name, steps in changes.items():
        changed, expected = image, landmarks
        for step in steps:
            changed, matrix = step(changed)
            expected = move(expected, matrix)
        scale = np.linalg.norm(expected[1] - expected[0]) / eyes
        if mirror in steps:
            expected = expected[MIRRORED]
        face = follow(changed, expected)
        distance = None if face is None else np.linalg.norm(np.array(face["landmarks"]) - expected, axis=1).mean()
        result[name] = None if distance is None else float(distance / (scale * eyes))
    return result


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson, 1927)."""
    z = 1.959964
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return centre - half, centre + half


def bootstrap(photos_values: list[np.ndarray], statistic: Callable[[np.ndarray], float]) -> tuple[float, float]:
    """95 % percentile interval of a statistic of all rows, resampling photos (each one a block of rows)."""
    rng = np.random.default_rng(0)
    draws = rng.integers(len(photos_values), size=(1000, len(photos_values)))
    values = [statistic(np.concatenate([photos_values[i] for i in draw])) for draw in draws]
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def slope(rows: np.ndarray) -> float:
    """Of measured on true change of roll: both are differences from the photo unturned, so through zero."""
    return float(rows[:, 0] @ rows[:, 1] / (rows[:, 0] @ rows[:, 0]))


def found_row(name: str, results: list[tuple[bool, bool, int, float]]) -> str:
    n = len(results)
    plausible = sum(result[0] for result in results)
    low, high = wilson(plausible, n)
    anywhere = sum(result[1] for result in results)
    several = sum(result[2] > 1 for result in results)
    milliseconds = 1000 * float(np.median([result[3] for result in results]))
    return (
        f"| {name} | {n:,} | {100 * plausible / n:.2f} % | {100 * low:.2f} to {100 * high:.2f} % "
        f"| {100 * anywhere / n:.2f} % | {100 * several / n:.2f} % | {milliseconds:.1f} |"
    )


def roll_row(name: str, results: list[list[tuple[float, float | None]]]) -> str:
    pairs = [np.array([pair for pair in photo if pair[1] is not None], float) for photo in results]
    pairs = [photo for photo in pairs if len(photo)]
    rows = np.concatenate(pairs)
    low, high = bootstrap(pairs, slope)
    lost = sum(measured is None for photo in results for _, measured in photo)
    errors = np.abs(rows[:, 1] - rows[:, 0])
    return (
        f"| {name} | {len(pairs):,} | {len(rows):,} | {slope(rows):.3f} | {low:.3f} to {high:.3f} "
        f"| {np.median(errors):.2f} | {np.quantile(errors, 0.95):.2f} | {100 * lost / (lost + len(rows)):.2f} % |"
    )


def consistency_rows(name: str, results: list[dict[str, float | None]]) -> Iterator[str]:
    results = [photo for photo in results if photo]
    for change in results[0]:
        values = np.array([photo[change] for photo in results if photo[change] is not None])
        low, high = bootstrap(list(values[:, None]), np.mean)
        lost = len(results) - len(values)
        yield (
            f"| {name} | {change} | {len(values):,} | {values.mean():.4f} | {low:.4f} to {high:.4f} "
            f"| {np.median(values):.4f} | {np.quantile(values, 0.95):.4f} | {lost} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the parquet files lie")
    parser.add_argument("--sample", type=int, default=600, help="photos of each set for roll and consistency")
    parser.add_argument("--limit", type=int, default=None, help="photos of each set for the found rate; default all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=None, help="also write the report to this file")
    arguments = parser.parse_args()

    found, rolls, consistency = [], [], []
    with multiprocessing.Pool(arguments.workers) as pool:
        for name in SETS:
            everything = list(photos(arguments.folder, name))
            order = np.random.default_rng(0).permutation(len(everything))
            sample = [everything[i] for i in order[: arguments.sample]]
            searched = everything if arguments.limit is None else [everything[i] for i in order[: arguments.limit]]
            found.append(found_row(name, pool.map(find, searched, chunksize=64)))
            rolls.append(roll_row(name, pool.map(turned_rolls, sample, chunksize=16)))
            consistency.extend(consistency_rows(name, pool.map(displacements, list(enumerate(sample)), chunksize=16)))

    report = "\n".join(
        [
            "# The image processor, measured",
            "",
            "`python benchmarks/processor.py DATA_FOLDER`, with the settings that the processor ships. What the "
            "columns mean stands at the top of that script. "
            f"OpenCV {cv2.__version__}, Pillow {PIL.__version__}; one thread for each of the workers.",
            "",
            "## Faces found (target: at least 99 %)",
            "",
            "| set | photos | found in place | 95 % interval | any face | more than one | median CPU ms |",
            "|---|---|---|---|---|---|---|",
            *found,
            "",
            "## Roll over +-40 degrees (target: gain within 5 % of 1)",
            "",
            "| set | photos | turns | gain | 95 % interval | median error, degrees | 95 % of errors below | lost |",
            "|---|---|---|---|---|---|---|---|",
            *rolls,
            "",
            "## Landmark consistency, in distances between the eyes (target: mean at most .03)",
            "",
            "Shifts of up to a tenth of the face, resizing by .7 to 1.4, turns of up to 15 degrees, mirroring.",
            "",
            "| set | change | photos | mean | 95 % interval | median | 95 % below | lost |",
            "|---|---|---|---|---|---|---|---|",
            *consistency,
            "",
        ]
    )
    print(report)
    if arguments.out is not None:
        arguments.out.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
