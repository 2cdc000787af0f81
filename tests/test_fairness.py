"""Fairness: figures by group, gaps at equal ages that are there are found, and those that age explains are not."""

import csv
import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import statsmodels.formula.api as smf
from scipy.stats import binomtest, kstest
from typer.testing import CliRunner

from fahr_hf.analysis.fairness.age import FIGURES, age_gaps, age_groups
from fahr_hf.analysis.fairness.gaps import adjusted_means, age_strata, comparable, largest_gap, permutations
from fahr_hf.analysis.fairness.groups import groupings
from fahr_hf.analysis.fairness.report import age_fairness, survival_fairness
from fahr_hf.analysis.fairness.survival import survival_gaps, survival_groups
from fahr_hf.cli.app import _program

MODEL = "fahr-faceage-tiny"


def faces(n: int = 400, seed: int = 0, shift: float = 0.0, older: float = 0.0) -> pd.DataFrame:
    """Predicted ages; women's are `shift` years too high, and women are `older` years older."""
    random = np.random.default_rng(seed)
    sex = random.choice(["female", "male"], n)
    age = np.floor(random.uniform(20, 60, n)) + older * (sex == "female")
    predicted = age + random.normal(0, 4, n) + shift * (sex == "female")
    table = pd.DataFrame({"age": age, "predicted": predicted, "sex": sex, "low": predicted - 6, "high": predicted + 6})
    table.attrs["level"] = 0.9
    return table.assign(photo_id=[str(i) for i in range(n)], subject_id=None, source="small")


def cohort(n: int = 400, seed: int = 0, blind: bool = False, hidden: float = 1.0) -> pd.DataFrame:
    """People with scores that order deaths; those of men do not if `blind`, and men die `hidden` times as fast."""
    random = np.random.default_rng(seed)
    male = random.random(n) < 0.5
    score = random.normal(size=n)
    hazard = 0.2 * np.exp(np.where(male & blind, 0.0, score)) * np.where(male, hidden, 1.0)
    died, left = random.exponential(1 / hazard), random.uniform(3, 12, n)
    return pd.DataFrame(
        {
            "duration": np.minimum(died, left),
            "event": (died <= left).astype(int),
            "risk": score,
            "age": random.uniform(40, 80, n),
            "sex": np.where(male, "male", "female"),
            "probability": 1 - np.exp(-0.2 * 3 * np.exp(score)),
        }
    )


def gap(found: pd.DataFrame, label: str, figure: str) -> pd.Series:
    (row,) = [row for _, row in found.iterrows() if (row["label"], row["figure"]) == (label, figure)]
    return row


class TestGroups:
    def test_labels_age_groups_and_crossings_of_two_in_their_order(self):
        table = pd.DataFrame({"age": [70, 17, 18, 59], "sex": ["male", "female", "male", None], "race": list("baab")})
        groups = groupings(table)
        assert list(groups) == ["sex", "race", "age", "sex and race", "sex and age", "race and age"]
        assert groups["age"].tolist() == ["60 or older", "under 18", "18 to 59", "18 to 59"]
        assert list(groups["age"].cat.categories) == ["under 18", "18 to 59", "60 or older"]
        assert groups["sex and age"].dropna().tolist() == ["male, 60 or older", "female, under 18", "male, 18 to 59"]
        assert groups["sex and age"].isna().tolist() == [False, False, False, True]

    def test_without_labels_there_are_age_groups_alone(self):
        assert list(groupings(pd.DataFrame({"age": [20.0], "sex": [None]}))) == ["age"]

    @pytest.mark.parametrize(
        ("label", "message"),
        [
            ("hair", "no column 'hair' of labels; the columns are age, number, empty"),
            ("age", "Age groups are there without asking"),
            ("number", "number has 30 different words; a label has 1 to 20"),
            ("empty", "empty has 0 different words"),
        ],
    )
    def test_what_is_no_label_is_explained(self, label, message):
        table = pd.DataFrame({"age": np.arange(30.0), "number": np.arange(30), "empty": None})
        with pytest.raises(ValueError, match=message):
            groupings(table, [label])


