"""Speed of prediction in one process: photos against ready tensors, drafts against full decoding, bfloat16, stages.

    python benchmarks/inference_speed.py > benchmarks/results/inference_speed.md

Whatever is compared runs in turns, so that ratios hold where absolute figures drift; the median of the turns counts.
Without --photos all photos are of one astronaut. Ages play no part: `base` has random weights.

Where the model computes on the CPU, photos and model share its cores, and take turns: the best that can be reached is
the time of both one after the other, each on all cores. The column "both in turn" is that rate.
"""

import argparse
import functools
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from fahr_hf import FahrFaceConfig, FahrFaceForAgeEstimation, FahrFaceImageProcessor, export, pipeline
from fahr_hf.models.image_processing_fahr_face import _borrowed_detectors, _read, similarity, warp
from fahr_hf.models.pipeline_fahr_face import FaceAgePipeline, _cores, photo_files

# Of the pipeline on a CPU.
BATCH = 16
MEGAPIXELS = 12
# Side of the square matrices whose product is the yardstick.
MATRIX = 2048

Job = Callable[[], object]


def rates(jobs: dict[str, tuple[Job, float]], turns: int) -> dict[str, float]:
    """How much of its work each job does in a second, by the median of its turns; a first turn is for warming up."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(turns + 1):
        for name, (run, _) in jobs.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begun)
    return {name: work / statistics.median(seconds[name][1:]) for name, (_, work) in jobs.items()}


def print_table(title: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    print(f"\n## {title}\n", *(f"| {' | '.join(cells)} |" for cells in lines), sep="\n", flush=True)


def portraits(folder: Path | None, count: int) -> list[Image.Image]:
    """Upright RGB photos: those of a folder, again and again if there are too few, or an astronaut's."""
    if folder is None:
        return [Image.fromarray(skimage.data.astronaut()[:384, 80:368])] * count
    found = [Image.fromarray(_read(path, 10**9).pixels) for path in islice(photo_files(folder), count)]
    if not found:
        raise SystemExit(f"There are no photos in {folder}.")
    return [found[place % len(found)] for place in range(count)]


def encoded(photo: Image.Image, height: int) -> bytes:
    """The photo as a JPEG file of that height."""
    file = io.BytesIO()
    width = round(photo.width * height / photo.height)
    photo.resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def on_all_cores(work: Callable[[Any], object], items: list) -> Job:
    """Work through all items in as many threads as the pipeline has."""

    def run() -> None:
        with ThreadPoolExecutor(_cores()) as pool:
            list(pool.map(work, items))

    return run


def model_on(model: torch.nn.Module, pixel_values: torch.Tensor) -> Job:
    """Run the model alone, and wait until an accelerator has done."""

    @torch.inference_mode()
    def run() -> None:
        for batch in pixel_values.split(BATCH):
            model(pixel_values=batch).age.cpu()

    return run


def crops_of(pipe: FaceAgePipeline, files: list[bytes]) -> torch.Tensor:
    """One ready tensor a photo, that of its largest face, on the model's device."""
    found = [pipe.preprocess(file)["pixel_values"][:1] for file in files]
    return torch.cat(found).to(pipe.device)


def random_base() -> FaceAgePipeline:
    torch.manual_seed(0)
    model = FahrFaceForAgeEstimation(FahrFaceConfig.from_size("base"))
    return pipeline("face-age", model, image_processor=FahrFaceImageProcessor())


def overlap(pipes: dict[str, FaceAgePipeline], photos: list[Image.Image], turns: int) -> None:
    files = [encoded(photo, 800) for photo in photos]
    rows = []
    for name, pipe in pipes.items():
        count = len(files)
        speed = rates(
            {
                "pipeline": (functools.partial(pipe, files), count),
                "no threads": (functools.partial(pipe, files, num_workers=0), count),
                "model": (model_on(pipe.model, crops_of(pipe, files)), count),
                "photos": (on_all_cores(pipe.image_processor.crops, files), count),
            },
            turns,
        )
        both = 1 / (1 / speed["model"] + 1 / speed["photos"])
        slower = min(speed["model"], speed["photos"])
        values = [speed["pipeline"], speed["no threads"], speed["model"], speed["photos"], both]
        ratios = [speed["pipeline"] / other for other in (speed["no threads"], speed["model"], slower, both)]
        rows.append([name, *(f"{value:.1f}" for value in values), *(f"{ratio:.2f}" for ratio in ratios)])
    columns = ["size", "pipeline", "its threads off", "model alone", "decode, detect, align alone", "both in turn"]
    shares = ["pipeline / threads off", "/ model", "/ slower of the two", "/ both in turn"]
    print_table("Portraits of 800 lines, photos a second", [*columns, *shares], rows)


def drafts(processor: FahrFaceImageProcessor, photos: list[Image.Image], turns: int) -> None:
    rows = []
    for lines, what in ((4000, "portrait"), (1000, "the same on a sheet of four times its height")):
        files = []
        for photo in photos:
            width = round(MEGAPIXELS * 1e6 / 4000)
            sheet = Image.new("RGB", (width, 4000), "grey")
            fitting = min(lines / photo.height, width / photo.width)
            sheet.paste(photo.resize((round(photo.width * fitting), round(photo.height * fitting))))
            files.append(encoded(sheet, 4000))

        def draft(files=files) -> None:
            for file in files:
                processor.crops(file)

        def full(files=files) -> None:
            for file in files:
                image = Image.open(io.BytesIO(file))
                # An image in memory is not decoded small any more.
                image.load()
                processor.crops(image)

        speed = rates({"draft": (draft, len(files)), "full": (full, len(files))}, turns)
        ratio = speed["draft"] / speed["full"]
        rows.append([what, f"{speed['draft']:.1f}", f"{speed['full']:.1f}", f"{ratio:.2f}"])
    print_table(
        f"{MEGAPIXELS} megapixels: decode, detect and align, photos a second",
        ["photo", "as the pipeline decodes", "fully decoded", "ratio"],
        rows,
    )


