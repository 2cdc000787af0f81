"""Which loss, which views, which balance? A short training each, from `fahr-face-tiny`, compared on validation photos.

    python benchmarks/age_losses.py --work WORK

`WORK` holds the crops that `age_weights.py crops` cut, and receives everything; a training that is finished is not
repeated. Two processes of one thread each are part of the batch size:

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 benchmarks/age_losses.py --work WORK

Every variant differs from the first in one respect, and sees the same photos as often. With one seed each, the
intervals of the differences hold what the choice of validation photos adds and not what the seed does. No test split is
opened.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from age_weights import material

from fahr_hf.data.crops import Crops
from fahr_hf.embedded import locate
from fahr_hf.metrics import mean_absolute_error
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFaceForAgeEstimation
from fahr_hf.resampling import bootstrap_interval
from fahr_hf.training.age import age_recipe, predict_ages, start_head
from fahr_hf.training.augmentation import MILD, STRONG, Augmentation
from fahr_hf.training.loop import train
from fahr_hf.training.recipe import Settings

SETTINGS = Settings(epochs=4, batch_size=32, learning_rate=1e-3, layer_decay=0.85, seed=0)
# Every third photo: time for several variants.
STEP = 3


@dataclass(frozen=True)
class Variant:
    """One way to train."""

    age_output: str = "expectation"
    augmentation: Augmentation = STRONG
    balance: float = 0.5


VARIANTS = {
    "expectation": Variant(),
    "years": Variant(age_output="years"),
    "ordinal": Variant(age_output="ordinal"),
    "mild views": Variant(augmentation=MILD),
    "no balance": Variant(balance=0.0),
    "full balance": Variant(balance=1.0),
}


def run(name: str, fit: Crops, validation: dict[str, Crops], work: Path) -> None:
    """Train one variant, and keep its ages of the validation photos."""
    folder, variant = work / "losses" / name.replace(" ", "-"), VARIANTS[name]
    if all((folder / f"{held}.npy").exists() for held in validation):
        return
    torch.manual_seed(SETTINGS.seed)
    model = FahrFaceForAgeEstimation.from_pretrained(
        locate("fahr-face-tiny"), age_output=variant.age_output, drop_path_rate=0.1
    )
    # On a CPU the fused attention's backward pass is slower for so few tokens.
    model.set_attn_implementation("eager")
    start_head(model, fit.column("age"))
    processor = FahrFaceImageProcessor()
    recipe = age_recipe(
        model, processor, fit, {}, SETTINGS.seed, balance=variant.balance, augmentation=variant.augmentation
    )
    train(recipe, SETTINGS, folder, keep=1)
    if PartialState().is_main_process:
        for held, crops in validation.items():
            np.save(folder / f"{held}.npy", predict_ages(model.eval(), processor, crops))
    PartialState().wait_for_everyone()


def report(validation: dict[str, Crops], work: Path) -> str:
    """Mean absolute errors, and their differences to those of the first variant."""
    lines = [f"| | {' | '.join(f'{held} (n {len(crops):,})' for held, crops in validation.items())} |"]
    lines.append("|---" * (len(validation) + 1) + "|")
    for name in VARIANTS:
        cells = []
        for held, crops in validation.items():
            age = crops.column("age").astype(float)
            first, own = (
                np.load(work / "losses" / variant.replace(" ", "-") / f"{held}.npy")
                for variant in ("expectation", name)
            )
            error = f"{mean_absolute_error(age, own):.2f}"
            if name != "expectation":
                low, high = bootstrap_interval(excess, age, own, first)
                error += f", {excess(age, own, first):+.2f} ({low:+.2f} to {high:+.2f})"
            cells.append(error)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def excess(age: np.ndarray, own: np.ndarray, first: np.ndarray) -> float:
    """Mean absolute error less that of the first variant."""
    return mean_absolute_error(age, own) - mean_absolute_error(age, first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    work = parser.parse_args().work
    fit, validation = material(work)
    fit = fit.select(np.arange(0, len(fit), STEP))
    for name in VARIANTS:
        run(name, fit, validation, work)
    if PartialState().is_main_process:
        print(report(validation, work))


if __name__ == "__main__":
    main()
