"""transformers' Auto classes open every checkpoint, with fahr-hf imported and where it is not installed."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import ALL_MODELS, HEADS, assert_same_answers, images, main_output, minute_config, run_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForPreTraining,
)

from fahr_hf import (
    FahrFaceConfig,
    FahrFaceForAgeEstimation,
    FahrFaceForPreTraining,
    FahrFaceForSurvival,
    FahrFaceImageProcessor,
    FahrFaceModel,
)


@pytest.fixture(params=ALL_MODELS, ids=lambda model: model.__name__)
def checkpoint(request, tmp_path):
    torch.manual_seed(0)
    model = request.param(minute_config()).eval()
    model.save_pretrained(tmp_path)
    FahrFaceImageProcessor().save_pretrained(tmp_path)
    return model, tmp_path


class TestImported:
    def test_config(self, checkpoint):
        _, folder = checkpoint
        assert type(AutoConfig.from_pretrained(folder)) is FahrFaceConfig

    def test_backbone_of_any_checkpoint(self, checkpoint):
        model, folder = checkpoint
        loaded = AutoModel.from_pretrained(folder)
        assert type(loaded) is FahrFaceModel
        backbone = getattr(model, "backbone", model)
        assert_same_answers(loaded(images()).pooler_output, backbone(images()).pooler_output)

    @pytest.mark.parametrize("head_class", HEADS, ids=lambda c: c.__name__)
    def test_each_head_opens_as_itself(self, head_class, tmp_path):
        model = head_class(minute_config()).eval()
        model.save_pretrained(tmp_path)
        is_head = head_class is not FahrFaceForPreTraining
        auto = AutoModelForImageClassification if is_head else AutoModelForPreTraining
        loaded = auto.from_pretrained(tmp_path)
        assert type(loaded) is head_class
        assert_same_answers(main_output(run_model(loaded, images())), main_output(run_model(model, images())))

    def test_new_heads_pass_through_the_auto_classes(self, tmp_path):
        FahrFaceModel(minute_config()).save_pretrained(tmp_path)
        loaded = AutoModelForImageClassification.from_pretrained(tmp_path, new_head=True, age_output="expectation")
        assert type(loaded) is FahrFaceForAgeEstimation
        assert loaded.age_head.out_features == 101

    def test_strictness_passes_through_the_auto_classes(self, checkpoint):
        _, folder = checkpoint
        weights = load_file(folder / "model.safetensors")
        save_file({**weights, "surprise": torch.zeros(1)}, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(RuntimeError, match="unknown: surprise"):
            AutoModel.from_pretrained(folder)

    def test_models_from_a_config(self):
        config = minute_config()
        assert type(AutoModel.from_config(config)) is FahrFaceModel
        assert type(AutoModelForPreTraining.from_config(config)) is FahrFaceForPreTraining
        assert type(AutoModelForImageClassification.from_config(config)) is FahrFaceForAgeEstimation
        config.architectures = ["FahrFaceForSurvival"]
        assert type(AutoModelForImageClassification.from_config(config)) is FahrFaceForSurvival

    def test_processor(self, checkpoint):
        _, folder = checkpoint
        assert type(AutoImageProcessor.from_pretrained(folder)) is FahrFaceImageProcessor

    def test_processor_of_a_checkpoint_whose_processor_does_not_name_its_class(self, checkpoint):
        _, folder = checkpoint
        file = folder / "preprocessor_config.json"
        unnamed = {
            k: v for k, v in json.loads(file.read_text()).items() if k not in ("auto_map", "image_processor_type")
        }
        file.write_text(json.dumps(unnamed))
        assert type(AutoImageProcessor.from_pretrained(folder)) is FahrFaceImageProcessor


@pytest.mark.parametrize(
    "program",
    [
        "import fahr_hf; from transformers import AutoModel as A",
        "from transformers import AutoModel as A; import fahr_hf",
        "from transformers import PreTrainedModel; import fahr_hf; from transformers import AutoModel as A",
        "from fahr_hf import FahrFaceModel; from transformers import AutoModel as A",
        "import fahr_hf; from transformers import PreTrainedModel, pipeline, Trainer, AutoModel as A",
        "import fahr_hf; fahr_hf.register_with_transformers(); from transformers import AutoModel as A",
    ],
)
def test_registration_in_every_order_of_imports(program, tmp_path):
    FahrFaceForSurvival(minute_config()).save_pretrained(tmp_path)
    check = (
        f"{program}\nimport sys, transformers as t\n"
        f"assert type(A.from_pretrained({str(tmp_path)!r})) is fahr_hf.FahrFaceModel\n"
        "head = t.AutoModelForImageClassification.from_pretrained(sys.argv[1])\n"
        "assert type(head) is fahr_hf.FahrFaceForSurvival"
    ).replace("from fahr_hf import FahrFaceModel;", "import fahr_hf; fahr_hf.FahrFaceModel;")
    result = subprocess.run([sys.executable, "-c", check, str(tmp_path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_importing_fahr_hf_imports_nothing_heavy():
    check = (
        "import sys, fahr_hf\n"
        "heavy = {'torch', 'transformers', 'numpy', 'PIL', 'cv2', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert fahr_hf.FahrFaceConfig.model_type == 'fahr_face'\n"
        "assert set(fahr_hf.__all__) <= set(dir(fahr_hf))\n"
        "[getattr(fahr_hf, name) for name in fahr_hf.__all__]"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_an_unknown_attribute_is_an_attribute_error():
    import fahr_hf

    with pytest.raises(AttributeError, match="no attribute 'FahrFaceForHeight'"):
        _ = fahr_hf.FahrFaceForHeight


REMOTE = """
import sys, torch, transformers
folder, auto_class, wanted_class, reference = sys.argv[1:]
wanted = torch.load(reference)
model = getattr(transformers, auto_class).from_pretrained(folder, trust_remote_code=True)
assert type(model).__name__ == wanted_class, type(model)
extra = {"noise": wanted["noise"]} if wanted_class == "FahrFaceForPreTraining" else {}
output = model(wanted["pixel_values"], **extra)
value = output["last_hidden_state"] if "last_hidden_state" in output else output["logits"]
torch.testing.assert_close(value, wanted["value"], atol=1e-6, rtol=1e-5)
again = folder + "-again"
model.save_pretrained(again)
second = getattr(transformers, auto_class).from_pretrained(again, trust_remote_code=True)
for (name, a), b in zip(model.state_dict().items(), second.state_dict().values(), strict=True):
    assert torch.equal(a, b), name
