"""The notebook and the short scripts of `examples/`, run as they are. Those that train have their own test files."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_notebook_goes_from_a_photo_to_a_report(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    shutil.copy(EXAMPLES / "astronaut.jpg", tmp_path)
    notebook = nbformat.read(EXAMPLES / "from_photo_to_report.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "committed with outputs"

    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()

    answers = [out for cell in notebook.cells for out in cell.get("outputs", ()) if out.output_type == "execute_result"]
    assert "'age'" in answers[0].data["text/plain"]
    assert "report.html" in answers[-1].data["text/plain"]


def test_a_head_of_ones_own_learns_from_embeddings(tmp_path):
    portrait = Image.fromarray(data.astronaut())
    rows = []
    for number in range(24):
        # What is to be learned is how bright the photo is.
        brightness = 0.5 + number / 24
        name = f"{number:02}.png"
        portrait.point(lambda value, by=brightness: min(255, value * by)).save(tmp_path / name)
        rows.append((name, 100 * brightness))
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "dark.png")
    pd.DataFrame([*rows, ("dark.png", 0.0)], columns=["photo", "label"]).to_csv(tmp_path / "labels.csv", index=False)

    said = subprocess.run(
        [sys.executable, EXAMPLES / "own_head.py", tmp_path, tmp_path / "labels.csv"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    first, second = said.splitlines()
    assert first == "1 photos without a face; n 5 held out"
    error, baseline = (float(text.rstrip(".").split()[-1]) for text in second.split(";"))
    assert error < baseline / 2


def test_a_folder_becomes_a_table_with_a_row_for_what_failed(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(EXAMPLES / "astronaut.jpg", folder)
    (folder / "broken.jpg").write_bytes(b"no photo")

    subprocess.run([sys.executable, EXAMPLES / "predict_folder.py", folder, tmp_path / "ages.csv"], check=True)

    table = pd.read_csv(tmp_path / "ages.csv").set_index("photo")
    portrait, broken = table.loc[str(folder / "astronaut.jpg")], table.loc[str(folder / "broken.jpg")]
    assert portrait["low"] < portrait["age"] < portrait["high"]
    assert "broken.jpg" in broken["error"]
