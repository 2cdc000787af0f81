"""Restricted cubic splines and interactions: the curves of R's `ns`, Harrell's own basis, and clear words."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")

from fahr_hf.clinical.cox import cox_regression, likelihood_ratio_test, wald_test
from fahr_hf.clinical.design import Categorical, Interaction, Scaled, Spline, Standardised, fit_terms
from fahr_hf.clinical.proportional_hazards import proportional_hazards_test
from fahr_hf.clinical.splines import dose_response, nonlinearity_test

R = Path(__file__).parent / "r"
CURVES = json.loads((R / "splines.json").read_text())["curves"]
INTERACTION = json.loads((R / "splines.json").read_text())["interaction"]
HARRELL = json.loads((R / "harrell.json").read_text())


def cohort(name):
    return pd.read_csv(R / "cohorts" / f"{name}.csv")


def fit(curve, covariate):
    others = [Categorical("sex", reference="female") if name == "sex" else name for name in curve["others"]]
    options = {"entry": "entry" if curve["cohort"] == "entry" else None, "cluster": curve["cluster"] or None}
    return cox_regression(cohort(curve["cohort"]), "duration", "event", [covariate, *others], **options)


def close(found, expected, tolerance):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=0)


def numbers(tree):
    if isinstance(tree, dict | list):
        return [number for branch in (tree.values() if isinstance(tree, dict) else tree) for number in numbers(branch)]
    return [] if isinstance(tree, str) else [tree]


class TestAgreementWithR:
    @pytest.mark.parametrize("curve", CURVES)
    def test_hazard_ratios_along_a_spline_are_those_of_natural_splines_with_the_same_knots(self, curve):
        result = fit(curve, Spline(curve["column"], curve["count"]))
        close(result.log_likelihood, curve["log_likelihood"], 1e-9)
        found = dose_response(result, curve["column"], curve["values"], curve["reference"])
        assert found["value"].tolist() == curve["values"]
        for column in ("hr", "hr_low", "hr_high"):
            close(found[column], curve[column], 1e-6)

    @pytest.mark.parametrize("curve", CURVES)
    def test_the_test_of_a_bend_is_that_of_another_basis_of_the_same_curves(self, curve):
        result = fit(curve, Spline(curve["column"], curve["count"]))
        close(nonlinearity_test(result, curve["column"]), curve["wald"], 1e-6)

    @pytest.mark.parametrize("curve", [curve for curve in CURVES if not curve["cluster"]])
    def test_a_spline_holds_the_straight_line_it_is_compared_with(self, curve):
        spline, straight = fit(curve, Spline(curve["column"], curve["count"])), fit(curve, curve["column"])
        test = likelihood_ratio_test(straight, spline)
        close(test.statistic, curve["likelihood_ratio"], 1e-6)
        assert test.df == curve["count"] - 2

    @pytest.mark.parametrize("expected", HARRELL)
    def test_knots_and_coefficients_are_those_of_rcspline_eval(self, expected):
        table = cohort(expected["cohort"]).head(expected["rows"])
        spline = Spline(expected["column"], expected["count"])
        (term,) = fit_terms(table, [spline])
        close(term.knots, expected["knots"], 1e-12)
        summary = cox_regression(table, "duration", "event", [spline]).summary
        close(summary["coef"], expected["coef"], 1e-6)
        close(summary["se"], expected["se"], 1e-6)

    def test_interactions_are_those_of_r_in_its_order(self):
        main = ["risk", Categorical("arm", reference="a")]
        full = cox_regression(cohort("entry"), "duration", "event", [*main, "age", Interaction(*main)], entry="entry")
        close(full.summary["coef"], INTERACTION["coef"], 1e-6)
        close(full.summary["se"], INTERACTION["se"], 1e-6)
        assert full.summary.index.tolist() == ["risk", "arm: b", "arm: c", "age", "risk x arm: b", "risk x arm: c"]
        reduced = cox_regression(cohort("entry"), "duration", "event", [*main, "age"], entry="entry")
        test = likelihood_ratio_test(reduced, full)
        close(test.statistic, INTERACTION["likelihood_ratio"], 1e-6)
        assert test.df == 2

    @pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
    @pytest.mark.parametrize(("name", "needs"), [("splines", "survival"), ("harrell", "Hmisc")])
    def test_the_scripts_still_give_the_same_numbers(self, name, needs, tmp_path):
        if subprocess.run(["Rscript", "-e", f"library({needs})"], capture_output=True).returncode:
            pytest.skip(f"R has no package {needs}")
        subprocess.run(["Rscript", R / f"{name}.R", tmp_path / "again.json"], cwd=R.parents[1], check=True)
        again, expected = (json.loads(path.read_text()) for path in (tmp_path / "again.json", R / f"{name}.json"))
        np.testing.assert_allclose(numbers(again), numbers(expected), rtol=1e-7)


class TestSplines:
    def test_a_spline_is_straight_beyond_its_outer_knots(self):
        (term,) = fit_terms(cohort("ties"), [Spline("faceage", knots=(50, 60, 70))])
        far = term.values(pd.DataFrame({"faceage": [0, 10, 20, 80, 90, 100]}))
        np.testing.assert_allclose(np.diff(far[:3], n=2, axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(np.diff(far[3:], n=2, axis=0), 0, atol=1e-12)

    def test_knots_stay_where_the_fit_put_them_when_others_are_computed(self):
        table = cohort("ties")
        (term,) = fit_terms(table, [Spline("faceage")])
        older = table[table.faceage > 60]
        np.testing.assert_array_equal(term.values(older), term.values(table)[table.faceage > 60])

    def test_coefficients_are_named_with_primes_and_tested_together(self):
        result = cox_regression(cohort("ties"), "duration", "event", [Spline("faceage", 4), "age"])
        assert result.summary.index.tolist() == ["faceage", "faceage'", "faceage''", "age"]
        assert proportional_hazards_test(result)["df"].to_dict() == {"faceage": 3, "age": 1, "GLOBAL": 4}

    def test_of_a_straight_line_the_dose_response_is_the_hazard_ratio_to_the_power_of_the_difference(self):
        result = cox_regression(cohort("ties"), "duration", "event", [Scaled("faceage", per=10)])
        curve = dose_response(result, "faceage", [70, 60, 40], reference=60)
        row = result.summary.iloc[0]
        close(curve["hr"], [row.hr, 1, row.hr**-2], 1e-12)
        close(curve["hr_low"], [row.hr_low, 1, row.hr_high**-2], 1e-12)

    def test_interactions_of_splines_multiply_every_column_with_every_column(self):
        table = cohort("ties")
        spline, group = Spline("faceage", 3), Categorical("stage", reference="I")
        terms = fit_terms(table, [spline, group, Interaction(spline, group)])
        bends, groups, products = (term.values(table) for term in terms)
        expected = [bends[:, i] * groups[:, j] for j in range(2) for i in range(2)]
        np.testing.assert_array_equal(products, np.stack(expected, axis=1))
        assert terms[2].labels[1] == "faceage' x stage: II"


class TestBadInput:
    @pytest.mark.parametrize("knots", [2, 8, (50, 60), (60, 50, 70), (50, 60, np.inf)])
    def test_knots_are_three_to_seven_or_ascending_numbers(self, knots):
        with pytest.raises(ValueError, match=r"knots must be .* for 'faceage', got"):
            Spline("faceage", knots)

    def test_a_score_of_three_values_has_no_four_knots(self):
        table = cohort("ties").assign(score=lambda table: table.site % 3)
        with pytest.raises(ValueError, match=r"score has 3 different values in 400 rows.*4 knots"):
            cox_regression(table, "duration", "event", [Spline("score")])

    def test_knots_beyond_the_data_are_refused(self):
        with pytest.raises(ValueError, match=r"faceage runs from .* on one side of all knots.*200, 300, 400"):
            cox_regression(cohort("ties"), "duration", "event", [Spline("faceage", (200, 300, 400))])

    def test_a_spline_of_text_is_refused(self):
        with pytest.raises(ValueError, match="sex must hold numbers, got 'male' in row 0"):
            cox_regression(cohort("ties"), "duration", "event", [Spline("sex")])

    def test_a_product_of_groups_that_nobody_has_is_named(self):
        table = cohort("ties")
        table = table[(table.sex == "female") | (table.stage != "III")]
        groups = Categorical("sex", reference="female"), Categorical("stage", reference="I")
        with pytest.raises(ValueError, match=r"sex: male x stage: III is 0 in all .* rows; merge groups"):
            cox_regression(table, "duration", "event", [*groups, Interaction(*groups)])

    @pytest.mark.parametrize(
        "covariates",
        [
            ["faceage", Spline("faceage")],
            ["faceage", "age", Interaction("age", "faceage"), Interaction("faceage", Standardised("age"))],
        ],
    )
    def test_a_column_or_a_pair_of_columns_is_a_covariate_once(self, covariates):
        with pytest.raises(ValueError, match="faceage more than once"):
            cox_regression(cohort("ties"), "duration", "event", covariates)

    def test_a_curve_needs_a_number_of_the_fit_without_an_interaction(self):
        sex = Categorical("sex", reference="female")
        result = cox_regression(cohort("ties"), "duration", "event", ["age", "faceage", sex, Interaction("age", sex)])
        for column, message in [("weight", "no covariate"), ("age", "has an interaction"), ("sex", "interaction")]:
            with pytest.raises(ValueError, match=message):
                dose_response(result, column, [60], reference=50)
        with pytest.raises(ValueError, match=r"faceage is a straight line in this fit; fit it as Spline\('faceage'\)"):
            nonlinearity_test(result, "faceage")
        with pytest.raises(ValueError, match="sex has groups"):
            dose_response(cox_regression(cohort("ties"), "duration", "event", [sex]), "sex", [1], reference=0)

    def test_a_wald_test_takes_rows_of_the_summary(self):
        result = cox_regression(cohort("ties"), "duration", "event", ["age", "faceage"])
        row = result.summary.loc["age"]
        close(wald_test(result, ["age"]), [row.z**2, 1, row.p], 1e-9)
        for labels in ([], ["weight"]):
            with pytest.raises(ValueError, match="labels must be some of age, faceage; got"):
                wald_test(result, labels)
