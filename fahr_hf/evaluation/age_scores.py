"""Figures of merit of predicted ages, each with an interval, for all photos and for groups of them.

Every interval is a bootstrap's 95 % interval of 2,000 draws, or Wilson's where a share is counted. What is drawn are
persons where identities exist: several photos of one person err alike, and drawn for themselves they would make
intervals too narrow. All figures follow from sums over rows, which `resampled_sums` gives for all groups at once.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from fahr_hf.metrics import age_bins
from fahr_hf.resampling import clusters_of, ratio, resampled_sums, with_interval

LEAST = 30
"""Photos below which a group has no figures but its number: the bootstrap of fewer is too narrow, and says too much."""

ADULT = 18
"""Age in years from which people are adults."""

OVERALL = {
    "mae": "mean absolute error (years)",
    "rmse": "root mean square error (years)",
    "bias": "bias, predicted less true age (years)",
    "cs_3": "share at most 3 years off",
    "cs_5": "share at most 5 years off",
    "cs_7": "share at most 7 years off",
    "r": "correlation of predicted and true age",
}
"""The figures, and what they are."""


def with_both_ages(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that can be scored, with ages as float64.

    Args:
        table: What `predictions.predict_table` returns, or at least `age` and `predicted` in years.

    Raises:
        ValueError: a column is missing, or no row has both ages.
    """
    for name in ("age", "predicted"):
        if name not in table.columns:
            raise ValueError(f"No column {name!r} to score; there are {', '.join(map(str, table.columns))}.")
    if not table["age"].notna().any():
        raise ValueError(f"None of {len(table)} photos has an age, so predictions cannot be scored.")
    both = table[table["age"].notna() & table["predicted"].notna()]
    if both.empty:
        raise ValueError(f"None of {len(table)} photos has both a true and a predicted age.")
    return both.assign(age=both["age"].astype(np.float64), predicted=both["predicted"].astype(np.float64))


def drawn_by(table: pd.DataFrame) -> tuple[np.ndarray, str]:
    """What a bootstrap draws: for each row the number of its person, (n,), and `"person"` or `"photo"`.

    It is `"photo"` where nobody is known.
    """
    if "subject_id" not in table.columns or table["subject_id"].isna().all():
        return np.arange(len(table)), "photo"
    return clusters_of(table["subject_id"]), "person"


def overall(table: pd.DataFrame) -> pd.DataFrame:
    """The figures of all rows together.

    Args:
        table: What `with_both_ages` returns.

    Returns:
        Indexed by the keys of `OVERALL`: `value`, `value_low`, `value_high`.
    """
    figures = _figures(table, [np.ones(len(table), bool)])
    rows = {name: with_interval(values[:, 0]) for name, values in figures.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "value_low", "value_high"])


def by_decade(table: pd.DataFrame) -> pd.DataFrame:
    """Figures by decade of true age; see `by_group`."""
    decade = age_bins(table["age"].to_numpy())
    return by_group(table, {f"{start} to {start + 9}": decade == start for start in np.unique(decade)}, "age")


def by_stage_of_life(table: pd.DataFrame) -> pd.DataFrame:
    """Figures of minors, adults and people of 60 or more; see `by_group`."""
    age = table["age"].to_numpy()
    groups = {"under 18": age < ADULT, "18 to 59": (age >= ADULT) & (age < 60), "60 or older": age >= 60}
    return by_group(table, groups, "age")


def by_group(
    table: pd.DataFrame,
    groups: dict[str, np.ndarray],
    name: str,
    figures: Sequence[str] = ("mae", "bias", "cs_5"),
) -> pd.DataFrame:
    """Figures of groups of rows.

    Args:
        table: What `with_both_ages` returns.
        groups: By name, which rows belong to it, (n,) bool.
        name: Of the column with the groups' names.
        figures: Keys of `OVERALL`.

    Returns:
        One row a group: `name`, `photos`, and each figure with its `_low` and `_high`; NaN below `LEAST` photos.
    """
    masks = list(groups.values())
    drawn = _figures(table, masks)
    rows = []
    for position, (group, mask) in enumerate(groups.items()):
        row: dict[str, object] = {name: group, "photos": int(mask.sum())}
        for figure in figures:
            shown = with_interval(drawn[figure][:, position]) if mask.sum() >= LEAST else (np.nan,) * 3
            row |= dict(zip((figure, f"{figure}_low", f"{figure}_high"), shown, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def age_of_majority(table: pd.DataFrame) -> pd.DataFrame:
    """How many minors are taken for adults, and the reverse.

    Args:
        table: What `with_both_ages` returns.

    Returns:
        Two rows: `mistake`, `photos` (of such people), `mistaken`, and `share` with Wilson's 95 % interval `share_low`
        and `share_high`; NaN where there are no such people.
    """
    minor, looks_minor = table["age"] < ADULT, table["predicted"] < ADULT
    rows = [
        ("minors predicted to be 18 or older", minor, ~looks_minor),
        ("adults predicted to be under 18", ~minor, looks_minor),
    ]
    return pd.DataFrame(
        [(text, int(who.sum()), int((who & how).sum()), *_wilson(who & how, who)) for text, who, how in rows],
        columns=["mistake", "photos", "mistaken", "share", "share_low", "share_high"],
    )


def _figures(table: pd.DataFrame, masks: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Each figure of each group, (1 + resamples, groups): of the data, then of every resample."""
    age, predicted = table["age"].to_numpy(), table["predicted"].to_numpy()
    error = predicted - age
    # Centred, or the differences of large sums below would lose digits.
    x, y = age - age.mean(), predicted - predicted.mean()
    within = [np.abs(error) <= years for years in (3, 5, 7)]
    terms = np.column_stack([np.ones(len(age)), np.abs(error), error**2, error, *within, x, y, x * x, y * y, x * y])
    columns = (np.column_stack(masks)[:, :, None] * terms[:, None, :]).reshape(len(age), -1)
    sums = resampled_sums(columns, drawn_by(table)[0]).reshape(-1, len(masks), terms.shape[1])
    n = sums[:, :, 0]
    absolute, squared, signed, cs_3, cs_5, cs_7, x, y, xx, yy, xy = (ratio(s, n) for s in np.moveaxis(sums, 2, 0)[1:])
    # Of a constant, rounding can leave a trace of variance.
    spread = np.sqrt((xx - x * x).clip(0) * (yy - y * y).clip(0))
    return {
        "mae": absolute,
        "rmse": np.sqrt(squared),
        "bias": signed,
        "cs_3": cs_3,
        "cs_5": cs_5,
        "cs_7": cs_7,
        "r": ratio(xy - x * y, np.where(spread > 1e-9, spread, 0)),
    }


def _wilson(successes: pd.Series, of: pd.Series) -> tuple[float, float, float]:
    if not of.any():
        return np.nan, np.nan, np.nan
    test = binomtest(int(successes.sum()), int(of.sum()))
    interval = test.proportion_ci(method="wilson")
    return float(test.statistic), float(interval.low), float(interval.high)
