import io
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fahr_hf import FahrFaceForAgeEstimation, FahrFaceImageProcessor, checkpoint
from fahr_hf.clinical import concordance
from fahr_hf.data.crops import Crops, load_crops
from fahr_hf.data.ledger import LEDGER
from fahr_hf.reports.writing import write_report
from fahr_hf.training.age import predict_ages

REPOSITORY = Path(__file__).parents[1]
# Benchmarks are scripts and no package.
sys.path.append(str(REPOSITORY / "benchmarks" / "congress"))

import run  # noqa: E402
from analysis import PHOTO_FREE, analyse, gather, log_hazard, record  # noqa: E402
from cohort import (  # noqa: E402
    ANALYSED,
    IMPOSSIBLE,
    IN_OFFICE,
    NO_FACE,
    NO_SEX,
    STILL_IN_OFFICE,
    UNOBSERVED,
    decimal_year,
    select_cohort,
)
from controls import exchangeable, shuffle_within  # noqa: E402
from effects import bootstrap_hazard_ratio, detectable_hazard_ratio, effect, standardised  # noqa: E402
from era import ERA, era_features  # noqa: E402
from known import BASELINE, KNOWN, read_members  # noqa: E402
from pairs import alike, pair_concordance  # noqa: E402
from public_figures import describe  # noqa: E402
from scores import score_faces, without_colour, without_face  # noqa: E402

HAZARD_RATIO = 1.5


# ------------------------------------------------------------------------------------------------------ the cohort


def member(**changes):
    """Somebody who sat in the House from 1951 to 1961 and died in 1980."""
    return {
        "subject_id": "a",
        "sex": "male",
        "birth_year": 1910,
        "first_term_start": "1951-01-03",
        "last_congress_start": "1959-01-03",
        "chamber": "House",
        "portrait_source": "bio_guide",
        "death_year": 1980,
    } | changes


def step_of(**changes):
    members = pd.DataFrame([member(**changes)]).astype({"death_year": float})
    flow = select_cohort(members, {"a"})[1].set_index("step")["people"]
    assert flow["in this part"] == flow.iloc[1:].sum() == 1
    return flow.iloc[1:].idxmax()


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({}, ANALYSED),
        ({"death_year": None, "birth_year": 1925}, ANALYSED),
        ({"first_term_start": "1930-01-03"}, IMPOSSIBLE),
        ({"first_term_start": "1963-01-03"}, IMPOSSIBLE),
        ({"death_year": 1958}, IMPOSSIBLE),
        ({"death_year": None}, IMPOSSIBLE),
        ({"death_year": 1959}, IN_OFFICE),
        ({"death_year": 1960}, IN_OFFICE),
        ({"death_year": 1961}, ANALYSED),
        ({"birth_year": 1970, "last_congress_start": "2021-01-03", "death_year": None}, IMPOSSIBLE),
        ({"birth_year": 1925, "last_congress_start": "2021-01-03", "death_year": None}, ANALYSED),
        ({"birth_year": 1925, "last_congress_start": "2023-01-03", "death_year": None}, STILL_IN_OFFICE),
        ({"birth_year": 1925, "last_congress_start": "2023-01-03", "death_year": 2024}, IN_OFFICE),
        ({"sex": None}, NO_SEX),
        ({"subject_id": "nobody"}, NO_FACE),
    ],
)
def test_every_rule_leaves_out_whom_it_should(changes, step):
    assert step_of(**changes) == step


def test_the_clock_is_attained_age_with_births_and_deaths_at_mid_year():
    members = pd.DataFrame([member(subject_id="died"), member(subject_id="lives", birth_year=1925, death_year=None)])
    died, lives = select_cohort(members, {"died", "lives"})[0].to_dict("records")

    assert died["duration"] == 1980 - 1910
    assert died["event"]
    assert not lives["event"]
    assert died["entry"] == pytest.approx(1961 + 2 / 365.25 - 1910.5)
    assert lives["duration"] == 2025 - 1925.5
    assert died["entry_year"] == 1961
    assert died["tenure"] == pytest.approx(10)
    assert died["age_at_first_term"] == pytest.approx(1951 + 2 / 365.25 - 1910.5)


