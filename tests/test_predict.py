"""`fahr-hf predict`, the tables that it writes, and every kind of bad photo through folder run and command line."""

import csv
import json
import re
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from risk_tables import RISKS
from skimage.data import astronaut

import fahr_hf
from fahr_hf import (
    FahrFaceConfig,
    FahrFaceForAgeEstimation,
    FahrFaceForSurvival,
    FahrFaceImageProcessor,
    embedded,
)
from fahr_hf.annotate import label
from fahr_hf.batch import persons
from fahr_hf.batch.tables import COLUMNS, Table, rows, shown
from fahr_hf.models.pipeline_fahr_face import SURVIVAL_YEARS

PORTRAIT = Image.fromarray(astronaut())


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return _save(tmp_path_factory.mktemp("age"), FahrFaceForAgeEstimation)


def _save(folder: Path, model_class, calibration=None, years: float = 40) -> str:
    torch.manual_seed(0)
    model = model_class(FahrFaceConfig.from_size("tiny", num_hidden_layers=2, calibration=calibration))
    if model_class is FahrFaceForAgeEstimation:
        torch.nn.init.constant_(model.age_head.bias, years)
    model.save_pretrained(folder)
    FahrFaceImageProcessor().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder with a portrait, a wall, a text that is no photo, and a portrait one level down."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    PORTRAIT.save(folder / "a.png")
    Image.new("RGB", (160, 120), "white").save(folder / "b.png")
    (folder / "c.jpg").write_text("this is no photo")
    PORTRAIT.save(folder / "more" / "d.jpg")
    return folder


def read(table: Path) -> list[dict]:
    if table.suffix == ".parquet":
        return pyarrow.parquet.read_table(table).to_pylist()
    if table.suffix == ".jsonl":
        return [json.loads(line) for line in table.read_text().splitlines()]
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


# -------------------------------------------------------------------------------------------------------- bad input


def _bomb(path: Path) -> None:
    """The head of a PNG file of 30,000 x 30,000 pixels, with no pixels behind it."""
    head = struct.pack(">II5B", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def _truncated(path: Path) -> None:
    PORTRAIT.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def _sixteen_bit(path: Path) -> None:
    Image.fromarray(np.asarray(PORTRAIT.convert("L")).astype(np.uint16) * 257).save(path)


def _animated(path: Path) -> None:
    PORTRAIT.save(path, save_all=True, append_images=[Image.new("RGB", PORTRAIT.size)])


def _several(path: Path) -> None:
    both = Image.new("RGB", (1024, 512))
    both.paste(PORTRAIT, (0, 0))
    both.paste(PORTRAIT.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (512, 0))
    both.save(path)


# Name, how it is made, number of faces, and what its error or warning says.
BAD_INPUT = [
    ("no_face.jpg", lambda path: Image.new("RGB", (300, 200), "grey").save(path), 0, "no face found"),
    ("several_faces.jpg", _several, 2, None),
    ("face_of_20_pixels.png", lambda path: PORTRAIT.resize((102, 102)).save(path), 1, "small face: 2"),
    ("truncated.jpg", _truncated, 0, "is damaged"),
    ("text.jpg", lambda path: path.write_text("this is no photo"), 0, "is not an image file"),
    ("empty.jpg", lambda path: path.touch(), 0, "is not an image file"),
    ("one_pixel.png", lambda path: Image.new("RGB", (1, 1)).save(path), 0, "no face found"),
    ("cmyk.jpg", lambda path: PORTRAIT.convert("CMYK").save(path), 1, None),
    ("sixteen_bit.png", _sixteen_bit, 1, None),
    ("rgba.png", lambda path: PORTRAIT.convert("RGBA").save(path), 1, None),
    ("palette.png", lambda path: PORTRAIT.quantize(256).save(path), 1, None),
    ("animated.gif", _animated, 1, None),
    ("bomb.png", _bomb, 0, "larger than"),
    ("missing.jpg", lambda path: path.symlink_to("nowhere.jpg"), 0, "No photo at"),
]


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory, model) -> dict[str, dict]:
    """The records of a pipeline over a folder with all of them, by name."""
    folder = tmp_path_factory.mktemp("bad")
    for name, make, _, _ in BAD_INPUT:
        make(folder / name)
    records = fahr_hf.pipeline("face-age", model)(folder)
    return {Path(record["photo"]).name: record for record in records}


