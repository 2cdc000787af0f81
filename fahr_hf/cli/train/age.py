"""`fahr-hf train age CROPS... --out FOLDER`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Size(StrEnum):
    """Named sizes of a new model."""

    tiny = "tiny"
    small = "small"
    base = "base"


def age(
    crops: Annotated[list[Path], typer.Argument(help="Folders that `fahr-hf data crops` filled.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; one that was begun is continued.")],
    start: Annotated[
        str | None, typer.Option(help="Checkpoint to start from: embedded, a folder, or org/name.")
    ] = None,
    size: Annotated[Size, typer.Option(help="Without --start: size of the new model.")] = Size.tiny,
    epochs: Annotated[int, typer.Option(min=1)] = 50,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos a step and process.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="The highest, that of the head.")] = 5e-4,
    layer_decay: Annotated[float, typer.Option(help="Factor on it from a layer to the one before.")] = 0.75,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load, beside the one that trains.")] = 1,
) -> None:
    """Train a model to estimate ages from aligned crops.

    It learns from the part `train` of every folder and reports on the part `validation`, which must not be empty;
    the crops have a column `age`, in years. The finished model lies in the run's folder, under `model`.
    """
    import torch

    from fahr_hf.data.crops import aligning_options, join, load_crops
    from fahr_hf.embedded import locate
    from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
    from fahr_hf.models.modeling_fahr_face import FahrFaceForAgeEstimation
    from fahr_hf.training.age import age_recipe, start_head
    from fahr_hf.training.loop import train as run
    from fahr_hf.training.recipe import Settings

    caches = [load_crops(folder) for folder in crops]
    parts = [cache.column("part") for cache in caches]
    columns = ["source", "photo_id", "age", "part"]
    fit = join([cache.select(part == "train") for cache, part in zip(caches, parts, strict=True)], columns)
    validation = {
        folder.name: cache.select(part == "validation")
        for folder, cache, part in zip(crops, caches, parts, strict=True)
    }
    torch.manual_seed(seed)
    if start is None:
        processor = FahrFaceImageProcessor(**aligning_options(crops[0]))
        model = FahrFaceForAgeEstimation(FahrFaceConfig.from_size(size, age_output="expectation"))
        start_head(model, fit.column("age"))
    else:
        place = locate(start)
        processor = FahrFaceImageProcessor.from_pretrained(place)
        model = FahrFaceForAgeEstimation.from_pretrained(place)
    for folder in crops:
        _check_alignment(folder, aligning_options(folder), processor.to_dict())
    settings = Settings(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, layer_decay=layer_decay, seed=seed
    )
    run(age_recipe(model, processor, fit, validation, seed), settings, out, workers)
    processor.save_pretrained(out / "model")
    typer.echo(f"{out / 'model'}: a FahrFaceForAgeEstimation, trained on {len(fit)} photos")


def _check_alignment(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in found.items():
        if value != wanted[name]:
            raise ValueError(
                f"The crops in {folder} were cut with {name} = {value!r}, and the model's processor has "
                f"{wanted[name]!r}. Cut them again with the same settings."
            )
