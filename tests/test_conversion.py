"""Foreign checkpoints: same answers as the code that made them, every tensor accounted for, nothing guessed."""

import argparse
import json
import re
from pathlib import Path

import pytest
import torch
from conftest import images, mask_noise
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, ViTMAEConfig, ViTMAEForPreTraining, ViTMAEModel

from fahr_hf import (
    ConversionError,
    FahrFaceForAgeEstimation,
    FahrFaceForPreTraining,
    FahrFaceImageProcessor,
    FahrFaceModel,
    convert,
)

FIXTURES = Path(__file__).parent / "fixtures"
PIXELS = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "template": "arcface"}
ENCODER = {"num_attention_heads": 2, "layer_norm_eps": 1e-6, **PIXELS}
DECODER = {"decoder_num_attention_heads": 2, "mask_ratio": 0.75, "norm_pix_loss": True}


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Every parameter at random: built from a config, ViTMAE has zeros where a wrong key would go unnoticed."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


def vit_mae(model_class=ViTMAEForPreTraining, **overrides):
    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 80,
        "image_size": 32,
        "patch_size": 8,
        "decoder_hidden_size": 16,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 48,
        "layer_norm_eps": 1e-6,
        "norm_pix_loss": True,
    }
    return randomised(model_class(ViTMAEConfig(**{**shape, **overrides})))


OLD_NAMES = {
    r"(^|\.)layers\.": r"\1encoder.layer.",
    r"attention\.q_proj": "attention.attention.query",
    r"attention\.k_proj": "attention.attention.key",
    r"attention\.v_proj": "attention.attention.value",
    r"attention\.o_proj": "attention.output.dense",
    r"mlp\.fc1": "intermediate.dense",
    r"mlp\.fc2": "output.dense",
}


def as_old_hub_keys(state: dict) -> dict:
    """The names that checkpoints on the Hub have had since 2022."""
    renamed = {}
    for key, tensor in state.items():
        for new, old in OLD_NAMES.items():
            key = re.sub(new, old, key)
        renamed[key] = tensor
    return renamed


def as_original_mae(state: dict) -> dict:
    """The names of the original MAE code, with one fused projection for query, key and value."""
    names = {
        "vit.embeddings.cls_token": "cls_token",
        "vit.embeddings.position_embeddings": "pos_embed",
        "vit.embeddings.patch_embeddings.projection": "patch_embed.proj",
        "vit.layernorm": "norm",
        "vit.layers": "blocks",
        "decoder.decoder_layers": "decoder_blocks",
        "decoder.decoder_embed": "decoder_embed",
        "decoder.mask_token": "mask_token",
        "decoder.decoder_pos_embed": "decoder_pos_embed",
        "decoder.decoder_norm": "decoder_norm",
        "decoder.decoder_pred": "decoder_pred",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "attention.o_proj": "attn.proj",
    }
    renamed = {}
    for key, tensor in state.items():
        if re.search(r"attention\.[kv]_proj", key):
            continue
        if "attention.q_proj" in key:
            parts = [state[key.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            key, tensor = key.replace("attention.q_proj", "attn.qkv"), torch.cat(parts)
        for theirs, original in names.items():
            key = key.replace(theirs, original)
        renamed[key] = tensor
    return renamed


def hub_folder(folder: Path, model, state: dict, **config_changes) -> Path:
    folder.mkdir()
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**model.config.to_dict(), **config_changes}, default=str))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": PIXELS["image_mean"], "image_std": PIXELS["image_std"]})
    )
    return folder