@pytest.mark.parametrize(("name", "make", "faces", "message"), BAD_INPUT, ids=[name for name, *_ in BAD_INPUT])
def test_every_photo_has_one_outcome_in_a_folder_and_on_the_command_line(
    folder_run, run, model, tmp_path, name, make, faces, message
):
    make(tmp_path / name)
    table = tmp_path / "table.jsonl"
    code, _, error_output = run("predict", tmp_path, "--model", model, "--out", table)
    record, table_rows = folder_run[name], read(table)

    assert len(record["faces"]) == faces
    assert [row["face"] for row in table_rows] == (list(range(1, faces + 1)) or [None])
    assert all((row["age"] is None) == (faces == 0) for row in table_rows)
    said = [record["error"] or record["faces"][0]["warning"], table_rows[0]["error"] or table_rows[0]["warning"]]
    for text in said:
        assert text == message if message is None else message in text
    is_read = faces > 0 or message == "no face found"
    assert code == (0 if is_read else 1)
    assert ("None of the 1 photos could be read" in error_output) == (not is_read)


def test_an_empty_folder_is_an_error(run, tmp_path, model):
    code, _, error_output = run("predict", tmp_path, "--model", model)

    assert code == 1
    assert "There are no photos in" in error_output


def test_a_broken_checkpoint_is_an_error_and_leaves_no_table(run, photos, tmp_path):
    (tmp_path / "broken").mkdir()

    code, _, error_output = run("predict", photos, "--model", tmp_path / "broken", "--out", tmp_path / "t.csv")

    assert code == 1
    assert "is not a checkpoint that face-age can use" in error_output
    assert not (tmp_path / "t.csv").exists()


# ----------------------------------------------------------------------------------------------------------- output


def test_one_photo_gives_one_line(run, photos, model):
    code, output, error_output = run("predict", photos / "a.png", "--model", model)

    assert code == 0
    assert output.startswith(f"{photos / 'a.png'}: 1: age ")
    assert error_output.count("research estimates") == 1


