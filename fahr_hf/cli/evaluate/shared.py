"""What the commands of `fahr-hf evaluate` share: the name of a model, what its figures come from, and JSON."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fahr_hf.reports.document import Report


def model_name(checkpoint: str) -> str:
    """What a model is called in reports and the ledger: never a path of this machine."""
    from fahr_hf.embedded import checkpoints

    folder = Path(checkpoint).resolve()
    return "/".join(folder.parts[-2:]) if folder.is_dir() and checkpoint not in checkpoints() else checkpoint


def json_text(report: "Report") -> str:
    """All numbers and tables of a report as JSON, null where there is no number."""
    tables = {table.name: table.data.to_dict(orient="records") for table in report.tables()}
    text = json.dumps({**report.numbers, "tables": tables})
    # JSON has no NaN.
    return json.dumps(json.loads(text, parse_constant=lambda _: None), indent=1)


def model_sources(checkpoint: str, data: Path) -> dict[str, Any]:
    """Hashes of code, weights and data; a model on the Hub is known by its name."""
    from fahr_hf.embedded import locate
    from fahr_hf.reports.sources import sources

    weights = Path(locate(checkpoint))
    return sources(weights=weights, data=data) if weights.is_dir() else {"weights": checkpoint, **sources(data=data)}
