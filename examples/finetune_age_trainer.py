"""The same with `transformers.Trainer`, for those who have their own loop, logging or hyperparameter search around it.

    python examples/finetune_age_trainer.py CROPS OUT

`CROPS` is a folder of aligned faces as `finetune_age.py` leaves it in `RUN/crops`, or as `fahr-hf data crops` makes it.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction, Trainer, TrainingArguments

import fahr_hf
from fahr_hf import FahrFaceForAgeEstimation, FahrFaceImageProcessor
from fahr_hf.data.crops import Crops, load_crops
from fahr_hf.metrics import mean_absolute_error

START = fahr_hf.checkpoint("fahr-faceage-tiny")


class Faces(torch.utils.data.Dataset):
    """Crops as the model takes them; those to learn from are mirrored half of the time."""

    def __init__(self, crops: Crops, mirror: bool):
        self.crops, self.mirror, self.ages = crops, mirror, crops.column("age")
        self.processor = FahrFaceImageProcessor.from_pretrained(START)

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> dict[str, Any]:
        view = self.crops.framed(index)
        if self.mirror and torch.rand(()) < 0.5:
            view = np.ascontiguousarray(view[:, ::-1])
        return {"pixel_values": self.processor.normalize_crops(view[None])[0], "labels": float(self.ages[index])}


def errors(prediction: EvalPrediction) -> dict[str, float]:
    """Mean absolute error in years; the model answers with logits and ages."""
    _, ages = prediction.predictions
    return {"mae": mean_absolute_error(prediction.label_ids, ages)}


def main() -> None:
    """Train, keep the best epoch on the validation photos, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=16)
    arguments = parser.parse_args()

    trainer = Trainer(
        FahrFaceForAgeEstimation.from_pretrained(START),
        TrainingArguments(
            output_dir=str(arguments.out / "run"),
            num_train_epochs=arguments.epochs,
            per_device_train_batch_size=arguments.batch_size,
            learning_rate=1e-4,
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=2,
            load_best_model_at_end=True,
            metric_for_best_model="mae",
            greater_is_better=False,
            dataloader_pin_memory=torch.cuda.is_available(),
            report_to="none",
        ),
        train_dataset=Faces(load_crops(arguments.crops, ["train"]), mirror=True),
        eval_dataset=Faces(load_crops(arguments.crops, ["validation"]), mirror=False),
        compute_metrics=errors,
    )
    trainer.train()
    print(trainer.evaluate())
    trainer.save_model(str(arguments.out / "model"))
    FahrFaceImageProcessor.from_pretrained(START).save_pretrained(arguments.out / "model")


if __name__ == "__main__":
    main()