try:
    type(model).from_pretrained(folder, image_size=64)
except RuntimeError as error:
    assert "wrong shape" in str(error) and "position_embeddings" in str(error)
else:
    raise AssertionError("remote code must be as strict")
processor = transformers.AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
assert type(processor).__name__ == "FahrFaceImageProcessor"
"""


class TestWithoutFahrHf:
    """A real virtual environment in which fahr-hf cannot be imported."""

    def test_round_trip(self, checkpoint, python_without_fahr_hf, tmp_path_factory):
        model, folder = checkpoint
        x, noise = images(), torch.rand(3, 16, generator=torch.Generator().manual_seed(1))
        own_auto = {
            FahrFaceForPreTraining: "AutoModelForPreTraining",
            FahrFaceForAgeEstimation: "AutoModelForImageClassification",
            FahrFaceForSurvival: "AutoModelForImageClassification",
        }.get(type(model))
        reference = tmp_path_factory.mktemp("reference") / "wanted.pt"
        backbone = getattr(model, "backbone", model)
        cases = [("AutoModel", "FahrFaceModel", backbone)]
        if own_auto:
            cases.append((own_auto, type(model).__name__, model))
        for auto_class, name, part in cases:
            value = main_output(run_model(part, x)).detach()
            torch.save({"pixel_values": x, "noise": noise, "value": value}, reference)
            result = python_without_fahr_hf(REMOTE, folder, auto_class, name, reference)
            assert result.returncode == 0, result.stderr

    def test_remote_code_needs_trust(self, checkpoint, python_without_fahr_hf):
        _, folder = checkpoint
        program = "import sys, transformers; transformers.AutoModel.from_pretrained(sys.argv[1])"
        result = python_without_fahr_hf(program, folder)
        assert result.returncode != 0
        assert "trust_remote_code" in result.stderr
