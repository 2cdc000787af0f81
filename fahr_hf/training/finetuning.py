"""Fine-tuning an age model on one's own photos: how long and how fast, and what stands beside the model in the end.

The head is trained first, on frozen features; then everything, or low-rank adapters in every layer, at a lower rate for
earlier layers. `benchmarks/finetune_age.py` measures what that buys.
"""

from pathlib import Path

import pandas as pd

from fahr_hf.calibration_tables import save_tables
from fahr_hf.conformal import fit_intervals
from fahr_hf.data.summary import Summary, summarise
from fahr_hf.embedded import locate
from fahr_hf.evaluation.age_report import age_report
from fahr_hf.evaluation.predictions import predict_table
from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
from fahr_hf.models.modeling_fahr_face import FahrFaceForAgeEstimation
from fahr_hf.reports.writing import write_report
from fahr_hf.training.age_stages import Stage
from fahr_hf.training.recipe import Settings

LEAST_FOR_INTERVALS = 200
"""Calibration photos below which a model gets no intervals: with fewer they would be wide, and vary by luck."""

# Photos that the stage after the head sees, all epochs together: minutes on a laptop.
_SHOWN = 4000


def finetuning_stages(
    n_photos: int,
    head_epochs: int | None = None,
    epochs: int | None = None,
    lora_rank: int | None = None,
    seed: int = 0,
) -> list[Stage]:
    """The stages `head` and `all`, or `head` and `lora`, for `age_stages.train_age`.

    Small sets are seen often in small batches, large ones seldom in large ones: 300 photos 13 times, 100,000 photos
    three times. Both stages keep their best epoch by the validation photos, and stop where several epochs have not
    bettered it. Ages are drawn as they come: the people of one's own photos are those that the model is for.

    Args:
        n_photos: To learn from, at least 1.
        head_epochs: Passes of the first stage, at least 1; None for 10, and 3 from 3,000 photos on.
        epochs: Passes of the second stage, at least 1; None for as many as show it 4,000 photos, but 3 to 20.
        lora_rank: Of adapters for the second stage; None to train the weights themselves.
        seed: Of everything random, at least 0.

    Raises:
        ValueError: no photos.
    """
    if n_photos < 1:
        raise ValueError(f"{n_photos} photos to fine-tune on; expected at least one.")
    # About ten steps an epoch, a power of two from 4 to 64, and never more than there are.
    batch_size = min(n_photos, max(4, min(64, 1 << (n_photos // 10).bit_length())))
    if head_epochs is None:
        head_epochs = 10 if n_photos < 3000 else 3
    if epochs is None:
        epochs = max(3, min(20, _SHOWN // n_photos))
    head = Settings(head_epochs, batch_size, learning_rate=1e-3, warmup=0.1, seed=seed, patience=3)
    stages = [Stage("head", head, balance=0.0, only_head=True)]
    if lora_rank is None:
        settings = Settings(
            epochs, batch_size, learning_rate=3e-4, layer_decay=0.75, warmup=0.1, seed=seed + 1, patience=6
        )
        return [*stages, Stage("all", settings, balance=0.0)]
    settings = Settings(epochs, batch_size, learning_rate=1e-3, warmup=0.1, seed=seed + 1, patience=6)
    return [*stages, Stage("lora", settings, balance=0.0, lora_rank=lora_rank)]


def finish_run(folder: str | Path, crops: str | Path, base_name: str) -> None:
    """Give a fine-tuned model its intervals, and a report on the validation photos.

    Writes `model/config.json` (intervals, where there are enough calibration photos) and `report`, in place of what an
    earlier call wrote; `fahr_hf.hub.cards.write_card` makes the card of them. The report compares with the checkpoint
    that the run started from, where that had a head for ages: fine-tuning need not help.

    Args:
        folder: Of the run, with the stages of `age_stages.train_age` and its `model`.
        crops: Those that it learned from, with parts `train`, `validation` and, for intervals, `calibration`.
        base_name: Of the checkpoint that it started from: embedded, a folder, or `org/name`.

    Raises:
        FileNotFoundError: no finished run, or no crops.
    """
    folder, crops = Path(folder).resolve(), Path(crops)
    model = folder / "model"
    if not (model / "config.json").is_file():
        raise FileNotFoundError(f"No finished run in {folder}: there is no {model / 'config.json'}.")
    summary = summarise(crops)
    _calibrate(model, crops, summary)
    table = predict_table(model, crops, "validation")
    photos_of = f"validation photos of {', '.join(summary.sources)}, which chose its epochs"
    other = _ages_of_start(base_name, crops, summary)
    rival = "" if other is None else "; the other system is the checkpoint that it started from"
    report = age_report(table, f"{folder.name} on {photos_of}{rival}", other)
    write_report(report, folder / "report")


def _calibrate(model: Path, crops: Path, summary: Summary) -> None:
    """Save a table of intervals where there are photos enough for one."""
    if "calibration" not in summary.parts or summary.parts["calibration"].photos < LEAST_FOR_INTERVALS:
        return
    photos = predict_table(model, crops, "calibration")[["age", "predicted"]].dropna()
    name = f"calibration part of {', '.join(summary.sources)}"
    table = fit_intervals(photos["age"].to_numpy(), photos["predicted"].to_numpy(), name, least=LEAST_FOR_INTERVALS)
    save_tables(model, {"age": table})


def _ages_of_start(base_name: str, crops: Path, summary: Summary) -> pd.DataFrame | None:
    """Answers of the checkpoint that the run started from, as another system's; None where they say nothing."""
    architectures = FahrFaceConfig.from_pretrained(locate(base_name)).architectures or ()
    validation = summary.parts["validation"]
    if FahrFaceForAgeEstimation.__name__ not in architectures or (validation.people or validation.photos) < 2:
        return None
    table = predict_table(base_name, crops, "validation")
    return pd.DataFrame({"id": table["photo_id"], "age": table["predicted"]}).dropna()
