"""`fahr-hf train survival`, from a table of photos or from crops, to a calibrated model with a report and a card."""

import dataclasses
import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import minute_config
from own_photo_sets import write_csv, write_faces
from typer.testing import CliRunner

from fahr_hf import FahrFaceConfig, FahrFaceForAgeEstimation, FahrFaceForSurvival, FahrFaceImageProcessor
from fahr_hf.cli.train import train as train_program
from fahr_hf.data.crops import Crops, load_crops
from fahr_hf.data.own_labels import Survival
from fahr_hf.data.own_photos import build_own_photos
from fahr_hf.training.survival_finetuning import finish_survival_run, load_survival_crops

PEOPLE = 12
COLUMNS = {"subject_id": "Patient", "death_date": "Died"}
SHORT = ("--epochs", 1, "--batch-size", 4, "--workers", 0)


def train(*arguments: object):
    return CliRunner().invoke(train_program, ["survival", *map(str, arguments)])


def write_table(path: Path, *more: str) -> Path:
    """Twelve people with one photo each; every third lives, half of them are of each part."""
    rows = []
    for n in range(PEOPLE):
        died, seen = ("", "2020-12-31") if n % 3 == 0 else (f"{2003 + n}-06-30", "")
        rows.append(f"{n}.jpg,P{n},2000-01-01,{died},{seen},{'validation' if n % 2 else 'train'},{n / 10}")
    return write_csv(path, "\n".join(["image,Patient,photo_date,Died,last_date,split,known", *rows, *more]))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write_faces(tmp_path_factory.mktemp("photos"), PEOPLE)


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """An age model of a few thousand parameters."""
    folder = tmp_path_factory.mktemp("start") / "age"
    FahrFaceForAgeEstimation(minute_config(image_size=112, patch_size=16)).save_pretrained(folder)
    FahrFaceImageProcessor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clinic(photos, start, tmp_path_factory) -> Path:
    """The folder of a run on one's own photos, and what the command printed."""
    folder = tmp_path_factory.mktemp("clinic")
    table = write_table(folder / "clinic.csv")
    columns = [part for field, column in COLUMNS.items() for part in ("--column", f"{field}={column}")]
    own = ("--data", table, "--images", photos, *columns, "--offset", "known", "--start", start)
    result = train(*own, *SHORT, "--seeds", 2, "--loss", "cox", "--out", folder / "run")
    assert result.exit_code == 0, result.exception
    (folder / "told.txt").write_text(result.output)
    return folder / "run"


def test_a_table_with_dates_becomes_crops_with_durations_and_events(clinic):
    crops = load_crops(clinic / "crops")
    table = crops.table.to_pandas().set_index("subject_id")
    assert table["event"].to_dict() == {f"P{n}": n % 3 > 0 for n in range(PEOPLE)}
    days = (pd.Timestamp("2007-06-30") - pd.Timestamp("2000-01-01")).days
    assert table.loc["P4", "duration"] == pytest.approx(days / 365.25)
    assert table["entry"].eq(0).all()
    assert table["entry_year"].eq(2000).all()
    assert table.loc["P7", "offset"] == 0.7


def test_a_run_leaves_a_model_a_report_a_card_and_what_each_seed_came_to(clinic):
    told = (clinic.parent / "told.txt").read_text()
    assert "train: 6 people, 4 deaths, 6 photos" in told
    assert "a FahrFaceForSurvival, trained on 6 people, from age" in told
    assert "Not calibrated: nobody is of the part calibration" in told
    assert FahrFaceForSurvival.from_pretrained(clinic / "model").config.survival_loss == "cox"
    assert pd.read_csv(clinic / "runs.csv")["seed"].tolist() == [0, 1]
    assert "FahrFaceForSurvival" in (clinic / "model" / "README.md").read_text()
    numbers = json.loads((clinic / "report" / "numbers.json").read_text())
    assert (numbers["people"], numbers["deaths"]) == (6, 4)
    c = numbers["overall"]["concordance"]
    assert 0 <= c["low"] <= c["value"] <= c["high"] <= 1


