"""`fahr_hf.export`: another runtime gives the checkpoint's own answers, and what does not hold any more is left out."""

import importlib.util
import json
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import minute_config
from photo_sets import ASTRONAUT, side_by_side
from risk_tables import RISKS
from transformers import AutoImageProcessor

import fahr_hf
from fahr_hf import (
    FahrFaceConfig,
    FahrFaceForAgeEstimation,
    FahrFaceForPreTraining,
    FahrFaceForSurvival,
    FahrFaceImageProcessor,
    FahrFaceModel,
)
from fahr_hf.exporting.parity import read_faces, reason_to_drop
from fahr_hf.exporting.running import MODEL_FILES, open_exported, open_file

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("nncf", "onnxruntime", "onnxscript", "openvino")),
    reason="needs fahr-hf[export]",
)

INTERVALS = {"edges": [45.0], "below": [4.0, 6.0], "above": [5.0, 7.0], "level": 0.9, "photos": 500, "data": "small"}


def save(folder: Path, model) -> Path:
    model.save_pretrained(folder)
    FahrFaceImageProcessor().save_pretrained(folder)
    (folder / "README.md").write_text("The card.")
    (folder / "LICENSE").write_text("The licence.")
    return folder


def new_model(model_class: type, stem: str = "patch"):
    """Small, normalised by the statistics of a batch, and with answers that differ clearly from face to face."""
    torch.manual_seed(0)
    shape = {"hidden_size": 128, "num_attention_heads": 4, "image_size": 112, "patch_size": 16}
    model = model_class(minute_config(**shape, stem=stem, age_output="expectation"))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    pixel_values = torch.randn(16, 3, 112, 112)
    model.train()(pixel_values)
    for head in ("age_head", "survival_head"):
        if hasattr(model, head):
            getattr(model, head).weight.data *= 10
    return model.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Callable[..., Path]:
    """The folder of a checkpoint of a class, with tables of intervals and risks."""
    made: dict[tuple, Path] = {}

    def find(model_class: type = FahrFaceForAgeEstimation, stem: str = "patch") -> Path:
        if (model_class, stem) not in made:
            model = new_model(model_class, stem)
            model.config.calibration = {"survival": RISKS} if model_class is FahrFaceForSurvival else {"age": INTERVALS}
            made[model_class, stem] = save(tmp_path_factory.mktemp("checkpoint") / "minute", model)
        return made[model_class, stem]

    return find


@pytest.fixture(scope="module")
def exported(tmp_path_factory, checkpoint) -> Callable[..., tuple]:
    """The folder of an export, and its record."""
    made: dict[tuple, tuple] = {}

    def find(format: str, model_class=FahrFaceForAgeEstimation, stem="patch", dtype="float32", **options):  # noqa: A002
        key = (format, model_class, stem, dtype, *options)
        if key not in made:
            out = tmp_path_factory.mktemp("exported") / "folder"
            record = fahr_hf.export(checkpoint(model_class, stem), format=format, dtype=dtype, out=out, **options)
            made[key] = out, record
        return made[key]

    return find


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """One face, small and large, in twelve photos."""
    folder = tmp_path_factory.mktemp("photos")
    for side in range(180, 300, 10):
        ASTRONAUT.resize((side, side)).save(folder / f"{side}.png")
    return folder


