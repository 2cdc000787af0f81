"""What `fahr-hf predict` was asked for, the pipeline that answers it, and how a run is watched."""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import torch

    from fahr_hf.models.pipeline_fahr_face import FacePipeline

_NOTICE = "These are research estimates. They are no medical advice and no basis for a decision about a person."
_NOTICE_OF_RISKS = (
    "A risk and its percentile place a face within the cohort of the model, and say nothing reliable about a person's "
    "life."
)


class Task(StrEnum):
    """What `predict` can be asked for."""

    age = "age"
    survival = "survival"
    both = "both"


class Precision(StrEnum):
    """What `predict` can compute in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


@dataclass(frozen=True)
class Prediction:
    """What is asked of each photo.

    Args:
        task: What to predict.
        model: Embedded checkpoint, folder, or name on the Hub; None for the default.
        age_model: For survival, the same for the ages.
        flip: Average each face and its mirror image.
        adult: Whether everybody shown is declared an adult.
        dtype: What the models compute in.

    Raises:
        ValueError: these do not go together.
    """

    task: Task
    model: str | None = None
    age_model: str | None = None
    flip: bool = False
    adult: bool = False
    dtype: Precision = Precision.float32

    def __post_init__(self) -> None:
        if self.task is Task.age:
            if self.age_model is not None:
                raise ValueError("--age-model belongs to the tasks survival and both; with age, give --model.")
            return
        if not self.adult:
            raise ValueError(
                f"--task {self.task} needs --adult, which declares that everybody shown is an adult. Faces whose "
                "predicted age is below 25 years are refused all the same."
            )
        if self.flip:
            raise ValueError("--flip belongs to the task age.")

    @property
    def notice(self) -> str:
        """What has to be said before the answers."""
        return _NOTICE if self.task is Task.age else f"{_NOTICE} {_NOTICE_OF_RISKS}"

    @property
    def made_by(self) -> str:
        """What a table says has made its rows."""
        from fahr_hf.embedded import default_model

        if self.task is Task.age:
            made_by = self.model or default_model("face-age")
            made_by += ", flip averaging" if self.flip else ""
        else:
            use = "ages" if self.task is Task.both else "refusals"
            ages = self.age_model or default_model("face-age")
            made_by = f"{self.model or default_model('face-survival')}, {use} by {ages}"
        return made_by if self.dtype is Precision.float32 else f"{made_by}, {self.dtype}"

    def open(self, device: "torch.device | None" = None) -> "FacePipeline":
        """Load the models."""
        from transformers.utils import logging

        from fahr_hf.pipelines import pipeline

        logging.disable_progress_bar()
        if self.task is Task.age:
            return pipeline("face-age", self.model, flip=self.flip, device=device, dtype=self.dtype.value)
        return pipeline("face-survival", self.model, age_model=self.age_model, device=device, dtype=self.dtype.value)

    def records(self, pipeline: "FacePipeline", photos: Iterable[str]) -> Iterator[dict[str, Any]]:
        """What the pipeline's `records` yields, less what was not asked for."""
        options: dict[str, Any] = {} if self.task is Task.age else {"adult": self.adult}
        for record in pipeline.records(photos, **options):
            if self.task is Task.survival:
                # The ages were only there to refuse the young.
                record["faces"] = [{**face, "age": None, "interval": None} for face in record["faces"]]
            yield record


def say(text: str) -> None:
    """Tell the user, beside the output."""
    typer.echo(text, err=True)


def progress(total: int, hidden: bool = False, name: str | None = None) -> Any:
    """A bar on standard error with the rate and the time that remains; for a `with` statement."""
    from tqdm import tqdm

    # In a log file, where every update is a new line, now and then is enough.
    seconds = 0.2 if sys.stderr.isatty() else 30
    return tqdm(total=total, unit="photo", file=sys.stderr, mininterval=seconds, disable=hidden, desc=name)


def watched(records: Iterable[dict[str, Any]], bar: Any, see: Callable[[dict[str, Any]], None]) -> Iterator[Any]:
    """The records as they come, each of them shown to `see` and counted by the bar."""
    for record in records:
        see(record)
        yield record
        bar.update()
