"""The congress benchmark: survival from faces, with an open cohort. README.md is its task card, PLAN.md its plan.

    python benchmarks/congress/run.py cohort  --data SET --crops CROPS --work WORK
    python benchmarks/congress/run.py train   --data SET --crops CROPS --work WORK
    python benchmarks/congress/run.py analyse --data SET --crops CROPS --work WORK --checkpoint NAME

`SET` is from `fahr-hf data build congress`, `CROPS` from `fahr-hf data crops`. `cohort` comes first; it reads the parts
train, validation and calibration, and no photo of a test. `analyse --part test` scores the test part: it needs
`--open-test`, and leaves its figures in the test ledger.
"""

import argparse
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
from analysis import analyse, gather, log_hazard, record
from cohort import select_cohort
from known import read_members
from public_figures import describe
from scores import score_faces
from transformers.utils import logging

from fahr_hf.data.crops import DUPLICATES, load_crops, read_labels
from fahr_hf.data.ledger import LEDGER, check_ledger
from fahr_hf.data.splits import is_test
from fahr_hf.embedded import checkpoints, locate
from fahr_hf.reports.document import Section, Table
from fahr_hf.reports.sources import sources
from fahr_hf.reports.writing import write_report
from fahr_hf.training.recipe import Settings

PARTS = ("train", "validation", "calibration")
FACE_AGE = "fahr-faceage-tiny"
MEMBERS, OUTCOMES = "members.parquet", "outcomes.parquet"


def cohort(arguments: argparse.Namespace) -> None:
    """Write the members, and the outcomes that a training takes."""
    arguments.work.mkdir(parents=True, exist_ok=True)
    members = pd.concat([read_members(arguments.data, part) for part in PARTS], ignore_index=True)
    with_face = _with_face(arguments.crops)
    train = select_cohort(members[members["part"] == "train"], with_face)[0]
    outcomes, flows = [], []
    for part in PARTS:
        people, flow = select_cohort(members[members["part"] == part], with_face)
        outcomes.append(people.assign(offset=log_hazard(people, train)))
        flows.append(flow.assign(part=part))
    columns = ["subject_id", "duration", "event", "entry", "entry_year", "offset", "part"]
    pd.concat(outcomes, ignore_index=True)[columns].to_parquet(arguments.work / OUTCOMES)
    members.to_parquet(arguments.work / MEMBERS)
    table = pd.concat(flows)
    table.to_csv(arguments.work / "flow.csv", index=False)
    print(table.pivot(index="step", columns="part", values=["people", "deaths"]).loc[flow["step"]].to_string())


def train(arguments: argparse.Namespace) -> None:
    """Train on the part train, choose on the part validation."""
    from training import train as train_runs

    settings = Settings(
        epochs=arguments.epochs,
        batch_size=arguments.batch,
        accumulation=arguments.accumulation,
        learning_rate=arguments.learning_rate,
        layer_decay=0.75,
        patience=arguments.patience,
        mixed_precision=arguments.precision,
    )
    offset = "no-offset" if arguments.no_offset else "offset"
    folder = arguments.work / f"{arguments.loss}-{offset}"
    outcomes = pd.read_parquet(arguments.work / OUTCOMES)
    runs = train_runs(
        arguments.crops,
        outcomes,
        folder,
        settings,
        arguments.seeds,
        arguments.loss,
        not arguments.no_offset,
        arguments.workers,
    )
    print(runs.table.to_string(index=False))
    print(f"{folder / 'model'}: start {runs.start}, seed {runs.seed}")


def report(arguments: argparse.Namespace) -> None:
    """Analyse a checkpoint on a part."""
    part = arguments.part
    if is_test(part):
        if not arguments.open_test:
            raise SystemExit(f"The part {part} is for a finished model; --open-test says that this one is.")
        check_ledger(LEDGER)
    known = pd.read_parquet(arguments.work / MEMBERS)
    members = read_members(arguments.data, part) if is_test(part) else known[known["part"] == part]
    material = gather(members, known[known["part"] == "train"], _with_face(arguments.crops))
    crops = load_crops(arguments.crops, [part])
    name = _name(arguments.checkpoint)
    others = [checkpoint for checkpoint in (FACE_AGE,) if checkpoint != name]
    found = analyse(
        material,
        score_faces(arguments.checkpoint, crops),
        {other: score_faces(other, crops).set_index("subject_id")["score"] for other in others},
        name,
        part,
        arguments.resamples,
        arguments.permutations,
    )
    if is_test(part):
        record(found, LEDGER)
    if arguments.public_figures is not None:
        deceased = load_crops(arguments.public_figures, ["validation"])
        table = describe(deceased, score_faces(arguments.checkpoint, deceased), arguments.resamples)
        told = "Everybody in it has died. Pairs of the same photo year and age, of its part validation; nothing more."
        found.sections.append(
            Section("Public figures, descriptively", told, [Table("public_figures", "C within such pairs", table)])
        )
    weights = Path(locate(arguments.checkpoint))
    # A model on the Hub is known by its name.
    files = {"weights": weights} if weights.is_dir() else {}
    found.numbers["sources"] = sources(data=arguments.data, crops=arguments.crops, **files)
    folder = arguments.work / "reports" / f"{name.replace('/', '-')}-{part}"
    write_report(found, folder)
    print(found.numbers["verdict"])
    print(f"{folder / 'report.html'}: the report")


def _with_face(crops: Path) -> set[str]:
    """People with a usable crop, in all parts; no photo is read."""
    labels = read_labels(crops, ["subject_id", "row"])
    if (crops / DUPLICATES).exists():
        labels = labels.filter(pc.invert(pc.is_in(labels["row"], pq.read_table(crops / DUPLICATES)["row"])))
    return set(labels["subject_id"].to_pylist())


def _name(checkpoint: str) -> str:
    """What a model is called in report and ledger: never a path of this machine."""
    folder = Path(checkpoint).resolve()
    return "/".join(folder.parts[-2:]) if folder.is_dir() and checkpoint not in checkpoints() else checkpoint


def main() -> None:
    steps = {"cohort": cohort, "train": train, "analyse": report}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=steps)
    for folder in ("data", "crops", "work"):
        parser.add_argument(f"--{folder}", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64, help="photos at once")
    parser.add_argument("--accumulation", type=int, default=6, help="such batches a step: the people compared")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--precision", choices=("no", "bf16"), default="no")
    parser.add_argument("--loss", choices=("ranking", "cox"), default="ranking")
    parser.add_argument("--no-offset", action="store_true", help="the face learns what the covariates say too")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--checkpoint", default=FACE_AGE, help="embedded name, folder, or org/name")
    parser.add_argument("--part", default="validation")
    parser.add_argument("--open-test", action="store_true")
    parser.add_argument("--public-figures", type=Path, help="crops of public_figures, to describe")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--permutations", type=int, default=200)
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    steps[arguments.step](arguments)


if __name__ == "__main__":
    main()