def test_somebody_who_died_in_office_is_observed_only_from_the_first_term():
    members = pd.DataFrame([member(death_year=1960)])
    assert select_cohort(members, {"a"})[0].empty
    assert len(select_cohort(members, {"a"}, "first term")[0]) == 1

    elected_late = pd.DataFrame([member(first_term_start="1959-11-04", death_year=1959)])
    flow = select_cohort(elected_late, {"a"}, "first term")[1].set_index("step")["people"]
    assert flow[UNOBSERVED] == 1


def test_a_decimal_year_passes_with_its_days():
    assert decimal_year(pd.Series(["2021-01-01", "2021-07-02"])).tolist() == pytest.approx([2021, 2021.5], abs=2e-3)


def test_presidents_count_with_the_senate_and_other_sources_as_one():
    members = pd.DataFrame([member(chamber="President", portrait_source="wiki")])
    [found] = select_cohort(members, {"a"})[0].to_dict("records")
    assert (found["chamber"], found["government"]) == ("Senate", False)


# --------------------------------------------------------------------------------------------------------- the era


def encoded(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=90, **options)
    return file.getvalue()


def noise(height=60, width=40, channels=1, low=0):
    generator = np.random.default_rng(0)
    return generator.integers(low, 256, (height, width, channels), np.uint8).repeat(3 // channels, axis=2)


def test_a_portrait_without_colour_is_grey_however_it_is_stored():
    for pixels in (noise(), noise()[..., 0]):
        found = era_features(encoded(pixels))
        assert found["grey"] == 1
        assert found["saturation"] < 0.02


def test_saturation_is_that_of_the_colours():
    red = np.broadcast_to(np.array([200, 100, 100], np.uint8), (40, 40, 3))
    found = era_features(encoded(red))
    assert found["grey"] == 0
    assert found["saturation"] == pytest.approx(0.5, abs=0.02)


def test_sizes_are_those_of_photo_and_file():
    photo = encoded(noise(60, 40))
    found = era_features(photo)
    assert found["log_pixels"] == pytest.approx(math.log(60 * 40))
    assert found["log_bytes"] == pytest.approx(math.log(len(photo)))
    assert set(found) == set(ERA)


def test_a_flat_margin_is_a_share_of_the_area():
    framed = np.full((80, 64, 3), 255, np.uint8)
    framed[16:64, 16:48] = noise(48, 32)
    # Blocks of eight pixels: compression keeps the edge where it is.
    assert era_features(encoded(framed))["border"] == pytest.approx(1 - 48 * 32 / (80 * 64), abs=0.01)
    assert era_features(encoded(noise()))["border"] == 0
    assert era_features(encoded(np.full((40, 40, 3), 255, np.uint8)))["border"] == 1


def test_members_are_read_with_the_features_of_their_portraits(tmp_path):
    rows = [{**member(), "part": part, "image": {"bytes": encoded(noise()), "path": ""}} for part in ("train", "test")]
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / "all.parquet")
    [found] = read_members(tmp_path, "train").to_dict("records")
    assert (found["part"], found["grey"]) == ("train", 1)
    with pytest.raises(ValueError, match="'validation'"):
        read_members(tmp_path, "validation")


# ----------------------------------------------------------------------------------------------------------- pairs


def survivors(n=60):
    generator = np.random.default_rng(1)
    entry = generator.uniform(40, 70, n)
    return pd.DataFrame(
        {
            "risk": generator.normal(size=n).round(1),
            "entry": entry,
            # Whole years, so that some die at the same age.
            "duration": np.ceil(entry + generator.exponential(15, n)),
            "event": generator.random(n) < 0.7,
            "sex": np.where(generator.random(n) < 0.3, "female", "male"),
            "age_at_first_term": generator.uniform(30, 40, n),
            "first_term": generator.uniform(1950, 1970, n),
        }
    )


