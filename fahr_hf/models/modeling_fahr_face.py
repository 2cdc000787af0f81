"""FAHR-Face in PyTorch: a Vision Transformer backbone, its masked autoencoder, and heads for age and survival.

A reader finds here the Vision Transformer of Dosovitskiy et al. (2021), the masked autoencoder of He et al. (2022)
and the two heads of the FAHR-Face paper (arXiv 2506.14909): one linear layer on [CLS] each.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .configuration_fahr_face import FahrFaceConfig
from .efficientnet_stem_fahr_face import CHANNELS, FahrFaceEfficientNetStem
from .survival_losses_fahr_face import cox_loss, ranking_loss

if TYPE_CHECKING:
    # Never run. transformers finds the files that belong to a checkpoint by searching the model's source for relative
    # imports, and by this line the pipelines travel along.
    from .pipeline_fahr_face import FacePipeline  # noqa: F401


class CheckpointError(RuntimeError, ValueError):
    """Weights that are not those of the model: missing, of another shape, or unknown.

    A RuntimeError as torch raises for such weights, and a ValueError since whoever chose the checkpoint can mend it.
    """


@dataclass
class FahrFacePreTrainingOutput(ModelOutput):
    """What the masked autoencoder returns.

    Args:
        loss: Mean squared error over the hidden patches, a float32 scalar.
        logits: Predicted patches, (batch, patches, patch_size**2 * channels); pixels, or with `norm_pix_loss`
            pixels normalised within their patch. In a row pixels run by line, then column, then channel.
        mask: 1 where a patch was hidden from the encoder, 0 where it was seen, (batch, patches).
        ids_restore: For each patch its place in the shuffled order, (batch, patches).
        hidden_states: On request: the encoder's input and every layer's output, (batch, 1 + kept, width) each.
        attentions: On request: the encoder's attention, (batch, heads, 1 + kept, 1 + kept) a layer.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    ids_restore: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class FahrFaceAgeOutput(ModelOutput):
    """What the age model returns.

    Args:
        loss: Only with `labels`: float32 scalar.
        logits: Outputs of the head's linear layer, (batch, config.num_age_outputs).
        age: Predicted age in years, (batch,), float32.
        hidden_states: On request: the backbone's input and every layer's output.
        attentions: On request: the backbone's attention, layer by layer.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    age: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class FahrFaceSurvivalOutput(ModelOutput):
    """What the survival model returns.

    Args:
        loss: Only with `duration` and `event`: float32 scalar.
        logits: Output of the head's linear layer, (batch, 1).
        risk: The same numbers as (batch,), float32; higher means earlier death. Only their order has a meaning
            until a calibration gives them one.
        hidden_states: On request: the backbone's input and every layer's output.
        attentions: On request: the backbone's attention, layer by layer.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    risk: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


