"""What fine-tuning on some hundred photos of one's own buys, against cheaper ways to use the same photos.

    python benchmarks/finetune_age.py --crops CROPS/public_figures --work WORK

writes `benchmarks/results/finetune_age.md`. What was interrupted goes on when it is called again.

The photos are portraits of well-known people of the part `validation` of `public_figures`, one of each person, of
adults, taken before the year of death. So nobody is in two of the sets below, and no photo is of a test. The embedded
checkpoint has been trained on the part `train` of the same data set, and its validation photos helped to choose it:
they are not as new to it as your own photos will be, which leaves fine-tuning less to gain.

Persons are put in a random order, the same in every run. The first 300 photos are held out, for the figures. The next
200 choose the best epoch and nothing else. Of what follows the first 100, 300 and 900 are the photos to fine-tune on,
with the settings that `fahr-hf train age --data` takes by itself.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from fahr_hf import FahrFaceForAgeEstimation, FahrFaceImageProcessor
from fahr_hf.data.crops import Crops, load_crops, write_whole
from fahr_hf.embedded import locate
from fahr_hf.metrics import mean_absolute_error
from fahr_hf.reports.sources import sources
from fahr_hf.resampling import bootstrap_interval
from fahr_hf.training.age import predict_ages
from fahr_hf.training.age_stages import Stage, train_age
from fahr_hf.training.finetuning import finetuning_stages

HELD_OUT, SELECTION = 300, 200
SIZES = (100, 300, 900)
WAYS = ("head", "all", "lora")
RANK = 8
AS_IS, LINE = "checkpoint", "checkpoint, intercept and slope fitted"
RESULTS = Path(__file__).with_name("results") / "finetune_age.md"


def photos(crops: Path, share: float) -> tuple[Crops, Crops, Crops]:
    """Held out, for selection, and to fine-tune on; of the first two only a share."""
    figures = load_crops(crops, ["validation"])
    _, first = np.unique(figures.column("subject_id"), return_index=True)
    people = figures.select(np.random.default_rng(0).permutation(first))
    alive = people.column("photo_year") < people.column("death_year")
    people = people.select(alive & (people.column("age") >= 18))
    ends = np.cumsum([round(share * HELD_OUT), round(share * SELECTION)])
    held, selection, fit = np.split(np.arange(len(people)), ends)
    return people.select(held), people.select(selection), _for_training(people.select(fit))


def _for_training(crops: Crops) -> Crops:
    """Here, and only here, validation photos are learned from: the model that comes of it is thrown away."""
    place = crops.table.column_names.index("part")
    return replace(crops, table=crops.table.set_column(place, "part", pa.array(["train"] * len(crops))))


class Benchmark:
    """Predictions of all ways, each made once and kept in `work`."""

    def __init__(self, start: str, crops: Path, work: Path, sizes: list[int], quick: bool):
        self.place = locate(start)
        self.held, self.selection, fit = photos(crops, share=0.1 if quick else 1)
        self.fit = fit.select(np.arange(max(sizes)))
        self.processor = FahrFaceImageProcessor.from_pretrained(self.place)
        self.sizes, self.epochs = sizes, {"head_epochs": 1, "epochs": 1} if quick else {}
        # Results of other weights, settings or sizes must not be taken for those of these.
        made_of = sources(weights=Path(self.place))["weights"], [self._stages(n, way) for n in sizes for way in WAYS]
        self.work = work / hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]
        self.work.mkdir(parents=True, exist_ok=True)

    def model(self) -> FahrFaceForAgeEstimation:
        """The checkpoint, as it is."""
        return FahrFaceForAgeEstimation.from_pretrained(self.place)

    def predicted(self) -> dict[tuple[str, int], np.ndarray]:
        """Ages of the held-out photos by way and number of photos."""
        as_is = self._kept("as_is", lambda: predict_ages(self.model(), self.processor, self.held))
        of_fit = self._kept("fit", lambda: predict_ages(self.model(), self.processor, self.fit))
        found = {(AS_IS, 0): as_is}
        for n in self.sizes:
            slope, intercept = np.polyfit(of_fit[:n], self.fit.column("age")[:n], 1)
            found[LINE, n] = intercept + slope * as_is
            for way in WAYS:
                found[way, n] = self._kept(f"{n}_{way}", partial(self._fine_tuned, n, way))
        return found

    def _stages(self, n: int, way: str) -> list[Stage]:
        stages = finetuning_stages(n, **self.epochs, lora_rank=RANK if way == "lora" else None)
        return stages[:1] if way == "head" else stages

    def _fine_tuned(self, n: int, way: str) -> np.ndarray:
        model = train_age(
            self.model(),
            self.processor,
            self.fit.select(np.arange(n)),
            {"selection": self.selection},
            # The head's stage is the same for all ways, and run once.
            self.work / str(n),
            self._stages(n, way),
        )
        return predict_ages(model, self.processor, self.held)

    def _kept(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        path = self.work / f"{name}.json"
        if not path.exists():
            ages = make()
            write_whole(path, lambda partial: partial.write_text(json.dumps(ages.tolist())))
        return np.array(json.loads(path.read_text()))


def scores(age: np.ndarray, found: Mapping[tuple[str, int], np.ndarray]) -> pd.DataFrame:
    """A row a way: its error, and by how much that differs from the checkpoint's and from the line's."""
    rows = []
    for (way, n), predicted in found.items():
        row = {"way": way, "photos": n or "", "MAE": _with_interval(mean_absolute_error, age, predicted)}
        for other in (AS_IS, LINE):
            rival = found.get((other, n if other == LINE else 0))
            if rival is not None and way not in (AS_IS, other):
                row[f"minus that of {other}"] = _with_interval(_difference, age, predicted, rival)
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def _difference(age: np.ndarray, predicted: np.ndarray, rival: np.ndarray) -> float:
    return mean_absolute_error(age, predicted) - mean_absolute_error(age, rival)


def _with_interval(statistic: Callable[..., float], *arrays: np.ndarray) -> str:
    low, high = bootstrap_interval(statistic, *arrays)
    return f"{statistic(*arrays):.2f} ({low:.2f} to {high:.2f})"


def markdown(table: pd.DataFrame) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=Path, required=True, help="crop cache of public_figures")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--start", default="fahr-faceage-tiny")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one epoch a stage on a tenth of the held-out photos, printed only: does it run?",
    )
    arguments = parser.parse_args()
    work = arguments.work / ("quick" if arguments.quick else "full")
    benchmark = Benchmark(arguments.start, arguments.crops, work, arguments.sizes, arguments.quick)
    table = scores(benchmark.held.column("age").astype(float), benchmark.predicted())
    start, n = Path(arguments.start).name, len(benchmark.held)
    text = f"""# Fine-tuning on one's own photos, measured

`python benchmarks/finetune_age.py --crops CROPS/public_figures --work WORK`. What the photos are, and which of them the
checkpoint knows, stands at the top of that script. Start: `{start}`. Mean absolute error in years on {n} held-out
photos of as many people, with bootstrap 95 % intervals, and paired differences, below 0 where a way is better.
`head`: the head alone; `all`: the head, then everything; `lora`: the head, then adapters of rank {RANK}.

{markdown(table)}
"""
    print(text)
    if not arguments.quick:
        write_whole(RESULTS, lambda path: path.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    main()
