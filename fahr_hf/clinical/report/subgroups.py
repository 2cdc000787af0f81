"""Subgroups: does a score mean the same in everybody?"""

import numpy as np
import pandas as pd

from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.forest import draw_forest
from fahr_hf.clinical.report.study import Study
from fahr_hf.clinical.subgroups import subgroup_analysis

_NOTE = (
    "Adjusted like the multivariable model, on complete cases. p: Wald test in the subgroup. p interaction: one "
    "likelihood-ratio test a variable of whether its hazard ratios differ; p holm: the same, adjusted for the number "
    "of variables by Holm's method."
)

# A column of more different numbers than this is no column of groups.
_NUMBERS = 20


def subgroup_chapter(study: Study) -> Chapter:
    """A forest plot of each score, with tests of interaction."""
    chapter = Chapter("Subgroups")
    if not study.settings.subgroups:
        chapter.say("No subgroups were named.")
        return chapter
    people, columns = study.complete, []
    for column in study.settings.subgroups:
        groups = _groups_of(people, column)
        columns.append(str(groups.name))
        people = people.assign(**{columns[-1]: groups})
    for name, exposure in (("FaceAge", study.face_age), ("FaceSurvival", study.face_survival)):
        if exposure is None:
            continue
        with chapter.attempt(f"subgroups of {name}"):
            settings = study.settings
            table = subgroup_analysis(
                people, settings.duration, settings.event, exposure, columns, study.adjustment, entry=settings.entry
            )
            everybody = study.predictor([exposure, *study.adjustment], people)
            overall = pd.concat([everybody.summary.iloc[0], pd.Series({"n": everybody.n, "events": everybody.events})])
            unit = "FaceAge per decade" if name == "FaceAge" else "FaceSurvival per SD"
            figure = draw_forest(table, overall, unit)
            note = "Squares grow with the number of events; the dashed line is the hazard ratio of everybody."
            chapter.picture(f"subgroups_{name.lower()}", f"{unit} in subgroups", figure, note)
            chapter.table(f"subgroups_{name.lower()}", f"{unit} in subgroups", table, _NOTE)
            chapter.numbers[name] = table.to_dict(orient="records")
    if chapter.numbers:
        chapter.methods.append(
            f"Subgroups were {', '.join(columns)}; differences between them were tested by one likelihood-ratio test "
            "of interaction a variable, adjusted by Holm's method."
        )
    return chapter


def _groups_of(people: pd.DataFrame, column: str) -> pd.Series:
    """A column as groups, named as it is; numbers of more than 20 values are split at their median, and named so.

    Missing stays missing.
    """
    values = people[column]
    if not pd.api.types.is_numeric_dtype(values) or values.nunique() <= _NUMBERS:
        return values
    middle = values.median()
    names = [f"up to {middle:g}", f"above {middle:g}"]
    codes = np.where(values.isna(), -1, values > middle)
    return pd.Series(pd.Categorical.from_codes(codes, names), values.index, name=f"{column} (halves)")
