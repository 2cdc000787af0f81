"""What a stream costs beside crops in memory: time to read, photos a second, memory.

    OMP_NUM_THREADS=1 python benchmarks/streams.py --out benchmarks/results/streams.md

The photos are one public-domain face, shifted and turned, as JPEG crops of 128 x 128 pixels in the layout of
`fahr-hf data crops` and as WebDataset tars with a JSON file a photo. Figures of time are CPU microseconds a photo
where nothing else is said; other programs on the machine hardly change those. Where two ways are compared by the
clock, short runs of both alternate, and the figure is the median of their ratios, with the smallest and the largest.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import skimage
import torch
from PIL import Image
from torch.utils.data import DataLoader

from fahr_hf import FahrFaceConfig, FahrFaceForPreTraining, FahrFaceImageProcessor
from fahr_hf.data.crops import BORDER, FORMAT, load_crops
from fahr_hf.data.schema import COLUMNS
from fahr_hf.data.shards import Shards
from fahr_hf.data.streams import CropStream, StreamBatch
from fahr_hf.training.augmentation import random_resized_crop
from fahr_hf.training.randomness import epoch_order, sample_generator
from fahr_hf.training.samples import CropSamples

ROWS, FEW_ROWS = 20_000, 2_000
SIDE = 112
BATCH = 64
SHARD_ROWS, GROUP_ROWS, TAR_PHOTOS = 1024, 128, 2000
FRAMES = np.empty((0, 4, 2), np.float32)

Batch = dict[str, Any]


# ------------------------------------------------------------------------------------------------------------ data


def photos() -> list[bytes]:
    """512 crops of one face, none like another."""
    generator = np.random.default_rng(0)
    face = Image.fromarray(skimage.data.astronaut()).crop((100, 0, 340, 240))
    encoded = []
    for _ in range(512):
        angle, right, down = generator.uniform(-10, 10), *generator.uniform(-12, 12, 2)
        turned = face.rotate(angle, Image.Resampling.BICUBIC, translate=(right, down))
        file = io.BytesIO()
        turned.resize((SIDE + 2 * BORDER,) * 2, Image.Resampling.LANCZOS).save(file, "JPEG", quality=95)
        encoded.append(file.getvalue())
    return encoded


def write_cache(folder: Path, rows: int, encoded: list[bytes]) -> Path:
    folder.mkdir()
    columns = {name: feature for name, feature in COLUMNS.items() if name != "box"}
    extra = {"corners": datasets.List(datasets.Value("float32")), "row": datasets.Value("int64")}
    schema = datasets.Features({**columns, **extra}).arrow_schema
    side = SIDE + 2 * BORDER
    corners = [-0.5, -0.5, side - 0.5, -0.5, side - 0.5, side - 0.5, -0.5, side - 0.5]
    for number, start in enumerate(range(0, rows, SHARD_ROWS)):
        numbers = range(start, min(start + SHARD_ROWS, rows))
        table = [
            {
                "image": {"bytes": encoded[row % len(encoded)], "path": None},
                "photo_id": f"{row:08}.jpg",
                "age": row % 90,
                "source": "face",
                "part": "train",
                "corners": corners,
                "row": row,
            }
            for row in numbers
        ]
        shard = pa.Table.from_pylist(table, schema)
        pq.write_table(shard, folder / f"shard-{number:05}.parquet", row_group_size=GROUP_ROWS, compression="zstd")
        rejects = shard.slice(0, 0).drop_columns(["image", "corners"])
        pq.write_table(
            rejects.append_column("reason", pa.array([], pa.string())), folder / f"rejects-{number:05}.parquet"
        )
    recipe = {"format": FORMAT, "rows": rows, "shard_rows": SHARD_ROWS, "size": {"height": SIDE}}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder


def write_tars(folder: Path, rows: int, encoded: list[bytes]) -> Path:
    folder.mkdir()
    for start in range(0, rows, TAR_PHOTOS):
        with tarfile.open(folder / f"{start // TAR_PHOTOS:05}.tar", "w") as tar:
            for row in range(start, start + TAR_PHOTOS):
                for extension, content in (("jpg", encoded[row % len(encoded)]), ("json", b'{"age": 41}')):
                    member = tarfile.TarInfo(f"{row:08}.{extension}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return folder


# --------------------------------------------------------------------------------------------------------- loading


def collate(samples: list[dict[str, Any]]) -> Batch:
    """Views as pre-training makes them."""
    views = []
    for sample in samples:
        generator = sample_generator(0, sample["epoch"], sample["index"])
        views.append(random_resized_crop(sample["image"], sample["corners"], FRAMES, SIDE, generator))
    return {"pixel_values": torch.from_numpy(FahrFaceImageProcessor().normalize_crops(np.stack(views)))}


def collate_stream(batch: StreamBatch) -> Batch:
    return collate(batch.samples)


def stream_loader(source: Path, workers: int, epoch: int = 0) -> DataLoader:
    batches = CropStream([source]).batches(epoch, batch_size=BATCH)
    return DataLoader(batches, batch_size=None, collate_fn=collate_stream, **of_workers(workers))


def memory_loader(samples: CropSamples, workers: int) -> DataLoader:
    order = [(0, int(index)) for index in epoch_order(0, 0, len(samples))]
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    return DataLoader(samples, batch_sampler=batches, collate_fn=collate, **of_workers(workers))


def of_workers(workers: int) -> dict[str, Any]:
    return {"num_workers": workers, "multiprocessing_context": "fork" if workers else None}


def train(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Steps of the tiny masked autoencoder; the batches come out again behind them."""
    torch.manual_seed(0)
    model = FahrFaceForPreTraining(FahrFaceConfig.from_size("tiny"))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    for batch in batches:
        model(pixel_values=batch["pixel_values"]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        yield batch


# ------------------------------------------------------------------------------------------------- what is measured


def cpu_time(batches: Iterable[Any], size: Callable[[Any], int]) -> float:
    """CPU microseconds of this process for each photo, the first three batches left out."""
    batches = iter(batches)
    for _ in islice(batches, 3):
        pass
    start, count = time.process_time(), 0
    for batch in batches:
        count += size(batch)
    return 1e6 * (time.process_time() - start) / count


def photos_of(batch: Batch) -> int:
    return len(batch["pixel_values"])


def reading(cache: Path, tars: Path, place: Path) -> list[str]:
    """Undecoded photos, by this package and by `datasets`."""

    def blocks(source: Path) -> Iterator[list[Any]]:
        shards = Shards([source], "train")
        return map(shards.read, np.random.default_rng(0).permutation(len(shards.rows)))

    def opened(kind: str, files: list[Path]) -> datasets.IterableDataset:
        files = [str(file) for file in files]
        shards = datasets.load_dataset(kind, data_files=files, split="train", streaming=True, cache_dir=str(place))
        return shards.cast_column("image" if kind == "parquet" else "jpg", datasets.Image(decode=False))

    def one_by_one(kind: str, files: list[Path]) -> Iterator[dict[str, list[Any]]]:
        for file in files:
            yield from opened(kind, [file]).iter(batch_size=GROUP_ROWS)

    def picked(shards: datasets.IterableDataset, numbers: Iterable[int]) -> Iterator[dict[str, list[Any]]]:
        for number in numbers:
            yield from shards.shard(shards.num_shards, number).iter(batch_size=GROUP_ROWS)

    def rows(batch: dict[str, list[Any]]) -> int:
        return len(next(iter(batch.values())))

    parquet, archives = sorted(cache.glob("shard-*")), sorted(tars.glob("*.tar"))
    batched = {"batch_size": GROUP_ROWS}
    measured = {
        "this package, row groups of Parquet shards in any order": cpu_time(blocks(cache), len),
        "`datasets`, Parquet shards in sequence": cpu_time(opened("parquet", parquet).iter(**batched), rows),
        "`datasets`, each Parquet shard opened by itself": cpu_time(one_by_one("parquet", parquet), rows),
        "`datasets`, 20 of 10,000 Parquet shards by `.shard`": cpu_time(
            picked(opened("parquet", parquet[:1] * 10_000), range(20)), rows
        ),
        "this package, blocks of tars in any order": cpu_time(blocks(tars), len),
        "`datasets`, tars in sequence": cpu_time(opened("webdataset", archives).iter(**batched), rows),
    }
    locks = len(list(place.glob("*.lock")))
    return [
        *(f"| {name} | {value:.0f} |" for name, value in measured.items()),
        "",
        f"`datasets` left {locks} lock files in its cache, one for each time that it opened a shard or several.",
    ]


def rates(ways: dict[str, Iterator[Batch]], rounds: int, batches: int) -> dict[str, list[float]]:
    """Photos a second by the clock, of each way in each round."""
    for way in ways.values():
        next(way)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            count = sum(photos_of(batch) for batch in islice(way, batches))
            seconds[name].append(count / (time.perf_counter() - start))
    return seconds


def rate_row(title: str, measured: dict[str, list[float]]) -> str:
    memory, stream = measured["memory"], measured["stream"]
    ratios = [b / a for a, b in zip(memory, stream, strict=True)]
    return (
        f"| {title} | {statistics.median(memory):,.0f} | {statistics.median(stream):,.0f} "
        f"| {statistics.median(ratios):.3f} | {min(ratios):.3f} to {max(ratios):.3f} |"
    )


def run_epochs(source: Path, epochs: int) -> None:
    for epoch in range(epochs):
        for _ in stream_loader(source, 2, epoch):
            pass


def peak_memory(source: Path, epochs: int) -> float:
    """Largest memory of a process and its two workers over some epochs, in MB; pages that they share count once."""
    process = multiprocessing.get_context("spawn").Process(target=run_epochs, args=(source, epochs))
    process.start()
    peak = 0
    while process.is_alive():
        total = 0
        # What has just ended has no files there.
        with contextlib.suppress(OSError):
            workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for number in (process.pid, *workers):
                lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        peak = max(peak, total)
        time.sleep(0.05)
    if process.exitcode != 0:
        raise RuntimeError(f"The measured process ended with {process.exitcode}.")
    return peak / 1000


def names_of(source: Path, process: int) -> list[str]:
    """The photos that one of two processes sees."""
    batches = CropStream([source]).batches(0, batch_size=BATCH, process=process, processes=2)
    return [sample["name"] for batch in batches for sample in batch.samples]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="pairs of runs where two ways are compared by the clock")
    parser.add_argument("--out", type=Path, default=None, help="also write the report to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    datasets.disable_progress_bars()

    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        place, encoded = Path(folder), photos()
        cache, tars = write_cache(place / "crops", ROWS, encoded), write_tars(place / "tars", ROWS, encoded)
        few = write_cache(place / "few", FEW_ROWS, encoded)
        few_memory, few_again, all_memory = (
            statistics.median(peak_memory(source, epochs) for _ in range(3))
            for source, epochs in ((few, 1), (few, ROWS // FEW_ROWS), (cache, 1))
        )
        first, second = pool.map(names_of, [cache, cache], [0, 1])
        start = time.process_time()
        CropStream([cache])
        opening = 1e3 * (time.process_time() - start)
        start = time.process_time()
        CropStream([tars])
        counting = 1e3 * (time.process_time() - start)

        read = reading(cache, tars, place / "hub")
        samples = CropSamples(load_crops(cache))
        loading = {
            "crops in memory": cpu_time(memory_loader(samples, 0), photos_of),
            "stream, Parquet": cpu_time(stream_loader(cache, 0), photos_of),
            "stream, tars": cpu_time(stream_loader(tars, 0), photos_of),
        }
        step = cpu_time(train([next(iter(memory_loader(samples, 0)))] * 10), photos_of)
        by_clock = []
        for workers in (1, 2):
            ways = {"memory": iter(memory_loader(samples, workers)), "stream": iter(stream_loader(cache, workers))}
            title = f"loading alone, {workers} worker{'s' * (workers > 1)}"
            by_clock.append(rate_row(title, rates(ways, arguments.rounds, 20)))
            del ways
        ways = {"memory": train(memory_loader(samples, 1)), "stream": train(stream_loader(cache, 1))}
        by_clock.append(rate_row("masked training of `tiny`, 1 worker", rates(ways, arguments.rounds, 10)))

    report = "\n".join(
        [
            "# Streams, measured",
            "",
            "`OMP_NUM_THREADS=1 python benchmarks/streams.py`. What the photos and columns are stands at the top of "
            f"that script. {ROWS:,} photos of {statistics.mean(map(len, encoded)):,.0f} bytes on average, "
            f"{SHARD_ROWS:,} a Parquet shard in row groups of {GROUP_ROWS}, {TAR_PHOTOS:,} a tar; "
            f"{os.cpu_count()} cores, used by other programs too; torch {torch.__version__.partition('+')[0]}, "
            f"datasets {datasets.__version__}, pyarrow {pa.__version__}.",
            "",
            "## Loading (target: at least 3 times as fast as a training step on one core)",
            "",
            "From the source to a batch of augmented, normalised views; those from tars, which know no corners of the "
            "photo, get no black frame. The step is one of masked pre-training of "
            f"`tiny`, forward, backward and update, {BATCH} photos, float32: {step:,.0f} microseconds a photo.",
            "",
            "| | CPU microseconds a photo | times as fast as the step |",
            "|---|---|---|",
            *(f"| {name} | {value:.0f} | {step / value:.1f} |" for name, value in loading.items()),
            "",
            "## Throughput (target: in training at least .95 of that with crops in memory)",
            "",
            "| photos a second | memory | stream | ratio | smallest to largest |",
            "|---|---|---|---|---|",
            *by_clock,
            "",
            "## Memory (target: ratio at most 1.05)",
            "",
            "Peak of a process and its two workers, without a model; medians of three.",
            "",
            "| photos | epochs | MB |",
            "|---|---|---|",
            f"| {FEW_ROWS:,} | 1 | {few_memory:,.0f} |",
            f"| {FEW_ROWS:,} | {ROWS // FEW_ROWS} | {few_again:,.0f} |",
            f"| {ROWS:,} | 1 | {all_memory:,.0f} |",
            "",
            f"The ratio is {all_memory / few_memory:.3f} for one epoch each, {all_memory / few_again:.3f} for as many "
            f"views. In memory the {ROWS:,} crops alone take {samples.crops.images.nbytes / 1e6:,.0f} MB.",
            "",
            "## Two processes",
            "",
            f"They see {len(first):,} and {len(second):,} photos, {len({*first} & {*second}):,} in common, together "
            f"{len({*first} | {*second}):,} of {ROWS:,}.",
            "",
            "## Reading, photos not decoded",
            "",
            f"At the start the rows of the part and the duplicates are counted: {opening:.0f} ms for {ROWS:,} rows in "
            f"Parquet shards; the photos of tars once for all, {counting:.0f} ms.",
            "",
            "| | CPU microseconds a photo |",
            "|---|---|",
            *read,
            "",
        ]
    )
    print(report)
    if arguments.out is not None:
        arguments.out.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
