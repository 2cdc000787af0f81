"""Hazard ratios in windows of time and differences of restricted means: R's numbers (`tests/r/time_split.R`)."""

import json
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")

from fahr_hf.clinical.cox import cox_regression
from fahr_hf.clinical.design import Categorical
from fahr_hf.clinical.time_split import restricted_mean_differences, time_split_hazard_ratios

R = Path(__file__).parent / "r"
EXPECTED = json.loads((R / "time_split.json").read_text())
SEX, STAGE = Categorical("sex", reference="female"), Categorical("stage", reference="I")
MODELS = {
    "veteran": (
        "Karnofsky_score",
        [50, 150],
        [Categorical("Treatment", reference="standard"), "Age_in_years"],
        None,
    ),
    "ties": ("faceage", [2, 4], ["age", SEX, STAGE], None),
    "entry": ("risk", [2, 5], ["age", Categorical("arm", reference="a")], "entry"),
}


def cohort(name):
    return pd.read_csv(R / "cohorts" / f"{name}.csv")


def split(name, **change):
    exposure, cuts, covariates, entry = MODELS[name]
    options = {"exposure": exposure, "cuts": cuts, "covariates": covariates, "entry": entry} | change
    return time_split_hazard_ratios(cohort(name), "duration", "event", **options)


def numbers(tree):
    if isinstance(tree, dict | list):
        return [number for branch in (tree.values() if isinstance(tree, dict) else tree) for number in numbers(branch)]
    return [tree]


class TestAgreementWithR:
    @pytest.mark.parametrize("name", MODELS)
    def test_windows_are_those_of_surv_split_and_coxph(self, name):
        found, expected = split(name), EXPECTED["windows"][name]
        assert found["n"].tolist() == expected["n"]
        assert found["events"].tolist() == expected["events"]
        for column in ("hr", "hr_low", "hr_high", "p"):
            np.testing.assert_allclose(found[column], expected[column], rtol=1e-6)
        np.testing.assert_allclose(found["p_equal"], expected["p_equal"], rtol=1e-6)

    @pytest.mark.parametrize(("name", "group", "entry"), [("veteran", "Celltype", None), ("entry", "arm", "entry")])
    def test_differences_are_those_of_rs_restricted_means(self, name, group, entry):
        table, expected = cohort(name), EXPECTED["restricted_means"][name]
        begin = None if entry is None else table[entry]
        found = restricted_mean_differences(table.duration, table.event, table[group], expected["tau"], begin)
        pairs = list(combinations(zip(expected["mean"], expected["se"], strict=True), 2))
        difference = [second[0] - first[0] for first, second in pairs]
        np.testing.assert_allclose(found["difference"], difference, rtol=1e-9)
        np.testing.assert_allclose(found["mean_against"], [first[0] for first, _ in pairs], rtol=1e-9)
        se = [np.hypot(first[1], second[1]) for first, second in pairs]
        np.testing.assert_allclose(found["se"], se, rtol=1e-9)
        np.testing.assert_allclose(found["high"], np.add(difference, 1.959964 * np.array(se)), rtol=1e-6)

    @pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
    def test_the_script_still_gives_the_same_numbers(self, tmp_path):
        subprocess.run(["Rscript", R / "time_split.R", tmp_path / "again.json"], cwd=R.parents[1], check=True)
        again = json.loads((tmp_path / "again.json").read_text())
        np.testing.assert_allclose(numbers(again), numbers(EXPECTED), rtol=1e-6)


class TestWindows:
    def test_they_cover_the_follow_up_and_every_death(self):
        found, table = split("entry"), cohort("entry")
        assert found["start"].tolist() == [table.entry.min(), 2, 5]
        assert found["end"].tolist() == [2, 5, table.duration.max()]
        assert found["events"].sum() == table.event.sum()

    def test_a_single_cut_may_be_a_number(self):
        pd.testing.assert_frame_equal(split("veteran", cuts=100), split("veteran", cuts=[100]))

    def test_hazard_ratios_that_change_are_recovered(self):
        # The exposure doubles the hazard up to time 1, and halves it afterwards.
        random = np.random.default_rng(0)
        exposed = random.integers(0, 2, 20_000)
        early = random.exponential(1 / np.where(exposed, 1.0, 0.5))
        late = 1 + random.exponential(1 / np.where(exposed, 0.25, 0.5))
        death = np.where(early < 1, early, late)
        table = pd.DataFrame({"duration": np.minimum(death, 4), "event": death < 4, "exposed": exposed})
        found = time_split_hazard_ratios(table, "duration", "event", "exposed", [1], [])
        np.testing.assert_allclose(found["hr"], [2, 0.5], rtol=0.08)
        assert (found["hr_low"] < [2, 0.5]).all()
        assert (found["hr_high"] > [2, 0.5]).all()
        assert found["p_equal"][0] < 1e-50

    def test_a_window_of_its_own_follow_up_gives_what_a_fit_of_those_still_there_gives(self):
        table = cohort("veteran")
        found = split("veteran", cuts=[100], covariates=[])
        late = table[table.duration > 100].assign(begin=100)
        alone = cox_regression(late, "duration", "event", ["Karnofsky_score"], entry="begin").summary
        np.testing.assert_allclose(found["hr"][1], alone["hr"].iloc[0], rtol=1e-9)


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"cuts": [4, 2]}, r"must rise within the follow-up, 0 to 8, got \[4.0, 2.0\]"),
            ({"cuts": [0]}, "within the follow-up"),
            ({"cuts": [8]}, "within the follow-up"),
            ({"cuts": [0.5, 0.7]}, "Nobody dies between 0.5 and 0.7.*other cuts"),
            ({"exposure": STAGE, "covariates": []}, "one coefficient, got stage: II, stage: III"),
        ],
    )
    def test_windows_need_an_exposure_and_deaths(self, change, message):
        with pytest.raises(ValueError, match=message):
            split("ties", **change)

    def test_a_group_whose_follow_up_is_too_short_is_named(self):
        table = cohort("ties")
        table.loc[(table.stage == "II") & (table.duration > 5), ["duration", "event"]] = 5, 0
        with pytest.raises(ValueError, match="Group 'II': tau is 7, but follow-up ends at 5"):
            restricted_mean_differences(table.duration, table.event, table.stage, 7)

    @pytest.mark.parametrize(("group", "message"), [("a", "takes two groups"), (None, "must hold 400 groups, got 0")])
    def test_a_difference_takes_two_known_groups(self, group, message):
        table = cohort("ties")
        with pytest.raises(ValueError, match=message):
            restricted_mean_differences(table.duration, table.event, [group] * len(table), 5)
