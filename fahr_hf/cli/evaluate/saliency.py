"""`fahr-hf evaluate saliency CHECKPOINT DATA`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fahr_hf.cli.evaluate.shared import model_name, model_sources

if TYPE_CHECKING:
    from fahr_hf.analysis.saliency.faces import Faces
    from fahr_hf.models.modeling_fahr_face import FahrFacePreTrainedModel
    from fahr_hf.models.pipeline_fahr_face import FacePipeline


class Method(StrEnum):
    """How answers are explained."""

    occlusion = "occlusion"
    integrated_gradients = "integrated_gradients"
    grad_cam = "grad_cam"
    rollout = "rollout"


def saliency(
    checkpoint: Annotated[str, typer.Argument(help="Age or survival model: embedded, a folder, or org/name.")],
    data: Annotated[Path, typer.Argument(help="Crops (`fahr-hf data crops`), or one photo.")],
    out: Annotated[Path, typer.Option(help="Folder of the report; a report that is there is replaced.")],
    part: Annotated[str, typer.Option(help="Part of the crops to look at; no test part.")] = "validation",
    photos: Annotated[int, typer.Option(min=2, help="At most so many, spread evenly over the part.")] = 200,
    method: Annotated[Method, typer.Option(help="How answers are explained.")] = Method.occlusion,
    other: Annotated[str | None, typer.Option(help="Another model to compare maps with.")] = None,
    again: Annotated[
        list[str] | None, typer.Option(help="CHECKPOINT trained again from another seed, to compare with; repeat.")
    ] = None,
    adult: Annotated[
        bool, typer.Option("--adult", help="Declare that the photo shows an adult; a survival model demands it.")
    ] = False,
) -> None:
    """Show which places of a face an age or a risk depends on.

    Maps on the aligned crop, summed over regions of the face; mean maps by age; and whether the maps can be trusted:
    they have to change with random weights, and what they mark has to matter to the answer. Of one photo, the largest
    face is explained. The models of --other and --again have to cut crops as CHECKPOINT does; where they answer in
    other units, such as risk and years, maps are compared as shares.

    Maps explain a model, not a person.
    """
    from transformers.utils import logging

    from fahr_hf.analysis.saliency.faces import check_same_cut
    from fahr_hf.analysis.saliency.report import saliency_report
    from fahr_hf.reports.writing import write_report

    logging.disable_progress_bar()
    model = _open(checkpoint)
    others = {name: _open(name) for name in (*([other] if other else []), *(again or []))}
    if others and data.is_file():
        raise ValueError(f"--other and --again compare maps of many photos, and {data} is one file. Give crops.")
    for name, one in others.items():
        check_same_cut(model.image_processor, one.image_processor, name)
    faces = _read([model, *others.values()], data, part, photos, adult)
    where = "one photo" if data.is_file() else f"{data.name}, part {part}"
    report = saliency_report(
        _model(model),
        model.image_processor,
        faces,
        f"{model_name(checkpoint)} on {where}",
        method.value,
        _model(others[other]) if other else None,
        {f"seed {number}": _model(others[name]) for number, name in enumerate(again or [], 1)},
    )
    report.numbers["sources"] = model_sources(checkpoint, data)
    write_report(report, out)
    _tell(report.numbers, out)


def _open(checkpoint: str) -> "FacePipeline":
    from fahr_hf.embedded import locate
    from fahr_hf.models.configuration_fahr_face import FahrFaceConfig
    from fahr_hf.pipelines import pipeline

    is_survival = "FahrFaceForSurvival" in (FahrFaceConfig.from_pretrained(locate(checkpoint)).architectures or ())
    return pipeline("face-survival" if is_survival else "face-age", checkpoint)


def _model(opened: "FacePipeline") -> "FahrFacePreTrainedModel":
    # transformers does not tell what kind of model a pipeline holds.
    return cast("FahrFacePreTrainedModel", opened.model)


def _read(models: "list[FacePipeline]", data: Path, part: str, photos: int, adult: bool) -> "Faces":
    from fahr_hf.analysis.saliency.faces import read_face, read_faces
    from fahr_hf.data.splits import is_test
    from fahr_hf.models.pipeline_fahr_face import FaceSurvivalPipeline

    model = models[0]
    if data.is_file():
        if isinstance(model, FaceSurvivalPipeline):
            if not adult:
                raise ValueError("A survival model needs --adult, which declares that the photo shows an adult.")
            answered: list[dict[str, Any]] = model(str(data), adult=True)
            if answered and answered[0]["status"] != "ok":
                raise ValueError(f"{data}: {answered[0]['warning']}")
        return read_face(data, model.image_processor)
    if is_test(part):
        raise ValueError(f"{part!r} is a test part, and maps are looked at to change a model. Take validation.")
    adults = any(isinstance(one, FaceSurvivalPipeline) for one in models)
    return read_faces(data, part, model.image_processor, photos, adults)


def _tell(numbers: dict[str, Any], out: Path) -> None:
    regions = sorted(numbers["regions"].items(), key=lambda item: -item[1])
    typer.echo(f"{numbers['name']}, {numbers['method']}, photos: {numbers['photos']}; per cent of the map:")
    typer.echo(", ".join(f"{region} {share:.1f}" for region, share in regions))
    typer.echo(f"{out / 'report.html'}: the report", err=True)