class TestFiguresOfAges:
    def test_they_are_those_of_a_plain_loop(self):
        table = faces(120)
        rows = age_groups(table, groupings(table)).set_index(["label", "group"])
        for sex in ("female", "male"):
            errors, inside = [], 0
            for _, photo in table.iterrows():
                if photo["sex"] == sex:
                    errors.append(photo["predicted"] - photo["age"])
                    inside += photo["low"] <= photo["age"] <= photo["high"]
            row = rows.loc[("sex", sex)]
            assert row["photos"] == len(errors)
            assert row["mae"] == pytest.approx(sum(map(abs, errors)) / len(errors))
            assert row["bias"] == pytest.approx(sum(errors) / len(errors))
            wilson = binomtest(int(inside), len(errors)).proportion_ci(method="wilson")
            assert row["coverage"] == pytest.approx(inside / len(errors))
            assert (row["coverage_low"], row["coverage_high"]) == pytest.approx((wilson.low, wilson.high))
            assert row["mae_low"] < row["mae"] < row["mae_high"]

    def test_a_group_of_29_keeps_its_row_and_says_why_it_has_no_figures(self):
        table = faces(59).assign(sex=["female"] * 29 + ["male"] * 30)
        rows = age_groups(table, groupings(table, ["sex"])).set_index("group")
        assert rows.loc["female", "photos"] == 29
        assert rows.loc["female", ["mae", "mae_low", "bias", "coverage", "coverage_high"]].isna().all()
        assert rows.loc["female", "problem"] == "29 photos, fewer than 30."
        assert rows.loc["male", "problem"] == ""
        assert rows.loc["male", "mae"] > 0
        found = age_gaps(table, groupings(table, ["sex"]), draws=99)
        assert gap(found, "sex", FIGURES["mae"])["problem"] == "Fewer than two groups have figures."

    def test_many_photos_of_few_people_are_few(self):
        table = faces(200).assign(subject_id=[f"p{i % 10}" for i in range(200)])
        rows = age_groups(table, groupings(table, ["sex"]))
        assert rows["people"].max() == 10
        assert rows["mae"].isna().all()
        assert rows["problem"].iloc[0] == "10 people, fewer than 30."

    def test_without_intervals_there_is_no_coverage(self):
        table = faces(80).assign(low=np.nan, high=np.nan)
        assert "coverage" not in age_groups(table, groupings(table))
        assert FIGURES["coverage"] not in age_gaps(table, groupings(table), draws=99)["figure"].tolist()


