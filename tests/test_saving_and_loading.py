"""Checkpoints: what is saved comes back, in float32, and nothing else is accepted."""

import json

import pytest
import torch
from conftest import ALL_MODELS, HEADS, assert_same_answers, images, main_output, minute_config, run_model
from safetensors.torch import load_file, save_file

from fahr_hf import FahrFaceForAgeEstimation, FahrFaceForPreTraining, FahrFaceForSurvival, FahrFaceModel


def edit_weights(folder, change) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def edit_config(folder, **changes) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.fixture
def saved_age(tmp_path):
    torch.manual_seed(0)
    FahrFaceForAgeEstimation(minute_config()).save_pretrained(tmp_path)
    return tmp_path


class TestRoundTrip:
    def test_saving_and_loading_twice_changes_no_value(self, model, tmp_path):
        x, first = images(), model
        for step in ("once", "twice"):
            first.save_pretrained(tmp_path / step)
            second = type(model).from_pretrained(tmp_path / step)
            assert second.state_dict().keys() == model.state_dict().keys()
            for name, value in second.state_dict().items():
                assert torch.equal(value, model.state_dict()[name]), name
            assert second.config.to_diff_dict() == model.config.to_diff_dict()
            assert_same_answers(main_output(run_model(second, x)), main_output(run_model(model, x)))
            first = second
        assert load_file(tmp_path / "once/model.safetensors").keys() == model.state_dict().keys()

    def test_loaded_models_are_in_evaluation_mode(self, model, tmp_path):
        model.train().save_pretrained(tmp_path)
        assert not type(model).from_pretrained(tmp_path).training

    def test_shards(self, model, tmp_path):
        model.save_pretrained(tmp_path, max_shard_size="30KB")
        assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
        loaded = type(model).from_pretrained(tmp_path)
        assert_same_answers(main_output(run_model(loaded, images())), main_output(run_model(model, images())))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_files_load_as_float32(self, model, dtype, tmp_path):
        model.to(dtype).save_pretrained(tmp_path)
        saved = load_file(tmp_path / "model.safetensors").values()
        assert {value.dtype for value in saved if value.is_floating_point()} == {dtype}
        assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float32"
        loaded = type(model).from_pretrained(tmp_path)
        for name, value in loaded.state_dict().items():
            assert torch.equal(value, model.state_dict()[name].to(value.dtype)), name
            assert value.dtype == torch.float32 or not value.is_floating_point(), name

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_answers_when_asked_for(self, model, dtype, tmp_path):
        model.save_pretrained(tmp_path)
        loaded = type(model).from_pretrained(tmp_path, dtype=dtype)
        assert loaded.dtype == dtype
        output = main_output(run_model(loaded, images())).float()
        torch.testing.assert_close(output, main_output(run_model(model, images())), atol=0.1, rtol=0.1)


class TestStrictness:
    @pytest.mark.parametrize("model_class", ALL_MODELS, ids=lambda c: c.__name__)
    @pytest.mark.parametrize("key", ["layers.1.mlp.up_proj.weight", "embeddings.cls_token", "norm.bias"])
    def test_one_missing_key_is_refused_by_name(self, model_class, key, tmp_path):
        model_class(minute_config()).save_pretrained(tmp_path)
        full = key if model_class is FahrFaceModel else f"backbone.{key}"
        edit_weights(tmp_path, lambda weights: weights.pop(full))
        with pytest.raises(RuntimeError, match=f"missing: {full}"):
            model_class.from_pretrained(tmp_path)

    @pytest.mark.parametrize("head_class", HEADS, ids=lambda c: c.__name__)
    def test_a_missing_head_is_refused_where_the_checkpoint_claims_one(self, head_class, tmp_path):
        head_class(minute_config()).save_pretrained(tmp_path)
        name = head_class.head_name

        def drop_head(weights):
            for key in [key for key in weights if key.startswith(f"{name}.")]:
                del weights[key]

        edit_weights(tmp_path, drop_head)
        with pytest.raises(RuntimeError, match=f"missing: {name}"):
            head_class.from_pretrained(tmp_path)

    @pytest.mark.parametrize("model_class", ALL_MODELS, ids=lambda c: c.__name__)
    def test_one_unknown_key_is_refused_by_name(self, model_class, tmp_path):
        model_class(minute_config()).save_pretrained(tmp_path)
        edit_weights(tmp_path, lambda weights: weights.update(surprise=torch.zeros(1)))
        with pytest.raises(RuntimeError, match="unknown: surprise"):
            model_class.from_pretrained(tmp_path)

    @pytest.mark.parametrize("surplus", ["decoder.predict.weight", "survival_head.weight", "age_head.scale"])
    def test_keys_of_other_heads_are_unknown_to_a_checkpoint_of_its_own(self, saved_age, surplus):
        edit_weights(saved_age, lambda weights: weights.update({surplus: torch.zeros(1)}))
        with pytest.raises(RuntimeError, match=f"unknown: {surplus}"):
            FahrFaceForAgeEstimation.from_pretrained(saved_age)

    @pytest.mark.parametrize("model_class", ALL_MODELS, ids=lambda c: c.__name__)
    def test_one_wrong_shape_is_refused_by_name(self, model_class, tmp_path):
        model_class(minute_config()).save_pretrained(tmp_path)
        key = "norm.weight" if model_class is FahrFaceModel else "backbone.norm.weight"
        edit_weights(tmp_path, lambda weights: weights.update({key: torch.zeros(31)}))
        with pytest.raises(RuntimeError, match=rf"wrong shape: {key} is \(31,\), expected \(32,\)"):
            model_class.from_pretrained(tmp_path)

    def test_all_problems_are_named_at_once(self, saved_age):
        def damage(weights):
            del weights["backbone.norm.bias"]
            weights["age_head.bias"] = torch.zeros(2)
            weights["surprise"] = torch.zeros(1)

        edit_weights(saved_age, damage)
        with pytest.raises(RuntimeError) as error:
            FahrFaceForAgeEstimation.from_pretrained(saved_age)
        for line in (
            "missing: backbone.norm.bias",
            "wrong shape: age_head.bias",
            "unknown: surprise",
            "new_head=True",
        ):
            assert line in str(error.value)

    def test_the_error_is_one_that_users_can_mend(self, saved_age):
        edit_weights(saved_age, lambda weights: weights.pop("age_head.bias"))
        with pytest.raises(ValueError, match=r"missing: age_head.bias"):
            FahrFaceForAgeEstimation.from_pretrained(saved_age)

    def test_a_config_of_another_checkpoint_is_refused(self, saved_age):
        edit_config(saved_age, age_output="expectation")
        with pytest.raises(RuntimeError, match=r"age_head.weight is \(1, 32\), expected \(101, 32\)"):
            FahrFaceForAgeEstimation.from_pretrained(saved_age)

    def test_mismatches_cannot_be_waved_through(self, saved_age):
        with pytest.raises(ValueError, match="Use new_head=True"):
            FahrFaceForAgeEstimation.from_pretrained(saved_age, ignore_mismatched_sizes=True)

    def test_without_architectures_nothing_is_assumed(self, tmp_path):
        FahrFaceModel(minute_config()).save_pretrained(tmp_path)
        edit_config(tmp_path, architectures=None)
        with pytest.raises(RuntimeError, match=r"missing: age_head.bias"):
            FahrFaceForAgeEstimation.from_pretrained(tmp_path)
        FahrFaceForAgeEstimation.from_pretrained(tmp_path, new_head=True)

    def test_a_damaged_file_is_an_error(self, saved_age):
        file = saved_age / "model.safetensors"
        file.write_bytes(file.read_bytes()[:1000])
        with pytest.raises(Exception, match=r"(?i)safetensors|header|incomplete|deserializ"):
            FahrFaceForAgeEstimation.from_pretrained(saved_age)


