"""The crop cache, measured: what compression does to a model's answer, how fast crops are cut, and in how much memory.

    python benchmarks/crops.py compression UTKFACE > benchmarks/results/crops.md
    python benchmarks/crops.py speed UTKFACE >> benchmarks/results/crops.md
    python benchmarks/crops.py memory UTKFACE >> benchmarks/results/crops.md

UTKFACE is the data set that `fahr-hf data build` made. Three tables:

- compression: crops of the part `validation` are cut without loss, compressed and decompressed in every way, and given
  to `fahr-faceage-tiny`. What counts is how much its answer, in years, differs from that on the lossless crops;
- speed: the same 2,000 photos are cut by one worker and by two, in turns; medians. Photos a second and their ratio are
  lower where the machine has something else to do. CPU time is less so: that of the process that reads and writes,
  over that of a worker, tells how many workers it could feed;
- memory: the peak of that of all processes together, while two workers cut those photos, and the whole data set.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

import fahr_hf
from fahr_hf.data.crops import Crops, decode
from fahr_hf.data.cutting import NoFaceError, cut_crops, cut_face
from fahr_hf.metrics import mean_absolute_error
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFaceForAgeEstimation
from fahr_hf.training.age import predict_ages

FULL, HALVED = 0, 2  # Resolution of JPEG's colours: 4:4:4 and 4:2:0
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG 90, 4:2:0": ("JPEG", {"quality": 90, "subsampling": HALVED}),
    "JPEG 90, 4:4:4": ("JPEG", {"quality": 90, "subsampling": FULL}),
    "JPEG 95, 4:2:0": ("JPEG", {"quality": 95, "subsampling": HALVED}),
    "JPEG 95, 4:4:4": ("JPEG", {"quality": 95, "subsampling": FULL}),
    "JPEG 98, 4:4:4": ("JPEG", {"quality": 98, "subsampling": FULL}),
    "WebP 90": ("WEBP", {"quality": 90}),
    "WebP 95": ("WEBP", {"quality": 95}),
    "WebP, lossless": ("WEBP", {"lossless": True, "quality": 0, "method": 1}),
    "PNG, lossless": ("PNG", {}),
}
REPEATS = 2


# --------------------------------------------------------------------------------------------------------- compression


def lossless_crops(data: Path) -> Crops:
    """The photos of the part `validation`, cut as they are before they are stored."""
    processor = FahrFaceImageProcessor()
    files = sorted((data / "data").glob("validation-*.parquet"))
    table = pa.concat_tables([pq.read_table(file, columns=["image", "age"]) for file in files])
    faces, ages = [], []
    for photo, age in zip(table["image"].to_pylist(), table["age"].to_pylist(), strict=True):
        try:
            faces.append(cut_face(photo["bytes"], processor))
            ages.append(age)
        except NoFaceError as reason:
            print(reason)
    corners = np.array([face.corners for face in faces], np.float32)
    return Crops(np.stack([face.image for face in faces]), corners, pa.table({"age": ages}), pa.table({}))


def compressed(image: np.ndarray, image_format: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, image_format, **options)
    return file.getvalue()


def compression(crops: Crops) -> tuple[float, list[str]]:
    """Mean absolute error on the crops as they are, in years, and the rows of the table."""
    checkpoint = fahr_hf.checkpoint("fahr-faceage-tiny")
    model = FahrFaceForAgeEstimation.from_pretrained(checkpoint).eval()
    processor = FahrFaceImageProcessor.from_pretrained(checkpoint)
    wanted, age = predict_ages(model, processor, crops), crops.column("age")
    error = mean_absolute_error(age, wanted)
    rows = []
    for name, (image_format, options) in WAYS.items():
        stored = [compressed(image, image_format, options) for image in crops.images]
        start = time.process_time()
        images = np.stack([decode(data) for data in stored])
        milliseconds = 1000 * (time.process_time() - start) / len(stored)
        pixels = np.abs(images.astype(np.int16) - crops.images).mean()
        predicted = predict_ages(model, processor, Crops(images, crops.corners, crops.table, crops.rejected))
        change = np.abs(predicted - wanted)
        rows.append(
            f"| {name} | {np.mean([len(data) for data in stored]):,.0f} | {milliseconds:.2f} | {pixels:.2f} "
            f"| {change.mean():.2f} | {np.quantile(change, 0.99):.2f} "
            f"| {mean_absolute_error(age, predicted) - error:+.3f} |"
        )
    return error, rows


# ---------------------------------------------------------------------------------------------------- speed and memory


def cut(source: Path, workers: int) -> dict[str, float]:
    """Cut a data set in a process of its own and its workers, and watch their memory.

    Returns:
        What `cut_here` tells, and `megabytes`: the peak of the sum of their resident memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "cut", str(source), "--into", folder, "--workers", str(workers)]
        process = psutil.Popen(command, stdout=subprocess.PIPE)
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(resident, [process, *process.children(recursive=True)])))
            time.sleep(0.05)
        return {**json.loads(process.stdout.read()), "megabytes": peak / 1e6}


def resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def cut_here(source: Path, folder: Path, workers: int) -> dict[str, float]:
    """What it takes, without the start and the end of the workers.

    Returns:
        Number of `photos`; `seconds` of wall time; CPU seconds of this process, `own`, and of the workers, `theirs`.
    """
    progress = cut_crops(source, folder, workers=workers)
    next(progress)
    first, total = next(progress)
    children = psutil.Process().children()
    clocks = [clock(children)]
    for done, _ in progress:
        if done == total:
            clocks.append(clock(children))
    seconds, own, theirs = (clocks[-1] - clocks[0]).tolist()
    return {"photos": total - first, "seconds": seconds, "own": own, "theirs": theirs}


def clock(workers: list[psutil.Process]) -> np.ndarray:
    used = sum(sum(worker.cpu_times()[:2]) for worker in workers)
    return np.array([time.perf_counter(), time.process_time(), used])


def linked(data: Path, folder: Path) -> Path:
    """A data set of the first 2,000 photos of the part `train` of another."""
    (folder / "data").mkdir()
    for file in sorted((data / "data").glob("train-*.parquet"))[:2]:
        (folder / "data" / file.name).symlink_to(file.resolve())
    return folder


def report_compression(data: Path) -> list[str]:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    crops = lossless_crops(data)
    error, ways = compression(crops)
    return [
        "# The crop cache, measured",
        "",
        "What the columns mean stands at the top of `benchmarks/crops.py`. "
        f"OpenCV {cv2.__version__}, Pillow {PIL.__version__}.",
        "",
        "## Compression",
        "",
        f"{len(crops):,} photos of the part `validation`; `fahr-faceage-tiny`, whose mean absolute error on the "
        f"lossless crops is {error:.2f} years.",
        "",
        "| stored as | bytes a crop | decoding, ms | change of a pixel | change of age, years: mean | 99 % below "
        "| change of the mean absolute error |",
        "|---|---|---|---|---|---|---|",
        *ways,
        "",
        "The default is JPEG of quality 95 with colours at full resolution. A third more bytes than that gain little; "
        "twice as many, with `--format webp --quality 100`, lose nothing.",
        "",
    ]


def report_speed(data: Path) -> list[str]:
    results: dict[int, list[list[float]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as place:
        source = linked(data, Path(place))
        for _ in range(REPEATS):
            for workers, figures in results.items():
                run = cut(source, workers)
                milliseconds = [1000 * run[name] / run["photos"] for name in ("own", "theirs")]
                figures.append([run["photos"] / run["seconds"], *milliseconds])
    medians = {workers: np.median(figures, axis=0) for workers, figures in results.items()}
    return [
        "## Speed",
        "",
        "| workers | photos a second | ratio | CPU of the first process, ms a photo | CPU of the workers, ms a photo |",
        "|---|---|---|---|---|",
        *(
            f"| {workers} | {rate:.0f} | {rate / medians[1][0]:.2f} | {own:.2f} | {theirs:.1f} |"
            for workers, (rate, own, theirs) in medians.items()
        ),
        "",
        f"{os.cpu_count()} processors, on which {os.getloadavg()[2]:.1f} processes ran or waited on average meanwhile.",
        "",
    ]


def report_memory(data: Path) -> list[str]:
    with tempfile.TemporaryDirectory() as place:
        runs = [cut(source, workers=2) for source in (linked(data, Path(place)), data)]
    return [
        "## Memory (target: ratio at most 1.05)",
        "",
        "| photos | peak, MB | ratio |",
        "|---|---|---|",
        *(
            f"| {run['photos']:,} | {run['megabytes']:,.0f} | {run['megabytes'] / runs[0]['megabytes']:.3f} |"
            for run in runs
        ),
        "",
    ]


REPORTS = {"compression": report_compression, "speed": report_speed, "memory": report_memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*REPORTS, "cut"])
    parser.add_argument("data", type=Path, help="the data set UTKFace")
    # For `cut`, which the others call.
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.what == "cut":
        print(json.dumps(cut_here(arguments.data, arguments.into, arguments.workers)))
    else:
        print("\n".join(REPORTS[arguments.what](arguments.data)))


if __name__ == "__main__":
    main()
