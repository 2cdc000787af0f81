"""Photos in, one dict a face out, through every door: fahr_hf.pipeline, transformers.pipeline, and remote code."""

import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import transformers
from PIL import Image, ImageFilter
from skimage.data import astronaut
from transformers.pipelines.pt_utils import KeyDataset

import fahr_hf
from fahr_hf import (
    FaceAgePipeline,
    FaceSurvivalPipeline,
    FahrFaceConfig,
    FahrFaceForAgeEstimation,
    FahrFaceForPreTraining,
    FahrFaceForSurvival,
    FahrFaceImageProcessor,
    FahrFaceModel,
    embedded,
)
from fahr_hf.conformal import intervals
from fahr_hf.models.pipeline_fahr_face import SURVIVAL_YEARS, _interval, _standing
from fahr_hf.risk_calibration import apply_risk_table, fit_risk_table

PORTRAIT = np.ascontiguousarray(astronaut()[:256, 96:352])
EMPTY = np.full((120, 160, 3), 200, np.uint8)
TWO_FACES = np.hstack([PORTRAIT, np.asarray(Image.fromarray(PORTRAIT).resize((200, 256)))[:, ::-1]])


def save_checkpoint(
    folder, model_class=FahrFaceForAgeEstimation, years: float = 40, calibration=None, **processor
) -> str:
    """A small random checkpoint; its ages, if any, scatter a little around `years`."""
    torch.manual_seed(0)
    model = model_class(FahrFaceConfig.from_size("tiny", num_hidden_layers=2, calibration=calibration))
    if model_class is FahrFaceForAgeEstimation:
        torch.nn.init.constant_(model.age_head.bias, years)
    model.save_pretrained(folder)
    FahrFaceImageProcessor(**processor).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def age_checkpoint(tmp_path_factory) -> str:
    return save_checkpoint(tmp_path_factory.mktemp("age"))


@pytest.fixture(scope="module")
def survival_checkpoint(tmp_path_factory) -> str:
    return save_checkpoint(tmp_path_factory.mktemp("survival"), FahrFaceForSurvival)


@pytest.fixture(scope="module")
def age(age_checkpoint) -> FaceAgePipeline:
    return fahr_hf.pipeline("face-age", age_checkpoint)


@pytest.fixture
def photo(tmp_path) -> str:
    Image.fromarray(PORTRAIT).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


# ---------------------------------------------------------------------------------------------------------- answers


def test_an_age_comes_with_what_is_known_about_the_face(age):
    (face,) = age(PORTRAIT)

    assert list(face) == ["age", "interval", "detection_score", "box", "landmarks", "warning"]
    assert face["age"] == pytest.approx(40, abs=5)
    assert face["interval"] is None, "no calibration, no interval"
    assert 0.5 < face["detection_score"] <= 1
    assert list(face["box"]) == ["xmin", "ymin", "xmax", "ymax"]
    assert np.shape(face["landmarks"]) == (5, 2)
    assert face["warning"] is None
    json.dumps(face)


def test_an_age_is_that_of_the_model_on_the_processors_crop(age):
    pixel_values = age.image_processor(PORTRAIT)["pixel_values"]
    with torch.no_grad():
        expected = age.model(pixel_values=pixel_values).age

    assert [face["age"] for face in age(PORTRAIT)] == pytest.approx(expected.tolist(), abs=1e-4)


def test_every_face_of_a_photo_gets_a_dict_largest_first_and_none_gives_an_empty_list(age):
    faces = age(TWO_FACES)
    widths = [face["box"]["xmax"] - face["box"]["xmin"] for face in faces]

    assert len(faces) == 2
    assert widths == sorted(widths, reverse=True)
    assert age(EMPTY) == []


def test_small_and_turned_faces_come_with_a_warning(age):
    small = Image.fromarray(PORTRAIT).resize((51, 51))
    turned = Image.fromarray(PORTRAIT).rotate(48)

    assert age(small)[0]["warning"].startswith("small face: ")
    assert "turned face: -4" in age(turned)[0]["warning"]


