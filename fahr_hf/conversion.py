"""Foreign checkpoints in, strictly: Hugging Face ViTMAE, the original MAE, timm ViT, and the official FAHR-Face files.

What the tensors' shapes show is read off them. What they cannot show (attention heads, layer_norm_eps, mean and
standard deviation of the pixels, alignment) comes from the source's own configuration or from the caller, is never
guessed, and is written into `conversion.json` beside the weights. Every tensor is either carried over or named there
as left out.
"""

import argparse
import hashlib
import json
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from fahr_hf.models.modeling_fahr_face import FahrFacePreTrainedModel

RECORD_NAME = "conversion.json"

# Inside a transformer layer. One name of ours, and what Hugging Face (new, old) and MAE or timm call it.
_LAYER_NAMES = {
    "attention_norm": ("layernorm_before", "norm1"),
    "attention.q_proj": ("attention.q_proj", "attention.attention.query"),
    "attention.k_proj": ("attention.k_proj", "attention.attention.key"),
    "attention.v_proj": ("attention.v_proj", "attention.attention.value"),
    "attention.out_proj": ("attention.o_proj", "attention.output.dense", "attn.proj"),
    "mlp_norm": ("layernorm_after", "norm2"),
    "mlp.up_proj": ("mlp.fc1", "intermediate.dense"),
    "mlp.down_proj": ("mlp.fc2", "output.dense"),
}
_TOP_NAMES = {
    "embeddings.cls_token": ("embeddings.cls_token", "cls_token"),
    "embeddings.position_embeddings": ("embeddings.position_embeddings", "pos_embed"),
    "embeddings.patch_projection": ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    "norm": ("layernorm", "norm"),
    "decoder.embed": ("decoder.decoder_embed", "decoder_embed"),
    "decoder.mask_token": ("decoder.mask_token", "mask_token"),
    "decoder.position_embeddings": ("decoder.decoder_pos_embed", "decoder_pos_embed"),
    "decoder.norm": ("decoder.decoder_norm", "decoder_norm"),
    "decoder.predict": ("decoder.decoder_pred", "decoder_pred"),
}
_OURS_IN_LAYER = {theirs: ours for ours, names in _LAYER_NAMES.items() for theirs in names}
_OURS_ON_TOP = {theirs: ours for ours, names in _TOP_NAMES.items() for theirs in names}
# `decoder_encoder.layer` is how current transformers releases misspell `decoder_layers` when they save ViTMAE.
_LAYER_PATTERNS = (
    (
        "decoder.layers",
        re.compile(r"(?:decoder\.decoder_layers|decoder\.decoder_encoder\.layer|decoder_blocks)\.(\d+)\.(.+)"),
    ),
    ("layers", re.compile(r"(?:encoder\.layer|layers|blocks)\.(\d+)\.(.+)")),
)
# Where trainers put the weights in a file that also holds an optimizer. In this order.
_CONTAINERS = ("model_state_dict", "state_dict", "model")
# DistributedDataParallel and torch.compile put these in front of every name.
_WRAPPERS = ("module.", "_orig_mod.")

_DECODER_SETTINGS = ("decoder_num_attention_heads", "mask_ratio", "norm_pix_loss")


class ConversionError(ValueError):
    """A source that cannot be carried over as it is; the message says which part and what to do."""


@dataclass
class _Source:
    """What a source file or folder holds, before any name is understood."""

    name: str
    tensors: dict[str, "torch.Tensor"]
    sha256: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    ignored_entries: list[str] = field(default_factory=list)


@dataclass
class ConversionReport:
    """What `convert` did; also written to `conversion.json`.

    Args:
        architecture: Name of the model class that opens the result.
        source: File name, folder name or repository.
        sha256: File name to digest of every weight file read.
        settings: Name to `{"value": ..., "from": "shapes" | "source" | "caller"}`.
        tensors: Our key to the key it came from.
        left_out: The source's keys that were not carried over, to the reason.
        ignored_entries: Entries beside the weights in the file, such as an optimizer's state.
    """

    architecture: str
    source: str
    sha256: dict[str, str]
    settings: dict[str, dict[str, Any]]
    tensors: dict[str, str]
    left_out: dict[str, str]
    ignored_entries: list[str]