def test_concordance_within_pairs_is_that_of_a_double_loop():
    people = survivors()
    won = compared = 0
    for _, a in people.iterrows():
        for _, b in people.iterrows():
            outlived = b.duration > a.duration or (b.duration == a.duration and not b.event)
            is_alike = (
                a.sex == b.sex
                and abs(a.age_at_first_term - b.age_at_first_term) <= 2
                and abs(a.first_term - b.first_term) <= 5
            )
            if a.event and outlived and b.entry < a.duration and is_alike:
                compared += 1
                won += 1 if a.risk > b.risk else 0.5 if a.risk == b.risk else 0
    found = pair_concordance(
        *(people[column].to_numpy() for column in ("risk", "duration", "event", "entry")), alike(people), resamples=100
    )
    assert found.pairs == compared > 50
    assert found.c == pytest.approx(won / compared)
    assert found.c_low < found.c < found.c_high


def test_concordance_of_all_pairs_is_harrells_and_so_is_its_spread():
    people = survivors(300)
    risk, duration, event, entry = (people[name].to_numpy() for name in ("risk", "duration", "event", "entry"))
    c, se = concordance(event, duration, risk, entry)
    found = pair_concordance(risk, duration, event, entry, resamples=1000)
    assert found.c == pytest.approx(c)
    assert (found.c_high - found.c_low) / (2 * 1.96) == pytest.approx(se, rel=0.15)


def test_pairs_that_nobody_can_compare_are_an_error():
    with pytest.raises(ValueError, match="No pair of 2 people, 0 of whom died"):
        pair_concordance(np.zeros(2), np.ones(2), np.zeros(2, bool))


# -------------------------------------------------------------------------------------------------------- controls


def test_faces_are_exchanged_within_their_cells_and_nowhere_else():
    cells = np.array([2, 0, 1, 0, 2, 0, 2, 0])
    values = np.arange(8.0)
    seen = [shuffle_within(values, cells, np.random.default_rng(seed)) for seed in range(20)]
    for shuffled in seen:
        for cell in range(3):
            assert sorted(shuffled[cells == cell]) == sorted(values[cells == cell])
    assert len({tuple(shuffled) for shuffled in seen}) > 10


def test_people_alone_in_their_cell_cannot_be_exchanged():
    people = pd.DataFrame({"subject_id": list("abc"), "birth_year": [1900, 1900, 1901], "sex": "male"})
    assert exchangeable(people) == 2


def test_a_painted_over_face_is_the_same_whoever_it_was_and_a_grey_one_has_no_colour():
    first, second = noise(112, 112, 3), noise(112, 112, 3)
    # Between eyes and mouth of the aligned crop.
    second[45:95, 35:75] = 0
    assert np.array_equal(without_face(first), without_face(second))
    assert not np.array_equal(without_face(first), without_face(255 - first))
    assert np.ptp(without_colour(first), axis=2).max() == 0


def test_a_checkpoint_scores_each_person_once_with_the_ages_it_predicts(crop_cache):
    crops = load_crops(crop_cache)
    people = pa.array([f"person {number // 2}" for number in range(len(crops))])
    place = crops.table.column_names.index("subject_id")
    crops = replace(crops, table=crops.table.set_column(place, "subject_id", people))
    found = score_faces("fahr-faceage-tiny", crops).set_index("subject_id")
    model = FahrFaceForAgeEstimation.from_pretrained(checkpoint("fahr-faceage-tiny"))
    ages = predict_ages(model, FahrFaceImageProcessor(), crops)
    expected = ages.reshape(-1, 2).mean(axis=1)
    assert found["score"].tolist() == pytest.approx(expected.tolist())
    # A photo in colour, seen as it is, in grey, and without its face.
    assert found.nunique(axis=1).eq(3).all()


