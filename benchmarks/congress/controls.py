"""Negative controls: what a score should not know, and what is left of it when faces are exchanged."""

import numpy as np
import pandas as pd
from effects import effect
from known import KNOWN

from fahr_hf.resampling import bootstrap_interval

CELLS = ["birth_year", "sex"]


def predictable(people: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """How well the score predicts what no face should show: `of`, `r` with interval, `r2`."""
    rows = []
    for column in ("birth_year", "first_term", "tenure"):
        values = people["score"].to_numpy(), people[column].to_numpy(np.float64)
        r = _correlation(*values)
        low, high = bootstrap_interval(_correlation, *values, resamples=resamples)
        rows.append({"of": column.replace("_", " "), "r": r, "r_low": low, "r_high": high, "r2": r * r})
    return pd.DataFrame(rows)


def permuted_tests(people: pd.DataFrame, permutations: int = 200, seed: int = 0) -> np.ndarray:
    """Likelihood-ratio statistics of the primary analysis with faces exchanged within cells of birth year and sex.

    Returns:
        (permutations,); a permutation without a finite fit is NaN.
    """
    generator = np.random.default_rng(seed)
    cells = people.groupby(CELLS).ngroup().to_numpy()
    statistics = []
    for _ in range(permutations):
        score = shuffle_within(people["score"].to_numpy(), cells, generator)
        try:
            statistics.append(effect(people.assign(score=score), "score", KNOWN).chisq)
        except ValueError:
            statistics.append(np.nan)
    return np.array(statistics)


def shuffle_within(values: np.ndarray, cells: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Values in a random order within each cell, (n,)."""
    by_cell = np.argsort(cells, kind="stable")
    at_random = np.lexsort([generator.random(len(values)), cells])
    shuffled = np.empty_like(values)
    shuffled[by_cell] = values[at_random]
    return shuffled


def exchangeable(people: pd.DataFrame) -> int:
    """How many people share their cell with somebody."""
    return int((people.groupby(CELLS)["subject_id"].transform("size") > 1).sum())


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first, second)[0, 1])
