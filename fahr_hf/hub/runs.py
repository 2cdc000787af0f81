"""What the folder of a run says for a card: its stages, what they cost, and the figures on validation photos.

Figures come with the number of photos or people, and an interval where one was computed. A report (`report`, written
where a run makes one) is taken before what the epochs' own history says.
"""

import csv
import filecmp
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROBE = {"probe_mae": "MAE of age by a linear probe (years)", "probe_r": "correlation of age and a linear probe"}
# What divides photos into groups, and the report's table of them.
_GROUPS = {"age": "stages_of_life", "sex": "label_sex", "race": "label_race"}


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Args:
        metric: The Hub's name of it, such as `mae`; None for what only people read.
        text: What it is, with its unit.
        dataset: What it was measured on.
        count: How many were measured, such as `"1,692 photos"`.
        value: The number.
        interval: Its 95 % interval, None where none was computed.
    """

    metric: str | None
    text: str
    dataset: str
    count: str
    value: float
    interval: tuple[float, float] | None = None


def read_stages(run: Path) -> list[dict[str, Any]]:
    """What `run.json` of each stage says, in the order in which they were begun.

    To each come `folder`, `name`, `settings`, and `history`, one entry an epoch.

    Raises:
        FileNotFoundError: none is finished.
    """
    stages = []
    for path in (*run.glob("run.json"), *run.glob("*/run.json")):
        record, folder = json.loads(path.read_text()), path.parent
        if (folder / "history.json").is_file():
            # A stage of one run says its name; runs side by side are told apart by their folders.
            named = record["run"].get("stage", {"name": folder.name, **record["run"]})
            history = json.loads((folder / "history.json").read_text())
            stages.append({**record, **named, "folder": folder, "history": history})
    if not stages:
        raise FileNotFoundError(f"No finished run in {run}: there is no run.json beside a history.json.")
    return sorted(stages, key=lambda stage: stage["sessions"][0]["started"])


def stage_of_model(run: Path, stages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The stage whose weights became the run's model: the last of several, or the best of several runs side by side.

    Raises:
        ValueError: the model has other weights.
    """
    weights = Path("model", "model.safetensors")
    for stage in reversed(stages):
        if filecmp.cmp(stage["folder"] / weights, run / weights, shallow=False):
            return stage
    raise ValueError(
        f"The weights in {run / weights} are of none of the stages beside them, so nothing is known of them. Call the "
        "training command again, or put the model back."
    )


def read_runs(run: Path) -> list[dict[str, str]]:
    """The rows of `runs.csv`, which tells what several runs side by side came to; none where there is only one."""
    path = run / "runs.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_report(run: Path) -> dict[str, Any] | None:
    """The numbers of the run's report on validation photos, None where there is none."""
    path = run / "report" / "numbers.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def read_fairness(run: Path) -> dict[str, Any] | None:
    """The numbers of `fahr-hf evaluate fairness --out RUN/fairness`, None where it was not called."""
    path = run / "fairness" / "numbers.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def taken_epoch(stage: Mapping[str, Any], monitor: str | None) -> dict[str, Any]:
    """The entry of the history that the stage's model is of.

    Args:
        stage: One of `read_stages`.
        monitor: The figure that chose, lower is better; None, or one that was not computed: the last epoch was taken.
    """
    history = stage["history"]
    if monitor is None or monitor not in history[-1]:
        return history[-1]
    return min(history, key=lambda entry: entry[monitor])


def figures(
    kind: str, stage: Mapping[str, Any], report: Mapping[str, Any] | None, origin: Mapping[str, Any]
) -> Iterator[Figure]:
    """The figures of a run's model on validation photos.

    Args:
        kind: `"age"`, `"backbone"` or `"survival"`.
        stage: Whose model it is.
        report: Of the run, or None.
        origin: See `origin.record_origin`.
    """
    sets = {cache["name"]: ", ".join(cache["sets"]) for cache in origin["crops"]}
    dataset = ", ".join(known["name"] for known in origin["sets"])
    if kind == "backbone":
        return _backbone_figures(stage)
    if kind == "survival":
        if report is not None:
            return _risk_report_figures(report, dataset)
        return _survival_figures(stage, origin["outcomes"]["validation"], dataset)
    return _age_figures(stage, sets) if report is None else _report_figures(report, dataset)


