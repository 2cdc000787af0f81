"""FahrFaceConfig: named sizes, derived numbers, and errors that say what and why."""

import json

import pytest
import torch
from conftest import minute_config
from huggingface_hub.errors import StrictDataclassError

from fahr_hf import FahrFaceConfig, FahrFaceModel


@pytest.mark.parametrize(
    ("size", "width", "heads", "millions"), [("tiny", 192, 3, 5.5), ("small", 384, 6, 21.6), ("base", 768, 12, 85.7)]
)
def test_named_sizes_are_the_usual_vision_transformers(size, width, heads, millions):
    config = FahrFaceConfig.from_size(size)
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (width, 12, heads)
    assert (config.image_size, config.patch_size, config.num_patches) == (112, 16, 49)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in FahrFaceModel(config).parameters())
    assert parameters / 1e6 == pytest.approx(millions, abs=0.06)


def test_unknown_size_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'huge'.*tiny, small, base"):
        FahrFaceConfig.from_size("huge")


def test_mlp_widths_default_to_four_times_the_width():
    config = FahrFaceConfig.from_size("tiny")
    assert (config.intermediate_size, config.decoder_intermediate_size) == (768, 768)
    assert FahrFaceConfig.from_size("tiny", intermediate_size=100).intermediate_size == 100


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 100}, r"image_size \(100\) must be divisible by patch_size \(16\).*remainder is 4"),
        ({"num_attention_heads": 7}, r"num_attention_heads \(7\) must divide hidden_size \(768\)"),
        (
            {"decoder_num_attention_heads": 7},
            r"decoder_num_attention_heads \(7\) must divide decoder_hidden_size",
        ),
        ({"hidden_size": 30, "num_attention_heads": 3}, r"hidden_size \(30\) must be divisible by 4"),
        ({"mask_ratio": 1.5}, "mask_ratio must lie strictly between 0 and 1, got 1.5"),
        ({"mask_ratio": -0.1}, "mask_ratio must lie strictly between 0 and 1, got -0.1"),
        ({"mask_ratio": 1.0}, "mask_ratio must lie strictly between 0 and 1"),
        ({"mask_ratio": 0.99}, "keeps 0; at least one patch must be kept"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate must lie in \[0, 1\), got 1.0"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps must be a positive finite number"),
        ({"age_label_sigma": float("nan")}, "age_label_sigma must be a positive finite number"),
        ({"ranking_temperature": 0}, "ranking_temperature must be a positive finite number"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"min_age": 50, "max_age": 20}, "min_age < max_age"),
        ({"max_age": 200}, "130 years"),
        ({"calibration": {"a": [float("inf")]}}, r"calibration\['a'\]\[0\] is inf"),
        ({"calibration": {"a": [0.0] * 257}}, "257 values.*never values of individual people"),
        ({"calibration": {"a": {1: 2.0}}}, "key 1"),
        ({"calibration": {"a": object()}}, "is a object"),
    ],
)
def test_values_that_do_not_fit_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        FahrFaceConfig(**wrong)


@pytest.mark.parametrize("wrong", [{"hidden_size": "wide"}, {"age_output": "decades"}, {"mask_ratio": None}])
def test_values_of_a_wrong_type_are_refused(wrong):
    with pytest.raises(StrictDataclassError, match=next(iter(wrong))):
        FahrFaceConfig(**wrong)


def test_a_model_refuses_a_config_that_was_broken_afterwards():
    config = minute_config()
    config.patch_size = 7
    with pytest.raises(StrictDataclassError, match=r"image_size \(32\) must be divisible by patch_size \(7\)"):
        FahrFaceModel(config)


def test_calibration_keeps_double_precision_in_config_json(tmp_path):
    table = {"age": {"edges": [0.1, 1 / 3], "low": [3e-8, -2.5], "photos": 1234, "flip": True}}
    minute_config(calibration=table).save_pretrained(tmp_path)
    assert FahrFaceConfig.from_pretrained(tmp_path).calibration == table
    FahrFaceModel(minute_config(calibration=table)).half().save_pretrained(tmp_path)
    assert FahrFaceModel.from_pretrained(tmp_path).config.calibration == table


def test_saved_config_states_float32_and_every_auto_class(tmp_path):
    minute_config().save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["dtype"] == "float32"
    assert set(saved["auto_map"]) == {
        "AutoConfig",
        "AutoModel",
        "AutoModelForPreTraining",
        "AutoModelForImageClassification",
    }
    assert (tmp_path / "configuration_fahr_face.py").is_file()


def test_config_survives_its_own_json(tmp_path):
    config = minute_config(age_output="expectation", min_age=18, max_age=95, drop_path_rate=0.1)
    config.save_pretrained(tmp_path)
    assert FahrFaceConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
