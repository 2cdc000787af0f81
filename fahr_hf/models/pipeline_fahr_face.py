"""Photos in, one dictionary a face out: age, survival and embedding as transformers pipelines.

What the three share, `FacePipeline`, differs from transformers' own pipelines in three ways: batches are
filled with faces, across photos, since a photo may hold none or many; among many photos one that cannot be
read does not end the run; and folders and data sets are accepted as they are.

The file stands alone, so that it also works as remote code inside a checkpoint.
"""

import dataclasses
import math
import os
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BaseImageProcessor, Pipeline, PreTrainedModel

# Photos as far as a folder is concerned. Formats that Pillow reads only with a plug-in are among them, so
# that a folder of phone photos answers with errors that say so, and not as if it were empty.
PHOTO_SUFFIXES = frozenset(
    (".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
)
NO_FACE = "no face found"
"""What `FacePipeline.records` says of a photo that was read and shows no face."""

MINIMUM_SURVIVAL_AGE = 25
"""Predicted age in years from which a survival risk is given; well above 18, because predictions err."""

SURVIVAL_YEARS = (1, 3, 5, 10)
"""Years after the photo at which a calibrated model gives a probability of being alive."""

_BATCH_SIZE = 32
# On a CPU larger batches gain nothing, and what lies between two layers of a stem outgrows the caches.
_BATCH_SIZE_ON_CPU = 16
# Batches that are made ready in one go on a CPU. The fewer, the more of the time one thread is still at a photo while
# the others wait for it; the more, the more crops are in memory.
_BATCHES_IN_TURN = 4
# More threads than this wait for Python's lock, and each has detectors of its own in memory.
_MOST_WORKERS = 16
# All three are ours. The crop has 112 pixels a side, so that below this most of what the model sees is
# interpolated; and the landmarks, which the crop follows, hold to about 40 degrees.
_SMALL_FACE = 40
_LARGE_ROLL = 40
LEAST_SHARPNESS = 40
"""Sharpness of a crop below which a face is warned of as blurred; about 1.5 % of photos, by `benchmarks/blur.py`."""

_NO_STANDING: dict[str, Any] = dict.fromkeys(("risk", "percentile", "cohort", "survival"))

# One dict a face; and why the photo could not be read, if so.
_Answer = tuple[list[dict[str, Any]], Exception | None]


@dataclasses.dataclass
class _Photo:
    """A photo on its way through the model: how many faces it has, and the answers so far."""

    expected: int
    faces: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    error: Exception | None = None


def photo_files(folder: str | os.PathLike[str]) -> Iterator[str]:
    """Paths of the photos in a folder, at any depth and always in the same order.

    A photo is told by its suffix (`PHOTO_SUFFIXES`); names that begin with a dot are left out.
    """
    for place, folders, files in os.walk(os.fspath(folder)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in PHOTO_SUFFIXES:
                yield str(Path(place, name))


class FacePipeline(Pipeline):
    """What the pipelines share: they answer with one dict a face, the largest face first.

    Every dict holds, beside the answer itself and as `FahrFaceImageProcessor` describes them,
    `detection_score`, `box` and `landmarks` (all None where the processor has `do_detect=False` and takes
    photos for crops), and `warning`: None, or a text that says why this answer deserves less trust.

    Args:
        model: The model; put into evaluation mode.
        image_processor: The processor of the same checkpoint.
        **kwargs: `device`, `batch_size` (faces, by default 32, on a CPU 16), `num_workers` (threads that read photos
            and find faces, by default as many as there are CPU cores, at most 16), and those of
            `transformers.Pipeline`.

    Raises:
        ValueError: no image processor, another kind of model, or a model whose head was not in its
            checkpoint.
        ImportError: the processor detects faces and OpenCV is not installed.
        TypeError: an unknown keyword.
    """

    image_processor: Any
    _load_processor: Any = False
    _load_feature_extractor: Any = False
    _load_tokenizer: Any = False
    # Were it None, transformers would look for a video processor, and stop at a question about trust.
    _load_video_processor: Any = False
    _load_image_processor: Any = True

    # The class of models that a pipeline takes, by name: as remote code, every checkpoint has classes of its own.
    model_class: str

    def __init__(self, model: PreTrainedModel, image_processor: BaseImageProcessor | None = None, **kwargs: Any):
        if image_processor is None:
            raise ValueError(
                f"{type(self).__name__} needs an image_processor, got None. Pass the one of the "
                "model's checkpoint: FahrFaceImageProcessor.from_pretrained(checkpoint)."
            )
        self._check_model(model)
        super().__init__(model=model, image_processor=image_processor, **kwargs)
        self.model.eval()
        # Among many photos an error is told with its photo; one that all would share has to show itself here.
        if self.image_processor.do_detect:
            self.image_processor.detect(np.zeros((64, 64, 3), np.uint8))

    def _check_model(self, model: PreTrainedModel) -> None:
        if self.model_class not in (parent.__name__ for parent in type(model).__mro__):
            raise ValueError(
                f"{type(self).__name__} needs a {self.model_class}, got a {type(model).__name__}. "
                "Take a checkpoint of that class."
            )
        trained = model.config.architectures
        if trained and self.model_class not in (*trained, "FahrFacePreTrainedModel"):
            raise ValueError(
                f"This {self.model_class} comes from a checkpoint of {', '.join(trained)}, so its head is "
                "new and random. Take a checkpoint of the class itself; if you have trained the head since, "
                "save the model first."
            )

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        # transformers.pipeline hands this one on although it has made use of it already.
        unknown = sorted(kwargs.keys() - {"local_files_only"})
        if unknown:
            raise TypeError(f"{type(self).__name__} has no option {', '.join(unknown)}.")
        return {}, {}, {}

    def __call__(  # type: ignore[override]
        self, inputs: Any, *, batch_size: int | None = None, num_workers: int | None = None
    ) -> Any:
        """Answer for one photo or for many.

        Args:
            inputs: One photo: a path, URL, bytes, open binary file, PIL image, numpy array (height, width,
                3) uint8, torch tensor (3, height, width) uint8, or an undecoded image of `datasets`. Or
                many: a list or tuple of these, a batch as a 4-dimensional array, a generator or other
                iterable, a `datasets` column, a `datasets` data set with a column `image`, or a folder with
                photos at any depth.
            batch_size: Faces that the model sees at once.
            num_workers: Threads that read photos and find faces: where the model has an accelerator while it works,
                by a batch ahead of it; on a CPU in turn with it, for four times as many photos as `batch_size`. 0 for
                none, each photo by itself. One photo needs none.

        Returns:
            For one photo a list, one dict a face; `[]` if it shows none. For a list, tuple or array of
            photos a list of such lists; for whatever may be long, an iterator over them, in order, with few
            photos in memory. For a folder an iterator over what `records` yields. Among many, a photo that
            cannot be read is answered by `[{"error": "..."}]`.

        Raises:
            ValueError: One photo that cannot be read; a folder without photos; a data set without `image`.
            OSError: One photo that does not exist or cannot be downloaded.
            TypeError: One photo of a kind that cannot be a photo.
        """
        options = {"batch_size": batch_size, "num_workers": num_workers}
        if isinstance(inputs, str | os.PathLike) and os.path.isdir(inputs):  # noqa: PTH112 - Path raises on long URLs
            files = photo_files(inputs)
            first = next(files, None)
            if first is None:
                raise ValueError(
                    f"The folder {os.fspath(inputs)!r} holds no photos, at no depth. A photo is told by its "
                    f"suffix: {' '.join(sorted(PHOTO_SUFFIXES))}."
                )
            return FacePipeline.records(self, chain([first], files), **options)
        photos = _photos(inputs)
        if photos is None:
            # A thread for one photo would have nothing to overlap with.
            faces, error = next(self._answers([inputs], batch_size, num_workers or 0))
            if error is not None:
                raise error
            return faces
        answers = (
            [{"error": _describe(error)}] if error else faces for faces, error in self._answers(photos, **options)
        )
        return list(answers) if isinstance(photos, list | tuple) else answers

    def records(
        self, photos: Iterable[str], *, batch_size: int | None = None, num_workers: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Answers that say which photo they belong to, for folders and tables.

        Args:
            photos: Paths or URLs.
            batch_size: As for calling the pipeline.
            num_workers: As for calling the pipeline.

        Returns:
            An iterator over `{"photo", "faces", "error"}`, in order: the path, one dict a face, and None or
            why there is no face: the photo cannot be read, or shows none (`NO_FACE`).
        """
        names: deque[str] = deque()

        def noted() -> Iterator[str]:
            for photo in photos:
                names.append(photo)
                yield photo

        return (
            {
                "photo": names.popleft(),
                "faces": faces,
                "error": _describe(error) if error else None if faces else NO_FACE,
            }
            for faces, error in self._answers(noted(), batch_size, num_workers)
        )

    def _answers(self, photos: Iterable[Any], batch_size: int | None, num_workers: int | None) -> Iterator[_Answer]:
        """The faces of each photo, or why it could not be read."""
        on_cpu = self.device.type == "cpu"
        default = _BATCH_SIZE_ON_CPU if on_cpu else _BATCH_SIZE
        size = _count("batch_size", batch_size, self._batch_size, default, least=1)
        workers = _count("num_workers", num_workers, self._num_workers, min(_cores(), _MOST_WORKERS), least=0)
        if not workers:
            prepared: Iterable[dict[str, Any] | Exception] = map(self._attempt, photos)
        elif on_cpu:
            prepared = self._prepared_in_turn(photos, workers, _BATCHES_IN_TURN * size)
        else:
            prepared = self._prepared_meanwhile(photos, workers, size + workers)
        return self._batched(prepared, size)

    def _batched(self, photos: Iterable[dict[str, Any] | Exception], size: int) -> Iterator[_Answer]:
        """The same, of preprocessed photos; batches are filled with faces across photos."""
        waiting: deque[_Photo] = deque()
        rows: deque[tuple[_Photo, dict[str, Any]]] = deque()

        def finished(everything: bool = False) -> Iterator[_Answer]:
            # Photos without a face fill no batch, and would pile up behind one that waits for its batch.
            everything = everything or len(waiting) >= 8 * size
            while len(rows) >= size or (everything and rows):
                batch = [rows.popleft() for _ in range(min(size, len(rows)))]
                answers = self._run([row for _, row in batch])
                for (photo, _), answer in zip(batch, answers, strict=True):
                    photo.faces.append(answer)
            while waiting and len(waiting[0].faces) == waiting[0].expected:
                photo = waiting.popleft()
                yield photo.faces, photo.error

        for result in photos:
            if isinstance(result, Exception):
                waiting.append(_Photo(0, error=result))
            else:
                waiting.append(_Photo(len(result["faces"])))
                for i in range(waiting[-1].expected):
                    rows.append((waiting[-1], {key: value[i : i + 1] for key, value in result.items()}))
            yield from finished()
        yield from finished(everything=True)

    def _attempt(self, photo: Any) -> dict[str, Any] | Exception:
        """One photo preprocessed, or why that failed."""
        # Decoders fail in more ways than one can list, and none of them may end a run over a folder.
        try:
            return self.preprocess(photo)
        except Exception as error:
            return error

    def _prepared_in_turn(
        self, photos: Iterable[Any], workers: int, at_once: int
    ) -> Iterator[dict[str, Any] | Exception]:
        """What `_attempt` makes of each photo, in order; while the caller works on some, no thread does.

        On a CPU the model needs the cores itself, and its threads, which wait for each other at every layer, lose more
        where they compete for a core than overlapping could gain.
        """
        stream = iter(photos)
        # Threads will do, because decoding and detection leave Python's lock alone.
        with ThreadPoolExecutor(workers) as pool:
            while several := list(islice(stream, at_once)):
                yield from list(pool.map(self._attempt, several))

    def _prepared_meanwhile(
        self, photos: Iterable[Any], workers: int, ahead: int
    ) -> Iterator[dict[str, Any] | Exception]:
        """What `_attempt` makes of each photo, in order; threads are `ahead` photos ahead of the caller at most."""
        pool = ThreadPoolExecutor(workers)
        try:
            stream = iter(photos)
            begun: deque[Future] = deque(pool.submit(self._attempt, photo) for photo in islice(stream, ahead))
            while begun:
                yield begun.popleft().result()
                begun.extend(pool.submit(self._attempt, photo) for photo in islice(stream, 1))
        finally:
            # Whoever stops early does not wait for photos that no thread has begun.
            pool.shutdown(cancel_futures=True)

    def _run(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        batch = {key: torch.cat([row[key] for row in rows]) for key in rows[0] if key != "faces"}
        return self.postprocess(self.forward({**batch, "faces": [row["faces"][0] for row in rows]}))

    def preprocess(self, input_: Any) -> dict[str, Any]:  # type: ignore[override]
        """One photo as `pixel_values` (faces, 3, height, width) and `faces`, the processor's dicts."""
        inputs = self.image_processor(_undecoded(input_))
        pixel_values = inputs["pixel_values"]
        return {"pixel_values": pixel_values, "faces": inputs.get("faces", [{} for _ in pixel_values])}

    def _maps(
        self, score: Callable[[torch.Tensor], torch.Tensor], pixel_values: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        return {"saliency": occlusion_maps(score, pixel_values, self.model.config.patch_size)}

    def _answer(self, face: dict[str, Any], *warnings: str, **values: Any) -> dict[str, Any]:
        return {
            **values,
            **{key: face.get(key) for key in ("detection_score", "box", "landmarks")},
            "warning": "; ".join((*warnings, *_doubts(face))) or None,
        }


class FaceAgePipeline(FacePipeline):
    """Biological age from faces.

    Beside what `FacePipeline` says, a face has `age`, in years, and `interval`: [low, high] in years, or None as long
    as the checkpoint is not calibrated. Of photos like those of the calibration the interval holds, unless the table in
    the checkpoint's `config.calibration` names another level, 90 % of true ages: among faces of about the same
    predicted age, and not among those of the same true age.

    Args:
        model: As for `FacePipeline`.
        image_processor: As for `FacePipeline`.
        flip: Average the ages of the crop and of its mirror image, which takes twice the time. Such ages have an
            interval table of their own; without it `interval` is None, and `warning` says so.
        explain: A face also has `saliency`, (height, width) float32 of its aligned crop: how many years older each
            place makes it look, by `occlusion_maps`. The model then works about 50 times as long.
        **kwargs: As for `FacePipeline`.

    Raises:
        ValueError: As for `FacePipeline`.

    Examples:
        >>> age = FaceAgePipeline(model=model, image_processor=processor)  # doctest: +SKIP
        >>> age("photo.jpg")[0]["age"]  # doctest: +SKIP
        41.8
    """

    model_class = "FahrFaceForAgeEstimation"

    def __init__(
        self,
        model: PreTrainedModel,
        image_processor: BaseImageProcessor | None = None,
        flip: bool = False,
        explain: bool = False,
        **kwargs: Any,
    ):
        super().__init__(model=model, image_processor=image_processor, **kwargs)
        self.flip = flip
        self.explain = explain

    def _age(self, pixel_values: torch.Tensor) -> torch.Tensor:
        age = self.model(pixel_values=pixel_values).age
        if self.flip:
            age = (age + self.model(pixel_values=pixel_values.flip(-1)).age) / 2
        return age

    def _forward(self, input_tensors: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        pixel_values = input_tensors["pixel_values"]
        maps = self._maps(self._age, pixel_values) if self.explain else {}
        return {"age": self._age(pixel_values), "faces": input_tensors["faces"], **maps}

    def postprocess(self, model_outputs: dict[str, Any]) -> list[dict[str, Any]]:  # type: ignore[override]
        """One dict a face."""
        table = (self.model.config.calibration or {}).get("age_flip" if self.flip else "age")
        doubts = ["no interval: not calibrated for flip averaging"] if self.flip and table is None else []
        faces = model_outputs["faces"]
        return [
            self._answer(face, *doubts, age=age, interval=_interval(table, age), **explained)
            for age, face, explained in zip(
                model_outputs["age"].tolist(), faces, _explained(model_outputs, len(faces)), strict=True
            )
        ]


class FaceSurvivalPipeline(FacePipeline):
    """A risk from faces of adults: a number whose order alone has a meaning, and only within its cohort.

    The number places a face within the cohort that the answer names, and says nothing reliable about a person's life.

    Beside what `FacePipeline` says, a face has:

    - `status`: `"ok"`; `"refused_minor"`, if the predicted age is below `MINIMUM_SURVIVAL_AGE`; or `"no_risk"`, if in
      calibration higher scores of this checkpoint did not go with earlier death. Without `"ok"` there is no `risk` and
      nothing that follows from it, and `warning` says why.
    - `risk`: higher means earlier death.
    - `percentile`: 0 to 100, the share of the cohort whose risk is not higher.
    - `cohort`: the name of the people that the percentile and the probabilities come from.
    - `survival`: of the cohort's people with such a risk, the share alive after 1, 3, 5 and 10 years, {years: share},
      with None beyond the cohort's follow-up. Only where the table in the checkpoint's `config.calibration` is
      `calibrated` and counts time from the photo.
    - `age` and `interval` of the age pipeline, on which the refusal rests. They verify nobody's age.
    - with `explain`, `saliency`: (height, width) float32 of the aligned crop, how much each place adds to the risk, by
      `occlusion_maps`.

    As long as the checkpoint is not calibrated, `percentile`, `cohort` and `survival` are None. The pipeline answers
    only where the caller declares adults.

    Args:
        model: As for `FacePipeline`.
        image_processor: As for `FacePipeline`.
        age_pipeline: Predicts the ages; its photos are cropped as its own processor wants them.
        explain: Answer with `saliency` too. The model then works about 50 times as long.
        **kwargs: As for `FacePipeline`.

    Raises:
        ValueError: As for `FacePipeline`; and no age pipeline.
    """

    model_class = "FahrFaceForSurvival"

    def __init__(
        self,
        model: PreTrainedModel,
        image_processor: BaseImageProcessor | None = None,
        age_pipeline: FaceAgePipeline | None = None,
        explain: bool = False,
        **kwargs: Any,
    ):
        if age_pipeline is None:
            raise ValueError(
                "FaceSurvivalPipeline needs an age_pipeline, got None: it refuses faces whose predicted age "
                f"is below {MINIMUM_SURVIVAL_AGE} years. Make a pipeline of the task 'face-age' and pass it "
                "as age_pipeline=."
            )
        super().__init__(model=model, image_processor=image_processor, **kwargs)
        self.age_pipeline = age_pipeline
        self.explain = explain

    def __call__(self, inputs: Any, *, adult: bool = False, **kwargs: Any) -> Any:  # type: ignore[override]
        """As `FacePipeline`.

        Args:
            inputs: As for `FacePipeline`.
            adult: True declares that everybody shown is an adult.
            **kwargs: As for `FacePipeline`.

        Returns:
            As `FacePipeline`.

        Raises:
            ValueError: As for `FacePipeline`; and adults were not declared.
        """
        _require_adults(adult)
        return super().__call__(inputs, **kwargs)

    def records(self, photos: Iterable[str], *, adult: bool = False, **kwargs: Any) -> Iterator[dict[str, Any]]:
        """As `FacePipeline.records`, of declared adults.

        Args:
            photos: Paths or URLs.
            adult: True declares that everybody shown is an adult.
            **kwargs: As for calling the pipeline.

        Returns:
            As `FacePipeline.records`.

        Raises:
            ValueError: adults were not declared.
        """
        _require_adults(adult)
        return super().records(photos, **kwargs)

    def preprocess(self, input_: Any) -> dict[str, Any]:  # type: ignore[override]
        """As `FacePipeline`; and `age_pixel_values`, the same faces as the age model wants them."""
        photo = _undecoded(input_)
        inputs = super().preprocess(photo)
        ours, its = self.image_processor, self.age_pipeline.image_processor
        if its.to_dict() == ours.to_dict():
            return {**inputs, "age_pixel_values": inputs["pixel_values"]}
        if not ours.do_detect:
            raise ValueError(
                "With do_detect=False a photo is one crop, made for one template and margin, and the age "
                "model's processor has other settings. Give both the same settings, or detect faces."
            )
        crops = [its.align(photo, face["landmarks"]) for face in inputs["faces"]]
        empty = np.zeros((0, its.size["height"], its.size["width"], 3), np.uint8)
        values = its.normalize_crops(np.stack(crops) if crops else empty)
        return {**inputs, "age_pixel_values": torch.from_numpy(values)}

    def _forward(self, input_tensors: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        pixel_values = input_tensors["pixel_values"]
        risk = self.model(pixel_values=pixel_values).risk
        ages = self.age_pipeline.forward({"pixel_values": input_tensors["age_pixel_values"], "faces": []})
        maps = self._maps(lambda values: self.model(pixel_values=values).risk, pixel_values) if self.explain else {}
        return {"risk": risk, "age": ages["age"], "faces": input_tensors["faces"], **maps}

    def postprocess(self, model_outputs: dict[str, Any]) -> list[dict[str, Any]]:  # type: ignore[override]
        """One dict a face."""
        faces = model_outputs["faces"]
        ages = self.age_pipeline.postprocess({"age": model_outputs["age"], "faces": faces})
        table = (self.model.config.calibration or {}).get("survival")
        answers = []
        maps = _explained(model_outputs, len(faces))
        for risk, aged, face, explained in zip(model_outputs["risk"].tolist(), ages, faces, maps, strict=True):
            status, warnings = "ok", []
            # "Not at least", since an age that is no number must not pass either.
            if not aged["age"] >= MINIMUM_SURVIVAL_AGE:
                status = "refused_minor"
                warnings = [f"refused_minor: predicted age {aged['age']:.1f}, below {MINIMUM_SURVIVAL_AGE} years"]
            elif table is not None and table["warning"] is not None:
                status, warnings = "no_risk", [table["warning"]]
            values = {
                "status": status,
                **(_standing(table, risk) if status == "ok" else _NO_STANDING),
                "age": aged["age"],
                "interval": aged["interval"],
                **(explained if status == "ok" else dict.fromkeys(explained)),
            }
            answers.append(self._answer(face, *warnings, **values))
        return answers


class FaceEmbeddingPipeline(FacePipeline):
    """Vectors from faces, by the backbone of any FAHR-Face model.

    Beside what `FacePipeline` says, a face has `embedding`: float32 (hidden_size,), [CLS] after the final
    normalisation. An embedding of a face is biometric data; this one is not made to tell persons apart.
    """

    model_class = "FahrFacePreTrainedModel"

    def _forward(self, input_tensors: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        output = self.model.base_model(pixel_values=input_tensors["pixel_values"])
        return {"embedding": output.pooler_output.float(), "faces": input_tensors["faces"]}

    def postprocess(self, model_outputs: dict[str, Any]) -> list[dict[str, Any]]:  # type: ignore[override]
        """One dict a face."""
        # Copies, since a row would otherwise keep the whole batch in memory.
        return [
            self._answer(face, embedding=vector.copy())
            for vector, face in zip(model_outputs["embedding"].numpy(), model_outputs["faces"], strict=True)
        ]


def occlusion_maps(
    score: Callable[[torch.Tensor], torch.Tensor], pixel_values: torch.Tensor, window: int
) -> torch.Tensor:
    """How much each place of a crop adds to an answer: the answer less that with the place covered.

    After Zeiler and Fergus (2014). It needs no gradients and nothing but torch, asks the model exactly what it answers,
    and has the answer's own unit. A place is covered with 0, the colour that the processor subtracts, mid-grey by
    default; the answer to a face with a grey square is not that to a face without a nose.

    Args:
        score: From `pixel_values` to one answer a crop, (n,).
        pixel_values: (n, channels, height, width).
        window: Side in pixels of the squares that are covered one at a time, side by side from the upper left.

    Returns:
        (n, height, width), the same value all over a square.
    """
    whole = score(pixel_values)
    height, width = pixel_values.shape[2:]
    maps = whole.new_zeros(len(whole), height, width)
    for top in range(0, height, window):
        for left in range(0, width, window):
            square = (..., slice(top, top + window), slice(left, left + window))
            covered = pixel_values.clone()
            covered[square] = 0
            maps[square] = (whole - score(covered))[:, None, None]
    return maps


def _explained(outputs: dict[str, Any], faces: int) -> list[dict[str, Any]]:
    """`saliency` of each face, or nothing. Copies, since a row would otherwise keep the whole batch in memory."""
    if "saliency" not in outputs:
        return [{}] * faces
    return [{"saliency": one.copy()} for one in outputs["saliency"].numpy()]


def _require_adults(adult: bool) -> None:
    if adult is not True:
        raise ValueError(
            f"Survival is refused unless everybody shown is declared an adult, got adult={adult!r}. Pass "
            f"adult=True if that is so; faces whose predicted age is below {MINIMUM_SURVIVAL_AGE} years are "
            "refused all the same."
        )


def _interval(table: dict[str, Any] | None, age: float) -> list[float] | None:
    """[low, high] in years by a table of `fahr_hf.conformal.fit_intervals`; None without one."""
    if table is None:
        return None
    i = bisect_right(table["edges"], age)
    return [max(0.0, age - table["below"][i]), age + table["above"][i]]


def _standing(table: dict[str, Any] | None, risk: float) -> dict[str, Any]:
    """A risk and what it means by a table of `fahr_hf.risk_calibration.fit_risk_table`; None of that without one."""
    if table is None:
        return {**_NO_STANDING, "risk": risk}
    survival = None
    if table["calibrated"] and table["clock"] == "time since photo":
        # As a score beyond all those of the cohort the nearest of them counts.
        seen = min(max(risk, table["quantiles"][0]), table["quantiles"][-1])
        ratio = math.exp(table["coefficient"] * (seen - table["mean"]))
        hazards = np.interp(SURVIVAL_YEARS, table["times"], table["baseline_hazard"]).tolist()
        survival = {
            years: math.exp(-hazard * ratio) if years <= table["follow_up"] else None
            for years, hazard in zip(SURVIVAL_YEARS, hazards, strict=True)
        }
    percentile = float(np.interp(risk, table["quantiles"], np.arange(101.0)))
    return {"risk": risk, "percentile": percentile, "cohort": table["cohort"], "survival": survival}


def _doubts(face: dict[str, Any]) -> list[str]:
    doubts = []
    if face.get("size", _SMALL_FACE) < _SMALL_FACE:
        doubts.append(f"small face: {face['size']:.0f} pixels, below {_SMALL_FACE}")
    if abs(face.get("roll", 0)) > _LARGE_ROLL:
        doubts.append(f"turned face: {face['roll']:.0f} degrees in the picture plane, beyond {_LARGE_ROLL}")
    if face.get("sharpness", LEAST_SHARPNESS) < LEAST_SHARPNESS:
        doubts.append(f"blurred face: sharpness {face['sharpness']:.0f}, below {LEAST_SHARPNESS}")
    return doubts


def _describe(error: Exception) -> str:
    expected = isinstance(error, ValueError | OSError | TypeError)
    return str(error) if expected else f"{type(error).__name__}: {error}"


def _count(name: str, *values: int | None, least: int) -> int:
    """The first value that was given."""
    value = next(value for value in values if value is not None)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; expected a whole number from {least} on.")
    return value


def _cores() -> int:
    """CPU cores that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _undecoded(photo: Any) -> Any:
    """A photo that can be read twice; of an image that `datasets` has not decoded its bytes, or else its path."""
    if hasattr(photo, "read"):
        return photo.read()
    if isinstance(photo, dict) and photo.keys() == {"bytes", "path"}:
        return photo["path"] if photo["bytes"] is None else photo["bytes"]
    return photo


def _photos(inputs: Any) -> Iterable[Any] | None:
    """Many photos, as something to iterate over; None where the input is one photo."""
    if isinstance(inputs, dict) and hasattr(inputs, "column_names"):
        raise ValueError(f"A data set of several splits ({', '.join(inputs)}) is too many; give one of them.")
    if isinstance(inputs, str | os.PathLike | bytes | bytearray | memoryview | dict):
        return None
    if hasattr(inputs, "ndim"):
        return list(inputs) if inputs.ndim == 4 else None
    if hasattr(inputs, "read"):
        return None
    if hasattr(inputs, "cast_column"):
        return _column(inputs, "image")
    if hasattr(inputs, "column_name") and hasattr(inputs.source, "cast_column"):
        return _column(inputs.source, inputs.column_name)
    if hasattr(inputs, "__iter__"):
        return inputs
    if hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"):
        return (inputs[i] for i in range(len(inputs)))
    return None


def _column(dataset: Any, column: str) -> Iterator[Any]:
    """A column of a `datasets` data set, its images undecoded: errors of decoding would end the iteration."""
    names = dataset.column_names
    if names is not None and column not in names:
        raise ValueError(
            f"The data set has no column {column!r}, only {', '.join(names)}. Give the column with the "
            "photos itself, such as dataset['photo']."
        )
    feature: Any = (dataset.features or {}).get(column)
    if names is not None:
        dataset = dataset.select_columns(column)
    if getattr(feature, "decode", False):
        dataset = dataset.cast_column(column, dataclasses.replace(feature, decode=False))
    return (row[column] for row in dataset)


__all__ = ["FaceAgePipeline", "FaceEmbeddingPipeline", "FacePipeline", "FaceSurvivalPipeline", "photo_files"]
