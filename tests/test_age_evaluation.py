"""Evaluating age models: figures against plain loops and closed forms, real photos through the embedded checkpoint."""

import csv
import json
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photo_sets import ASTRONAUT, encoded, row, side_by_side, write_set
from PIL import Image
from typer.testing import CliRunner

import fahr_hf
from fahr_hf.calibration_tables import save_tables
from fahr_hf.cli.app import _program
from fahr_hf.conformal import coverage
from fahr_hf.data.crops import load_crops
from fahr_hf.evaluation import age_figures
from fahr_hf.evaluation.age_gaps import by_label
from fahr_hf.evaluation.age_report import age_report
from fahr_hf.evaluation.age_scores import (
    age_of_majority,
    by_decade,
    by_stage_of_life,
    drawn_by,
    overall,
    with_both_ages,
)
from fahr_hf.evaluation.comparison import compare_systems, read_other
from fahr_hf.evaluation.predictions import predict_table
from fahr_hf.metrics import bias, correlation, cumulative_score, mean_absolute_error, root_mean_square_error
from fahr_hf.resampling import bootstrap_interval
from fahr_hf.training.age import predict_ages

MODEL = "fahr-faceage-tiny"
TABLE = {
    "level": 0.9,
    "photos": 300,
    "data": "made up",
    "edges": [30.0],
    "below": [5, 9],
    "above": [4, 8],
    "counts": [1, 2],
}


