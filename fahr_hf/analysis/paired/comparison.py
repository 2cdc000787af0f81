"""Photos of the same people before and after: what does a condition, such as make-up or a smile, change?

A person counts once, however many pairs of photos there are: mean changes are means over people of the means over their
pairs, tests are of one mean change a person, and every bootstrap draws people. Correlations, error of measurement and
limits of agreement are about a single photo, and so about pairs.
"""

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from fahr_hf.analysis.paired.agreement import (
    Interval,
    MeanSquares,
    bland_altman,
    icc_2_1,
    icc_3_1,
    smallest_detectable_change,
    standard_error_of_measurement,
)
from fahr_hf.analysis.paired.equivalence import AGE_MARGIN, RISK_MARGIN, paired_equivalence, verdict
from fahr_hf.resampling import clusters_of, ratio, resampled_sums, with_interval

LEAST = 3
"""People below which a condition has no intervals, tests or correlations."""

_COLUMNS = ("person", "condition", "before", "after")
_FIGURES = [
    *("difference", "difference_low", "difference_high"),
    *("absolute", "absolute_low", "absolute_high"),
    *("p_different", "p_different_holm"),
    *("difference_low_90", "difference_high_90", "p_equivalent", "p_equivalent_holm"),
    *("icc_2_1", "icc_2_1_low", "icc_2_1_high", "icc_3_1", "icc_3_1_low", "icc_3_1_high"),
    *("sem", "sdc", "limit_low", "limit_high"),
]