def age_groups(report: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Rows of the report's tables by group, each with `of` (what divides the groups), `group`, `photos`, `mae`, `bias`.

    Groups of too few photos have NaN for figures; see `age_scores.LEAST`.
    """
    tables = {} if report is None else report["tables"]
    return [
        {"of": of, "group": row[of], "photos": row["photos"], **{name: _row(row, name) for name in ("mae", "bias")}}
        for of, table in _GROUPS.items()
        for row in tables.get(table, ())
    ]


def _age_figures(stage: Mapping[str, Any], sets: Mapping[str, str]) -> Iterator[Figure]:
    entry = taken_epoch(stage, "mae")
    for name, known in stage["run"]["data"]["validation"].items():
        dataset, count = sets.get(name, name), _count(known["photos"])
        yield Figure("mae", "mean absolute error (years)", dataset, count, entry[f"mae_{name}"])


def _report_figures(report: Mapping[str, Any], dataset: str) -> Iterator[Figure]:
    from fahr_hf.evaluation.age_scores import OVERALL

    for key, text in OVERALL.items():
        metric = "mae" if key == "mae" else None
        yield Figure(metric, text, dataset, _count(report["scored"]), *_with_interval(report["overall"][key]))
    if known := report.get("comparison"):
        text = "mean absolute error less that of the starting checkpoint, below 0 where smaller"
        yield Figure(None, text, dataset, _count(known["photos"]), *_with_interval(known["difference"]))


def _backbone_figures(stage: Mapping[str, Any]) -> Iterator[Figure]:
    entry, known = taken_epoch(stage, None), stage["run"]["data"]["validation"]
    if known is None:
        return
    text = "masked-autoencoder loss, normalised pixels"
    yield Figure("loss", text, known["name"], _count(known["photos"]), entry["validation_loss"])
    for key, text in _PROBE.items():
        if key in entry:
            metric = "mae" if key == "probe_mae" else None
            yield Figure(metric, text, known["name"], _count(known["with_age"]), entry[key])


def _risk_report_figures(report: Mapping[str, Any], dataset: str) -> Iterator[Figure]:
    count = _people(report)
    for text, row in report["overall"].items():
        metric = "concordance_index" if text == "concordance" else None
        yield Figure(metric, f"{text}, the face alone", dataset, count, *_with_interval(row))


def _survival_figures(stage: Mapping[str, Any], known: Mapping[str, int], dataset: str) -> Iterator[Figure]:
    entry = taken_epoch(stage, "one_minus_concordance")
    count = _people(known)
    interval = entry["concordance_low"], entry["concordance_high"]
    # With an offset, what is known without the face takes part in the first figure.
    text = "concordance of face and covariates" if "concordance_face" in entry else "concordance"
    yield Figure("concordance_index", text, dataset, count, entry["concordance"], interval)
    if "concordance_face" in entry:
        yield Figure("concordance_index", "concordance of the face alone", dataset, count, entry["concordance_face"])


def _people(known: Mapping[str, int]) -> str:
    return f"{known['people']:,} people, {known['deaths']:,} deaths"


def _row(row: Mapping[str, Any], name: str) -> tuple[float, tuple[float, float]]:
    return _with_interval({"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]})


def _with_interval(row: Mapping[str, float | None]) -> tuple[float, tuple[float, float]]:
    value, low, high = (_defined(row[key]) for key in ("value", "low", "high"))
    return value, (low, high)


def _defined(number: float | None) -> float:
    # JSON's null is a figure that is not defined, such as the correlation of two photos.
    return math.nan if number is None else number


def _count(number: int) -> str:
    return f"{number:,} photos"
