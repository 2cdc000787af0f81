"""Configuration shared by the FAHR-Face backbone, its pre-training model and its two heads."""

import math
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

# The paper states 12 layers and 112 x 112 input; width, heads, patch and decoder are our choices.
_SIZES: dict[str, dict[str, int]] = {
    "tiny": {
        "hidden_size": 192,
        "num_attention_heads": 3,
        "decoder_hidden_size": 192,
        "decoder_num_hidden_layers": 2,
        "decoder_num_attention_heads": 3,
    },
    "small": {
        "hidden_size": 384,
        "num_attention_heads": 6,
        "decoder_hidden_size": 192,
        "decoder_num_hidden_layers": 2,
        "decoder_num_attention_heads": 3,
    },
    "base": {
        "hidden_size": 768,
        "num_attention_heads": 12,
        "decoder_hidden_size": 512,
        "decoder_num_hidden_layers": 8,
        "decoder_num_attention_heads": 16,
    },
}

# A fitted table is a summary of a cohort. A longer one could be the cohort itself, person by person.
_LONGEST_CALIBRATION_TABLE = 256

_MODELING = "modeling_fahr_face"

# A pipeline's class, the Auto class it loads by, and the architecture that must be in the checkpoint, if any.
_PIPELINES = {
    "face-age": ("FaceAgePipeline", "AutoModelForImageClassification", "FahrFaceForAgeEstimation"),
    "face-survival": ("FaceSurvivalPipeline", "AutoModelForImageClassification", "FahrFaceForSurvival"),
    "face-embedding": ("FaceEmbeddingPipeline", "AutoModel", None),
}


