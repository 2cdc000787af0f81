"""Writing a report: one HTML file that holds everything, Markdown, and each table and picture as files of their own."""

import base64
import io
import json
import math
import re
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fahr_hf.reports.cells import MOST_ROWS, shown_table, with_index
from fahr_hf.reports.document import Picture, Report, Table

# A drawing of more bytes than this stands in the page as pixels: thousands of points make browsers slow.
_LARGEST_SVG = 600_000
_DPI = 160
_FILES = {"report.html", "report.md", "numbers.json", "tables", "figures", "models"}


def write_report(report: Report, folder: Path) -> None:
    """Write a report, in place of the one that the folder may hold.

    The same report gives the same bytes. A reader of the folder sees the old report or the new one, never half of each:
    it is written beside the folder and then renamed.

    Args:
        report: What to write.
        folder: Becomes `report.html` (pictures inside, nothing loaded from elsewhere), `report.md`, `numbers.json` (the
            report's numbers, and under `tables` every table as a list of rows), `tables/NAME.csv`,
            `figures/NAME.svg` and `figures/NAME.png`, and `models/NAME.json` where the report has models.

    Raises:
        FileExistsError: the folder holds something that is no part of a report, and would be lost.
    """
    folder = Path(folder).absolute()
    _check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
        new = Path(beside, "new")
        _write(report, new)
        if folder.exists():
            folder.rename(Path(beside, "old"))
        new.rename(folder)


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; a report needs a folder of its own.")
    if folder.is_dir() and (strange := sorted({path.name for path in folder.iterdir()} - _FILES)):
        raise FileExistsError(
            f"{folder} holds {', '.join(strange[:3])}, no part of a report; a report replaces its folder, so give it "
            "one of its own."
        )


def _write(report: Report, folder: Path) -> None:
    for inner in (folder, folder / "tables", folder / "figures"):
        inner.mkdir()
    for table in report.tables():
        with_index(table.data).to_csv(folder / "tables" / f"{table.name}.csv", index=False, lineterminator="\n")
    for picture in report.pictures():
        for kind in ("svg", "png"):
            (folder / "figures" / f"{picture.name}.{kind}").write_bytes(_draw(picture, kind))
    for name, model in report.models.items():
        (folder / "models").mkdir(exist_ok=True)
        _write_text(folder / "models" / f"{name}.json", json.dumps(model, indent=1, allow_nan=False) + "\n")
    tables = {table.name: with_index(table.data).to_dict(orient="records") for table in report.tables()}
    numbers = json.dumps(_plain({**report.numbers, "tables": tables}), indent=1, ensure_ascii=False, allow_nan=False)
    _write_text(folder / "numbers.json", numbers + "\n")
    for page in ("report.html", "report.md"):
        environment = Environment(
            loader=PackageLoader("fahr_hf.reports", "."),
            autoescape=page == "report.html",
            finalize=_without_tags if page == "report.md" else None,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters |= {"paragraphs": _paragraphs, "cell": _markdown_cell, "aligned": _aligned}
        environment.tests["table"] = lambda part: isinstance(part, Table)
        text = environment.get_template(f"{page}.jinja").render(
            report=report,
            shown=shown_table,
            drawing=lambda picture: _drawing(picture, folder / "figures"),
            most_rows=MOST_ROWS,
        )
        _write_text(folder / page, text)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _draw(picture: Picture, kind: str) -> bytes:
    buffer = io.BytesIO()
    # The salt makes identifiers in the file repeatable; matplotlib would write the time of drawing.
    with matplotlib.rc_context({"svg.hashsalt": picture.name}):
        metadata = {"Date": None} if kind == "svg" else {}
        picture.figure.savefig(buffer, format=kind, dpi=_DPI, bbox_inches="tight", metadata=metadata)
    return buffer.getvalue()


def _drawing(picture: Picture, figures: Path) -> Markup:
    """What stands in the HTML page: the drawing itself, or its pixels."""
    svg = (figures / f"{picture.name}.svg").read_text(encoding="utf-8")
    if len(svg) > _LARGEST_SVG:
        pixels = base64.b64encode((figures / f"{picture.name}.png").read_bytes()).decode()
        return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(picture.title, pixels)
    # Identifiers are unique in a page, not in a file; the XML declaration belongs to a file.
    own = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{picture.name}-", svg[svg.index("<svg") :])
    return Markup(own.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(picture.title), 1))


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def _without_tags(text: object) -> str:
    """Markdown would take `<b` for the start of a tag; `<0.001` it leaves alone."""
    return re.sub(r"<(?=[A-Za-z/!])", r"\\<", str(text))


def _markdown_cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _aligned(rows: list[list[str]], column: int) -> bool:
    """Whether a column holds numbers, which are set to the right."""
    return all(row[column][:1] in "0123456789-<" and row[column] for row in rows)


def _plain(value: Any) -> Any:
    """What JSON can hold: numpy's kinds as Python's, None for what is no finite number."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
