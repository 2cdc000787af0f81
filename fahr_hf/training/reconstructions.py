"""What a masked autoencoder makes of faces, drawn: what it saw, what it painted, and the whole."""

import numpy as np
import torch
from PIL import Image

from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFaceForPreTraining

_GREY = 0.5


def draw_reconstructions(
    model: FahrFaceForPreTraining, processor: FahrFaceImageProcessor, pixel_values: torch.Tensor, noise: torch.Tensor
) -> Image.Image:
    """One row a face: what the encoder saw, the prediction in the hidden places, the original.

    A model with `norm_pix_loss` predicts patches up to their mean and deviation; those are taken from the original, as
    in the demonstration of He et al. (2022), so such pictures show structure and not brightness.

    Args:
        model: In evaluation mode.
        processor: Whose normalisation is undone.
        pixel_values: (n, channels, side, side).
        noise: (n, patches), see `FahrFaceForPreTraining.forward`.
    """
    output = model(pixel_values=pixel_values, noise=noise)
    patches = model.patchify(pixel_values).float()
    predicted = output.logits.float()
    if model.config.norm_pix_loss:
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        predicted = predicted * (variance + 1e-6) ** 0.5 + mean
    hidden = output.mask[:, :, None].bool()
    side = pixel_values.shape[-1]
    painted = model.unpatchify(torch.where(hidden, predicted, patches), side, side)
    seen = torch.where(hidden.expand_as(patches), torch.nan, patches)
    columns = [_pixels(image, processor) for image in (model.unpatchify(seen, side, side), painted, pixel_values)]
    rows = np.concatenate(columns, axis=2)
    return Image.fromarray(np.concatenate(list(rows), axis=0))


def _pixels(pixel_values: torch.Tensor, processor: FahrFaceImageProcessor) -> np.ndarray:
    """(n, side, side, 3) uint8; what is not a number becomes grey."""
    images = pixel_values.permute(0, 2, 3, 1).float().cpu().numpy()
    images = images * np.array(processor.image_std) + np.array(processor.image_mean)
    return (np.nan_to_num(images, nan=_GREY).clip(0, 1) * 255).round().astype(np.uint8)