def test_an_embedding_is_the_backbones_cls_token_whatever_head_the_checkpoint_has(age_checkpoint, age):
    (face,) = fahr_hf.pipeline("face-embedding", age_checkpoint)(PORTRAIT)
    (same,) = fahr_hf.pipeline("face-embedding", age.model)(PORTRAIT)
    backbone = FahrFaceModel.from_pretrained(age_checkpoint)
    with torch.no_grad():
        expected = backbone(age.image_processor(PORTRAIT)["pixel_values"]).pooler_output[0].numpy()

    assert face["embedding"].dtype == np.float32
    np.testing.assert_allclose(face["embedding"], expected, atol=1e-5)
    np.testing.assert_array_equal(face["embedding"], same["embedding"])


def test_crops_that_are_aligned_already_are_taken_as_they_are(age_checkpoint, age):
    processor = FahrFaceImageProcessor.from_pretrained(age_checkpoint, do_detect=False)
    ready = fahr_hf.pipeline("face-age", age_checkpoint, image_processor=processor)
    crops, _ = age.image_processor.crops(PORTRAIT)

    (face,) = ready(crops[0])

    assert face["age"] == pytest.approx(age(PORTRAIT)[0]["age"], abs=1e-4)
    assert face["box"] is face["landmarks"] is face["detection_score"] is None


def test_a_blurred_face_comes_with_a_warning_and_a_sharp_one_does_not(age):
    blurred = Image.fromarray(PORTRAIT).filter(ImageFilter.GaussianBlur(4))

    assert age(PORTRAIT)[0]["warning"] is None
    assert age(blurred)[0]["warning"].startswith("blurred face: sharpness ")


# ------------------------------------------------------------------------------------- intervals and flip averaging


TABLE = {"level": 0.9, "photos": 60, "data": "x", "edges": [30.0, 45.0], "counts": [20, 20, 20]}
CALIBRATION = {
    "age": {**TABLE, "below": [1.0, 5.5, 9.0], "above": [2.0, 6.5, 11.0]},
    "age_flip": {**TABLE, "below": [0.5, 4.5, 8.0], "above": [1.0, 5.0, 10.0]},
}


@pytest.mark.parametrize("years", [0.5, 38, 80])
def test_a_calibrated_checkpoint_answers_with_the_interval_of_its_table(tmp_path, years):
    (face,) = fahr_hf.pipeline("face-age", save_checkpoint(tmp_path, years=years, calibration=CALIBRATION))(PORTRAIT)

    low, high = intervals(CALIBRATION["age"], np.array([face["age"]]))
    assert face["interval"] == [low[0], high[0]]
    json.dumps(face)


def test_pipeline_and_library_apply_a_table_alike_also_on_its_edges_and_near_birth():
    ages = [-1.0, 0.0, 0.4, 29.9, 30.0, 44.999, 45.0, 99.0]

    for table in CALIBRATION.values():
        expected = np.stack(intervals(table, np.array(ages)), axis=1)
        np.testing.assert_array_equal([_interval(table, age) for age in ages], expected)


def test_flip_averaging_is_the_mean_over_the_crop_and_its_mirror_image_with_its_own_table(tmp_path):
    folder = save_checkpoint(tmp_path, calibration=CALIBRATION)
    flipping = fahr_hf.pipeline("face-age", folder, flip=True)
    pixel_values = flipping.image_processor(PORTRAIT)["pixel_values"]
    with torch.no_grad():
        plain, mirrored = (flipping.model(pixel_values=values).age for values in (pixel_values, pixel_values.flip(3)))

    (face,) = flipping(PORTRAIT)

    assert plain != mirrored
    assert face["age"] == pytest.approx((plain.item() + mirrored.item()) / 2, abs=1e-4)
    assert face["interval"] == _interval(CALIBRATION["age_flip"], face["age"])
    assert face["warning"] is None
    assert transformers.pipeline("face-age", model=folder, flip=True)(PORTRAIT) == [face]


def test_flip_averaging_without_its_own_table_has_no_interval_and_says_why(tmp_path):
    folder = save_checkpoint(tmp_path, calibration={"age": CALIBRATION["age"]})

    (face,) = fahr_hf.pipeline("face-age", folder, flip=True)(PORTRAIT)

    assert face["interval"] is None
    assert face["warning"] == "no interval: not calibrated for flip averaging"
    with pytest.raises(ValueError, match="flip belongs to the task 'face-age' alone"):
        fahr_hf.pipeline("face-embedding", folder, flip=True)


