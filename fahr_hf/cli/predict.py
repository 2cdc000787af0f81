"""`fahr-hf predict PHOTOS...`."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fahr_hf.cli.predict_shards import predict_shards
from fahr_hf.cli.predictions import Precision, Prediction, Task, progress, say, watched


class Group(StrEnum):
    """What `predict` can put the answers of several photos together by."""

    person = "person"


def predict(
    photos: Annotated[
        list[str], typer.Argument(help="Image files, folders, URLs, or a .txt with one a line; --group-by: see above.")
    ],
    task: Annotated[Task, typer.Option(help="What to predict.")] = Task.age,
    model: Annotated[
        str | None,
        typer.Option(help="Embedded checkpoint, folder, or org/name; with 'both' that of the survival model."),
    ] = None,
    age_model: Annotated[
        str | None, typer.Option(help="With 'survival' and 'both': the model that predicts the ages.")
    ] = None,
    adult: Annotated[
        bool, typer.Option("--adult", help="Declare that everybody shown is an adult; survival demands it.")
    ] = False,
    flip: Annotated[
        bool, typer.Option("--flip", help="Average the ages of each face and its mirror image: twice the time.")
    ] = False,
    dtype: Annotated[
        Precision, typer.Option(help="What the model computes in; bfloat16 is faster, where the processor has it.")
    ] = Precision.float32,
    group_by: Annotated[Group | None, typer.Option(help="One answer for all photos of a person.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Table to write, .csv, .jsonl or .parquet, or folder of them; what exists is continued."),
    ] = None,
    shard_photos: Annotated[
        int | None, typer.Option(min=1, help="With a folder as --out: photos a table, 10,000 by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list with one object a photo, or person.")] = False,
    annotate: Annotated[
        Path | None, typer.Option(help="Folder for copies of the photos with boxes and answers.")
    ] = None,
) -> None:
    """Predict ages or risks of the faces in photos: research estimates, not medical advice.

    Folders are searched at any depth. A photo that cannot be read, or shows no face, gets a row that says
    so, and the run goes on; the exit code is 1 only if no photo could be read at all. A run that was
    interrupted goes on where it ended when it is started again with the same --out. It does not try again
    what could not be read.

    For very many photos --out is a folder, a name without a suffix. It fills with Parquet tables, by one
    process or, started by torchrun or accelerate launch, by several; see the how-to on a million photos.

    A risk is given of declared adults (--adult) whose predicted age is at least 25, and of nobody else; the column
    `status` says which faces were refused. It places a face within the cohort that the answer names, and says nothing
    reliable about a person's life. No predicted age verifies a person's age.

    With --group-by person, PHOTOS is one folder with a sub-folder for each person, or one .csv with the columns
    photo (paths from the csv's own folder, or URLs), person and, optionally, date (such as 2024-05-31). The largest
    face of a photo counts. A person's age is the median, beside its spread; with dates at least a year apart there is
    also the face-aging rate: years of predicted age a year, with a standard error from how much photos disagree. The
    table is written when all photos are done, and not continued.
    """
    if group_by is not None:
        if task is not Task.age or age_model is not None or annotate is not None:
            raise ValueError("--group-by person gives ages alone: leave out --task, --age-model and --annotate.")
        _predict_persons(photos, Prediction(task, model, flip=flip, dtype=dtype), out, as_json)
        return
    prediction = Prediction(task, model, age_model, flip, adult, dtype)
    place_of = None if annotate is None else _places(photos, annotate)

    def draw(record: dict[str, Any]) -> None:
        if place_of is not None and record["faces"]:
            _annotate(record, place_of(record["photo"]))

    if out is not None and (out.is_dir() or not out.suffix):
        if as_json:
            raise ValueError(
                f"--json prints all answers, and {str(out)!r} is a folder for very many. Leave out --json."
            )
        predict_shards(prediction, photos, out, shard_photos, draw)
        return
    if shard_photos is not None:
        raise ValueError("--shard-photos belongs to a folder as --out.")
    _predict_photos(prediction, photos, out, as_json, draw)


def _predict_photos(
    prediction: Prediction,
    photos: list[str],
    out: Path | None,
    as_json: bool,
    draw: Callable[[dict[str, Any]], None],
) -> None:
    from fahr_hf.batch.photo_counts import PhotoCounts
    from fahr_hf.batch.photo_lists import find_photos
    from fahr_hf.batch.tables import Table, shown

    names = list(find_photos(photos))
    if not names:
        raise ValueError(f"There are no photos in {', '.join(photos)}: no file there has the suffix of an image.")
    pipeline = prediction.open()
    counts = PhotoCounts()
    with Table(out, prediction.made_by) if out else nullcontext() as table, _printer(as_json, out) as show:
        todo = names if table is None else [name for name in names if shown(name) not in table.done]
        if len(todo) < len(names):
            say(f"{len(names) - len(todo)} of {len(names)} photos are in {out} already.")
        say(prediction.notice)
        with progress(len(todo), hidden=not (as_json or out)) as bar:
            try:
                for record in watched(prediction.records(pipeline, todo), bar, draw):
                    if table is not None:
                        table.write(record)
                    show(record)
                    counts += PhotoCounts.of_record(record)
            except KeyboardInterrupt:
                if out is not None:
                    bar.close()
                    say(f"{counts.photos} of {len(todo)} photos are done. The same command goes on from there.")
                raise
    if todo and counts.unreadable == len(todo):
        raise ValueError(f"None of the {len(todo)} photos could be read; the last error was: {record['error']}")
    if out is not None:
        say(f"{out}: {counts}.")


def _predict_persons(photos: list[str], prediction: Prediction, out: Path | None, as_json: bool) -> None:
    from fahr_hf.batch.persons import COLUMNS, group
    from fahr_hf.batch.tables import shown
    from fahr_hf.cli.persons import in_words, read_persons
    from fahr_hf.table_files import kind_of_table, write_table

    if len(photos) != 1:
        raise ValueError(f"--group-by person takes one folder or one .csv, got {len(photos)}.")
    if out is not None and kind_of_table(out) and out.exists():
        raise ValueError(f"{str(out)!r} exists, and a table of persons is not continued. Give it another name.")
    person_of, date_of = read_persons(photos[0])
    pipeline = prediction.open()
    say(prediction.notice)
    with progress(len(person_of), hidden=not (as_json or out)) as bar:
        records = watched(prediction.records(pipeline, person_of), bar, lambda _: None)
        rows = group(records, person_of, date_of, prediction.made_by)
    if all(row["unreadable"] and not row["photos"] + row["no_face"] for row in rows):
        raise ValueError(f"None of the {len(person_of)} photos could be read.")
    for row in rows:
        row["person"] = shown(row["person"])
    if out is not None:
        write_table(out, rows, COLUMNS)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    elif out is None:
        typer.echo("\n".join(map(in_words, rows)))


@contextmanager
def _printer(as_json: bool, out: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What shows a record: in JSON; in words; or, where a table is all that is wanted, not at all."""
    if not as_json:
        yield _print_words if out is None else lambda _: None
        return
    separator = "[\n"

    def show(record: dict[str, Any]) -> None:
        nonlocal separator
        typer.echo(separator + json.dumps(record), nl=False)
        separator = ",\n"

    yield show
    typer.echo("\n]" if separator == ",\n" else "[]")


def _print_words(record: dict[str, Any]) -> None:
    from fahr_hf.annotate import label
    from fahr_hf.batch.tables import shown

    if record["error"]:
        typer.echo(f"{shown(record['photo'])}: {record['error']}")
    for number, face in enumerate(record["faces"], 1):
        doubt = f" [{face['warning']}]" if face["warning"] else ""
        typer.echo(f"{shown(record['photo'])}: {label(number, face)}{doubt}")


def _places(photos: list[str], folder: Path) -> Callable[[str], Path]:
    """Where the annotated copy of a photo goes: as deep in the folder as the photo lies in what all share.

    Raises:
        ValueError: a URL or list, or a folder where copies would be taken for photos, or take their place.
    """
    from fahr_hf.batch.photo_lists import is_list, is_url

    if any(is_url(photo) for photo in photos):
        raise ValueError("--annotate draws into copies of files, and cannot with a URL; save the photo first.")
    if any(map(is_list, photos)):
        raise ValueError("--annotate needs to see where the photos lie, and cannot with a .txt; give files or folders.")
    # Not resolved: a photo may be a link that leads out of the folder.
    given = [Path(os.path.abspath(photo)) for photo in photos]  # noqa: PTH100
    folders = [path for path in given if path.is_dir()]
    common = Path(os.path.commonpath([path if path in folders else path.parent for path in given]))
    target = folder.resolve()
    if target == common.resolve() or any(target.is_relative_to(path.resolve()) for path in folders):
        raise ValueError(
            f"--annotate {str(folder)!r} lies among the photos, where copies would replace them or be taken "
            "for more of them. Give a folder elsewhere."
        )
    return lambda photo: folder / os.path.relpath(photo, common)


def _annotate(record: dict[str, Any], place: Path) -> None:
    from fahr_hf.annotate import annotate

    annotate(record["photo"], record["faces"], place)
