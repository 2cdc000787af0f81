"""Two systems on the same photos: what differs, and whether it is more than chance.

Photos are paired, so what the two have in common, such as photos that are hard for both, cancels out. Where identities
exist, a person is one observation: the mean over the person's photos.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import permutation_test

from fahr_hf.evaluation.age_scores import drawn_by, overall, with_both_ages
from fahr_hf.resampling import ratio, resampled_sums, with_interval

# Of more than 10,000 observations fewer permutations will do: some seconds, and their mean is normal.
_PERMUTATIONS, _FLIPS = 9999, 100_000_000


@dataclass(frozen=True, eq=False)
class Comparison:
    """What came of a comparison with another system.

    Args:
        photos: How many both have an answer for.
        drawn: What bootstrap and test take as one observation, `"person"` or `"photo"`.
        figures: Indexed by the keys of `age_scores.OVERALL`: `ours` and `theirs`, each with `_low` and `_high`.
        difference: Our mean absolute error less theirs, in years, with both ends of its paired bootstrap 95 % interval;
            below 0 we are better.
        p: Two-sided, of the paired permutation test that swaps the two systems' answers.
        only_ours: `photo_id` of photos that we have an answer for and they have none.
        only_theirs: `id` of their answers without one of ours: photos without a face, or that are not in this data.
    """

    photos: int
    drawn: str
    figures: pd.DataFrame
    difference: tuple[float, float, float]
    p: float
    only_ours: list[str]
    only_theirs: list[str]


def read_other(path: Path) -> pd.DataFrame:
    """The answers of another system.

    Args:
        path: A csv file with the columns `id`, the photos' `photo_id`, and `age`, the predicted age in years; an empty
            age is no answer. Other columns are ignored.

    Returns:
        `id` (text) and `age` (float64), rows without an answer left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column is missing, an id occurs twice or is empty, or an age is no number from 0 to 150. Messages
            name lines, counted as an editor does, the heading being line 1.
    """
    table = pd.read_csv(path, dtype=str, encoding="utf-8-sig")
    missing = [name for name in ("id", "age") if name not in table.columns]
    if missing:
        raise ValueError(
            f"{path} lacks the column {' and '.join(missing)}; expected id and age, got {', '.join(table.columns)}."
        )
    ages = pd.to_numeric(table["age"], errors="coerce")
    for problem, rows in (
        ("no id", table["id"].isna()),
        ("an id that occurs twice", table["id"].notna() & table["id"].duplicated(keep=False)),
        ("an age that is no number from 0 to 150", table["age"].notna() & ~ages.between(0, 150)),
    ):
        if rows.any():
            line = int(np.flatnonzero(rows)[0])
            raise ValueError(
                f"{path} has {int(rows.sum())} rows with {problem}; the first is line {line + 2}: "
                f"id {table['id'][line]!r}, age {table['age'][line]!r}. Correct them, or take them out."
            )
    return pd.DataFrame({"id": table["id"], "age": ages})[ages.notna()].reset_index(drop=True)


def compare_systems(table: pd.DataFrame, other: pd.DataFrame) -> Comparison:
    """Score another system's answers on the same photos.

    Args:
        table: What `predictions.predict_table` returns.
        other: What `read_other` returns.

    Raises:
        ValueError: as `age_scores.with_both_ages`; or no photo is in both.
    """
    ours = with_both_ages(table)
    theirs = ours["photo_id"].map(other.set_index("id")["age"])
    both = ours.assign(theirs=theirs)[theirs.notna()]
    if both.empty:
        raise ValueError(
            f"No photo is in both: the other system has ids such as {other['id'].head(3).tolist()}, and the data "
            f"{ours['photo_id'].head(3).tolist()}."
        )
    clusters, drawn = drawn_by(both)
    figures = overall(both).join(
        overall(both.assign(predicted=both["theirs"])).rename(columns=lambda name: name.replace("value", "theirs"))
    )
    excess = ((both["predicted"] - both["age"]).abs() - (both["theirs"] - both["age"]).abs()).to_numpy()
    sums = resampled_sums(np.column_stack([excess, np.ones(len(both))]), clusters)
    observations = pd.Series(excess).groupby(clusters).mean().to_numpy()
    test = permutation_test(
        (observations,),
        np.mean,
        vectorized=True,
        permutation_type="samples",
        n_resamples=min(_PERMUTATIONS, _FLIPS // len(observations)),
        batch=max(1, 2_000_000 // len(observations)),
        random_state=0,
    )
    return Comparison(
        photos=len(both),
        drawn=drawn,
        figures=figures.rename(columns=lambda name: name.replace("value", "ours")),
        difference=with_interval(ratio(sums[:, 0], sums[:, 1])),
        p=float(test.pvalue),
        only_ours=ours.loc[theirs.isna(), "photo_id"].tolist(),
        only_theirs=other.loc[~other["id"].isin(both["photo_id"]), "id"].tolist(),
    )