class TestGapsOfAges:
    def test_effects_are_the_coefficients_of_least_squares_and_permutations_are_refits(self):
        random = np.random.default_rng(0)
        codes, strata = random.integers(3, size=150), random.integers(4, size=150)
        values = random.normal(size=150) + codes + 2 * strata
        effects = adjusted_means(values[:, None], codes, strata, draws=3)[0]
        for shuffled, found in zip(permutations(codes, strata, 3), effects, strict=True):
            data = pd.DataFrame({"y": values, "g": shuffled, "s": strata})
            fit = smf.ols("y ~ C(g) + C(s)", data).fit().params
            assert found[1:] - found[0] == pytest.approx(fit[["C(g)[T.1]", "C(g)[T.2]"]].to_numpy())

    def test_permutations_leave_every_stratum_its_groups(self):
        codes, strata = np.array([0, 0, 1, 0, 1, 1, 0]), np.array([0, 0, 0, 1, 1, 2, 2])
        drawn = list(permutations(codes, strata, 30))
        assert drawn[0].tolist() == codes.tolist()
        for shuffled in drawn:
            for stratum in range(3):
                assert sorted(shuffled[strata == stratum]) == sorted(codes[strata == stratum])
        assert len({tuple(shuffled) for shuffled in drawn}) > 5

    def test_a_gap_that_is_there_is_found_with_its_size(self):
        table = faces(600, shift=3.0)
        row = gap(age_gaps(table, groupings(table), draws=199), "sex", FIGURES["bias"])
        assert row["gap"] == pytest.approx(3, abs=0.8)
        assert (row["highest"], row["lowest"]) == ("female", "male")
        assert row["p"] == 1 / 200
        # Sex, and sex crossed with age: the label age is not tested.
        assert row["p_holm"] == 2 / 200

    def test_without_a_gap_p_is_uniform(self):
        p = []
        for seed in range(60):
            table = faces(90, seed)
            codes, strata = pd.factorize(table["sex"], sort=True)[0], age_strata(table["age"].to_numpy())
            errors = np.abs(table["predicted"] - table["age"]).to_numpy()[:, None]
            figures = adjusted_means(errors, codes, strata, draws=99)[0]
            p.append(largest_gap(figures, ["female", "male"], comparable(codes, strata)).p)
        assert kstest(p, "uniform").pvalue > 0.05
        assert np.mean(np.array(p) <= 0.05) <= 0.1

    def test_a_gap_that_comes_from_age_alone_vanishes_at_equal_ages(self):
        table = faces(800, older=20.0)
        # The error grows with age, and by nothing else.
        error = 0.1 * table["age"] * np.random.default_rng(1).choice([-1, 1], 800)
        table = table.assign(predicted=table["age"] + error)
        means = error.abs().groupby(table["sex"]).mean()
        assert means["female"] - means["male"] > 1.5
        row = gap(age_gaps(table, groupings(table), draws=199), "sex", FIGURES["mae"])
        assert row["gap"] < 0.1
        assert row["p"] > 0.05

    def test_groups_without_people_of_the_same_age_have_no_gap(self):
        table = faces(100)
        table = table.assign(age=np.where(table["sex"] == "female", 30.0, 50.0))
        row = gap(age_gaps(table, groupings(table, ["sex"]), draws=99), "sex", FIGURES["mae"])
        assert np.isnan(row["p"])
        assert row["problem"] == "No two groups with figures have people of about the same age."

    def test_crossed_with_age_the_largest_gap_lies_within_an_age_group(self):
        table = faces(600, older=10.0)
        old = (table["age"] >= 60) & (table["sex"] == "female")
        assert old.sum() >= 30
        for _, row in age_gaps(table, groupings(table), draws=99).iterrows():
            if row["label"] == "sex and age":
                assert row["highest"].split(", ")[1] == row["lowest"].split(", ")[1]

    def test_several_photos_of_a_person_count_as_one_observation(self):
        one = faces(120, shift=1.0)
        copies = pd.concat([one.assign(subject_id=one["photo_id"])] * 3, ignore_index=True)
        groups = [groupings(table, ["sex"]) for table in (one, copies)]
        once, thrice = age_gaps(one, groups[0], draws=99), age_gaps(copies, groups[1], draws=99)
        pd.testing.assert_series_equal(once["gap"], thrice["gap"])
        assert once["p"].dropna().between(0.01, 1).all()


