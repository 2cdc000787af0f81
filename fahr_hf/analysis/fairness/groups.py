"""Groups of people: the words of a data set's labels, age groups, and crossings of two of them.

A label is what a data set says, often a stranger's or a classifier's word. It is no fact about a person, and two data
sets that use the same word need not mean the same.
"""

from collections.abc import Sequence
from itertools import combinations

import pandas as pd

from fahr_hf.evaluation.age_scores import ADULT, LEAST

LEAST_EVENTS = 20
"""Deaths below which a group has no figures about survival but its numbers."""

USUAL = ("sex", "race")
"""Labels that are looked for where none are named."""

_AGE = "age"
_STAGES = ("under 18", "18 to 59", "60 or older")
_MOST_WORDS = 20


def groupings(table: pd.DataFrame, labels: Sequence[str] | None = None) -> dict[str, pd.Series]:
    """Every way in which people are divided: by label, by age group, and by each two of these.

    Args:
        table: Has `age` in years, in every row, and the labels.
        labels: Columns of words; None: those of `USUAL` that have any.

    Returns:
        By name, such as `"sex"`, `"age"`, `"sex and age"`: the group of each row, as categories in their order, such as
        `"female, 18 to 59"`; missing where a label is.

    Raises:
        ValueError: no such column, no words in it, more than 20 different ones, or a label called age.

    Examples:
        >>> table = pd.DataFrame({"age": [15, 40, 70], "sex": ["male", "female", None]})
        >>> {name: groups.dropna().tolist() for name, groups in groupings(table).items()}["sex and age"]
        ['male, under 18', 'female, 18 to 59']
    """
    if labels is None:
        labels = [label for label in USUAL if label in table.columns and table[label].notna().any()]
    single = {label: _words(table, label) for label in labels}
    stages = pd.cut(table[_AGE], [0, ADULT, 60, float("inf")], right=False, labels=_STAGES)
    single[_AGE] = stages.cat.remove_unused_categories()
    return single | {f"{a} and {b}": _crossed(single[a], single[b]) for a, b in combinations(single, 2)}


def too_few(number: int, what: str, least: int = LEAST) -> str:
    """Why a group has no figures, empty where it has.

    Examples:
        >>> too_few(12, "photos")
        '12 photos, fewer than 30.'
    """
    return f"{number} {what}, fewer than {least}." if number < least else ""


def _words(table: pd.DataFrame, label: str) -> pd.Series:
    if label == _AGE:
        raise ValueError("Age groups are there without asking; name other columns as labels.")
    if label not in table.columns:
        raise ValueError(f"There is no column {label!r} of labels; the columns are {', '.join(map(str, table))}.")
    words = table[label].astype(object).map(str, na_action="ignore").astype("category")
    if not 1 <= len(words.cat.categories) <= _MOST_WORDS:
        raise ValueError(
            f"{label} has {len(words.cat.categories)} different words; a label has 1 to {_MOST_WORDS}. Leave it out, "
            "or cut a number into groups first."
        )
    return words


def _crossed(a: pd.Series, b: pd.Series) -> pd.Series:
    order = [f"{one}, {other}" for one in a.cat.categories for other in b.cat.categories]
    words = a.astype(object).str.cat(b.astype(object), sep=", ")
    return words.astype(pd.CategoricalDtype(order)).cat.remove_unused_categories()