def number_formats(pipes: dict[str, FaceAgePipeline], file: bytes, turns: int) -> None:
    jobs: dict[str, tuple[Job, float]] = {}
    operations = {}
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    for name, pipe in pipes.items():
        crops = crops_of(pipe, [file]).expand(BATCH, -1, -1, -1).contiguous()
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            pipe.model(pixel_values=crops)
        operations[name] = counter.get_total_flops() / BATCH
        with tempfile.TemporaryDirectory() as folder:
            pipe.model.save_pretrained(folder)
            # Loaded as users would: a model may keep some of its parts in float32.
            models = {
                kind: FahrFaceForAgeEstimation.from_pretrained(folder, dtype=dtype) for kind, dtype in types.items()
            }
        for kind, model in models.items():
            jobs[f"{name} {kind}"] = model_on(model.to(pipe.device), crops), BATCH
    for kind, dtype in types.items():
        matrix = torch.ones(MATRIX, MATRIX, dtype=dtype, device=next(iter(pipes.values())).device)
        jobs[f"matmul {kind}"] = (lambda matrix=matrix: (matrix @ matrix)[0, 0].item()), 2 * MATRIX**3
    speed = rates(jobs, turns)
    peak = {kind: speed[f"matmul {kind}"] for kind in types}
    rows = [["matrix product", "", "", f"{peak['bfloat16'] / peak['float32']:.2f}", "", ""]]
    for name in pipes:
        single, half = (speed[f"{name} {kind}"] for kind in types)
        shares = [operations[name] * speed[f"{name} {kind}"] / peak[kind] for kind in types]
        rows.append(
            [name, f"{single:.1f}", f"{half:.1f}", f"{half / single:.2f}", *(f"{share:.2f}" for share in shares)]
        )
    columns = [
        "",
        "float32, crops a second",
        "bfloat16",
        "ratio",
        "float32 / matrix product",
        "bfloat16 / matrix product",
    ]
    print_table(f"The model alone, batches of {BATCH}", columns, rows)


def other_ways(folder: Path) -> dict[str, FaceAgePipeline]:
    """The small model in half precision, and as OpenVINO computes it where that is installed."""
    pipes = {"bfloat16": pipeline("face-age", "fahr-faceage-tiny", dtype="bfloat16")}
    if find_spec("nncf"):
        export("fahr-faceage-tiny", format="openvino", dtype="int8", out=folder / "int8")
        pipes["OpenVINO, weights in int8"] = pipeline("face-age", folder / "int8")
    return pipes


def stages(pipe: FaceAgePipeline, others: dict[str, FaceAgePipeline], photos: list[Image.Image], turns: int) -> None:
    processor = pipe.image_processor
    files = [encoded(photo, 200) for photo in photos]
    detectors = processor._require_detector_files()
    decoded = [_read(file, processor.max_pixels).pixels for file in files]
    boxes = [processor._find(_read(file, processor.max_pixels))[0] for file in files]
    side, target = processor.size["height"], processor.target_landmarks()

    def detect(pixels: np.ndarray) -> None:
        with _borrowed_detectors(detectors) as opened:
            opened.boxes(pixels, processor.max_detection_side, processor.min_detection_score)

    def align(item: tuple[np.ndarray, np.ndarray]) -> None:
        pixels, found = item
        with _borrowed_detectors(detectors) as opened:
            points = opened.landmarks(pixels, found)
        processor.normalize_crops(np.stack([warp(pixels, similarity(face, target), side) for face in points]))

    count = len(files)
    with_face = [(pixels, found) for pixels, found in zip(decoded, boxes, strict=True) if len(found)]
    jobs: dict[str, tuple[Job, float]] = {
        "decode": (on_all_cores(lambda file: _read(file, processor.max_pixels), files), count),
        "detect": (on_all_cores(detect, decoded), count),
        "landmarks and align": (on_all_cores(align, with_face), count),
    }
    for name, one in {"float32": pipe, **others}.items():
        jobs[f"model, {name}"] = model_on(one.model, crops_of(one, files)), count
        jobs[f"end to end, {name}"] = functools.partial(one, files), count
    speed = rates(jobs, turns)
    rows = [[name, f"{rate:.0f}", f"{1000 / rate:.2f}"] for name, rate in speed.items()]
    title = "`tiny` on photos of 200 lines, every stage alone on all cores"
    print_table(title, ["stage", "photos a second", "ms a photo"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of portraits to take instead of the astronaut")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--count", type=int, default=128, help="photos in a turn")
    options = parser.parse_args()
    pipes = {"tiny": pipeline("face-age", "fahr-faceage-tiny"), "base": random_base()}
    photos = portraits(options.photos, options.count)
    device = pipes["tiny"].device
    threads = f"torch {torch.__version__} with {torch.get_num_threads()} threads, OpenCV {cv2.__version__}"
    print(
        f"# Speed of prediction\n\n`python benchmarks/inference_speed.py`: {_cores()} CPU cores, model on {device}, "
        f"{threads} with {cv2.getNumThreads()}. Medians of {options.turns} turns with {options.count} photos; what is "
        "compared ran in turns.",
        flush=True,
    )
    overlap(pipes, photos, options.turns)
    drafts(pipes["tiny"].image_processor, photos[: max(1, options.count // 8)], options.turns)
    number_formats(pipes, encoded(photos[0], 800), options.turns)
    with tempfile.TemporaryDirectory() as folder:
        stages(pipes["tiny"], other_ways(Path(folder)), photos, options.turns)


if __name__ == "__main__":
    main()
