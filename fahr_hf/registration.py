"""Making our classes known to transformers' Auto classes without importing either of the two.

transformers has no entry point for plug-ins, so registration is a side effect of `import fahr_hf`; and since the Auto
classes take seconds to import, it waits until somebody else imports them.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, SupportsIndex

_MODELS = "fahr_hf.models.modeling_fahr_face"
_PIPELINES = "fahr_hf.models.pipeline_fahr_face"


class _LazyClasses(tuple):
    """Model classes registered by name, imported when an Auto class looks at them.

    The Auto classes choose from a tuple by the checkpoint's `architectures`. That choice is why both heads are
    registered as one tuple: with only one of them registered, the other's checkpoint would open as the wrong class
    with a random head.
    """

    def __iter__(self) -> Iterator[Any]:
        module = import_module(_MODELS)
        names = super().__iter__()
        return (getattr(module, name) for name in names)

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        return list(self)[index]


def _register_config(auto: ModuleType) -> None:
    from fahr_hf.models.configuration_fahr_face import FahrFaceConfig

    auto.AutoConfig.register(FahrFaceConfig.model_type, FahrFaceConfig, exist_ok=True)


def _register_models(auto: ModuleType) -> None:
    from fahr_hf.models.configuration_fahr_face import FahrFaceConfig

    for auto_class, names in (
        (auto.AutoModel, ("FahrFaceModel",)),
        (auto.AutoModelForPreTraining, ("FahrFaceForPreTraining",)),
        (auto.AutoModelForImageClassification, ("FahrFaceForAgeEstimation", "FahrFaceForSurvival")),
    ):
        auto_class.register(FahrFaceConfig, _LazyClasses(names), exist_ok=True)


def _register_processor(auto: ModuleType) -> None:
    from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
    from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor

    auto.AutoImageProcessor.register(FahrFaceConfig, slow_image_processor_class=FahrFaceImageProcessor, exist_ok=True)


def _import_pipelines(_: ModuleType) -> None:
    # Without effect where our pipelines are what imports transformers' ones.
    import_module(_PIPELINES)


def _register_pipelines(ours: ModuleType) -> None:
    from transformers import AutoModel, AutoModelForImageClassification
    from transformers.pipelines import PIPELINE_REGISTRY

    from fahr_hf.embedded import DEFAULTS, checkpoint

    for task, pipeline_class, auto_class in (
        ("face-age", ours.FaceAgePipeline, AutoModelForImageClassification),
        ("face-survival", ours.FaceSurvivalPipeline, AutoModelForImageClassification),
        ("face-embedding", ours.FaceEmbeddingPipeline, AutoModel),
    ):
        if task not in PIPELINE_REGISTRY.supported_tasks:
            default = {"model": (checkpoint(DEFAULTS[task]), "main")} if task in DEFAULTS else None
            PIPELINE_REGISTRY.register_pipeline(
                task, pipeline_class=pipeline_class, pt_model=auto_class, default=default
            )


_WHEN_IMPORTED: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.configuration_auto": _register_config,
    "transformers.models.auto.modeling_auto": _register_models,
    "transformers.models.auto.image_processing_auto": _register_processor,
    # Two steps, since our pipelines import transformers' ones.
    "transformers.pipelines": _import_pipelines,
    _PIPELINES: _register_pipelines,
}


class _Loader(importlib.abc.Loader):
    """A module's own loader, followed by our registration."""

    def __init__(self, loader: importlib.abc.Loader, register: Callable[[ModuleType], None]):
        self._loader = loader
        self._register = register

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._register(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing itself; wraps the loader of the modules that registration waits for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _WHEN_IMPORTED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, _WHEN_IMPORTED[fullname])
        return spec


def register_with_transformers() -> None:
    """Register now with what is imported already, and with the rest as soon as it is."""
    for name, register in _WHEN_IMPORTED.items():
        if name in sys.modules:
            register(sys.modules[name])
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
