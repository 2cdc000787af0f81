"""What the Hub reads of a model card: the YAML on top of it, by kind of model."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from fahr_hf.hub.licences import NOT_STATED, OTHER
from fahr_hf.hub.runs import Figure

LICENCE_FILE = "LICENSE.md"
"""Of the checkpoint, where terms hold that the Hub's list does not have."""

_SEVERAL = "terms-of-all-origins"


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Args:
        name: Of its template.
        pipeline_tag: The Hub's task. Estimating a number from a photo has none of its own; the Auto class of both heads
            is that of image classification.
        task: Type and name of what the figures measure.
        tags: For the Hub's search.
        monitor: The figure of an epoch that chose the model, lower is better; None where the last epoch was taken.
        extra: What else stands in the YAML.
    """

    name: str
    pipeline_tag: str
    task: tuple[str, str]
    tags: tuple[str, ...]
    monitor: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


GATE = {
    "extra_gated_heading": "Access for research with ethics approval",
    "extra_gated_prompt": (
        "This model scores mortality risk from faces. It is for research on groups of adults, with ethics approval, "
        "and not for insurance, employment, credit, immigration, policing, triage or individual prognosis, nor for "
        "photos of others without their consent."
    ),
    "extra_gated_fields": {
        "Name": "text",
        "Institution": "text",
        "Stated purpose": "text",
        "Ethics approval (board and number)": "text",
        "I will use this model for the stated purpose alone and pass it on to nobody": "checkbox",
    },
    "extra_gated_button_content": "Ask for access",
}
"""Who wants survival weights from the Hub is asked for a purpose and an ethics approval."""

KINDS = {
    "FahrFaceForPreTraining": Kind(
        "backbone",
        "image-feature-extraction",
        ("image-feature-extraction", "Features of faces"),
        ("masked-autoencoder", "feature-extraction"),
    ),
    "FahrFaceForAgeEstimation": Kind(
        "age",
        "image-classification",
        ("age-estimation", "Age estimation"),
        ("age-estimation", "biological-age"),
        "mae",
    ),
    "FahrFaceForSurvival": Kind(
        "survival",
        "image-classification",
        ("survival-analysis", "Survival risk"),
        ("survival-analysis",),
        "one_minus_concordance",
        GATE,
    ),
}
"""By architecture."""


def metadata(
    kind: Kind, name: str, origin: Mapping[str, Any], licence: str, unstated: Sequence[str], figures: Sequence[Figure]
) -> ModelCardData:
    """The YAML of a card.

    Args:
        kind: Of the model.
        name: Of the model.
        origin: See `origin.record_origin`.
        licence: What `licences.strictest` says of the lineage.
        unstated: Of the lineage, what nobody stated the terms of.
        figures: Measured on validation photos.
    """
    own_terms: dict[str, Any] = {"license_name": NOT_STATED if unstated else _SEVERAL, "license_link": LICENCE_FILE}
    results = [
        EvalResult(
            task_type=kind.task[0],
            task_name=kind.task[1],
            dataset_type=_identifier(figure.dataset),
            dataset_name=figure.dataset,
            dataset_split="validation, used for selection" if kind.monitor else "validation",
            metric_type=figure.metric,
            metric_name=_metric_name(figure),
            metric_value=round(figure.value, 3),
        )
        for figure in figures
        if figure.metric and math.isfinite(figure.value)
    ]
    return ModelCardData(
        license=licence,
        **(own_terms if licence == OTHER else {}),
        library_name="transformers",
        pipeline_tag=kind.pipeline_tag,
        base_model=_identifier(origin["start"]["name"]) if origin["start"] else None,
        datasets=[_identifier(known["name"]) for known in origin["sets"]],
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        tags=["fahr-hf", "face", *kind.tags],
        model_name=name,
        eval_results=results or None,
        **kind.extra,
    )


def _metric_name(figure: Figure) -> str:
    interval = "" if figure.interval is None else ", 95 % interval {:.3f} to {:.3f}".format(*figure.interval)
    return f"{figure.text}, n = {figure.count}{interval}"


def _identifier(name: str) -> str:
    """A name as the Hub allows it for a repository."""
    return re.sub(r"[^\w./-]+", "-", name).strip("-.")
