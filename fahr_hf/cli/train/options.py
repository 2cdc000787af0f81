"""What the training commands share: sizes of a new model, where to start, and whether the crops suit it."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
    from fahr_hf.models.modeling_fahr_face import FahrFacePreTrainedModel

Model = TypeVar("Model", bound="FahrFacePreTrainedModel")


class Size(StrEnum):
    """Named sizes of a new model."""

    tiny = "tiny"
    small = "small"
    base = "base"


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
    from fahr_hf.data.crops import aligning_options, is_cache
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
    wanted = processor.to_dict()
    for folder, found in cut.items():
        for name, value in found.items():
            if value != wanted[name]:
                raise ValueError(
                    f"The crops in {folder} were cut with {name} = {value!r}, and the model's processor has "
                    f"{wanted[name]!r}. Cut them again with the same settings."
                )
    return model, processor, new_head