class TestSurvival:
    def test_concordance_is_that_of_a_double_loop_over_the_group(self):
        people = cohort(160)
        row = survival_groups(people, groupings(people)).set_index(["label", "group"]).loc[("sex", "male")]
        men = people[people["sex"] == "male"].to_dict("records")
        pairs = [(a, b) for a in men for b in men if a["event"] and b["duration"] > a["duration"]]
        wins = sum((a["risk"] > b["risk"]) + 0.5 * (a["risk"] == b["risk"]) for a, b in pairs)
        assert row["c"] == pytest.approx(wins / len(pairs))
        assert row["c_low"] < row["c"] < row["c_high"]
        assert row["people"] == len(men)

    def test_observed_deaths_are_kaplan_meiers_product_and_expected_ones_the_mean(self):
        people = cohort(300)
        row = survival_groups(people, groupings(people), 3.0).set_index(["label", "group"]).loc[("sex", "female")]
        women = people[people["sex"] == "female"].sort_values("duration")
        alive = 1.0
        for rank, (event, time) in enumerate(zip(women["event"], women["duration"], strict=True)):
            alive *= 1 - event * (time <= 3) / (len(women) - rank)
        assert row["observed"] == pytest.approx(1 - alive)
        assert row["oe"] == pytest.approx((1 - alive) / women["probability"].mean())
        assert row["oe_low"] < row["oe"] < row["oe_high"]

    def test_fewer_than_30_people_or_20_deaths_have_no_figures(self):
        people = cohort(400)
        few = people[people["event"] == 1].head(29).assign(site="few people")
        alive = people[people["event"] == 0].head(60)
        quiet = pd.concat([alive, people[people["event"] == 1].tail(19)]).assign(site="few deaths")
        people = pd.concat([few, quiet, people.iloc[100:300].assign(site="enough")], ignore_index=True)
        rows = survival_groups(people, groupings(people, ["site"]), 3.0).set_index("group")
        assert rows.loc["few people", "problem"] == "29 people, fewer than 30."
        assert rows.loc["few deaths", "problem"] == "19 deaths, fewer than 20."
        assert rows.loc[["few people", "few deaths"], ["c", "c_low", "oe", "oe_high", "observed"]].isna().all(axis=None)
        assert rows.loc["enough", ["c", "oe"]].notna().all()

    def test_few_deaths_by_the_horizon_leave_concordance(self):
        people = cohort(120)
        row = survival_groups(people, groupings(people), 0.2).set_index("group").loc["female"]
        assert row["c"] > 0.5
        assert np.isnan(row["oe"])
        assert "deaths by the horizon, fewer than 20" in row["problem"]

    @pytest.mark.parametrize(
        ("people", "figure", "found"),
        [
            (cohort(blind=True), "concordance (C)", True),
            (cohort(hidden=3.0), "observed over expected deaths", True),
            (cohort(seed=1), "concordance (C)", False),
            (cohort(seed=1), "observed over expected deaths", False),
        ],
        ids=["blind to men", "men die sooner", "no gap of C", "no gap of calibration"],
    )
    def test_a_gap_is_found_where_there_is_one(self, people, figure, found):
        groups = {"sex": groupings(people)["sex"]}
        row = gap(survival_gaps(people, groups, 3.0, draws=99), "sex", figure)
        assert (row["p"] == 0.01) if found else (row["p"] > 0.1)
        if found:
            assert {row["highest"], row["lowest"]} == {"female", "male"}

    def test_a_row_that_cannot_be_is_named_as_it_is_counted_in_the_table(self):
        people = cohort(60)
        people.loc[4, "probability"] = 1.5
        with pytest.raises(ValueError, match=r"probability must lie between 0 and 1, got 1.5 in row 5"):
            survival_fairness(people, "small", horizon=3.0)

    def test_too_few_people_are_an_error(self):
        with pytest.raises(ValueError, match="Nothing can be measured: 20 people, fewer than 30"):
            survival_fairness(cohort(20), "small")


class TestReport:
    def test_a_page_has_a_drawing_a_figure_and_says_what_labels_are(self):
        report = age_fairness(faces(200), "small", draws=99)
        assert [picture.name for picture in report.pictures()] == ["mae", "bias", "coverage"]
        assert [table.name for table in report.tables()] == ["gaps", "groups"]
        assert "sex as labelled in small" in report.introduction
        assert "no facts about people" in report.introduction
        assert report.numbers["labels"] == ["sex", "age", "sex and age"]

    def test_a_group_that_is_not_shown_keeps_its_row_in_the_drawing(self):
        table = faces(60).assign(sex=["female"] * 20 + ["male"] * 40)
        (figure, *_) = age_fairness(table, "small", draws=99).pictures()
        (panel,) = figure.figure.axes
        ticks = [text.get_text() for text in panel.get_yticklabels()]
        assert ticks[:3] == ["by sex", "female (20)", "male (40)"]
        shown = {round(text.get_position()[1]): text.get_text() for text in panel.texts}
        assert shown[1] == "not shown"
        assert 2 not in shown
        assert all(lower > upper for upper, lower in pairwise(panel.get_yticks()))


