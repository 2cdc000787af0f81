"""`fahr-hf calibrate` on a survival checkpoint: percentiles and a baseline hazard into it, from people of its own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from photo_sets import ASTRONAUT, encoded, row, write_set

import fahr_hf
from fahr_hf import FahrFaceConfig, FahrFaceForAgeEstimation, FahrFaceForSurvival, FahrFaceImageProcessor
from fahr_hf.clinical import concordance
from fahr_hf.data.crops import load_crops
from fahr_hf.data.cutting import cut_crops
from fahr_hf.risk_calibration import fit_risk_table
from fahr_hf.training.survival import predict_risks

PORTRAIT = ASTRONAUT.crop((96, 0, 352, 256))
CALIBRATION, VALIDATION = 104, 12


@pytest.fixture(scope="module")
def crops(tmp_path_factory) -> Path:
    """Crops of one photo at many sizes, said to be of as many people, and a second photo of the first of them."""
    folder = tmp_path_factory.mktemp("photos")
    parts = [*["calibration"] * CALIBRATION, *["validation"] * VALIDATION]
    rows = [
        row(f"{i}.jpg", encoded(PORTRAIT.resize((100 + i,) * 2)), part=part, subject_id=f"{i:03}")
        for i, part in enumerate(parts)
    ]
    rows.append(row("again.jpg", encoded(PORTRAIT.resize((250, 250))), part="calibration", subject_id="000"))
    list(cut_crops(write_set(folder / "set", rows), folder / "crops", workers=1))
    return folder / "crops"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("trained") / "survival"
    FahrFaceForSurvival(FahrFaceConfig.from_size("tiny", num_hidden_layers=2)).save_pretrained(folder)
    FahrFaceImageProcessor().save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "survival"))


@pytest.fixture(scope="module")
def people(crops, trained) -> pd.DataFrame:
    """Everybody's first photo with its risk, and an outcome that a higher risk brings about earlier."""
    cached = load_crops(crops, ["calibration", "validation"])
    risks = predict_risks(
        FahrFaceForSurvival.from_pretrained(trained), FahrFaceImageProcessor.from_pretrained(trained), cached
    )
    table = cached.table.select(["subject_id", "part"]).to_pandas().assign(risk=risks).drop_duplicates("subject_id")
    standard = (table["risk"] - table["risk"].mean()) / table["risk"].std()
    death = np.random.default_rng(0).exponential(8 * np.exp(-standard))
    outcomes = {"duration": np.minimum(death, 11), "event": death < 11, "entry": 0.0, "entry_year": 2012}
    return table.assign(**outcomes)


@pytest.fixture
def outcomes(people, tmp_path) -> Path:
    """A table of outcomes with the year of entry, and names that are no numbers although they look like some."""
    people.drop(columns=["risk", "part"]).to_csv(tmp_path / "outcomes.csv", index=False)
    return tmp_path / "outcomes.csv"


def expected_table(people, **changes):
    calibration = people[people["part"] == "calibration"]
    columns = (calibration[name] for name in ("risk", "duration", "event", "entry"))
    options = {"cohort": "astronauts", "clock": "time since photo", "entry_year": calibration["entry_year"], **changes}
    return fit_risk_table(*columns, **options)