def test_a_calibrated_checkpoint_without_the_package_answers_with_its_interval(python_without_fahr_hf, photo, tmp_path):
    folder = save_checkpoint(tmp_path / "calibrated", calibration=CALIBRATION)
    program = """
import json, sys, transformers
for flip in (False, True):
    age = transformers.pipeline("face-age", model=sys.argv[1], trust_remote_code=True, flip=flip)
    print(json.dumps(age(sys.argv[2])[0]))
"""
    done = python_without_fahr_hf(program, folder, photo)

    assert done.returncode == 0, done.stderr
    for line, flip in zip(done.stdout.splitlines(), (False, True), strict=True):
        (expected,) = fahr_hf.pipeline("face-age", folder, flip=flip)(photo)
        assert json.loads(line)["interval"] == pytest.approx(expected["interval"], abs=1e-3)


# ----------------------------------------------------------------------------------------------------------- inputs


def test_one_photo_may_come_as_path_bytes_file_pil_array_tensor_or_undecoded(age, photo):
    content = Path(photo).read_bytes()
    expected = age(PORTRAIT)

    for source in (
        photo,
        content,
        io.BytesIO(content),
        Image.open(photo),
        torch.from_numpy(PORTRAIT).permute(2, 0, 1),
        {"bytes": content, "path": None},
        {"bytes": None, "path": photo},
    ):
        assert age(source) == expected


def test_a_photo_may_be_a_url(age, photo, tmp_path, serve):
    assert age(f"{serve(tmp_path)}/photo.png?{'x' * 300}") == age(photo)


