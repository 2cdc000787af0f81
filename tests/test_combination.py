"""One Cox model of age, covariates and both scores: R's numbers (`tests/r/combination.R`), and the model for others."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")

from fahr_hf.clinical.combination import combine_scores
from fahr_hf.clinical.compare_models import compare_fits
from fahr_hf.clinical.concordance import concordance
from fahr_hf.clinical.cox import Z95, cox_regression, likelihood_ratio_test
from fahr_hf.clinical.cox_model import load_cox, save_cox
from fahr_hf.clinical.design import Categorical, Scaled, Standardised
from fahr_hf.clinical.prediction import linear_predictor, predict_survival
from fahr_hf.clinical.report.combination import combination_chapter
from fahr_hf.clinical.report.settings import ReportSettings
from fahr_hf.clinical.report.study import make_study
from fahr_hf.reports.document import Report
from fahr_hf.reports.writing import write_report

R = Path(__file__).parent / "r"
EXPECTED = json.loads((R / "combination.json").read_text())
AGE, FACE_AGE, FACE_SURVIVAL = Scaled("age", per=10), Scaled("faceage", per=10), Standardised("risk")
CLINICAL = [AGE, Categorical("sex", reference="female"), Categorical("stage", reference="I")]
BLOCKS = {
    "ties": {"clinical": CLINICAL, "FaceAge": [FACE_AGE], "FaceSurvival": [FACE_SURVIVAL]},
    "entry": {"age": [AGE], "FaceSurvival": [FACE_SURVIVAL]},
}


def cohort(name):
    table = pd.read_csv(R / "cohorts" / f"{name}.csv")
    # The cohort with ties has no second score; the script in R makes the same one.
    return table if name == "entry" else table.assign(risk=np.sin(1.7 * np.arange(len(table))) + 0.04 * table.faceage)


def combine(name, table=None):
    entry = "entry" if name == "entry" else None
    return combine_scores(cohort(name) if table is None else table, "duration", "event", BLOCKS[name], entry=entry)


def numbers(tree):
    if isinstance(tree, dict | list):
        return [number for branch in (tree.values() if isinstance(tree, dict) else tree) for number in numbers(branch)]
    return [] if isinstance(tree, str) else [tree]


@pytest.mark.parametrize("name", BLOCKS)
class TestAgreementWithR:
    def test_hazard_ratios_per_decade_and_per_sd_are_those_of_coxph(self, name):
        summary, expected = combine(name).fit.summary, EXPECTED[name]
        np.testing.assert_allclose(summary["hr"], expected["hr"], rtol=1e-7)
        np.testing.assert_allclose(summary["hr_low"], expected["low"], rtol=1e-7)
        np.testing.assert_allclose(summary["hr_high"], expected["high"], rtol=1e-7)
        np.testing.assert_allclose(summary["p"], expected["p"], rtol=1e-6)

    @pytest.mark.parametrize("table", ["in_order", "last"])
    def test_what_a_block_adds_is_tested_as_anova_and_concordance_do(self, name, table):
        found, expected = getattr(combine(name), table).reset_index(), pd.DataFrame(EXPECTED[name][table])
        assert found[["block", "to", "df"]].equals(expected[["block", "to", "df"]])
        np.testing.assert_allclose(found[["chisq", "p"]], expected[["chisq", "p"]], rtol=1e-6)
        np.testing.assert_allclose(found[["c", "difference"]], expected[["c", "difference"]], rtol=1e-7)
        np.testing.assert_allclose(found["difference_high"] - found["difference"], Z95 * expected["se"], rtol=1e-7)
        np.testing.assert_allclose(found["difference"] - found["difference_low"], Z95 * expected["se"], rtol=1e-7)


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_the_script_still_gives_the_same_numbers(tmp_path):
    subprocess.run(["Rscript", R / "combination.R", tmp_path / "again.json"], cwd=R.parents[1], check=True)
    again = json.loads((tmp_path / "again.json").read_text())
    np.testing.assert_allclose(numbers(again), numbers(EXPECTED), rtol=1e-7)


def test_each_row_is_two_regressions_made_by_hand():
    table = cohort("ties")
    row = combine("ties").last.loc["FaceAge"]
    without = cox_regression(table, "duration", "event", [*CLINICAL, FACE_SURVIVAL])
    whole = cox_regression(table, "duration", "event", [*CLINICAL, FACE_AGE, FACE_SURVIVAL])
    assert row["to"] == "clinical + FaceSurvival"
    assert (row["chisq"], row["df"], row["p"]) == likelihood_ratio_test(without, whole)
    c = [concordance(table.event, table.duration, fit.linear_predictor)[0] for fit in (without, whole)]
    assert (row["c"], row["difference"]) == (c[1], c[1] - c[0])


def test_in_order_the_gains_sum_to_that_of_the_whole_model_whatever_the_order():
    table = cohort("ties")
    found = combine("ties")
    backwards = combine_scores(table, "duration", "event", dict(reversed(BLOCKS["ties"].items())))
    whole = 2 * (found.fit.log_likelihood - found.fit.null_log_likelihood)
    assert found.in_order["chisq"].sum() == pytest.approx(whole, rel=1e-9)
    assert backwards.in_order["chisq"].sum() == pytest.approx(whole, rel=1e-9)
    np.testing.assert_allclose(found.last["chisq"], backwards.last.loc[found.last.index, "chisq"], rtol=1e-6)


def test_what_two_blocks_have_in_common_counts_for_the_first_and_for_neither_when_last():
    table = pd.read_csv(R / "cohorts" / "whas500.csv")
    table["faceage"] = table.age + np.sin(np.arange(len(table)))
    found = combine_scores(table, "duration", "event", {"FaceAge": ["faceage"], "age": ["age"]})
    assert found.in_order.loc["FaceAge", "chisq"] > 100
    assert found.last["chisq"].max() < 5


class TestOtherPeople:
    def test_the_model_as_a_file_is_applied_to_new_people(self, tmp_path):
        found, new = combine("ties"), cohort("ties").iloc[::7].drop(columns=["duration", "event"])
        save_cox(found.fit, tmp_path / "combination.json", cohort="clinic")
        model = load_cox(tmp_path / "combination.json")
        pd.testing.assert_series_equal(model.linear_predictor(new), linear_predictor(found.fit, new))
        expected = predict_survival(found.fit, new, [1, 4])
        np.testing.assert_allclose(model.predict_survival(new, [1, 4]), expected, rtol=0, atol=1e-12)

    def test_all_models_are_judged_on_people_they_were_not_fitted_to(self):
        table = cohort("ties")
        found = combine("ties", table.iloc[::2])
        other = compare_fits(found.models, table.iloc[1::2], "duration", "event", times=[2])
        assert set(other.concordance.index) == {
            "clinical", "clinical + FaceAge", "clinical + FaceSurvival", "FaceAge + FaceSurvival",
            "clinical + FaceAge + FaceSurvival",
        }  # fmt: skip


class TestBadInput:
    def combine(self, blocks, **columns):
        return combine_scores(cohort("ties").assign(**columns), "duration", "event", blocks)

    def test_no_block_and_an_empty_one_are_refused(self):
        with pytest.raises(ValueError, match="blocks is empty"):
            self.combine({})
        with pytest.raises(ValueError, match="The block 'clinical' has no covariates; leave it out"):
            self.combine({"clinical": [], "FaceAge": ["faceage"]})

    def test_a_value_that_only_the_last_block_needs_is_asked_of_everybody(self):
        risk = cohort("ties").risk.where(np.arange(400) != 6)
        with pytest.raises(ValueError, match=r"1 of 400 rows have missing values \(risk 1\)"):
            self.combine({"age": ["age"], "FaceSurvival": ["risk"]}, risk=risk)

    def test_the_gap_says_nothing_beside_age_and_faceage(self):
        gap = cohort("ties").faceage - cohort("ties").age
        with pytest.raises(ValueError, match="gap"):
            self.combine({"age": ["age"], "FaceAge": ["faceage"], "gap": ["gap"]}, gap=gap)


class TestReport:
    SETTINGS = ReportSettings(
        "duration",
        "event",
        face_age="faceage",
        face_survival="risk",
        age="age",
        covariates=("sex", "stage"),
        references={"sex": "female", "stage": "I"},
        out_of_fold=False,
        development="clinic",
    )

    def test_the_report_tests_every_part_and_holds_the_model_as_a_file(self, tmp_path):
        chapter = combination_chapter(make_study(cohort("ties"), self.SETTINGS, {}))
        assert chapter.section.problem is None
        rows = pd.DataFrame(chapter.numbers["added"])
        assert list(zip(rows["part"], rows["to"], strict=True)) == [
            ("clinical", "nothing"),
            ("FaceAge", "clinical"),
            ("FaceSurvival", "clinical + FaceAge"),
            ("clinical", "FaceAge + FaceSurvival"),
            ("FaceAge", "clinical + FaceSurvival"),
        ]
        write_report(Report("Combination", "", [chapter.section], {}, chapter.models), tmp_path / "report")
        model = load_cox(tmp_path / "report/models/combination.json")
        assert (model.cohort, model.n, model.events) == ("clinic", 400, int(cohort("ties").event.sum()))
        pd.testing.assert_series_equal(
            model.linear_predictor(cohort("ties")), combine("ties").fit.linear_predictor, rtol=1e-9
        )

    def test_one_score_with_nothing_beside_it_makes_no_combination(self):
        settings = ReportSettings("duration", "event", face_age="faceage", out_of_fold=False)
        chapter = combination_chapter(make_study(cohort("ties"), settings, {}))
        assert "the table has one" in chapter.section.text
        assert not chapter.section.parts
        assert not chapter.models
