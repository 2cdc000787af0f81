"""`fahr-hf train age CROPS... --out FOLDER`."""

from pathlib import Path
from typing import Annotated

import typer

from fahr_hf.cli.train.options import Size, start_from


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
    from accelerate import PartialState

    from fahr_hf.data.crops import join, load_crops
    from fahr_hf.models.modeling_fahr_face import FahrFaceForAgeEstimation
    from fahr_hf.training.age import age_recipe, start_head
    from fahr_hf.training.loop import train as run
    from fahr_hf.training.recipe import Settings

    torch.manual_seed(seed)
    model, processor, new_head = start_from(
        start, crops, FahrFaceForAgeEstimation, shape={"size": size}, head={"age_output": "expectation"}
    )
    fit = join([load_crops(folder, ["train"]) for folder in crops], ["source", "photo_id", "age", "part"])
    validation = {folder.name: load_crops(folder, ["validation"]) for folder in crops}
    if new_head:
        start_head(model, fit.column("age"))
    settings = Settings(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, layer_decay=layer_decay, seed=seed
    )
    run(age_recipe(model, processor, fit, validation, seed), settings, out, workers)
    if PartialState().is_main_process:
        typer.echo(f"{out / 'model'}: a FahrFaceForAgeEstimation, trained on {len(fit)} photos")
    PartialState().destroy_process_group()
