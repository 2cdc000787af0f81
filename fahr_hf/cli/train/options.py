"""What the training commands share: where photos come from, where to start, and whether the crops suit it."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
    from fahr_hf.models.modeling_fahr_face import FahrFacePreTrainedModel

Model = TypeVar("Model", bound="FahrFacePreTrainedModel")

WITH_CROPS, WITH_DATA = "With CROPS", "With --data: photos of one's own"
"""Panels of help for options that go with one source of photos."""


class Clock(StrEnum):
    """What durations count from; see `fahr_hf.data.outcomes`."""

    photo = "time since photo"
    age = "attained age"


class Strength(StrEnum):
    """How far the views of a photo differ from it; see `fahr_hf.training.augmentation`."""

    mild = "mild"
    strong = "strong"


class Size(StrEnum):
    """Named sizes of a new model."""

    tiny = "tiny"
    small = "small"
    base = "base"


def check_options(context: typer.Context, crops: bool, data: Path | None, images: Path | None) -> None:
    """Complain unless there is one source of photos, and no option that belongs to the other.

    Args:
        context: Of the command, whose options that go with one source only stand in the panels `WITH_CROPS` and
            `WITH_DATA`.
        crops: Whether there are folders of crops.
        data: Table of one's own photos.
        images: Their folder.

    Raises:
        ValueError: neither source or both, a table without a folder, or such an option.
    """
    if crops == (data is not None):
        raise ValueError("Give either folders of crops, or --data and --images: a table of photos and their folder.")
    if data is not None and images is None:
        raise ValueError("--data needs --images, the folder that the table's photos are in.")
    kind, foreign = ("CROPS", WITH_DATA) if crops else ("--data", WITH_CROPS)
    for option in context.command.params:
        source = context.get_parameter_source(str(option.name))
        if getattr(option, "rich_help_panel", None) == foreign and source and source.name == "COMMANDLINE":
            raise ValueError(f"{option.opts[0]} means nothing with {kind}; leave it out.")


def start_from(
    start: str | None,
    crops: Sequence[Path],
    model_class: type[Model],
    shape: dict[str, Any],
    head: dict[str, Any],
    changes: dict[str, Any] | None = None,
) -> tuple[Model, "FahrFaceImageProcessor", bool]:
    """The model to train, the processor of its crops, and whether its head is new.

    Args:
        start: A checkpoint; None for a new model.
        crops: Folders of crops, which must be such as the processor cuts.
        model_class: Of the model.
        shape: Of a new model: arguments of `FahrFaceConfig.from_size`.
        head: What the configuration says of a new head, that of a new model or on a checkpoint of another kind.
        changes: To the configuration of any model, new or not.

    Raises:
        ValueError: an unknown checkpoint, or crops that were cut otherwise than its processor cuts.
    """
    from fahr_hf.data.crops import aligning_options, check_cut, is_cache
    from fahr_hf.embedded import locate
    from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor

    changes = changes or {}
    cut = {folder: aligning_options(folder) for folder in crops if is_cache(folder)}
    if start is None:
        model, new_head = model_class(FahrFaceConfig.from_size(**shape, **head, **changes)), True
        processor = FahrFaceImageProcessor(**next(iter(cut.values()), {}))
    else:
        place = locate(start)
        new_head = model_class.__name__ not in (FahrFaceConfig.from_pretrained(place).architectures or ())
        model = model_class.from_pretrained(place, **(head if new_head else {}), **changes)
        processor = FahrFaceImageProcessor.from_pretrained(place)
    for folder in cut:
        check_cut(folder, processor)
    return model, processor, new_head