def simulated(n: int = 240, seed: int = 0) -> pd.DataFrame:
    """Two photos a person, whose errors they share in part; sexes of different ages; three words of race."""
    generator = np.random.default_rng(seed)
    person = np.arange(n) // 2
    sex = np.where(person % 3 == 0, "female", "male")
    age = np.where(sex == "female", generator.uniform(5, 50, n), generator.uniform(15, 85, n)).round()
    error = generator.normal(0, 5, n // 2)[person] + generator.normal(0.5, 4, n) + np.where(sex == "male", 2, 0)
    return pd.DataFrame(
        {
            "photo_id": [f"{i}.jpg" for i in range(n)],
            "subject_id": [f"p{i}" for i in person],
            "age": age,
            "predicted": age + error,
            "sex": sex,
            "race": np.where(person < 20, "a", np.where(person < 110, "b", "c")),
            "reason": None,
        }
    )


def without_persons(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(subject_id=None)


class TestScores:
    FIGURES = {
        "mae": mean_absolute_error,
        "rmse": root_mean_square_error,
        "bias": bias,
        "cs_5": lambda age, predicted: cumulative_score(age, predicted, 5),
        "r": correlation,
    }

    @pytest.mark.parametrize("name", FIGURES)
    def test_a_figure_and_its_interval_by_photo_are_those_of_a_loop(self, name):
        table = without_persons(simulated())
        value, *ends = overall(table).loc[name]
        age, predicted = table["age"].to_numpy(), table["predicted"].to_numpy()
        assert value == pytest.approx(self.FIGURES[name](age, predicted))
        assert ends == pytest.approx(bootstrap_interval(self.FIGURES[name], age, predicted))

    def test_with_identities_persons_are_drawn_and_intervals_are_wider(self):
        table = simulated()
        by_person, by_photo = overall(table).loc["mae"], overall(without_persons(table)).loc["mae"]
        age, predicted = table["age"].to_numpy(), table["predicted"].to_numpy()
        loop = bootstrap_interval(mean_absolute_error, age, predicted, clusters=np.arange(240) // 2)
        assert tuple(by_person[["value_low", "value_high"]]) == pytest.approx(loop)
        assert by_person["value"] == pytest.approx(by_photo["value"])
        assert by_person["value_high"] - by_person["value_low"] > 1.1 * (by_photo["value_high"] - by_photo["value_low"])

    def test_a_photo_of_somebody_unknown_is_a_person_of_its_own(self):
        clusters, drawn = drawn_by(pd.DataFrame({"subject_id": ["a", None, "b", None, "a"]}))
        assert drawn == "person"
        assert clusters[0] == clusters[4]
        assert len(set(clusters)) == 4
        assert drawn_by(pd.DataFrame({"subject_id": [None, None]}))[1] == "photo"
        assert drawn_by(pd.DataFrame({"age": [1, 2]}))[1] == "photo"

    def test_decades_are_scored_one_by_one(self):
        table = simulated()
        decades = by_decade(table)
        assert decades["photos"].sum() == 240
        for _, decade in decades.iterrows():
            first, last = map(int, decade["age"].split(" to "))
            inside = table[(table["age"] >= first) & (table["age"] < last + 1)]
            assert decade["photos"] == len(inside)
            if len(inside) >= 30:
                assert decade["mae"] == pytest.approx((inside["predicted"] - inside["age"]).abs().mean())
                assert decade["bias_low"] < decade["bias"] < decade["bias_high"]
            else:
                assert decade[["mae", "mae_low", "bias", "cs_5_high"]].isna().all()
        assert decades["mae"].isna().any()
        assert decades["mae"].notna().any()

    def test_minors_adults_and_the_old_are_scored_on_their_own(self):
        table = simulated(600)
        stages = by_stage_of_life(table).set_index("age")
        for name, inside in {
            "under 18": table["age"] < 18,
            "18 to 59": table["age"].between(18, 59.99),
            "60 or older": table["age"] >= 60,
        }.items():
            errors = (table["predicted"] - table["age"])[inside]
            assert stages.loc[name, "photos"] == inside.sum()
            assert stages.loc[name, "mae"] == pytest.approx(errors.abs().mean())

    def test_minors_taken_for_adults_are_counted(self):
        table = pd.DataFrame({"age": [5, 17.9, 17, 18, 40], "predicted": [6, 18, 25, 17.9, 38]})
        minors, adults = age_of_majority(table).to_dict("records")
        assert (minors["photos"], minors["mistaken"], minors["share"]) == (3, 2, pytest.approx(2 / 3))
        assert (adults["photos"], adults["mistaken"], adults["share"]) == (2, 1, 0.5)
        # Wilson (1927): centre and half width, z = 1.959964.
        z2 = 1.959964**2
        centre, half = (2 + z2 / 2) / (3 + z2), np.sqrt(z2 * (2 * 1 / 3 + z2 / 4)) / (3 + z2)
        assert (minors["share_low"], minors["share_high"]) == pytest.approx((centre - half, centre + half), abs=1e-6)

    def test_where_there_are_no_minors_there_is_no_share(self):
        minors = age_of_majority(pd.DataFrame({"age": [30.0], "predicted": [31.0]})).iloc[0]
        assert minors["photos"] == 0
        assert minors[["share", "share_low", "share_high"]].isna().all()

    def test_a_constant_answer_has_figures_but_no_correlation(self):
        figures = overall(simulated().assign(predicted=40.0))
        assert figures.loc["r"].isna().all()
        assert figures.drop("r").notna().all(axis=None)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"drop": "age"}, "No column 'age' to score; there are photo_id"),
            ({"age": np.nan}, "None of 240 photos has an age"),
            ({"predicted": np.nan}, "None of 240 photos has both a true and a predicted age"),
        ],
    )
    def test_a_table_that_cannot_be_scored_says_why(self, change, message):
        table = simulated().drop(columns="age") if "drop" in change else simulated().assign(**change)
        with pytest.raises(ValueError, match=message):
            with_both_ages(table)