def test_json_is_a_list_with_one_object_a_photo_and_its_faces(run, photos, model):
    code, output, error_output = run("predict", photos, photos / "nowhere.jpg", "--model", model, "--json")
    answers = json.loads(output)

    assert code == 0
    names = ["a.png", "b.png", "c.jpg", "more/d.jpg", "nowhere.jpg"]
    assert [answer["photo"] for answer in answers] == [str(photos / name) for name in names]
    assert [len(answer["faces"]) for answer in answers] == [1, 0, 0, 1, 0]
    assert answers[0]["faces"][0]["age"] == pytest.approx(40, abs=5)
    assert answers[1]["error"] == "no face found"
    assert "not an image file" in answers[2]["error"]
    assert "No photo at" in answers[4]["error"]
    assert "5/5" in error_output, "progress goes to standard error"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_table_has_a_row_a_face_and_a_row_for_each_photo_without(run, photos, model, tmp_path, suffix):
    table = tmp_path / f"table{suffix}"
    code, output, _ = run("predict", photos, "--model", model, "--out", table)
    found = read(table)

    assert (code, output) == (0, "")
    assert [list(row) for row in found] == [list(COLUMNS)] * 4
    assert [Path(row["photo"]).name for row in found] == ["a.png", "b.png", "c.jpg", "d.jpg"]
    assert [float(row["age"]) if row["age"] else None for row in found] == [
        pytest.approx(40, abs=5),
        None,
        None,
        pytest.approx(40, abs=5),
    ]
    assert float(found[0]["box_xmin"]) < float(found[0]["box_xmax"])
    assert found[1]["error"] == "no face found"
    assert [row["status"] for row in found] == ["ok", "no_face", "unreadable", "ok"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", table.name]


def test_annotated_copies_lie_as_the_photos_do(run, photos, model, tmp_path):
    PORTRAIT.save(photos / "e.gif")
    _sixteen_bit(photos / "f.png")
    code, _, _ = run("predict", photos, "--model", model, "--annotate", tmp_path / "copies")
    copies = {str(path.relative_to(tmp_path / "copies")) for path in (tmp_path / "copies").rglob("*.*")}

    assert code == 0
    assert copies == {"a.png", "more/d.jpg", "e.gif.png", "f.png"}
    for name in copies:
        with Image.open(tmp_path / "copies" / name) as copy:
            difference = np.abs(np.asarray(copy.convert("L"), int) - np.asarray(PORTRAIT.convert("L"), int))
        changed = (difference > 60).mean()
        assert 0.0005 < changed < 0.1, "a box and a line of text, and nothing more"


@pytest.mark.parametrize("place", ["", "more/copies"])
def test_annotated_copies_never_go_among_the_photos(run, photos, model, place):
    before = (photos / "a.png").read_bytes()

    code, _, error_output = run("predict", photos, "--model", model, "--annotate", photos / place)

    assert code == 1
    assert "lies among the photos" in error_output
    assert (photos / "a.png").read_bytes() == before


# ------------------------------------------------------------------------------------------------- flip and persons


def test_flip_averaging_answers_otherwise_and_does_not_continue_a_table_without(run, photos, model, tmp_path):
    arguments = ("predict", photos / "a.png", "--model", model, "--out")
    run(*arguments, tmp_path / "plain.jsonl")
    code, _, _ = run(*arguments, tmp_path / "flip.jsonl", "--flip")
    (plain,), (flipped,) = read(tmp_path / "plain.jsonl"), read(tmp_path / "flip.jsonl")

    assert code == 0
    assert plain["age"] != flipped["age"] == pytest.approx(plain["age"], abs=5)
    assert flipped["model"] == f"{model}, flip averaging"
    assert "not calibrated for flip averaging" in flipped["warning"]
    code, _, error_output = run(*arguments, tmp_path / "plain.jsonl", "--flip")
    assert (code, "cannot be continued" in error_output) == (1, True)


def test_half_precision_is_said_in_the_table_and_does_not_continue_one_without(run, photos, model, tmp_path):
    arguments = ("predict", photos / "a.png", "--model", model, "--out")
    run(*arguments, tmp_path / "single.csv")
    code, _, _ = run(*arguments, tmp_path / "half.csv", "--dtype", "bfloat16")
    (single,), (half,) = read(tmp_path / "single.csv"), read(tmp_path / "half.csv")

    assert code == 0
    assert single["age"] != half["age"]
    assert float(half["age"]) == pytest.approx(float(single["age"]), abs=1)
    assert half["model"] == f"{model}, bfloat16"
    code, _, error_output = run(*arguments, tmp_path / "single.csv", "--dtype", "bfloat16")
    assert (code, "cannot be continued" in error_output) == (1, True)


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """A folder with Ann in two photos and a text that is none, and of Bob a wall; and beside it a csv with dates."""
    place = tmp_path_factory.mktemp("people")
    folder = place / "photos"
    for name in ("ann/later", "bob"):
        (folder / name).mkdir(parents=True)
    PORTRAIT.save(folder / "ann/a.png")
    PORTRAIT.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "ann/later/b.png")
    (folder / "ann/no_photo.jpg").write_text("this is no photo")
    Image.new("RGB", (160, 120), "white").save(folder / "bob/c.png")
    (place / "people.csv").write_text(
        "person,photo,date,remark\n"
        "Ann,photos/ann/a.png,2020-01-01,\n"
        "Ann,photos/ann/later/b.png,2024-01-01,tired\n"
        "Ann,photos/ann/no_photo.jpg,,\n"
        f"Bob,{folder / 'bob/c.png'},2021-05-01,\n"
    )
    return place


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_sub_folders_give_one_row_a_person_and_every_photo_is_counted(run, people, model, tmp_path, suffix):
    table = tmp_path / f"table{suffix}"
    code, output, _ = run("predict", people / "photos", "--group-by", "person", "--model", model, "--out", table)
    ann, bob = read(table)

    assert (code, output) == (0, "")
    assert list(ann) == list(persons.COLUMNS)
    counts = ("person", "photos", "no_face", "unreadable")
    assert [str(ann[name]) for name in counts] == ["ann", "2", "0", "1"]
    assert [str(bob[name]) for name in counts] == ["bob", "0", "1", "0"]
    assert float(ann["age"]) == pytest.approx(40, abs=5)
    assert float(ann["sd"]) > 0
    assert not ann["rate"]
    assert bob["note"] == "no photo with a face"
    assert [path.name for path in tmp_path.iterdir()] == [table.name]
    code, _, error_output = run("predict", people / "photos", "--group-by", "person", "--model", model, "--out", table)
    assert (code, "a table of persons is not continued" in error_output) == (1, True)