@pytest.mark.parametrize(
    ("format", "stem"),
    [
        ("onnx", "patch"),
        ("onnx", "efficientnet"),
        ("openvino", "patch"),
        ("openvino", "convolution"),
        ("torch", "patch"),
    ],
)
def test_every_format_gives_the_ages_and_embeddings_of_torch_for_any_batch(exported, checkpoint, format, stem):  # noqa: A002
    model = FahrFaceForAgeEstimation.from_pretrained(checkpoint(stem=stem))
    run = open_file(exported(format, stem=stem)[0] / MODEL_FILES[format])
    for batch in (1, 7):
        pixel_values = torch.randn(batch, 3, 112, 112, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            ages, embedding = model(pixel_values).age, model.base_model(pixel_values).pooler_output
        found = run(pixel_values.numpy())
        np.testing.assert_allclose(found["age"], ages, atol=1e-3, rtol=0)
        np.testing.assert_allclose(found["embedding"], embedding, atol=1e-4, rtol=0)
    assert ages.std() > 0.05


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_the_pipeline_gives_the_same_dicts_from_an_exported_folder(exported, checkpoint, format):  # noqa: A002
    photos = [side_by_side(), ASTRONAUT, ASTRONAUT.resize((60, 60)), "no photo"]
    wanted = fahr_hf.pipeline("face-age", checkpoint())(photos)
    found = fahr_hf.pipeline("face-age", exported(format)[0])(photos)
    assert [len(faces) for faces in found] == [len(faces) for faces in wanted] == [2, 1, 1, 1]
    for ours, theirs in zip(chain(*found), chain(*wanted), strict=True):
        assert ours.keys() == theirs.keys()
        if "error" not in ours:
            assert ours["age"] == pytest.approx(theirs["age"], abs=1e-3)
            assert ours["interval"] == pytest.approx(theirs["interval"], abs=1e-3)
            assert {key: ours[key] for key in ("box", "landmarks", "warning")} == {
                key: theirs[key] for key in ("box", "landmarks", "warning")
            }


def test_mirror_images_and_saliency_work_with_an_exported_folder_too(exported, checkpoint):
    options = {"flip": True, "explain": True}
    (wanted,) = fahr_hf.pipeline("face-age", checkpoint(), **options)(ASTRONAUT)
    (found,) = fahr_hf.pipeline("face-age", exported("onnx")[0], **options)(ASTRONAUT)
    assert found["age"] == pytest.approx(wanted["age"], abs=1e-3)
    np.testing.assert_allclose(found["saliency"], wanted["saliency"], atol=2e-3)
    assert np.abs(wanted["saliency"]).max() > 0.02


@pytest.mark.parametrize("age_model", ["a checkpoint", "an exported folder"])
def test_a_survival_model_takes_its_age_model_from_either_kind(exported, checkpoint, age_model):
    ages = checkpoint() if age_model == "a checkpoint" else exported("onnx")[0]
    options = {"age_model": ages}
    (wanted,) = fahr_hf.pipeline("face-survival", checkpoint(FahrFaceForSurvival), **options)(ASTRONAUT, adult=True)
    folder, record = exported("openvino", FahrFaceForSurvival)
    (found,) = fahr_hf.pipeline("face-survival", folder, **options)(ASTRONAUT, adult=True)
    assert found["status"] == wanted["status"] == "ok"
    assert found["cohort"] == "simulated"
    for name in ("risk", "percentile", "age"):
        assert found[name] == pytest.approx(wanted[name], abs=1e-3)
    assert record.parity["risk"]["largest"] < 1e-3


def test_embeddings_come_from_a_backbone_and_from_a_model_with_a_head(exported, checkpoint):
    for model_class in (FahrFaceModel, FahrFaceForAgeEstimation):
        (wanted,) = fahr_hf.pipeline("face-embedding", checkpoint(model_class))(ASTRONAUT)
        (found,) = fahr_hf.pipeline("face-embedding", exported("onnx", model_class)[0])(ASTRONAUT)
        np.testing.assert_allclose(found["embedding"], wanted["embedding"], atol=1e-4)


def test_a_pipeline_refuses_an_exported_model_of_another_task(exported):
    with pytest.raises(ValueError, match="FaceAgePipeline needs a FahrFaceForAgeEstimation, got a ExportedModel"):
        fahr_hf.pipeline("face-age", exported("onnx", FahrFaceModel)[0])


# ------------------------------------------------------------------------------------------------------- the folder


def test_an_exported_folder_is_complete(exported, checkpoint):
    folder, record = exported("onnx")
    assert {"model.onnx", "config.json", "preprocessor_config.json", "export.json", "README.md", "LICENSE"} <= {
        file.name for file in folder.iterdir()
    }
    assert (folder / "README.md").read_text() == "The card."
    assert not list(folder.glob("*.safetensors"))
    processor = AutoImageProcessor.from_pretrained(folder)
    assert processor.to_dict() == AutoImageProcessor.from_pretrained(checkpoint()).to_dict()
    assert {Path(file).parent for file in processor._detector_files} == {folder}
    written = json.loads((folder / "export.json").read_text())
    assert (written["format"], written["dtype"], written["int8"]) == ("onnx", "float32", None)
    assert written["parity"] == record.parity
    assert written["parity"]["faces"] == 1
    assert written["parity"]["age"]["largest"] < 1e-3
    assert written["versions"]["onnxruntime"] == sys.modules["onnxruntime"].__version__
    assert str(folder.parent) not in (folder / "export.json").read_text()


def test_the_files_themselves_hold_the_settings_of_the_processor(exported):
    import onnxruntime
    import openvino

    settings = json.loads((exported("onnx")[0] / "preprocessor_config.json").read_text())
    session = onnxruntime.InferenceSession(exported("onnx")[0] / "model.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["fahr_hf.preprocessor"]) == settings
    model = openvino.Core().read_model(exported("openvino")[0] / "openvino_model.xml")
    assert json.loads(model.get_rt_info(["fahr_hf", "preprocessor"]).astype(str)) == settings
    assert model.inputs[0].partial_shape.to_string() == "[?,3,112,112]"
    extra = {"fahr_hf.preprocessor": ""}
    torch.export.load(exported("torch")[0] / "model.pt2", extra_files=extra)
    assert json.loads(extra["fahr_hf.preprocessor"]) == settings


def test_openvino_tells_nobody_that_it_was_used(exported):
    exported("openvino")
    assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]


# ------------------------------------------------------------------------------------------------------ other types


@pytest.mark.parametrize("format", ["onnx", "openvino", "torch"])
def test_float16_halves_the_file_and_keeps_the_intervals(exported, format):  # noqa: A002
    weights = {"onnx": "model.onnx", "openvino": "openvino_model.bin", "torch": "model.pt2"}[format]
    folder, record = exported(format, dtype="float16")
    assert (folder / weights).stat().st_size < 0.7 * (exported(format)[0] / weights).stat().st_size
    assert 0 < record.parity["embedding"]["largest"] < 0.05
    assert record.dropped is None
    assert FahrFaceConfig.from_pretrained(folder).calibration == {"age": INTERVALS}


@pytest.mark.parametrize(("format", "kind"), [("onnx", "dynamic"), ("openvino", "weights")])
def test_int8_without_calibration_photos_keeps_no_interval_that_one_face_vouches_for(exported, format, kind):  # noqa: A002
    folder, record = exported(format, dtype="int8")
    assert record.int8 == kind
    assert 0 < record.parity["age"]["mean"] < 3
    assert "100 faces or more, and the parity was measured on 1" in record.dropped
    assert fahr_hf.pipeline("face-age", folder)(ASTRONAUT)[0]["interval"] is None


def test_int8_takes_its_ranges_from_photos_or_crops_and_is_compared_on_either(exported, photos, crop_cache):
    records = [
        exported("onnx", dtype="int8", calibration=photos, parity=crop_cache)[1],
        exported("openvino", dtype="int8", calibration=crop_cache, parity=photos)[1],
    ]
    assert [record.int8 for record in records] == ["static", "static"]
    # Of the crops two are of the part validation.
    assert [record.parity["faces"] for record in records] == [2, 12]
    for record in records:
        assert 0 < record.parity["age"]["mean"] < 3


def test_a_damaged_photo_is_left_out_of_the_ranges_with_a_warning(tmp_path):
    ASTRONAUT.resize((200, 200)).save(tmp_path / "whole.jpg")
    (tmp_path / "torn.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:3000])

    with pytest.warns(UserWarning, match=r"1 of 2 photos are left out; the first: .*torn\.jpg.* is damaged"):
        faces = read_faces(tmp_path, "train", FahrFaceImageProcessor())

    assert faces.shape == (1, 3, 112, 112)


@pytest.mark.parametrize("calibrated", [True, False])
def test_int8_leaves_the_convolutions_of_a_stem_in_float32(exported, photos, calibrated):
    import onnx
    import openvino

    options = {"stem": "efficientnet", "dtype": "int8", **({"calibration": photos} if calibrated else {})}
    graph = onnx.load(exported("onnx", **options)[0] / "model.onnx").graph
    weights = {weight.name: weight.data_type for weight in graph.initializer}
    kernels = [weights[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    nodes = openvino.Core().read_model(exported("openvino", **options)[0] / "openvino_model.xml").get_ops()
    types = [node.input_value(1).get_element_type() for node in nodes if "Convolution" in node.get_type_name()]
    eight_bits = [node for node in nodes if node.get_output_element_type(0) in (openvino.Type.i8, openvino.Type.u8)]

    assert len(kernels) == len(types) > 30
    assert {*kernels} == {onnx.TensorProto.FLOAT}
    assert {*types} == {openvino.Type.f32}
    assert {onnx.TensorProto.INT8} <= {*weights.values()}
    assert eight_bits


def test_calibration_is_dropped_where_answers_moved_and_kept_where_they_did_not():
    ages = np.linspace(20, 60, 200)
    wanted = {"age": ages, "embedding": np.zeros((200, 4))}
    moved = [reason_to_drop({"age": INTERVALS}, wanted, {"age": ages + shift}, "int8") for shift in (0.04, 0.06)]
    assert moved == [None, "ages moved by 0.06 years on average, and it holds for less than 0.05"]
    risks = np.linspace(-4, 4, 200)
    wanted = {"risk": risks, "embedding": np.zeros((200, 4))}
    # The table's scores are uniform from -5 to 5, so a percentile is a tenth.
    moved = [reason_to_drop({"survival": RISKS}, wanted, {"risk": risks + shift}, "int8") for shift in (0.04, 0.06)]
    assert moved == [None, "percentiles moved by 0.6 on average, and it holds for less than 0.5"]
    assert reason_to_drop(None, wanted, {"risk": risks + 9}, "int8") is None


# ----------------------------------------------------------------------------------------------------------- errors


def test_a_backend_that_is_demanded_and_not_there_is_an_error(exported, checkpoint):
    folder = exported("onnx")[0]
    assert fahr_hf.pipeline("face-age", folder, backend="onnx").model.config.image_size == 112
    with pytest.raises(ValueError, match=r"holds a model of the backend 'onnx'. `fahr-hf export"):
        fahr_hf.pipeline("face-age", folder, backend="openvino")
    with pytest.raises(ValueError, match=r"holds a model of the backend 'torch'. `fahr-hf export"):
        fahr_hf.pipeline("face-age", checkpoint(), backend="onnx")
    with pytest.raises(ValueError, match="Unknown backend 'onx'; the backends are torch, onnx, openvino"):
        fahr_hf.pipeline("face-age", folder, backend="onx")
    with pytest.raises(ValueError, match="a FahrFaceForAgeEstimation is open already"):
        fahr_hf.pipeline("face-age", FahrFaceForAgeEstimation.from_pretrained(checkpoint()), backend="torch")


def test_exported_models_say_what_they_cannot_do(exported):
    folder = exported("onnx")[0]
    with pytest.raises(ValueError, match="runs on the CPU, got device='cuda'"):
        fahr_hf.pipeline("face-age", folder, device="cuda")
    with pytest.raises(ValueError, match="exported to onnx computes in float32, got dtype='bfloat16'"):
        fahr_hf.pipeline("face-age", folder, dtype=torch.bfloat16)
    pipeline = fahr_hf.pipeline("face-age", folder, image_processor=FahrFaceImageProcessor(size=128))
    with pytest.raises(ValueError, match="exported for crops of 112 x 112 pixels"):
        pipeline(ASTRONAUT)
    with pytest.raises(ValueError, match="opening one from elsewhere can run code"):
        fahr_hf.pipeline("face-age", exported("torch")[0])
    with pytest.raises(FileNotFoundError, match="is no exported model"):
        open_exported(folder.parent)


def test_a_runtime_that_is_not_installed_is_named_with_its_extra(exported, monkeypatch):
    folder = exported("onnx")[0]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r"need onnxruntime, .* pip install 'fahr-hf\[export\]'"):
        fahr_hf.pipeline("face-age", folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tflite"}, "Unknown format 'tflite'; the formats are onnx, openvino, torch"),
        ({"format": "onnx", "dtype": "int4"}, "Unknown dtype 'int4'; the types are float32, float16, int8"),
        ({"format": "torch", "dtype": "int8"}, "The format torch has no int8 here"),
        ({"format": "onnx", "calibration": "photos"}, "set the ranges of int8, and dtype is 'float32'"),
    ],
)
def test_options_that_do_not_fit_together_are_refused_before_anything_is_read(options, message):
    with pytest.raises(ValueError, match=message):
        fahr_hf.export("fahr-faceage-tiny", **options)


def test_nothing_is_overwritten_and_nothing_half_written_stays(checkpoint, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="Give the export a folder of its own"):
        fahr_hf.export(checkpoint(), format="torch", out=tmp_path / "there")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="There is no face in the photos"):
        fahr_hf.export(checkpoint(), format="torch", out=tmp_path / "out", parity=tmp_path / "empty")
    pretraining = save(tmp_path / "pretraining", FahrFaceForPreTraining(minute_config(image_size=112, patch_size=16)))
    with pytest.raises(ValueError, match="pretraining is a pre-training model"):
        fahr_hf.export(pretraining, format="torch", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
