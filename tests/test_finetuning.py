"""Fine-tuning on one's own photos: low-rank adapters, stages, and what a finished run leaves."""

import copy
import json
import re
import runpy
import shutil
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from conftest import assert_same_answers, images, minute_config
from huggingface_hub import ModelCard
from own_photo_sets import write_faces

import fahr_hf
from fahr_hf import FahrFaceForAgeEstimation, FahrFaceImageProcessor
from fahr_hf.data.crops import load_crops
from fahr_hf.data.splits import part_of
from fahr_hf.hub.cards import write_card
from fahr_hf.hub.origin import record_origin
from fahr_hf.metrics import mean_absolute_error
from fahr_hf.training import finetuning
from fahr_hf.training.age import predict_ages
from fahr_hf.training.age_stages import train_age
from fahr_hf.training.finetuning import finetuning_stages, finish_run
from fahr_hf.training.lora import TARGETS, add_lora, merge_lora

EXAMPLES = Path(__file__).parents[1] / "examples"
PHOTOS = {"train": 8, "validation": 4, "calibration": 20, "test": 2}


@pytest.fixture(params=["patch", "convolution"])
def model(request) -> FahrFaceForAgeEstimation:
    torch.manual_seed(0)
    return FahrFaceForAgeEstimation(minute_config(stem=request.param)).eval()