def test_a_csv_with_dates_gives_the_rate_at_which_a_face_ages(run, people, model):
    grouped = ("--group-by", "person", "--model", model)
    code, output, _ = run("predict", people / "people.csv", *grouped, "--json")
    ann, bob = json.loads(output)
    ages = [run("predict", people / "photos/ann" / name, "--model", model, "--json")[1] for name in ("a.png", "later")]
    first, second = (json.loads(text)[0]["faces"][0]["age"] for text in ages)

    assert code == 0
    assert (ann["person"], ann["dates"], ann["span"]) == ("Ann", 2, pytest.approx(4, abs=0.01))
    assert ann["rate"] == pytest.approx((second - first) / ann["span"], abs=1e-3)
    assert ann["note"].startswith("no standard error")
    assert bob["rate"] is None
    code, output, _ = run("predict", people / "people.csv", *grouped)
    assert output.startswith("Ann: age ")
    assert "years a year [1 unreadable; no standard error" in output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("photo,name\na.jpg,Ann\n", "has no column person; it has photo, name"),
        ("photo,person\n", "has no rows"),
        ("photo,person\n,Ann\na.jpg,\n", "row 1 names no photo; row 2 names no person"),
        ("photo,person\na.jpg,Ann\na.jpg,Bob\n", "row 2 has 'a.jpg' a second time"),
        ("photo,person,date\na.jpg,Ann,31.5.2024\n", "row 1 has the date '31.5.2024', expected one such as 2024-05-31"),
    ],
)
def test_a_csv_that_cannot_be_used_says_which_rows(run, model, tmp_path, content, message):
    (tmp_path / "people.csv").write_text(content)

    code, _, error_output = run("predict", tmp_path / "people.csv", "--group-by", "person", "--model", model)

    assert code == 1
    assert message in error_output


def test_what_cannot_be_grouped_is_refused(run, photos, people, model):
    grouped = ("--group-by", "person", "--model", model)
    for arguments, message in (
        ((photos,), "every photo must lie in the sub-folder of its person, and 3 lie outside"),
        ((photos / "a.png",), "is neither"),
        ((photos, people), "takes one folder or one .csv, got 2"),
        ((people / "photos", "--task", "both"), "leave out --task, --age-model and --annotate"),
        ((people / "photos", "--out", photos / "table.xlsx"), "must end in .csv, .jsonl or .parquet"),
    ):
        code, _, error_output = run("predict", *arguments, *grouped)
        assert (code, message in error_output) == (1, True), error_output
    (photos / "more/d.jpg").unlink()
    for name in ("a.png", "b.png", "c.jpg"):
        (photos / name).rename(photos / "more" / f"{name}.txt")
    (photos / "more/c.jpg").write_text("this is no photo")
    code, _, error_output = run("predict", photos, *grouped)
    assert (code, "None of the 1 photos could be read" in error_output) == (1, True)


# --------------------------------------------------------------------------------------------------------- survival


@pytest.fixture(scope="module")
def survival_model(tmp_path_factory) -> str:
    return _save(tmp_path_factory.mktemp("survival"), FahrFaceForSurvival)


@pytest.mark.parametrize("task", ["survival", "both"])
def test_survival_gives_risks_of_declared_adults_and_both_their_ages_as_well(
    run, photos, model, survival_model, tmp_path, task
):
    models = ("--task", task, "--model", survival_model, "--age-model", model)
    code, _, error_output = run("predict", photos / "a.png", *models, "--adult", "--out", tmp_path / "t.jsonl")
    (row,) = read(tmp_path / "t.jsonl")

    assert code == 0
    assert isinstance(row["risk"], float)
    assert row["status"] == "ok"
    assert row["percentile"] is row["survival_5"] is None
    assert (row["age"] is not None) == (task == "both")
    assert row["model"] == f"{survival_model}, {'ages' if task == 'both' else 'refusals'} by {model}"
    other = ("--task", "survival" if task == "both" else "both", *models[2:])
    assert run("predict", photos / "a.png", *other, "--adult", "--out", tmp_path / "t.jsonl")[0] == 1
    assert "say nothing reliable about a person's life" in error_output


