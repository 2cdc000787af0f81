"""The age recipe: aligned crops and true ages in, a `FahrFaceForAgeEstimation` out.

A model with a convolution stem is trained in two runs of the same recipe. `StemForAgeEstimation` trains stem and head
alone, several times faster than the whole; `with_layers` then puts the transformer layers between them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers.utils.generic import can_return_tuple

from fahr_hf.data.crops import Crops, join, load_crops
from fahr_hf.metrics import mean_absolute_error
from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFaceAgeOutput, FahrFaceForAgeEstimation, FahrFaceLayer
from fahr_hf.training.augmentation import MILD, Augmentation
from fahr_hf.training.balance import BalancedSamples
from fahr_hf.training.recipe import Batch, Recipe, Samples
from fahr_hf.training.samples import CropSamples, check_part, frames_of
from fahr_hf.training.views import Views, plain_batches

# Least probability of what no photo shows.
_RARELY = 1e-4


def load_age_crops(folders: Sequence[str | Path]) -> tuple[Crops, dict[str, Crops]]:
    """Crops of the part `train` of all folders as one, and those of the part `validation` by the folder's name.

    Raises:
        ValueError: two folders of one name.
    """
    paths = [Path(folder) for folder in folders]
    validation = {path.name: load_crops(path, ["validation"]) for path in paths}
    if len(validation) < len(paths):
        raise ValueError(f"Figures are named after folders, and two of {', '.join(map(str, paths))} have one name.")
    return join([load_crops(path, ["train"]) for path in paths], ["source", "photo_id", "age", "part"]), validation


def age_recipe(
    model: FahrFaceForAgeEstimation,
    processor: FahrFaceImageProcessor,
    train: Crops,
    validation: Mapping[str, Crops],
    seed: int = 0,
    *,
    balance: float = 0.0,
    cap: float = 4.0,
    augmentation: Augmentation = MILD,
) -> Recipe:
    """Age estimation by the model's own loss on augmented crops.

    Args:
        model: Trained in place.
        processor: Normalises the crops; those of `train` and `validation` were cut with it.
        train: Crops with ages, of the part `train` and nothing else; see `CropSamples`.
        validation: Named sets of crops, of the part `validation`; each gives the figure `mae_<name>`, in years, on
            crops as the processor cuts them. Their mean, `mae`, chooses the best epoch. May be empty.
        seed: Of the augmentation, and of the balanced draw.
        balance: How evenly ages are drawn, 0 (every photo once an epoch) to 1 (every age alike); see `balance`.
        cap: Most often that a photo is expected in an epoch, at least 1.
        augmentation: How far the views of a photo differ.

    Raises:
        ValueError: crops of a part that may not be used for this, or none, or crops without an age; `balance` or `cap`
            out of range.
    """
    for crops, part in ((train, "train"), *((crops, "validation") for crops in validation.values())):
        check_part(crops, part)
    ages = train.column("age").astype(np.float32)
    if not np.isfinite(ages).all():
        raise ValueError(f"{(~np.isfinite(ages)).sum()} of {len(train)} crops have no age; leave them out.")
    photos = CropSamples(train, ["age"])
    samples: Samples = BalancedSamples(photos, balance, cap, seed) if balance else photos
    views = Views(processor, frames_of(train), seed, augmentation, {"labels": "age"})

    def loss(model: torch.nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        del generator
        return model(pixel_values=batch["pixel_values"], labels=batch["labels"]).loss

    def validate(model: torch.nn.Module) -> dict[str, float]:
        errors = {
            f"mae_{name}": mean_absolute_error(crops.column("age"), predict_ages(model, processor, crops))
            for name, crops in validation.items()
        }
        return {**errors, "mae": float(np.mean(list(errors.values())))} if errors else {}

    return Recipe(
        model=model,
        processor=processor,
        samples=samples,
        collate=views,
        loss=loss,
        validate=validate,
        monitor="mae" if validation else None,
    )


@torch.inference_mode()
def predict_ages(model: torch.nn.Module, processor: FahrFaceImageProcessor, crops: Crops) -> np.ndarray:
    """Predicted ages in years, (n,) float64, of crops as the processor cuts them; the model is in evaluation mode."""
    batches = plain_batches(processor, crops, next(model.parameters()).device)
    ages = [model(pixel_values=pixel_values).age.double().cpu().numpy() for pixel_values in batches]
    return np.concatenate(ages)


@torch.no_grad()
def start_head(model: FahrFaceForAgeEstimation, ages: np.ndarray) -> None:
    """Let an untrained head answer with the distribution of `ages` (years, (n,)), so that no step is spent on it.

    With `age_output="years"` that is their median, which no other single answer is nearer to. With `"expectation"` the
    distribution is smoothed by the same Gaussian as the targets. With `"ordinal"` each output starts at the log odds
    of its own target.
    """
    config = model.config
    years = config.min_age + np.arange(config.num_age_outputs)
    if config.age_output == "years":
        bias = np.median(ages, keepdims=True)
    elif config.age_output == "expectation":
        distance = (years[:, None] - np.clip(ages, config.min_age, config.max_age)) / config.age_label_sigma
        density = np.exp(-0.5 * distance**2).mean(axis=1) + _RARELY
        bias = np.log(density / density.sum())
    else:
        above = (ages - years[:, None]).clip(0, 1).mean(axis=1).clip(_RARELY, 1 - _RARELY)
        bias = np.log(above / (1 - above))
    model.age_head.bias.copy_(torch.from_numpy(bias))


class StemForAgeEstimation(FahrFaceForAgeEstimation):
    """The age model without its transformer layers: the head reads the average of the stem's tokens.

    It has all the parameters of the whole model, those without use frozen, so its weights are a start for that;
    `with_layers` makes it.
    """

    def __init__(self, config: FahrFaceConfig):
        super().__init__(config)
        self.backbone.layers.requires_grad_(False)
        cast(FahrFaceLayer, self.backbone.layers[0]).attention_norm.requires_grad_(True)

    @can_return_tuple
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> FahrFaceAgeOutput:
        """As `FahrFaceForAgeEstimation.forward`."""
        del kwargs
        first = cast(FahrFaceLayer, self.backbone.layers[0])
        tokens = first.attention_norm(self.backbone.embeddings(pixel_values))
        logits = self.age_head(self.backbone.norm(tokens.mean(dim=1)))
        age = self._years(logits)
        return FahrFaceAgeOutput(
            loss=None if labels is None else self._loss(logits, age, labels), logits=logits, age=age
        )


@torch.no_grad()
def with_layers(stem: StemForAgeEstimation, **changes: Any) -> FahrFaceForAgeEstimation:
    """The whole model, which at first answers nearly as the trained stem alone.

    The first layer's attention begins as the average that the stem's head was trained on: values and output
    projection are the identity, and new queries and keys attend nearly evenly. All other branches begin at zero.

    Args:
        stem: Trained.
        **changes: To its configuration, such as `drop_path_rate`.
    """
    model = FahrFaceForAgeEstimation(FahrFaceConfig.from_dict({**stem.config.to_dict(), **changes}))
    model.load_state_dict(stem.state_dict())
    layers = cast(list[FahrFaceLayer], list(model.backbone.layers))
    for layer in layers:
        layer.attention.out_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    for projection in (layers[0].attention.v_proj, layers[0].attention.out_proj):
        torch.nn.init.eye_(projection.weight)
    return model