def trained(model: FahrFaceForAgeEstimation) -> FahrFaceForAgeEstimation:
    """A few steps of the optimizer that the loop makes."""
    optimizer = torch.optim.AdamW(model.parameter_groups(1e-2, layer_decay=0.9, weight_decay=0.05))
    for _ in range(3):
        model(images(), labels=torch.tensor([20.0, 50.0, 80.0])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def test_a_model_with_new_adapters_is_of_its_class_and_answers_as_before(model):
    before = model(images()).logits
    assert type(add_lora(model, rank=4)) is FahrFaceForAgeEstimation
    assert_same_answers(model(images()).logits, before)


def test_only_adapters_and_the_head_are_trained_and_the_optimizer_gets_them_by_layer(model):
    model.freeze_backbone()
    add_lora(model, rank=4)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    adapters = {
        f"backbone.layers.{layer}.{place}.{name}.lora_{side}.default.weight"
        for layer in range(2)
        for place, name in zip(["attention"] * 4 + ["mlp"] * 2, TARGETS, strict=True)
        for side in "AB"
    }
    assert trainable == adapters | {"age_head.weight", "age_head.bias"}
    groups = {group["name"]: group for group in model.parameter_groups(1e-3, layer_decay=0.5)}
    assert list(groups) == ["layers.0", "layers.1", "age_head", "age_head.no_decay"]
    assert [group["lr"] for group in groups.values()] == [0.25e-3, 0.5e-3, 1e-3, 1e-3]


def test_training_moves_the_adapters_and_leaves_the_matrices_beside_them_alone(model):
    frozen = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    before = model(images()).logits
    trained(add_lora(model, rank=4))
    assert (model(images()).logits - before).abs().max() > 0.01
    now = {key.replace(".base_layer", ""): value for key, value in model.backbone.state_dict().items()}
    assert all(torch.equal(now[key], value) for key, value in frozen.items())


def test_a_merged_model_is_an_ordinary_one_with_the_same_answers_that_loads_strictly(model, tmp_path):
    keys = list(model.state_dict())
    trained(add_lora(model, rank=4))
    wanted = model(images()).logits
    assert type(merge_lora(model)) is FahrFaceForAgeEstimation
    assert list(model.state_dict()) == keys
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert_same_answers(model(images()).logits, wanted)
    model.save_pretrained(tmp_path)
    assert_same_answers(FahrFaceForAgeEstimation.from_pretrained(tmp_path)(images()).logits, wanted)


def test_the_merged_matrix_is_the_old_one_plus_the_product_of_the_adapter(model):
    add_lora(model, rank=4)
    trained(model)
    layer = model.backbone.layers[1].mlp.down_proj
    wanted = layer.base_layer.weight + layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    merge_lora(model)
    torch.testing.assert_close(model.backbone.layers[1].mlp.down_proj.weight, wanted)


def test_adapters_begin_alike_whatever_was_drawn_before_and_draw_nothing_from_elsewhere(model):
    other = copy.deepcopy(model)
    add_lora(model, rank=4)
    torch.rand(100)
    state = torch.random.get_rng_state()
    add_lora(other, rank=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(other.state_dict()[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("photos", "batch_size", "epochs"),
    [(1, 1, 20), (3, 3, 20), (9, 4, 20), (100, 16, 20), (300, 32, 13), (1000, 64, 4), (3000, 64, 3), (100_000, 64, 3)],
)
def test_a_small_set_is_seen_often_in_small_batches_and_a_large_one_seldom_in_large_ones(photos, batch_size, epochs):
    head, everything = finetuning_stages(photos, seed=7)
    assert (head.name, head.only_head, everything.name, everything.only_head) == ("head", True, "all", False)
    assert (head.settings.batch_size, everything.settings.batch_size) == (batch_size, batch_size)
    assert everything.settings.epochs == epochs
    assert everything.settings.learning_rate < head.settings.learning_rate
    assert everything.settings.layer_decay < 1


def test_epochs_seed_and_adapters_are_as_asked():
    head, adapters = finetuning_stages(300, head_epochs=2, epochs=5, lora_rank=8, seed=7)
    assert (head.settings.epochs, adapters.settings.epochs) == (2, 5)
    assert (head.lora_rank, adapters.lora_rank, adapters.name) == (None, 8, "lora")
    assert head.settings.seed != adapters.settings.seed
    with pytest.raises(ValueError, match="0 photos"):
        finetuning_stages(0)


def run_example(monkeypatch, name: str, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """photos/0.jpg ..., my.csv without parts of its own, and start, a minute checkpoint."""
    folder = tmp_path_factory.mktemp("own")
    write_faces(folder / "photos", sum(PHOTOS.values()))
    people = [
        person
        for part, count in PHOTOS.items()
        for person in islice(
            (name for name in map("P{}".format, range(1000)) if part_of(name, None, False) == part), count
        )
    ]
    rows = [f"{number}.jpg,{20 + 2 * number},{person}" for number, person in enumerate(people)]
    (folder / "my.csv").write_text("\n".join(["image,age,subject_id", *rows, "0.jpg,,P0"]))
    torch.manual_seed(0)
    config = minute_config(image_size=112, patch_size=16, age_output="expectation")
    FahrFaceForAgeEstimation(config).save_pretrained(folder / "start")
    FahrFaceImageProcessor().save_pretrained(folder / "start")
    return folder


@pytest.fixture(scope="module")
def finished(own) -> Path:
    """The run of the example."""
    arguments = (
        own / "my.csv",
        own / "photos",
        own / "run",
        "--start",
        own / "start",
        "--epochs",
        "2",
        "--skip-bad-rows",
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_example(monkeypatch, "finetune_age.py", *arguments)
    return own / "run"


def test_the_example_leaves_a_model_a_report_and_a_card(finished):
    model = FahrFaceForAgeEstimation.from_pretrained(finished / "model")
    processor = FahrFaceImageProcessor.from_pretrained(finished / "model")
    held = load_crops(finished / "crops", ["validation"])
    numbers = json.loads((finished / "report" / "numbers.json").read_text())
    wanted = mean_absolute_error(held.column("age"), predict_ages(model, processor, held))
    assert numbers["scored"] == PHOTOS["validation"]
    assert numbers["overall"]["mae"]["value"] == pytest.approx(wanted, abs=1e-3)
    assert (finished / "report" / "report.html").is_file()


def test_the_card_is_filled_from_the_run_and_names_no_folder_of_this_machine(finished, own):
    card = ModelCard.load(finished / "model" / "README.md")
    numbers = json.loads((finished / "report" / "numbers.json").read_text())
    assert card.data.license == "other"
    assert card.data.base_model == "start"
    [result] = card.data.eval_results
    assert result.metric_value == pytest.approx(numbers["overall"]["mae"]["value"], abs=1e-3)
    assert (result.dataset_name, result.dataset_split) == ("my", "validation, used for selection")
    text = card.content
    start = FahrFaceForAgeEstimation.from_pretrained(own / "start")
    held = load_crops(finished / "crops", ["validation"])
    before = mean_absolute_error(held.column("age"), predict_ages(start, FahrFaceImageProcessor(), held))
    gained = numbers["overall"]["mae"]["value"] - before
    [compared] = [line for line in text.splitlines() if "less that of the starting checkpoint" in line]
    assert f"| my, validation | {PHOTOS['validation']} photos | {gained:.2f} |" in compared
    for part, count in PHOTOS.items():
        assert f"| `crops` | `{part}` | {count} | {count} |" in text
    assert re.search(r"\| head \| the head \| \d+ \(\d+\) \| 4 \|", text)
    assert re.search(r"\| all \| everything \| 2 \([12]\) \| 4 \|", text)
    assert "Left out: age missing: 1.\n" in text
    assert "the part `calibration` has 20 photos" in text
    for use in (
        "insurance",
        "employment",
        "credit",
        "immigration",
        "policing",
        "triage",
        "legal age",
        "prognosis",
        "consent",
    ):
        assert use in text
    assert "More Information Needed" not in text
    assert str(own) not in text
    assert "None" not in text.replace("`interval` is `None`", "")


def test_finishing_again_with_calibration_photos_enough_adds_intervals_and_says_so(finished, tmp_path, monkeypatch):
    run = shutil.copytree(finished, tmp_path / "run")
    monkeypatch.setattr(finetuning, "LEAST_FOR_INTERVALS", PHOTOS["calibration"])
    finish_run(run, run / "crops", "fahr-faceage-tiny")
    record_origin(run, "fahr-faceage-tiny", [run / "crops"], licence="cc-by-nc-sa-4.0")
    write_card(run)
    table = json.loads((run / "model" / "config.json").read_text())["calibration"]["age"]
    assert table["photos"] == PHOTOS["calibration"]
    photo = str(Path(__file__).parents[1] / "examples" / "astronaut.jpg")
    [face] = fahr_hf.pipeline("face-age", run / "model")(photo)
    low, high = face["interval"]
    assert low < high
    card = ModelCard.load(run / "model" / "README.md")
    assert "20 photos that\nwere used for nothing else" in card.content
    # The stricter of the two.
    assert card.data.license == "cc-by-nc-sa-4.0"
    assert card.data.base_model == "fahr-faceage-tiny"


def test_adapters_go_through_the_loop_and_leave_an_ordinary_checkpoint_whose_card_names_them(finished, own, tmp_path):
    start = FahrFaceForAgeEstimation.from_pretrained(own / "start")
    before = {key: value.clone() for key, value in start.state_dict().items()}
    crops = {part: load_crops(finished / "crops", [part]) for part in ("train", "validation")}
    stages = finetuning_stages(len(crops["train"]), head_epochs=1, epochs=1, lora_rank=2)
    processor = FahrFaceImageProcessor.from_pretrained(own / "start")
    train_age(start, processor, crops["train"], {"validation": crops["validation"]}, tmp_path, stages)
    after = FahrFaceForAgeEstimation.from_pretrained(tmp_path / "model").state_dict()
    moved = {key for key, value in before.items() if not torch.equal(after[key], value)}
    assert after.keys() == before.keys()
    assert moved <= {"age_head.weight", "age_head.bias"} | {key for key in before if key.split(".")[-2] in TARGETS}
    assert "backbone.layers.0.mlp.down_proj.weight" in moved
    finish_run(tmp_path, finished / "crops", "fahr-faceage-tiny")
    record_origin(tmp_path, "fahr-faceage-tiny", [finished / "crops"])
    write_card(tmp_path)
    text = (tmp_path / "model" / "README.md").read_text()
    assert "| lora | the head and adapters of rank 2, merged | 1 (1) |" in text


def test_a_run_that_is_not_finished_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="No finished run"):
        finish_run(tmp_path, tmp_path, "fahr-faceage-tiny")


def test_the_example_with_the_trainer_of_transformers_leaves_a_model_that_predicts(
    finished, tmp_path, monkeypatch, capsys
):
    run_example(
        monkeypatch,
        "finetune_age_trainer.py",
        *(finished / "crops", tmp_path, "--epochs", "1", "--batch-size", "4"),
    )
    assert "eval_mae" in capsys.readouterr().out
    [face] = fahr_hf.pipeline("face-age", tmp_path / "model")(str(EXAMPLES / "astronaut.jpg"))
    assert 0 < face["age"] < 100
