"""Golden vectors: what a checkpoint answered to one portrait on the day it was published, kept beside its weights.

`golden.png` is the aligned crop of the portrait; `golden.json` holds the embedding and the output that the weights gave
for that crop, and the versions of the libraries that computed them. Crop and answers are kept apart since they are
exact to different degrees: the answers to a fixed crop repeat to a millionth, the crop itself to a grey level.

The portrait comes with the package: Eileen Collins, by NASA, in the public domain.
"""

import hashlib
import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor

PORTRAIT = Path(__file__).with_name("portrait.jpg")
NUMBERS_FILE = "golden.json"
CROP_FILE = "golden.png"

_MODELS = ("FahrFaceModel", "FahrFaceForPreTraining", "FahrFaceForAgeEstimation", "FahrFaceForSurvival")
# One patch after another at steps of the golden section, which leaves no large part of the face hidden or seen.
_MASK_STEP = 0.618034


@dataclass(frozen=True)
class Answers:
    """What a model gives for a crop.

    Args:
        embedding: [CLS] of the backbone after the final normalisation, hidden_size numbers.
        output: The head's own: `age` in years, `risk`, or the `loss` of painting a fixed set of hidden patches; empty
            for a backbone alone.
    """

    embedding: list[float]
    output: dict[str, float]


@dataclass(frozen=True)
class Golden:
    """The golden vectors of a checkpoint, as read.

    Args:
        crop: (height, width, 3) uint8.
        answers: To that crop.
        photo_sha256: Of the portrait that the crop was cut from.
        versions: Of Python and the libraries, by name, at that time.
    """

    crop: np.ndarray
    answers: Answers
    photo_sha256: str
    versions: dict[str, str]


def open_checkpoint(source: str, revision: str | None = None) -> "tuple[PreTrainedModel, FahrFaceImageProcessor]":
    """The model that a checkpoint was saved from, with its head, and its processor; on the CPU.

    Args:
        source: Folder, or `org/name` on the Hub.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ValueError: the checkpoint is of something else, or its weights do not fit.
        OSError: a file is missing, or the Hub cannot be reached.
    """
    from transformers import PreTrainedConfig

    from fahr_hf.models import modeling_fahr_face
    from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor

    config, _ = PreTrainedConfig.get_config_dict(source, revision=revision)
    architecture = (config.get("architectures") or [None])[0]
    if config.get("model_type") != FahrFaceConfig.model_type or architecture not in _MODELS:
        raise ValueError(
            f"{source!r} holds a {architecture} of the model_type {config.get('model_type')!r}; expected one of "
            f"{', '.join(_MODELS)}, saved with save_pretrained."
        )
    model = getattr(modeling_fahr_face, architecture).from_pretrained(source, revision=revision)
    return model.eval(), FahrFaceImageProcessor.from_pretrained(source, revision=revision)


def portrait_crop(processor: "FahrFaceImageProcessor") -> np.ndarray:
    """The portrait as the model sees it, (height, width, 3) uint8.

    Args:
        processor: With or without detection; without, the whole portrait is the crop.

    Raises:
        ValueError: the processor finds no face there.
    """
    if not processor.do_detect:
        # Without normalisation its values are the crop's own.
        values = processor.preprocess(PORTRAIT, return_tensors="np", do_normalize=False, do_rescale=False)
        return values["pixel_values"][0].astype(np.uint8).transpose(1, 2, 0)
    crops, _ = processor.crops(PORTRAIT)
    if not len(crops):
        raise ValueError(
            f"The processor finds no face in {PORTRAIT}, a plain portrait. Look at its settings "
            f"min_detection_score = {processor.min_detection_score} and max_detection_side = "
            f"{processor.max_detection_side}, and at the detector files."
        )
    return crops[0]


def answer(model: "PreTrainedModel", processor: "FahrFaceImageProcessor", crop: np.ndarray) -> Answers:
    """What a model gives for one crop, (height, width, 3) uint8, in float32 on the CPU."""
    import torch

    pixel_values = torch.from_numpy(processor.normalize_crops(crop[None]))
    with torch.no_grad():
        embedding = model.base_model(pixel_values=pixel_values).pooler_output[0]
        output = {}
        if type(model).__name__ == "FahrFaceForPreTraining":
            noise = torch.arange(model.config.num_patches, dtype=torch.float32) * _MASK_STEP % 1
            output = {"loss": model(pixel_values=pixel_values, noise=noise[None]).loss.item()}
        elif model is not model.base_model:
            result = model(pixel_values=pixel_values)
            output = {name: result[name].item() for name in ("age", "risk") if name in result}
    return Answers(_digits(embedding.tolist()), dict(zip(output, _digits(output.values()), strict=True)))


def write_golden(checkpoint: Path) -> None:
    """Write the golden vectors of a checkpoint, in place of earlier ones.

    Args:
        checkpoint: Folder.

    Raises:
        ValueError: as `open_checkpoint` and `portrait_crop`.
        OSError: as `open_checkpoint`.
    """
    from PIL import Image

    model, processor = open_checkpoint(str(checkpoint))
    crop = portrait_crop(processor)
    Image.fromarray(crop).save(checkpoint / CROP_FILE)
    numbers = {
        "photo": {"name": "Eileen Collins, portrait by NASA, public domain", "sha256": portrait_sha256()},
        "answers": asdict(answer(model, processor, crop)),
        "versions": versions(),
    }
    (checkpoint / NUMBERS_FILE).write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def read_golden(source: str, revision: str | None = None) -> Golden:
    """The golden vectors of a checkpoint.

    Args:
        source: Folder, or `org/name` on the Hub.
        revision: Branch, tag or commit on the Hub.

    Raises:
        OSError: the checkpoint has none, or the Hub cannot be reached.
    """
    from PIL import Image
    from transformers.utils import cached_file

    if Path(source).is_dir() and not all(Path(source, name).is_file() for name in (NUMBERS_FILE, CROP_FILE)):
        raise FileNotFoundError(
            f"{source!r} has no golden vectors ({NUMBERS_FILE} and {CROP_FILE}), so that there is nothing to compare "
            "with. Whoever made the checkpoint writes them: fahr-hf verify FOLDER --write."
        )
    numbers_file, crop_file = (str(cached_file(source, name, revision=revision)) for name in (NUMBERS_FILE, CROP_FILE))
    numbers = json.loads(Path(numbers_file).read_text(encoding="utf-8"))
    with Image.open(crop_file) as image:
        crop = np.asarray(image.convert("RGB"))
    return Golden(crop, Answers(**numbers["answers"]), numbers["photo"]["sha256"], numbers["versions"])


def portrait_sha256() -> str:
    """Of the portrait's file in this version of the package."""
    return hashlib.sha256(PORTRAIT.read_bytes()).hexdigest()


def versions() -> dict[str, str]:
    """Of Python and the libraries that an answer depends on."""
    import cv2
    import PIL
    import torch
    import transformers

    import fahr_hf

    modules = {"fahr-hf": fahr_hf, "torch": torch, "transformers": transformers, "opencv": cv2, "pillow": PIL}
    return {
        "python": platform.python_version(),
        **{name: module.__version__ for name, module in modules.items()},
        "numpy": np.__version__,
    }


def _digits(values: Iterable[float]) -> list[float]:
    """To the seven digits of a float32, so that the file holds no more than is known."""
    return [float(f"{value:.7g}") for value in values]
