"""The card of a fine-tuned age model, filled from its run: nothing in it is left for somebody to fill in."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from fahr_hf.data.summary import Summary
from fahr_hf.embedded import checkpoints, locate
from fahr_hf.evaluation.age_scores import OVERALL

_TEMPLATE = Path(__file__).with_suffix(".md")

# Hub identifiers, from what permits most to what permits least.
_LICENCES = (
    *("cc0-1.0", "mit", "bsd-3-clause", "apache-2.0", "cc-by-4.0", "cc-by-sa-4.0"),
    *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
)


def finetuned_card(
    name: str,
    base_name: str,
    licence: str | None,
    summary: Summary,
    numbers: Mapping[str, Any],
    left_out: Mapping[str, int],
    stages: Sequence[Mapping[str, Any]],
    calibration: Mapping[str, Any] | None,
    needed: int,
) -> str:
    """The text of `README.md`: what the Hub reads on top, then what people read.

    Args:
        name: Of the model.
        base_name: What it was fine-tuned from: embedded, a folder, of which only the last part is told, or `org/name`.
        licence: Terms of the photos: a Hub identifier or a short text; None if not stated.
        summary: Of the crops.
        numbers: Of `evaluation.age_report.age_report` on validation photos.
        left_out: Number of rows and photos that are not among the crops, by reason.
        stages: `run.json` of each, in their order, with `history`, one entry an epoch.
        calibration: The table of intervals, None where there is none.
        needed: Calibration photos that it would have taken.
    """
    base = base_name if base_name in checkpoints() or not Path(base_name).exists() else Path(base_name).name
    base_licence = _licence_of(base_name) or f"see the card of `{base}`"
    sources = ", ".join(summary.sources)
    terms = _hub_licence(base_licence, licence)
    mae = numbers["overall"]["mae"]
    data = ModelCardData(
        license=terms,
        # The Hub asks for one where the licence is none that it knows.
        license_name=None if terms != "other" else f"weights: {base_licence}; photos: {licence or 'not stated'}",
        library_name="transformers",
        base_model=base,
        tags=["fahr-hf", "age-estimation", "biological-age", "face"],
        metrics=["mae"],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="age-estimation",
                task_name="Age estimation",
                dataset_type=sources,
                dataset_name=sources,
                dataset_split="validation, used for selection",
                metric_type="mae",
                metric_name=f"MAE (years), n = {numbers['scored']:,}, 95 % interval {_interval(mae)}",
                metric_value=round(mae["value"], 3),
            )
        ],
    )
    figures = {text: numbers["overall"][key] for key, text in OVERALL.items()}
    if "comparison" in numbers:
        figures[f"mean absolute error less that of `{base}`, below 0 where smaller"] = numbers["comparison"][
            "difference"
        ]
    card = ModelCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        name=name,
        base=base,
        base_licence=base_licence,
        licence=licence,
        sources=sources,
        parts=summary.parts,
        left_out=left_out,
        numbers=numbers,
        rows=[
            {"figure": text, "value": _number(row["value"]), "interval": _interval(row)}
            for text, row in figures.items()
        ],
        stages=[_stage(record) for record in stages],
        bf16=any(record["run"]["stage"]["settings"]["mixed_precision"] == "bf16" for record in stages),
        minutes=_minutes(sum(record["seconds"] for record in stages)),
        machine=", then ".join(dict.fromkeys(s["machine"] for record in stages for s in record["sessions"])),
        calibration=calibration,
        needed=needed,
    )
    return str(card).rstrip() + "\n"


def _licence_of(base_name: str) -> str | None:
    """What the starting checkpoint's own card says, None where it says nothing."""
    card = Path(locate(base_name), "README.md")
    return ModelCard.load(card).data.license if card.is_file() else None


def _hub_licence(base: str, photos: str | None) -> str:
    """The stricter of two known licences; `other` where one is not known, or not to be compared."""
    if base in _LICENCES and photos in _LICENCES:
        return max(base, photos, key=_LICENCES.index)
    return "other"


def _stage(record: Mapping[str, Any]) -> dict[str, Any]:
    stage = record["run"]["stage"]
    trained = "the head" if stage["only_head"] else "everything"
    if stage["lora_rank"]:
        trained = f"the head and adapters of rank {stage['lora_rank']}, merged"
    best = min(record["history"], key=lambda entry: entry["mae"])
    return {
        **stage["settings"],
        "name": stage["name"],
        "trained": trained,
        "epochs": len(record["history"]),
        "best": best["epoch"],
        "minutes": _minutes(record["seconds"]),
    }


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"


def _interval(row: Mapping[str, float]) -> str:
    return f"{_number(row['low'])} to {_number(row['high'])}"


def _number(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.2f}"