def test_survival_of_people_not_declared_adults_is_refused_before_anything_is_written(
    run, photos, model, survival_model, tmp_path
):
    models = ("--task", "survival", "--model", survival_model, "--age-model", model)

    code, _, error_output = run("predict", photos, *models, "--out", tmp_path / "t.csv")

    assert code == 1
    assert "--task survival needs --adult, which declares that everybody shown is an adult" in error_output
    assert not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_calibrated_risk_has_its_percentile_cohort_and_probabilities_in_the_table(
    run, photos, model, tmp_path, suffix
):
    calibrated = _save(tmp_path / "calibrated", FahrFaceForSurvival, {"survival": RISKS})
    models = ("--task", "survival", "--model", calibrated, "--age-model", model, "--adult")
    table = tmp_path / f"t{suffix}"
    code, _, _ = run("predict", photos, *models, "--out", table)
    first, wall, text, _ = read(table)

    assert code == 0
    assert [row["status"] for row in (first, wall, text)] == ["ok", "no_face", "unreadable"]
    assert first["cohort"] == "simulated"
    risk = float(first["risk"])
    assert float(first["percentile"]) == pytest.approx((risk + 5) * 10)
    for years in (1, 3, 5):
        assert float(first[f"survival_{years}"]) == pytest.approx(np.exp(-0.05 * years * np.exp(risk)))
    assert not first["survival_10"], "beyond follow-up"
    assert {name for name in COLUMNS if name.startswith("survival_")} == {f"survival_{y}" for y in SURVIVAL_YEARS}


def test_words_and_annotated_copies_hold_a_rank_in_a_named_cohort_and_no_probability(run, photos, model, tmp_path):
    calibrated = _save(tmp_path / "calibrated", FahrFaceForSurvival, {"survival": RISKS})
    models = ("--task", "survival", "--model", calibrated, "--age-model", model, "--adult")

    code, output, _ = run("predict", photos / "a.png", *models)

    assert code == 0
    assert re.fullmatch(r".*a\.png: 1: risk -?\d\.\d\d \(percentile \d+ of simulated\)\n", output)
    face = {"risk": 0.5, "percentile": 0.0, "cohort": "simulated", "survival": {1: 0.9}, "age": None}
    assert label(2, face) == "2: risk 0.50 (percentile 0 of simulated)", "which is also what is drawn"


def test_a_face_that_looks_too_young_has_a_row_that_says_so(run, photos, survival_model, tmp_path):
    young = _save(tmp_path / "young", FahrFaceForAgeEstimation, years=10)
    models = ("--task", "survival", "--model", survival_model, "--age-model", young, "--adult")
    run("predict", photos / "a.png", *models, "--out", tmp_path / "t.jsonl")
    code, output, _ = run("predict", photos / "a.png", *models)
    (row,) = read(tmp_path / "t.jsonl")

    assert row["status"] == "refused_minor"
    assert row["risk"] is row["percentile"] is row["cohort"] is row["survival_1"] is None
    assert (code, "1: no answer [refused_minor: predicted age" in output) == (0, True)


def test_survival_without_weights_says_so(run, photos, monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)

    code, _, error_output = run("predict", photos, "--task", "survival", "--adult")

    assert code == 1
    assert "face-survival has no default weights in this version" in error_output


# ----------------------------------------------------------------------------------------------------------- resume


def test_a_table_is_continued_with_the_photos_that_are_not_in_it(run, photos, model, tmp_path):
    for suffix in (".csv", ".jsonl", ".parquet"):
        table = tmp_path / f"table{suffix}"
        run("predict", photos / "more", "--model", model, "--out", table)
        before = read(table)

        code, _, error_output = run("predict", photos, "--model", model, "--out", table)

        assert code == 0
        assert "1 of 4 photos are in" in error_output
        assert read(table)[:1] == before
        assert [Path(row["photo"]).name for row in read(table)] == ["d.jpg", "a.png", "b.png", "c.jpg"]


def test_a_table_is_not_continued_with_another_model(run, photos, model, tmp_path):
    other = _save(tmp_path / "other", FahrFaceForAgeEstimation)
    run("predict", photos / "a.png", "--model", model, "--out", tmp_path / "t.csv")

    code, _, error_output = run("predict", photos, "--model", other, "--out", tmp_path / "t.csv")

    assert code == 1
    assert f"was made with {model!r} and cannot be continued with {other!r}" in error_output
    assert len(read(tmp_path / "t.csv")) == 1


