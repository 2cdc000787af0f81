"""Multiple imputation recovers what complete cases lose, and pools as R's mice does (`tests/r/pooling.R`)."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")

from fahr_hf.clinical.cox import cox_regression
from fahr_hf.clinical.design import Categorical
from fahr_hf.clinical.imputation import impute, nelson_aalen, pool
from fahr_hf.clinical.outcomes import check_outcomes

R = Path(__file__).parent / "r"
EXPECTED = json.loads((R / "pooling.json").read_text())
COLUMNS = ["faceage", "albumin", "stage", "site"]
TRUTH = {"faceage": 0.03, "albumin": -0.1, "stage: late": 0.7, "site: lung": 0.4}


def has_mice():
    if shutil.which("Rscript") is None:
        return False
    return subprocess.run(["Rscript", "-e", "library(mice)"], capture_output=True, check=False).returncode == 0


def numbers(tree):
    if isinstance(tree, dict | list):
        return [number for branch in (tree.values() if isinstance(tree, dict) else tree) for number in numbers(branch)]
    return [tree]


def simulate(n, seed):
    """People whose albumin and stage depend on FaceAge, and who die at rates of which `TRUTH` holds the logarithms."""
    random = np.random.default_rng(seed)
    faceage = random.normal(60, 10, n)
    late = random.random(n) < 1 / (1 + np.exp(-(faceage - 60) / 10))
    albumin = 40 - 0.1 * (faceage - 60) - 1.5 * late + random.normal(0, 3, n)
    site = random.choice(["breast", "lung", "other"], n)
    rate = 0.15 * np.exp(0.03 * (faceage - 60) - 0.1 * (albumin - 40) + 0.7 * late + 0.4 * (site == "lung"))
    death, leave = random.exponential(1 / rate), random.uniform(2, 10, n)
    table = {"duration": np.minimum(death, leave), "event": (death <= leave).astype(int), "faceage": faceage}
    return pd.DataFrame(table | {"albumin": albumin, "stage": np.where(late, "late", "early"), "site": site})


def with_gaps(table, seed=0):
    """Albumin, stage and site get lost more often in those who die and look old: missing at random, given these."""
    random = np.random.default_rng(seed)
    chance = 1 / (1 + np.exp(1.5 - table.event * (1 + 0.15 * (table.faceage - 60))))
    lost = {"albumin": chance, "stage": chance / 2, "site": 0.1}
    return table.assign(**{name: table[name].mask(random.random(len(table)) < p) for name, p in lost.items()})


def fit(table):
    covariates = ["faceage", "albumin", Categorical("stage", reference="early"), Categorical("site", reference="other")]
    return cox_regression(table, "duration", "event", covariates)


class TestImputation:
    def test_it_recovers_the_hazard_ratios_that_complete_cases_get_wrong(self):
        table = with_gaps(simulate(4000, seed=0))
        assert 0.3 < table.albumin.isna().mean() < 0.6
        pooled = pool([fit(filled) for filled in impute(table, COLUMNS, "duration", "event", m=8)])
        complete = fit(table.dropna()).summary
        for name, truth in TRUTH.items():
            assert abs(pooled.loc[name, "coef"] - truth) < 2.5 * pooled.loc[name, "se"], name
        assert abs(complete.loc["faceage", "coef"] - 0.03) > 4 * complete.loc["faceage", "se"]

    def test_intervals_hold_the_truth_about_as_often_as_they_say(self):
        covered = []
        for seed in range(25):
            imputations = impute(with_gaps(simulate(400, seed), seed), COLUMNS, "duration", "event", m=5)
            pooled = pool([fit(filled) for filled in imputations])
            limits = np.log(pooled.loc[list(TRUTH), ["hr_low", "hr_high"]].to_numpy())
            covered.append((limits[:, 0] < list(TRUTH.values())) & (limits[:, 1] > list(TRUTH.values())))
        assert 0.89 <= np.mean(covered) <= 1

    def test_groups_are_drawn_in_the_shares_that_the_other_columns_imply(self):
        random = np.random.default_rng(0)
        x = random.integers(0, 2, 6000)
        share = np.array([[0.7, 0.2, 0.1], [0.2, 0.3, 0.5]])[x]
        group = np.array(["a", "b", "c"])[(random.random((6000, 1)) > share.cumsum(axis=1)[:, :2]).sum(axis=1)]
        table = pd.DataFrame({"duration": random.exponential(1, 6000), "event": 1, "x": x, "group": group})
        table["group"] = table["group"].mask(table.index < 3000)
        filled = impute(table, ["x", "group"], "duration", "event", m=2)[0][:3000]
        found = pd.crosstab(filled.x, filled.group, normalize="index").to_numpy()
        np.testing.assert_allclose(found, [[0.7, 0.2, 0.1], [0.2, 0.3, 0.5]], atol=0.05)

    def test_numbers_are_taken_from_other_people(self):
        table = with_gaps(simulate(300, seed=1))
        filled = impute(table, COLUMNS, "duration", "event", m=2)[1]
        assert set(filled.albumin) <= set(table.albumin.dropna())

    def test_complete_data_pass_through_unchanged(self):
        table = simulate(50, seed=0)
        for filled in impute(table, COLUMNS, "duration", "event", m=2):
            pd.testing.assert_frame_equal(filled, table)

    def test_only_gaps_change_and_types_stay(self):
        table = with_gaps(simulate(300, seed=2)).astype({"stage": "category", "albumin": "Float64"})
        table["smoker"] = pd.array(np.where(table.index % 3, table.index % 2 == 0, pd.NA), "boolean")
        table["left_alone"] = table.albumin
        table.index = table.index + 1000
        filled = impute(table, [*COLUMNS, "smoker"], "duration", "event", m=2)[0]
        assert not filled[[*COLUMNS, "smoker"]].isna().any(axis=None)
        assert filled.dtypes.equals(table.dtypes)
        pd.testing.assert_frame_equal(filled.where(table.notna()), table.where(table.notna()))
        assert filled.left_alone.isna().sum() == table.left_alone.isna().sum() > 0

    def test_an_imputation_depends_on_the_seed_and_its_number_alone(self):
        table = with_gaps(simulate(200, seed=3))
        few, many = (impute(table, COLUMNS, "duration", "event", m=m, seed=5) for m in (2, 4))
        for one, same in zip(few, many, strict=False):
            pd.testing.assert_frame_equal(one, same)
        assert not few[0].equals(few[1])
        assert not few[0].equals(impute(table, COLUMNS, "duration", "event", m=2, seed=6)[0])

    def test_collinear_and_separated_predictors_do_no_harm(self):
        table = simulate(300, seed=4)
        table["twice"] = 2 * table.faceage
        table["old"] = np.where(table.faceage > 60, "yes", "no")
        table["constant"] = 1.0
        gaps = table.assign(old=table.old.mask(table.index % 4 == 0), albumin=table.albumin.mask(table.index % 5 == 0))
        columns = ["faceage", "twice", "old", "albumin", "constant"]
        filled = impute(gaps, columns, "duration", "event", m=2)[0]
        assert (filled.old == table.old).mean() > 0.95

    def test_delayed_entry_counts_the_hazard_since_entry(self):
        outcomes = check_outcomes([1.0, 2.0, 2.0, 3.0], [1, 1, 0, 1], [0.0, 0.0, 1.0, 1.5])
        # At risk: 2 at time 1; 3 at time 2, of whom one entered at 1; 1 at time 3.
        np.testing.assert_allclose(nelson_aalen(outcomes), [1 / 2, 1 / 2 + 1 / 3, 1 / 3, 1 / 3 + 1])
        table = with_gaps(simulate(300, seed=5)).assign(entry=lambda people: people.duration / 2)
        late = impute(table, COLUMNS, "duration", "event", m=2, entry="entry")[0]
        assert not late.equals(impute(table, COLUMNS, "duration", "event", m=2)[0])


class TestRubinsRules:
    def fits(self, name):
        covariates, every = {
            "many": (["pnodes", "age", Categorical("horTh", reference="no")], 2),
            "few": (["pnodes", Categorical("tgrade", reference="I")], 10),
            "none": (["tsize", "age"], 2),
        }[name]
        table = pd.read_csv(R / "cohorts" / "gbsg2.csv")
        row = np.arange(len(table))
        versions = [table.assign(pnodes=table.pnodes.mask(row % every == 0, (row * i * i) % 23)) for i in range(1, 6)]
        return [cox_regression(version, "duration", "event", covariates) for version in versions]

    @pytest.mark.parametrize("name", EXPECTED)
    def test_pooled_numbers_are_those_of_mice(self, name):
        found, expected = pool(self.fits(name)), EXPECTED[name]
        for column in ("coef", "se", "t", "p", "df", "fmi"):
            np.testing.assert_allclose(found[column], expected[column], rtol=1e-6, err_msg=column)
        np.testing.assert_allclose(
            np.log(found[["hr_low", "hr_high"]]).T, [expected["low"], expected["high"]], rtol=1e-6
        )
        np.testing.assert_allclose(np.log(found["hr"]), expected["coef"], rtol=1e-6)

    def test_alike_fits_pool_to_the_fit_itself(self):
        one = self.fits("none")[0]
        found = pool([one, one, one])
        np.testing.assert_allclose(found[["coef", "se", "hr"]], one.summary[["coef", "se", "hr"]], rtol=1e-12)

    @pytest.mark.skipif(not has_mice(), reason="R or its package mice is not installed")
    def test_the_script_still_gives_the_same_numbers(self, tmp_path):
        subprocess.run(["Rscript", R / "pooling.R", tmp_path / "again.json"], cwd=R.parents[1], check=True)
        again = json.loads((tmp_path / "again.json").read_text())
        np.testing.assert_allclose(numbers(again), numbers(EXPECTED), rtol=1e-6)

    def test_one_fit_cannot_say_how_much_is_missing(self):
        with pytest.raises(ValueError, match="at least two fits, got 1"):
            pool(self.fits("none")[:1])

    def test_fits_of_other_covariates_are_refused(self):
        with pytest.raises(ValueError, match=r"Fit 1 has the coefficients pnodes, tgrade: II.*same covariates"):
            pool([self.fits("none")[0], self.fits("few")[0]])


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"albumin": np.nan}, "albumin has no known value in 60 rows"),
            ({"albumin": np.inf}, "albumin must be finite"),
            ({"site": "lung"}, "site has 1 groups, the first is 'lung'"),
            ({"site": [f"{i} mg" for i in range(60)]}, "site has 60 groups.*pandas.to_numeric"),
            ({"event": np.nan}, "event must be finite, without missing values"),
        ],
    )
    def test_a_message_names_the_column(self, change, message):
        with pytest.raises(ValueError, match=message):
            impute(simulate(60, seed=0).assign(**change), COLUMNS, "duration", "event")

    def test_absent_columns_and_a_single_imputation_are_refused(self):
        table = simulate(60, seed=0)
        with pytest.raises(ValueError, match="no column 'weight'"):
            impute(table, ["weight"], "duration", "event")
        with pytest.raises(ValueError, match=r"m must be at least 2.*got 1"):
            impute(table, COLUMNS, "duration", "event", m=1)
