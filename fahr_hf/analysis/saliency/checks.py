"""Whether maps can be trusted: they change when the weights become random, and what they mark matters to the answer."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from fahr_hf.analysis.saliency.methods import answers
from fahr_hf.models.modeling_fahr_face import FahrFacePreTrainedModel

_BATCH = 32
_RANDOM_ORDERS = 4


def randomised(model: FahrFacePreTrainedModel, seed: int = 0) -> Iterator[tuple[str, FahrFacePreTrainedModel]]:
    """A model with ever more of its weights drawn anew, from the head down to the pixels (Adebayo et al. 2018).

    A map that stays as it was shows edges of the photo, or the middle of the crop, and nothing that the model learned.

    Args:
        model: What is checked; left as it is.
        seed: Of the new weights.

    Yields:
        What is random by now (`"head"`, `"upper half of the layers"`, `"all layers"`, `"everything"`), and the model;
        the same object each time, changed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random: Any = type(model)(model.config).to(model.device, model.dtype).eval()  # type: ignore[arg-type]
    trained, fresh = model.state_dict(), {key: value.clone() for key, value in random.state_dict().items()}
    layers = [f"layers.{index}." for index in range(model.config.num_hidden_layers)]
    head = (f"{model.head_name}.", "norm.")
    stages = {
        "head": head,
        "upper half of the layers": (*head, *layers[len(layers) // 2 :]),
        "all layers": (*head, *layers),
        "everything": ("",),
    }
    for name, groups in stages.items():
        prefix = f"{model.base_model_prefix}."
        mixed = {key: fresh[key] if key.removeprefix(prefix).startswith(groups) else trained[key] for key in trained}
        random.load_state_dict(mixed)
        yield name, random


def rank_correlations(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's correlation of two maps of the same crop, photo by photo, over the pixels' absolute values.

    Args:
        maps: (n, height, width).
        others: The same shape.

    Returns:
        (n,), -1 to 1; NaN where a map has the same value everywhere.
    """
    first, second = (rankdata(abs(values).reshape(len(values), -1), axis=1) for values in (maps, others))
    first, second = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (first, second))
    products = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    with np.errstate(invalid="ignore"):
        return (first * second).sum(axis=1) / products


def token_means(maps: np.ndarray, side: int) -> np.ndarray:
    """Means of maps (n, height, width) over the tokens' places, squares of `side` pixels: (n, tokens)."""
    n, height, width = maps.shape
    return maps.reshape(n, height // side, side, width // side, side).mean(axis=(2, 4)).reshape(n, -1)


@torch.no_grad()
def covering_curves(
    model: FahrFacePreTrainedModel, pixel_values: torch.Tensor, maps: np.ndarray, steps: int = 7, seed: int = 0
) -> dict[str, np.ndarray]:
    """Deletion and insertion (Petsiuk et al. 2018): how far the answer moves as ever more of a crop is covered.

    What is covered, with the colour that `occlusion_maps` takes, are tokens' places, in the order of a map's absolute
    values. Random orders, of which the mean of four is taken, cover places of the same kind, so that all suffer alike
    from holes that no face has.

    Args:
        model: As for `saliency_maps`.
        pixel_values: (n, channels, height, width).
        maps: Of these crops, (n, height, width).
        steps: In how many steps everything is covered.
        seed: Of the random orders.

    Returns:
        Three arrays (n, 1 + steps): the absolute change of the answer with none, 1 / steps, ... and all of the crop
        covered: `"deletion"`, the most salient places first; `"insertion"`, the most salient places last, which read
        from the right is the insertion of the most salient first; and `"random"`. A map that marks what matters has
        deletion above random and insertion below.
    """
    side = model.config.patch_size
    cells = token_means(abs(maps), side)
    generator = np.random.default_rng(seed)
    drawn = (np.argsort(generator.random(cells.shape), axis=1) for _ in range(_RANDOM_ORDERS))
    return {
        "deletion": _change(model, pixel_values, np.argsort(-cells, axis=1, kind="stable"), steps),
        "insertion": _change(model, pixel_values, np.argsort(cells, axis=1, kind="stable"), steps),
        "random": np.mean([_change(model, pixel_values, order, steps) for order in drawn], axis=0),
    }


def _change(model: FahrFacePreTrainedModel, pixel_values: torch.Tensor, order: np.ndarray, steps: int) -> np.ndarray:
    side = model.config.patch_size
    places = np.argsort(order, axis=1)
    height, width = pixel_values.shape[2] // side, pixel_values.shape[3] // side
    results = []
    for covered in np.linspace(0, order.shape[1], 1 + steps).round():
        kept = torch.from_numpy(places >= covered).to(pixel_values).reshape(-1, 1, height, width)
        mask = kept.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
        found = [answers(model, batch) for batch in (pixel_values * mask).split(_BATCH)]
        results.append(torch.cat(found).double().cpu().numpy())
    by_step = np.stack(results, axis=1)
    return abs(by_step - by_step[:, :1])
