"""`fahr-hf predict PHOTOS...`."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fahr_hf.models.pipeline_fahr_face import FacePipeline

_NOTICE = "These are research estimates. They are no medical advice and no basis for a decision about a person."
_NOTICE_OF_RISKS = (
    "A risk and its percentile place a face within the cohort of the model, and say nothing reliable about a person's "
    "life."
)


class Group(StrEnum):
    """What `predict` can put the answers of several photos together by."""

    person = "person"


class Task(StrEnum):
    """What `predict` can be asked for."""

    age = "age"
    survival = "survival"
    both = "both"


def predict(
    photos: Annotated[
        list[str], typer.Argument(help="Image files, folders of them, or URLs; for --group-by see above.")
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
    group_by: Annotated[Group | None, typer.Option(help="One answer for all photos of a person.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Table to write, .csv, .jsonl or .parquet; one that exists is continued."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list with one object a photo, or person.")] = False,
    annotate: Annotated[
        Path | None, typer.Option(help="Folder for copies of the photos with boxes and answers.")
    ] = None,
) -> None:
    """Predict ages or risks of the faces in photos: research estimates, not medical advice.

    Folders are searched at any depth. A photo that cannot be read, or shows no face, gets a row that says
    so, and the run goes on; the exit code is 1 only if no photo could be read at all. A run that was
    interrupted goes on where it ended when it is started again with the same --out.

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
        _predict_persons(photos, model, flip, out, as_json)
        return
    if task is not Task.age and not adult:
        raise ValueError(
            f"--task {task} needs --adult, which declares that everybody shown is an adult. Faces whose predicted age "
            "is below 25 years are refused all the same."
        )
    from fahr_hf.models.pipeline_fahr_face import NO_FACE
    from fahr_hf.tables import Table, shown

    names = list(dict.fromkeys(_expand(photos)))
    if not names:
        raise ValueError(f"There are no photos in {', '.join(photos)}: no file there has the suffix of an image.")
    place_of = None if annotate is None else _places(photos, annotate)
    pipeline, made_by = _open(task, model, age_model, flip)
    options: dict[str, Any] = {} if task is Task.age else {"adult": adult}
    read = 0
    with Table(out, made_by) if out else nullcontext() as table, _printer(as_json, out) as show:
        todo = names if table is None else [name for name in names if shown(name) not in table.done]
        if len(todo) < len(names):
            _say(f"{len(names) - len(todo)} of {len(names)} photos are in {out} already.")
        records = pipeline.records(todo, **options)
        _say(_NOTICE if task is Task.age else f"{_NOTICE} {_NOTICE_OF_RISKS}")
        for record in _with_progress(records, len(todo), hidden=not (as_json or out)):
            read += record["error"] in (None, NO_FACE)
            if task is Task.survival:
                # The ages were only there to refuse the young.
                record["faces"] = [{**face, "age": None, "interval": None} for face in record["faces"]]
            if table is not None:
                table.write(record)
            show(record)
            if place_of is not None and record["faces"]:
                _annotate(record, place_of(record["photo"]))
    if todo and not read:
        raise ValueError(f"None of the {len(todo)} photos could be read; the last error was: {record['error']}")


def _predict_persons(photos: list[str], model: str | None, flip: bool, out: Path | None, as_json: bool) -> None:
    from fahr_hf.cli.persons import in_words, read_persons
    from fahr_hf.persons import COLUMNS, group
    from fahr_hf.table_files import kind_of_table, write_table
    from fahr_hf.tables import shown

    if len(photos) != 1:
        raise ValueError(f"--group-by person takes one folder or one .csv, got {len(photos)}.")
    if out is not None and kind_of_table(out) and out.exists():
        raise ValueError(f"{str(out)!r} exists, and a table of persons is not continued. Give it another name.")
    person_of, date_of = read_persons(photos[0])
    pipeline, made_by = _open(Task.age, model, None, flip)
    _say(_NOTICE)
    records = _with_progress(pipeline.records(person_of), len(person_of), hidden=not (as_json or out))
    rows = group(records, person_of, date_of, made_by)
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


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _is_url(photo: str) -> bool:
    return photo.startswith(("http://", "https://"))


def _expand(photos: list[str]) -> Iterator[str]:
    from fahr_hf.models.pipeline_fahr_face import photo_files

    for photo in photos:
        if not _is_url(photo) and Path(photo).is_dir():
            yield from photo_files(photo)
        else:
            yield photo


def _open(task: Task, model: str | None, age_model: str | None, flip: bool) -> "tuple[FacePipeline, str]":
    """The pipeline, and what the table says has made its rows."""
    from transformers.utils import logging

    from fahr_hf.embedded import default_model
    from fahr_hf.pipelines import pipeline

    logging.disable_progress_bar()
    if task is Task.age:
        if age_model is not None:
            raise ValueError("--age-model belongs to the tasks survival and both; with age, give --model.")
        made_by = model or default_model("face-age")
        return pipeline("face-age", model, flip=flip), f"{made_by}, flip averaging" if flip else made_by
    if flip:
        raise ValueError("--flip belongs to the task age.")
    made_by = f"{model or default_model('face-survival')}, ages by {age_model or default_model('face-age')}"
    return pipeline("face-survival", model, age_model=age_model), made_by


def _with_progress(records: Iterable[dict[str, Any]], total: int, hidden: bool) -> Iterable[dict[str, Any]]:
    from tqdm import tqdm

    # In a log file, where every update is a new line, now and then is enough.
    seconds = 0.2 if sys.stderr.isatty() else 30
    return tqdm(records, total=total, unit="photo", file=sys.stderr, mininterval=seconds, disable=hidden)


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
    from fahr_hf.tables import shown

    if record["error"]:
        typer.echo(f"{shown(record['photo'])}: {record['error']}")
    for number, face in enumerate(record["faces"], 1):
        doubt = f" [{face['warning']}]" if face["warning"] else ""
        typer.echo(f"{shown(record['photo'])}: {label(number, face)}{doubt}")


def _places(photos: list[str], folder: Path) -> Callable[[str], Path]:
    """Where the annotated copy of a photo goes: as deep in the folder as the photo lies in what all share.

    Raises:
        ValueError: a URL, or a folder where copies would be taken for photos, or take their place.
    """
    if any(_is_url(photo) for photo in photos):
        raise ValueError("--annotate draws into copies of files, and cannot with a URL; save the photo first.")
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