class TestTheTwoExceptions:
    def same_backbone(self, model, other) -> bool:
        mine = getattr(model, "backbone", model).state_dict()
        theirs = getattr(other, "backbone", other).state_dict()
        return all(torch.equal(mine[key], theirs[key]) for key in theirs) and mine.keys() == theirs.keys()

    @pytest.mark.parametrize("source_class", ALL_MODELS, ids=lambda c: c.__name__)
    @pytest.mark.parametrize("target_class", ALL_MODELS, ids=lambda c: c.__name__)
    def test_the_backbone_moves_between_all_classes(self, source_class, target_class, tmp_path):
        source = source_class(minute_config())
        source.save_pretrained(tmp_path)
        target = target_class.from_pretrained(tmp_path)
        assert self.same_backbone(target, source)

    def test_an_age_head_never_becomes_a_survival_head(self, saved_age):
        age = FahrFaceForAgeEstimation.from_pretrained(saved_age)
        risk = FahrFaceForSurvival.from_pretrained(saved_age)
        assert age.age_head.weight.shape == risk.survival_head.weight.shape
        assert not torch.equal(age.age_head.weight, risk.survival_head.weight)

    def test_new_head_discards_the_checkpoints_own(self, saved_age):
        kept = FahrFaceForAgeEstimation.from_pretrained(saved_age)
        new = FahrFaceForAgeEstimation.from_pretrained(saved_age, new_head=True)
        assert self.same_backbone(new, kept)
        assert not torch.equal(new.age_head.weight, kept.age_head.weight)

    def test_new_head_may_have_another_size(self, saved_age):
        new = FahrFaceForAgeEstimation.from_pretrained(saved_age, new_head=True, age_output="expectation")
        assert new.age_head.weight.shape == (101, 32)
        assert new.age_head.weight.std().item() == pytest.approx(0.02, rel=0.1)

    def test_new_head_excuses_nothing_in_the_backbone(self, saved_age):
        edit_weights(saved_age, lambda weights: weights.pop("backbone.norm.bias"))
        with pytest.raises(RuntimeError, match=r"missing: backbone.norm.bias"):
            FahrFaceForAgeEstimation.from_pretrained(saved_age, new_head=True)

    def test_half_a_foreign_head_is_no_new_head(self, tmp_path):
        FahrFaceModel(minute_config()).save_pretrained(tmp_path)
        edit_weights(tmp_path, lambda weights: weights.update({"age_head.bias": torch.zeros(1)}))
        with pytest.raises(RuntimeError, match=r"missing: age_head.weight"):
            FahrFaceForAgeEstimation.from_pretrained(tmp_path)

    def test_the_backbone_alone_has_no_new_head(self, saved_age):
        with pytest.raises(ValueError, match="FahrFaceModel has no head that could be new"):
            FahrFaceModel.from_pretrained(saved_age, new_head=True)

    def test_loading_info_is_still_there_for_who_asks(self, saved_age):
        model, info = FahrFaceForPreTraining.from_pretrained(saved_age, output_loading_info=True)
        assert isinstance(model, FahrFaceForPreTraining)
        assert all(key.startswith("decoder.") for key in info["missing_keys"])
