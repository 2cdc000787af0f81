"""Pairs of photos as people list them, and a model's answers for them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fahr_hf.analysis.perturbation.sensitivity import ask
from fahr_hf.models.pipeline_fahr_face import FacePipeline

_COLUMNS = ("person", "condition", "before", "after")
_HALVES = ("before", "after")
_NAMED = 5
_NO_PHOTO = "no photo named"


def read_pairs(path: Path, folder: Path | None = None) -> pd.DataFrame:
    """A csv of pairs of photos.

    Args:
        path: Of the csv, with the columns `person` (may be empty: somebody unknown, a person of their own),
            `condition`, `before` and `after`: paths of photos, or URLs; one of the two may be empty. Other columns are
            left alone.
        folder: Where relative paths begin; the csv's own folder by default.

    Returns:
        These columns, texts or None; paths are no longer relative to anything but the working directory.

    Raises:
        FileNotFoundError: no such csv or folder.
        ValueError: a column is missing, there are no rows, or a row names no condition; rows count from 1.
    """
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(folder)!r} for the photos of the pairs.")
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    if missing := [name for name in _COLUMNS if name not in table.columns]:
        raise ValueError(f"{path} lacks the column {' and '.join(missing)}; it has {', '.join(table.columns)}.")
    if table.empty:
        raise ValueError(f"{path} has no rows.")
    table = table[list(_COLUMNS)].apply(lambda column: column.str.strip())
    if nameless := [number for number, name in enumerate(table["condition"], 1) if not name]:
        raise ValueError(
            f"{path} names no condition in row {', '.join(map(str, nameless[:_NAMED]))}"
            f"{' and others' if len(nameless) > _NAMED else ''}; rows are counted from 1, without the header."
        )
    base = path.parent if folder is None else folder
    for half in _HALVES:
        table[half] = [name if _is_url(name) or not name else str(base / name) for name in table[half]]
    # As objects: columns of text would turn None into NaN.
    return pd.DataFrame({name: pd.Series([text or None for text in table[name]], dtype=object) for name in _COLUMNS})


def answer_pairs(pipeline: FacePipeline, pairs: pd.DataFrame) -> pd.DataFrame:
    """A model's answers for pairs of photos; a photo that stands in several pairs is looked at once.

    Args:
        pipeline: Of ages, or of risks; for risks everybody shown must have been declared an adult.
        pairs: What `read_pairs` returned.

    Returns:
        The pairs, and `age_before`, `age_after` (years), `risk_before`, `risk_after` (NaN where there is none; of a
        photo with several faces those of the largest), and `problem`: why the pair lacks an age or, with a pipeline of
        risks, a risk, else None.
    """
    photos = list(dict.fromkeys(name for half in _HALVES for name in pairs[half].dropna()))
    answers = dict(zip(photos, map(_answer, ask(pipeline, photos)), strict=True)) if photos else {}
    table = pairs.copy()
    found = {half: [answers[name] if name else {"problem": _NO_PHOTO} for name in pairs[half]] for half in _HALVES}
    for kind in ("age", "risk"):
        for half in _HALVES:
            table[f"{kind}_{half}"] = pd.Series([answer.get(kind) for answer in found[half]], dtype=np.float64)
    table["problem"] = [_problem(*both) for both in zip(*found.values(), strict=True)]
    return table


def pairs_of(answers: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Answers of one kind, as `comparison.compare_pairs` takes them.

    Args:
        answers: What `answer_pairs` returned.
        kind: `"age"` or `"risk"`.
    """
    return answers[["person", "condition"]].assign(**{half: answers[f"{kind}_{half}"] for half in _HALVES})


def _answer(faces: list[dict[str, Any]]) -> dict[str, Any]:
    if not faces:
        return {"problem": "no face found"}
    face = faces[0]
    if "error" in face:
        return {"problem": f"unreadable: {face['error']}"}
    return face | {"problem": None if face.get("status", "ok") == "ok" else f"no risk: {face['warning']}"}


def _problem(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    named = [f"{half}: {answer['problem']}" for half, answer in zip(_HALVES, (before, after), strict=True)]
    return "; ".join(text for text, answer in zip(named, (before, after), strict=True) if answer["problem"]) or None


def _is_url(name: str) -> bool:
    return name.startswith(("http://", "https://"))
