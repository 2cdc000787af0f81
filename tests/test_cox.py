"""Cox regression: R's numbers, which `tests/r/cox.R` wrote to `tests/r/cox.json`, and clear words where none exist."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")

from fahr_hf.clinical.cox import cox_regression, likelihood_ratio_test
from fahr_hf.clinical.design import Categorical, Scaled, Standardised
from fahr_hf.clinical.proportional_hazards import proportional_hazards_test
from fahr_hf.clinical.risk_intervals import RiskIntervals

R = Path(__file__).parent / "r"
EXPECTED = json.loads((R / "cox.json").read_text())
MODELS = {
    "gbsg2": (
        "gbsg2",
        [
            Scaled("age", per=10),
            Categorical("horTh", reference="no"),
            "pnodes",
            "progrec",
            "estrec",
            Categorical("tgrade", reference="I"),
            "tsize",
            Categorical("menostat", reference="Post"),
        ],
        {},
    ),
    "whas500": ("whas500", [Standardised("age"), "gender", "hr", "diasbp", "bmi", "chf"], {}),
    "veteran": (
        "veteran",
        [
            Categorical("Treatment", reference="standard"),
            Categorical("Celltype", reference="squamous"),
            "Karnofsky_score",
            "Months_from_Diagnosis",
            "Age_in_years",
        ],
        {},
    ),
    "veteran, strata": (
        "veteran",
        [Categorical("Treatment", reference="standard"), "Karnofsky_score", "Age_in_years"],
        {"strata": "Celltype"},
    ),
    "flchain": ("flchain", ["age", Categorical("sex", reference="F"), "kappa", "lambda", "creatinine"], {}),
    "ties": (
        "ties",
        ["age", "faceage", Categorical("sex", reference="female"), Categorical("stage", reference="I")],
        {},
    ),
    "ties, strata": ("ties", ["faceage", Categorical("sex", reference="female")], {"strata": "stage"}),
    "ties, cluster": (
        "ties",
        ["faceage", Categorical("sex", reference="female"), Categorical("stage", reference="I")],
        {"cluster": "site"},
    ),
    "entry": (
        "entry",
        ["age", "risk", Categorical("sex", reference="female"), Categorical("arm", reference="a")],
        {"entry": "entry"},
    ),
    "entry, cluster": (
        "entry",
        ["age", "risk", Categorical("sex", reference="female"), Categorical("arm", reference="a")],
        {"entry": "entry", "cluster": "family"},
    ),
    "entry, robust": ("entry", ["age", "risk"], {"entry": "entry", "cluster": "person"}),
    "entry, strata, cluster": (
        "entry",
        ["age", "risk", Categorical("sex", reference="female")],
        {"entry": "entry", "strata": "arm", "cluster": "family"},
    ),
}
FITS = [(model, ties) for model in MODELS for ties in ("efron", "breslow")]


def cohort(name):
    table = pd.read_csv(R / "cohorts" / f"{name}.csv")
    return table.assign(person=range(len(table)))


def fit(model, ties="efron"):
    name, covariates, options = MODELS[model]
    return cox_regression(cohort(name), "duration", "event", covariates, ties=ties, **options)


def close(found, expected, tolerance):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=0)


def numbers(tree):
    if isinstance(tree, dict):
        return [number for key in sorted(tree) for number in numbers(tree[key])]
    if isinstance(tree, list):
        return [number for branch in tree for number in numbers(branch)]
    return [] if isinstance(tree, str) else [tree]


class TestAgreementWithR:
    @pytest.mark.parametrize(("model", "ties"), FITS)
    def test_coefficients_errors_and_likelihoods_are_those_of_coxph(self, model, ties):
        expected, result = EXPECTED["models"][f"{model} {ties}"], fit(model, ties)
        for column, key in [("coef", "coef"), ("se", "se"), ("p", "p"), ("hr_low", "hr_low"), ("hr_high", "hr_high")]:
            close(result.summary[column], expected[key], 1e-6)
        close(result.log_likelihood, expected["log_likelihood"], 1e-9)
        close(result.null_log_likelihood, expected["null_log_likelihood"], 1e-9)
        assert (result.n, result.events, result.ties) == (expected["n"], expected["events"], ties)

    @pytest.mark.parametrize(("model", "ties"), FITS)
    def test_the_test_of_proportional_hazards_is_that_of_cox_zph(self, model, ties):
        result = fit(model, ties)
        for transform, expected in EXPECTED["models"][f"{model} {ties}"]["zph"].items():
            found = proportional_hazards_test(result, transform)
            close(found["chisq"], expected["chisq"], 1e-5)
            close(found["p"], expected["p"], 1e-5)
            assert found["df"].tolist() == expected["df"]
            assert found.index[-1] == "GLOBAL"

    def test_a_single_event_is_enough_for_one_coefficient(self):
        expected = EXPECTED["models"]["one event"]
        result = cox_regression(cohort("one_event"), "duration", "event", ["age"])
        close(result.summary[["coef", "se"]].to_numpy()[0], [*expected["coef"], *expected["se"]], 1e-6)

    @pytest.mark.parametrize("name", ["rounding", "rounding, entry"])
    def test_times_that_differ_by_rounding_alone_are_tied(self, name):
        table, expected = cohort("ties"), EXPECTED["models"][name]
        tenths, tenth = 0.1 * table.duration, table.duration / 10
        table["duration"] = np.where(np.arange(1, 401) % 2 == 0, tenths, tenth)
        assert table.duration.nunique() > cohort("ties").duration.nunique()
        options = {}
        if "entry" in name:
            table = table[table.duration > 0.05].reset_index(drop=True)
            table["entry"] = np.where((table.index % 3 == 2) & (table.duration > 0.35), 0.3, 0)
            options = {"entry": "entry"}
        result = cox_regression(table, "duration", "event", ["age", "faceage"], **options)
        close(result.summary["coef"], expected["coef"], 1e-6)
        close(result.summary["se"], expected["se"], 1e-6)
        close(result.log_likelihood, expected["log_likelihood"], 1e-9)

    def test_nested_likelihood_ratio_test_is_that_of_anova(self):
        base = [Scaled("age", per=10), Categorical("horTh", reference="no")]
        reduced = cox_regression(cohort("gbsg2"), "duration", "event", base)
        more = [Categorical("tgrade", reference="I"), "tsize"]
        full = cox_regression(cohort("gbsg2"), "duration", "event", base + more)
        found, expected = likelihood_ratio_test(reduced, full), EXPECTED["likelihood_ratio"]
        close(found.statistic, expected["statistic"], 1e-6)
        close(found.p, expected["p"], 1e-6)
        assert found.df == expected["df"]

    @pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
    def test_the_script_still_gives_the_same_numbers(self, tmp_path):
        subprocess.run(["Rscript", R / "cox.R", tmp_path / "again.json"], cwd=R.parents[1], check=True)
        np.testing.assert_allclose(
            numbers(json.loads((tmp_path / "again.json").read_text())), numbers(EXPECTED), rtol=1e-7
        )


class TestNumbers:
    def test_rows_are_in_the_order_of_the_covariates_with_their_unit_and_reference(self):
        expected = ["Treatment: test", "Celltype: adeno", "Celltype: large", "Celltype: smallcell"]
        assert fit("veteran").summary.index.tolist()[:4] == expected
        assert fit("gbsg2").summary.index[0] == "age per 10"

    def test_per_ten_is_ten_times_per_one(self):
        ten = cox_regression(cohort("ties"), "duration", "event", [Scaled("age", per=10), "faceage"])
        one = cox_regression(cohort("ties"), "duration", "event", ["age", "faceage"])
        close(ten.summary.loc["age per 10", ["coef", "se"]], 10 * one.summary.loc["age", ["coef", "se"]], 1e-9)
        close(ten.log_likelihood, one.log_likelihood, 1e-12)

    def test_another_reference_turns_the_hazard_ratio_round(self):
        male = cox_regression(cohort("ties"), "duration", "event", [Categorical("sex", reference="male")])
        female = cox_regression(cohort("ties"), "duration", "event", [Categorical("sex", reference="female")])
        close(male.summary.loc["sex: female", "hr"], 1 / female.summary.loc["sex: male", "hr"], 1e-9)

    def test_entry_at_zero_changes_nothing_where_nobody_dies_at_zero(self):
        table = cohort("veteran").assign(begin=0)
        late = cox_regression(table, "duration", "event", ["Karnofsky_score"], entry="begin")
        close(late.summary, cox_regression(table, "duration", "event", ["Karnofsky_score"]).summary, 1e-9)

    def test_an_interval_cut_in_two_changes_nothing(self):
        table = cohort("entry")
        middle = (table.entry + table.duration) / 2
        halves = pd.concat([table.assign(duration=middle, event=0), table.assign(entry=middle)], ignore_index=True)
        covariates = ["age", "risk"]
        whole = cox_regression(table, "duration", "event", covariates, entry="entry", cluster="person")
        cut = cox_regression(halves, "duration", "event", covariates, entry="entry", cluster="person")
        close(cut.summary, whole.summary, 1e-9)

    def test_huge_values_of_a_covariate_cost_no_digits(self):
        table = cohort("ties")
        moved = cox_regression(table.assign(faceage=1e6 * table.faceage + 1e9), "duration", "event", ["age", "faceage"])
        plain = cox_regression(table, "duration", "event", ["age", "faceage"])
        close(moved.summary["z"], plain.summary["z"], 1e-6)

    def test_hazards_many_orders_apart_cost_no_digits_with_delayed_entry(self):
        # After the last death somebody with e^60 times the hazard enters: "at risk" less "enters later" would be noise.
        table = cohort("entry")
        last = pd.DataFrame([{"duration": 99, "event": 0, "entry": 98, "age": 2000, "risk": 0, "person": -1}])
        far = cox_regression(pd.concat([table, last]), "duration", "event", ["age", "risk"], entry="entry")
        close(far.summary, cox_regression(table, "duration", "event", ["age", "risk"], entry="entry").summary, 1e-9)

    @pytest.mark.parametrize("times", [1, 2, 7, 8, 9])
    def test_sums_over_risk_sets_are_those_of_the_table_of_who_is_at_risk_when(self, times):
        generator = np.random.default_rng(times)
        since, until = np.sort(generator.integers(0, times + 1, (2, 40)), axis=0)
        at_risk = (since[:, None] <= np.arange(times)) & (np.arange(times) < until[:, None])
        sums = RiskIntervals(since, until, times)
        people, moments = generator.normal(size=(40, 3)), generator.normal(size=times)
        np.testing.assert_allclose(sums.over_people(people), at_risk.T @ people, rtol=0, atol=1e-12)
        np.testing.assert_allclose(sums.over_times(moments), at_risk @ moments, rtol=0, atol=1e-12)

    def test_thirty_five_thousand_people_with_fifteen_covariates_take_seconds(self):
        generator = np.random.default_rng(0)
        names = [f"x{number}" for number in range(15)]
        table = pd.DataFrame(generator.normal(size=(35_000, 15)), columns=names)
        death, leave = generator.exponential(np.exp(-0.2 * table.x0)), generator.exponential(1.5, len(table))
        table = table.assign(duration=np.minimum(death, leave), event=death <= leave)
        begin = time.process_time()
        result = cox_regression(table, "duration", "event", names)
        proportional_hazards_test(result)
        assert time.process_time() - begin < 10  # about 0.5 on one core; generous for machines under load
        assert abs(result.summary.loc["x0", "coef"] - 0.2) < 0.03


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "covariates", "message"),
        [
            ({"age": np.nan}, ["age"], r"400 of 400 rows have missing values \(age 400\).*dropna"),
            ({"age": 61}, ["age"], "age is 61 in all 400 rows; leave it out"),
            ({"sex": "male"}, [Categorical("sex", reference="male")], "sex is 'male' in all 400 rows"),
            ({"event": 0}, ["age"], "event is 0 in all 400 rows"),
            ({}, ["weight"], "no column 'weight'; it has duration, event, age"),
            ({}, ["sex"], r"sex must hold numbers, got 'male' in row 0.*Categorical\('sex', reference="),
            (
                {},
                [Categorical("sex", reference="man")],
                "sex is never 'man', its reference; its groups are 'female', 'male'",
            ),
            ({}, ["age", Scaled("age", per=10)], "age more than once"),
            ({}, ["age", "event"], "event is the outcome"),
            ({}, [], "at least one"),
            ({"age": pd.Timestamp("1950-01-01")}, ["age"], "age holds dates"),
        ],
    )
    def test_a_message_names_column_and_remedy(self, change, covariates, message):
        with pytest.raises(ValueError, match=message):
            cox_regression(cohort("ties").assign(**change), "duration", "event", covariates)

    @pytest.mark.parametrize("covariates", ["age", {"age": 10}])
    def test_covariates_are_a_list(self, covariates):
        with pytest.raises(TypeError, match="must be a list such as"):
            cox_regression(cohort("ties"), "duration", "event", covariates)

    def test_ties_are_handled_in_two_ways(self):
        with pytest.raises(ValueError, match="'efron' or 'breslow', got 'exact'"):
            cox_regression(cohort("ties"), "duration", "event", ["age"], ties="exact")

    def test_infinite_values_are_named_with_their_row(self):
        table = cohort("ties")
        table.loc[7, "age"] = np.inf
        with pytest.raises(ValueError, match=r"age must be finite.*inf in row 7"):
            cox_regression(table, "duration", "event", ["age"])

    def test_text_among_times_is_named_with_its_row(self):
        table = cohort("ties").astype({"duration": object})
        table.loc[3, "duration"] = "two"
        with pytest.raises(ValueError, match="duration must hold numbers, got 'two' in row 3"):
            cox_regression(table, "duration", "event", ["age"])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"years": -1}, "years must not be negative; got -1 in row 0"),
            ({"died": 2}, "died must be 0 or 1; got 2 in row 0"),
            ({"joined": -1}, "joined must not be negative; got -1 in row 0"),
            ({"joined": 9}, "joined must be earlier than years; got 9 in row 0"),
            ({"died": 0}, "died is 0 in all 500 rows"),
        ],
    )
    def test_outcomes_go_by_the_names_of_their_columns(self, change, message):
        table = cohort("entry").rename(columns={"duration": "years", "event": "died", "entry": "joined"})
        with pytest.raises(ValueError, match=message):
            cox_regression(table.assign(**change), "years", "died", ["age"], entry="joined")

    def test_a_column_that_occurs_twice_is_refused(self):
        table = cohort("ties")
        with pytest.raises(ValueError, match="more than one column 'age'"):
            cox_regression(pd.concat([table, table[["age"]]], axis=1), "duration", "event", ["age"])

    def test_a_group_without_an_event_has_no_hazard_ratio(self):
        table = cohort("ties")
        table.loc[table.stage == "III", "event"] = 0
        with pytest.raises(ValueError, match=r"stage: III to -infinity.*merge groups"):
            cox_regression(table, "duration", "event", ["age", Categorical("stage", reference="I")])

    @pytest.mark.parametrize("slope", [1, -1])
    def test_a_score_that_orders_all_deaths_is_separation(self, slope):
        table = cohort("veteran").drop_duplicates("duration")
        table = table.assign(oracle=slope * table.duration)
        with pytest.raises(ValueError, match=f"oracle to {'-' if slope > 0 else '[+]'}infinity"):
            cox_regression(table, "duration", "event", ["oracle"])

    def test_covariates_that_determine_each_other_are_named(self):
        table = cohort("ties")
        with pytest.raises(ValueError, match="age, faceage, gap determine each other"):
            cox_regression(table.assign(gap=table.faceage - table.age), "duration", "event", ["age", "faceage", "gap"])

    def test_a_covariate_that_is_constant_within_strata_is_named(self):
        with pytest.raises(ValueError, match="sex: male has a single value"):
            cox_regression(
                cohort("ties"), "duration", "event", ["age", Categorical("sex", reference="female")], strata="sex"
            )

    def test_fewer_events_than_coefficients_give_a_warning(self):
        table = cohort("one_event")
        table["height"] = np.random.default_rng(0).normal(size=len(table))
        table.loc[table.event == 1, "height"] = 0
        with pytest.warns(UserWarning, match="events: 1, coefficients: 2"):
            cox_regression(table, "duration", "event", ["age", "height"])

    def test_deaths_at_one_time_say_nothing_about_proportional_hazards(self):
        result = cox_regression(cohort("one_event"), "duration", "event", ["age"])
        with pytest.raises(ValueError, match="Deaths fall on 1 different times"):
            proportional_hazards_test(result)

    def test_a_death_at_time_zero_has_no_logarithm(self):
        with pytest.raises(ValueError, match="dies at time 0"):
            proportional_hazards_test(fit("ties"), "log")


class TestLikelihoodRatioRefuses:
    def fit(self, table=None, covariates=("age", "faceage"), **options):
        return cox_regression(
            cohort("ties") if table is None else table, "duration", "event", list(covariates), **options
        )

    def test_other_rows(self):
        with pytest.raises(ValueError, match="not on the same rows"):
            likelihood_ratio_test(self.fit(cohort("ties")[1:], ["age"]), self.fit())

    def test_other_ties(self):
        with pytest.raises(ValueError, match="ties differently: breslow and efron"):
            likelihood_ratio_test(self.fit(covariates=["age"], ties="breslow"), self.fit())

    def test_other_strata(self):
        with pytest.raises(ValueError, match="not on the same rows, entries and strata"):
            likelihood_ratio_test(self.fit(covariates=["age"], strata="sex"), self.fit())

    @pytest.mark.parametrize("covariates", [["site"], ["age", "faceage"], ["age", "faceage", "site"]])
    def test_fits_that_are_not_nested(self, covariates):
        with pytest.raises(ValueError, match="not nested"):
            likelihood_ratio_test(self.fit(covariates=covariates), self.fit())

    def test_clusters(self):
        with pytest.raises(ValueError, match="independent rows"):
            likelihood_ratio_test(self.fit(covariates=["age"]), self.fit(cluster="site"))
