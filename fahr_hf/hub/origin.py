"""Where a model comes from: its starting weights, the data sets that it learned from, and the terms of each.

A run says neither which data sets it learned from nor on what terms. `RUN/origin.json` keeps what a card needs of them:

    start     name and licence of the starting checkpoint; null for new weights
    sets      each data set's name, title, homepage, licence (the Hub's identifier for weights, `other`, or null where
              nobody stated the terms), terms in words, citation, and whether it is `own`: none that this package knows
    crops     each cache's name, its photos by set, its parts in numbers, and what was left out
    outcomes  of a survival model, by part: photos, people, deaths and the median follow-up in years
    versions  a line for each published version: what changed in its answers
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from transformers.utils import cached_file

from fahr_hf.data.crops import Crops, is_cache, write_whole
from fahr_hf.data.sources import SOURCES
from fahr_hf.data.summary import summarise
from fahr_hf.embedded import checkpoints, locate
from fahr_hf.hub.licences import NOT_STATED, ORDER, OTHER

ORIGIN = "origin.json"


def record_origin(
    run: Path,
    start: str | None,
    crops: Sequence[Path],
    licence: str | None = None,
    outcomes: Mapping[str, Crops] | None = None,
) -> None:
    """Write `origin.json`; what was stated in an earlier one, terms and versions, is kept.

    Args:
        run: Folder of a run; where it holds `photos`, the data set of its crops, what was left out there counts too.
        start: The checkpoint that it started from: embedded, a folder, of which only the name is told, or `org/name`;
            None for new weights.
        crops: The caches that it learned from, or what else it streamed.
        licence: Terms of the photos of sets that `fahr_hf.data.sources` does not know: a Hub identifier or a short
            text; None where nobody stated them.
        outcomes: Of a survival model, by part: the crops with `subject_id`, `duration` and `entry` (years) and `event`.

    Raises:
        FileNotFoundError: a cache that is not complete.
        ValueError: as `read_origin`.
    """
    caches = [_cache(Path(folder)) for folder in crops]
    if (run / "photos").is_dir():
        for cache in caches:
            cache["left_out"] = Counter(summarise(run / "photos").left_out) + Counter(cache["left_out"])
    names = dict.fromkeys(name for cache in caches for name in cache["sets"])
    record = {
        "start": None if start is None else {"name": _name(start), "licence": _licence_of(start)},
        "sets": [_set(name) for name in names],
        "crops": caches,
        "outcomes": {part: _outcomes(followed) for part, followed in (outcomes or {}).items()},
        "versions": ["v1: the first"],
    }
    if (run / ORIGIN).is_file():
        before = read_origin(run)
        record["versions"] = before["versions"]
        stated = next((known["terms"] for known in before["sets"] if known["own"]), None)
        licence = licence or stated
    _state(record, licence)
    _write(run, record)


def read_origin(run: Path, licence: str | None = None, change: str | None = None) -> dict[str, Any]:
    """What `record_origin` wrote; what is given is added, and kept from now on.

    Args:
        run: Folder of a run.
        licence: The terms of the photos of unknown sets.
        change: A line for a new version, such as `"v2: the golden photo's age rises by 0.4 years"`.

    Raises:
        FileNotFoundError: nothing was recorded.
        ValueError: terms where every set is a known one.
    """
    path = run / ORIGIN
    if not path.is_file():
        raise FileNotFoundError(
            f"{run} has no {ORIGIN}, which says what the model was made from. `fahr-hf train` writes it at the end: "
            "run the same command again, which repeats no finished stage."
        )
    record = json.loads(path.read_text(encoding="utf-8"))
    _state(record, licence)
    if change is not None and change not in record["versions"]:
        record["versions"].append(change)
    _write(run, record)
    return record


def _cache(folder: Path) -> dict[str, Any]:
    name = folder.name
    if not is_cache(folder):
        # Tars, which hold crops and nothing about them.
        return {"name": name, "sets": {name: None}, "parts": {}, "left_out": {}}
    summary = summarise(folder)
    parts = {name: asdict(part) for name, part in summary.parts.items()}
    for part in parts.values():
        del part["ages"]
    return {"name": name, "sets": summary.sources, "parts": parts, "left_out": summary.left_out}


def _outcomes(crops: Crops) -> dict[str, Any]:
    people = crops.table.select(["subject_id", "duration", "entry", "event"]).to_pandas().groupby("subject_id").first()
    return {
        "photos": len(crops),
        "people": len(people),
        "deaths": int(people["event"].sum()),
        "follow_up": float((people["duration"] - people["entry"]).median()),
    }


def _set(name: str) -> dict[str, Any]:
    if name not in SOURCES:
        return {
            "name": name,
            "title": name,
            "homepage": None,
            "licence": None,
            "terms": None,
            "citation": None,
            "own": True,
        }
    source = SOURCES[name]
    return {
        "name": name,
        "title": source.title,
        "homepage": source.homepage,
        "licence": source.weights_licence or OTHER,
        "terms": f"{source.licence}. {source.terms}",
        "citation": source.citation,
        "own": False,
    }


def _state(record: dict[str, Any], licence: str | None) -> None:
    if licence is None:
        return
    own = [known for known in record["sets"] if known["own"]]
    if not own:
        names = ", ".join(known["name"] for known in record["sets"])
        raise ValueError(f"The terms of {names} are known; {licence!r} can be stated of one's own photos only.")
    for known in own:
        known["licence"] = licence if licence in ORDER else OTHER
        known["terms"] = licence


def _name(start: str) -> str:
    if start in checkpoints() or not Path(start).exists():
        return start
    folder = Path(start).resolve()
    # A run calls its model `model`; people call it by the run.
    return folder.parent.name if folder.name == "model" else folder.name


def _licence_of(start: str) -> str | None:
    """What the starting checkpoint's own card says, None where nothing is stated."""
    try:
        path = cached_file(locate(start), "README.md")
    except OSError:
        return None
    data = ModelCard.load(Path(str(path)), ignore_metadata_errors=True).data
    return None if data.get("license_name") == NOT_STATED else data.license


def _write(run: Path, record: dict[str, Any]) -> None:
    write_whole(run / ORIGIN, lambda path: path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8"))
