"""The pre-training recipe: a masked autoencoder (He et al. 2022) on aligned crops, without any label.

The paper pre-trains its backbone so, on 42 million photos; its mask ratio, decoder, batch, rates and augmentation are
not published, and those here are He et al.'s where nothing else is said.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from PIL import Image

from fahr_hf.data.crops import Crops, is_cache, join, load_crops
from fahr_hf.data.streams import CropStream
from fahr_hf.metrics import mean_absolute_error
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFaceForPreTraining
from fahr_hf.training.augmentation import random_resized_crop
from fahr_hf.training.loop import train
from fahr_hf.training.probe import probe_ages
from fahr_hf.training.randomness import sample_generator
from fahr_hf.training.recipe import Batch, Recipe, Samples, Settings
from fahr_hf.training.reconstructions import draw_reconstructions
from fahr_hf.training.run_record import describe_model, recorded
from fahr_hf.training.samples import CropSamples, check_part, frames_of

_VALIDATION_BATCH = 128
# As many as tell whether the features improve; all of a large set would cost more than they tell.
_PROBED = 2000
_FEWEST_PROBED = 100
_DRAWN = 8
_LABELS = ("source", "photo_id", "part", "age")
_NO_FRAMES = np.empty((0, 4, 2), np.float32)
# He et al. (2022), appendix A.1: for 256 images a step.
_BASE_RATE, _BASE_BATCH = 1.5e-4, 256


def pretraining_settings(
    epochs: int,
    batch_size: int,
    accumulation: int = 1,
    processes: int = 1,
    learning_rate: float | None = None,
    seed: int = 0,
    mixed_precision: str = "bf16",
) -> Settings:
    """He et al.'s schedule (2022, appendix A.1): AdamW with a second moment of .95, warm-up, half a cosine.

    Args:
        epochs: Passes over the samples; He et al. take 800 to 1,600.
        batch_size: Samples that a process takes through the model at once.
        accumulation: Such batches a step.
        processes: Which share a step.
        learning_rate: The highest; if not given, He et al.'s 1.5e-4 for each 256 samples of a step.
        seed: Of everything random.
        mixed_precision: `"bf16"` or `"no"`.
    """
    step = batch_size * accumulation * processes
    return Settings(
        epochs=epochs,
        batch_size=batch_size,
        accumulation=accumulation,
        learning_rate=learning_rate or _BASE_RATE * step / _BASE_BATCH,
        weight_decay=0.05,
        beta2=0.95,
        warmup=0.05,
        seed=seed,
        mixed_precision=mixed_precision,
    )


def load_pretraining_crops(
    sources: Sequence[str | Path], stream: bool, seed: int = 0
) -> tuple[CropSamples | CropStream, np.ndarray, Crops | None]:
    """What `pretraining_recipe` takes, from crop caches and shards.

    Args:
        sources: Crop caches; with `stream` also WebDataset tars, see `Shards`.
        stream: Whether crops of the part `train` are read as they are needed, or all into memory.
        seed: Of the stream's order.

    Returns:
        The samples of the part `train`; frames for their augmentation; and up to 2,000 crops of the part
        `validation`, evenly spread over the caches, or None where there are none.

    Raises:
        ValueError: no crops of the part `train`.
    """
    caches = [source for source in sources if is_cache(source)]
    validation = [load_crops(cache, ["validation"], limit=_PROBED // len(caches)) for cache in caches]
    held_out = join(validation, _LABELS) if sum(map(len, validation)) else None
    if stream:
        # Frames of a few photos serve as well as all.
        return CropStream(sources, seed=seed), _NO_FRAMES if held_out is None else frames_of(held_out), held_out
    fit = join([load_crops(source, ["train"]) for source in sources], _LABELS)
    if not len(fit):
        raise ValueError(f"No crops of the part 'train' in {', '.join(map(str, sources))}.")
    return CropSamples(fit), frames_of(fit), held_out


def pretrain(
    model: FahrFaceForPreTraining,
    processor: FahrFaceImageProcessor,
    samples: Samples | CropStream,
    frames: np.ndarray,
    validation: Crops | None,
    settings: Settings,
    folder: str | Path,
    workers: int = 0,
) -> None:
    """Run the recipe, with a `run.json` that says what the run is and what it cost; a run that was begun goes on.

    Args:
        model: Trained in place.
        processor: As `pretraining_recipe`, also the next three.
        samples: See there.
        frames: See there.
        validation: See there.
        settings: How long and how fast.
        folder: Of the run; receives `model` in the end.
        workers: Processes that load, beside the one that trains.

    Raises:
        ValueError: as `pretraining_recipe` and `train`, or `folder` holds another run.
    """
    recipe = pretraining_recipe(model, processor, samples, frames, validation, settings.seed)
    state = PartialState(cpu=not torch.accelerator.is_available())
    description = {
        "stage": {"name": "pretraining", "settings": asdict(settings)},
        "model": describe_model(model),
        "data": {"train": {"photos": len(samples)}, "validation": _described(validation)},
        "processes": state.num_processes,
    }
    with recorded(Path(folder), description, model) if state.is_main_process else nullcontext():
        train(recipe, settings, folder, workers)


def _described(validation: Crops | None) -> dict[str, Any] | None:
    if validation is None:
        return None
    names = sorted(set(validation.column("source")))
    with_age = int(np.isfinite(validation.column("age").astype(float)).sum())
    return {"name": ", ".join(names), "photos": len(validation), "with_age": with_age}


def pretraining_recipe(
    model: FahrFaceForPreTraining,
    processor: FahrFaceImageProcessor,
    samples: Samples | CropStream,
    frames: np.ndarray,
    validation: Crops | None = None,
    seed: int = 0,
) -> Recipe:
    """Masked pre-training; what is hidden in a view belongs to the sample, as its augmentation does.

    Args:
        model: Trained in place.
        processor: Normalises the crops; they were cut with it.
        samples: `CropSamples` or a `CropStream` of the part `train`.
        frames: See `augment`.
        validation: Crops of the part `validation`, if there are any, for pictures and figures: `validation_loss`, the
            loss on crops as the processor cuts them; and where at least a hundred have an age, `probe_mae` (years)
            and `probe_r` of a linear probe on frozen [CLS] features (see `probe_ages`).
        seed: Of augmentation and masks.

    Raises:
        ValueError: validation crops of another part.
    """
    if validation is not None:
        check_part(validation, "validation")
    views = _MaskedViews(processor, frames, model.config.image_size, model.config.num_patches, seed)

    def loss(model: torch.nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        del generator
        return model(pixel_values=batch["pixel_values"], noise=batch["noise"]).loss

    def validate(model: Any) -> dict[str, float]:
        return {} if validation is None else _figures(model, processor, validation)

    def draw(model: Any) -> Image.Image | None:
        if validation is None:
            return None
        pixel_values, noise = next(_validation_batches(model, processor, validation))
        return draw_reconstructions(model, processor, pixel_values[:_DRAWN], noise[:_DRAWN])

    return Recipe(
        model=model,
        processor=processor,
        samples=samples,
        collate=views,
        loss=loss,
        validate=validate,
        draw=draw,
    )


@dataclass(frozen=True)
class _MaskedViews:
    """Samples to a batch; a class and no closure, so that worker processes can be started with it."""

    processor: FahrFaceImageProcessor
    frames: np.ndarray
    side: int
    patches: int
    seed: int

    def __call__(self, samples: list[dict[str, Any]]) -> Batch:
        generators = [sample_generator(self.seed, sample["epoch"], sample["index"]) for sample in samples]
        views = [
            random_resized_crop(sample["image"], sample["corners"], self.frames, self.side, generator)
            for sample, generator in zip(samples, generators, strict=True)
        ]
        noise = [generator.random(self.patches, np.float32) for generator in generators]
        return {
            "pixel_values": torch.from_numpy(self.processor.normalize_crops(np.stack(views))),
            "noise": torch.from_numpy(np.stack(noise)),
            "name": [sample["name"] for sample in samples],
        }


def _validation_batches(
    model: FahrFaceForPreTraining, processor: FahrFaceImageProcessor, crops: Crops
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pixel values and mask noise, the same in every epoch."""
    device = next(model.parameters()).device
    noise = torch.from_numpy(np.random.default_rng(0).random((len(crops), model.config.num_patches), np.float32))
    for start in range(0, len(crops), _VALIDATION_BATCH):
        stop = min(start + _VALIDATION_BATCH, len(crops))
        views = np.stack([crops.framed(index) for index in range(start, stop)])
        yield torch.from_numpy(processor.normalize_crops(views)).to(device), noise[start:stop].to(device)


def _figures(model: FahrFaceForPreTraining, processor: FahrFaceImageProcessor, crops: Crops) -> dict[str, float]:
    losses, features = [], []
    for pixel_values, noise in _validation_batches(model, processor, crops):
        losses += [model(pixel_values=pixel_values, noise=noise).loss.item()] * len(pixel_values)
        features.append(model.backbone(pixel_values).pooler_output.float().cpu().numpy())
    return {"validation_loss": float(np.mean(losses)), **_probe(np.concatenate(features), crops)}


def _probe(features: np.ndarray, crops: Crops) -> dict[str, float]:
    ages = crops.column("age").astype(float)
    known = np.isfinite(ages)
    if known.sum() < _FEWEST_PROBED:
        return {}
    predicted = probe_ages(features[known], ages[known])
    return {
        "probe_mae": mean_absolute_error(ages[known], predicted),
        "probe_r": float(np.corrcoef(ages[known], predicted)[0, 1]),
    }