def convert(
    source: str | Path,
    out: str | Path,
    *,
    num_attention_heads: int | None = None,
    layer_norm_eps: float | None = None,
    image_mean: Iterable[float] | None = None,
    image_std: Iterable[float] | None = None,
    template: str | list[list[float]] | None = None,
    decoder_num_attention_heads: int | None = None,
    mask_ratio: float | None = None,
    norm_pix_loss: bool | None = None,
    age_head: str | None = None,
    min_age: int | None = None,
    leave_out: Iterable[str] = (),
) -> ConversionReport:
    """Carry a foreign checkpoint over into a fahr-hf checkpoint folder.

    An argument that is None is taken from the source's own configuration files where it has them, and is an error
    otherwise; an argument that is given wins.

    Args:
        source: A `.pth`, `.pt`, `.bin` or `.safetensors` file, a checkpoint folder, or a Hub repository.
        out: Folder to write; must not hold a checkpoint yet.
        num_attention_heads: Attention heads of the encoder.
        layer_norm_eps: Epsilon of the layer normalisations. A trap: the original MAE code has 1e-6, the
            configurations of its Hugging Face ports say 1e-12.
        image_mean: Mean of each channel that the source was trained with, for pixels in 0..1.
        image_std: Standard deviation of each channel, likewise.
        template: Alignment the source was trained with: `"arcface"`, or the five landmarks in pixels of the crop.
        decoder_num_attention_heads: Only with a decoder: its attention heads.
        mask_ratio: Only with a decoder: share of patches it was trained to predict.
        norm_pix_loss: Only with a decoder: whether it predicts normalised pixels.
        age_head: Key, without `.weight`, of the linear layer on [CLS] that gives the age.
        min_age: Only for an age head with several outputs: the age of the first, in whole years.
        leave_out: Keys, or their first parts, to leave out knowingly, such as a classifier of another task.

    Returns:
        What was read, from where, and what was left out.

    Raises:
        ConversionError: unreadable source, unknown or missing tensors, or a setting that nothing states.
        FileExistsError: `out` holds a checkpoint already.
    """
    out = Path(out)
    if (out / "config.json").exists():
        raise FileExistsError(f"{out} holds a checkpoint already; choose another folder or remove it first.")
    loaded = _read(source)
    tensors, origin, left_out = rename(loaded.tensors, age_head=age_head, leave_out=leave_out)
    given = {
        "num_attention_heads": num_attention_heads,
        "layer_norm_eps": layer_norm_eps,
        "image_mean": None if image_mean is None else [float(value) for value in image_mean],
        "image_std": None if image_std is None else [float(value) for value in image_std],
        "template": template,
        "decoder_num_attention_heads": decoder_num_attention_heads,
        "mask_ratio": mask_ratio,
        "norm_pix_loss": norm_pix_loss,
        "min_age": min_age,
    }
    settings = _settle(tensors, given, loaded)
    values = {name: entry["value"] for name, entry in settings.items()}
    processor_values = {name: values.pop(name) for name in ("image_mean", "image_std", "template")}
    model = _build(tensors, values, loaded.name)
    processor = _processor(values["image_size"], **processor_values)
    report = ConversionReport(
        architecture=type(model).__name__,
        source=loaded.name,
        sha256=loaded.sha256,
        settings=settings,
        tensors=origin,
        left_out=left_out,
        ignored_entries=loaded.ignored_entries,
    )
    model.save_pretrained(out)
    processor.save_pretrained(out)
    (out / RECORD_NAME).write_text(json.dumps(vars(report), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return report


def parse_template(text: str) -> str | list[list[float]]:
    """A template as typed on a command line: a name, or five points `x,y` with spaces between them.

    Raises:
        ConversionError: neither of the two.
    """
    if "," not in text:
        return text
    try:
        points = [[float(number) for number in point.split(",")] for point in text.split()]
    except ValueError as error:
        raise ConversionError(f"Template {text!r} is not five points 'x,y x,y x,y x,y x,y': {error}") from error
    if [len(point) for point in points] != [2] * 5:
        raise ConversionError(f"Template {text!r} must be five points 'x,y x,y x,y x,y x,y'.")
    return points


def rename(
    tensors: Mapping[str, "torch.Tensor"], *, age_head: str | None = None, leave_out: Iterable[str] = ()
) -> tuple[dict[str, "torch.Tensor"], dict[str, str], dict[str, str]]:
    """Give a foreign state dict our key names, accounting for every tensor.

    Args:
        tensors: The source's state dict.
        age_head: As in `convert`.
        leave_out: As in `convert`.

    Returns:
        Tensors by our keys (the backbone without a prefix), our keys to the source's, and the source's keys that
        were left out to the reason.

    Raises:
        ConversionError: a tensor nobody knows, two for one place, or no backbone at all.
    """
    import torch

    root = _root(tensors)
    chosen = tuple(leave_out)
    renamed: dict[str, torch.Tensor] = {}
    origin: dict[str, str] = {}
    left_out: dict[str, str] = {}
    unknown: list[str] = []
    for key, tensor in tensors.items():
        if any(key == part or key.startswith(f"{part}.") for part in chosen):
            left_out[key] = "left out at the caller's wish"
            continue
        placed = _place(key, tensor, root, age_head)
        if placed is None:
            unknown.append(key)
            continue
        for ours, part in placed.items():
            if ours in origin:
                raise ConversionError(f"Both {origin[ours]} and {key} would become {ours}; leave one of them out.")
            renamed[ours], origin[ours] = part.contiguous(), key
    idle = [part for part in chosen if not any(k == part or k.startswith(f"{part}.") for k in left_out)]
    if idle:
        raise ConversionError(f"Asked to leave out {', '.join(idle)}, which the source does not hold.")
    if age_head is not None and "age_head.weight" not in renamed:
        raise ConversionError(f"The source has no linear layer {age_head!r}. Keys not understood: {_listed(unknown)}.")
    if unknown:
        raise ConversionError(
            f"{len(unknown)} tensors have no place in a FAHR-Face model: {_listed(unknown)}. If one is the linear "
            "layer that gives the age, name it as the age head; what belongs to another task has to be left out "
            "knowingly."
        )
    return renamed, origin, left_out


def _listed(keys: list[str], most: int = 12) -> str:
    if not keys:
        return "none"
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")


def _root(tensors: Mapping[str, Any]) -> str:
    """What stands before the backbone's own names, found by the one tensor every layout has: the [CLS] token."""
    roots = [re.sub(r"(embeddings\.)?cls_token$", "", key) for key in tensors if re.search(r"(^|\.)cls_token$", key)]
    if not roots:
        raise ConversionError(
            "No cls_token among the tensors: this is not a Vision Transformer with [CLS]. "
            f"The keys begin with {_listed(list(tensors), 3)}."
        )
    if len(roots) > 1:
        raise ConversionError(
            f"Several backbones in one file, under {', '.join(repr(root) for root in roots)}; leave out all but one "
            "by saving it alone."
        )
    return roots[0]


def _place(key: str, tensor: "torch.Tensor", root: str, age_head: str | None) -> dict[str, "torch.Tensor"] | None:
    """Our keys for one of theirs: one, three for a fused qkv, or None if it is unknown."""
    stem, _, kind = key.rpartition(".")
    if age_head is not None and stem == age_head and kind in ("weight", "bias"):
        return {f"age_head.{kind}": tensor}
    # The decoder of Hugging Face's layout stands beside `vit.`, not inside it.
    outer = root.removesuffix("vit.")
    for prefix in dict.fromkeys((root, outer)):
        if not key.startswith(prefix):
            continue
        inside = key[len(prefix) :]
        for ours, pattern in _LAYER_PATTERNS:
            if match := pattern.fullmatch(inside):
                return _place_in_layer(f"{ours}.{match[1]}", match[2], tensor)
        stem, _, kind = inside.rpartition(".")
        if inside in _OURS_ON_TOP:
            return {_OURS_ON_TOP[inside]: tensor}
        if stem in _OURS_ON_TOP and kind in ("weight", "bias"):
            return {f"{_OURS_ON_TOP[stem]}.{kind}": tensor}
    return None


def _place_in_layer(layer: str, name: str, tensor: "torch.Tensor") -> dict[str, "torch.Tensor"] | None:
    stem, _, kind = name.rpartition(".")
    if kind not in ("weight", "bias"):
        return None
    if stem == "attn.qkv":
        parts = tensor.chunk(3, dim=0)
        return {f"{layer}.attention.{part}_proj.{kind}": piece for part, piece in zip("qkv", parts, strict=True)}
    if stem in _OURS_IN_LAYER:
        return {f"{layer}.{_OURS_IN_LAYER[stem]}.{kind}": tensor}
    return None


def _settle(tensors: Mapping[str, Any], given: Mapping[str, Any], source: _Source) -> dict[str, dict[str, Any]]:
    """Every setting of the result with where it comes from."""
    shown = _shapes(tensors)
    settled = {name: {"value": value, "from": "shapes"} for name, value in shown.items()}
    needed = ["num_attention_heads", "layer_norm_eps", "image_mean", "image_std", "template"]
    if "decoder_hidden_size" in shown:
        needed += _DECODER_SETTINGS
    if shown.get("age_output") == "expectation":
        needed.append("min_age")
    stated = {name: value for name, value in given.items() if value is not None}
    surplus = [name for name in stated if name not in needed]
    if surplus:
        raise ConversionError(
            f"{', '.join(surplus)} given, but the source has no part that this is about. Its parts show: "
            f"{', '.join(shown)}."
        )
    absent = [name for name in needed if name not in stated and name not in source.settings]
    if absent:
        raise ConversionError(
            f"The tensors cannot show {', '.join(absent)}, and {source.name} has no configuration that states it. "
            "Give the values the source was trained with: "
            + " ".join(f"--{name.replace('_', '-')} ..." for name in absent)
        )
    for name in needed:
        origin = "caller" if name in stated else "source"
        settled[name] = {"value": stated.get(name, source.settings.get(name)), "from": origin}
    if "hidden_act" in source.settings:
        settled["hidden_act"] = {"value": source.settings["hidden_act"], "from": "source"}
    if "min_age" in settled:
        settled["max_age"] = {
            "value": settled["min_age"]["value"] + tensors["age_head.weight"].shape[0] - 1,
            "from": "shapes",
        }
    return settled


def _shapes(tensors: Mapping[str, "torch.Tensor"]) -> dict[str, Any]:
    """What the shapes of renamed tensors show of the configuration."""
    for key in (
        "embeddings.patch_projection.weight",
        "embeddings.position_embeddings",
        "layers.0.mlp.up_proj.weight",
    ):
        if key not in tensors:
            raise ConversionError(f"The source has nothing for {key}; it is not a whole Vision Transformer.")
    width, channels, patch, patch_across = tensors["embeddings.patch_projection.weight"].shape
    patches = tensors["embeddings.position_embeddings"].shape[1] - 1
    grid = round(patches**0.5)
    if patch != patch_across or grid * grid != patches:
        raise ConversionError(
            f"Patches of {patch} x {patch_across} pixels and {patches} positions besides [CLS]: only square patches on "
            "a square grid can be carried over."
        )
    shown = {
        "hidden_size": width,
        "num_hidden_layers": _count_layers(tensors, "layers"),
        "intermediate_size": tensors["layers.0.mlp.up_proj.weight"].shape[0],
        "num_channels": channels,
        "patch_size": patch,
        "image_size": grid * patch,
        "qkv_bias": "layers.0.attention.q_proj.bias" in tensors,
    }
    if "decoder.embed.weight" in tensors and "decoder.layers.0.mlp.up_proj.weight" in tensors:
        shown |= {
            "decoder_hidden_size": tensors["decoder.embed.weight"].shape[0],
            "decoder_num_hidden_layers": _count_layers(tensors, "decoder.layers"),
            "decoder_intermediate_size": tensors["decoder.layers.0.mlp.up_proj.weight"].shape[0],
        }
    if "age_head.weight" in tensors:
        outputs = tensors["age_head.weight"].shape[0]
        shown["age_output"] = "years" if outputs == 1 else "expectation"
    return shown


def _count_layers(tensors: Iterable[str], name: str) -> int:
    pattern = re.compile(rf"{re.escape(name)}\.(\d+)\.")
    return 1 + max(int(match[1]) for key in tensors if (match := pattern.match(key)))


def _build(tensors: Mapping[str, "torch.Tensor"], values: Mapping[str, Any], source: str) -> "FahrFacePreTrainedModel":
    """The model that the renamed tensors are, loaded strictly."""
    from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
    from fahr_hf.models.modeling_fahr_face import (
        FahrFaceForAgeEstimation,
        FahrFaceForPreTraining,
        FahrFaceModel,
    )

    has_decoder = any(key.startswith("decoder.") for key in tensors)
    has_age_head = "age_head.weight" in tensors
    if has_decoder and has_age_head:
        raise ConversionError("The source holds a decoder and an age head; leave one of them out.")
    config = FahrFaceConfig(**values)
    model_class = FahrFaceForPreTraining if has_decoder else FahrFaceForAgeEstimation if has_age_head else FahrFaceModel
    model = model_class(config)
    prefix = "" if model_class is FahrFaceModel else "backbone."
    heads = ("decoder.", "age_head.")
    state = {key if key.startswith(heads) else prefix + key: tensor.float() for key, tensor in tensors.items()}
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ConversionError(f"{source} is not a whole checkpoint. {error}") from error
    return model


def _processor(image_size: int, image_mean: list[float], image_std: list[float], template: Any) -> Any:
    from fahr_hf.models.image_processing_fahr_face import ARCFACE_TEMPLATE, FahrFaceImageProcessor

    if isinstance(template, str):
        if template != "arcface":
            raise ConversionError(f"Unknown template {template!r}; expected 'arcface' or five points.")
        template = [list(point) for point in ARCFACE_TEMPLATE]
    return FahrFaceImageProcessor(
        size={"height": image_size, "width": image_size},
        image_mean=image_mean,
        image_std=image_std,
        template=template,
    )


def _read(source: str | Path) -> _Source:
    """Weights and settings of a file, a folder, or a Hub repository."""
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, path.name)
    if path.is_file():
        return _read_file(path)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)) and not path.parent.exists():
        from huggingface_hub import snapshot_download

        try:
            folder = snapshot_download(str(source), allow_patterns=["*.json", "*.safetensors", "*.bin"])
        except Exception as error:
            raise ConversionError(
                f"{source} is neither a file nor a folder, nor could it be fetched: {error}"
            ) from error
        return _read_folder(Path(folder), str(source))
    raise ConversionError(f"{source} does not exist. Expected a weight file, a checkpoint folder or a Hub repository.")