def assert_same_autoencoder(folder: Path, reference: ViTMAEForPreTraining) -> None:
    ours = FahrFaceForPreTraining.from_pretrained(folder)
    x, noise = images(3), mask_noise(3)
    wanted, got = reference(x, noise=noise), ours(x, noise=noise)
    torch.testing.assert_close(got.loss, wanted.loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.logits, wanted.logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(got.mask, wanted.mask)
    assert torch.equal(got.ids_restore, wanted.ids_restore)


class TestParity:
    @pytest.mark.parametrize("layout", ["new", "old", "as saved by this release"])
    @pytest.mark.parametrize("norm_pix_loss", [True, False])
    def test_hugging_face_vit_mae(self, layout, norm_pix_loss, tmp_path):
        model = vit_mae(norm_pix_loss=norm_pix_loss)
        state = model.state_dict()
        if layout == "as saved by this release":
            model.save_pretrained(tmp_path / "saved")
            state = load_file(tmp_path / "saved/model.safetensors")
        elif layout == "old":
            state = as_old_hub_keys(state)
        source = hub_folder(tmp_path / "source", model, state)
        report = convert(source, tmp_path / "out", template="arcface")
        assert report.architecture == "FahrFaceForPreTraining"
        assert report.settings["norm_pix_loss"] == {"value": norm_pix_loss, "from": "source"}
        assert report.settings["decoder_intermediate_size"] == {"value": 48, "from": "shapes"}
        assert len(report.tensors) == len(state)
        assert_same_autoencoder(tmp_path / "out", model)

    @pytest.mark.parametrize("names", [dict, as_old_hub_keys])
    def test_hugging_face_encoder_alone(self, names, tmp_path):
        # ViTMAEModel always shuffles; hiding nothing and giving rising noise makes it keep the order.
        model = vit_mae(ViTMAEModel, mask_ratio=0.0)
        source = hub_folder(tmp_path / "source", model, names(model.state_dict()))
        assert convert(source, tmp_path / "out", template="arcface").architecture == "FahrFaceModel"
        x, noise = images(3), torch.arange(16.0).expand(3, 16)
        wanted = model(x, noise=noise).last_hidden_state
        got = FahrFaceModel.from_pretrained(tmp_path / "out")(x).last_hidden_state
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)

    def test_hugging_face_encoder_at_another_size(self, tmp_path):
        model = vit_mae(ViTMAEModel, mask_ratio=0.0)
        convert(hub_folder(tmp_path / "source", model, model.state_dict()), tmp_path / "out", template="arcface")
        x, noise = images(2, size=64), torch.arange(64.0).expand(2, 64)
        wanted = model(x, noise=noise, interpolate_pos_encoding=True).last_hidden_state
        got = FahrFaceModel.from_pretrained(tmp_path / "out")(x).last_hidden_state
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)

    def test_layer_norm_eps_is_carried_over(self, tmp_path):
        model = vit_mae(layer_norm_eps=1e-2)
        convert(hub_folder(tmp_path / "source", model, model.state_dict()), tmp_path / "out", template="arcface")
        assert FahrFaceForPreTraining.from_pretrained(tmp_path / "out").config.layer_norm_eps == 1e-2
        assert_same_autoencoder(tmp_path / "out", model)

    @pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod."])
    def test_original_mae_file(self, wrapper, tmp_path):
        model = vit_mae()
        state = {wrapper + key: tensor for key, tensor in as_original_mae(model.state_dict()).items()}
        arguments = argparse.Namespace(mask_ratio=0.75, model="mae_vit")
        torch.save({"model": state, "optimizer": {"step": 1}, "epoch": 3, "args": arguments}, tmp_path / "mae.pth")
        report = convert(tmp_path / "mae.pth", tmp_path / "out", **ENCODER, **DECODER)
        assert report.ignored_entries == ["optimizer", "epoch", "args"]
        assert_same_autoencoder(tmp_path / "out", model)

    def test_timm(self, tmp_path):
        with safe_open(FIXTURES / "timm_vit.safetensors", framework="pt") as file:
            content = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            eps = float(file.metadata()["layer_norm_eps"])
        state = {k.removeprefix("weights."): v for k, v in content.items() if k.startswith("weights.")}
        save_file(state, tmp_path / "vit.safetensors")
        with pytest.raises(ConversionError, match=r"2 tensors have no place.*head.bias, head.weight"):
            convert(tmp_path / "vit.safetensors", tmp_path / "out", **ENCODER)
        options = {**ENCODER, "layer_norm_eps": eps}
        report = convert(tmp_path / "vit.safetensors", tmp_path / "out", leave_out=["head"], **options)
        assert set(report.left_out) == {"head.weight", "head.bias"}
        got = FahrFaceModel.from_pretrained(tmp_path / "out")(content["pixel_values"]).last_hidden_state
        torch.testing.assert_close(got, content["features"], atol=1e-5, rtol=1e-5)

    def test_timm_as_installed(self, tmp_path):
        timm = pytest.importorskip("timm")
        torch.manual_seed(0)
        model = randomised(timm.create_model("vit_tiny_patch16_224", img_size=112, depth=2, num_classes=0))
        torch.save(model.state_dict(), tmp_path / "vit.pth")
        convert(tmp_path / "vit.pth", tmp_path / "out", **{**ENCODER, "num_attention_heads": 3})
        x = images(2, size=112)
        got = FahrFaceModel.from_pretrained(tmp_path / "out")(x).last_hidden_state
        torch.testing.assert_close(got, model.forward_features(x), atol=1e-4, rtol=1e-4)

    def test_official_pre_training_file(self, tmp_path):
        model = vit_mae()
        optimizer = torch.optim.AdamW(model.parameters())
        content = {
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "epoch": 1,
        }
        torch.save(content, tmp_path / "fahr_face.pth")
        report = convert(tmp_path / "fahr_face.pth", tmp_path / "out", **ENCODER, **DECODER)
        assert report.ignored_entries == ["optimizer_state_dict", "epoch"]
        assert_same_autoencoder(tmp_path / "out", model)

    @pytest.mark.parametrize("prefix", ["", "model."])
    def test_official_age_file(self, prefix, tmp_path):
        encoder, head = vit_mae(ViTMAEModel, mask_ratio=0.0), randomised(torch.nn.Linear(32, 1))
        state = {f"{prefix}vit.{key}": tensor for key, tensor in encoder.state_dict().items()}
        state |= {f"{prefix}regressor.{key}": tensor for key, tensor in head.state_dict().items()}
        torch.save({"model_state_dict": state, "optimizer_state_dict": {}}, tmp_path / "fahr_faceage.pth")
        source, out = tmp_path / "fahr_faceage.pth", tmp_path / "out"
        with pytest.raises(ConversionError, match=rf"{prefix}regressor.weight, {prefix}regressor.bias.*age head"):
            convert(source, out, **ENCODER)
        report = convert(source, out, age_head=f"{prefix}regressor", **ENCODER)
        assert report.architecture == "FahrFaceForAgeEstimation"
        x = images(3)
        features = encoder(x, noise=torch.arange(16.0).expand(3, 16)).last_hidden_state
        age = FahrFaceForAgeEstimation.from_pretrained(out)(x).age
        torch.testing.assert_close(age, head(features[:, 0])[:, 0], atol=1e-5, rtol=1e-5)

    def test_age_head_over_years_needs_its_first_year(self, tmp_path):
        encoder, head = vit_mae(ViTMAEModel), torch.nn.Linear(32, 70)
        state = {f"vit.{key}": tensor for key, tensor in encoder.state_dict().items()}
        state |= {f"head.{key}": tensor for key, tensor in head.state_dict().items()}
        torch.save(state, tmp_path / "age.pth")
        with pytest.raises(ConversionError, match=r"cannot show min_age.*--min-age"):
            convert(tmp_path / "age.pth", tmp_path / "out", age_head="head", **ENCODER)
        convert(tmp_path / "age.pth", tmp_path / "out", age_head="head", min_age=21, **ENCODER)
        config = FahrFaceForAgeEstimation.from_pretrained(tmp_path / "out").config
        assert (config.age_output, config.min_age, config.max_age) == ("expectation", 21, 90)


