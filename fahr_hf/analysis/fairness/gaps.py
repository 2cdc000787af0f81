"""The largest gap between groups at equal ages, and whether chance alone would make one as large.

Errors and risks depend on age, and groups differ in age. Labels are therefore permuted only among people of about the
same true age: every permutation leaves each group as old as it was, so a difference that comes from age alone turns up
in the permutations as it does in the data. The largest of the gaps between several groups is tested as such: it is held
against the largest gap of each permutation, whichever two groups that is between.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components
from statsmodels.stats.multitest import multipletests

from fahr_hf.evaluation.age_scores import ADULT

PERMUTATIONS = 999
"""Of the labels; the smallest p is 0.001."""

FEWER_THAN_TWO = "Fewer than two groups have figures."
"""Why a label has no gap."""

# Five years wide; minors and adults are never in one stratum, and so no age group is in one with another.
_EDGES = sorted({*range(5, 105, 5), ADULT})
# Sums in another order differ by rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Gap:
    """The largest gap.

    Args:
        gap: Of the figures of two groups at equal ages, at least 0; NaN where there is none.
        highest: Group with the higher figure, empty where there is none.
        lowest: Group with the lower figure.
        p: Of the permutation test; NaN where there is none.
        problem: Why there is none, else empty.
    """

    gap: float
    highest: str = ""
    lowest: str = ""
    p: float = np.nan
    problem: str = ""


def age_strata(age: np.ndarray) -> np.ndarray:
    """The number of each age's stratum, (n,) int: five years wide, divided at 18; those without anybody are skipped.

    Examples:
        >>> age_strata(np.array([3.0, 17.9, 18.0, 20.0]))
        array([0, 1, 2, 3])
    """
    return np.unique(np.searchsorted(_EDGES, age, side="right"), return_inverse=True)[1]


def permutations(codes: np.ndarray, strata: np.ndarray, draws: int) -> Iterator[np.ndarray]:
    """The groups of people as they are, then permuted within strata, each (n,); the same ones every time.

    Args:
        codes: Number of each person's group, (n,) int.
        strata: (n,) int.
        draws: How many permutations.
    """
    yield codes
    generator = np.random.default_rng(0)
    places = np.argsort(strata, kind="stable")
    for _ in range(draws):
        shuffled = np.empty_like(codes)
        shuffled[places] = codes[np.lexsort((generator.random(len(codes)), strata))]
        yield shuffled


def comparable(codes: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """For each group the number of the set of groups that it can be compared with at equal ages, (groups,) int.

    Two groups that share a stratum can be, and so can two that a third one connects.
    """
    counts = _counts(codes, strata)
    return connected_components(counts.T @ counts, directed=False)[1]


def adjusted_means(values: np.ndarray, codes: np.ndarray, strata: np.ndarray, draws: int) -> np.ndarray:
    """Effects of groups on means at equal ages: of the data, then of every permutation.

    They are the coefficients of least squares on groups and strata; those of comparable groups have the sum 0, so only
    differences between such groups say anything.

    Args:
        values: (n, figures), one row a person.
        codes: (n,), 0 to groups - 1.
        strata: (n,), 0 to strata - 1.
        draws: How many permutations.

    Returns:
        (figures, 1 + permutations, groups).
    """
    counts = _counts(codes, strata)
    people = counts.sum(axis=1, keepdims=True)
    sums = np.zeros((len(people), values.shape[1]))
    np.add.at(sums, strata, values)
    centred = values - (sums / people)[strata]
    # Permutations within strata change the right side of the normal equations, and never the left one.
    inverse = np.linalg.pinv(np.diag(counts.sum(axis=0)) - counts.T @ (counts / people), hermitian=True)
    groups = counts.shape[1]
    totals = [
        [np.bincount(shuffled, column, groups) for column in centred.T]
        for shuffled in permutations(codes, strata, draws)
    ]
    return np.swapaxes(np.array(totals), 0, 1) @ inverse


def excess(figures: np.ndarray) -> np.ndarray:
    """How far figures of groups are from what their ages alone lead to: the mean over data and permutations.

    A group that makes up most of its strata is compared with itself for the most part, which makes this smaller.

    Args:
        figures: (1 + permutations, groups) of any kind; NaN where a permuted group has none.
    """
    # A permutation for which a figure is not defined shows no gap.
    return np.nan_to_num(figures - np.nanmean(figures, axis=0))


def largest_gap(figures: np.ndarray, names: Sequence[str], together: np.ndarray) -> Gap:
    """The largest gap between two comparable groups, and p of the permutation test, (1 + as large) / (1 + all).

    Args:
        figures: (1 + permutations, groups), at equal ages: what `adjusted_means` or `excess` gives.
        names: Of the groups.
        together: What `comparable` gives.
    """
    sets = [np.flatnonzero(together == number) for number in np.unique(together)]
    sets = [inside for inside in sets if len(inside) > 1]
    if not sets:
        return Gap(np.nan, problem="No two groups with figures have people of about the same age.")
    ranges = np.column_stack([np.ptp(figures[:, inside], axis=1) for inside in sets])
    inside, largest = sets[int(ranges[0].argmax())], ranges.max(axis=1)
    as_large = int((largest[1:] >= largest[0] - _ROUNDING).sum())
    return Gap(
        gap=float(largest[0]),
        highest=names[inside[figures[0, inside].argmax()]],
        lowest=names[inside[figures[0, inside].argmin()]],
        p=(1 + as_large) / len(largest),
    )


def gap_table(found: Sequence[tuple[str, str, Gap]]) -> pd.DataFrame:
    """Gaps as a table, with p adjusted for the number of labels by Holm's method, for each figure on its own.

    Args:
        found: Label, figure, and what was found.

    Returns:
        `label`, `figure`, `gap`, `highest`, `lowest`, `p`, `p_holm`, `problem`.
    """
    rows = [{"label": label, "figure": figure, **vars(gap)} for label, figure, gap in found]
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("problem"), "p_holm", np.nan)
    for _, tested in table.dropna(subset=["p"]).groupby("figure"):
        table.loc[tested.index, "p_holm"] = multipletests(tested["p"], method="holm")[1]
    return table


def _counts(codes: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """People by stratum and group, (strata, groups)."""
    return pd.crosstab(strata, codes).to_numpy()