def test_a_checkpoint_without_ages_or_risks_is_refused(crop_cache):
    with pytest.raises(ValueError, match=r"fahr-face-tiny is FahrFace.*; expected FahrFaceForSurvival or"):
        score_faces("fahr-face-tiny", load_crops(crop_cache, ["validation"]))


def test_public_figures_are_compared_within_photo_year_and_age_alone():
    table = pa.table(
        {
            "subject_id": ["a", "a", "b", "other age", "other year"],
            "photo_year": [2000, 2010, 2000, 2000, 2001],
            "death_year": [2005, 2005, 2012, 2008, 2003],
            "age": [60.0, 70.0, 61.0, 65.0, 60.0],
        }
    )
    crops = Crops(np.zeros((5, 1, 1, 3), np.uint8), np.zeros((5, 4, 2), np.float32), table, table)
    scores = pd.DataFrame({"subject_id": ["a", "b", "other age", "other year"], "score": [2.0, 1.0, 9.0, 9.0]})
    [found] = describe(crops, scores, resamples=50).to_dict("records")
    assert (found["people"], found["pairs"], found["c"]) == (4, 1, 1)


# ------------------------------------------------------------------------------------------------------ the effect


def simulated(seed, n=700):
    """Members whose hazard grows by half per standard deviation of `face`, and by `grey`, and with age (Gompertz)."""
    generator = np.random.default_rng(seed)
    birth = generator.integers(1885, 1960, n)
    first = birth + generator.integers(30, 60, n) // 2 * 2
    first += (first + 1) % 2
    last = np.minimum(first + 2 * generator.integers(0, 8, n), 2021)
    first = np.minimum(first, last)
    face, grey = generator.normal(size=n), (generator.random(n) < 0.4).astype(float)
    slope, base = 0.09, 4e-5 * HAZARD_RATIO**face * np.exp(0.7 * grey)
    left = last + 2 - birth - 0.5
    death_age = np.log(np.exp(slope * left) + slope * generator.exponential(size=n) / base) / slope
    death = np.floor(birth + 0.5 + death_age)
    return pd.DataFrame(
        {
            "subject_id": [f"{seed}-{number}" for number in range(n)],
            "sex": np.where(generator.random(n) < 0.1, "female", "male"),
            "birth_year": birth,
            "first_term_start": [f"{year}-01-03" for year in first],
            "last_congress_start": [f"{year}-01-03" for year in last],
            "chamber": np.where(generator.random(n) < 0.2, "Senate", "House"),
            "portrait_source": np.where(generator.random(n) < 0.8, "bio_guide", "wiki"),
            "death_year": np.where(death < 2025, death, np.nan),
            "grey": grey,
            **{name: generator.normal(size=n) for name in ERA if name != "grey"},
            "face": face,
        }
    )


@pytest.fixture(scope="module")
def material():
    members, train = simulated(3), simulated(2)
    return gather(members, train, set(members["subject_id"]) | set(train["subject_id"]))


@pytest.fixture(scope="module")
def report(material):
    noise_of = np.random.default_rng(3).normal(size=(2, len(material.people)))
    scores = material.first_term[["subject_id"]].assign(score=5 + 2 * material.first_term["face"])
    scores["score_grey"], scores["score_masked"] = scores["score"], np.random.default_rng(5).normal(size=len(scores))
    others = {"nothing": pd.Series(noise_of[0], material.people["subject_id"])}
    return analyse(material, scores, others, "simulated", "test", resamples=40, permutations=20)