@pytest.fixture
def mae_file(tmp_path):
    torch.save({"model": as_original_mae(vit_mae().state_dict())}, tmp_path / "mae.pth")
    return tmp_path / "mae.pth"


class TestOutput:
    def test_a_complete_checkpoint_folder(self, mae_file, tmp_path):
        out = tmp_path / "out"
        report = convert(mae_file, out, **ENCODER, **DECODER)
        assert type(AutoModel.from_pretrained(out)) is FahrFaceModel
        processor = AutoImageProcessor.from_pretrained(out)
        assert type(processor) is FahrFaceImageProcessor
        assert list(processor.image_mean) == PIXELS["image_mean"]
        record = json.loads((out / "conversion.json").read_text())
        assert record == vars(report)
        assert record["settings"]["hidden_size"] == {"value": 32, "from": "shapes"}
        assert record["settings"]["layer_norm_eps"] == {"value": 1e-6, "from": "caller"}
        weights = load_file(out / "model.safetensors")
        assert {key.removeprefix("backbone.") for key in weights} == set(record["tensors"])

    def test_every_source_tensor_is_accounted_for(self, mae_file, tmp_path):
        report = convert(mae_file, tmp_path / "out", leave_out=["mask_token", *self.decoder(mae_file)], **ENCODER)
        source = set(torch.load(mae_file, weights_only=True)["model"])
        assert set(report.tensors.values()) | set(report.left_out) == source
        assert report.architecture == "FahrFaceModel"

    def decoder(self, mae_file):
        keys = torch.load(mae_file, weights_only=True)["model"]
        return sorted({key.split(".")[0] for key in keys if key.startswith("decoder")})

    def test_the_callers_word_goes_before_the_sources(self, tmp_path):
        model = vit_mae(layer_norm_eps=1e-12)
        source = hub_folder(tmp_path / "source", model, model.state_dict())
        report = convert(source, tmp_path / "out", template="arcface", layer_norm_eps=1e-6)
        assert report.settings["layer_norm_eps"] == {"value": 1e-6, "from": "caller"}

    def test_sharded_folders(self, tmp_path):
        model = vit_mae()
        source = hub_folder(tmp_path / "source", model, model.state_dict())
        state = load_file(source / "model.safetensors")
        (source / "model.safetensors").unlink()
        halves = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}
        for index, (key, tensor) in enumerate(state.items()):
            list(halves.values())[index % 2][key] = tensor
        for name, half in halves.items():
            save_file(half, source / name)
        where = {key: name for name, half in halves.items() for key in half}
        (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
        report = convert(source, tmp_path / "out", template="arcface")
        assert set(report.sha256) == set(halves)
        assert_same_autoencoder(tmp_path / "out", model)

    def test_an_existing_checkpoint_is_not_overwritten(self, mae_file, tmp_path):
        convert(mae_file, tmp_path / "out", **ENCODER, **DECODER)
        with pytest.raises(FileExistsError, match="holds a checkpoint already"):
            convert(mae_file, tmp_path / "out", **ENCODER, **DECODER)

    def test_a_failed_conversion_leaves_nothing_behind(self, mae_file, tmp_path):
        with pytest.raises(ConversionError):
            convert(mae_file, tmp_path / "out", **{**ENCODER, "template": "elsewhere"}, **DECODER)
        assert not (tmp_path / "out").exists()


class TestRefusal:
    @pytest.mark.parametrize("name", [*ENCODER, *DECODER])
    def test_what_shapes_cannot_show_is_asked_for(self, name, mae_file, tmp_path):
        given = {key: value for key, value in (ENCODER | DECODER).items() if key != name}
        with pytest.raises(ConversionError, match=f"cannot show {name},.*--{name.replace('_', '-')}"):
            convert(mae_file, tmp_path / "out", **given)

    def test_a_setting_without_its_part_is_refused(self, mae_file, tmp_path):
        with pytest.raises(ConversionError, match="min_age given, but"):
            convert(mae_file, tmp_path / "out", min_age=3, **ENCODER, **DECODER)

    def test_heads_that_do_not_divide_the_width(self, mae_file, tmp_path):
        with pytest.raises(ValueError, match=r"num_attention_heads \(5\) must divide hidden_size \(32\)"):
            convert(mae_file, tmp_path / "out", **{**ENCODER, "num_attention_heads": 5}, **DECODER)

    def test_one_missing_tensor_is_named(self, tmp_path):
        state = as_original_mae(vit_mae().state_dict())
        del state["blocks.1.norm2.bias"]
        torch.save({"model": state}, tmp_path / "mae.pth")
        with pytest.raises(ConversionError, match=r"(?s)not a whole checkpoint.*layers\.1\.mlp_norm\.bias"):
            convert(tmp_path / "mae.pth", tmp_path / "out", **ENCODER, **DECODER)

    @pytest.mark.parametrize(
        "key", ["blocks.0.ls1.gamma", "blocks.0.attn.q_norm.weight", "reg_token", "fc_norm.weight"]
    )
    def test_parts_of_another_architecture_are_named(self, key, tmp_path):
        state = {**as_original_mae(vit_mae().state_dict()), key: torch.zeros(32)}
        torch.save({"model": state}, tmp_path / "mae.pth")
        with pytest.raises(ConversionError, match=f"1 tensors have no place.*{key}"):
            convert(tmp_path / "mae.pth", tmp_path / "out", **ENCODER, **DECODER)

    def test_two_backbones_in_one_file(self, tmp_path):
        state = as_original_mae(vit_mae().state_dict())
        torch.save(
            {f"{who}.{k}": v for who in ("student", "teacher") for k, v in state.items()},
            tmp_path / "two.pth",
        )
        with pytest.raises(ConversionError, match=r"Several backbones.*'student\.', 'teacher\.'"):
            convert(tmp_path / "two.pth", tmp_path / "out", **ENCODER, **DECODER)

    def test_two_names_for_one_tensor(self, tmp_path):
        state = as_original_mae(vit_mae().state_dict())
        torch.save({**state, "layernorm.weight": torch.zeros(32)}, tmp_path / "mae.pth")
        with pytest.raises(ConversionError, match=r"Both norm.weight and layernorm.weight would become norm.weight"):
            convert(tmp_path / "mae.pth", tmp_path / "out", **ENCODER, **DECODER)

    def test_left_out_keys_must_exist(self, mae_file, tmp_path):
        with pytest.raises(ConversionError, match="Asked to leave out heads"):
            convert(mae_file, tmp_path / "out", leave_out=["heads"], **ENCODER, **DECODER)

    def test_an_age_head_that_is_not_there(self, mae_file, tmp_path):
        with pytest.raises(ConversionError, match="no linear layer 'regressor'"):
            convert(mae_file, tmp_path / "out", age_head="regressor", **ENCODER, **DECODER)

    def test_no_vision_transformer_at_all(self, tmp_path):
        torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "linear.pth")
        with pytest.raises(ConversionError, match="No cls_token among the tensors"):
            convert(tmp_path / "linear.pth", tmp_path / "out", **ENCODER)

    def test_code_inside_a_file_is_not_run(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return (Path(tmp_path / "sprung").touch, ())

        torch.save({"model": as_original_mae(vit_mae().state_dict()), "extra": Trap()}, tmp_path / "trap.pth")
        with pytest.raises(ConversionError, match="is not opened, because loading such a file can run code"):
            convert(tmp_path / "trap.pth", tmp_path / "out", **ENCODER, **DECODER)
        assert not (tmp_path / "sprung").exists()

    @pytest.mark.parametrize("name", ["text.pth", "text.safetensors"])
    def test_a_file_that_is_no_checkpoint(self, name, tmp_path):
        (tmp_path / name).write_text("not weights")
        with pytest.raises(ConversionError, match=f"{name} (is not a readable|holds more than)"):
            convert(tmp_path / name, tmp_path / "out", **ENCODER)

    def test_a_truncated_file(self, mae_file, tmp_path):
        mae_file.write_bytes(mae_file.read_bytes()[:2000])
        with pytest.raises(ConversionError, match=r"mae.pth is not a readable PyTorch file"):
            convert(mae_file, tmp_path / "out", **ENCODER, **DECODER)

    def test_a_list_is_no_state_dict(self, tmp_path):
        torch.save([1, 2], tmp_path / "list.pth")
        with pytest.raises(ConversionError, match="holds a list, expected a dictionary"):
            convert(tmp_path / "list.pth", tmp_path / "out", **ENCODER)

    def test_a_folder_without_weights_and_a_missing_source(self, tmp_path):
        with pytest.raises(ConversionError, match=r"holds neither model\.safetensors nor pytorch_model\.bin"):
            convert(tmp_path, tmp_path / "out", **ENCODER)
        with pytest.raises(ConversionError, match="does not exist"):
            convert(tmp_path / "absent.pth", tmp_path / "out", **ENCODER)

    def test_a_repository_that_cannot_be_reached(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(ConversionError, match="nobody/nothing is neither a file nor a folder, nor could it be"):
            convert("nobody/nothing", tmp_path / "out", **ENCODER)