@strict
class FahrFaceConfig(PreTrainedConfig):
    """Shape of a FAHR-Face model, how its age head reads out years, and what was fitted on calibration data.

    The depth of 12 layers and the 112 x 112 input are the paper's (arXiv 2506.14909); every other default is ours,
    because the paper does not state it.

    Args:
        hidden_size: Width of the encoder; divisible by 4 and by `num_attention_heads`.
        num_hidden_layers: Number of encoder layers.
        num_attention_heads: Attention heads a layer.
        intermediate_size: Width of the MLP in a layer; `None` means `4 * hidden_size`.
        hidden_act: Activation of the MLP.
        drop_path_rate: Stochastic depth of the last layer while training, in [0, 1); it grows linearly from 0 at
            the first layer (Huang et al. 2016).
        initializer_range: Standard deviation of new weights.
        layer_norm_eps: Epsilon of every layer normalisation.
        image_size: Side of the aligned crop in pixels; other sizes are accepted by interpolated positions.
        patch_size: Side of a patch in pixels; divides `image_size`.
        stem: How pixels become tokens: `"patch"`, one linear projection a patch; `"convolution"`, a small residual
            network of stride `patch_size` (after Xiao et al. 2021), which learns from far fewer photos;
            `"efficientnet"`, the first half of EfficientNet-Lite0 (Tan & Le 2019), whose published weights fit.
        num_channels: Colour channels.
        qkv_bias: Whether query, key and value projections have a bias.
        decoder_hidden_size: Width of the pre-training decoder; divisible by 4 and by its number of heads.
        decoder_num_hidden_layers: Layers of the decoder.
        decoder_num_attention_heads: Heads of the decoder.
        decoder_intermediate_size: MLP width of the decoder; `None` means `4 * decoder_hidden_size`.
        mask_ratio: Share of patches hidden from the encoder in pre-training, strictly between 0 and 1.
        norm_pix_loss: Whether the pre-training target is normalised patch by patch (He et al. 2022).
        age_output: How the age head's one linear layer becomes years: `"years"`, the layer's single output is the
            age; `"expectation"`, its outputs are logits over the whole years `min_age..max_age` and the age is
            their expectation; `"ordinal"`, its outputs are the log odds that the age is above each of
            `min_age..max_age - 1`, and the age is `min_age` plus the sum of these probabilities (Niu et al. 2016).
        min_age: Youngest age that `"expectation"` and `"ordinal"` can give.
        max_age: Oldest age that they can give.
        age_label_sigma: Standard deviation, in years, of the Gaussian target around a label when
            `age_output="expectation"` (label distribution learning, Gao et al. 2017).
        survival_loss: What trains the survival head: `"ranking"`, a logistic loss of the pairs whose order of death is
            known; `"cox"`, the partial likelihood (Cox 1972).
        ranking_temperature: Difference of risk scores that counts as clear to `"ranking"`.
        cox_ties: How `"cox"` counts deaths at the same time, after Efron (1977) or Breslow (1974).
        calibration: Tables fitted on a calibration split, such as interval widths or risk quantiles. Nested
            dictionaries and lists of finite numbers, texts and booleans; each holds at most 256 values, since
            tables of a cohort are kept here and never the times or scores of individual people. JSON keeps them in
            double precision whatever the dtype of the weights.

    Raises:
        ValueError: a value out of range or two that do not fit together; the message names them.

    Examples:
        >>> FahrFaceConfig.from_size("tiny", patch_size=8).hidden_size
        192
    """

    model_type = "fahr_face"

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int | None = None
    hidden_act: str = "gelu"
    drop_path_rate: float | int = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-6
    image_size: int = 112
    patch_size: int = 16
    stem: Literal["patch", "convolution", "efficientnet"] = "patch"
    num_channels: int = 3
    qkv_bias: bool = True

    decoder_hidden_size: int = 512
    decoder_num_hidden_layers: int = 8
    decoder_num_attention_heads: int = 16
    decoder_intermediate_size: int | None = None
    mask_ratio: float | int = 0.75
    norm_pix_loss: bool = True

    age_output: Literal["years", "expectation", "ordinal"] = "years"
    min_age: int = 0
    max_age: int = 100
    age_label_sigma: float | int = 2.0

    survival_loss: Literal["ranking", "cox"] = "ranking"
    ranking_temperature: float | int = 1.0
    cox_ties: Literal["efron", "breslow"] = "efron"

    calibration: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.intermediate_size is None:
            self.intermediate_size = 4 * self.hidden_size
        if self.decoder_intermediate_size is None:
            self.decoder_intermediate_size = 4 * self.decoder_hidden_size
        # The Auto classes iterate over this to choose between heads and stumble over None.
        if self.architectures is None:
            self.architectures = []
        # The dtype of answers, not of the file: see `to_dict`.
        if self.dtype is None:
            self.dtype = "float32"
        # As part of the package, the tasks are registered: without this entry transformers takes the registered
        # pipelines, with it it asks for trust in the checkpoint's copies of the same code.
        if not __name__.startswith("transformers_modules."):
            kwargs.pop("custom_pipelines", None)
        super().__post_init__(**kwargs)
        # `strict` runs these again by itself, also before saving, but wraps them in an error that is no ValueError.
        self.validate_sizes()
        self.validate_widths()
        self.validate_rates()
        self.validate_ages()
        self.validate_calibration()

    @classmethod
    def from_size(cls, size: str, **overrides: Any) -> "FahrFaceConfig":
        """The configuration of a named size.

        Args:
            size: `"tiny"` (192 x 12 layers x 3 heads), `"small"` (384 x 12 x 6) or `"base"` (768 x 12 x 12).
            **overrides: Any argument of the class, replacing that of the size.

        Raises:
            ValueError: an unknown name.
        """
        if size not in _SIZES:
            raise ValueError(f"Unknown size {size!r}; the sizes are {', '.join(_SIZES)}.")
        return cls(**{**_SIZES[size], **overrides})

    @property
    def num_patches(self) -> int:
        """Patches of a crop of the configured size."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def num_kept_patches(self) -> int:
        """Patches of a crop of the configured size that the encoder sees in pre-training."""
        return int(self.num_patches * (1 - self.mask_ratio))

    @property
    def num_age_outputs(self) -> int:
        """Outputs of the age head's linear layer."""
        if self.age_output == "years":
            return 1
        return self.max_age - self.min_age + (self.age_output == "expectation")

    def validate_sizes(self) -> None:
        """Every count and width is positive, and patches tile the image."""
        for name in (
            *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
            *("image_size", "patch_size", "num_channels"),
            *("decoder_hidden_size", "decoder_num_hidden_layers", "decoder_num_attention_heads"),
            "decoder_intermediate_size",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size ({self.image_size}) must be divisible by patch_size ({self.patch_size}), so that "
                f"whole patches tile the crop; the remainder is {self.image_size % self.patch_size} pixels."
            )

        if self.stem == "convolution" and (
            self.patch_size < 4 or self.patch_size & (self.patch_size - 1) or self.hidden_size % (self.patch_size // 2)
        ):
            raise ValueError(
                'stem="convolution" halves the image and doubles the channels step by step, so patch_size must be a '
                f"power of two from 4 on, and half of it divide hidden_size; got {self.patch_size} and "
                f"{self.hidden_size}."
            )
        if self.stem == "efficientnet" and self.patch_size != 16:
            raise ValueError(
                f'stem="efficientnet" has a stride of 16 pixels, so patch_size must be 16, got {self.patch_size}.'
            )

    def validate_widths(self) -> None:
        """Heads divide the widths, and widths suit two-dimensional sine-cosine positions."""
        for prefix in ("", "decoder_"):
            width, heads = (
                getattr(self, f"{prefix}hidden_size"),
                getattr(self, f"{prefix}num_attention_heads"),
            )
            if width % heads:
                raise ValueError(
                    f"{prefix}num_attention_heads ({heads}) must divide {prefix}hidden_size ({width}), so that "
                    "every head has the same width."
                )
            if width % 4:
                raise ValueError(
                    f"{prefix}hidden_size ({width}) must be divisible by 4: new position embeddings hold a sine and "
                    "a cosine for each of the two axes."
                )

    def validate_rates(self) -> None:
        """Ratios and small constants lie where they mean something."""
        if not 0 < self.mask_ratio < 1:
            raise ValueError(
                f"mask_ratio must lie strictly between 0 and 1, got {self.mask_ratio}: it is the share of patches "
                "hidden from the encoder."
            )
        if not 1 <= self.num_kept_patches < self.num_patches:
            raise ValueError(
                f"mask_ratio {self.mask_ratio} of {self.num_patches} patches keeps {self.num_kept_patches}; at least "
                "one patch must be kept and one hidden. Change mask_ratio, or take smaller patches."
            )
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must lie in [0, 1), got {self.drop_path_rate}.")
        for name in ("layer_norm_eps", "initializer_range", "age_label_sigma", "ranking_temperature"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive finite number, got {value}.")

    def validate_ages(self) -> None:
        """The range that the head can give is a range of human ages."""
        if not 0 <= self.min_age < self.max_age <= 130:
            raise ValueError(
                f"min_age and max_age must satisfy 0 <= min_age < max_age <= 130 years, got {self.min_age} and "
                f"{self.max_age}."
            )

    def validate_calibration(self) -> None:
        """Calibration holds short tables of finite numbers."""
        if self.calibration is not None:
            _check_calibration(self.calibration, "calibration")

    def to_dict(self) -> dict[str, Any]:
        """The configuration as saved to config.json.

        `dtype` is always float32: files may hold float16 to be small, and answers are still computed in float32
        unless `from_pretrained(..., dtype=...)` asks otherwise. `auto_map` and `custom_pipelines` name every class,
        so that a checkpoint opens under each Auto class, and in each pipeline that suits it, with
        `trust_remote_code=True` where this package is not installed.
        """
        head = "FahrFaceForAgeEstimation"
        if "FahrFaceForSurvival" in (self.architectures or ()):
            head = "FahrFaceForSurvival"
        return {
            **super().to_dict(),
            "dtype": "float32",
            "auto_map": {
                "AutoConfig": "configuration_fahr_face.FahrFaceConfig",
                "AutoModel": f"{_MODELING}.FahrFaceModel",
                "AutoModelForPreTraining": f"{_MODELING}.FahrFaceForPreTraining",
                "AutoModelForImageClassification": f"{_MODELING}.{head}",
            },
            "custom_pipelines": {
                task: {"impl": f"pipeline_fahr_face.{name}", "pt": [auto_class]}
                for task, (name, auto_class, architecture) in _PIPELINES.items()
                if architecture is None or architecture in (self.architectures or ())
            },
        }


def _check_calibration(value: Any, where: str) -> None:
    if isinstance(value, dict | list | tuple) and len(value) > _LONGEST_CALIBRATION_TABLE:
        raise ValueError(
            f"{where} holds {len(value)} values, more than {_LONGEST_CALIBRATION_TABLE}. Calibration keeps "
            "summaries of a cohort, never values of individual people: reduce it to quantiles or a fixed grid."
        )
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{where} has the key {key!r}; JSON keeps only texts as keys.")
            _check_calibration(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_calibration(item, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}; calibration holds finite numbers only.")
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(
            f"{where} is a {type(value).__name__}; calibration holds plain numbers, texts, booleans, lists and "
            "dictionaries, which JSON keeps exactly."
        )


FahrFaceConfig.register_for_auto_class()
