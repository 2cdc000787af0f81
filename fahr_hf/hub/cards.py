"""Model cards from runs: everything in them was measured or recorded, and nothing is left for somebody to fill in.

What stands in them is gathered here; `rendering` and the templates in `model_cards` say it.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from fahr_hf.data.splits import is_test
from fahr_hf.hub import runs
from fahr_hf.hub.licences import NOT_STATED, OTHER, strictest
from fahr_hf.hub.metadata import GATE, KINDS, LICENCE_FILE, Kind, metadata
from fahr_hf.hub.rendering import render

OUT_OF_SCOPE = (
    *("insurance", "employment", "credit", "immigration", "policing", "triage"),
    *("individual prognosis", "without their consent"),
)
"""What every card names among the uses that a model is not for."""

_DETECTORS = {"name": "the two detector files", "licence": "mit", "terms": "as `DETECTORS.md` of fahr-hf says"}
_SECTIONS = (
    *("Uses", "Data", "Measured", "Groups of people", "Calibration", "Training", "Limits"),
    *("Versions", "Licence", "Citation"),
)
_FIELDS = ("license", "library_name", "pipeline_tag", "datasets", "metrics", "tags", "eval_results")
# The model's name in the lines of use, and the revision behind it.
_ADDRESS = re.compile(r'(pipeline\("face-\w+", |from_pretrained\()"[^"]+"(?:, revision="[^"]+")?\)')


def write_card(run: Path, licence: str | None = None, change: str | None = None) -> Path:
    """Write `model/README.md` of a finished run, in place of an earlier one.

    Where no licence of the Hub's list satisfies everything that the model was made from, `model/LICENSE.md` names the
    terms of each.

    Args:
        run: Folder of a finished `fahr-hf train`, with `model`, `origin.json` (see `origin.record_origin`), the
            `run.json` and `history.json` of each stage, and where there is a report on validation photos
            `report/numbers.json`, where there is one on groups `fairness/numbers.json`.
        licence: Terms of one's own photos: a Hub identifier or a short text; kept for later calls. None: as recorded.
        change: A line for a new version, such as `"v2: the golden photo's age rises by 0.4 years"`; kept too.

    Returns:
        The card's path.

    Raises:
        FileNotFoundError: no finished run, or one whose origin was not recorded.
        ValueError: `model` holds weights of none of its stages, or `licence` is given and no photos are one's own.
    """
    # Checking a card, as pushing does, needs no package of the extra `train`.
    from fahr_hf.evaluation.age_scores import LEAST
    from fahr_hf.hub.origin import read_origin

    run = run.resolve()
    model = run / "model"
    if not (model / "config.json").is_file():
        raise FileNotFoundError(f"No finished run in {run}: there is no {model / 'config.json'}.")
    config = json.loads((model / "config.json").read_text())
    origin, stages, report = read_origin(run, licence, change), runs.read_stages(run), runs.read_report(run)
    kind = KINDS[config["architectures"][0]]
    lineage = _lineage(origin)
    terms = strictest(member["licence"] for member in lineage)
    unstated = [member["name"] for member in lineage if member["licence"] is None]
    figures = list(runs.figures(kind.name, runs.stage_of_model(run, stages), report, origin))
    text = render(
        kind.name,
        card_data=metadata(kind, run.name, origin, terms, unstated, figures).to_yaml(),
        name=run.name,
        config=config,
        calibration=config.get("calibration") or {},
        origin=origin,
        lineage=lineage,
        licence=terms,
        unstated=unstated,
        figures=figures,
        groups=runs.age_groups(report),
        least=LEAST,
        report=report,
        fairness=runs.read_fairness(run),
        runs=runs.read_runs(run),
        **_photos(origin),
        **_training(stages, kind),
    )
    (model / "README.md").write_text(text, encoding="utf-8", newline="\n")
    (model / LICENCE_FILE).unlink(missing_ok=True)
    if terms == OTHER:
        (model / LICENCE_FILE).write_text(_licence_text(lineage), encoding="utf-8", newline="\n")
    return model / "README.md"


def check_card(model: Path) -> None:
    """Complain about all that the card of a checkpoint lacks to be published.

    Args:
        model: Folder of the checkpoint, with `README.md`.

    Raises:
        ValueError: no card, or things missing in it; the message lists all of them.
    """
    path = model / "README.md"
    if not path.is_file():
        raise ValueError(f"{model} has no card README.md. `fahr-hf card RUN` writes it.")
    card = ModelCard.load(path, ignore_metadata_errors=True)
    if lacking := [*_lacking_data(card.data, model), *_lacking_text(card.text)]:
        raise ValueError(
            f"{path} lacks {'; '.join(lacking)}. `fahr-hf card RUN` writes a complete one, with --licence for the "
            "terms of one's own photos."
        )


def addressed(card: str, repo: str, revision: str | None) -> str:
    """The card with its lines of use naming where it is published.

    Args:
        card: Text of a card.
        repo: `org/name` on the Hub.
        revision: Tag or commit to pin; None leaves the pin out.
    """
    pin = "" if revision is None else f', revision="{revision}"'
    return _ADDRESS.sub(rf'\g<1>"{repo}"{pin})', card)


def _lacking_data(data: ModelCardData, model: Path) -> Iterator[str]:
    yield from (f"the field {name}" for name in _FIELDS if not data.get(name))
    if data.get("license") == OTHER:
        if data.get("license_name") in (None, NOT_STATED):
            yield "the terms of something that the model was made from (see its section Licence)"
        if not (model / (data.get("license_link") or LICENCE_FILE)).is_file():
            yield f"the file {LICENCE_FILE} with the terms, and license_link that names it"
    architectures = json.loads((model / "config.json").read_text()).get("architectures") or ()
    if "FahrFaceForSurvival" in architectures:
        yield from (f"the field {name}" for name in GATE if not data.get(name))


def _lacking_text(text: str) -> Iterator[str]:
    if "[More Information Needed]" in text:
        yield "what stands there as [More Information Needed]"
    yield from (f"the section {name}" for name in _SECTIONS if not re.search(rf"^## .*{name}", text, re.M))
    if "**Compute**" not in text:
        yield "the compute that was spent"
    if not _ADDRESS.search(text):
        yield 'lines of use that name the model, as in fahr_hf.pipeline("face-age", "org/name")'
    words = " ".join(text.split())
    yield from (f"the use out of scope {use!r}" for use in OUT_OF_SCOPE if use not in words)


def _lineage(origin: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Everything that the weights were made from, with `name`, `licence` and `terms`."""
    start = origin["start"]
    weights = [] if start is None else [{**start, "terms": f"as the card of `{start['name']}` says"}]
    return [*weights, *({**known, "name": known["title"]} for known in origin["sets"]), _DETECTORS]


