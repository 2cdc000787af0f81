"""`fahr-hf train survival CROPS... --out FOLDER`, and `... --data TABLE --images FOLDER --out FOLDER`."""

from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fahr_hf.cli.data.build import named_columns
from fahr_hf.cli.train.options import WITH_CROPS, WITH_DATA, Clock, Strength, check_options, start_from

if TYPE_CHECKING:
    from fahr_hf.data.crops import Crops
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
    from fahr_hf.models.modeling_fahr_face import FahrFaceForSurvival

_START = "fahr-faceage-tiny"
_OUTCOMES, _TRAINING = "Outcomes", "Training"


class Loss(StrEnum):
    """What the scores learn by; see `FahrFaceConfig.survival_loss`."""

    ranking = "ranking"
    cox = "cox"


def survival(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder of the runs; what was begun is continued.")],
    crops: Annotated[
        list[Path] | None, typer.Argument(help="Folders that `fahr-hf data crops` filled.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="In place of CROPS: table of one's own photos (csv, jsonl, Parquet).")
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(help=f"Checkpoint to start from; the best of several is kept. Repeat. Default: {_START}."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each start, with the seeds 0, 1, ...")] = 5,
    cohort: Annotated[
        str | None, typer.Option(help="Name of the people, which every answer will show; by default that of the data.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load, beside the one that trains.")] = 1,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="FIELD=COLUMN, such as event=Died: the table's own name. Fields: duration, event, entry (years); or "
            "photo_date, entry_date, last_date, death_date, birth_date (year-month-day); and subject_id. Repeat.",
            rich_help_panel=_OUTCOMES,
        ),
    ] = None,
    clock: Annotated[Clock, typer.Option(help="What durations count from.", rich_help_panel=_OUTCOMES)] = Clock.photo,
    horizon: Annotated[
        float | None,
        typer.Option(help="Years after entry at which everybody still alive is censored.", rich_help_panel=_OUTCOMES),
    ] = None,
    offset: Annotated[
        str | None,
        typer.Option(
            help="Column: log hazard known without the face, which learns the rest.", rich_help_panel=_OUTCOMES
        ),
    ] = None,
    loss: Annotated[Loss, typer.Option(help="What the scores learn by.", rich_help_panel=_TRAINING)] = Loss.ranking,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the people: 5 to 30, fewer for many.", rich_help_panel=_TRAINING),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="People a step and process: 16 to 256.", rich_help_panel=_TRAINING)
    ] = None,
    memory: Annotated[
        int,
        typer.Option(
            min=0,
            help="Past people with whom a step compares its own as well; approximate, as their scores grow old.",
            rich_help_panel=_TRAINING,
        ),
    ] = 0,
    learning_rate: Annotated[
        float | None, typer.Option(help="The highest, that of the head.", rich_help_panel=_TRAINING)
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs without progress after which a run ends.", rich_help_panel=_TRAINING),
    ] = None,
    augmentation: Annotated[
        Strength, typer.Option(help="How far views of a photo differ from it.", rich_help_panel=_TRAINING)
    ] = Strength.strong,
    outcomes: Annotated[
        Path | None,
        typer.Option(help="Table of outcomes by subject_id, if the crops have none.", rich_help_panel=WITH_CROPS),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder that the table's photos are in.", rich_help_panel=WITH_DATA)
    ] = None,
    skip_bad_rows: Annotated[
        bool,
        typer.Option("--skip-bad-rows", help="Leave out rows that cannot be used.", rich_help_panel=WITH_DATA),
    ] = False,
) -> None:
    """Train a model to score risk of death, from aligned crops or from a table of one's own photos.

    It needs to know when people died or were last seen: `duration` and `event` (and `entry`), or dates. It learns from
    the people of the part `train`; those of `validation` choose epoch, start and seed; and those of `calibration`,
    where they are enough, turn the score into a percentile. In the run's folder `model` is the finished model with its
    card, `report` says how well it orders the deaths of the validation people, and `runs.csv` what each run came to.
    Its scores are research estimates: they describe groups, and say nothing reliable about one person.
    """
    import torch
    from accelerate import PartialState

    from fahr_hf.data.outcomes import read_outcomes
    from fahr_hf.embedded import locate
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
    from fahr_hf.training.augmentation import MILD, STRONG
    from fahr_hf.training.survival import survival_settings
    from fahr_hf.training.survival_finetuning import load_survival_crops
    from fahr_hf.training.survival_runs import train_survival

    check_options(context, bool(crops), data, images)
    # Without being told, Accelerate takes several processes on CPUs for as many runs of one.
    state = PartialState(cpu=not torch.accelerator.is_available())
    names = {Path(name).name: name for name in start or [_START]}
    if len(names) < len(start or [_START]):
        raise ValueError(f"Runs are named after their start, and two of {', '.join(start or ())} have one name.")
    processor = FahrFaceImageProcessor.from_pretrained(locate(next(iter(names.values()))))
    columns = named_columns(column or []) | ({} if offset is None else {"offset": offset})
    if data is not None and images is not None:
        crops = [_cut(data, images, out, columns, skip_bad_rows, clock, processor)]
        # The crops have durations, events and offsets under the names of the fields.
        columns = {}
    folders = crops or []
    known = None
    if outcomes is not None:
        known, columns = read_outcomes(outcomes, columns, horizon, clock.value), {}
    parts = load_survival_crops(folders, known, columns, horizon, clock.value)
    if state.is_main_process:
        for part, photos in parts.items():
            followed = photos.table.select(["subject_id", "event"]).to_pandas().drop_duplicates("subject_id")
            typer.echo(f"{part}: {len(followed)} people, {followed['event'].sum()} deaths, {len(photos)} photos")
    people = len(set(parts["train"].column("subject_id")))
    settings = survival_settings(people)
    given: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "patience": patience,
    }
    settings = replace(settings, **{name: value for name, value in given.items() if value is not None})
    runs = train_survival(
        {name: partial(_begin, place, folders, loss) for name, place in names.items()},
        processor,
        parts["train"],
        parts["validation"],
        out,
        settings,
        range(seeds),
        workers,
        {Strength.mild: MILD, Strength.strong: STRONG}[augmentation],
        memory,
    )
    if state.is_main_process:
        _finish(out, parts, cohort or (data or folders[0].resolve()).stem, clock, names[runs.start], folders)
        typer.echo(f"{out / 'model'}: a FahrFaceForSurvival, trained on {people} people, from {runs.start}")
    state.destroy_process_group()