def check_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of answers as `compare_pairs` needs them.

    Args:
        pairs: One row a pair of photos: `person` (any label; empty for somebody unknown, who counts as a person of
            their own), `condition` (any label), `before` and `after` (empty where a photo has no answer).

    Returns:
        These columns, `condition` as text, `before` and `after` as float64.

    Raises:
        ValueError: a column is missing, there are no rows, a condition is empty, or a value is no finite number.
    """
    if missing := [name for name in _COLUMNS if name not in pairs.columns]:
        raise ValueError(f"The pairs lack the column {' and '.join(missing)}; there are {', '.join(pairs.columns)}.")
    if pairs.empty:
        raise ValueError("There are no pairs.")
    table = pairs[list(_COLUMNS)].reset_index(drop=True)
    for name in ("before", "after"):
        numbers = pd.to_numeric(table[name], errors="coerce").astype(np.float64)
        bad = table[name].notna() & ~np.isfinite(numbers)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(f"{name} must be finite numbers or empty; row {row} holds {table[name][row]}.")
        table[name] = numbers
    if table["condition"].isna().any():
        raise ValueError(f"Row {int(np.flatnonzero(table['condition'].isna())[0])} has no condition.")
    return table.assign(condition=table["condition"].astype(str))


def compare_pairs(pairs: pd.DataFrame, risk_sd: float | None = None) -> pd.DataFrame:
    """What each condition changes, and whether that is shown to be little.

    Args:
        pairs: As for `check_pairs`; values are ages in years, or risks.
        risk_sd: Where values are risks, their standard deviation in the model's reference cohort, in their unit: it
            fixes the margin of equivalence before these data are seen. None where values are ages.

    Returns:
        One row a condition, in order of first appearance, in the unit of the values; NaN is what could not be found:

        - `condition`, `people`, `pairs`, and `incomplete`, pairs without both values, which take no further part
        - `difference`, after less before, and `absolute`, the mean absolute change of a pair, with `_low` and `_high`,
          95 % bootstrap intervals over people; of fewer than some 30 people these are too narrow
        - `p_different`, two-sided paired t test, and `p_different_holm`, adjusted for the number of conditions
        - `difference_low_90`, `difference_high_90`, the t interval to hold against the margins, `p_equivalent`, of two
          one-sided t tests, and `p_equivalent_holm`
        - `verdict`, from both adjusted p at 5 %: equivalent within the margin, different, both, not shown either way
        - `icc_2_1` and `icc_3_1`, with 95 % intervals: F-based where everybody has one pair, over people otherwise
        - `sem`, standard error of measurement, `sdc`, smallest detectable change, `limit_low`, `limit_high`, the limits
          of agreement (see `agreement`)
        - `problem`, why something is missing, else empty

    Raises:
        ValueError: as `check_pairs`, or `risk_sd` is not above 0.

    Examples:
        >>> pairs = pd.DataFrame({"person": list("abcd"), "condition": "smile", "before": [30, 40, 50, 60]})
        >>> table = compare_pairs(pairs.assign(after=[30.2, 39.9, 50.3, 60.1]))
        >>> table[["condition", "people", "difference", "verdict"]].round(2)
          condition  people  difference                     verdict
        0     smile       4        0.12  equivalent within +-1 year
    """
    table = check_pairs(pairs)
    if risk_sd is not None and not risk_sd > 0:
        raise ValueError(f"risk_sd must be above 0, got {risk_sd}.")
    margin = AGE_MARGIN if risk_sd is None else RISK_MARGIN * risk_sd
    within = f"+-{AGE_MARGIN:g} year" if risk_sd is None else f"+-{RISK_MARGIN:g} SD of risk"
    rows = [_condition(name, rows, margin) for name, rows in table.groupby("condition", sort=False)]
    found = pd.DataFrame(rows)
    for test in ("p_different", "p_equivalent"):
        found[f"{test}_holm"] = _holm(found[test])
    found["verdict"] = [
        verdict(*p, within) for p in zip(found["p_different_holm"], found["p_equivalent_holm"], strict=True)
    ]
    last = _FIGURES.index("p_equivalent_holm") + 1
    return found[
        ["condition", "people", "pairs", "incomplete", *_FIGURES[:last], "verdict", *_FIGURES[last:], "problem"]
    ]


def _condition(name: str, rows: pd.DataFrame, margin: float) -> dict[str, object]:
    pairs = rows.dropna(subset=["before", "after"])
    person = clusters_of(pairs["person"])
    people = len(np.unique(person))
    row: dict[str, object] = dict.fromkeys(_FIGURES, np.nan)
    row |= {"condition": name, "people": people, "pairs": len(pairs), "incomplete": len(rows) - len(pairs)}
    if pairs.empty:
        return row | {"problem": "No pair has both values."}
    before, after = pairs["before"].to_numpy(), pairs["after"].to_numpy()
    drawn = _resampled(before, after, person)
    if people < LEAST:
        row |= {figure: drawn[figure][0] for figure in ("difference", "absolute")}
        return row | {"problem": f"Fewer than {LEAST} people, {people}: no intervals, tests or correlations."}
    for figure in ("difference", "absolute"):
        row |= _named(figure, Interval(*with_interval(drawn[figure])))
    problems = []
    try:
        row |= _tests(pairs.groupby(person)[["before", "after"]].mean(), margin)
    except ValueError as error:
        problems.append(str(error))
    if constant := [half for half in ("before", "after") if pairs[half].nunique() == 1]:
        problems.append(f"All values {' and '.join(constant)} are the same: no ICC.")
    else:
        values = np.column_stack([before, after])
        one_each = people == len(pairs)
        row |= _named("icc_2_1", icc_2_1(values) if one_each else Interval(*with_interval(drawn["icc_2_1"])))
        row |= _named("icc_3_1", icc_3_1(values) if one_each else Interval(*with_interval(drawn["icc_3_1"])))
    return row | _errors(before, after) | {"problem": " ".join(problems)}


def _tests(people: pd.DataFrame, margin: float) -> dict[str, float]:
    found = paired_equivalence(people["before"], people["after"], margin)
    return {
        "p_different": found.p_different,
        "difference_low_90": found.low,
        "difference_high_90": found.high,
        "p_equivalent": found.p,
    }


def _errors(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    values, limits = np.column_stack([before, after]), bland_altman(before, after)
    return {
        "sem": standard_error_of_measurement(values),
        "sdc": smallest_detectable_change(values),
        "limit_low": limits.lower.value,
        "limit_high": limits.upper.value,
    }


def _resampled(before: np.ndarray, after: np.ndarray, person: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of the data, and of every resample of people, (1 + resamples,) each."""
    change = after - before
    middle = (before + after) / 2
    middle = middle - middle.mean()
    weight = 1 / np.bincount(person)[person]
    one = np.ones(len(change))
    columns = [weight, weight * change, weight * np.abs(change), one, middle, middle**2, change, change**2]
    people, signed, absolute, n, m, mm, d, dd = resampled_sums(np.column_stack(columns), person).T
    # Of two conditions the analysis of variance is one of means and changes; rounding can leave sums below 0.
    freedom = np.maximum(n - 1, 1)
    squares = MeanSquares(
        n=n,
        k=2,
        people=2 * (mm - m**2 / n).clip(0) / freedom,
        conditions=d**2 / (2 * n),
        residual=(dd - d**2 / n).clip(0) / (2 * freedom),
    )
    return {
        "difference": ratio(signed, people),
        "absolute": ratio(absolute, people),
        "icc_2_1": np.asarray(squares.icc_2_1()),
        "icc_3_1": np.asarray(squares.icc_3_1()),
    }


def _named(figure: str, interval: Interval) -> dict[str, float]:
    return {figure: interval.value, f"{figure}_low": interval.low, f"{figure}_high": interval.high}


def _holm(p: pd.Series) -> pd.Series:
    tested = p.dropna()
    return pd.Series(multipletests(tested, method="holm")[1] if len(tested) else [], tested.index, float)
