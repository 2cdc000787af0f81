"""Hazard ratios within subgroups: R's numbers (`tests/r/subgroups.R`), and words where there are none."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")
pytest.importorskip("statsmodels")

from fahr_hf.clinical.cox import cox_regression
from fahr_hf.clinical.design import Categorical, Scaled, Spline, Standardised
from fahr_hf.clinical.subgroups import subgroup_analysis

R = Path(__file__).parent / "r"
EXPECTED = json.loads((R / "subgroups.json").read_text())
HORMONE, GRADE = Categorical("horTh", reference="no"), Categorical("tgrade", reference="I")
NUMBERS = ["hr", "hr_low", "hr_high", "p"]


def cohort(name):
    return pd.read_csv(R / "cohorts" / f"{name}.csv")


def gbsg2(subgroups, covariates=(), exposure="pnodes", **change):
    table = cohort("gbsg2").assign(**change)
    return subgroup_analysis(table, "duration", "event", exposure, subgroups, covariates)


def numbers(tree):
    if isinstance(tree, dict | list):
        return [number for branch in (tree.values() if isinstance(tree, dict) else tree) for number in numbers(branch)]
    return [] if isinstance(tree, str) else [tree]


class TestAgreementWithR:
    @pytest.mark.parametrize(
        ("name", "exposure", "subgroups", "covariates", "entry"),
        [
            ("gbsg2", "pnodes", ["horTh", "tgrade", "menostat"], ["age", "tsize", HORMONE, GRADE], None),
            ("entry", "risk", ["sex", "arm"], ["age", Categorical("sex", reference="female")], "entry"),
        ],
    )
    def test_hazard_ratios_and_tests_of_interaction_are_those_of_coxph(
        self, name, exposure, subgroups, covariates, entry
    ):
        found = subgroup_analysis(cohort(name), "duration", "event", exposure, subgroups, covariates, entry)
        expected = pd.DataFrame(EXPECTED[name]["levels"])
        counts = ["subgroup", "level", "n", "events"]
        pd.testing.assert_frame_equal(found[counts], expected[counts], check_dtype=False)
        np.testing.assert_allclose(found[NUMBERS], expected[NUMBERS], rtol=1e-6)
        tests = found.groupby("subgroup", sort=False)[["p_interaction", "p_holm"]].first()
        np.testing.assert_allclose(tests["p_interaction"], EXPECTED[name]["p_interaction"], rtol=1e-6)
        np.testing.assert_allclose(tests["p_holm"], EXPECTED[name]["p_holm"], rtol=1e-6)
        assert (found["problem"] == "").all()

    def test_a_covariates_group_without_deaths_leaves_the_exposure_what_it_is_in_the_limit(self):
        table = cohort("gbsg2").query("tsize <= 30")
        table.loc[(table.tgrade == "I") & (table.horTh == "yes"), "event"] = 0
        found = subgroup_analysis(table, "duration", "event", "pnodes", ["horTh"], ["age", GRADE]).iloc[1]
        expected = EXPECTED["separated"]
        assert (found["n"], found["events"]) == (expected["n"], expected["events"])
        np.testing.assert_allclose(found[NUMBERS].astype(float), [expected[name] for name in NUMBERS], rtol=1e-5)

    @pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
    def test_the_script_still_gives_the_same_numbers(self, tmp_path):
        subprocess.run(["Rscript", R / "subgroups.R", tmp_path / "again.json"], cwd=R.parents[1], check=True)
        again = json.loads((tmp_path / "again.json").read_text())
        np.testing.assert_allclose(numbers(again), numbers(EXPECTED), rtol=1e-6)


class TestWithinALevel:
    def test_the_subgroup_variable_is_no_covariate_of_itself(self):
        with_it, without = gbsg2(["horTh"], ["age", HORMONE]), gbsg2(["horTh"], ["age"])
        pd.testing.assert_frame_equal(with_it, without)

    def test_a_standard_deviation_is_that_of_everybody(self):
        table = cohort("gbsg2")
        found = gbsg2(["tgrade"], exposure=Standardised("tsize"))
        grade = table[table.tgrade == "II"]
        alone = cox_regression(grade, "duration", "event", [Scaled("tsize", per=table.tsize.std())])
        assert found["hr"][1] == pytest.approx(alone.summary["hr"].iloc[0], rel=1e-9)

    def test_covariates_that_cannot_vary_there_are_left_out(self):
        # Among the old, the age is on one side of all knots but the last, and nobody is premenopausal.
        covariates = [Spline("age", knots=(30, 40, 50, 55)), Categorical("menostat", reference="Pre"), "tsize"]
        found = gbsg2(["old"], covariates, old=cohort("gbsg2").age > 60)
        table = cohort("gbsg2").query("age > 60 and menostat == 'Post'")
        alone = cox_regression(table, "duration", "event", ["pnodes", "age", "tsize"])
        assert found["level"].tolist() == ["False", "True"]
        assert found["hr"][1] == pytest.approx(alone.summary.loc["pnodes", "hr"], rel=1e-6)

    def test_people_whose_group_is_missing_take_no_part(self):
        table = cohort("gbsg2")
        known = table.tgrade.where(table.index % 3 > 0)
        found = gbsg2(["tgrade"], ["age"], tgrade=known)
        complete = subgroup_analysis(table[known.notna()], "duration", "event", "pnodes", ["tgrade"], ["age"])
        pd.testing.assert_frame_equal(found, complete)
        assert found["n"].sum() == known.notna().sum()

    def test_levels_come_in_the_order_of_the_categories(self):
        grades = pd.Categorical(cohort("gbsg2").tgrade, ["III", "II", "I", "IV"])
        assert gbsg2(["tgrade"], tgrade=grades)["level"].tolist() == ["III", "II", "I"]


class TestNoHazardRatio:
    def test_a_level_with_nine_deaths_is_shown_without_and_takes_no_part_in_the_test(self):
        table = cohort("gbsg2")
        rare = np.where(table.index.isin(table[table.event == 1].index[:9]), "rare", table.horTh)
        found = gbsg2(["rare", "horTh"], ["age"], rare=rare)
        row = found[found.level == "rare"].iloc[0]
        assert (row["n"], row["events"], row["problem"]) == (9, 9, "9 events, fewer than 10.")
        assert row[["hr", "hr_low", "hr_high", "p"]].isna().all()
        others = subgroup_analysis(table[rare != "rare"], "duration", "event", "pnodes", ["horTh"], ["age"])
        assert row["p_interaction"] == pytest.approx(others["p_interaction"][0], rel=1e-9)

    def test_an_exposure_that_does_not_vary_in_a_level_says_so(self):
        table = cohort("gbsg2")
        found = gbsg2(["horTh"], ["age"], pnodes=table.pnodes.where(table.horTh == "no", 3))
        assert found["problem"].tolist()[1] == "pnodes has a single value."
        assert found["problem"].tolist()[0] == "Fewer than two levels have a hazard ratio: no test of interaction."
        assert found[["p_interaction", "p_holm"]].isna().all(axis=None)

    def test_an_exposure_that_separates_in_a_level_says_so_and_the_others_stay(self):
        table = cohort("gbsg2")
        exposed = np.where(table.horTh == "yes", (1 - table.event) * (table.index % 2), table.index % 2)
        found = gbsg2(["horTh"], exposure="exposed", exposed=exposed)
        assert found["hr"].notna().tolist() == [True, False]
        assert "exposed to -infinity" in found["problem"][1]

    def test_fewer_events_than_coefficients_are_too_few(self):
        table = cohort("gbsg2")
        many = {f"x{i}": np.random.default_rng(i).normal(size=len(table)) for i in range(15)}
        few = [*table[table.event == 1].index[:12], *table[table.event == 0].index[:30]]
        part = np.where(table.index.isin(few), "twelve", "rest")
        found = gbsg2(["part"], list(many), part=part, **many)
        assert found["problem"][1] == "12 events are too few for 16 coefficients."


class TestBadInput:
    @pytest.mark.parametrize(
        ("subgroups", "exposure", "message"),
        [
            ([], "pnodes", "columns of data, got none"),
            (["stage"], "pnodes", r"got \['stage'\]"),
            (["age"], "pnodes", "age has 54 levels.*pandas.cut"),
            (["one"], "pnodes", "one has 1 levels"),
            (["horTh"], GRADE, "one coefficient, got tgrade: II, tgrade: III"),
        ],
    )
    def test_a_message_names_what_was_wrong(self, subgroups, exposure, message):
        with pytest.raises(ValueError, match=message):
            gbsg2(subgroups, exposure=exposure, one=1)


def test_fifty_levels_of_thirty_five_thousand_people_are_compared_within_a_minute():
    random = np.random.default_rng(0)
    names = [f"x{i}" for i in range(15)]
    table = pd.DataFrame(random.normal(size=(35_000, 15)), columns=names)
    table = table.assign(**{f"group{i}": random.integers(0, 5, len(table)) for i in range(10)})
    death, leave = random.exponential(4 * np.exp(-0.2 * table.x0)), random.exponential(2, len(table))
    table = table.assign(duration=np.ceil(365 * np.minimum(death, leave)), event=death <= leave)
    begin = time.process_time()
    found = subgroup_analysis(table, "duration", "event", "x0", [f"group{i}" for i in range(10)], names[1:])
    assert time.process_time() - begin < 60  # about 8 on one idle core
    assert len(found) == 50
    assert (np.abs(np.log(found["hr"]) - 0.2) < 0.15).all()