def _cut(
    data: Path,
    images: Path,
    out: Path,
    columns: dict[str, str],
    skip_bad_rows: bool,
    clock: Clock,
    processor: "FahrFaceImageProcessor",
) -> Path:
    from accelerate import PartialState
    from tqdm.auto import tqdm

    from fahr_hf.data.own_labels import Survival
    from fahr_hf.data.own_photos import crops_of_own_photos

    with PartialState().main_process_first(), tqdm(unit=" photos") as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        labels = Survival(clock.value)
        return crops_of_own_photos(data, images, out, columns, skip_bad_rows, show, processor, labels)


def _begin(start: str, crops: list[Path], loss: Loss) -> "FahrFaceForSurvival":
    from fahr_hf.models.modeling_fahr_face import FahrFaceForSurvival
    from fahr_hf.training.survival import start_head

    model, _, new_head = start_from(start, crops, FahrFaceForSurvival, {}, {}, {"survival_loss": loss.value})
    if new_head:
        start_head(model)
    return model


def _finish(out: Path, parts: "dict[str, Crops]", cohort: str, clock: Clock, start: str, crops: list[Path]) -> None:
    from fahr_hf.hub.cards import write_card
    from fahr_hf.hub.origin import record_origin
    from fahr_hf.training.survival_finetuning import finish_survival_run

    calibration = finish_survival_run(out, parts, cohort, clock.value)
    record_origin(out, start, crops, outcomes=parts)
    write_card(out)
    typer.echo(calibration)
    typer.echo(f"{out / 'report'}: how well it orders deaths of the validation people, who chose it")
