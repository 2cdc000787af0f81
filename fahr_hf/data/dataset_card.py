"""The card of a data set, from its source and what became of its photos."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from fahr_hf.data.sources import Source
from fahr_hf.data.splits import is_test

_TEMPLATE = Path(__file__).with_suffix(".md")

_ORDER = ("train", "validation", "calibration")
_SIZES = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B"]


def dataset_card(
    source: Source, kept: Mapping[str, int], rejected: Mapping[str, int], rule: str, options: Sequence[str]
) -> str:
    """The text of `README.md`: what the Hub and `datasets` read on top, then what people read.

    Args:
        source: What was built.
        kept: Number of photos, by part.
        rejected: Number of rows left out, by kind of reason.
        rule: How the parts were decided.
        options: Those of the command line.
    """
    total = sum(kept.values())
    parts = sorted(kept, key=lambda part: (is_test(part), _ORDER.index(part) if part in _ORDER else 0, part))
    files = [{"split": part, "path": f"data/{part}-*.parquet"} for part in parts]
    # The Hub asks for a name and an address of terms that it does not know itself.
    own_terms: dict[str, Any] = {"license_name": f"{source.name}-terms", "license_link": source.homepage}
    data = DatasetCardData(
        license=source.hub_licence,
        **(own_terms if source.hub_licence == "other" else {}),
        pretty_name=source.title,
        task_categories=["image-classification", "image-feature-extraction"],
        size_categories=[_SIZES[max(0, len(str(total)) - 3)]],
        tags=["face", "age-estimation", "biometric-data", "fahr-hf"],
        configs=[{"config_name": "default", "data_files": files}],
    )
    card = DatasetCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        source=source,
        parts={part: kept[part] for part in parts},
        total=total,
        rejected=dict(sorted(rejected.items(), key=lambda item: (-item[1], item[0]))),
        rule=rule,
        command=" ".join([source.command or f"fahr-hf data build {source.name} SOURCE OUT", *options]),
        tests=[part for part in parts if is_test(part)],
    )
    return str(card).rstrip() + "\n"
