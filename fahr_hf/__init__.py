"""fahr-hf: the open home of face-based health models on Hugging Face.

`import fahr_hf` makes the models known to transformers' Auto classes and imports nothing heavy by itself: torch and
transformers come in when a name below, or an Auto class, is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fahr_hf.registration import register_with_transformers

if TYPE_CHECKING:
    __version__: str
    from fahr_hf.conversion import ConversionError, ConversionReport, convert
    from fahr_hf.embedded import checkpoint, checkpoints
    from fahr_hf.exporting.export import export
    from fahr_hf.hub.verify import verify
    from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
    from fahr_hf.models.modeling_fahr_face import (
        FahrFaceForAgeEstimation,
        FahrFaceForPreTraining,
        FahrFaceForSurvival,
        FahrFaceModel,
    )
    from fahr_hf.models.pipeline_fahr_face import (
        FaceAgePipeline,
        FaceEmbeddingPipeline,
        FaceSurvivalPipeline,
    )
    from fahr_hf.pipelines import pipeline

_HOMES = {
    "FahrFaceConfig": "fahr_hf.models.configuration_fahr_face",
    "FahrFaceModel": "fahr_hf.models.modeling_fahr_face",
    "FahrFaceForPreTraining": "fahr_hf.models.modeling_fahr_face",
    "FahrFaceForAgeEstimation": "fahr_hf.models.modeling_fahr_face",
    "FahrFaceForSurvival": "fahr_hf.models.modeling_fahr_face",
    "FahrFaceImageProcessor": "fahr_hf.models.image_processing_fahr_face",
    "FaceAgePipeline": "fahr_hf.models.pipeline_fahr_face",
    "FaceEmbeddingPipeline": "fahr_hf.models.pipeline_fahr_face",
    "FaceSurvivalPipeline": "fahr_hf.models.pipeline_fahr_face",
    "checkpoint": "fahr_hf.embedded",
    "checkpoints": "fahr_hf.embedded",
    "pipeline": "fahr_hf.pipelines",
    "verify": "fahr_hf.hub.verify",
    "convert": "fahr_hf.conversion",
    "export": "fahr_hf.exporting.export",
    "ConversionError": "fahr_hf.conversion",
    "ConversionReport": "fahr_hf.conversion",
}

__all__ = [
    "ConversionError",
    "ConversionReport",
    "FaceAgePipeline",
    "FaceEmbeddingPipeline",
    "FaceSurvivalPipeline",
    "FahrFaceConfig",
    "FahrFaceForAgeEstimation",
    "FahrFaceForPreTraining",
    "FahrFaceForSurvival",
    "FahrFaceImageProcessor",
    "FahrFaceModel",
    "__version__",
    "checkpoint",
    "checkpoints",
    "convert",
    "export",
    "pipeline",
    "verify",
]


def __getattr__(name: str) -> Any:
    value: Any
    if name == "__version__":
        from importlib.metadata import version

        value = version("fahr-hf")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_with_transformers()
