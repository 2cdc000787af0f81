"""The report on survival: R's numbers in its tables, what it refuses, and what it shows when something fails."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")
pytest.importorskip("sksurv")

from fahr_hf.clinical.concordance import concordance
from fahr_hf.clinical.cox import cox_regression
from fahr_hf.clinical.design import Categorical, Scaled
from fahr_hf.clinical.log_rank import log_rank_test
from fahr_hf.clinical.prediction import linear_predictor
from fahr_hf.clinical.report.assembly import survival_report
from fahr_hf.clinical.report.cox_tables import cox_chapter
from fahr_hf.clinical.report.estimates import Estimates
from fahr_hf.clinical.report.hazards import hazards_chapter
from fahr_hf.clinical.report.reading import check_table, read_table, split_cohorts
from fahr_hf.clinical.report.settings import ReportSettings
from fahr_hf.clinical.report.study import make_study
from fahr_hf.reports.document import Report

R = Path(__file__).parent / "r"
EXPECTED = json.loads((R / "cox.json").read_text())["models"]
PROGRAM = Path(sys.executable).with_name("fahr-hf")

SETTINGS = ReportSettings(
    "duration",
    "event",
    face_age="faceage",
    face_survival="face_risk",
    age="age",
    identifier="person",
    covariates=("sex", "stage"),
    references={"sex": "female", "stage": "I"},
    subgroups=("sex", "stage", "age"),
    horizons=(2, 4),
    out_of_fold=False,
    imputations=3,
)


def cohort(name: str = "ties") -> pd.DataFrame:
    return pd.read_csv(R / "cohorts" / f"{name}.csv")


def people(shift: int = 0) -> pd.DataFrame:
    """400 people, a face score made from what is known of them by a fixed formula, and a name."""
    table = cohort()
    wave = np.sin(np.arange(len(table)) * 1.7 + shift)
    return table.assign(
        face_risk=0.04 * table["faceage"] + wave + shift / 4, person=[f"{shift}-{row}" for row in range(len(table))]
    )


@pytest.fixture(scope="module")
def report() -> Report:
    return survival_report(people(), SETTINGS, {"elsewhere": people(shift=1)})


def table(report: Report, name: str) -> pd.DataFrame:
    return next(table.data for table in report.tables() if table.name == name)


def section(report: Report, title: str):
    return next(section for section in report.sections if section.title.startswith(title))


def cox_rows(data: pd.DataFrame, settings: ReportSettings) -> dict:
    study = make_study(data, settings, {})
    return cox_chapter(study, Estimates(study)).numbers


def test_everything_is_shown_of_a_cohort_with_both_scores(report):
    assert report.numbers["not_shown"] == {}
    shown = {table.name for table in report.tables()} | {picture.name for picture in report.pictures()}
    assert shown >= {
        "flow", "table_one", "follow_up", "cox", "cox_models", "curves", "crossed", "dose_response", "gap_cox",
        "models", "subgroups_faceage", "subgroups_facesurvival", "model_differences", "model_auc", "model_brier",
        "model_tests", "combination", "combination_added", "calibration", "external_cox", "external_models",
        "proportional_hazards", "restricted_means", "parameters", "checklist_tripod_ai", "checklist_claim",
    }  # fmt: skip


def test_the_hazard_ratio_per_decade_of_faceage_is_that_of_r(report):
    expected = EXPECTED["ties efron"]  # coxph(Surv(duration, event) ~ age + faceage + sex + stage)
    row = report.numbers["hazard_ratios"]["FaceAge: FaceAge, per decade"]
    assert (row["n"], row["events"]) == (expected["n"], expected["events"])
    assert row["hr_multivariable"] == pytest.approx(np.exp(10 * expected["coef"][1]), rel=1e-6)
    assert row["hr_multivariable_low"] == pytest.approx(expected["hr_low"][1] ** 10, rel=1e-6)
    assert row["p_multivariable"] == pytest.approx(expected["p"][1], rel=1e-5)


def test_the_test_of_proportional_hazards_is_that_of_r(report):
    expected = EXPECTED["ties efron"]["zph"]["km"]
    data = table(report, "proportional_hazards").query("model == 'FaceAge'").set_index("covariate")
    of_r = dict(zip(expected["term"], expected["p"], strict=True))
    assert data.loc["FaceAge, per decade", "p"] == pytest.approx(of_r["faceage"], rel=1e-5)
    assert data.loc["GLOBAL", "p"] == pytest.approx(of_r["GLOBAL"], rel=1e-5)


@pytest.mark.parametrize(
    ("model", "more", "covariates"),
    [
        ("entry efron", {}, ("sex", "arm")),
        ("entry, cluster efron", {"cluster": "family"}, ("sex", "arm")),
        ("entry, strata, cluster efron", {"cluster": "family", "strata": "arm"}, ("sex",)),
    ],
)
def test_delayed_entry_strata_and_clusters_reach_the_hazard_ratio_per_sd(model, more, covariates):
    data = cohort("entry")
    settings = ReportSettings(
        "duration",
        "event",
        face_survival="risk",
        age="age",
        entry="entry",
        covariates=covariates,
        references={"sex": "female"},
        out_of_fold=False,
        **more,
    )
    row = cox_rows(data, settings)["FaceSurvival: FaceSurvival, per SD"]
    spread, expected = data["risk"].std(), EXPECTED[model]
    assert row["hr_multivariable"] == pytest.approx(np.exp(spread * expected["coef"][1]), rel=1e-6)
    assert row["hr_multivariable_high"] == pytest.approx(expected["hr_high"][1] ** spread, rel=1e-6)


def test_groups_are_quartiles_and_compared_by_the_log_rank_test(report):
    data = people()
    cuts = np.quantile(data["face_risk"], [0.25, 0.5, 0.75])
    np.testing.assert_array_equal(report.numbers["groups"]["cuts"], cuts)
    group = np.searchsorted(cuts, data["face_risk"])
    test = log_rank_test(data["duration"], data["event"], group)
    assert report.numbers["groups"]["development"]["log_rank"]["chi2"] == pytest.approx(test.chi2, rel=1e-12)
    assert table(report, "curves")["n"].tolist() == np.bincount(group).tolist()


def test_another_cohort_is_cut_and_scaled_as_the_development_cohort(report):
    data, other = people(), people(shift=1)
    cuts = np.quantile(data["face_risk"], [0.25, 0.5, 0.75])
    sizes = np.bincount(np.searchsorted(cuts, other["face_risk"]), minlength=4)
    assert len(set(sizes)) > 1
    assert table(report, "curves_1")["n"].tolist() == sizes[sizes > 0].tolist()
    scaled = Scaled("face_risk", per=float(data["face_risk"].std()))
    expected = cox_regression(other, "duration", "event", [scaled]).summary.iloc[0]
    row = table(report, "external_cox").set_index("exposure").loc["FaceSurvival, per SD of development"]
    assert row["hr"] == pytest.approx(expected["hr"], rel=1e-12)


def test_a_model_of_the_development_cohort_is_applied_unchanged(report):
    covariates = [Scaled("age", 10), Categorical("sex", "female"), Categorical("stage", "I"), "face_risk"]
    fit, other = cox_regression(people(), "duration", "event", covariates), people(shift=1)
    c, _ = concordance(other["event"], other["duration"], linear_predictor(fit, other))
    row = table(report, "external_models").set_index("model").loc["clinical + FaceSurvival"]
    assert row["c"] == pytest.approx(c, rel=1e-9)


def test_the_gap_adjusted_for_age_is_faceage_adjusted_for_age(report):
    rows = table(report, "gap_cox").set_index("adjusted for")
    expected = cox_regression(people(), "duration", "event", [Scaled("faceage", 10), Scaled("age", 10)]).summary
    assert rows.loc["age", "hr"] == pytest.approx(expected["hr"].iloc[0], rel=1e-9)
    whole = report.numbers["hazard_ratios"]["FaceAge: FaceAge, per decade"]
    assert rows.loc["age, sex, stage", "hr"] == pytest.approx(whole["hr_multivariable"], rel=1e-9)


def test_standardised_differences_follow_their_definition(report):
    first, other = people()["face_risk"], people(shift=1)["face_risk"]
    expected = (other.mean() - first.mean()) / np.sqrt((first.var() + other.var()) / 2)
    found = table(report, "table_one").set_index("variable")["difference elsewhere"]
    assert found["face_risk"] == pytest.approx(expected, rel=1e-12)
    assert found["sex"] == pytest.approx(0, abs=1e-12)


def test_people_who_cannot_be_analysed_are_counted_and_the_others_kept():
    data = people()
    data.loc[:9, "face_risk"] = np.nan
    data.loc[5:19, "duration"] = np.nan
    settings = replace(SETTINGS, entry="begin")
    data["begin"] = 0.0
    data.loc[data["duration"] == 0, "begin"] = 0.5
    study = make_study(data, settings, {})
    early = int((data["duration"] == 0).sum())
    steps = {step.reason: step.people for step in study.development.flow}
    assert steps == {
        "read": 400,
        "duration, event or begin missing": 15,
        "left before coming under observation": early,
        "face_risk missing": 5 - int((data.loc[:4, "duration"] == 0).sum()),
    }
    assert len(study.people) == 400 - sum(list(steps.values())[1:])


def test_missing_covariates_are_imputed_with_complete_cases_beside_them():
    data = people()
    data.loc[::7, "stage"] = None
    data["bmi"] = 25 + np.cos(np.arange(400.0))
    data.loc[3::11, "bmi"] = np.nan
    settings = replace(SETTINGS, covariates=("sex", "stage", "bmi"), subgroups=())
    report = survival_report(data, settings)
    row = table(report, "complete_cases").set_index("exposure").loc["FaceAge, per decade"].iloc[0]
    complete = data.dropna(subset=["stage", "bmi"])
    covariates = [Scaled("faceage", 10), "age", Categorical("sex", "female"), Categorical("stage", "I"), "bmi"]
    expected = cox_regression(complete, "duration", "event", covariates).summary.iloc[0]
    assert row["hr complete cases"] == pytest.approx(expected["hr"], rel=1e-9)
    assert (row["n imputed"], row["n complete cases"]) == (400, len(complete))
    whole = report.numbers["hazard_ratios"]["FaceAge: FaceAge, per decade"]
    assert whole["n"] == 400
    assert row["hr imputed"] == whole["hr_multivariable"]
    assert "imputed 3 times" in section(report, "Methods").text
    assert set(table(report, "missing")["missing"]) == {58, 37}


def test_a_group_without_a_death_is_told_and_costs_nothing_else():
    data = people()
    lowest = data["face_risk"] <= data["face_risk"].quantile(0.25)
    data.loc[lowest, "event"] = 0
    report = survival_report(data, replace(SETTINGS, subgroups=()))
    problem = section(report, "Hazard ratios").problem
    assert "Nobody of the 100 people in Q1 of face_risk has event = 1" in problem
    assert "--groups 3" in problem
    assert report.numbers["not_shown"]["hazard_ratios"] == problem
    assert {"FaceAge: FaceAge, per decade", "FaceSurvival: FaceSurvival, per SD"} <= set(
        report.numbers["hazard_ratios"]
    )
    assert len(table(report, "curves")) == 4
    assert "groups" not in report.numbers["not_shown"]


def test_a_time_beyond_the_follow_up_is_told_with_column_and_row_and_others_are_judged():
    report = survival_report(people(), replace(SETTINGS, horizons=(3, 40), subgroups=()))
    problem = section(report, "Calibration").problem
    last = people()["duration"]
    assert f"duration ends at {last.max():g} (row {last.idxmax()}). Choose --horizon before that" in problem
    assert table(report, "calibration")["horizon"].tolist() == [3]
    assert table(report, "model_auc")["time"].unique().tolist() == [3]


def test_hazard_ratios_by_time_are_shown_where_hazards_are_not_proportional():
    data = cohort("veteran")
    data["face_risk"] = -data["Karnofsky_score"]  # R: cox.zph of Karnofsky_score, p < 0.001
    settings = ReportSettings("duration", "event", face_survival="face_risk", groups=2, out_of_fold=False)
    chapter = hazards_chapter(make_study(data, settings, {}))
    assert chapter.section.problem is None
    shown = next(part.data for part in chapter.section.parts if part.name == "time_split_facesurvival")
    assert shown["events"].sum() == data["event"].sum()
    first = shown.iloc[0]
    died = data["event"] * (data["duration"] <= first["end"])
    until = data.assign(event=died, duration=data["duration"].clip(upper=first["end"]))
    spread = Scaled("face_risk", float(data["face_risk"].std()))
    alone = cox_regression(until, "duration", "event", [spread])
    assert first["hr"] == pytest.approx(alone.summary["hr"].iloc[0], rel=1e-6)


def test_a_table_with_one_score_and_no_age_gets_a_report_without_the_rest():
    settings = ReportSettings("duration", "event", face_survival="face_risk", out_of_fold=False)
    report = survival_report(people(), settings)
    assert report.numbers["not_shown"] == {}
    assert "hr_multivariable" not in report.numbers["hazard_ratios"]["FaceSurvival: FaceSurvival, per SD"]
    assert section(report, "FaceAge gap").parts == []
    report = survival_report(people(), ReportSettings("duration", "event", face_age="faceage", out_of_fold=False))
    assert report.numbers["not_shown"] == {}
    assert section(report, "Survival by groups").parts == []


def test_methods_and_checklists_tell_only_what_was_done(report):
    methods = section(report, "Methods").text
    assert "Efron" in methods
    assert "imputed" not in methods
    assert "delayed entry" not in methods
    items = table(report, "checklist_tripod_ai").set_index("item")["answer"]
    assert items["17"] == "to be filled by the authors"
    assert "Calibration" in items["12g"]
    without = survival_report(people(), replace(SETTINGS, subgroups=()))
    assert table(without, "checklist_tripod_ai").set_index("item")["answer"]["14"] == "to be filled by the authors"


def test_the_same_table_gives_the_same_numbers():
    data, settings = people(), replace(SETTINGS, subgroups=())
    first, second = (survival_report(data.copy(), settings).numbers for _ in range(2))
    assert repr(first) == repr(second)


def test_people_who_trained_the_model_are_refused_unless_scores_are_out_of_fold():
    data = people().assign(part=np.where(np.arange(400) % 3, "test", "train"))
    settings = replace(SETTINGS, part="part", out_of_fold=None)
    with pytest.raises(ValueError, match=r"part is 'train' in rows 1, 4, 7, 10, 13 and 129 more.*--out-of-fold"):
        make_study(data, settings, {})
    with pytest.raises(ValueError, match="part is 'train'"):
        make_study(data, replace(settings, out_of_fold=False), {})
    assert len(make_study(data, replace(settings, out_of_fold=True), {}).people) == 400
    assert len(make_study(data[data["part"] == "test"], settings, {}).people) == 266


def test_a_table_that_does_not_say_who_trained_the_model_is_refused():
    with pytest.raises(ValueError, match=r"Nothing says which people of development trained.*--held-out"):
        make_study(people(), replace(SETTINGS, out_of_fold=None), {})


def spoilt(column: str, rows: list[int], value: object) -> pd.DataFrame:
    data = people().astype({column: object})
    data.loc[rows, column] = value
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (people().drop(columns="sex"), r"no column 'sex'; its columns are duration, event"),
        (spoilt("faceage", [3, 8], "unknown"), r"faceage must hold numbers, got 'unknown' in rows 4, 9 .*leave them"),
        (spoilt("face_risk", [5], np.inf), r"face_risk is infinite in row 6 "),
        (spoilt("duration", [7], -1.0), r"duration must not be negative, got -1.0 in row 8 .*correct the dates"),
        (spoilt("event", [2], 3), r"event must be 1 \(died\) or 0 \(censored\), got 3.0 in row 3 "),
        (spoilt("person", [9], "0-4"), r"person must name each person once.*'0-4' in rows 5, 10 .*one row a person"),
        (spoilt("person", [9], None), r"person is missing in row 10 "),
        (people().assign(sex="female"), r"the covariate sex is 'female' in all 400 rows; leave it out"),
        (people().assign(event=0), r"event is 0 in all 400 rows"),
        (people().assign(stage="II"), r"the covariate stage is 'II'"),
        (people().assign(face_risk=np.nan), r"nobody is left to analyse .*400 face_risk missing"),
        (people().iloc[:0], r"has no rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_analysed_is_refused_with_column_rows_and_remedy(data, message):
    with pytest.raises(ValueError, match=message):
        make_study(data, SETTINGS, {})


def test_a_reference_that_does_not_occur_is_refused():
    with pytest.raises(ValueError, match=r"stage is never 'V', its reference; its groups are I, II, III"):
        make_study(people(), replace(SETTINGS, references={"stage": "V"}), {})


def test_a_person_in_two_cohorts_is_refused():
    with pytest.raises(ValueError, match="development and twice together: person must name each person once"):
        make_study(people(), SETTINGS, {"twice": people()})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"face_age": None, "face_survival": None}, "Nothing to evaluate"),
        ({"covariates": ("sex", "age")}, "age is named for more than one purpose"),
        ({"references": {"site": "1"}}, "site has a reference group but is no covariate"),
        ({"groups": 1}, "at least 2"),
        ({"horizons": (0.0,)}, "after 0, got 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(more, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **more)


def test_a_table_is_read_from_csv_parquet_and_json_lines(tmp_path):
    data = people()
    data.to_csv(tmp_path / "people.csv", index=False)
    data.to_parquet(tmp_path / "people.parquet")
    data.to_json(tmp_path / "people.jsonl", orient="records", lines=True, double_precision=15)
    for name in ("people.csv", "people.parquet", "people.jsonl"):
        read = check_table(read_table(tmp_path / name), SETTINGS, "people")
        pd.testing.assert_frame_equal(read, check_table(data, SETTINGS, "people"), check_dtype=False)
    with pytest.raises(ValueError, match=r"must end in \.csv, \.jsonl, \.parquet"):
        read_table(tmp_path / "people.xlsx")
    (tmp_path / "broken.parquet").write_text("no table")
    with pytest.raises(ValueError, match=r"broken\.parquet cannot be read"):
        read_table(tmp_path / "broken.parquet")


def test_one_table_of_two_cohorts_is_taken_apart():
    data = pd.concat([people().assign(clinic="A"), people(1).assign(clinic="B")], ignore_index=True)
    first, name, others = split_cohorts(data, "clinic", "B")
    assert (name, len(first), list(others)) == ("B", 400, ["A"])
    with pytest.raises(ValueError, match=r"cohorts of clinic are A, B; .*--development, got None"):
        split_cohorts(data, "clinic", None)


def test_messages_count_the_rows_of_the_table_that_was_read_not_of_one_cohort_in_it():
    data = pd.concat([people().assign(clinic="A"), people(1).assign(clinic="B")], ignore_index=True)
    data.loc[405, "faceage"] = np.inf
    second, name, _ = split_cohorts(data, "clinic", "B")
    with pytest.raises(ValueError, match="faceage is infinite in row 406 "):
        survival_report(second, replace(SETTINGS, development=name))


def test_the_command_writes_the_report_and_tells_the_main_numbers(tmp_path):
    people().to_csv(tmp_path / "clinic.csv", index=False)
    people(1).to_csv(tmp_path / "other.csv", index=False)
    arguments = [
        *("--out", tmp_path / "report", "--id", "person", "--face-age", "faceage", "--face-survival", "face_risk"),
        *("--age", "age", "--covariate", "sex", "--categorical", "stage:I", "--subgroup", "sex", "--horizon", "3"),
        *("--external", tmp_path / "other.csv", "--held-out"),
    ]
    command = [PROGRAM, "evaluate", "survival", tmp_path / "clinic.csv", *arguments]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "clinic: 400 of 400 people analysed" in result.stdout
    numbers = json.loads((tmp_path / "report/numbers.json").read_text())
    row = numbers["hazard_ratios"]["FaceAge: FaceAge, per decade"]
    assert row["hr_multivariable"] == pytest.approx(np.exp(10 * EXPECTED["ties efron"]["coef"][1]), rel=1e-6)
    assert f"FaceAge, per decade: multivariable hazard ratio {row['hr_multivariable']:.2f}" in result.stdout
    assert set(numbers["sources"]) == {"code", "data", "external_other"}
    files = {path.relative_to(tmp_path / "report").as_posix() for path in (tmp_path / "report").rglob("*")}
    assert files >= {"report.html", "report.md", "tables/cox.csv", "figures/curves.svg", "figures/curves_1.png"}
    assert "models/combination.json" in files


def test_the_command_refuses_in_one_line(tmp_path):
    people().drop(columns="event").to_csv(tmp_path / "clinic.csv", index=False)
    command = [PROGRAM, "evaluate", "survival", tmp_path / "clinic.csv", "--out", tmp_path / "report", "--held-out"]
    result = subprocess.run([*map(str, command), "--face-age", "faceage"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "clinic has no column 'event'" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "report").exists()