def test_crops_take_their_outcomes_from_a_table_by_person_up_to_a_horizon(clinic, start, tmp_path):
    people = [f"P{n},{n + 1},{n % 3 // 1 and 1}" for n in range(PEOPLE)]
    outcomes = write_csv(tmp_path / "registry.csv", "\n".join(["subject_id,duration,event", *people]))
    options = ("--outcomes", outcomes, "--horizon", 9, "--start", start, "--seeds", 1, "--memory", 5)
    result = train(clinic / "crops", *options, *SHORT, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.exception
    numbers = json.loads((tmp_path / "run" / "report" / "numbers.json").read_text())
    # Of 1, 3, 5, 7, 9 and 11, those that 3 does not divide, but 11 dies after the horizon.
    assert (numbers["people"], numbers["deaths"]) == (6, 3)
    record = json.loads((tmp_path / "run" / "age-seed-0" / "run.json").read_text())["run"]
    assert record["memory"] == 5


def test_people_enough_for_a_calibration_give_percentiles_within_the_named_cohort(clinic, tmp_path):
    run = shutil.copytree(clinic, tmp_path / "run")
    parts = load_survival_crops([clinic / "crops"])
    random = np.random.default_rng(0)
    died = random.random(150) < 0.7
    many = parts["train"].select(np.arange(150) % 6)
    columns = {
        "subject_id": [f"C{n}" for n in range(150)],
        "duration": random.exponential(5, 150),
        "event": died,
        "entry": np.zeros(150),
    }
    told = finish_survival_run(run, {**parts, "calibration": with_columns(many, columns)}, "a made-up clinic")
    assert told.startswith(f"Calibrated on 150 people of a made-up clinic, of whom {died.sum()} died.")
    calibration = FahrFaceConfig.from_pretrained(run / "model").calibration
    assert calibration is not None
    table = calibration["survival"]
    assert (table["cohort"], table["clock"], table["people"]) == ("a made-up clinic", "time since photo", 150)


def test_the_example_does_the_same_in_under_eighty_lines(clinic, photos, start, tmp_path, monkeypatch, capsys):
    script = Path(__file__).parents[1] / "examples" / "finetune_survival.py"
    assert len(script.read_text().splitlines()) < 80
    run = shutil.copytree(clinic, tmp_path / "run", ignore=shutil.ignore_patterns("age-seed-*", "model", "report"))
    columns = (*(f"{field}={column}" for field, column in COLUMNS.items()), "offset=known")
    options = ("--column", *columns, "--start", start, "--epochs", 1, "--seeds", 1, "--cohort", "a clinic")
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, (clinic.parent / "clinic.csv", photos, run, *options))])
    runpy.run_path(str(script), run_name="__main__")
    assert "Not calibrated" in capsys.readouterr().out
    assert FahrFaceForSurvival.from_pretrained(run / "model").config.survival_loss == "ranking"
    assert (run / "report" / "report.html").is_file()


def test_a_person_in_two_parts_is_refused(clinic, tmp_path):
    swapped = shutil.copytree(clinic / "crops", tmp_path / "crops")
    for path in swapped.glob("*-*.parquet"):
        table = pq.read_table(path)
        parts = ["validation" if part == "train" else "train" for part in table["part"].to_pylist()]
        pq.write_table(table.set_column(table.column_names.index("part"), "part", pa.array(parts, pa.string())), path)
    with pytest.raises(ValueError, match="12 people are in several parts: P0, P1"):
        load_survival_crops([clinic / "crops", swapped])


def test_without_validation_people_the_parts_are_counted(clinic):
    outcomes = pd.DataFrame({"subject_id": ["P0", "P2"], "duration": [1.0, 2.0], "event": [True, False], "entry": 0.0})
    with pytest.raises(ValueError, match=r"left for the part 'validation' \(there are train: 2, validation: 0"):
        load_survival_crops([clinic / "crops"], outcomes)


def test_one_error_tells_what_is_wrong_with_outcomes_and_photos_alike(photos, tmp_path):
    more = (
        "none.jpg,P20,2000-01-01,1999-12-31,,train,0",
        "0.jpg,P21,2000-01-01,,,train,0",
        "1.jpg,P1,2000-01-01,2011-01-01,,validation,0",
    )
    table = write_table(tmp_path / "clinic.csv", *more)
    with pytest.raises(ValueError, match="4 of 15 rows") as caught:
        build_own_photos(table, photos, tmp_path / "run", COLUMNS, labels=Survival())
    lines = [line.strip() for line in str(caught.value).splitlines()]
    for expected in (
        "photo does not exist, 1 row: 13 (none.jpg)",
        "death before the photo, 1 row: 13 (1999-12-31 before 2000-01-01)",
        "neither Died nor last_date, 1 row: 14",
        "one person with different outcomes, 2 rows: 2 (P1 died 2004-06-30), 15 (P1 died 2011-01-01)",
    ):
        assert expected in lines
    assert "--skip-bad-rows" in lines[-1]


def test_a_table_of_the_living_is_refused_before_anything_is_done(photos, tmp_path):
    table = write_csv(tmp_path / "my.csv", "image,duration,event\n0.jpg,3,0\n1.jpg,4,0")
    with pytest.raises(ValueError, match="All 2 rows are censored"):
        build_own_photos(table, photos, tmp_path / "run", labels=Survival())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "my.csv"], "--data needs --images"),
        (["crops", "--skip-bad-rows"], "--skip-bad-rows means nothing with CROPS"),
        (["--data", "my.csv", "--images", "photos", "--outcomes", "more.csv"], "--outcomes means nothing with --data"),
        (["crops", "--start", "a/model", "--start", "b/model"], "two of a/model, b/model have one name"),
    ],
)
def test_options_that_would_be_without_effect_are_refused(tmp_path, arguments, message):
    result = train("--out", tmp_path / "run", *arguments)
    assert isinstance(result.exception, ValueError)
    assert message in str(result.exception)


def with_columns(crops: Crops, columns: dict[str, object]) -> Crops:
    table = crops.table.drop_columns(list(columns))
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return dataclasses.replace(crops, table=table)