def _licence_text(lineage: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"- {member['name']} ({member['licence'] or 'not stated'}): {member['terms']}" for member in lineage]
    return "\n".join(["# Terms of these weights", "", "All of these hold:", "", *lines]) + "\n"


def _photos(origin: Mapping[str, Any]) -> dict[str, Any]:
    """What a card says of the photos."""
    parts = [(name, part) for cache in origin["crops"] for name, part in cache["parts"].items()]
    trained = [part for name, part in parts if name == "train" and part["ages_known"]]
    ages = f"{min(p['youngest'] for p in trained)} to {max(p['oldest'] for p in trained)}" if trained else None
    unseen: Counter[str] = Counter()
    for name, part in parts:
        if is_test(name):
            unseen[name] += part["photos"]
    return {
        "sets": ", ".join(f"`{known['name']}`" for known in origin["sets"]),
        "trained_ages": ages,
        "calibration_photos": sum(part["photos"] for name, part in parts if name == "calibration"),
        "unseen": unseen,
        "left_out": sum((Counter(cache["left_out"]) for cache in origin["crops"]), Counter()),
    }


def _training(stages: Sequence[Mapping[str, Any]], kind: Kind) -> dict[str, Any]:
    """What a card says of the run and its cost."""
    sessions = [session for stage in stages for session in stage["sessions"]]
    return {
        "trained_on": max(stage["run"]["data"]["train"]["photos"] for stage in stages),
        "stages": [_stage(stage, kind) for stage in stages],
        "precision": "bfloat16 autocast"
        if any(stage["settings"]["mixed_precision"] == "bf16" for stage in stages)
        else "float32",
        "seconds": sum(stage["seconds"] for stage in stages),
        "machines": list(dict.fromkeys(session["machine"] for session in sessions)),
        "processes": max(stage["run"]["processes"] for stage in stages),
        "sessions": len(sessions),
    }


def _stage(stage: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    settings = stage["settings"]
    trained = "the head" if stage.get("only_head") else "everything"
    if rank := stage.get("lora_rank"):
        trained = f"the head and adapters of rank {rank}, merged"
    return {
        **settings,
        "name": stage["name"],
        "trained": trained,
        "epochs": len(stage["history"]),
        "taken": runs.taken_epoch(stage, kind.monitor)["epoch"],
        "step": settings["batch_size"] * settings["accumulation"] * stage["run"]["processes"],
        "seconds": stage["seconds"],
    }
