"""The report on where a model looks: maps, regions, ages, checks, and other models beside it."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from fahr_hf.analysis.saliency import checks, figures, summary
from fahr_hf.analysis.saliency.faces import Faces, spread
from fahr_hf.analysis.saliency.methods import answers, saliency_maps
from fahr_hf.analysis.saliency.regions import region_labels
from fahr_hf.models.image_processing_fahr_face import FahrFaceImageProcessor
from fahr_hf.models.modeling_fahr_face import FahrFacePreTrainedModel
from fahr_hf.reports.document import Picture, Report, Section, Table
from fahr_hf.resampling import bootstrap_interval

# Photos that the checks are run on: they cost many times as much as the maps themselves.
_CHECKED = 16

_METHODS = {
    "occlusion": "occlusion: the answer less that with one square of the crop covered in grey",
    "integrated_gradients": "integrated gradients from a grey crop; the values of a map add up to the answer less that "
    "to the grey crop",
    "grad_cam": "Grad-CAM on the tokens of the last layer, each with its own gradient",
    "rollout": "attention rollout; it knows nothing of the head, so that it says where a model looks and not what it "
    "makes of it",
}
_PAPER = pd.DataFrame(
    [
        ("age", "nasolabial folds, forehead, temples (temples more from 40 years on)", "B"),
        ("survival", "under the eyes, nasal bridge", "B"),
    ],
    columns=["model", "regions", "certainty"],
)


def saliency_report(
    model: FahrFacePreTrainedModel,
    processor: FahrFaceImageProcessor,
    faces: Faces,
    name: str,
    method: str = "occlusion",
    other: FahrFacePreTrainedModel | None = None,
    again: Mapping[str, FahrFacePreTrainedModel] | None = None,
) -> Report:
    """Explain a model's answers to some faces, or to one.

    Args:
        model: A `FahrFaceForAgeEstimation` or `FahrFaceForSurvival` in evaluation mode.
        processor: Of its checkpoint.
        faces: At least one.
        name: What was explained on what, such as `"fahr-faceage-tiny on utkface, part validation"`.
        method: A key of `methods.METHODS`.
        other: Another model on the same crops, to compare with; two faces or more.
        again: The first model trained again from other seeds, by name: how alike two such models are.

    Returns:
        The report. Its `numbers` hold `name`, `method`, `unit`, `photos`, `answer` (mean), `regions` (share in per
        cent, by name), `randomised` (mean rank correlation by stage), `above_random` (deletion and insertion) and, with
        others, `comparison`.
    """
    unit = "years" if model.head_name == "age_head" else "units of risk"
    labels, pixel_values = region_labels(processor), faces.pixel_values(processor).to(model.device)
    maps = saliency_maps(model, pixel_values, method)
    table = summary.regional_table(maps, labels, faces.clusters)
    with torch.no_grad():
        answer = float(torch.cat([answers(model, batch) for batch in pixel_values.split(_CHECKED)]).mean())
    numbers = {
        "name": name,
        "method": method,
        "unit": unit,
        "photos": len(faces),
        "answer": answer,
        "regions": dict(zip(table["region"], table["share"], strict=True)),
    }
    checked = spread(len(faces), _CHECKED)
    sections = [
        _map_section(faces, maps, labels, table, "attention" if method == "rollout" else unit),
        *_age_section(faces, maps, labels),
        _check_section(model, pixel_values[checked], maps[checked], method, unit, numbers),
    ]
    compared = {**({"other": other} if other else {}), **(again or {})}
    if compared:
        others = {key: saliency_maps(value, pixel_values, method) for key, value in compared.items()}
        sections.append(_comparison_section(maps, others, labels, model.config.patch_size, faces.clusters, numbers))
    note = "What is known of it is second-hand (certainty B); its method and its statistics are not known to us."
    sections.append(Section("What the paper reports", parts=[Table("paper", "FAHR-Face", _PAPER, note)]))
    return Report(f"Saliency: {name}", _introduction(len(faces), method, answer, unit), sections, numbers)


def _introduction(photos: int, method: str, answer: float, unit: str) -> str:
    what = "One photo" if photos == 1 else f"{photos:,} photos"
    return (
        f"{what}, explained by {_METHODS[method]}. The {'answer' if photos == 1 else 'mean answer'} is {answer:.2f} "
        f"{unit}.\n\n"
        "A map says what this model's answer depends on, by one method, on these photos. It does not say what makes "
        "people age or fall ill, and a method asks with pictures that no camera takes. Ages and risks are research "
        "estimates: no medical advice, and no basis for a decision about a person."
    )


def _map_section(faces: Faces, maps: np.ndarray, labels: np.ndarray, table: pd.DataFrame, unit: str) -> Section:
    is_one = len(faces) == 1
    values = maps[0] if is_one else summary.average_map(maps)
    scale = unit if is_one else "times the average place"
    figure = figures.draw_saliency(_mean_crop(faces.crops), values, labels, table, scale)
    caption = "The face, its map, and its regions" if is_one else "The mean face, the mean map, and the regions"
    note = "The white line is where the face ends."
    if is_one and values.min() < 0:
        note += " Red places make the face look older, or the risk higher; blue ones the contrary."
    return Section(
        "Where the answer comes from",
        parts=[
            Picture("saliency", caption, figure, note),
            Table(
                "regions",
                "Regions of the face",
                table.sort_values("density", ascending=False),
                "share: per cent of the map's absolute values, mean over photos, with a 95 % interval by a bootstrap "
                "of persons; area: per cent of the crop; density: share by area, 1 as much as the average place. "
                "A map is no finer than a token, and several regions are smaller than that.",
            ),
        ],
    )


def _age_section(faces: Faces, maps: np.ndarray, labels: np.ndarray) -> list[Section]:
    groups = summary.age_groups(faces.age)
    if len(groups) < 2:
        return []
    tables = []
    for name, inside in groups.items():
        table = summary.regional_table(maps[inside], labels, faces.clusters[inside])
        tables.append(table.assign(age=name, photos=int(inside.sum())))
    columns = ["age", "photos", "region", "share", "share_low", "share_high", "density"]
    figure = figures.draw_groups(
        {name: _mean_crop(faces.crops[inside]) for name, inside in groups.items()},
        {name: summary.average_map(maps[inside]) for name, inside in groups.items()},
        labels,
    )
    return [
        Section(
            "By age",
            f"By labelled age; groups of fewer than {summary.LEAST} photos are left out.",
            [
                Picture("saliency_by_age", "Mean maps by age", figure),
                Table("regions_by_age", "Regions of the face by age", pd.concat(tables)[columns]),
            ],
        )
    ]


def _check_section(
    model: FahrFacePreTrainedModel,
    pixel_values: torch.Tensor,
    maps: np.ndarray,
    method: str,
    unit: str,
    numbers: dict[str, object],
) -> Section:
    stages = {
        stage: checks.rank_correlations(maps, saliency_maps(random, pixel_values, method))
        for stage, random in checks.randomised(model)
    }
    rows = [{"random": stage, "correlation": np.nanmean(values)} for stage, values in stages.items()]
    curves = checks.covering_curves(model, pixel_values, maps)
    areas = {name: values.mean(axis=1) for name, values in curves.items()}
    gains = {"deletion": areas["deletion"] - areas["random"], "insertion": areas["random"] - areas["insertion"]}
    covering = []
    for gain in gains.values():
        low, high = bootstrap_interval(np.mean, gain) if len(gain) >= summary.LEAST else (np.nan, np.nan)
        covering.append({"gain": gain.mean(), "gain_low": low, "gain_high": high})
    numbers["randomised"] = {row["random"]: row["correlation"] for row in rows}
    numbers["above_random"] = {name: row["gain"] for name, row in zip(gains, covering, strict=True)}
    return Section(
        "Can the maps be trusted?",
        f"Seen on {len(maps)} {'photo' if len(maps) == 1 else 'photos'}. With random weights a map has to change: a "
        "correlation near 1 would say that it shows the photo and not what was learned (Adebayo et al. 2018). And "
        "covering what a map marks has to move the answer more than covering as much at random (Petsiuk et al. 2018).",
        [
            Table(
                "randomised",
                "Rank correlation with the map of a model whose weights are random",
                pd.DataFrame(rows),
                "Spearman's, over the absolute values of a photo's pixels, mean over photos. Rollout does not see the "
                "head, and stays as it is when only that is random.",
            ),
            Picture("covering", "The answer as the crop is covered", figures.draw_curves(curves, unit)),
            Table(
                "covering",
                "How much further than in random order the answer moves",
                pd.DataFrame(covering).assign(curve=list(gains))[["curve", "gain", "gain_low", "gain_high"]],
                f"Mean distance of the curves, {unit}; positive is better than chance. 95 % interval by a bootstrap of "
                "photos.",
            ),
        ],
    )


def _comparison_section(
    maps: np.ndarray,
    others: dict[str, np.ndarray],
    labels: np.ndarray,
    side: int,
    clusters: np.ndarray,
    numbers: dict[str, object],
) -> Section:
    rows = []
    for name, values in others.items():
        found = summary.compare_maps(maps, values, labels, side, clusters)
        ends = {f"{key}{end}": part for key, three in found.items() for end, part in zip(_ENDS, three, strict=True)}
        rows.append({"model": name, **ends})
    numbers["comparison"] = {row["model"]: {key: row[key] for key in ("photos", "average", "regions")} for row in rows}
    parts: list[Table | Picture] = [
        Table(
            "comparison",
            "Correlation of the maps with those of other models",
            pd.DataFrame(rows),
            "photos: Spearman's, over the pixels of one photo, mean over photos; average: Pearson's, of the mean maps, "
            "over the tokens' places; regions: Pearson's, of the regions' densities. 95 % intervals by a bootstrap of "
            "persons.",
        )
    ]
    if "other" in others:
        table = summary.regional_differences(maps, others["other"], labels, clusters)
        parts.append(Table("differences", "Regions with the two models", table, "Per cent of the map."))
    return Section(
        "Other models on the same photos",
        "Two trainings of one model agree only so far; what differs more than that differs between the models. A low "
        "correlation alone does not make two models independent: their answers may still go together, and the method "
        "itself is noisy. Whether two models add to each other is a question to outcomes, not to maps."
        + ("" if set(others) - {"other"} else " No other training of the first model was given to compare with."),
        parts,
    )


_ENDS = ("", "_low", "_high")


def _mean_crop(crops: np.ndarray) -> np.ndarray:
    return crops.mean(axis=0).round().astype(np.uint8)
