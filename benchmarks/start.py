"""How long a start takes: imports, help, and the first answer stage by stage.

    python benchmarks/start.py > benchmarks/results/start.md

Every figure is the median of processes that are started in turns, so that what else the machine does falls on all of
them alike; a first turn, which fills the cache for files, does not count. The last table is from one process under
`python -X importtime` and says whose modules the imports of a first answer are.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import skimage
from PIL import Image

# What an answer takes is imported with the classes, not with the bare name `transformers`.
CLASSES = "from transformers import Pipeline, PreTrainedModel"

PYTHON, TRANSFORMERS, BOTH = "`python -c pass`", "`import transformers`", "`import transformers, fahr_hf`"
ANSWER = "first answer: `fahr-hf predict photo.jpg`"

STAGES = """
import gc, json, sys, time
gc.set_threshold(10_000)  # as `fahr-hf` does
seconds, last = {}, time.perf_counter()
def done(stage):
    global last
    seconds[stage] = time.perf_counter() - last
    last = time.perf_counter()
import numpy
done("import numpy")
import cv2
done("import cv2")
import torch
done("import torch")
from transformers import Pipeline, PreTrainedModel
done("import of transformers' model and pipeline classes")
import fahr_hf
from fahr_hf import FaceAgePipeline, FahrFaceImageProcessor, FahrFaceModel
done("import of our classes")
folder = fahr_hf.checkpoint("fahr-faceage-tiny")
processor = FahrFaceImageProcessor.from_pretrained(folder)
processor.detect(numpy.zeros((64, 64, 3), numpy.uint8))
done("detector opened")
age = fahr_hf.pipeline("face-age", folder, image_processor=processor)
done("weights loaded")
age(sys.argv[1])
done("first photo")
age(sys.argv[1])
done("second photo, for comparison")
print(json.dumps(seconds))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=9)
    turns = parser.parse_args().turns
    with tempfile.TemporaryDirectory() as folder:
        photo = str(Path(folder) / "photo.jpg")
        Image.fromarray(skimage.data.astronaut()).save(photo)
        show(turns, photo)


def show(turns: int, photo: str) -> None:
    python, program = [sys.executable, "-c"], str(Path(sys.executable).with_name("fahr-hf"))
    starts = {
        PYTHON: [*python, "pass"],
        TRANSFORMERS: [*python, "import transformers"],
        "`import fahr_hf`": [*python, "import fahr_hf"],
        BOTH: [*python, "import transformers, fahr_hf"],
        f"`{CLASSES}`": [*python, CLASSES],
        "`fahr-hf --help`": [program, "--help"],
        ANSWER: [program, "predict", photo],
    }
    seconds: dict[str, list[float]] = {name: [] for name in starts}
    stages: dict[str, list[float]] = {}
    for turn in range(turns + 1):
        for name, command in starts.items():
            begun = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - begun)
        answer = json.loads(run([*python, STAGES, photo]).stdout)
        for stage, value in answer.items():
            stages.setdefault(stage, []).append(value)
        print(f"turn {turn} of {turns}", end="\r", file=sys.stderr)
    print(f"# A start, timed\n\nSeconds, medians of {turns} turns (`python benchmarks/start.py`).\n")
    print("| | seconds | beyond Python's own |\n|---|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {median(values):.2f} | {beyond(values, seconds[PYTHON]):.2f} |")
    added = beyond(seconds[BOTH], seconds[TRANSFORMERS])
    classes = beyond(seconds[f"`{CLASSES}`"], seconds[PYTHON]) / beyond(seconds[ANSWER], seconds[PYTHON])
    print(f"\n`import fahr_hf` adds {added:.2f} seconds to `import transformers`.")
    print(f"The import of transformers' classes, which brings torch, takes {classes:.0%} of the first answer's time.")
    print("\nThe first answer by stages, in a process of its own:\n\n| stage | seconds |\n|---|---|")
    for stage, values in stages.items():
        print(f"| {stage} | {median(values):.3f} |")
    owners = import_seconds([sys.executable, "-X", "importtime", "-c", STAGES, photo])
    total = sum(owners.values())
    print(f"\nWhose modules the {total:.2f} seconds of imports go to:\n\n| package | share |\n|---|---|")
    for package, spent in owners.most_common(8):
        print(f"| {package} | {spent / total:.1%} |")
    print(f"| fahr_hf | {owners['fahr_hf'] / total:.1%} |")


def median(values: list[float]) -> float:
    return statistics.median(values[1:])


def beyond(values: list[float], base: list[float]) -> float:
    """The median of each turn's difference, since turns drift."""
    return median([value - other for value, other in zip(values, base, strict=True)])


def run(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, check=True, capture_output=True, text=True)


def import_seconds(command: list[str]) -> Counter[str]:
    """Seconds by package, without those of what its modules import in turn."""
    seconds: Counter[str] = Counter()
    for own, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\w+)", run(command).stderr):
        seconds[name] += int(own) / 1e6
    return seconds


if __name__ == "__main__":
    main()
