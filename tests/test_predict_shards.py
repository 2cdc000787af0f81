"""A folder of shards: killed, continued, shared by processes, and never mixed with other photos or another model."""

import json
import os
import re
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import datasets
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from fahr_hf import FahrFaceConfig, FahrFaceForAgeEstimation, FahrFaceImageProcessor
from fahr_hf.batch.photo_lists import find_photos
from fahr_hf.batch.shards import Shards, begin, only_run
from fahr_hf.batch.tables import COLUMNS
from fahr_hf.models.pipeline_fahr_face import photo_files

PORTRAIT = Image.fromarray(astronaut()).resize((200, 200))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    model = FahrFaceForAgeEstimation(FahrFaceConfig.from_size("tiny", num_hidden_layers=1))
    torch.nn.init.constant_(model.age_head.bias, 40)
    model.save_pretrained(folder)
    FahrFaceImageProcessor().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Nine photos: portraits, a wall, and a text that is no photo; two of them one level down."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("0.jpg", "1.jpg", "2.jpg", "5.jpg", "6.jpg", "more/7.jpg", "more/8.jpg"):
        PORTRAIT.save(folder / name)
    Image.new("RGB", (160, 120), "white").save(folder / "3.png")
    (folder / "4.jpg").write_text("this is no photo")
    return folder


@pytest.fixture
def predict(run, photos, model, tmp_path):
    def program(*more, of=None) -> tuple[int, str]:
        arguments = ("--model", model, "--out", tmp_path / "ages", "--shard-photos", 2, *more)
        code, _, said = run("predict", of or photos, *arguments)
        return code, said

    return program


def names_in(table: pd.DataFrame) -> list[str]:
    return [Path(photo).name for photo in table["photo"]]


def parts(folder: Path) -> dict[str, int]:
    """The shards that are there, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("*.parquet"))}


def test_a_folder_of_shards_opens_as_one_table_in_the_order_of_the_photos(predict, photos, tmp_path):
    code, said = predict()
    table = pd.read_parquet(tmp_path / "ages")

    assert code == 0
    assert list(parts(tmp_path / "ages")) == [f"part-0000{number}.parquet" for number in range(5)]
    assert list(table.columns) == list(COLUMNS)
    assert list(table["photo"]) == list(photo_files(photos))
    assert list(table["status"]) == ["ok"] * 3 + ["no_face", "unreadable"] + ["ok"] * 4
    assert table["age"].dropna().between(30, 50).all()
    assert "ages: photos 9, faces 7, photos without a face 1, unreadable 1. The first unreadable one is in" in said
    assert "part-00002.parquet" in said
    read = datasets.load_dataset(
        "parquet", data_dir=str(tmp_path / "ages"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert list(read["photo"]) == list(table["photo"])


KILLED = """
import os, signal
from fahr_hf.models.pipeline_fahr_face import FacePipeline

records = FacePipeline.records
done = 0

def kill(self, photos, **options):
    global done
    for record in records(self, photos, **options):
        yield record
        done += 1
        if done == 5:
            os.kill(os.getpid(), signal.SIGKILL)

