"""Table 1: what the people of each cohort were like, with standardised differences."""

import numpy as np
import pandas as pd

from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.study import Study

_NOTE = (
    "Numbers are mean (standard deviation), groups are people (per cent of those known). A standardised difference "
    "compares a column with the first one: the difference of means over the root of the mean of both variances, for "
    "groups the Mahalanobis distance of their shares (Yang and Dalton 2012); above 0.1 counts as a difference."
)


def table_one_chapter(study: Study) -> Chapter:
    """Characteristics by cohort; of a single cohort by part, where it has several, and else of everybody."""
    chapter = Chapter("Characteristics of the people")
    with chapter.attempt("Table 1"):
        columns = _columns(study)
        data = table_one(study, columns)
        chapter.table("table_one", f"Characteristics of {_people(columns)}", data, _NOTE if len(columns) > 1 else "")
        names = [name for name in data.columns if name.startswith("difference")]
        if names:
            chapter.numbers["standardised_differences"] = {
                name: data.loc[data[name].notna()].set_index("variable")[name].to_dict() for name in names
            }
    return chapter


def table_one(study: Study, columns: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Rows for people, events, and every variable; a column a group of people, and its difference from the first.

    Args:
        study: Says which variables there are and which are groups.
        columns: People by name.
    """
    settings = study.settings
    others = list(columns)[1:]
    numbers = {name: f"{name}, n = {len(people):,}" for name, people in columns.items()}

    def row(variable: str, level: str, texts: list[str], differences: list[float] | None = None) -> dict:
        cells = dict(zip(numbers.values(), texts, strict=True))
        apart = differences or [np.nan] * len(others)
        compared = {f"difference {name}": value for name, value in zip(others, apart, strict=True)}
        return {"variable": variable, "level": level, **cells, **compared}

    deaths = [people[settings.event] for people in columns.values()]
    rows = [row("deaths", "", [f"{died.sum():,.0f} ({died.mean():.1%})" for died in deaths])]
    groups = [column for column in settings.subgroups if column not in settings.adjustment()]
    for variable in [*settings.adjustment(), *groups, *settings.scores()]:
        # An external cohort needs no subgroups.
        values = [people[variable] if variable in people else pd.Series(dtype=object) for people in columns.values()]
        if variable in study.references or not pd.api.types.is_numeric_dtype(values[0]):
            apart = [_apart_in_groups(values[0], other) for other in values[1:]]
            rows.append(row(variable, "", [""] * len(columns), apart))
            for level in pd.unique(pd.concat(values).dropna().sort_values()):
                rows.append(row("", str(level), [_count(value == level, value.notna()) for value in values]))
        else:
            apart = [_apart(values[0], other) for other in values[1:]]
            rows.append(row(variable, "", [f"{value.mean():.2f} ({value.std():.2f})" for value in values], apart))
        if any(value.isna().any() for value in values):
            rows.append(row("", "missing", [_count(value.isna(), value.isna() | True) for value in values]))
    return pd.DataFrame(rows)


def _columns(study: Study) -> dict[str, pd.DataFrame]:
    part = study.settings.part
    if study.external:
        return {cohort.name: cohort.people for cohort in (study.development, *study.external)}
    if part is not None and study.people[part].nunique() > 1:
        return {str(name): people for name, people in study.people.groupby(part)}
    return {study.development.name: study.people}


def _people(columns: dict[str, pd.DataFrame]) -> str:
    return "the people, by cohort" if len(columns) > 1 else "the people"


def _count(chosen: pd.Series, of: pd.Series) -> str:
    return f"{chosen.sum():,} ({chosen.sum() / of.sum():.1%})" if of.any() else "-"


def _apart(first: pd.Series, other: pd.Series) -> float:
    spread = np.sqrt((first.var() + other.var()) / 2)
    return float((other.mean() - first.mean()) / spread) if spread > 0 else np.nan


def _apart_in_groups(first: pd.Series, other: pd.Series) -> float:
    """Yang and Dalton: one group follows from the others and is left out."""
    levels = pd.unique(pd.concat([first, other]).dropna().sort_values())[1:]
    if not len(levels) or not len(other.dropna()):
        return np.nan
    shares = np.array([[(column.dropna() == level).mean() for level in levels] for column in (first, other)])
    spread = sum(np.diag(share) - np.outer(share, share) for share in shares) / 2
    difference = shares[1] - shares[0]
    return float(np.sqrt(difference @ np.linalg.pinv(spread) @ difference))
