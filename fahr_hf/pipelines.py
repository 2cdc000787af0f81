"""`fahr_hf.pipeline`: the front door to ages, risks and embeddings.

It loads our own classes directly and never code from a checkpoint; so it has no trust to ask for.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fahr_hf.embedded import default_model, locate

if TYPE_CHECKING:
    import torch
    from transformers import BaseImageProcessor, PreTrainedModel

    from fahr_hf.models.pipeline_fahr_face import FacePipeline

_BACKENDS = ("torch", "onnx", "openvino")

# A task's pipeline, and the model it loads.
_TASKS = {
    "face-age": ("FaceAgePipeline", "FahrFaceForAgeEstimation"),
    "face-survival": ("FaceSurvivalPipeline", "FahrFaceForSurvival"),
    "face-embedding": ("FaceEmbeddingPipeline", "FahrFaceModel"),
}


def pipeline(
    task: str,
    model: "str | os.PathLike | PreTrainedModel | None" = None,
    *,
    age_model: "str | os.PathLike | PreTrainedModel | None" = None,
    flip: bool = False,
    explain: bool = False,
    image_processor: "BaseImageProcessor | None" = None,
    backend: str | None = None,
    device: "int | str | torch.device | None" = None,
    dtype: "str | torch.dtype | None" = None,
    batch_size: int | None = None,
    num_workers: int | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> "FacePipeline":
    """A pipeline for photos of faces.

    Args:
        task: `"face-age"`, `"face-survival"` or `"face-embedding"`.
        model: Name of an embedded checkpoint (see `fahr_hf.checkpoints`), folder, name on the Hub
            (`"org/name"`), or a model. By default the embedded checkpoint of the task. A folder with the
            name of an embedded checkpoint is meant by `"./name"`. A folder of `fahr_hf.export` is opened by the
            runtime that it was exported to, on the CPU.
        age_model: For `"face-survival"`: the model whose ages decide about refusals, in the same ways; by
            default that of `"face-age"`.
        flip: For `"face-age"`: average the ages of each crop and its mirror image; see `FaceAgePipeline`.
        explain: For `"face-age"` and `"face-survival"`: answer with `saliency` too, a map of the aligned crop that says
            how much each place adds to the age or risk. It takes about 50 times as long.
        image_processor: In place of the checkpoint's own, for instance one with `do_detect=False` for
            aligned crops.
        backend: `"torch"`, `"onnx"` or `"openvino"`: demand that the model is of this kind. There is no need to: a
            folder says what it holds.
        device: As in transformers; by default the first accelerator, or the CPU.
        dtype: Of the model's computation; float32 by default. In `"bfloat16"` a convolutional stem still computes in
            float32; ages of `fahr-faceage-tiny` moved by 0.01 years on average and 0.07 at most
            (`benchmarks/results/export.md`). Of exported models OpenVINO's can also compute in bfloat16, where the
            processor has it.
        batch_size: Faces that the model sees at once; by default 32, on a CPU 16.
        num_workers: Threads that read photos and find faces, on an accelerator while the model works; by default as
            many as there are CPU cores, at most 16.
        revision: Branch, tag or commit on the Hub.
        token: Token for a private repository on the Hub.

    Returns:
        A `FaceAgePipeline`, `FaceSurvivalPipeline` or `FaceEmbeddingPipeline`; call it with photos.

    Raises:
        ValueError: an unknown task or name, a task without default weights, or a checkpoint that is damaged
            or made for something else.
        OSError: a checkpoint that the Hub does not have, or that cannot be reached.
        ImportError: OpenCV, or the runtime of an exported model, is not installed.

    Examples:
        >>> age = fahr_hf.pipeline("face-age")  # doctest: +SKIP
        >>> age("photo.jpg")[0]["age"]  # doctest: +SKIP
        41.8
    """
    if task not in _TASKS:
        raise ValueError(f"Unknown task {task!r}; the tasks are {', '.join(_TASKS)}.")
    if age_model is not None and task != "face-survival":
        raise ValueError(f"age_model belongs to the task 'face-survival' alone; {task!r} takes model=.")
    if flip and task != "face-age":
        raise ValueError(f"flip belongs to the task 'face-age' alone, got it with {task!r}.")
    if explain and task == "face-embedding":
        raise ValueError("explain is about one number, an age or a risk; 'face-embedding' answers with a vector.")
    from fahr_hf.exporting.running import open_exported, read_record
    from fahr_hf.models import pipeline_fahr_face
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor

    kwargs: dict[str, Any] = {"device": device, "batch_size": batch_size, "num_workers": num_workers}
    hub = {"revision": revision, "token": token}
    if model is None or isinstance(model, str | os.PathLike):
        source = locate(default_model(task) if model is None else model)
        exported = read_record(source)
        _check_backend(source, backend, exported["format"] if exported else "torch")
        if exported:
            kwargs["device"] = _cpu(source, device)
            model = open_exported(source, dtype)
            processor = image_processor or FahrFaceImageProcessor.from_pretrained(source)
        else:
            model, processor = _load(task, source, image_processor, dtype, hub)
    elif backend is not None:
        raise ValueError(f"backend={backend!r} is about a folder or a name; a {type(model).__name__} is open already.")
    else:
        processor = image_processor or _processor_of(model)
    if task == "face-age":
        kwargs["flip"] = flip
    if task != "face-embedding":
        kwargs["explain"] = explain
    if task == "face-survival":
        kwargs["age_pipeline"] = pipeline("face-age", age_model, device=device, dtype=dtype)
    return getattr(pipeline_fahr_face, _TASKS[task][0])(model=model, image_processor=processor, task=task, **kwargs)


def _check_backend(source: str, backend: str | None, found: str) -> None:
    if backend is not None and backend not in _BACKENDS:
        raise ValueError(f"Unknown backend {backend!r}; the backends are {', '.join(_BACKENDS)}.")
    if backend not in (None, found):
        raise ValueError(
            f"backend={backend!r} was demanded, and {source!r} holds a model of the backend {found!r}. `fahr-hf export "
            f"CHECKPOINT --format {backend}` makes a folder for it; without backend= the folder itself decides."
        )


def _cpu(source: str, device: "int | str | torch.device | None") -> str:
    if device not in (None, -1) and str(device) != "cpu":
        raise ValueError(f"{source!r} holds an exported model, which runs on the CPU, got device={device!r}.")
    return "cpu"


def _load(
    task: str,
    source: str,
    processor: "BaseImageProcessor | None",
    dtype: "str | torch.dtype | None",
    hub: dict[str, Any],
) -> "tuple[PreTrainedModel, BaseImageProcessor]":
    from safetensors import SafetensorError
    from transformers import PreTrainedConfig

    from fahr_hf.models import modeling_fahr_face
    from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor

    is_folder = Path(source).is_dir()
    try:
        config, _ = PreTrainedConfig.get_config_dict(source, **hub)
        if config.get("model_type") != FahrFaceConfig.model_type:
            raise ValueError(f"its model_type is {config.get('model_type')!r}, expected {FahrFaceConfig.model_type!r}")
        model_class = getattr(modeling_fahr_face, _TASKS[task][1])
        model = model_class.from_pretrained(source, **({"dtype": dtype} if dtype else {}), **hub)
        return model, processor or FahrFaceImageProcessor.from_pretrained(source, **hub)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, OSError) and not is_folder:
            raise
        raise ValueError(
            f"{source!r} is not a checkpoint that {task} can use: {error}\nA checkpoint holds config.json, "
            "model.safetensors and preprocessor_config.json of a FAHR-Face model; save or download it again."
        ) from error


def _processor_of(model: "PreTrainedModel") -> "BaseImageProcessor":
    """The processor of the checkpoint that a model was loaded from."""
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor

    source = getattr(model, "name_or_path", "")
    if not source:
        raise ValueError(
            f"A {type(model).__name__} that was not loaded from a checkpoint does not say how its photos are "
            "cropped and normalised. Pass image_processor=."
        )
    return FahrFaceImageProcessor.from_pretrained(source, revision=getattr(model.config, "_commit_hash", None))
