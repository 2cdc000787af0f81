"""Ages of all faces in a folder, as a table; photos that cannot be read or show no face keep a row with the reason.

    python examples/predict_folder.py PHOTOS ages.csv

`fahr-hf predict PHOTOS --out ages.csv` does the same, and goes on where it was interrupted.
"""

import argparse
import csv
from pathlib import Path

import fahr_hf


def main() -> None:
    """Write the table, face by face, with few photos in memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("table", type=Path)
    arguments = parser.parse_args()

    age = fahr_hf.pipeline("face-age", batch_size=64, num_workers=2)
    with arguments.table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "age", "low", "high", "warning", "error"])
        for record in age(arguments.photos):
            for face in record["faces"]:
                ends = [round(end, 1) for end in face["interval"] or (float("nan"),) * 2]
                writer.writerow([record["photo"], round(face["age"], 1), *ends, face["warning"], None])
            if record["error"]:
                writer.writerow([record["photo"], None, None, None, None, record["error"]])


if __name__ == "__main__":
    main()
