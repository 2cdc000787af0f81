"""Scores of faces by a checkpoint: the risk of a survival model, or the age of an age model.

Higher means earlier death. Beside the portrait as it is, two views of it: without colour, and with the face painted
over, which leaves the model hair, background and margins only.
"""

from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd
import torch

import fahr_hf
from fahr_hf.data.crops import Crops
from fahr_hf.embedded import locate
from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor

_BATCH = 64
# Pixels of the aligned crop of 112: from above the brows to below the chin.
_CENTRE, _AXES = (56, 66), (42, 56)


def without_colour(view: np.ndarray) -> np.ndarray:
    """A crop in shades of grey, (side, side, 3) uint8."""
    return cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def without_face(view: np.ndarray) -> np.ndarray:
    """A crop with an ellipse of middle grey over the face, (side, side, 3) uint8."""
    return cv2.ellipse(view.copy(), _CENTRE, _AXES, 0, 0, 360, (127, 127, 127), thickness=cv2.FILLED)


VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "score": lambda view: view,
    "score_grey": without_colour,
    "score_masked": without_face,
}


@torch.inference_mode()
def score_faces(checkpoint: str, crops: Crops) -> pd.DataFrame:
    """Scores of everybody's portrait.

    Args:
        checkpoint: Embedded name, folder, or `org/name` on the Hub; a `FahrFaceForSurvival` or
            `FahrFaceForAgeEstimation`.
        crops: Cut as the checkpoint's processor cuts them.

    Returns:
        `subject_id`, and the columns of `VIEWS`; the mean over the photos of a person.

    Raises:
        ValueError: an unknown checkpoint, or one of another kind.
    """
    source = locate(checkpoint)
    kinds = {"FahrFaceForSurvival": "risk", "FahrFaceForAgeEstimation": "age"}
    kind = (FahrFaceConfig.from_pretrained(source).architectures or ["no architecture"])[0]
    if kind not in kinds:
        raise ValueError(f"{checkpoint} is {kind}; expected {' or '.join(kinds)}.")
    model = getattr(fahr_hf, kind).from_pretrained(source).eval()
    processor = FahrFaceImageProcessor.from_pretrained(source)
    found: dict[str, list[np.ndarray]] = {name: [] for name in VIEWS}
    for start in range(0, len(crops), _BATCH):
        views = [crops.framed(index) for index in range(start, min(start + _BATCH, len(crops)))]
        for name, change in VIEWS.items():
            pixels = torch.from_numpy(processor.normalize_crops(np.stack([change(view) for view in views])))
            found[name].append(getattr(model(pixel_values=pixels), kinds[kind]).double().numpy())
    scores = pd.DataFrame({name: np.concatenate(parts) for name, parts in found.items()})
    return scores.assign(subject_id=crops.column("subject_id")).groupby("subject_id", as_index=False).mean()