def sine_cosine_positions(width: int, grid: int) -> torch.Tensor:
    """Two-dimensional sine-cosine positions (Vaswani et al. 2017, one half of the width for each axis).

    Args:
        width: Width of an embedding, divisible by 4.
        grid: Patches along a side.

    Returns:
        (1, 1 + grid**2, width), float32; first that of [CLS], which is zero, then line by line. In an embedding the
        row comes before the column, and sines before cosines.
    """
    frequencies = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float32) / (width // 4))
    angles = torch.arange(grid, dtype=torch.float32)[:, None] * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    by_row = axis[:, None, :].expand(grid, grid, -1)
    by_column = axis[None, :, :].expand(grid, grid, -1)
    patches = torch.cat([by_row, by_column], dim=2).reshape(1, grid * grid, width)
    return torch.cat([torch.zeros(1, 1, width), patches], dim=1)


def interpolate_positions(positions: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Positions learned on a square grid, resampled (bicubic) to another grid; the same tensor if it already fits.

    Args:
        positions: (1, 1 + grid**2, dim), [CLS] first.
        height: Patches from top to bottom.
        width: Patches from left to right.

    Returns:
        (1, 1 + height * width, dim).
    """
    grid = round((positions.shape[1] - 1) ** 0.5)
    if (height, width) == (grid, grid):
        return positions
    patches = positions[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
    # float32: bicubic weights are coarse in half precision, and not every device has them.
    resized = nn.functional.interpolate(patches.float(), size=(height, width), mode="bicubic", align_corners=False)
    resized = resized.to(positions.dtype).permute(0, 2, 3, 1).reshape(1, height * width, -1)
    return torch.cat([positions[:, :1], resized], dim=1)


class FahrFaceResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016); a block that halves the image averages there."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            project = nn.Conv2d(inputs, outputs, kernel_size=1, bias=False)
            self.shortcut = nn.Sequential(nn.AvgPool2d(stride), project, nn.BatchNorm2d(outputs))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        inner = nn.functional.relu(self.first_norm(self.first(image)))
        return nn.functional.relu(self.second_norm(self.second(inner)) + self.shortcut(image))


class FahrFaceConvolutionStem(nn.Sequential):
    """Image (batch, channels, height, width) to features of stride `patch_size`, (batch, width, rows, columns).

    Each halving of the image but the first comes with two residual blocks and twice the channels, up to the width of
    the encoder.
    """

    def __init__(self, config: FahrFaceConfig):
        halvings = config.patch_size.bit_length() - 1
        widths = [config.hidden_size >> i for i in reversed(range(halvings))]
        layers: list[nn.Module] = [
            nn.Conv2d(config.num_channels, widths[0], kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        for inputs, outputs in pairwise(widths):
            layers += [FahrFaceResidualBlock(inputs, outputs, 2), FahrFaceResidualBlock(outputs, outputs, 1)]
        super().__init__(*layers)


class FahrFaceEmbeddings(nn.Module):
    """Image to tokens: [CLS] and one linear projection a patch, or a place of the stem, with positions added."""

    def __init__(self, config: FahrFaceConfig):
        super().__init__()
        self.config = config
        patch = config.patch_size
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.position_embeddings = nn.Parameter(torch.empty(1, 1 + config.num_patches, config.hidden_size))
        if config.stem == "patch":
            self.stem: nn.Module = nn.Identity()
            self.patch_projection = nn.Conv2d(config.num_channels, config.hidden_size, kernel_size=patch, stride=patch)
        elif config.stem == "convolution":
            self.stem = FahrFaceConvolutionStem(config)
            self.patch_projection = nn.Conv2d(config.hidden_size, config.hidden_size, kernel_size=1)
        else:
            self.stem = FahrFaceEfficientNetStem(config.num_channels)
            self.patch_projection = nn.Conv2d(CHANNELS, config.hidden_size, kernel_size=1)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Tokens (batch, 1 + patches, width) of images (batch, channels, height, width)."""
        height, width = self._grid(pixel_values)
        projection = self.patch_projection
        # A stem may compute more precisely than the rest. Most convolutions take half the time, and none longer, where
        # the channels of a pixel lie together.
        first = next(self.stem.parameters(), projection.weight)
        features = self.stem(pixel_values.to(first.dtype, memory_format=torch.channels_last))
        patches = projection(features.to(projection.weight.dtype))
        # Not len(patches), which the tracing for an export takes for a constant.
        cls_token = self.cls_token.expand(patches.shape[0], -1, -1)
        tokens = torch.cat([cls_token, patches.flatten(2).transpose(1, 2)], dim=1)
        return tokens + interpolate_positions(self.position_embeddings, height, width)

    def _grid(self, pixel_values: torch.Tensor) -> tuple[int, int]:
        channels, patch = self.config.num_channels, self.config.patch_size
        if pixel_values.ndim != 4 or pixel_values.shape[1] != channels:
            raise ValueError(
                f"pixel_values must have the shape (batch, {channels}, height, width), got "
                f"{tuple(pixel_values.shape)}. FahrFaceImageProcessor makes them from photos."
            )
        if not pixel_values.is_floating_point():
            raise ValueError(
                f"pixel_values must be normalised floating-point numbers, got {pixel_values.dtype}. "
                "FahrFaceImageProcessor makes them from photos."
            )
        height, width = pixel_values.shape[2:]
        if min(height, width) < patch or height % patch or width % patch:
            raise ValueError(
                f"Height and width of pixel_values must be multiples of patch_size ({patch}), got {height} x {width}."
            )
        return height // patch, width // patch


def eager_attention_forward(
    module: nn.Module,  # noqa: ARG001
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001
    scaling: float,
    **kwargs: Any,  # noqa: ARG001
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention written out, with the signature of the library's attention interface.

    Args:
        module: The layer that asks. Not used, like all that follows `scaling`.
        query: (batch, heads, tokens, head width), as `key` and `value`.
        key: See `query`.
        value: See `query`.
        attention_mask: None; every token sees every token.
        scaling: Factor on the scores.
        **kwargs: What other implementations take.

    Returns:
        The attended values (batch, tokens, heads, head width) and the weights (batch, heads, tokens, tokens).
    """
    scores = (query @ key.transpose(2, 3)) * scaling
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class FahrFaceAttention(nn.Module):
    """Multi-head self-attention through the library's interface: eager, sdpa, flash or flex."""

    def __init__(self, config: FahrFaceConfig, hidden_size: int, num_heads: int):
        super().__init__()
        self.config = config
        self.num_heads = num_heads
        self.head_width = hidden_size // num_heads
        self.is_causal = False
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=config.qkv_bias)
        self.out_proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attended tokens (batch, tokens, width), and the weights where the implementation has them."""
        batch, tokens, width = hidden_states.shape
        by_head = (batch, tokens, self.num_heads, self.head_width)
        attend: Callable = eager_attention_forward
        # The fused implementations never form the weights, so a request for them is answered by the eager one.
        if not kwargs.get("output_attentions"):
            implementation = self.config._attn_implementation
            attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        attended, weights = attend(
            self,
            self.q_proj(hidden_states).view(by_head).transpose(1, 2),
            self.k_proj(hidden_states).view(by_head).transpose(1, 2),
            self.v_proj(hidden_states).view(by_head).transpose(1, 2),
            None,
            scaling=self.head_width**-0.5,
            dropout=0.0,
            **kwargs,
        )
        return self.out_proj(attended.reshape(batch, tokens, width)), weights


class FahrFaceMLP(nn.Module):
    """The two linear layers of a transformer layer."""

    def __init__(self, config: FahrFaceConfig, hidden_size: int, intermediate_size: int):
        super().__init__()
        self.up_proj = nn.Linear(hidden_size, intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.down_proj = nn.Linear(intermediate_size, hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) to the same shape."""
        return self.down_proj(self.activation(self.up_proj(hidden_states)))


class FahrFaceDropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training a sample skips the branch with probability `rate`."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, branch: torch.Tensor) -> torch.Tensor:
        """The branch, with whole samples set to zero and the others scaled up to keep the expectation."""
        if self.rate == 0 or not self.training:
            return branch
        kept = branch.new_empty(len(branch), 1, 1).bernoulli_(1 - self.rate)
        return branch * kept / (1 - self.rate)

    def extra_repr(self) -> str:
        """Shown when the model is printed."""
        return f"rate={self.rate}"


class FahrFaceLayer(GradientCheckpointingLayer):
    """One pre-norm transformer layer."""

    def __init__(self, config: FahrFaceConfig, prefix: str = "", drop_path_rate: float = 0.0):
        super().__init__()
        # The decoder's layers read the same fields under the prefix `decoder_`.
        width = getattr(config, f"{prefix}hidden_size")
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attention = FahrFaceAttention(config, width, getattr(config, f"{prefix}num_attention_heads"))
        self.mlp_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = FahrFaceMLP(config, width, getattr(config, f"{prefix}intermediate_size"))
        self.drop_path = FahrFaceDropPath(drop_path_rate)

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """(batch, tokens, width) to the same shape."""
        attended, _ = self.attention(self.attention_norm(hidden_states), **kwargs)
        hidden_states = hidden_states + self.drop_path(attended)
        return hidden_states + self.drop_path(self.mlp(self.mlp_norm(hidden_states)))


class FahrFacePreTrainedModel(PreTrainedModel):
    """What all models here share: initialisation, strict loading, and parameter groups for fine-tuning."""

    config: FahrFaceConfig
    config_class = FahrFaceConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    input_modalities = ["image"]
    supports_gradient_checkpointing = True
    _no_split_modules = ["FahrFaceEmbeddings", "FahrFaceLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": FahrFaceLayer, "attentions": FahrFaceAttention}
    _input_embed_layer = "patch_projection"
    # Whatever the type of the rest: computed in bfloat16, it moves ages ten times as far as everything else together.
    _keep_in_fp32_modules_strict = ["stem"]
    # `forward` takes **kwargs for the attention interface. Without this, Trainer would conclude that losses are
    # already divided by the number of accumulated samples, and would no longer divide them itself.
    accepts_loss_kwargs = False

    # The part on top of the backbone, by attribute name; None for the backbone alone.
    head_name: str | None = None

    def __init__(self, config: FahrFaceConfig, *args: Any, **kwargs: Any):
        # Attributes may have been changed since the configuration was built.
        config.validate()
        super().__init__(config, *args, **kwargs)

    def post_init(self) -> None:
        """Initialise weights; called at the end of every model's `__init__`."""
        super().post_init()
        if self.head_name is not None:
            # Models inherit such exceptions from their parts, but surplus heads are only for the backbone alone.
            self._keys_to_ignore_on_load_unexpected = set()

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None,
        *model_args: Any,
        new_head: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Load a checkpoint, strictly: any missing, mismatched or unknown key is an error that names it.

        There are two exceptions. A new head (for `FahrFaceForPreTraining`, a new decoder) is made when `new_head` asks
        for it, or when the checkpoint's `architectures` names other classes than this one, as when a pre-trained
        backbone is opened for age estimation. And surplus keys of other heads are left out when the backbone alone is
        wanted from the checkpoint: under `FahrFaceModel`, and wherever the head is new.

        Args:
            pretrained_model_name_or_path: Folder or Hub repository.
            *model_args: Passed on to transformers.
            new_head: Discard the checkpoint's head, if it has one, and initialise this class's at random.
            **kwargs: Those of `transformers.PreTrainedModel.from_pretrained`.

        Returns:
            The model in evaluation mode; with `output_loading_info=True` also the dictionary of keys.

        Raises:
            CheckpointError: the checkpoint's keys are not this model's; the message lists them.
            ValueError: `new_head` without a head, or `ignore_mismatched_sizes`.
        """
        if new_head and cls.head_name is None:
            raise ValueError(f"{cls.__name__} has no head that could be new; leave out new_head=True.")
        if kwargs.pop("ignore_mismatched_sizes", False):
            raise ValueError(
                "ignore_mismatched_sizes=True would leave weights random without a word. Use new_head=True for a "
                "head of another size; other image sizes need no change of the checkpoint, since positions are "
                "interpolated."
            )
        wants_info = kwargs.pop("output_loading_info", False)
        # Mismatches are let through here so that the check below can name them all in one error.
        loaded: Any = super().from_pretrained(
            pretrained_model_name_or_path,
            *model_args,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **kwargs,
        )
        model, info = loaded
        model._check_loaded_keys(info, pretrained_model_name_or_path, new_head)
        if new_head:
            model.reset_head()
        return (model, info) if wants_info else model

    def _check_loaded_keys(self, info: dict[str, Any], source: Any, new_head: bool) -> None:
        """Raise unless the keys are this model's, but for the exceptions of `from_pretrained`."""
        missing = set(info["missing_keys"])
        mismatched = {key: (tuple(found), tuple(wanted)) for key, found, wanted in info["mismatched_keys"]}
        unexpected = set(info["unexpected_keys"])
        head = {name for name, _ in self.named_parameters() if self._is_head(name)}
        named = self.config.architectures or []
        # A foreign checkpoint may still hold this head; only a head that is absent as a whole is then new.
        foreign = bool(head) and bool(named) and type(self).__name__ not in named and head <= missing
        if new_head or foreign:
            missing -= head
            mismatched = {key: shapes for key, shapes in mismatched.items() if key not in head}
            unexpected = {key for key in unexpected if not key.startswith(_HEAD_PREFIXES)}
        problems = [
            *(f"missing: {key}" for key in sorted(missing)),
            *(f"wrong shape: {key} is {found}, expected {want}" for key, (found, want) in sorted(mismatched.items())),
            *(f"unknown: {key}" for key in sorted(unexpected)),
        ]
        if problems:
            raise CheckpointError(
                f"The weights of {source} are not those of {type(self).__name__} with its configuration:\n  "
                + "\n  ".join(problems)
                + "\nLoading is strict. If a head of your own is to replace the checkpoint's, pass new_head=True; "
                "otherwise the file is damaged, or its config.json belongs to another checkpoint."
            )

    def _is_head(self, name: str) -> bool:
        return self.head_name is not None and name.startswith(f"{self.head_name}.")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Only through `init`: its functions leave alone what was just loaded from a checkpoint.
        std = self.config.initializer_range
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, FahrFaceEmbeddings):
            grid = self.config.image_size // self.config.patch_size
            init.copy_(module.position_embeddings, sine_cosine_positions(self.config.hidden_size, grid))
            init.trunc_normal_(module.cls_token, std=std)
            # As a linear layer of patch_size**2 * channels inputs (He et al. 2022), not as a convolution.
            bound = (6 / (module.patch_projection.weight[0].numel() + self.config.hidden_size)) ** 0.5
            init.uniform_(module.patch_projection.weight, -bound, bound)
            if module.patch_projection.bias is not None:
                init.zeros_(module.patch_projection.bias)
        elif isinstance(module, FahrFaceDecoder):
            grid = self.config.image_size // self.config.patch_size
            init.copy_(module.position_embeddings, sine_cosine_positions(self.config.decoder_hidden_size, grid))
            init.trunc_normal_(module.mask_token, std=std)

    @torch.no_grad()
    def reset_head(self) -> None:
        """Initialise the head (of the pre-training model: the decoder) at random again.

        Raises:
            ValueError: the backbone alone has none.
        """
        if self.head_name is None:
            raise ValueError(f"{type(self).__name__} has no head to reset.")
        for module in getattr(self, self.head_name).modules():
            for parameter in module.parameters(recurse=False):
                # The mark that from_pretrained leaves on loaded weights would protect them from `init`.
                parameter._is_hf_initialized = False
            self._init_weights(module)

    def train(self, mode: bool = True) -> Any:
        """Put the model into training mode, which drops `config.calibration`, or with False into evaluation mode.

        What was fitted on answers of these weights, such as interval tables, says nothing about those they become.
        Every training loop passes here, so that no fine-tuned checkpoint carries the tables of the one it came from;
        `fahr-hf calibrate` gives it its own.

        Batch normalisation that is frozen keeps the statistics it was trained with: they would otherwise follow the
        photos of a run that trains the head or adapters alone.
        """
        if mode:
            self.config.calibration = None
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self

    def freeze_backbone(self) -> None:
        """Stop gradients into everything but the head; `unfreeze_backbone` lifts it."""
        self._set_backbone_requires_grad(False)

    def unfreeze_backbone(self) -> None:
        """Let gradients into the backbone again."""
        self._set_backbone_requires_grad(True)

    def _set_backbone_requires_grad(self, requires_grad: bool) -> None:
        for name, parameter in self.named_parameters():
            if not self._is_head(name):
                parameter.requires_grad_(requires_grad)

    def layer_groups(self) -> dict[str, list[tuple[str, nn.Parameter]]]:
        """All parameters in the order of the forward pass: `embeddings`, `layers.0` ... , `norm`, and the head.

        The final normalisation stands with the head, as it does in fine-tuning recipes; under `FahrFaceModel`, which
        has no head, it is a group of its own.

        Returns:
            Group name to (parameter name, parameter) pairs. Every parameter is in exactly one group.
        """
        last = self.head_name or "norm"
        names = ["embeddings", *(f"layers.{i}" for i in range(self.config.num_hidden_layers)), last]
        groups: dict[str, list[tuple[str, nn.Parameter]]] = {name: [] for name in names}
        for name, parameter in self.named_parameters():
            inside = name.removeprefix(f"{self.base_model_prefix}.")
            group = ".".join(inside.split(".")[:2]) if inside.startswith("layers.") else inside.split(".")[0]
            groups[last if group == "norm" else group].append((name, parameter))
        return groups

    def parameter_groups(self, lr: float, layer_decay: float = 1.0, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Groups for a torch optimizer with layer-wise learning rates (Clark et al. 2020).

        Args:
            lr: Learning rate of the head, positive.
            layer_decay: Factor from one layer group to the one before it, in (0, 1]; 1 gives every layer `lr`.
            weight_decay: For weight matrices; biases, normalisations, [CLS], mask token and positions get none.

        Returns:
            Dictionaries with `name`, `params`, `lr` and `weight_decay`; frozen parameters are left out.

        Raises:
            ValueError: a rate out of range.
        """
        if not lr > 0 or not 0 < layer_decay <= 1 or not weight_decay >= 0:
            raise ValueError(
                f"Expected lr > 0, 0 < layer_decay <= 1 and weight_decay >= 0, got {lr}, {layer_decay}, {weight_decay}."
            )
        result = []
        groups = self.layer_groups()
        for depth, (name, members) in enumerate(groups.items()):
            trainable = [(key, p) for key, p in members if p.requires_grad]
            decayed = [p for key, p in trainable if _is_decayed(key, p)]
            plain = [p for key, p in trainable if not _is_decayed(key, p)]
            rate = lr * layer_decay ** (len(groups) - 1 - depth)
            for suffix, params, decay in (("", decayed, weight_decay), (".no_decay", plain, 0.0)):
                if params:
                    result.append({"name": name + suffix, "params": params, "lr": rate, "weight_decay": decay})
        return result


def _is_decayed(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim > 1 and not name.endswith(("cls_token", "mask_token", "position_embeddings"))


class FahrFaceModel(FahrFacePreTrainedModel):
    """The backbone: a Vision Transformer with [CLS] on aligned face crops.

    It never masks or shuffles patches, and so gives the same features whichever checkpoint it is taken from.

    Args:
        config: The shape.
    """

    # Keys of heads are surplus here, whichever checkpoint is opened.
    _keys_to_ignore_on_load_unexpected = [r"^(decoder|age_head|survival_head)\."]

    def __init__(self, config: FahrFaceConfig):
        super().__init__(config)
        self.embeddings = FahrFaceEmbeddings(config)
        self.layers = nn.ModuleList(
            FahrFaceLayer(config, drop_path_rate=config.drop_path_rate * index / max(1, config.num_hidden_layers - 1))
            for index in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """Encode aligned crops.

        Args:
            pixel_values: (batch, channels, height, width), from `FahrFaceImageProcessor`; sides are multiples of
                `patch_size`, and positions are interpolated where they differ from `image_size`.
            **kwargs: `output_hidden_states`, `output_attentions`, `return_dict`, and what the attention
                implementation takes.

        Returns:
            `last_hidden_state` (batch, 1 + patches, width), `pooler_output` (batch, width), which is [CLS] after the
            final normalisation, and on request `hidden_states` (before that normalisation) and `attentions`.

        Raises:
            ValueError: pixel values of another shape or of an integer type.
        """
        return self.encode(self.embeddings(pixel_values), **kwargs)

    @capture_outputs(tie_last_hidden_states=False)
    def encode(self, tokens: torch.Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """The layers and the final normalisation on tokens (batch, tokens, width) that hold their positions already.

        Args:
            tokens: [CLS] first, then any subset of patches in any order.
            **kwargs: As in `forward`.

        Returns:
            As `forward`.
        """
        for layer in self.layers:
            tokens = layer(tokens, **kwargs)
        tokens = self.norm(tokens)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, pooler_output=tokens[:, 0])


class FahrFaceDecoder(nn.Module):
    """The masked autoencoder's decoder: seen tokens and mask tokens in, pixels of every patch out."""

    def __init__(self, config: FahrFaceConfig):
        super().__init__()
        width = config.decoder_hidden_size
        self.embed = nn.Linear(config.hidden_size, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.position_embeddings = nn.Parameter(torch.empty(1, 1 + config.num_patches, width))
        self.layers = nn.ModuleList(
            FahrFaceLayer(config, prefix="decoder_") for _ in range(config.decoder_num_hidden_layers)
        )
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.predict = nn.Linear(width, config.patch_size**2 * config.num_channels)

    def forward(self, latent: torch.Tensor, ids_restore: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Predicted patches.

        Args:
            latent: Encoded [CLS] and kept patches, (batch, 1 + kept, encoder width).
            ids_restore: As in `FahrFacePreTrainingOutput`, (batch, patches).
            height: Patches from top to bottom.
            width: Patches from left to right.

        Returns:
            (batch, height * width, patch_size**2 * channels).
        """
        tokens = self.embed(latent)
        cls_token, kept = tokens[:, :1], tokens[:, 1:]
        hidden = self.mask_token.to(kept.dtype).expand(len(kept), ids_restore.shape[1] - kept.shape[1], -1)
        patches = _take(torch.cat([kept, hidden], dim=1), ids_restore)
        tokens = torch.cat([cls_token, patches], dim=1)
        tokens = tokens + interpolate_positions(self.position_embeddings, height, width)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.predict(self.norm(tokens))[:, 1:]


def _take(tokens: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Tokens (batch, tokens, width) at the places `ids` (batch, k), as (batch, k, width)."""
    return tokens.gather(1, ids[:, :, None].expand(-1, -1, tokens.shape[2]))


class FahrFaceForPreTraining(FahrFacePreTrainedModel):
    """The masked autoencoder (He et al. 2022): hide most patches, encode the rest, predict the hidden pixels.

    Args:
        config: The shape; `mask_ratio`, `norm_pix_loss` and the `decoder_` arguments matter here.
    """

    head_name = "decoder"

    def __init__(self, config: FahrFaceConfig):
        if config.stem != "patch":
            raise ValueError(
                f"Masked pre-training hides patches after they have become tokens, and stem={config.stem!r} would have "
                'mixed hidden pixels into the seen ones before. Use stem="patch".'
            )
        super().__init__(config)
        self.backbone = FahrFaceModel(config)
        self.decoder = FahrFaceDecoder(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values: torch.Tensor, noise: torch.Tensor | None = None, **kwargs: Any
    ) -> FahrFacePreTrainingOutput:
        """Reconstruct hidden patches.

        Args:
            pixel_values: (batch, channels, height, width), as for `FahrFaceModel`.
            noise: (batch, patches); in each row the patches with the smallest numbers are kept. Drawn uniformly
                from the global generator when not given; give it to make a step repeatable.
            **kwargs: As for `FahrFaceModel`.

        Returns:
            Loss, predicted patches, and the mask.

        Raises:
            ValueError: noise of another shape, or no patch kept or hidden at this image size.
        """
        tokens = self.backbone.embeddings(pixel_values)
        cls_token, patches = tokens[:, :1], tokens[:, 1:]
        ids_keep, ids_restore, mask = self._random_masking(patches, noise)
        encoded = self.backbone.encode(
            torch.cat([cls_token, _take(patches, ids_keep)], dim=1), **{**kwargs, "return_dict": True}
        )
        patch = self.config.patch_size
        height, width = pixel_values.shape[2] // patch, pixel_values.shape[3] // patch
        logits = self.decoder(encoded.last_hidden_state, ids_restore, height, width)
        return FahrFacePreTrainingOutput(
            loss=self._loss(pixel_values, logits, mask),
            logits=logits,
            mask=mask,
            ids_restore=ids_restore,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )

    def _random_masking(
        self, patches: torch.Tensor, noise: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        batch, total, _ = patches.shape
        kept = int(total * (1 - self.config.mask_ratio))
        if not 1 <= kept < total:
            raise ValueError(
                f"mask_ratio {self.config.mask_ratio} of {total} patches keeps {kept}; at least one must be kept "
                "and one hidden. Take larger images."
            )
        if noise is None:
            noise = torch.rand(batch, total, device=patches.device)
        elif tuple(noise.shape) != (batch, total):
            raise ValueError(
                f"noise must have one number a patch, (batch, patches) = {(batch, total)}, got {tuple(noise.shape)}."
            )
        ids_shuffle = noise.argsort(dim=1)
        ids_restore = ids_shuffle.argsort(dim=1)
        return ids_shuffle[:, :kept], ids_restore, (ids_restore >= kept).float()

    def _loss(self, pixel_values: torch.Tensor, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Mean squared error over hidden patches, in float32 (He et al. 2022, section 3)."""
        target = self.patchify(pixel_values).float()
        if self.config.norm_pix_loss:
            variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
            target = (target - mean) / (variance + 1e-6) ** 0.5
        by_patch = (logits.float() - target).square().mean(dim=-1)
        return (by_patch * mask).sum() / mask.sum()

    def patchify(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Images (batch, channels, height, width) as patches (batch, patches, patch_size**2 * channels).

        Patches run line by line; within one, pixels run by line, column, channel. `unpatchify` is the inverse.
        """
        patch = self.config.patch_size
        batch, channels, height, width = pixel_values.shape
        grid = pixel_values.reshape(batch, channels, height // patch, patch, width // patch, patch)
        return grid.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)

    def unpatchify(self, patches: torch.Tensor, height: int | None = None, width: int | None = None) -> torch.Tensor:
        """Patches as images (batch, channels, height, width).

        Args:
            patches: (batch, patches, patch_size**2 * channels), in the order of `patchify`.
            height: Height of the images in pixels; `image_size` by default.
            width: Width of the images in pixels; `image_size` by default.

        Raises:
            ValueError: the number of patches is not that of such an image.
        """
        patch, channels = self.config.patch_size, self.config.num_channels
        height, width = height or self.config.image_size, width or self.config.image_size
        rows, columns = height // patch, width // patch
        if patches.shape[1] != rows * columns:
            raise ValueError(
                f"An image of {height} x {width} pixels has {rows * columns} patches of {patch} pixels, "
                f"got {patches.shape[1]}."
            )
        grid = patches.reshape(len(patches), rows, columns, patch, patch, channels)
        return grid.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), channels, height, width)


class FahrFaceForAgeEstimation(FahrFacePreTrainedModel):
    """FAHR-FaceAge: biological age in years from one linear layer on [CLS], as in the paper.

    How the layer's outputs become years is ours and a field of the configuration, `age_output`.

    Args:
        config: The shape; `age_output`, `min_age`, `max_age` and `age_label_sigma` matter here.
    """

    head_name = "age_head"

    def __init__(self, config: FahrFaceConfig):
        super().__init__(config)
        self.backbone = FahrFaceModel(config)
        self.age_head = nn.Linear(config.hidden_size, config.num_age_outputs)
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> FahrFaceAgeOutput:
        """Estimate ages.

        Args:
            pixel_values: (batch, channels, height, width), as for `FahrFaceModel`.
            labels: Ages in years, (batch,), for a loss. With `age_output="years"` the mean absolute error; with
                `"expectation"` the Kullback-Leibler divergence from a Gaussian around the label plus the mean
                absolute error of the expectation (Gao et al. 2018); with `"ordinal"` the binary cross-entropy of
                "above k years", summed over all k and averaged over photos (Niu et al. 2016), where the last,
                unfinished year of a label counts by the share of it that has passed.
            **kwargs: As for `FahrFaceModel`.

        Returns:
            Ages in years, logits, and a loss where there are labels.

        Raises:
            ValueError: labels of another shape.
        """
        encoded = self.backbone(pixel_values, **{**kwargs, "return_dict": True})
        logits = self.age_head(encoded.pooler_output)
        age = self._years(logits)
        return FahrFaceAgeOutput(
            loss=None if labels is None else self._loss(logits, age, labels),
            logits=logits,
            age=age,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )

    def _ages(self, device: torch.device) -> torch.Tensor:
        """The year that each output is about: an age, or with `"ordinal"` the age to be above of."""
        return self.config.min_age + torch.arange(self.config.num_age_outputs, device=device, dtype=torch.float32)

    def _years(self, logits: torch.Tensor) -> torch.Tensor:
        if self.config.age_output == "years":
            return logits[:, 0].float()
        if self.config.age_output == "ordinal":
            return self.config.min_age + logits.float().sigmoid().sum(dim=-1)
        # A product and a sum, since autocast would take a matrix product back to half precision.
        return (logits.float().softmax(dim=-1) * self._ages(logits.device)).sum(dim=-1)

    def _loss(self, logits: torch.Tensor, age: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        # (batch, 1) against (batch,) would broadcast to all pairs, and train towards the mean without an error.
        if labels.shape != age.shape:
            raise ValueError(f"labels must have the shape {tuple(age.shape)}, got {tuple(labels.shape)}.")
        labels = labels.to(age)
        if self.config.age_output == "ordinal":
            # Of a whole number of years 0 or 1; in between, so that the targets always sum to the label.
            above = (labels[:, None] - self._ages(logits.device)).clamp(0, 1)
            entropy = nn.functional.binary_cross_entropy_with_logits(logits.float(), above, reduction="none")
            return entropy.sum(dim=-1).mean()
        absolute_error = (age - labels).abs().mean()
        if self.config.age_output == "years":
            return absolute_error
        distance = (self._ages(logits.device) - labels[:, None]) / self.config.age_label_sigma
        target = (-0.5 * distance.square()).softmax(dim=-1)
        divergence = nn.functional.kl_div(logits.float().log_softmax(dim=-1), target, reduction="batchmean")
        return divergence + absolute_error


class FahrFaceForSurvival(FahrFacePreTrainedModel):
    """FAHR-FaceSurvival: a risk score from one linear layer on [CLS], learned from survival data.

    The paper trains its survival model with a ranking loss and publishes neither its formula nor its head; one linear
    layer and both losses are ours. Losses compare people within a batch, so the losses of two halves of a batch do not
    add up to that of the whole; large batches with several deaths in each serve best.

    Args:
        config: The shape; `survival_loss`, `ranking_temperature` and `cox_ties` matter here.
    """

    head_name = "survival_head"

    def __init__(self, config: FahrFaceConfig):
        super().__init__(config)
        self.backbone = FahrFaceModel(config)
        self.survival_head = nn.Linear(config.hidden_size, 1)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        duration: torch.Tensor | None = None,
        event: torch.Tensor | None = None,
        entry: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> FahrFaceSurvivalOutput:
        """Score risks.

        `transformers.Trainer` gives the labels to evaluation under `label_names=["duration", "event"]`, and "entry"
        where there is one.

        Args:
            pixel_values: (batch, channels, height, width), as for `FahrFaceModel`.
            duration: Follow-up in years, (batch,), for a loss; at least 0.
            event: 1 where the follow-up ended in death, 0 where it was censored, (batch,).
            entry: Years at which observation began, (batch,), earlier than `duration`; None if all from 0.
            **kwargs: As for `FahrFaceModel`.

        Returns:
            Risk scores, higher meaning earlier death, and a loss where there are labels.

        Raises:
            ValueError: only some of the labels, or labels out of range or of another shape.
        """
        if (duration is None) != (event is None) or (duration is None and entry is not None):
            raise ValueError("A loss needs both duration and event, and entry only beside them; leave out all or none.")
        encoded = self.backbone(pixel_values, **{**kwargs, "return_dict": True})
        logits = self.survival_head(encoded.pooler_output)
        risk = logits[:, 0].float()
        return FahrFaceSurvivalOutput(
            loss=None if duration is None or event is None else self.survival_loss(risk, duration, event, entry),
            logits=logits,
            risk=risk,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )

    def survival_loss(
        self, risk: torch.Tensor, duration: torch.Tensor, event: torch.Tensor, entry: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The configured loss of scores, of one batch or of many together.

        Args:
            risk: (n,).
            duration: (n,), as in `forward`.
            event: (n,), as in `forward`.
            entry: (n,), as in `forward`.

        Returns:
            A float32 scalar; 0 where no two people can be compared.

        Raises:
            ValueError: labels out of range or of another shape.
        """
        if self.config.survival_loss == "cox":
            return cox_loss(risk, duration, event, entry, ties=self.config.cox_ties)
        return ranking_loss(risk, duration, event, entry, temperature=self.config.ranking_temperature)


_HEAD_PREFIXES: tuple[str, ...] = tuple(
    f"{model.head_name}." for model in (FahrFaceForPreTraining, FahrFaceForAgeEstimation, FahrFaceForSurvival)
)

FahrFaceModel.register_for_auto_class("AutoModel")
FahrFaceForPreTraining.register_for_auto_class("AutoModelForPreTraining")
FahrFaceForAgeEstimation.register_for_auto_class("AutoModelForImageClassification")
FahrFaceForSurvival.register_for_auto_class("AutoModelForImageClassification")

__all__ = [
    "CheckpointError",
    "FahrFaceForAgeEstimation",
    "FahrFaceForPreTraining",
    "FahrFaceForSurvival",
    "FahrFaceModel",
    "FahrFacePreTrainedModel",
]