def _read_file(path: Path) -> _Source:
    tensors, ignored = _load(path)
    return _Source(path.name, tensors, {path.name: _digest(path)}, ignored_entries=ignored)


def _read_folder(folder: Path, name: str) -> _Source:
    """Weights by the names transformers and timm give them, single or sharded, and what the JSON files state."""
    for stem in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{stem}.index.json"
        if index.is_file():
            files = [folder / file for file in sorted(set(_json(index)["weight_map"].values()))]
        elif (folder / stem).is_file():
            files = [folder / stem]
        else:
            continue
        result = _Source(name, {}, {file.name: _digest(file) for file in files})
        for file in files:
            tensors, ignored = _load(file)
            result.tensors |= tensors
            result.ignored_entries += ignored
        result.settings = _stated_settings(folder)
        return result
    raise ConversionError(f"{name} holds neither model.safetensors nor pytorch_model.bin.")


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConversionError(f"{path.name} cannot be read: {error}") from error


def _stated_settings(folder: Path) -> dict[str, Any]:
    """Settings that the source's own files state and that we name alike."""
    settings: dict[str, Any] = {}
    names = ("num_attention_heads", "layer_norm_eps", "hidden_act", *_DECODER_SETTINGS)
    if (folder / "config.json").is_file():
        config = _json(folder / "config.json")
        settings |= {name: config[name] for name in names if name in config}
        # timm keeps its preprocessing in the model's configuration.
        timm = config.get("pretrained_cfg", {})
        settings |= {f"image_{name}": list(timm[name]) for name in ("mean", "std") if name in timm}
    if (folder / "preprocessor_config.json").is_file():
        processor = _json(folder / "preprocessor_config.json")
        settings |= {name: processor[name] for name in ("image_mean", "image_std") if name in processor}
    return settings


