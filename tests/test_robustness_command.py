"""`fahr-hf evaluate robustness`: real photos in, a report out, and a clear row for what has no answer."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from photo_sets import ASTRONAUT, side_by_side
from PIL import Image, ImageEnhance
from risk_tables import RISKS

from fahr_hf import FahrFaceConfig, FahrFaceForSurvival, FahrFaceImageProcessor
from fahr_hf.analysis.paired.answers import read_pairs
from fahr_hf.analysis.paired.comparison import compare_pairs
from fahr_hf.analysis.paired.reference_cohort import risk_sd
from fahr_hf.analysis.paired.report import paired_report
from fahr_hf.analysis.perturbation.report import sensitivity_report
from fahr_hf.calibration_tables import save_tables
from fahr_hf.pipelines import pipeline

# Scores even from -3 to 3: their standard deviation is 6 over the root of 12.
NARROW = {**RISKS, "quantiles": np.linspace(-3, 3, 101).tolist()}
PAIRS = """person,condition,before,after
p0,dark,0.png,dark_0.png
p1,dark,1.png,dark_1.png
p2,dark,2.png,dark_2.png
p3,dark,3.png,dark_3.png
p3,dark,3.png,
p0,smile,0.png,wall.png
p1,smile,1.png,text.png
p2,smile,2.png,gone.png
,smile,3.png,two.png
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four sizes of one portrait, dark copies, two people, a wall, a text that is no photo, and lists of pairs."""
    folder = tmp_path_factory.mktemp("photos")
    for number, side in enumerate((220, 260, 300, 340)):
        small = ASTRONAUT.resize((side, side))
        small.save(folder / f"{number}.png")
        ImageEnhance.Brightness(small).enhance(0.5).save(folder / f"dark_{number}.png")
    side_by_side().resize((640, 384)).save(folder / "two.png")
    Image.new("RGB", (120, 90), "white").save(folder / "wall.png")
    (folder / "text.png").write_text("this is no photo")
    (folder / "pairs.csv").write_text(PAIRS)
    return folder


@pytest.fixture(scope="module")
def survival_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survival")
    torch.manual_seed(0)
    FahrFaceForSurvival(FahrFaceConfig.from_size("tiny", num_hidden_layers=2)).save_pretrained(folder)
    FahrFaceImageProcessor().save_pretrained(folder)
    return folder


def test_pairs_give_a_report_with_a_row_for_each_pair_that_lacks_an_answer(run, photos, tmp_path):
    code, output, errors = run("evaluate", "robustness", "--pairs", photos / "pairs.csv", "--out", tmp_path / "r")
    assert code == 0, errors
    numbers = json.loads((tmp_path / "r" / "numbers.json").read_text())
    assert {name: numbers[name] for name in ("pairs", "complete", "problems")} == {
        "pairs": 9,
        "complete": 5,
        "problems": 4,
    }
    left_out = {row["row"]: row["problem"] for row in numbers["tables"]["left_out"]}
    assert list(left_out) == [5, 6, 7, 8], "rows count from 1"
    assert left_out[5] == "after: no photo named"
    assert left_out[6] == "after: no face found"
    assert left_out[7].startswith("after: unreadable: ")
    assert "is not an image file" in left_out[7]
    assert "No photo at" in left_out[8]
    dark, smile = numbers["tables"]["age_change"]
    assert (dark["people"], dark["pairs"], dark["incomplete"]) == (4, 4, 1)
    assert (smile["people"], smile["pairs"], smile["incomplete"]) == (1, 1, 3)
    assert "Fewer than 3 people, 1" in smile["problem"]
    assert "not shown either way" in output or "equivalent" in output or "different" in output
    page = (tmp_path / "r" / "report.html").read_text()
    assert "Few people in dark (4 people), smile (1 person)" in page
    assert "4.37" in page, "the paper's make-up figure"
    assert "read in a secondary source" in page
    assert (tmp_path / "r" / "figures" / "age_bland_altman.svg").is_file()


def test_ages_of_pairs_are_those_of_the_pipeline_and_figures_those_of_compare_pairs(run, photos, tmp_path):
    run("evaluate", "robustness", "--pairs", photos / "pairs.csv", "--out", tmp_path / "r")
    answers = pd.read_csv(tmp_path / "r" / "tables" / "answers.csv")
    age = pipeline("face-age")
    for name in ("before", "after"):
        found = [age(path)[0]["age"] for path in answers[name][:4]]
        assert answers[f"age_{name}"][:4].tolist() == pytest.approx(found, abs=1e-3)
    pairs = answers[["person", "condition"]].assign(before=answers["age_before"], after=answers["age_after"])
    wanted = compare_pairs(pairs).set_index("condition").loc["dark"]
    (dark, _) = json.loads((tmp_path / "r" / "numbers.json").read_text())["tables"]["age_change"]
    assert dark["difference"] == pytest.approx(wanted["difference"])
    assert dark["absolute_high"] == pytest.approx(wanted["absolute_high"])


def test_relative_paths_begin_in_the_folder_that_is_given(run, photos, tmp_path):
    (tmp_path / "elsewhere.csv").write_text(PAIRS)
    command = ("evaluate", "robustness", "--pairs", tmp_path / "elsewhere.csv", "--folder", photos, "--json")
    code, output, _ = run(*command)
    assert (code, json.loads(output)["complete"]) == (0, 5)


def test_risks_of_declared_adults_are_held_against_the_cohort(run, photos, survival_model, tmp_path):
    save_tables(survival_model, {"survival": NARROW})
    command = ("evaluate", "robustness", "--pairs", photos / "pairs.csv", "--risk-model", survival_model)
    code, _, errors = run(*command)
    assert (code, "--risk-model needs --adult" in errors) == (1, True)
    code, _, errors = run(*command, "--adult", "--out", tmp_path / "r")
    assert code == 0, errors
    answers = pd.read_csv(tmp_path / "r" / "tables" / "answers.csv")
    numbers = json.loads((tmp_path / "r" / "numbers.json").read_text())
    pairs = answers[["person", "condition"]].assign(before=answers["risk_before"], after=answers["risk_after"])
    wanted = compare_pairs(pairs, risk_sd({"survival": NARROW})).set_index("condition").loc["dark"]
    (dark, _) = numbers["tables"]["risk_equivalence"]
    assert dark["p_equivalent"] == pytest.approx(wanted["p_equivalent"])
    assert dark["verdict"] == wanted["verdict"]
    assert answers["age_before"].notna().all()


def test_a_survival_model_without_a_table_of_risks_has_no_margin(run, photos, tmp_path):
    torch.manual_seed(0)
    FahrFaceForSurvival(FahrFaceConfig.from_size("tiny", num_hidden_layers=1)).save_pretrained(tmp_path / "raw")
    FahrFaceImageProcessor().save_pretrained(tmp_path / "raw")
    command = ("evaluate", "robustness", "--pairs", photos / "pairs.csv", "--risk-model", tmp_path / "raw", "--adult")
    code, _, errors = run(*command)
    assert (code, "no table of risks" in errors, "fahr-hf calibrate" in errors) == (1, True, True)


def test_the_spread_of_a_uniform_cohort_is_that_of_the_uniform_distribution():
    assert risk_sd({"survival": NARROW}) == pytest.approx(6 / np.sqrt(12))
    with pytest.raises(ValueError, match="gives no risk: because"):
        risk_sd({"survival": {**NARROW, "warning": "because"}})


def test_perturbed_photos_give_curves_and_how_far_one_may_go(run, photos, tmp_path):
    (tmp_path / "people.csv").write_text(
        "photo,person\n" + "".join(f"{photos / name},Ann\n" for name in ("0.png", "3.png", "wall.png", "text.png"))
    )
    only = ("--only", "brightness", "--only", "mask")
    code, output, errors = run(
        "evaluate", "robustness", "--perturb", tmp_path / "people.csv", *only, "--out", tmp_path / "r"
    )
    assert code == 0, errors
    assert "How far one may go before the mean absolute change passes 1" in output
    numbers = json.loads((tmp_path / "r" / "numbers.json").read_text())
    assert (numbers["photos"], numbers["answered"], numbers["people"]) == (4, 2, 1)
    assert numbers["without_answer"]["no face found"] == 1
    curves = pd.DataFrame(numbers["tables"]["age_curves"])
    assert curves.groupby("perturbation").size().to_dict() == {"brightness": 7, "mask": 4}
    assert (curves["photos"] == 2).all()
    tolerance = pd.DataFrame(numbers["tables"]["age_tolerance"])
    assert tolerance["direction"].tolist() == ["down", "up", "up"]
    assert (tmp_path / "r" / "figures" / "age_curves.png").is_file()
    assert "Fewer than 10 photos: no intervals" in (tmp_path / "r" / "report.md").read_text()
    assert len(pd.read_csv(tmp_path / "r" / "tables" / "answers.csv")) == 2 * 11 + 2


def test_risks_of_perturbed_photos_are_in_standard_deviations_of_the_cohort():
    answers = pd.DataFrame(
        {
            "photo": ["a", "b"],
            "person": None,
            "perturbation": "grey",
            "strength": 50.0,
            "age_before": 50.0,
            "age_after": [51.0, 20.0],
            "risk_before": 0.0,
            "risk_after": [0.5, np.nan],
            "reason": [None, "refused_minor"],
        }
    )
    report = sensitivity_report(answers, "made up", risk_sd=2.0)
    (row,) = next(table for table in report.tables() if table.name == "risk_curves").data.to_dict("records")
    assert (row["change"], row["n"], row["refused"], row["lost"]) == (0.25, 1, 0.5, 0)
    assert report.numbers["people"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give either --pairs"),
        (("--pairs", "p.csv", "--perturb", "photos"), "Give either --pairs"),
        (("--perturb", "photos", "--folder", "photos"), "--folder belongs to --pairs"),
        (("--pairs", "p.csv", "--only", "blur"), "--only belongs to --perturb"),
        (("--perturb", "missing"), "missing is neither"),
        (("--perturb", "missing", "--only", "fog"), "No perturbation is named 'fog'"),
    ],
)
def test_what_does_not_go_together_is_one_line(run, arguments, message):
    code, _, errors = run("evaluate", "robustness", *arguments)
    assert (code, message in errors) == (1, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("person,before,after\na,b,c\n", "lacks the column condition; it has person, before, after"),
        ("person,condition,before,after\n", "has no rows"),
        ("person,condition,before,after\na,x,b,c\na,,b,c\n", "names no condition in row 2; rows are counted from 1"),
    ],
)
def test_a_csv_that_cannot_be_used_says_why(tmp_path, content, message):
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_pairs(tmp_path / "p.csv")
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        read_pairs(tmp_path / "p.csv", tmp_path / "nowhere")


def test_pairs_of_which_none_is_complete_still_make_a_report():
    answers = pd.DataFrame(
        {
            "person": ["a"],
            "condition": "smile",
            "age_before": [50.0],
            "age_after": [np.nan],
            "risk_before": np.nan,
            "risk_after": np.nan,
            "problem": ["after: no photo named"],
        }
    )
    report = paired_report(answers, "made up")
    assert list(report.pictures()) == []
    assert next(report.tables()).data["problem"].tolist() == ["No pair has both values."]