KILLED = """
import os, signal
from fahr_hf.batch.tables import Table

write, left = Table.write, 3

def write_until_killed(table, record):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    write(table, record)

Table.write = write_until_killed
from fahr_hf.cli import app
app()
"""


def test_a_killed_run_goes_on_where_it_ended(run, photos, model, tmp_path):
    table, whole = tmp_path / "table.csv", tmp_path / "whole.csv"
    arguments = ["predict", str(photos), "--model", model, "--out"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments, table], capture_output=True, check=False)
    run(*arguments, whole)

    assert killed.returncode == -signal.SIGKILL
    code, _, error_output = run(*arguments, table)

    assert code == 0
    assert "3 of 4 photos are in" in error_output, "nothing that was written is lost or done again"
    for row, expected in zip(read(table), read(whole), strict=True):
        # Another batch size may take another matrix kernel, which sums in another order.
        assert float(row.pop("age") or 0) == pytest.approx(float(expected.pop("age") or 0), abs=1e-4)
        assert row == expected


RECORDS = [
    {"photo": 'one, "two".jpg', "faces": [{"age": 40.5, "warning": None}], "error": None},
    {"photo": "three.jpg", "faces": [{"age": age, "warning": None} for age in (1.5, 2.5, 3.5)], "error": None},
    {"photo": "four.jpg", "faces": [], "error": "damaged,\nin two lines"},
]


def _write(path: Path, records) -> None:
    with Table(path, "model") as table:
        for record in records:
            if shown(record["photo"]) not in table.done:
                table.write(record)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_table_torn_anywhere_ends_up_whole(tmp_path, suffix):
    whole, torn = tmp_path / f"whole{suffix}", tmp_path / f"torn{suffix}"
    _write(whole, RECORDS)
    # What a run leaves behind that is killed before its end: for Parquet, the journal.
    growing = torn if suffix != ".parquet" else tmp_path / "torn.parquet.partial.jsonl"
    journal = tmp_path / "journal.jsonl"
    _write(journal, RECORDS)
    content = (whole if suffix == ".csv" else journal).read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]

    # A row is torn, or none: writes are by photo, so that a cut between rows falls between photos.
    between_rows_of_a_photo = {end for end in ends if content[:end].count(b"three.jpg") in (1, 2)}
    for cut in sorted({*range(0, len(content), 7), *ends} - between_rows_of_a_photo):
        torn.unlink(missing_ok=True)
        growing.write_bytes(content[:cut])
        _write(torn, RECORDS)
        assert read(torn) == read(whole), cut


def test_a_kill_after_the_merge_adds_nothing_twice(tmp_path):
    table = tmp_path / "table.parquet"
    _write(table, RECORDS)
    _write(tmp_path / "journal.jsonl", RECORDS)
    (tmp_path / "journal.jsonl").rename(tmp_path / "table.parquet.partial.jsonl")

    _write(table, RECORDS)

    assert read(table) == [row for record in RECORDS for row in rows(record, "model")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.csv", "name,age\nMary,40"),
        ("notes.csv", "no table at all"),
        ("notes.jsonl", '{"name": "Mary"}\n'),
        ("notes.jsonl", "no table at all"),
        ("notes.parquet", "no table at all"),
    ],
)
def test_a_file_that_is_no_table_of_ours_is_left_alone(tmp_path, name, content):
    (tmp_path / name).write_text(content)

    with pytest.raises(ValueError, match=r"Give the table another name"):
        Table(tmp_path / name, "model")
    assert (tmp_path / name).read_text() == content


def test_a_table_of_an_unknown_kind_or_in_no_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.csv, \.jsonl or \.parquet"):
        Table(tmp_path / "table.xlsx", "model")
    with pytest.raises(FileNotFoundError, match="make it first"):
        Table(tmp_path / "nowhere" / "table.csv", "model")


def test_a_name_that_is_no_utf8_is_shown_in_one_line(tmp_path):
    name = b"m\xfcller\n.jpg".decode("utf-8", "surrogateescape")
    _write(tmp_path / "table.parquet", [{"photo": name, "faces": [], "error": "no face found"}])

    assert shown(name) == "m\N{REPLACEMENT CHARACTER}ller .jpg"
    assert read(tmp_path / "table.parquet")[0]["photo"] == shown(name)
