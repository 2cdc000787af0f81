"""Four ways to say which places of a crop an answer depends on, all as maps on the crop.

They ask different questions, and where they disagree none of them is simply wrong; `checks` tells how far each can be
trusted for one's own model.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from fahr_hf.models.modeling_fahr_face import FahrFacePreTrainedModel
from fahr_hf.models.pipeline_fahr_face import occlusion_maps

_BATCH = 16
# Steps of the integral: with 32 a map's sum was on average 0.7 of 37 years from what it should be.
_STEPS = 32


def answers(model: FahrFacePreTrainedModel, pixel_values: torch.Tensor) -> torch.Tensor:
    """What is explained: predicted ages in years, or risks, (n,).

    Args:
        model: A `FahrFaceForAgeEstimation` or `FahrFaceForSurvival`.
        pixel_values: (n, channels, height, width).
    """
    output = model(pixel_values=pixel_values)
    return output.age if "age" in output else output.risk


def saliency_maps(model: FahrFacePreTrainedModel, pixel_values: torch.Tensor, method: str = "occlusion") -> np.ndarray:
    """Explain the answers of a model by one of `METHODS`.

    - `"occlusion"`: the answer less that with a square of the crop covered, one token's place at a time, by
      `occlusion_maps`; in years, or units of risk. The default, since on our models what it marks moved the answer
      most.
    - `"integrated_gradients"` (Sundararajan et al. 2017): gradients summed along the way from a grey crop to the face;
      a map's sum is the answer less that to the grey crop, so that every pixel has its years.
    - `"grad_cam"`: what each token gives [CLS] in the last layer, times how the answer depends on it. Grad-CAM
      (Selvaraju et al. 2017) averages gradients over the image before the product, which has lost its reason where
      tokens are not pooled; here each token keeps its own (Draelos and Carin 2020).
    - `"rollout"` (Abnar and Zuidema 2020): attention of [CLS] followed back through all layers. Never negative, and
      blind to the head: it says where the model looks, not what it makes of it.

    Args:
        model: A `FahrFaceForAgeEstimation` or `FahrFaceForSurvival` in evaluation mode.
        pixel_values: (n, channels, height, width) from the image processor, on the model's device; n at least 1.
        method: A key of `METHODS`.

    Returns:
        (n, height, width) float64. Positive where a place makes the face look older, or the risk higher. All but
        integrated gradients have one value a token, a square of `patch_size` pixels.

    Raises:
        ValueError: an unknown method.
        ImportError: captum, for the methods of gradients, is not installed.
    """
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}; there are {', '.join(METHODS)}.")
    batches = [METHODS[method](model, batch) for batch in pixel_values.split(_BATCH)]
    return torch.cat(batches).double().cpu().numpy()


@torch.no_grad()
def _occlusion(model: FahrFacePreTrainedModel, pixel_values: torch.Tensor) -> torch.Tensor:
    return occlusion_maps(lambda values: answers(model, values), pixel_values, model.config.patch_size)


def _integrated_gradients(model: FahrFacePreTrainedModel, pixel_values: torch.Tensor) -> torch.Tensor:
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(lambda values: answers(model, values))
    found = method.attribute(pixel_values, n_steps=_STEPS, internal_batch_size=2 * _BATCH)
    return found.detach().sum(dim=1)


def _grad_cam(model: FahrFacePreTrainedModel, pixel_values: torch.Tensor) -> torch.Tensor:
    from captum.attr import LayerGradientXActivation

    # Patches reach [CLS] for the last time here; behind the last layer the answer does not depend on them.
    backbone: Any = model.base_model
    layer = backbone.layers[-1].attention_norm
    found = LayerGradientXActivation(lambda values: answers(model, values), layer).attribute(pixel_values)
    return _on_crop(found.detach().sum(dim=2)[:, 1:], pixel_values)


@torch.no_grad()
def _rollout(model: FahrFacePreTrainedModel, pixel_values: torch.Tensor) -> torch.Tensor:
    attentions = model(pixel_values=pixel_values, output_attentions=True).attentions
    shortcut = torch.eye(attentions[0].shape[-1], device=pixel_values.device)
    flow = shortcut
    for weights in attentions:
        flow = (weights.float().mean(dim=1) + shortcut) / 2 @ flow
    return _on_crop(flow[:, 0, 1:], pixel_values)


def _on_crop(tokens: torch.Tensor, pixel_values: torch.Tensor) -> torch.Tensor:
    """Values of patch tokens (n, tokens) as maps; blocks and no smooth transition, since no finer detail is known."""
    height, width = pixel_values.shape[2:]
    rows = round((tokens.shape[1] * height / width) ** 0.5)
    grid = tokens.reshape(len(tokens), 1, rows, -1)
    return nn.functional.interpolate(grid, size=(height, width), mode="nearest")[:, 0]


METHODS: dict[str, Callable[[FahrFacePreTrainedModel, torch.Tensor], torch.Tensor]] = {
    "occlusion": _occlusion,
    "integrated_gradients": _integrated_gradients,
    "grad_cam": _grad_cam,
    "rollout": _rollout,
}
"""The methods by name."""