class TestGaps:
    def test_errors_that_follow_age_alone_leave_no_gap(self):
        # The error of a decade is its number; the women are younger.
        age = np.repeat([15.0, 25, 35, 15, 25, 35], [60, 30, 20, 20, 30, 60])
        table = pd.DataFrame({"age": age, "predicted": age + age // 10, "sex": np.repeat(["f", "m"], [110, 110])})
        women, men = by_label(table, "sex").to_dict("records")
        assert women["mae"] == pytest.approx((60 * 1 + 30 * 2 + 20 * 3) / 110)
        assert men["mae"] == pytest.approx((20 * 1 + 30 * 2 + 60 * 3) / 110)
        assert women["mae_gap"] == pytest.approx(0, abs=1e-12)
        assert (women["mae_gap_low"], women["mae_gap_high"]) == pytest.approx((0, 0), abs=1e-12)
        assert women["compared"] == 1

    def test_a_gap_is_standardised_by_hand(self):
        # Decades of 40 and 60 photos together; the women err by 1 and 2 years in them, the men by 3 and 7.
        age = np.repeat([15.0, 25.0, 15.0, 25.0], [30, 10, 10, 50])
        error = np.repeat([1.0, 2.0, -3.0, 7.0], [30, 10, 10, 50])
        table = pd.DataFrame({"age": age, "predicted": age + error, "sex": np.repeat(["f", "m"], [40, 60])})
        women, men = by_label(table, "sex").to_dict("records")
        assert women["mae_gap"] == pytest.approx(0.4 * (1 - 3) + 0.6 * (2 - 7))
        assert women["bias_gap"] == pytest.approx(0.4 * (1 + 3) + 0.6 * (2 - 7))
        assert men["mae_gap"] == pytest.approx(-women["mae_gap"])

    def test_gap_and_interval_are_those_of_a_double_loop(self):
        table = simulated().assign(subject_id=None)
        gaps = by_label(table, "sex").set_index("sex")

        # In no other decades are there ten of both.
        counts = table.groupby([table["age"] // 10, "sex"]).size().unstack(fill_value=0).min(axis=1)
        assert set(counts[counts >= 10].index) == {2, 3, 4}
        together = [(table["age"] // 10 == start).sum() for start in (2, 3, 4)]

        def gap(age, error, is_male):
            total = 0.0
            for start, weight in zip((2, 3, 4), together, strict=True):
                there = age // 10 == start
                total += weight / sum(together) * (error[there & is_male].mean() - error[there & ~is_male].mean())
            return total

        age, error = table["age"].to_numpy(), (table["predicted"] - table["age"]).to_numpy()
        male = (table["sex"] == "male").to_numpy()
        assert gaps.loc["male", "bias_gap"] == pytest.approx(gap(age, error, male))
        assert gaps.loc["male", "mae_gap"] == pytest.approx(gap(age, np.abs(error), male))
        assert gaps.loc["male", "compared"] == pytest.approx(np.isin(age[male] // 10, (2, 3, 4)).mean())
        ends = bootstrap_interval(gap, age, error, male)
        assert tuple(gaps.loc["male", ["bias_gap_low", "bias_gap_high"]]) == pytest.approx(ends)

    def test_small_groups_have_their_number_alone_and_the_unlabelled_are_in_no_group(self):
        table = simulated()
        table.loc[table["race"] == "c", "race"] = None
        table.loc[:9, "race"] = "few"
        groups = by_label(table, "race").set_index("race")
        assert groups["photos"].to_dict() == {"a": 30, "b": 180, "few": 10}
        assert groups.loc["few"].drop("photos").isna().all()
        assert groups.loc[["a", "b"], "mae"].notna().all()

    def test_a_single_group_has_nobody_to_be_compared_with(self):
        group = by_label(simulated().assign(sex="male"), "sex").iloc[0]
        assert np.isfinite(group["mae"])
        assert group[["compared", "mae_gap", "bias_gap"]].isna().all()

    def test_groups_without_a_common_decade_are_not_compared(self):
        age = np.repeat([15.0, 75.0], 40)
        groups = by_label(pd.DataFrame({"age": age, "predicted": age, "sex": np.repeat(["f", "m"], 40)}), "sex")
        assert (groups["compared"] == 0).all()
        assert groups["mae_gap"].isna().all()


class TestComparison:
    def test_the_difference_is_paired(self):
        table = without_persons(simulated())
        other = pd.DataFrame({"id": table["photo_id"], "age": table["age"] - 5.5})
        comparison = compare_systems(table, other)
        excess = ((table["predicted"] - table["age"]).abs() - 5.5).to_numpy()
        assert comparison.difference[0] == pytest.approx(excess.mean())
        assert comparison.difference[1:] == pytest.approx(bootstrap_interval(np.mean, excess))
        assert comparison.figures.loc["bias", "theirs"] == pytest.approx(-5.5)
        assert comparison.figures.loc["mae", "ours"] == pytest.approx(overall(table).loc["mae", "value"])
        assert (comparison.photos, comparison.drawn) == (240, "photo")

    def test_p_counts_all_ways_to_swap_the_two_systems(self):
        table = without_persons(simulated(10))
        theirs = np.array([3.0, -8, 1, 6, -2, 9, 4, -1, 12, 2])
        comparison = compare_systems(table, pd.DataFrame({"id": table["photo_id"], "age": table["age"] + theirs}))
        excess = (table["predicted"] - table["age"]).abs().to_numpy() - np.abs(theirs)
        swapped = [abs(excess @ signs) >= abs(excess.sum()) - 1e-9 for signs in product([-1, 1], repeat=10)]
        assert comparison.p == pytest.approx(np.mean(swapped))

    def test_a_person_is_one_observation_of_the_test(self):
        table = simulated(12)
        theirs = np.linspace(-9, 9, 12)
        comparison = compare_systems(table, pd.DataFrame({"id": table["photo_id"], "age": table["age"] + theirs}))
        excess = (table["predicted"] - table["age"]).abs().to_numpy() - np.abs(theirs)
        persons = excess.reshape(6, 2).mean(axis=1)
        swapped = [abs(persons @ signs) >= abs(persons.sum()) - 1e-9 for signs in product([-1, 1], repeat=6)]
        assert comparison.drawn == "person"
        assert comparison.p == pytest.approx(np.mean(swapped))

    def test_the_same_answers_do_not_differ(self):
        table = simulated()
        comparison = compare_systems(table, pd.DataFrame({"id": table["photo_id"], "age": table["predicted"]}))
        assert comparison.difference == (0, 0, 0)
        assert comparison.p == 1

    def test_answers_that_one_of_them_lacks_are_named(self):
        table = simulated()
        table.loc[3, ["predicted", "reason"]] = [np.nan, "no face"]
        other = pd.DataFrame({"id": [*table["photo_id"][2:], "stranger"], "age": 40.0})
        comparison = compare_systems(table, other)
        assert comparison.photos == 237
        assert comparison.only_ours == ["0.jpg", "1.jpg"]
        assert comparison.only_theirs == ["3.jpg", "stranger"]

    def test_no_photo_in_both_is_an_error_that_shows_the_names(self):
        with pytest.raises(ValueError, match=r"such as \['x', 'y'\], and the data \['0.jpg', '1.jpg', '2.jpg'\]"):
            compare_systems(simulated(), pd.DataFrame({"id": ["x", "y"], "age": [1.0, 2.0]}))

    def test_a_csv_is_read_with_its_gaps(self, tmp_path):
        path = tmp_path / "other.csv"
        path.write_text("age,id,more\n41.5,007,a\n,008,b\n3,9,c\n", encoding="utf-8-sig")
        assert read_other(path).to_dict("list") == {"id": ["007", "9"], "age": [41.5, 3.0]}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("id,years\na,3\n", "lacks the column age; expected id and age, got id, years"),
            ("id,age\na,3\nb,4\na,5\n", "2 rows with an id that occurs twice; the first is line 2: id 'a', age '3'"),
            ("id,age\na,3\nb,old\n", "1 rows with an age that is no number from 0 to 150; the first is line 3: id 'b'"),
            ("id,age\na,3\nb,-1\n", "line 3: id 'b', age '-1'"),
            ("id,age\n,3\n", "1 rows with no id; the first is line 2"),
        ],
    )
    def test_a_csv_that_cannot_be_right_is_refused_with_its_line(self, tmp_path, text, message):
        path = tmp_path / "other.csv"
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_other(path)


class TestFigures:
    def test_the_scatter_has_the_identity_and_the_mean_prediction(self):
        table = simulated()
        identity, means = age_figures.draw_scatter(table).axes[0].lines
        assert (identity.get_xdata() == identity.get_ydata()).all()
        in_bin = table[(table["age"] >= 20) & (table["age"] < 25)]
        assert in_bin["predicted"].mean() == pytest.approx(means.get_ydata()[np.searchsorted(means.get_xdata(), 20)])

    def test_limits_of_agreement_are_two_standard_deviations_from_the_mean(self):
        table = simulated()
        difference = (table["predicted"] - table["age"]).to_numpy()
        heights = [line.get_ydata()[0] for line in age_figures.draw_bland_altman(table).axes[0].lines[:4]]
        spread = 1.96 * difference.std(ddof=1)
        assert heights == pytest.approx([0, difference.mean(), difference.mean() + spread, difference.mean() - spread])

    def test_errors_are_drawn_for_decades_that_have_figures(self):
        decades = by_decade(simulated())
        upper, lower = age_figures.draw_error_by_age(decades).axes
        assert upper.lines[0].get_ydata() == pytest.approx(decades["mae"].dropna().to_numpy())
        assert lower.lines[0].get_ydata() == pytest.approx(decades["bias"].dropna().to_numpy())

    def test_coverage_is_drawn_with_its_level(self):
        table = simulated()
        share = coverage(table["age"].to_numpy(), table["predicted"].to_numpy() - 8, table["predicted"].to_numpy() + 8)
        points, _, _, level = age_figures.draw_coverage(share, 0.8).axes[0].lines
        assert points.get_ydata()[-1] == pytest.approx(100 * share["coverage"].iloc[-1])
        assert level.get_ydata()[0] == 80

    @pytest.mark.parametrize("draw", [age_figures.draw_scatter, age_figures.draw_bland_altman])
    def test_one_photo_is_enough_to_draw(self, draw, tmp_path):
        draw(simulated().head(1)).savefig(tmp_path / "one.png")


class TestReport:
    def test_it_has_every_section_and_says_what_is_drawn(self):
        table = simulated().assign(low=lambda rows: rows["predicted"] - 9, high=lambda rows: rows["predicted"] + 9)
        table.loc[:1, ["predicted", "reason"]] = [np.nan, "unreadable: 12 bytes"]
        table.loc[5, "age"] = np.nan
        table.attrs["level"] = 0.9
        report = age_report(table, "a model on photos", pd.DataFrame({"id": table["photo_id"], "age": 40.0}))
        assert [section.title for section in report.sections] == [
            "All photos",
            "By age",
            "Minors and adults",
            "By the data set's labels",
            "Intervals of single ages",
            "Another system on the same photos",
        ]
        assert all(section.problem is None for section in report.sections)
        assert report.numbers["without_answer"] == {"unreadable": 2}
        assert (report.numbers["photos"], report.numbers["scored"], report.numbers["without_age"]) == (240, 237, 1)
        assert "237 of 240 photos are scored; left out: 2 x unreadable, 1 x no true age" in report.introduction
        assert "by person (119 persons)" in report.introduction
        tables = {part.name: part.data for part in report.tables()}
        inside = (table["age"] - table["predicted"]).abs() <= 9
        assert tables["coverage"]["coverage"].iloc[-1] == pytest.approx(inside.sum() / 237)
        assert report.numbers["comparison"]["photos"] == 237

    def test_what_cannot_be_shown_says_why(self):
        report = age_report(without_persons(simulated()).drop(columns=["sex", "race", "reason"]), "a model")
        problems = {section.title: section.problem for section in report.sections if section.problem}
        assert list(problems) == ["By the data set's labels", "Intervals of single ages"]
        assert "fahr-hf calibrate" in problems["Intervals of single ages"]
        assert "by photo, for want of identities" in report.introduction

    def test_apparent_ages_are_a_system_of_their_own(self):
        table = simulated().assign(apparent_age=lambda rows: rows["age"] + 3)
        figures = {part.name: part.data for part in age_report(table, "a model").tables()}["apparent_age"]
        assert figures["error_between"].iloc[2] == "apparent and true age"
        assert figures["mae"].iloc[2] == pytest.approx(3)
        assert figures["bias"].iloc[1] == pytest.approx(figures["bias"].iloc[0] - 3)


# ------------------------------------------------------------------------------------- with photos and a checkpoint

LARGE, SMALL = [0.0, 0.0, 512.0, 512.0], [512.0, 80.0, 854.0, 430.0]
PHOTOS = {
    "one": row("one", encoded(ASTRONAUT, quality=95), part="validation", subject_id="eileen"),
    "left": row("left", encoded(side_by_side(), quality=95), part="validation", box=LARGE),
    "right": row("right", encoded(side_by_side(), quality=95), part="validation", box=SMALL),
    "flat": row("flat", encoded(Image.new("RGB", (200, 200))), part="validation"),
    "text": row("text", b"not a photo", part="validation"),
    "small": row("small", encoded(ASTRONAUT.resize((300, 300)), quality=95), age=None, part="validation"),
    "held": row("held", encoded(ASTRONAUT.resize((400, 400)), quality=95), age=50.0, part="test"),
    "held2": row("held2", encoded(ASTRONAUT.resize((350, 350)), quality=95), age=30.0, part="test"),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp("small") / "set", list(PHOTOS.values())[:3], list(PHOTOS.values())[3:])


@pytest.fixture(scope="module")
def uncalibrated(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "uncalibrated"
    shutil.copytree(fahr_hf.checkpoint(MODEL), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "calibration": None}))
    return folder


@pytest.fixture(scope="module")
def calibrated(uncalibrated) -> Path:
    folder = uncalibrated.with_name("calibrated")
    shutil.copytree(uncalibrated, folder)
    save_tables(folder, {"age": TABLE})
    return folder


class TestPredictions:
    def test_photos_get_the_ages_of_the_pipeline_and_boxes_choose_the_face(self, photos, calibrated):
        table = predict_table(calibrated, photos, "validation").set_index("photo_id")
        assert list(table.index) == ["one", "left", "right", "flat", "text", "small"]
        pipeline = fahr_hf.pipeline("face-age", calibrated)
        (one,) = pipeline(PHOTOS["one"]["image"]["bytes"])
        large, small = pipeline(PHOTOS["left"]["image"]["bytes"])
        wanted = [one["age"], large["age"], small["age"]]
        assert table["predicted"].iloc[:3].tolist() == pytest.approx(wanted, abs=1e-3)
        assert table.loc["one", ["low", "high"]].tolist() == pytest.approx(one["interval"], abs=1e-3)
        assert table.attrs["level"] == 0.9
        assert table.loc["flat", "reason"] == "no face"
        assert table.loc["text", "reason"].startswith("unreadable: ")
        assert table.loc[["flat", "text"], ["predicted", "low", "high"]].isna().all(axis=None)
        assert table["reason"].isna().tolist() == [True, True, True, False, False, True]
        assert (table.loc["one", "subject_id"], table.loc["one", "age"]) == ("eileen", 41)

    def test_flip_averaging_is_the_pipelines_and_has_no_interval_of_the_plain_ages(self, photos, calibrated):
        table = predict_table(calibrated, photos, "validation", flip=True)
        (one,) = fahr_hf.pipeline("face-age", calibrated, flip=True)(PHOTOS["one"]["image"]["bytes"])
        assert table["predicted"].iloc[0] == pytest.approx(one["age"], abs=1e-3)
        assert table["low"].isna().all()
        assert table.attrs["level"] is None

    def test_crops_get_the_ages_that_training_reports(self, crop_cache, uncalibrated):
        table = predict_table(uncalibrated, crop_cache, "train")
        pipeline = fahr_hf.pipeline("face-age", uncalibrated)
        wanted = predict_ages(pipeline.model, pipeline.image_processor, load_crops(crop_cache, ["train"]))
        assert table["predicted"].tolist() == pytest.approx(wanted.tolist(), abs=1e-3)
        assert table["age"].tolist() == [10, 25, 40, 55, 70, 85, 100, 115]
        assert table["low"].isna().all()

    def test_duplicates_are_left_out_and_photos_without_a_face_are_not(self, crop_cache, tmp_path):
        cache = tmp_path / "cache"
        shutil.copytree(crop_cache, cache)
        listed = {"row": [8], "photo_id": ["330.jpg"], "reason": ["nearly the same picture as small/340.jpg"]}
        pd.DataFrame(listed).to_parquet(cache / "duplicates.parquet")
        rejects = pq.read_table(cache / "rejects-00000.parquet").schema
        faceless = {"photo_id": "flat", "part": "validation", "source": "small", "row": 10, "reason": "no face"}
        pq.write_table(pa.Table.from_pylist([faceless], rejects), cache / "rejects-00000.parquet")
        table = predict_table(MODEL, cache, "validation")
        assert table["photo_id"].tolist() == ["340.jpg", "flat"]
        assert table["predicted"].isna().tolist() == [False, True]
        assert table["reason"].tolist() == [None, "no face"]
        assert not {"image", "corners", "hash", "row"} & set(table.columns)

    def test_an_unknown_part_is_named_with_those_there_are(self, photos, crop_cache):
        with pytest.raises(ValueError, match="no part 'valid'; there are test, validation"):
            predict_table(MODEL, photos, "valid")
        with pytest.raises(ValueError, match="no part 'test'; there are train, validation"):
            predict_table(MODEL, crop_cache, "test")

    def test_a_folder_that_holds_neither_photos_nor_crops_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"neither a data set, .* nor a crop cache"):
            predict_table(MODEL, tmp_path, "validation")

    def test_a_data_set_without_ages_lacks_a_column(self, tmp_path):
        (tmp_path / "data").mkdir()
        table = pd.DataFrame({"photo_id": ["a"], "part": ["validation"]})
        table.to_parquet(tmp_path / "data" / "0.parquet")
        with pytest.raises(ValueError, match="lacks the columns image, subject_id, age, box"):
            predict_table(MODEL, tmp_path, "validation")

    def test_crops_that_were_cut_otherwise_are_refused(self, crop_cache, tmp_path):
        weights = tmp_path / "weights"
        shutil.copytree(fahr_hf.checkpoint(MODEL), weights)
        settings = json.loads((weights / "preprocessor_config.json").read_text())
        (weights / "preprocessor_config.json").write_text(json.dumps({**settings, "margin": 0.3}))
        with pytest.raises(ValueError, match=r"cut with margin = .*, and the model's processor has 0.3"):
            predict_table(weights, crop_cache, "validation")


def run(*arguments: str | Path):
    return CliRunner().invoke(_program, ["evaluate", "age", *map(str, arguments)])


@pytest.fixture
def ledger(tmp_path) -> Path:
    path = tmp_path / "ledger.csv"
    path.write_text("date,commit,checkpoint,data,split,n,metric,value,low,high\n")
    return path


def lines(ledger: Path) -> list[dict[str, str]]:
    with ledger.open() as file:
        return list(csv.DictReader(file))


class TestCommand:
    def test_it_prints_a_table_and_writes_a_report(self, photos, tmp_path):
        result = run(MODEL, photos, "--out", tmp_path / "report")
        assert result.exit_code == 0, result.output
        assert "fahr-faceage-tiny on small, part validation" in result.output
        assert "3 photos scored, 3 left out; 95 % intervals by person" in result.output
        assert "mean absolute error (years)" in result.output
        predictions = pd.read_csv(tmp_path / "report" / "tables" / "predictions.csv")
        assert predictions["photo_id"].tolist() == ["one", "left", "right", "flat", "text", "small"]
        numbers = json.loads((tmp_path / "report" / "numbers.json").read_text())
        errors = (predictions["predicted"] - predictions["age"]).abs()
        assert numbers["overall"]["mae"]["value"] == pytest.approx(errors.mean())
        assert numbers["sources"].keys() == {"code", "weights", "data"}
        assert "research estimates" in (tmp_path / "report" / "report.html").read_text()

    def test_json_is_json(self, photos, tmp_path):
        other = tmp_path / "other.csv"
        other.write_text("id,age\none,30\nleft,35\nstranger,7\n")
        result = run(MODEL, photos, "--json", "--flip", "--other", other)
        numbers = json.loads(result.stdout, parse_constant=pytest.fail)
        assert numbers["name"] == "fahr-faceage-tiny on small, part validation, flip averaged"
        assert numbers["comparison"]["photos"] == 2
        # All three are of one age.
        assert numbers["overall"]["r"] == {"value": None, "low": None, "high": None}
        assert numbers["tables"]["decades"] == [
            {"age": "40 to 49", "photos": 3} | dict.fromkeys(numbers["tables"]["decades"][0].keys() - {"age", "photos"})
        ]

    def test_a_test_part_is_in_the_ledger_before_it_is_printed(self, photos, ledger):
        result = run(MODEL, photos, "--part", "test", "--ledger", ledger)
        assert result.exit_code == 0, result.output
        written = lines(ledger)
        assert [line["metric"] for line in written] == ["MAE (years)", "bias (years)", "correlation"]
        assert {(line["checkpoint"], line["data"], line["split"], line["n"]) for line in written} == {
            (MODEL, "small", "test", "2")
        }
        predicted = predict_table(MODEL, photos, "test")["predicted"].to_numpy()
        assert float(written[0]["value"]) == pytest.approx(np.abs(predicted - [50, 30]).mean(), abs=1e-3)

    @pytest.mark.parametrize("options", [["--part", "test"], ["--appa-real"]])
    def test_without_a_ledger_no_figure_of_a_test_part_is_seen(self, photos, tmp_path, options):
        result = run(MODEL, photos, *options, "--ledger", tmp_path / "absent.csv", "--out", tmp_path / "report")
        assert isinstance(result.exception, FileNotFoundError | ValueError)
        assert result.stdout == ""
        assert not (tmp_path / "report").exists()

    def test_validation_leaves_no_line(self, crop_cache, ledger):
        assert run(MODEL, crop_cache, "--ledger", ledger).exit_code == 0
        assert lines(ledger) == []

    def test_a_folder_is_named_without_the_machine(self, photos, calibrated, ledger):
        run(calibrated, photos, "--part", "test", "--ledger", ledger)
        assert {line["checkpoint"] for line in lines(ledger)} == {f"{calibrated.parent.name}/calibrated"}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--fold", "0"], "--fold says which of --folds"),
            (["--part", "test", "--appa-real"], "give one of them"),
            (["--part", "valid"], "no part 'valid'; there are test, validation"),
        ],
    )
    def test_options_that_do_not_go_together_are_explained(self, photos, options, message):
        with pytest.raises(ValueError, match=message):
            raise run(MODEL, photos, *options).exception

    def test_an_unknown_checkpoint_is_explained(self, photos):
        with pytest.raises(ValueError, match="Unknown model 'nobody'"):
            raise run("nobody", photos).exception


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """Six photos, named as in a release: files in two folders, and identifiers without a suffix."""
    rows = []
    for number in range(6):
        photo = encoded(ASTRONAUT.resize((260 + 20 * number, 260 + 20 * number)), quality=95)
        file = row(f"{number % 2}/p{number}", photo, age=30.0 + number, part="train", source="appa_real")
        rows.append({**file, "image": {"bytes": photo, "path": f"p{number}.jpg"}})
    rows[4]["part"] = rows[5]["part"] = "test"
    return write_set(tmp_path_factory.mktemp("release") / "set", rows)


@pytest.fixture
def database(tmp_path) -> Path:
    # Folds test on the folders 8 and 9, 0 and 1, 2 and 3, 3 and 4, 4 and 5.
    folders = {0: 8, 1: 9, 2: 0, 3: 2, 4: 3, 5: 5}
    entries = [{"img_path": f"Data/{n % 2}/p{n}.jpg", "folder": folder} for n, folder in folders.items()]
    entries += [{"img_path": f"Data/elsewhere/q{n}.jpg", "folder": n} for n in range(10)]
    path = tmp_path / "Data.json"
    path.write_text(json.dumps(entries))
    return path


class TestProtocols:
    def test_a_fold_is_scored_on_its_test_photos_whatever_their_part(self, release, database, ledger):
        result = run(MODEL, release, "--folds", database, "--fold", "0", "--ledger", ledger, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["scored"] == 2
        assert {(line["split"], line["n"]) for line in lines(ledger)} == {("test_fold0", "2")}

    def test_every_fold_has_its_figure(self, release, database, ledger, monkeypatch):
        monkeypatch.setattr("fahr_hf.evaluation.age_scores.LEAST", 1)
        result = run(MODEL, release, "--folds", database, "--ledger", ledger, "--json")
        folds = json.loads(result.stdout)["tables"]["folds"]
        assert [(fold["fold"], fold["photos"]) for fold in folds] == [("0", 2), ("1", 1), ("2", 2), ("3", 1), ("4", 1)]
        recorded = {line["split"]: line for line in lines(ledger) if line["metric"] == "MAE (years)"}
        assert recorded.keys() == {"test_folds", *(f"test_fold{fold}" for fold in range(5))}
        assert recorded["test_folds"]["n"] == "6"
        assert float(recorded["test_fold2"]["value"]) == pytest.approx(folds[2]["mae"], abs=1e-3)

    def test_folds_need_the_names_of_files(self, crop_cache, database):
        with pytest.raises(ValueError, match="holds crops, and folds go by names of files"):
            raise run(MODEL, crop_cache, "--folds", database).exception

    def test_the_database_of_another_data_set_is_an_error(self, photos, database):
        with pytest.raises(
            ValueError, match=r"Fold 0 of Data.json tests on no photo of .*, whose files are called as one"
        ):
            raise run(MODEL, photos, "--folds", database, "--fold", "0").exception

    def test_appa_real_is_scored_on_its_test_split(self, release, ledger):
        result = run(MODEL, release, "--appa-real", "--ledger", ledger, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["scored"] == 2
        assert {line["split"] for line in lines(ledger)} == {"test"}

    def test_the_appa_real_protocol_is_for_that_data_set(self, photos, ledger):
        with pytest.raises(ValueError, match="is for the data set appa_real, got small"):
            raise run(MODEL, photos, "--appa-real", "--ledger", ledger).exception
        assert lines(ledger) == []
