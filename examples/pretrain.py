"""Pre-train a masked autoencoder on your own photos of faces: from a folder of files to a backbone.

    pip install "fahr-hf[train]"
    python examples/pretrain.py PHOTOS WORK

The commands `fahr-hf data build`, `data crops`, `data duplicates` and `train pretrain` do the same. Whatever is
interrupted goes on when it is called again. `docs/how-to/pretraining.md` tells how to use several processors.
"""

import argparse
from pathlib import Path

import torch

from fahr_hf import FahrFaceConfig, FahrFaceForPreTraining, FahrFaceImageProcessor
from fahr_hf.data.build import build
from fahr_hf.data.cutting import cut_crops
from fahr_hf.data.duplicates import mark_duplicates
from fahr_hf.data.sources import table
from fahr_hf.hub.cards import write_card
from fahr_hf.hub.origin import record_origin
from fahr_hf.training.pretraining import load_pretraining_crops, pretrain, pretraining_settings


def main() -> None:
    """Build, cut, train, write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of photos; a csv with ages in it lets you watch progress")
    parser.add_argument("work", type=Path, help="receives the data set, the crops and the run")
    parser.add_argument("--epochs", type=int, default=800)
    parser.add_argument("--batch-size", type=int, default=256)
    arguments = parser.parse_args()
    dataset, crops = arguments.work / "photos", arguments.work / "crops"

    # 1. One schema. A tenth of the photos is kept for validation, and as many for calibration and for testing.
    if not dataset.exists():
        print(build(table(arguments.photos), arguments.photos, dataset))
    # 2. Faces, found and aligned once. The same picture in two parts would make the figures too good.
    for done, total in cut_crops(dataset, crops):
        print(f"{done} of {total} photos", end="\r", flush=True)
    mark_duplicates([crops])
    # 3. The model, and how it learns.
    torch.manual_seed(0)
    model = FahrFaceForPreTraining(FahrFaceConfig.from_size("tiny"))
    processor = FahrFaceImageProcessor()
    samples, frames, validation = load_pretraining_crops([crops], stream=False)
    settings, run = (
        pretraining_settings(arguments.epochs, min(arguments.batch_size, len(samples))),
        arguments.work / "run",
    )
    pretrain(model, processor, samples, frames, validation, settings, run, workers=1)
    # 4. Its card: what it learned from, what it cost, and what was measured on the validation photos.
    record_origin(run, None, [crops])
    write_card(run)
    print(f"The backbone: FahrFaceModel.from_pretrained({str(run / 'model')!r})")


if __name__ == "__main__":
    main()
