"""Model cards: what a run leaves, whole and in parts, and what a card must have to be published."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from huggingface_hub import ModelCard

from fahr_hf.data.crops import Crops, load_crops
from fahr_hf.embedded import FOLDER, checkpoints
from fahr_hf.hub.cards import OUT_OF_SCOPE, addressed, check_card, write_card
from fahr_hf.hub.licences import ORDER, strictest
from fahr_hf.hub.metadata import GATE
from fahr_hf.hub.origin import read_origin, record_origin

FIXTURES = Path(__file__).parent / "fixtures" / "cards"
SETTINGS = {
    "batch_size": 16,
    "accumulation": 1,
    "learning_rate": 3e-4,
    "layer_decay": 0.75,
    "mixed_precision": "no",
}


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def put_weights(run: Path, stages: dict[str, bytes], chosen: bytes) -> None:
    for folder, weights in [*((run / name, weights) for name, weights in stages.items()), (run, chosen)]:
        (folder / "model").mkdir(exist_ok=True)
        (folder / "model" / "model.safetensors").write_bytes(weights)


@pytest.fixture
def age_run(tmp_path) -> Path:
    """A run of two stages on two sets, with a report."""
    run = Path(shutil.copytree(FIXTURES / "clinic-age", tmp_path / "clinic-age"))
    put_weights(run, {"head": b"head", "lora": b"lora"}, b"lora")
    return run


@pytest.fixture
def survival_run(age_run) -> Path:
    """Two runs side by side, of which the first was better, as `train_survival` leaves them."""
    run = age_run.rename(age_run.with_name("survival"))
    origin = json.loads((run / "origin.json").read_text())
    origin["outcomes"] = {
        "train": {"photos": 900, "people": 500, "deaths": 210, "follow_up": 31.5},
        "validation": {"photos": 130, "people": 80, "deaths": 33, "follow_up": 28.25},
    }
    write(run / "origin.json", origin)
    for name in ("head", "lora", "report"):
        shutil.rmtree(run / name)
    concordances = {"age-seed-0": (0.6, 0.7, 0.65), "age-seed-1": (0.5, 0.55, 0.6)}
    for number, (name, values) in enumerate(concordances.items()):
        data = {"train": {"photos": 900}, "validation": {"photos": 130}}
        session = {"started": f"2026-01-01T1{number}:00:00+00:00", "machine": "Linux x86_64, CPU, 2 threads"}
        record = {"run": {"settings": SETTINGS, "data": data, "processes": 1}, "sessions": [session], "seconds": 600}
        history = [
            {
                "epoch": epoch,
                "concordance": c,
                "concordance_low": c - 0.1,
                "concordance_high": c + 0.1,
                "concordance_face": c - 0.05,
                "one_minus_concordance": 1 - c,
            }
            for epoch, c in enumerate(values, start=1)
        ]
        write(run / name / "run.json", record)
        write(run / name / "history.json", history)
    (run / "runs.csv").write_text(
        "start,seed,concordance,concordance_low,concordance_high\nage,0,0.7,0.6,0.8\nage,1,0.6,0.5,0.7\n"
    )
    write(run / "model" / "config.json", {"architectures": ["FahrFaceForSurvival"], "survival_loss": "ranking"})
    put_weights(run, {"age-seed-0": b"first", "age-seed-1": b"second"}, b"first")
    return run


def test_a_card_is_this_from_the_first_line_to_the_last(age_run):
    assert write_card(age_run).read_text() == (FIXTURES / "age.md").read_text()


def test_the_hub_reads_licence_data_base_and_figures_from_the_top_of_a_card(age_run):
    data = ModelCard.load(write_card(age_run)).data
    assert (data.license, data.library_name, data.pipeline_tag) == (
        "cc-by-nc-sa-4.0",
        "transformers",
        "image-classification",
    )
    assert (data.base_model, data.datasets, data.metrics) == (
        "fahr-faceage-tiny",
        ["utkface", "clinic-faces"],
        ["mae"],
    )
    [result] = data.eval_results
    assert (result.metric_type, result.metric_value) == ("mae", 6.25)
    assert result.dataset_split == "validation, used for selection"
    assert "n = 1,869 photos, 95 % interval 6.010 to 6.500" in result.metric_name


def test_a_card_of_a_run_is_ready_to_be_published(age_run):
    card = write_card(age_run)
    check_card(age_run / "model")
    text = " ".join(card.read_text().split())
    assert all(use in text for use in OUT_OF_SCOPE)
    assert "More Information Needed" not in text


def test_gaps_between_groups_are_told_where_they_were_measured(age_run):
    rows = [
        ["sex", "bias (years)", 1.25, "female", "male", 0.0021, ""],
        ["age", "bias (years)", None, "", "", None, "No two groups."],
    ]
    gaps = [
        dict(zip(("label", "figure", "gap", "highest", "lowest", "p_holm", "problem"), row, strict=True))
        for row in rows
    ]
    without = write_card(age_run).read_text()
    assert "Largest gaps" not in without
    write(age_run / "fairness" / "numbers.json", {"name": "clinic-age/model on clinic", "tables": {"gaps": gaps}})
    text = write_card(age_run).read_text()
    assert "equal ages (clinic-age/model on clinic; `fahr-hf evaluate fairness`)" in text
    assert "|---|---|---|---|---|---|\n| sex | bias (years) | 1.25 | female | male | 0.002 |\n\n## Calibration" in text
    start, _, end = text.partition("\n\nLargest gaps")
    assert without == start + end[end.index("\n\n## Calibration") :]


def test_a_card_of_survival_weights_names_people_and_deaths_and_asks_for_purpose_and_ethics_approval(survival_run):
    card = ModelCard.load(write_card(survival_run))
    check_card(survival_run / "model")
    fields = card.data.get("extra_gated_fields")
    assert {"Stated purpose", "Ethics approval (board and number)"} < set(fields)
    words = " ".join([card.text, card.data.get("extra_gated_prompt")])
    assert all(words.count(use) > (use != "without their consent") - 1 for use in OUT_OF_SCOPE)
    # Of the run whose weights the model has, at its best epoch.
    [face_and_age, face] = card.data.eval_results
    assert (face_and_age.metric_value, face.metric_value) == (0.7, 0.65)
    assert "n = 80 people, 33 deaths, 95 % interval 0.600 to 0.800" in face_and_age.metric_name
    assert "| `train` | 900 | 500 | 210 | 31.5 |" in card.text
    assert "| age | 1 | 0.60 | 0.50 to 0.70 |" in card.text
    assert "20.0 minutes on" in card.text
    assert "no risk table" in card.text


def test_the_report_on_the_validation_people_is_taken_before_the_history(survival_run):
    hazard_ratio = {"value": 1.8, "low": 1.2, "high": 2.7}
    overall = {"concordance": {"value": 0.66, "low": 0.58, "high": 0.74}, "hazard ratio of one SD": hazard_ratio}
    report = {"people": 80, "deaths": 33, "overall": overall, "tables": {"overall": [], "runs": []}}
    write(survival_run / "report" / "numbers.json", report)
    card = ModelCard.load(write_card(survival_run))
    [result] = card.data.eval_results
    assert result.metric_value == 0.66
    assert "n = 80 people, 33 deaths, 95 % interval 0.580 to 0.740" in result.metric_name
    assert (
        "| hazard ratio of one SD, the face alone | utkface, clinic faces, validation | 80 people, 33 deaths | 1.80 "
        in (card.text)
    )


def test_a_risk_table_is_told_with_its_cohort_and_without_probabilities_where_it_is_not_calibrated(survival_run):
    config = survival_run / "model" / "config.json"
    table = {"cohort": "members of a parliament", "clock": "time since photo", "people": 300, "events": 120}
    table |= {
        "warning": None,
        "follow_up": 20.0,
        "calibrated": False,
        "observed_expected": 1.6,
        "observed_expected_of": "1990s",
    }
    write(config, {**json.loads(config.read_text()), "calibration": {"survival": table}})
    text = " ".join(write_card(survival_run).read_text().split())
    assert "members of a parliament (300 people, 120 deaths, up to 20 years of time since photo)" in text
    assert "No probabilities are given" in text


def test_commands_leave_cards_of_a_backbone_and_of_an_age_model_and_state_the_terms_when_told(
    crop_cache, tmp_path, run
):
    small = ("--epochs", 1, "--batch-size", 4, "--workers", 0)
    assert run("train", "pretrain", crop_cache, "--out", tmp_path / "backbone", *small)[0] == 0
    card = ModelCard.load(tmp_path / "backbone" / "model" / "README.md")
    history = json.loads((tmp_path / "backbone" / "history.json").read_text())
    [result] = card.data.eval_results
    assert result.metric_value == pytest.approx(history[-1]["validation_loss"], abs=1e-3)
    assert card.data.pipeline_tag == "image-feature-extraction"
    assert "trained on 8 photos of `small`" in card.text
    with pytest.raises(ValueError, match=r"lacks the terms of something.*--licence"):
        check_card(tmp_path / "backbone" / "model")
    code, out, _ = run("card", tmp_path / "backbone", "--licence", "CC BY, by consent", "--change", "v2: colours")
    assert code == 0
    assert out.startswith(str(tmp_path / "backbone" / "model" / "README.md"))
    check_card(tmp_path / "backbone" / "model")
    assert "- small (other): CC BY, by consent" in (tmp_path / "backbone" / "model" / "LICENSE.md").read_text()
    # What was stated stays when the finished run is called again.
    assert run("train", "pretrain", crop_cache, "--out", tmp_path / "backbone", *small)[0] == 0
    assert "- v1: the first\n- v2: colours\n" in (tmp_path / "backbone" / "model" / "README.md").read_text()
    check_card(tmp_path / "backbone" / "model")

    start = ("--start", tmp_path / "backbone" / "model")
    assert run("train", "age", crop_cache, "--out", tmp_path / "ages", *start, *small)[0] == 0
    card = ModelCard.load(tmp_path / "ages" / "model" / "README.md")
    [entry] = json.loads((tmp_path / "ages" / "everything" / "history.json").read_text())
    [result] = card.data.eval_results
    assert result.metric_value == pytest.approx(entry["mae"], abs=1e-3)
    assert (result.dataset_name, card.data.base_model) == ("small", "backbone")
    assert "which chose the epoch" in card.text
    assert "| small, validation | 2 photos |" in card.text
    assert str(tmp_path) not in card.content


def test_a_run_that_did_not_come_to_its_end_is_an_error(tmp_path, age_run):
    with pytest.raises(FileNotFoundError, match="No finished run"):
        write_card(tmp_path / "nothing")
    (age_run / "origin.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no origin\.json.*run the same command again"):
        write_card(age_run)


def test_weights_that_no_stage_made_get_no_card(age_run):
    (age_run / "model" / "model.safetensors").write_bytes(b"others")
    with pytest.raises(ValueError, match="are of none of the stages"):
        write_card(age_run)


class TestOrigin:
    def test_a_known_set_brings_its_terms_and_an_unknown_one_has_none_until_they_are_stated(self, crop_cache, tmp_path):
        record_origin(tmp_path, "fahr-face-tiny", [crop_cache])
        origin = read_origin(tmp_path)
        assert origin["start"] == {"name": "fahr-face-tiny", "licence": "cc-by-nc-4.0"}
        [known] = origin["sets"]
        assert (known["name"], known["licence"], known["own"]) == ("small", None, True)
        assert origin["crops"][0]["parts"]["train"]["photos"] == 8
        assert read_origin(tmp_path, licence="cc-by-4.0")["sets"][0]["licence"] == "cc-by-4.0"
        assert read_origin(tmp_path)["sets"][0]["terms"] == "cc-by-4.0"

    def test_terms_are_stated_of_photos_that_nobody_knows_and_of_no_others(self, age_run):
        origin = json.loads((age_run / "origin.json").read_text())
        write(age_run / "origin.json", {**origin, "sets": origin["sets"][:1]})
        with pytest.raises(
            ValueError, match="terms of utkface are known; 'mit' can be stated of one's own photos only"
        ):
            read_origin(age_run, licence="mit")

    def test_people_and_deaths_are_counted_once_a_person(self, crop_cache, tmp_path):
        crops = load_crops(crop_cache, ["train"])
        people = pa.array(["a", "a", "b", "c", "c", "c", "d", "e"])
        columns = {
            "subject_id": people,
            "duration": pa.array([51.0, 51, 62, 73, 73, 73, 44.5, 85]),
            "entry": pa.array([50.0, 50, 60, 70, 70, 70, 40.0, 80]),
            "event": pa.array([True, True, False, True, True, True, False, False]),
        }
        table = crops.table.drop_columns(["subject_id"])
        for name, values in columns.items():
            table = table.append_column(name, values)
        followed = Crops(crops.images, crops.corners, table, crops.rejected)
        record_origin(tmp_path, None, [crop_cache], outcomes={"train": followed})
        assert read_origin(tmp_path)["outcomes"] == {"train": {"photos": 8, "people": 5, "deaths": 2, "follow_up": 3.0}}


@pytest.mark.parametrize(
    ("licences", "wanted"),
    [
        (["mit"], "mit"),
        (["mit", "apache-2.0", "cc0-1.0"], "apache-2.0"),
        (["cc-by-4.0", "cc-by-nc-4.0", "mit"], "cc-by-nc-4.0"),
        (["cc-by-sa-4.0", "cc-by-nc-4.0"], "cc-by-nc-sa-4.0"),
        (["cc-by-nc-4.0", "cc-by-nc-nd-4.0"], "cc-by-nc-nd-4.0"),
        (["cc-by-sa-4.0", "cc-by-nc-nd-4.0"], "other"),
        (["mit", None], "other"),
        (["mit", "other"], "other"),
        (["mit", "a licence that nobody knows"], "other"),
    ],
)
def test_the_strictest_licence_satisfies_all_and_an_unknown_one_is_never_free(licences, wanted):
    assert strictest(licences) == wanted
    assert strictest(reversed(licences)) == wanted


@pytest.mark.parametrize("licence", ORDER)
def test_a_licence_among_freer_ones_of_its_kind_stays(licence):
    assert strictest([licence, "cc0-1.0", licence]) == licence


def test_no_licence_at_all_is_an_error():
    with pytest.raises(ValueError, match="No licences"):
        strictest([])


class TestCheck:
    @pytest.mark.parametrize("name", checkpoints())
    def test_the_cards_of_the_embedded_checkpoints_are_complete_and_listed(self, name):
        check_card(FOLDER / name)
        listed = Path(__file__).parents[1] / "model_cards" / "README.md"
        assert f"(../fahr_hf/checkpoints/{name}/README.md)" in listed.read_text()

    def test_a_checkpoint_without_a_card_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"no card README.md. `fahr-hf card RUN` writes it"):
            check_card(tmp_path)

    def test_everything_that_is_missing_is_told_at_once(self, survival_run):
        model = survival_run / "model"
        (model / "README.md").write_text("---\nlicense: other\n---\n\n## Uses\n\n[More Information Needed]\n")
        with pytest.raises(ValueError, match="lacks") as error:
            check_card(model)
        for lacking in (
            *("the field library_name", "the field datasets", "the field eval_results", "[More Information Needed]"),
            *("the terms of something", "the file LICENSE.md", "the section Limits", "the section Licence"),
            *("the compute", "lines of use", *(f"out of scope {use!r}" for use in OUT_OF_SCOPE)),
            *(f"the field {name}" for name in GATE),
        ):
            assert lacking in str(error.value)
        assert "the section Uses" not in str(error.value)

    @pytest.mark.parametrize("use", OUT_OF_SCOPE)
    def test_a_use_out_of_scope_that_was_taken_out_is_missed(self, use, age_run):
        card = write_card(age_run)
        card.write_text(card.read_text().replace(use, ""))
        with pytest.raises(ValueError, match=use):
            check_card(age_run / "model")


class TestAddress:
    def test_lines_of_use_name_where_a_model_is_published_and_pin_its_version(self, age_run):
        card = write_card(age_run).read_text()
        first = addressed(card, "org/clinic-age", "v1")
        assert 'age = fahr_hf.pipeline("face-age", "org/clinic-age", revision="v1")\n' in first
        assert addressed(first, "org/other", "v2") == addressed(card, "org/other", "v2")
        assert addressed(first, "org/other", None).count('"face-age", "org/other")') == 1

    def test_nothing_else_of_the_card_changes(self, age_run):
        card = write_card(age_run).read_text()
        changed = [
            pair
            for pair in zip(card.splitlines(), addressed(card, "a/b", "v1").splitlines(), strict=True)
            if len(set(pair)) > 1
        ]
        assert len(changed) == 1


def test_checking_a_card_needs_no_package_of_the_extra_train():
    program = "import sys, fahr_hf.hub.cards; print({'pandas', 'pyarrow', 'datasets', 'scipy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"


def test_the_wheel_brings_the_templates(wheel):
    templates = {path.name for path in (Path(__file__).parents[1] / "model_cards").glob("*.jinja")}
    assert {"card.md.jinja", "age.md.jinja", "backbone.md.jinja", "survival.md.jinja"} == templates
    with zipfile.ZipFile(wheel) as archive:
        assert {f"fahr_hf/hub/model_cards/{name}" for name in templates} <= set(archive.namelist())
