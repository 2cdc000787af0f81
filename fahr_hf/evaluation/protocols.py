"""Published ways to test age models: which photos are scored, and what the figures can be held against."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from fahr_hf.data.crops import is_cache
from fahr_hf.data.folds import Folds
from fahr_hf.data.schema import Photo
from fahr_hf.data.sources.source import Reject
from fahr_hf.evaluation.age_scores import by_group, with_both_ages
from fahr_hf.evaluation.predictions import open_photos, predict_photos
from fahr_hf.reports.document import Section, Table

APPA_REAL = "appa_real"

_APPA_REAL_TEXT = (
    "The photos of APPA-REAL's published test split, scored against the real age. For FAHR-FaceAge its authors report "
    "a mean absolute error of 5.1 years on 6,783 photos of APPA-REAL, none of which it was trained on. We do not know "
    "which of the set's 7,591 photos these are, so a figure of the test split is not one of the same photos."
)
_FOLDS_TEXT = (
    "The test photos of the folds that Paplham and Franc published (A Call to Reflect on Evaluation Practices for Age "
    "Estimation, CVPR 2024), in which nobody is in more than one part. A fold's figure counts only for weights that "
    "saw none of its test photos: those fitted on the same fold's training photos, or on other data."
)


def predict_folds(
    checkpoint: str | os.PathLike, data: Path, database: Path, fold: int | None = None, flip: bool = False
) -> tuple[pd.DataFrame, Section]:
    """The subject-exclusive protocol: predicted ages of the folds' test photos, and the figures of each fold.

    Args:
        checkpoint: As for `predictions.predict_table`.
        data: Folder of a data set, built with or without `--folds`.
        database: JSON file of Paplham and Franc.
        fold: Which; all that the database has if not given.
        flip: As for `predictions.predict_table`.

    Raises:
        ValueError: as `Folds`, `tested_photos` and `predictions.predict_table`.
        FileNotFoundError: no data set there.
    """
    tests = tested_photos(data, _open_folds(database) if fold is None else [Folds(database, fold)])
    wanted = sorted(set().union(*tests.values()))
    table = predict_photos(checkpoint, data, pc.field("photo_id").isin(wanted), flip)
    return table, folds_section(table, tests, database.name)


def tested_photos(data: Path, folds: Sequence[Folds]) -> dict[int, set[str]]:
    """For each fold the `photo_id` of the photos that it tests on, whatever part the data set gives them.

    Args:
        data: Folder of a data set, built with or without `--folds`.
        folds: Of one database.

    Raises:
        ValueError: a crop cache, which no longer knows the files' names; or a fold tests on none of the photos.
        FileNotFoundError: no data set there.
    """
    if is_cache(data):
        raise ValueError(f"{data} holds crops, and folds go by names of files. Give the data set they were cut from.")
    columns = {"photo_id": pc.field("photo_id"), "file": pc.field("image", "path")}
    rows = open_photos(data).to_table(columns=columns).to_pylist()
    tests = {fold.fold: {row["photo_id"] for row in rows if _is_tested(fold, **row)} for fold in folds}
    for fold, photos in tests.items():
        if not photos:
            raise ValueError(
                f"Fold {fold} of {folds[0].name} tests on no photo of {data}, whose files are called as "
                f"{_path(**rows[0])}. Is it the database of this data set?"
            )
    return tests


def folds_section(table: pd.DataFrame, tests: dict[int, set[str]], database: str) -> Section:
    """Figures of each fold.

    Args:
        table: Predictions of the test photos of all folds.
        tests: What `tested_photos` returns.
        database: Its name.
    """
    scored = with_both_ages(table)
    groups = {str(fold): scored["photo_id"].isin(photos).to_numpy() for fold, photos in tests.items()}
    figures = by_group(scored, groups, "fold", figures=("mae", "bias", "cs_5"))
    note = ""
    if len(tests) > 1:
        note = (
            f"Mean of the folds' mean absolute errors: {figures['mae'].mean():.2f} years, standard deviation "
            f"{np.std(figures['mae'], ddof=1):.2f}. Folds share photos, so they are no independent repetitions."
        )
    return Section("Subject-exclusive protocol", _FOLDS_TEXT, [Table("folds", f"By fold of {database}", figures, note)])


def appa_real_section(table: pd.DataFrame) -> Section:
    """What the figures on APPA-REAL are, and what they are not.

    Raises:
        ValueError: predictions for another data set.
    """
    others = sorted(set(table["source"]) - {APPA_REAL})
    if others:
        raise ValueError(
            f"The APPA-REAL protocol is for the data set {APPA_REAL}, got {', '.join(others)}. Make it with "
            "`fahr-hf data build appa_real`."
        )
    return Section("APPA-REAL protocol", _APPA_REAL_TEXT)


def _open_folds(database: Path) -> list[Folds]:
    folds = [Folds(database, 0)]
    # That there are no more is an error.
    with suppress(ValueError):
        while True:
            folds.append(Folds(database, len(folds)))
    return folds


def _is_tested(fold: Folds, photo_id: str, file: str | None) -> bool:
    photo = fold.assign(Photo(_path(photo_id, file), photo_id))
    return not isinstance(photo, Reject) and photo.split == "test"


def _path(photo_id: str, file: str | None) -> Path:
    """As much of a photo's path as a data set keeps: folders are in its identifier, the file's name with its image."""
    path = PurePosixPath(photo_id)
    return Path(path.with_name(PurePosixPath(file).name) if file else path)