def _load(path: Path) -> tuple[dict[str, "torch.Tensor"], list[str]]:
    """Tensors of a file, without running anything it contains, and the names of its other entries."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        try:
            return _unwrap(load_file(path)), []
        except (SafetensorError, OSError) as error:
            raise ConversionError(f"{path.name} is not a readable safetensors file: {error}") from error
    try:
        # The original MAE code saves its command line, a Namespace of plain values, beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConversionError(
            f"{path.name} holds more than tensors and plain values, and is not opened, because loading such a file "
            f"can run code: {str(error).splitlines()[0]} Save its state dict alone with the code that made it."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise ConversionError(f"{path.name} is not a readable PyTorch file: {error}") from error
    if not isinstance(content, Mapping):
        raise ConversionError(f"{path.name} holds a {type(content).__name__}, expected a dictionary of tensors.")
    container = next((name for name in _CONTAINERS if isinstance(content.get(name), Mapping)), None)
    weights = content if container is None else content[container]
    ignored = [] if container is None else [str(name) for name in content if name != container]
    foreign = [str(name) for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if foreign or not weights:
        raise ConversionError(
            f"{path.name} holds no plain state dict: {_listed(foreign)} are no tensors. Expected tensors on top, or "
            f"under one of {', '.join(_CONTAINERS)}."
        )
    return _unwrap(weights), ignored


def _unwrap(tensors: Mapping[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    plain = dict(tensors)
    for wrapper in _WRAPPERS:
        if all(key.startswith(wrapper) for key in plain):
            plain = {key.removeprefix(wrapper): tensor for key, tensor in plain.items()}
    return plain


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