def run(*arguments: str | Path):
    return CliRunner().invoke(_program, ["evaluate", "fairness", *map(str, arguments), "--permutations", "99"])


@pytest.fixture
def labelled_cache(crop_cache, tmp_path) -> Path:
    """The crops of `crop_cache` ten times, said to be of women and of men in turn, all in the part `test`."""
    cache = Path(shutil.copytree(crop_cache, tmp_path / "cache"))
    (shard,) = cache.glob("shard-*.parquet")
    table = pq.read_table(shard)
    rows = [
        {**row, "photo_id": f"{copy}-{row['photo_id']}", "sex": ("female", "male")[copy % 2], "part": "test"}
        for copy in range(10)
        for row in table.to_pylist()
    ]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), shard)
    return cache


class TestCommands:
    def test_ages_of_a_crop_cache_come_to_a_page_and_to_the_ledger(self, labelled_cache, tmp_path):
        ledger = tmp_path / "ledger.csv"
        ledger.write_text("date,commit,checkpoint,data,split,n,metric,value,low,high\n")
        out = tmp_path / "fairness"
        result = run("age", MODEL, labelled_cache, "--part", "test", "--out", out, "--ledger", ledger)
        assert result.exit_code == 0, result.output
        assert "bias, predicted less true age (years) by sex: 0.000 between" in result.stdout
        numbers = json.loads((out / "numbers.json").read_text())
        groups = {row["group"]: row for row in numbers["tables"]["groups"]}
        assert numbers["scored"] == 100
        assert groups["female"]["photos"] == groups["male"]["photos"] == 50
        assert groups["female"]["mae"] == pytest.approx(numbers["overall"]["mae"]["value"])
        assert "<svg" in (out / "report.html").read_text()
        with ledger.open() as file:
            lines = {line["metric"]: line for line in csv.DictReader(file)}
        assert float(lines["MAE (years)"]["value"]) == pytest.approx(numbers["overall"]["mae"]["value"], abs=1e-3)
        assert lines["MAE sex: female (years)"]["n"] == "50"

    def test_a_test_part_without_a_ledger_is_not_scored(self, labelled_cache, tmp_path):
        result = run("age", MODEL, labelled_cache, "--part", "test", "--ledger", tmp_path / "absent.csv")
        assert isinstance(result.exception, FileNotFoundError)
        assert result.stdout == ""

    def test_scores_in_a_table_come_to_a_page(self, tmp_path):
        people = cohort(150).rename(columns={"risk": "score", "duration": "years"})
        people.loc[7, "score"] = np.nan
        people.to_csv(tmp_path / "cohort.csv", index=False)
        names = ["--duration", "years", "--risk", "score", "--probability", "probability", "--horizon", "3"]
        result = run("survival", tmp_path / "cohort.csv", *names, "--held-out", "--out", tmp_path / "fairness")
        assert result.exit_code == 0, result.output
        assert "149 of 150 people have everything that is needed" in result.stderr
        assert "concordance (C) by sex: " in result.stdout
        numbers = json.loads((tmp_path / "fairness" / "numbers.json").read_text())
        assert numbers["people"] == 149
        assert 0.5 < numbers["overall"]["c"] < 1
        assert {path.stem for path in (tmp_path / "fairness" / "figures").glob("*.svg")} == {"c", "oe"}

    def test_probabilities_need_their_horizon(self, tmp_path):
        with pytest.raises(ValueError, match="--probability and --horizon belong together"):
            raise run("survival", tmp_path / "cohort.csv", "--probability", "p").exception

    def test_people_who_trained_the_model_are_refused(self, tmp_path):
        cohort(60).assign(part="train").to_csv(tmp_path / "cohort.csv", index=False)
        with pytest.raises(ValueError, match="these people trained the model"):
            raise run("survival", tmp_path / "cohort.csv").exception
