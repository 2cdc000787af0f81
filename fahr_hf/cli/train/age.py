"""`fahr-hf train age CROPS... --out FOLDER`, and `fahr-hf train age --data TABLE --images FOLDER --out FOLDER`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fahr_hf.cli.data.build import named_columns
from fahr_hf.cli.train.options import WITH_CROPS, WITH_DATA, Size, Strength, check_options, start_from

_OWN_START = "fahr-faceage-tiny"


class Loss(StrEnum):
    """What a new head answers with, and so learns by; see `FahrFaceConfig.age_output`."""

    expectation = "expectation"
    years = "years"
    ordinal = "ordinal"


def age(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder of the run; one that was begun is continued.")],
    crops: Annotated[
        list[Path] | None, typer.Argument(help="Folders that `fahr-hf data crops` filled.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="In place of CROPS: table of one's own photos (csv, jsonl, Parquet).")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help=f"Checkpoint to start from: embedded, a folder, or org/name. With --data: {_OWN_START}."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the photos. CROPS: 50; --data: 3 to 20, fewer for many.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load, beside the one that trains.")] = 1,
    size: Annotated[
        Size, typer.Option(help="Without --start: size of the new model.", rich_help_panel=WITH_CROPS)
    ] = Size.tiny,
    loss: Annotated[
        Loss | None,
        typer.Option(help="What a new head learns by; expectation if not given.", rich_help_panel=WITH_CROPS),
    ] = None,
    drop_path: Annotated[
        float,
        typer.Option(help="Share of the last layer's branches left out in training.", rich_help_panel=WITH_CROPS),
    ] = 0.1,
    curated: Annotated[
        list[Path] | None,
        typer.Option(help="Crops for a second stage, at a fifth of the rate; repeat.", rich_help_panel=WITH_CROPS),
    ] = None,
    curated_epochs: Annotated[
        int, typer.Option(min=1, help="Passes of the second stage.", rich_help_panel=WITH_CROPS)
    ] = 10,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos a step and process.", rich_help_panel=WITH_CROPS)] = 64,
    learning_rate: Annotated[
        float, typer.Option(help="The highest, that of the head.", rich_help_panel=WITH_CROPS)
    ] = 5e-4,
    layer_decay: Annotated[
        float, typer.Option(help="Factor on it from a layer to the one before.", rich_help_panel=WITH_CROPS)
    ] = 0.75,
    balance: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="0: every photo once an epoch; 1: every age alike.", rich_help_panel=WITH_CROPS
        ),
    ] = 0.5,
    cap: Annotated[
        float, typer.Option(min=1, help="Most often that an epoch shows a photo.", rich_help_panel=WITH_CROPS)
    ] = 4.0,
    augmentation: Annotated[
        Strength,
        typer.Option(help="Strong: for pre-trained models and long runs.", rich_help_panel=WITH_CROPS),
    ] = Strength.strong,
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs without progress after which a stage ends.", rich_help_panel=WITH_CROPS),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder that the table's photos are in.", rich_help_panel=WITH_DATA)
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=COLUMN, such as age=Age: the table's own name; repeat.", rich_help_panel=WITH_DATA),
    ] = None,
    skip_bad_rows: Annotated[
        bool,
        typer.Option("--skip-bad-rows", help="Leave out rows that cannot be used.", rich_help_panel=WITH_DATA),
    ] = False,
    head_epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Passes of the head alone, which come first: 10, or 3 for many.", rich_help_panel=WITH_DATA
        ),
    ] = None,
    lora: Annotated[
        int | None,
        typer.Option(min=1, help="Train adapters of this rank in place of all weights.", rich_help_panel=WITH_DATA),
    ] = None,
) -> None:
    """Train a model to estimate ages, from aligned crops or from a table of one's own photos.

    With CROPS it learns from the part `train` of every folder, and the part `validation`, which must not be empty,
    chooses the best epoch; the crops have a column `age`, in years. With --data it checks the table, cuts the faces,
    fine-tunes an age model on them, and writes a report. The finished model lies in the run's folder, under `model`,
    with its card; beside it each stage keeps what is needed to repeat it. Its ages are research estimates.
    """
    import torch
    from accelerate import PartialState

    from fahr_hf.hub.cards import write_card
    from fahr_hf.hub.origin import record_origin

    check_options(context, bool(crops), data, images)
    # Without being told, Accelerate takes several processes on CPUs for as many runs of one.
    state = PartialState(cpu=not torch.accelerator.is_available())
    torch.manual_seed(seed)
    if data is None or images is None:
        photos = _train_on_crops(
            crops or [],
            out,
            start,
            curated or [],
            curated_epochs,
            size,
            loss,
            drop_path,
            draw={"balance": balance, "cap": cap},
            augmentation=augmentation,
            settings={
                "epochs": epochs or 50,
                "batch_size": batch_size,
                "learning_rate": learning_rate,
                "layer_decay": layer_decay,
                "patience": patience,
                "seed": seed,
            },
            workers=workers,
        )
    else:
        table = {
            "table": data,
            "images": images,
            "columns": named_columns(column or []),
            "skip_bad_rows": skip_bad_rows,
        }
        stages = {"head_epochs": head_epochs, "epochs": epochs, "lora_rank": lora, "seed": seed}
        start = start or _OWN_START
        photos = _train_on_own_photos(table, out, start, stages, workers)
    if state.is_main_process:
        record_origin(out, start, [*crops, *(curated or [])] if crops else [out / "crops"])
        write_card(out)
        typer.echo(f"{out / 'model'}: a FahrFaceForAgeEstimation, trained on {photos} photos")
    state.destroy_process_group()


def _train_on_crops(
    crops: list[Path],
    out: Path,
    start: str | None,
    curated: list[Path],
    curated_epochs: int,
    size: Size,
    loss: Loss | None,
    drop_path: float,
    draw: dict[str, float],
    augmentation: Strength,
    settings: dict[str, Any],
    workers: int,
) -> int:
    from fahr_hf.models.modeling_fahr_face import FahrFaceForAgeEstimation
    from fahr_hf.training.age import load_age_crops, start_head
    from fahr_hf.training.age_stages import train_age, two_stages
    from fahr_hf.training.augmentation import MILD, STRONG
    from fahr_hf.training.recipe import Settings

    head = {"age_output": (loss or Loss.expectation).value}
    model, processor, new_head = start_from(
        start, [*crops, *curated], FahrFaceForAgeEstimation, {"size": size}, head, {"drop_path_rate": drop_path}
    )
    if loss and loss != model.config.age_output:
        raise ValueError(
            f"--loss {loss}: {start} has an age head already, an {model.config.age_output!r} one. Leave --loss out, "
            "or start from a checkpoint without an age head."
        )
    fit, validation = load_age_crops(crops)
    if new_head:
        start_head(model, fit.column("age"))
    trusted = load_age_crops(curated)[0] if curated else None
    strength = {Strength.mild: MILD, Strength.strong: STRONG}[augmentation]
    stages = two_stages(
        Settings(**settings), **draw, augmentation=strength, curated=trusted, curated_epochs=curated_epochs
    )
    train_age(model, processor, fit, validation, out, stages, workers)
    return len(fit)


def _train_on_own_photos(table: dict[str, Any], out: Path, start: str, stages: dict[str, Any], workers: int) -> int:
    from accelerate import PartialState
    from tqdm.auto import tqdm

    from fahr_hf.data.crops import load_crops
    from fahr_hf.data.own_photos import crops_of_own_photos
    from fahr_hf.embedded import locate
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
    from fahr_hf.models.modeling_fahr_face import FahrFaceForAgeEstimation
    from fahr_hf.training.age import start_head
    from fahr_hf.training.age_stages import train_age
    from fahr_hf.training.finetuning import finetuning_stages, finish_run

    processor = FahrFaceImageProcessor.from_pretrained(locate(start))
    with PartialState().main_process_first(), tqdm(unit=" photos") as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        crops = crops_of_own_photos(folder=out, **table, progress=show, processor=processor)
    head = {"age_output": Loss.expectation.value}
    model, processor, new_head = start_from(start, [crops], FahrFaceForAgeEstimation, {}, head)
    fit, held_out = load_crops(crops, ["train"]), load_crops(crops, ["validation"])
    if new_head:
        start_head(model, fit.column("age"))
    train_age(model, processor, fit, {"validation": held_out}, out, finetuning_stages(len(fit), **stages), workers)
    if PartialState().is_main_process:
        finish_run(out, crops, start)
        typer.echo(f"{out / 'report'}: how far it errs on the validation photos, which chose its epochs")
    return len(fit)