def assert_same(found, expected):
    """Two tables agree but for rounding."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == (pytest.approx(value, rel=1e-6) if isinstance(value, float | list) else value), name


def saved_table(checkpoint: Path) -> dict:
    return json.loads((checkpoint / "config.json").read_text())["calibration"]["survival"]


def test_a_checkpoint_gets_the_table_of_its_people_one_photo_each_and_nothing_else_changes(
    run, checkpoint, crops, people, outcomes
):
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}

    code, output, _ = run("calibrate", checkpoint, crops, "--cohort", "astronauts", "--outcomes", outcomes)

    after = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    table = saved_table(checkpoint)
    assert code == 0
    assert {name for name in after if after[name] != before[name]} == {"config.json"}
    assert {**json.loads(after["config.json"]), "calibration": None} == json.loads(before["config.json"])
    assert table["people"] == CALIBRATION
    assert table["calibrated"] is True
    assert_same(table, expected_table(people))
    assert f"{CALIBRATION} people, {table['events']} of whom died, calibration of crops" in output
    assert f"{CALIBRATION} people who entered from 2010 to 2019" in output
    assert "calibrated: yes, so the pipeline gives percentiles and probabilities of survival" in output


def test_concordance_is_shown_of_people_who_were_held_out(run, checkpoint, crops, people, outcomes):
    held_out = people[people["part"] == "validation"]
    c, error = concordance(held_out["event"], held_out["duration"], held_out["risk"], held_out["entry"])

    _, output, _ = run("calibrate", checkpoint, crops, "--cohort", "x", "--outcomes", outcomes)

    low, high = max(0, c - 1.96 * error), min(1, c + 1.96 * error)
    assert f"concordance: {c:.3f} ({low:.3f} to {high:.3f}), {VALIDATION} people of the part `validation`" in output


@pytest.mark.parametrize(
    ("people_left", "message"),
    [(0, "concordance: nobody is of the part `validation`"), (1, "concordance: No pair of people is comparable")],
)
def test_without_people_to_compare_there_is_no_concordance(
    run, checkpoint, crops, people, tmp_path, people_left, message
):
    is_held_out = people["part"] == "validation"
    left = pd.concat([people[~is_held_out], people[is_held_out & people["event"]][:people_left]])
    left.drop(columns="risk").to_csv(tmp_path / "left.csv", index=False)

    code, output, _ = run("calibrate", checkpoint, crops, "--cohort", "x", "--outcomes", tmp_path / "left.csv")

    assert code == 0
    assert message in output


def test_the_pipeline_answers_with_what_was_fitted(run, checkpoint, crops, outcomes, tmp_path):
    age = FahrFaceForAgeEstimation(FahrFaceConfig.from_size("tiny", num_hidden_layers=2))
    torch.nn.init.constant_(age.age_head.bias, 40)
    age.save_pretrained(tmp_path / "age")
    FahrFaceImageProcessor().save_pretrained(tmp_path / "age")

    run("calibrate", checkpoint, crops, "--cohort", "astronauts", "--outcomes", outcomes)

    (face,) = fahr_hf.pipeline("face-survival", checkpoint, age_model=tmp_path / "age")(PORTRAIT, adult=True)
    assert 0 <= face["percentile"] <= 100
    assert face["cohort"] == "astronauts"
    assert 1 > face["survival"][1] > face["survival"][10] > 0


def test_crops_may_have_the_outcomes_themselves_as_dates_under_names_of_their_own(
    run, checkpoint, crops, people, tmp_path
):
    began = np.datetime64("2012-03-01")
    ended = began + np.maximum(1, people["duration"] * 365.25).astype("timedelta64[D]")
    dates = pd.DataFrame({"taken": str(began), "seen": ended, "death": ended.where(people["event"])})
    dates = dates.map(lambda day: None if pd.isna(day) else str(day)[:10]).set_index(people["subject_id"])
    own = tmp_path / "crops"
    shutil.copytree(crops, own)
    for shard in [*own.glob("shard-*.parquet"), *own.glob("rejects-*.parquet")]:
        table = pq.read_table(shard)
        rows = dates.reindex(table["subject_id"].to_pylist())
        for name in dates:
            table = table.append_column(name, pa.array(rows[name], pa.string()))
        pq.write_table(table, shard)
    names = [
        word for field in ("photo_date=taken", "last_date=seen", "death_date=death") for word in ("--column", field)
    ]

    code, _, error_output = run("calibrate", checkpoint, own, "--cohort", "astronauts", *names)

    assert code == 0, error_output
    found, expected = saved_table(checkpoint), expected_table(people)
    assert found["events"] == expected["events"]
    assert found["coefficient"] == pytest.approx(expected["coefficient"], rel=0.02), "days are rounded"
    assert found["observed_expected_of"].startswith("104 people who entered from 2010 to 2019, ")


def test_attained_age_is_a_clock_without_probabilities(run, checkpoint, crops, people, tmp_path):
    aged = people.assign(entry=50.0, duration=50 + people["duration"]).drop(columns="risk")
    aged.to_parquet(tmp_path / "aged.parquet")

    arguments = ("--cohort", "astronauts", "--outcomes", tmp_path / "aged.parquet", "--clock", "attained age")
    code, output, _ = run("calibrate", checkpoint, crops, *arguments)

    assert code == 0
    assert saved_table(checkpoint)["clock"] == "attained age"
    assert saved_table(checkpoint)["coefficient"] == pytest.approx(expected_table(people)["coefficient"])
    assert "calibrated: yes; on the clock of attained age the pipeline gives percentiles, and no" in output


def test_a_score_in_the_wrong_direction_is_called_no_risk(run, checkpoint, crops, people, tmp_path):
    turned = people.assign(duration=people["duration"].rank().max() - people["duration"].rank() + 1, event=True)
    turned.drop(columns="risk").to_csv(tmp_path / "turned.csv", index=False)

    code, output, _ = run("calibrate", checkpoint, crops, "--cohort", "x", "--outcomes", tmp_path / "turned.csv")

    assert code == 0
    assert "WARNING: no risk: among the 104 people of 'x' higher scores did not go with earlier death" in output
    assert "The pipeline will give no risk." in output
    assert saved_table(checkpoint)["calibrated"] is False


# ------------------------------------------------------------------------------------------------------- bad input


def test_options_belong_to_a_kind_of_model(run, checkpoint, crops, tmp_path):
    for options, message in (
        ((), "A survival model needs --cohort"),
        (("--cohort", "x", "--flip"), "--flip means nothing for a survival model"),
        (("--cohort", "x", "--level", "0.9"), "--level means nothing for a survival model"),
    ):
        code, _, error_output = run("calibrate", checkpoint, crops, *options)
        assert (code, message in error_output) == (1, True), error_output
    options = ("--cohort", "x", "--out", tmp_path / "copy")
    code, _, error_output = run("calibrate", "fahr-faceage-tiny", crops, *options)
    assert (code, "--cohort means nothing for an age model" in error_output) == (1, True), error_output
    assert not (tmp_path / "copy").exists()


def test_what_cannot_calibrate_leaves_the_checkpoint_as_it_was(run, checkpoint, crops, people, tmp_path):
    before = (checkpoint / "config.json").read_bytes()
    table = people.drop(columns=["risk", "part"])
    for name, bad, message in (
        ("negative", table.assign(duration=-1), "duration negative"),
        ("censored", table.assign(event=False), "nobody died"),
        (
            "strangers",
            table.assign(subject_id="x" + table["subject_id"]),
            "None of 117 crops is of anybody in the table",
        ),
        ("few", table[10:], "94 people and"),
    ):
        bad.to_csv(tmp_path / f"{name}.csv", index=False)
        arguments = ("--cohort", "x", "--outcomes", tmp_path / f"{name}.csv")
        code, _, error_output = run("calibrate", checkpoint, crops, *arguments)
        assert (code, message in error_output) == (1, True), error_output
    code, _, error_output = run("calibrate", checkpoint, crops, "--cohort", "x")
    assert (code, "No column" in error_output) == (1, True), error_output
    for part in ("train", "validation", "test"):
        code, _, error_output = run("calibrate", checkpoint, crops, "--cohort", "x", "--part", part)
        assert (code, f"The part '{part}'" in error_output) == (1, True)
    assert (checkpoint / "config.json").read_bytes() == before


def test_crops_that_were_cut_otherwise_are_refused(run, checkpoint, crops, outcomes):
    FahrFaceImageProcessor(margin=0.3).save_pretrained(checkpoint)

    code, _, error_output = run("calibrate", checkpoint, crops, "--cohort", "x", "--outcomes", outcomes)

    assert (code, "were cut with margin" in error_output) == (1, True)