@pytest.fixture
def serve():
    """Serve a folder over http on this machine."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    servers = []

    def start(folder) -> str:
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_lists_tuples_and_batches_give_a_list_of_lists(age):
    expected = age(PORTRAIT)
    batch = np.stack([PORTRAIT, PORTRAIT])

    for photos in ([PORTRAIT, PORTRAIT], (PORTRAIT, PORTRAIT), batch, torch.from_numpy(batch).permute(0, 3, 1, 2)):
        answers = age(photos)
        assert isinstance(answers, list)
        assert [len(faces) for faces in answers] == [1, 1]
        assert answers[1][0]["age"] == pytest.approx(expected[0]["age"], abs=1e-4)
    assert age([]) == []


def test_a_data_set_and_its_column_are_read_row_by_row_and_a_bad_row_answers_for_itself(age, photo):
    rows = datasets.Dataset.from_dict({"image": [photo, "nowhere.png"], "age": [30, 40]})
    decoded = rows.cast_column("image", datasets.Image())

    for photos in (
        decoded,
        decoded["image"],
        decoded.to_iterable_dataset(),
        decoded.to_iterable_dataset()["image"],
        rows,
        rows["image"],
        KeyDataset(rows, "image"),
    ):
        good, bad = age(photos)
        assert good == age(photo)
        assert "nowhere.png" in bad[0]["error"]


def test_a_data_set_without_photos_names_its_columns(age):
    rows = datasets.Dataset.from_dict({"picture": ["a.png"]})

    with pytest.raises(ValueError, match=r"no column 'image', only picture"):
        age(rows)
    with pytest.raises(ValueError, match="several splits"):
        age(datasets.DatasetDict({"train": rows}))


def test_a_folder_gives_one_record_a_photo_in_a_fixed_order(age, tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.png", ".hidden.png", ".cache/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(PORTRAIT if name == "b.png" else EMPTY).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photo")

    records = list(age(tmp_path))

    assert [os.path.relpath(record["photo"], tmp_path) for record in records] == ["a.JPG", "b.png", "sub/c.png"]
    assert [len(record["faces"]) for record in records] == [0, 1, 0]
    assert [record["error"] for record in records] == ["no face found", None, "no face found"]


def test_an_empty_folder_is_an_error_and_not_an_empty_answer(age, tmp_path):
    with pytest.raises(ValueError, match="holds no photos"):
        age(tmp_path)


# --------------------------------------------------------------------------------------------- batches and streams


@pytest.fixture
def batches(age):
    """Sizes of the batches that the model sees."""
    sizes: list[int] = []
    handle = age.model.register_forward_pre_hook(
        lambda _, __, inputs: sizes.append(len(inputs["pixel_values"])), with_kwargs=True
    )
    yield sizes
    handle.remove()


def test_batches_are_filled_with_faces_across_photos(age, batches):
    answers = age([TWO_FACES, EMPTY, PORTRAIT, "nowhere.png", TWO_FACES], batch_size=4)

    assert batches == [4, 1]
    assert [len(faces) for faces in answers] == [2, 0, 1, 1, 2]


def test_by_default_a_batch_on_a_cpu_holds_16_faces(age, batches):
    age([PORTRAIT] * 17)

    assert batches == [16, 1]


def test_an_answer_does_not_depend_on_the_batch_or_on_threads(age):
    photos = [PORTRAIT, TWO_FACES, EMPTY, np.ascontiguousarray(PORTRAIT[:, ::-1])]
    alone = [age(photo) for photo in photos]

    for options in ({"batch_size": 2}, {"batch_size": 64}, {"num_workers": 3}):
        for faces, expected in zip(age(photos, **options), alone, strict=True):
            # Another batch size may take another matrix kernel, which sums in another order.
            assert [face["age"] for face in faces] == pytest.approx([face["age"] for face in expected], abs=1e-4)


@pytest.mark.parametrize(("num_workers", "at_most"), [(0, 2), (2, 8)])
def test_a_generator_is_answered_as_it_goes(age, num_workers, at_most):
    taken = []

    def photos():
        for number in range(1000):
            taken.append(number)
            yield PORTRAIT

    answers = age(photos(), batch_size=2, num_workers=num_workers)
    next(answers)
    answers.close()

    assert len(taken) <= at_most


def test_photos_without_a_face_do_not_pile_up_behind_one_that_waits(age):
    taken = []

    def photos():
        yield PORTRAIT
        for number in range(1000):
            taken.append(number)
            yield EMPTY

    answers = age(photos(), batch_size=2, num_workers=0)
    next(answers)
    answers.close()

    assert len(taken) < 20


def test_one_unreadable_photo_raises_and_among_many_answers_for_itself(age):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        age("nowhere.png")
    with pytest.raises(TypeError, match="NoneType"):
        age(None)

    (missing,), (none,), (face,) = age(["nowhere.png", None, PORTRAIT])

    assert "nowhere.png" in missing["error"]
    assert "NoneType" in none["error"]
    assert "error" not in face


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": 2.5}, {"num_workers": -1}])
def test_impossible_batches_are_refused_at_once(age, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        age(iter([PORTRAIT]), **options)


# ------------------------------------------------------------------------------------------------------ front door


def test_unknown_tasks_and_models_are_named_and_stay_off_the_network(monkeypatch):
    def unreachable(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket.socket, "connect", unreachable)

    with pytest.raises(ValueError, match=r"Unknown task 'age'; the tasks are face-age, face-survival, face-embedding"):
        fahr_hf.pipeline("age")
    for name in ("fahr-faceage-tny", "./nowhere", "/no/where", "a/b/c", ""):
        with pytest.raises(ValueError, match="Unknown model"):
            fahr_hf.pipeline("face-age", name)
    with pytest.raises(ValueError, match="age_model"):
        fahr_hf.pipeline("face-age", age_model="x")


def test_a_task_without_weights_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)

    with pytest.raises(ValueError, match="face-age has no default weights in this version: fahr-faceage-tiny is not"):
        fahr_hf.pipeline("face-age")


def test_by_default_the_embedded_checkpoint_is_taken(monkeypatch, tmp_path):
    save_checkpoint(tmp_path / "fahr-faceage-tiny")
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)

    for model in (None, "fahr-faceage-tiny"):
        assert fahr_hf.pipeline("face-age", model)(PORTRAIT)[0]["age"] == pytest.approx(40, abs=5)
    assert len(fahr_hf.pipeline("face-embedding")(PORTRAIT)[0]["embedding"]) == 192


def test_a_model_brings_the_processor_of_its_checkpoint(age_checkpoint, age):
    model = FahrFaceForAgeEstimation.from_pretrained(age_checkpoint)

    assert fahr_hf.pipeline("face-age", model)(PORTRAIT) == age(PORTRAIT)


def test_a_model_without_a_checkpoint_needs_a_processor(age):
    model = FahrFaceForAgeEstimation(FahrFaceConfig.from_size("tiny", num_hidden_layers=2))

    with pytest.raises(ValueError, match="Pass image_processor="):
        fahr_hf.pipeline("face-age", model)
    pipeline = fahr_hf.pipeline("face-age", model, image_processor=age.image_processor, batch_size=4)
    assert len(pipeline(PORTRAIT)) == 1
    assert not model.training, "as it would be, new as it is"


def _empty(folder):
    for file in folder.iterdir():
        file.unlink()


def _cut_weights(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def _lose_a_weight(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["age_head.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _other_model(folder):
    (folder / "config.json").write_text('{"model_type": "vit"}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_empty, r"config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "valid JSON"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"model\.safetensors"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), r"preprocessor_config\.json"),
        (_cut_weights, "incomplete"),
        (_lose_a_weight, r"missing: age_head\.bias"),
        (_other_model, "model_type is 'vit', expected 'fahr_face'"),
    ],
    ids=["empty", "config", "no weights", "no processor", "cut weights", "lost weight", "other model"],
)
def test_a_broken_checkpoint_folder_is_one_clear_error(tmp_path, damage, message):
    folder = save_checkpoint(tmp_path)
    damage(tmp_path)

    with pytest.raises(ValueError, match=rf"(?s)is not a checkpoint that face-age can use.*{message}") as caught:
        fahr_hf.pipeline("face-age", folder)
    assert repr(folder) in str(caught.value)


def test_a_checkpoint_of_another_task_is_refused_rather_than_given_a_random_head(tmp_path, survival_checkpoint):
    for folder in (save_checkpoint(tmp_path, FahrFaceForPreTraining), survival_checkpoint):
        with pytest.raises(ValueError, match="its head is new and random"):
            fahr_hf.pipeline("face-age", folder)
    with pytest.raises(ValueError, match="its head is new and random"):
        transformers.pipeline("face-age", model=str(tmp_path))
    with pytest.raises(ValueError, match="FaceAgePipeline needs a FahrFaceForAgeEstimation, got a FahrFaceForSurvival"):
        transformers.pipeline("face-age", model=survival_checkpoint)


# -------------------------------------------------------------------------------------------------------- survival


@pytest.fixture(scope="module")
def survival(survival_checkpoint, age_checkpoint) -> FaceSurvivalPipeline:
    return fahr_hf.pipeline("face-survival", survival_checkpoint, age_model=age_checkpoint)


def test_a_risk_comes_with_the_age_that_allowed_it_and_no_made_up_percentile(survival, age):
    (face,) = survival(PORTRAIT, adult=True)

    fields = ["status", "risk", "percentile", "cohort", "survival", "age", "interval"]
    assert list(face) == [*fields, "detection_score", "box", "landmarks", "warning"]
    assert face["status"] == "ok"
    assert isinstance(face["risk"], float)
    assert face["percentile"] is face["cohort"] is face["survival"] is None, "not calibrated"
    assert face["age"] == pytest.approx(age(PORTRAIT)[0]["age"], abs=1e-4)


def test_the_age_beside_a_risk_has_the_interval_of_the_age_model(survival_checkpoint, tmp_path):
    calibrated = save_checkpoint(tmp_path, calibration=CALIBRATION)
    survival = fahr_hf.pipeline("face-survival", survival_checkpoint, age_model=calibrated)

    (face,) = survival(PORTRAIT, adult=True)

    assert face["interval"] == _interval(CALIBRATION["age"], face["age"])


@pytest.mark.parametrize("declared", [{}, {"adult": False}, {"adult": "yes"}])
def test_survival_is_refused_unless_adults_are_declared(survival, declared):
    with pytest.raises(ValueError, match="Pass adult=True"):
        survival(PORTRAIT, **declared)
    with pytest.raises(ValueError, match="Pass adult=True"):
        survival.records(["photo.png"], **declared)


@pytest.fixture
def calibrated(tmp_path):
    """A survival checkpoint with a table of risks, changed as the caller says."""

    def save(**changes) -> str:
        return save_checkpoint(
            tmp_path / "survival", FahrFaceForSurvival, calibration={"survival": {**RISK_TABLE, **changes}}
        )

    return save


# Of 400 simulated people, followed for at most 7 years, who entered in one decade.
_DRAWS = np.random.default_rng(0)
_SCORES, _DEATHS = _DRAWS.normal(size=400), _DRAWS.exponential(size=400)
RISK_TABLE = fit_risk_table(
    _SCORES,
    np.minimum(7, _DEATHS * 10 * np.exp(-_SCORES)),
    _DEATHS * 10 * np.exp(-_SCORES) < 7,
    cohort="400 simulated people",
    clock="time since photo",
    entry_year=np.full(400, 2015),
)


def test_a_calibrated_checkpoint_places_a_risk_within_its_cohort(calibrated, age_checkpoint):
    (face,) = fahr_hf.pipeline("face-survival", calibrated(), age_model=age_checkpoint)(PORTRAIT, adult=True)
    standing = apply_risk_table(RISK_TABLE, [face["risk"]], [1, 3, 5])

    assert RISK_TABLE["calibrated"]
    assert face["percentile"] == pytest.approx(standing.percentile[0])
    assert 0 < face["percentile"] < 100
    assert face["cohort"] == "400 simulated people"
    assert list(face["survival"]) == list(SURVIVAL_YEARS) == [1, 3, 5, 10]
    assert [face["survival"][years] for years in (1, 3, 5)] == pytest.approx(standing.survival[0].tolist())
    assert face["survival"][10] is None, "nobody was followed for so long"
    json.dumps(face)


def test_pipeline_and_library_apply_a_table_of_risks_alike_also_beyond_the_scores_that_it_has_seen():
    ends = [RISK_TABLE["quantiles"][0], RISK_TABLE["quantiles"][-1]]
    scores = [-1e9, ends[0], -0.3, RISK_TABLE["quantiles"][50], 0.8, ends[1], 1e9]
    expected = apply_risk_table(RISK_TABLE, scores, SURVIVAL_YEARS)

    found = [_standing(RISK_TABLE, score) for score in scores]

    np.testing.assert_allclose([each["percentile"] for each in found], expected.percentile)
    survival = np.array([list(each["survival"].values()) for each in found], float)
    np.testing.assert_allclose(survival, expected.survival)


@pytest.mark.parametrize("changes", [{"calibrated": False}, {"clock": "attained age"}])
def test_no_probabilities_without_calibration_and_a_clock_that_starts_at_the_photo(calibrated, age_checkpoint, changes):
    survival = fahr_hf.pipeline("face-survival", calibrated(**changes), age_model=age_checkpoint)

    (face,) = survival(PORTRAIT, adult=True)

    assert face["survival"] is None
    assert face["percentile"] is not None
    assert face["warning"] is None


def test_a_score_that_went_the_wrong_way_in_calibration_is_no_risk(calibrated, age_checkpoint):
    table = fit_risk_table(
        -_SCORES, _DEATHS * np.exp(-_SCORES), np.ones(400), cohort="wrong way", clock="time since photo"
    )
    survival = fahr_hf.pipeline("face-survival", calibrated(**table), age_model=age_checkpoint)

    (face,) = survival(PORTRAIT, adult=True)

    assert face["status"] == "no_risk"
    assert face["risk"] is face["percentile"] is face["cohort"] is face["survival"] is None
    assert face["warning"].startswith("no risk: among the 400 people of 'wrong way' higher scores did not go with")


@pytest.mark.parametrize("years", [10, float("nan")])
def test_a_face_that_looks_too_young_is_refused_by_name(calibrated, tmp_path, years):
    young = save_checkpoint(tmp_path / "young", years=years)
    survival = fahr_hf.pipeline("face-survival", calibrated(), age_model=young)

    (face,) = survival(PORTRAIT, adult=True)

    assert face["status"] == "refused_minor"
    assert face["risk"] is face["percentile"] is face["cohort"] is face["survival"] is None
    assert face["warning"].startswith("refused_minor: predicted age")


def test_the_age_model_sees_the_face_as_its_own_processor_crops_it(survival_checkpoint, tmp_path):
    other = save_checkpoint(tmp_path, margin=0.3, image_mean=[0.4, 0.4, 0.4])
    survival = fahr_hf.pipeline("face-survival", survival_checkpoint, age_model=other)
    expected = fahr_hf.pipeline("face-age", other)(PORTRAIT)
    file = io.BytesIO()
    Image.fromarray(PORTRAIT).save(file, "png")

    for photo in (PORTRAIT, io.BytesIO(file.getvalue())):
        assert survival(photo, adult=True)[0]["age"] == pytest.approx(expected[0]["age"], abs=1e-3)
    assert survival([EMPTY], adult=True) == [[]]


def test_survival_without_an_age_model_is_refused(survival_checkpoint, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="needs an age_pipeline"):
        transformers.pipeline("face-survival", model=survival_checkpoint)
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="face-age has no default weights"):
        fahr_hf.pipeline("face-survival", survival_checkpoint)


# ------------------------------------------------------------------------------------------------------ other doors


def test_transformers_knows_the_tasks_and_asks_nothing(age_checkpoint, survival_checkpoint, age, survival):
    # Standard input is closed while tests run, so that a question would be an error.
    assert transformers.pipeline("face-age", model=age_checkpoint)(PORTRAIT) == age(PORTRAIT)
    vector = transformers.pipeline("face-embedding", model=age_checkpoint)(PORTRAIT)[0]["embedding"]
    np.testing.assert_allclose(vector, fahr_hf.pipeline("face-embedding", age_checkpoint)(PORTRAIT)[0]["embedding"])
    risk = transformers.pipeline("face-survival", model=survival_checkpoint, age_pipeline=age)
    assert risk(PORTRAIT, adult=True) == survival(PORTRAIT, adult=True)


def test_nothing_is_asked_either_where_transformers_was_imported_first(age_checkpoint, photo):
    program = (
        "import sys, transformers.pipelines, fahr_hf\n"
        "for make in (transformers.pipeline, fahr_hf.pipeline):\n"
        "    print(len(make('face-age', model=sys.argv[1])(sys.argv[2])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, age_checkpoint, photo],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.split() == ["1", "1"], done.stderr


@pytest.mark.parametrize(
    ("model_class", "tasks"),
    [
        (FahrFaceForAgeEstimation, {"face-age", "face-embedding"}),
        (FahrFaceForSurvival, {"face-survival", "face-embedding"}),
        (FahrFaceForPreTraining, {"face-embedding"}),
        (FahrFaceModel, {"face-embedding"}),
    ],
)
def test_a_checkpoint_carries_the_pipelines_that_suit_it(tmp_path, model_class, tasks):
    save_checkpoint(tmp_path, model_class)

    pipelines = json.loads((tmp_path / "config.json").read_text())["custom_pipelines"]

    assert set(pipelines) == tasks
    assert (tmp_path / "pipeline_fahr_face.py").is_file()


def test_a_pipeline_can_be_saved_and_loaded(age, tmp_path):
    age.save_pretrained(tmp_path)

    assert fahr_hf.pipeline("face-age", tmp_path)(PORTRAIT) == age(PORTRAIT)


def test_without_the_package_a_checkpoint_runs_as_remote_code_and_can_be_saved_again(
    python_without_fahr_hf, age_checkpoint, calibrated, photo, tmp_path, age
):
    program = """
