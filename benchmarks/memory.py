"""Peak memory of `fahr-hf predict` over few photos and over many.

    python benchmarks/memory.py --out benchmarks/results/memory.md
    python benchmarks/memory.py --counts 2000 20000 --shard-photos 1000

The photos are one public-domain portrait, 200 pixels wide: hard links to a few copies of it, which to `predict` are
files like any others. Figures are the largest resident set of the whole process, Python and torch included, as the
system counts it, and the time on the clock. Each count is measured in turn, `--turns` times; the median counts.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import skimage
from PIL import Image

# File systems allow some ten thousand links to a file.
_LINKS = 10_000


def make_photos(folder: Path, count: int) -> None:
    portrait = Image.fromarray(skimage.data.astronaut()).resize((200, 200))
    for start in range(0, count, _LINKS):
        original = folder.parent / f"{count}-{start}.jpg"
        portrait.save(original, quality=90)
        place = folder / f"{start:07}"
        place.mkdir(parents=True)
        for number in range(start, min(start + _LINKS, count)):
            os.link(original, place / f"{number:07}.jpg")


def peak(photos: Path, shards: Path, options: list[str]) -> tuple[float, float]:
    """Megabytes and seconds of one run."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "fahr_hf.cli", "predict", str(photos), "--out", str(shards), *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"`{' '.join(command)}` ended with {os.waitstatus_to_exitcode(status)}.")
    # In kilobytes on Linux, in bytes on a Mac.
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return usage.ru_maxrss / unit, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs=2, default=[10_000, 100_000], metavar=("FEW", "MANY"))
    parser.add_argument("--shard-photos", type=int, default=10_000)
    parser.add_argument("--model", default="fahr-faceage-tiny")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="also write the report to this file")
    arguments = parser.parse_args()
    options = ["--model", arguments.model, "--shard-photos", str(arguments.shard_photos)]

    measured: dict[int, list[tuple[float, float]]] = {count: [] for count in arguments.counts}
    with tempfile.TemporaryDirectory() as place:
        for count in arguments.counts:
            make_photos(Path(place, str(count)), count)
        for turn in range(arguments.turns):
            for count in arguments.counts:
                measured[count].append(peak(Path(place, str(count)), Path(place, f"ages-{count}-{turn}"), options))

    medians = {
        count: [statistics.median(values) for values in zip(*runs, strict=True)] for count, runs in measured.items()
    }
    few, many = (medians[count][0] for count in arguments.counts)
    report = "\n".join(
        [
            "# Memory of `fahr-hf predict`",
            "",
            "`python benchmarks/memory.py`; what the photos and figures are stands at the top of that script. "
            f"{arguments.shard_photos:,} photos a shard, `{arguments.model}`, turns: {arguments.turns}; "
            f"{os.cpu_count()} cores.",
            "",
            "| photos | peak, MB | seconds |",
            "|---|---|---|",
            *(f"| {count:,} | {memory:,.0f} | {seconds:,.0f} |" for count, (memory, seconds) in medians.items()),
            "",
            f"Many / few (target: at most 1.05): {many / few:.3f}",
            "",
        ]
    )
    print(report)
    if arguments.out is not None:
        arguments.out.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