def test_the_analysis_recovers_the_hazard_ratio_it_was_simulated_with(report):
    primary = report.numbers["primary"]
    assert primary["hr_low"] < HAZARD_RATIO < primary["hr_high"]
    assert primary["bootstrap_low"] < HAZARD_RATIO < primary["bootstrap_high"]
    assert primary["p"] < 1e-6
    assert primary["r2"] < 0.05
    assert "adds" in report.numbers["verdict"]
    assert report.numbers["permutation_p"] == pytest.approx(1 / 21)
    tables = {table.name: table.data for table in report.tables()}
    scores = tables["scores"].set_index("score")
    assert scores.loc["simulated", "c_alike_low"] > 0.5
    assert scores.loc["face masked out", "hr_low"] < 1 < scores.loc["face masked out", "hr_high"]
    assert math.isnan(scores.loc[PHOTO_FREE, "hr"])
    assert scores.loc[PHOTO_FREE, "c_age"] > 0.5
    assert len(tables["sensitivity"]) == 8


def test_the_report_can_be_written_and_its_figures_go_into_the_ledger(report, tmp_path):
    write_report(report, tmp_path / "report")
    assert {path.stem for path in (tmp_path / "report/figures").iterdir()} == {"flow", "forest", "permutations"}

    ledger = tmp_path / "ledger.csv"
    ledger.write_text((REPOSITORY / LEDGER).read_text().splitlines()[0] + "\n")
    record(report, ledger)
    lines = pd.read_csv(ledger)
    assert lines["metric"].tolist() == [
        "HR per SD after baseline + era",
        "C within pairs of the same sex, age +-2, first term +-5",
        "C of the score alone, since leaving office",
    ]
    assert (lines["low"] < lines["value"]).all()
    assert (lines["value"] < lines["high"]).all()


def test_a_score_that_reads_the_era_alone_adds_to_the_baseline_but_not_to_the_era(material):
    wobble = 0.3 * np.random.default_rng(4).normal(size=len(material.people))
    people = material.people.assign(shortcut=standardised(material.people["grey"] + wobble))
    assert effect(people, "shortcut", BASELINE).p < 1e-4
    after_era = effect(people, "shortcut", KNOWN)
    assert after_era.p > 0.05
    assert after_era.r2 > 0.6


def test_a_score_turned_round_has_the_inverse_hazard_ratio(material):
    people = material.people.assign(score=material.people["face"], turned=-material.people["face"])
    assert effect(people, "turned", KNOWN).hr == pytest.approx(1 / effect(people, "score", KNOWN).hr)


def test_the_bootstrap_is_as_wide_as_the_wald_interval(material):
    found = effect(material.people, "face", KNOWN)
    hr, low, high = bootstrap_hazard_ratio(material.people, "face", KNOWN, resamples=100)
    assert hr == pytest.approx(found.hr)
    assert math.log(high / low) == pytest.approx(math.log(found.hr_high / found.hr_low), rel=0.3)


def test_the_detectable_hazard_ratio_is_schoenfelds():
    # Schoenfeld: deaths = (1.96 + 0.8416)^2 / log(HR)^2 for a covariate of variance 1.
    assert detectable_hazard_ratio(100, 0) == pytest.approx(math.exp(2.8016 / 10), rel=1e-4)
    assert detectable_hazard_ratio(200, 0.5) == pytest.approx(detectable_hazard_ratio(100, 0))


def test_the_offset_is_fitted_on_train_alone_and_knows_who_dies_early(material):
    train = select_cohort(simulated(2), {f"2-{number}" for number in range(700)})[0]
    assert log_hazard(train, train).mean() == pytest.approx(0, abs=1e-9)
    few = material.people.head(50)
    assert np.allclose(log_hazard(few, train), material.people["known"].head(50))


# --------------------------------------------------------------------------------------------------------- the door


def test_the_test_part_opens_only_when_it_is_said(tmp_path, monkeypatch):
    folders = [f"--{name}={tmp_path}" for name in ("data", "crops", "work")]
    monkeypatch.setattr(sys, "argv", ["run.py", "analyse", *folders, "--part", "test"])
    with pytest.raises(SystemExit, match="--open-test"):
        run.main()
