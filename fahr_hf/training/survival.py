"""The survival recipe: aligned crops and outcomes in, a `FahrFaceForSurvival` out.

A step scores one photo of each of its people and compares the scores of all of them, in whichever batches and
processes, by the model's own loss. The paper trains with a ranking loss and publishes neither its formula nor how it
was run; the order of people, the offset and all settings here are ours.

An offset is a log hazard that is known without the face, such as that of a Cox model of age and sex. It is added to the
score within the loss, so that the face learns what the covariates do not say, and has nothing to learn where it only
repeats them.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import norm

from fahr_hf.clinical.concordance import concordance
from fahr_hf.data.crops import Crops
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFaceForSurvival
from fahr_hf.training.augmentation import STRONG, Augmentation
from fahr_hf.training.death_order import spread_deaths
from fahr_hf.training.people import OUTCOMES, People, PersonSamples, people_of
from fahr_hf.training.recipe import JointLoss, Recipe, Settings
from fahr_hf.training.samples import frames_of
from fahr_hf.training.views import Views, plain_batches

# Photos that a run shows, all epochs together; more where that would be too few epochs.
_SHOWN = 40_000
_CONFIDENCE = 0.95


def survival_settings(people: int) -> Settings:
    """How long and how fast, for a few hundred to tens of thousands of people; ours, and a start for one's own.

    Small sets are seen often in small batches, large ones seldom in large ones: 300 people 30 times by 32, 2,000 people
    20 times by 128, and 30,000 people 5 times by 256. A run ends where a third of its epochs, but at least four, have
    not bettered the concordance of the validation people.

    Args:
        people: To learn from, at least 1.
    """
    batch_size = min(people, max(16, min(256, 1 << (people // 16).bit_length())))
    epochs = max(5, min(30, _SHOWN // people))
    return Settings(epochs, batch_size, learning_rate=3e-4, layer_decay=0.75, warmup=0.1, patience=max(4, epochs // 3))


def survival_recipe(
    model: FahrFaceForSurvival,
    processor: FahrFaceImageProcessor,
    train: Crops,
    validation: Crops,
    seed: int = 0,
    *,
    augmentation: Augmentation = STRONG,
    least_deaths: int = 8,
    memory: int = 0,
) -> Recipe:
    """Survival by the model's own loss on augmented crops, one a person and epoch; the best epoch by concordance.

    On validation people, whose score is the mean over their crops, each epoch has Harrell's `concordance` of score +
    offset, its 95 % interval `concordance_low` to `concordance_high`, `one_minus_concordance`, and where there is an
    offset `concordance_face`, that of the score alone. They choose the epoch, and so flatter the model a little.

    Args:
        model: Trained in place.
        processor: Normalises the crops; those of `train` and `validation` were cut with it.
        train: Crops with outcomes, see `people_of`, of the part `train` and nothing else.
        validation: The same of the part `validation`.
        seed: Of the augmentation, and of the crop that is drawn of a person.
        augmentation: How far the views of a photo differ.
        least_deaths: That every step should have, at least 1; see `spread_deaths`.
        memory: People whose past scores each step is compared with as well, which is approximate (`ScoreMemory`);
            0: none.

    Raises:
        ValueError: as `people_of`, or an offset in one part only.
    """
    people, held_out = people_of(train, "train"), people_of(validation, "validation")
    with_offset = ["offset" in crops.table.column_names for crops in (train, validation)]
    if with_offset[0] != with_offset[1]:
        raise ValueError("Only one of the parts train and validation has the column offset; both need it, or neither.")

    # As float32 numbers, which tell 16 million people apart.
    labels = (*OUTCOMES, "person") if memory else OUTCOMES

    def score(model: torch.nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
        return model(pixel_values=batch["pixel_values"]).risk

    def loss(
        risk: torch.Tensor, duration: torch.Tensor, event: torch.Tensor, entry: torch.Tensor, offset: torch.Tensor
    ) -> torch.Tensor:
        return model.survival_loss(risk + offset, duration, event, entry)

    def validate(model: Any) -> dict[str, float]:
        return _figures(held_out, held_out.mean(predict_risks(model, processor, validation)), with_offset[1])

    return Recipe(
        model=model,
        processor=processor,
        samples=PersonSamples(train, people, seed),
        collate=Views(processor, frames_of(train), seed, augmentation, {name: name for name in labels}),
        loss=None,
        joint=JointLoss(score, loss, labels, memory),
        order=functools.partial(spread_deaths, people.event, least_deaths),
        validate=validate,
        monitor="one_minus_concordance",
    )


@torch.inference_mode()
def predict_risks(model: FahrFaceForSurvival, processor: FahrFaceImageProcessor, crops: Crops) -> np.ndarray:
    """Risk scores, (n,) float64, of crops as the processor cuts them; the model is in evaluation mode.

    Always in float32, as the pipeline does: half precision knows too few numbers to tell thousands of people apart.
    """
    device = next(model.parameters()).device
    with torch.autocast(device.type, enabled=False):
        # Not by `forward`, into which the training loop puts autocast.
        risks = [
            model.survival_head(model.backbone(pixel_values).pooler_output)[:, 0].double().cpu().numpy()
            for pixel_values in plain_batches(processor, crops, device)
        ]
    return np.concatenate(risks)


@torch.no_grad()
def start_head(model: FahrFaceForSurvival) -> None:
    """Let an untrained head score everybody alike, so that training begins at the offset and at no chance opinion."""
    model.survival_head.weight.zero_()
    model.survival_head.bias.zero_()


def _figures(people: People, risk: np.ndarray, has_offset: bool) -> dict[str, float]:
    c, se = concordance(people.event, people.duration, risk + people.offset, people.entry)
    width = float(norm.ppf(0.5 + _CONFIDENCE / 2)) * se
    figures = {
        "concordance": c,
        "concordance_low": max(0.0, c - width),
        "concordance_high": min(1.0, c + width),
        "one_minus_concordance": 1 - c,
    }
    if has_offset:
        figures["concordance_face"] = concordance(people.event, people.duration, risk, people.entry)[0]
    return figures
