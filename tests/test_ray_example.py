"""`examples/predict_with_ray.py`, run on a Ray of this machine, where that is installed."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from fahr_hf.batch.tables import COLUMNS

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray[data]")
def test_ray_writes_the_rows_that_predict_does(run, tmp_path):
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    for name in ("a.jpg", "more/b.jpg"):
        shutil.copy(EXAMPLES / "astronaut.jpg", photos / name)
    (photos / "broken.jpg").write_bytes(b"no photo")
    (photos / "notes.txt").write_text("no photo either")

    subprocess.run([sys.executable, EXAMPLES / "predict_with_ray.py", photos, tmp_path / "by_ray"], check=True)
    run("predict", photos, "--model", "fahr-faceage-tiny", "--out", tmp_path / "by_us")
    theirs, ours = (
        pd.read_parquet(tmp_path / name).sort_values("photo", ignore_index=True) for name in ("by_ray", "by_us")
    )

    assert list(theirs.columns) == list(COLUMNS)
    assert "not an image" in theirs["error"].iloc[1]
    pd.testing.assert_frame_equal(theirs.drop(columns="error"), ours.drop(columns="error"), rtol=1e-5)