FacePipeline.records = kill
from fahr_hf.cli import app
app()
"""


def test_a_killed_run_loses_the_shard_that_was_under_way_and_does_no_other_again(predict, photos, model, tmp_path):
    arguments = ["predict", photos, "--model", model, "--out", tmp_path / "ages", "--shard-photos", "2"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], capture_output=True, check=False)
    before = parts(tmp_path / "ages")
    readable = pd.read_parquet(tmp_path / "ages")
    code, said = predict()

    assert killed.returncode == -signal.SIGKILL
    assert list(before) == ["part-00000.parquet", "part-00001.parquet"], "the third was being written"
    assert len(readable) == 4
    assert code == 0
    assert "2 of 5 shards are in" in said
    assert "5/5" in said, "photos that were left"
    assert {name: parts(tmp_path / "ages")[name] for name in before} == before
    assert names_in(pd.read_parquet(tmp_path / "ages")) == [Path(name).name for name in photo_files(photos)]
    assert not list((tmp_path / "ages").glob(".*.tmp")), "what was torn has been replaced"


def test_a_shard_that_is_deleted_is_done_again_alone(predict, photos, tmp_path):
    predict()
    before = parts(tmp_path / "ages")
    PORTRAIT.save(photos / "4.jpg")
    unchanged = predict()[1]
    (tmp_path / "ages/part-00002.parquet").unlink()
    mended = predict()[1]

    assert "unreadable 1" in unchanged, "what could not be read is not tried again"
    assert "faces 8, photos without a face 1, unreadable 0" in mended
    after = parts(tmp_path / "ages")
    assert [name for name in before if after[name] != before[name]] == ["part-00002.parquet"]


def test_other_photos_another_model_and_other_shards_do_not_continue_a_folder(predict, photos, model, tmp_path):
    predict()
    before = parts(tmp_path / "ages")
    PORTRAIT.save(photos / "55.jpg")
    code, said = predict()
    assert code == 1
    assert f"photo 7 is now '{photos}/55.jpg', and was '{photos}/6.jpg'" in said
    (photos / "55.jpg").unlink()
    (photos / "more/8.jpg").rename(tmp_path / "8.jpg")
    code, said = predict()
    assert (code, f"photo 9 is now none, and was '{photos}/more/8.jpg'" in said) == (1, True)
    (tmp_path / "8.jpg").rename(photos / "more/8.jpg")
    code, said = predict("--flip")
    assert code == 1
    assert f"was begun with {model!r} and cannot be continued with '{model}, flip averaging'" in said
    code, said = predict("--shard-photos", 3)
    assert (code, "was begun with --shard-photos 2, not 3. Give the same again" in said) == (1, True)
    assert parts(tmp_path / "ages") == before
    assert predict()[0] == 0, "the same as ever"


def test_a_folder_with_something_else_in_it_is_left_alone(predict, tmp_path):
    (tmp_path / "ages").mkdir()
    (tmp_path / "ages/thesis.doc").write_text("years of work")
    code, said = predict()

    assert code == 1
    assert "holds 'thesis.doc' and no predictions. Give a new folder." in said
    assert sorted(path.name for path in (tmp_path / "ages").iterdir() if path.name != ".lock") == ["thesis.doc"]


def test_two_runs_do_not_write_into_one_folder(predict, tmp_path):
    with only_run(tmp_path / "ages"):
        code, said = predict()

    assert code == 1
    assert "Another run is writing into" in said


def test_only_a_folder_has_shards_and_it_prints_nothing(run, predict, photos, model, tmp_path):
    code, said = predict("--json")
    assert (code, "Leave out --json" in said) == (1, True)
    code, _, said = run("predict", photos, "--model", model, "--out", tmp_path / "t.csv", "--shard-photos", 2)
    assert (code, "--shard-photos belongs to a folder" in said) == (1, True)


def test_photos_none_of_which_can_be_read_are_an_error(predict, photos):
    code, said = predict(of=photos / "4.jpg")

    assert code == 1
    assert "None of the 1 photos could be read; the column error of" in said


# -------------------------------------------------------------------------------------------------- several processes


def test_two_processes_share_the_shards_and_a_single_one_goes_on(predict, photos, model, tmp_path):
    arguments = ["predict", photos, "--model", model, "--out", tmp_path / "ages", "--shard-photos", "2"]
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    both = subprocess.run(
        [*launched, "-m", "fahr_hf.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    together = pd.read_parquet(tmp_path / "ages")
    (tmp_path / "ages").rename(tmp_path / "together")
    predict()
    alone = pd.read_parquet(tmp_path / "ages")

    assert both.returncode == 0, both.stderr
    assert both.stderr.count("photos 9, faces 7") == 1, "one process speaks for all"
    assert re.search(r"process 1 of 2: 100%.* 5/5 ", both.stderr), "the first has shards 0, 2 and 4"
    pd.testing.assert_frame_equal(together, alone, rtol=1e-5)
    (tmp_path / "ages").rename(tmp_path / "alone")
    (tmp_path / "together").rename(tmp_path / "ages")
    assert "5 of 5 shards are in" in predict()[1]


# -------------------------------------------------------------------------------------------------------- the listing


def test_photos_are_found_once_and_in_the_order_of_a_pipeline(photos, tmp_path):
    for name in ("B.JPG", ".hidden.jpg", "no_photo.txt", "more.jpg/x.png", "m/y.png", ".no/z.png"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).touch()
    (photos / "z\udcfc\n.jpg").touch()
    (photos / "loop").symlink_to(photos)
    listed = tmp_path / "some.txt"
    listed.write_text(f"https://example.org/a b.jpg\n\n{photos}/1.jpg\nnowhere.jpg\r\n")
    in_folder = list(photo_files(photos))

    assert len(in_folder) == 13
    assert list(find_photos([str(photos)])) == in_folder
    assert list(find_photos([f"{photos}/2.jpg", str(listed), str(photos)])) == [
        f"{photos}/2.jpg",
        "https://example.org/a b.jpg",
        f"{photos}/1.jpg",
        "nowhere.jpg",
        *(name for name in in_folder if Path(name).name not in ("1.jpg", "2.jpg")),
    ]


def test_a_listing_takes_as_much_memory_for_many_photos_as_for_few(tmp_path):
    def peak(count: int) -> int:
        with (tmp_path / f"{count}.txt").open("w") as file:
            file.writelines(f"photos/{number:09}.jpg\n" for number in range(count))
        (tmp_path / str(count)).mkdir()
        tracemalloc.start()
        begin(tmp_path / str(count), [str(tmp_path / f"{count}.txt")], "model", 100)
        shards = Shards(tmp_path / str(count))
        names = [name for _, block in shards.names(range(0, len(shards), len(shards) // 5)) for name in block]
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert names[::100] == [f"photos/{number:09}.jpg" for number in range(0, count, count // 5)]
        assert json.loads((tmp_path / str(count) / ".run.json").read_text())["photos"] == count
        return most

    peak(500)
    assert peak(50_000) - peak(1_000) < 49_000, "not a byte a name"
