"""Fine-tune an age model on your own photos: from a table of ages to a checkpoint with a report and a card.

    pip install "fahr-hf[train]"
    python examples/finetune_age.py MY.csv PHOTOS RUN

`MY.csv` (or jsonl, or Parquet) has a column `image`, a path in `PHOTOS`, and a column `age` in years; with a column
`subject_id` one person's photos stay together. What is interrupted goes on when it is called again. By command:

    fahr-hf train age --data MY.csv --images PHOTOS --out RUN
"""

import argparse
from pathlib import Path

import fahr_hf
from fahr_hf import FahrFaceForAgeEstimation, FahrFaceImageProcessor
from fahr_hf.data.crops import load_crops
from fahr_hf.data.own_photos import crops_of_own_photos
from fahr_hf.hub.cards import write_card
from fahr_hf.hub.origin import record_origin
from fahr_hf.training.age_stages import train_age
from fahr_hf.training.finetuning import finetuning_stages, finish_run


def main() -> None:
    """Check, cut, train, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("images", type=Path, help="folder that the table's paths start from")
    parser.add_argument("run", type=Path, help="receives everything")
    parser.add_argument(
        "--skip-bad-rows", action="store_true", help="leave them out, instead of an error that names them"
    )
    parser.add_argument("--start", default="fahr-faceage-tiny", help="embedded name, or a folder")
    parser.add_argument("--lora", type=int, help="train adapters of this rank instead of all weights")
    parser.add_argument("--epochs", type=int, help="of the second stage; by default as the number of photos asks for")
    arguments = parser.parse_args()

    # 1. Every bad row of the table is told at once. Faces are found and aligned, copies of a picture set aside.
    skip = arguments.skip_bad_rows
    crops = crops_of_own_photos(arguments.table, arguments.images, arguments.run, skip_bad_rows=skip)
    fit, held = load_crops(crops, ["train"]), load_crops(crops, ["validation"])

    # 2. The head first, then everything; each stage keeps its best epoch on the validation photos.
    start = fahr_hf.checkpoint(arguments.start) if arguments.start in fahr_hf.checkpoints() else arguments.start
    model = FahrFaceForAgeEstimation.from_pretrained(start)
    processor = FahrFaceImageProcessor.from_pretrained(start)
    stages = finetuning_stages(len(fit), epochs=arguments.epochs, lora_rank=arguments.lora)
    train_age(model, processor, fit, {"validation": held}, arguments.run, stages)

    # 3. Intervals where there are photos enough, RUN/report/report.html, and the card RUN/model/README.md.
    finish_run(arguments.run, crops, arguments.start)
    record_origin(arguments.run, arguments.start, [crops])
    write_card(arguments.run)

    photo = next(arguments.images.rglob("*.[jp][pn]*g"))
    for face in fahr_hf.pipeline("face-age", arguments.run / "model")(str(photo)):
        print(f"{photo.name}: {face['age']:.1f} years (a research estimate), 90 % interval {face['interval']}")


if __name__ == "__main__":
    main()
