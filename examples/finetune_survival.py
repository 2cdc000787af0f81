"""Train a survival model on your own photos: from a table of outcomes to a checkpoint with a report and a card.

    pip install "fahr-hf[train,clinical]"
    python examples/finetune_survival.py MY.csv PHOTOS RUN --cohort "my hospital, 2010 to 2020"

`MY.csv` (or jsonl, or Parquet) has a column `image`, a path in `PHOTOS`, a column `subject_id`, and either `duration`
(years from the photo) and `event` (1 died, 0 censored), or `photo_date`, `last_date` and `death_date` (year-month-day;
no death date for the living). What is interrupted goes on when it is called again. By command:

    fahr-hf train survival --data MY.csv --images PHOTOS --out RUN
"""

import argparse
from dataclasses import replace
from pathlib import Path

import fahr_hf
from fahr_hf import FahrFaceForSurvival, FahrFaceImageProcessor
from fahr_hf.data.own_labels import Survival
from fahr_hf.data.own_photos import crops_of_own_photos
from fahr_hf.hub.cards import write_card
from fahr_hf.hub.origin import record_origin
from fahr_hf.training.survival import survival_settings
from fahr_hf.training.survival_finetuning import finish_survival_run, load_survival_crops
from fahr_hf.training.survival_runs import train_survival


def main() -> None:
    """Check, cut, train, calibrate, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("images", type=Path, help="folder that the table's paths start from")
    parser.add_argument("run", type=Path, help="receives everything")
    parser.add_argument("--cohort", required=True, help="name of the people, which every answer will show")
    parser.add_argument("--column", nargs="*", default=[], help="FIELD=COLUMN, such as event=Died")
    parser.add_argument("--skip-bad-rows", action="store_true", help="leave them out, instead of an error")
    parser.add_argument("--start", default="fahr-faceage-tiny", help="embedded name, or a folder")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="by default as the number of people asks for")
    arguments = parser.parse_args()
    start = fahr_hf.checkpoint(arguments.start) if arguments.start in fahr_hf.checkpoints() else arguments.start
    processor = FahrFaceImageProcessor.from_pretrained(start)

    # 1. Every bad row of the table is told at once. Faces are found and aligned, copies of a picture set aside.
    crops = crops_of_own_photos(
        arguments.table,
        arguments.images,
        arguments.run,
        columns=dict(column.split("=", 1) for column in arguments.column),
        skip_bad_rows=arguments.skip_bad_rows,
        processor=processor,
        labels=Survival(),
    )

    # 2. One run a seed, by ranking. The validation people choose epoch and seed.
    parts = load_survival_crops([crops])
    settings = survival_settings(len(set(parts["train"].column("subject_id"))))
    settings = replace(settings, epochs=arguments.epochs or settings.epochs)
    starts = {Path(start).name: lambda: FahrFaceForSurvival.from_pretrained(start)}
    fit, held = parts["train"], parts["validation"]
    runs = train_survival(starts, processor, fit, held, arguments.run, settings, range(arguments.seeds))
    print(runs.table.to_string(index=False))

    # 3. Percentiles where there are calibration people enough, RUN/report/report.html on the validation people, and the
    # card RUN/model/README.md.
    print(finish_survival_run(arguments.run, parts, arguments.cohort))
    record_origin(arguments.run, arguments.start, [crops], outcomes=parts)
    write_card(arguments.run)
    print(f"{arguments.run / 'model'}: for research on groups; a score says nothing reliable about one person.")


if __name__ == "__main__":
    main()