import json, sys, transformers
age_folder, survival_folder, photo, again = sys.argv[1:]
first = transformers.pipeline("face-age", model=age_folder, trust_remote_code=True)
first.save_pretrained(again)
age = transformers.pipeline("face-age", model=again, trust_remote_code=True)
vectors = transformers.pipeline("face-embedding", model=again, trust_remote_code=True)
risks = transformers.pipeline(
    "face-survival", model=survival_folder, trust_remote_code=True, age_pipeline=age, batch_size=2
)
answers = {
    "age": [face for face, in age([photo, photo], batch_size=2)],
    "risk": risks(photo, adult=True),
    "length": len(vectors(photo)[0]["embedding"]),
}
print(json.dumps(answers))
"""
    survival_checkpoint = calibrated()
    done = python_without_fahr_hf(program, age_checkpoint, survival_checkpoint, photo, tmp_path / "again")

    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    (expected,) = age(photo)
    for face in answers["age"]:
        # Another batch size may take another matrix kernel, which sums in another order.
        assert face == {**expected, "age": pytest.approx(expected["age"], abs=1e-4)}
    (risk,) = fahr_hf.pipeline("face-survival", survival_checkpoint, age_model=age_checkpoint)(photo, adult=True)
    for name in ("risk", "percentile"):
        assert answers["risk"][0][name] == pytest.approx(risk[name], abs=1e-2)
    assert answers["risk"][0]["survival"] == {
        str(k): v and pytest.approx(v, abs=1e-4) for k, v in risk["survival"].items()
    }
    assert answers["length"] == 192
