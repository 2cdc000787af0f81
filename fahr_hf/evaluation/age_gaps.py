"""Differences between groups that a data set labels, such as sex or race, at equal ages.

Errors depend on age, and groups differ in age: in many collections the women are younger than the men. Each group is
therefore compared with all others of the same label by direct standardisation: errors are averaged within decades of
true age, and the decades of both sides are weighted alike, by the ages of the two together. Only decades count in which
both have some photos; `compared` says what share of the group that is.

A label is the word of a data set, often of a stranger or a classifier, and no fact about a person.
"""

import numpy as np
import pandas as pd

from fahr_hf.evaluation.age_scores import LEAST, by_group, drawn_by
from fahr_hf.metrics import age_bins
from fahr_hf.resampling import ratio, resampled_sums, with_interval

# Photos in a decade on either side: of ten, hardly a resample in twenty thousand has none.
_LEAST_IN_DECADE = 10


def by_label(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """Figures of each group of a label, and how far it is from all others of the label at equal ages.

    Args:
        table: What `age_scores.with_both_ages` returns.
        label: A column of words, such as `"sex"`; rows without a value belong to no group.

    Returns:
        One row a group: `label`, `photos`, `mae` and `bias` as they are, `compared` (0 to 1), and the age-standardised
        differences to the others in years, `mae_gap` and `bias_gap`, all with `_low` and `_high`. Groups of fewer than
        `LEAST` photos have no figures, and gaps are NaN where no decade can be compared.
    """
    labelled = table[table[label].notna()]
    words = labelled[label].to_numpy(dtype=object)
    groups = {str(word): words == word for word in sorted(set(words))}
    figures = by_group(labelled, groups, label, figures=("mae", "bias"))
    gaps = [_gaps(labelled, mask) if LEAST <= mask.sum() < len(labelled) else {} for mask in groups.values()]
    columns = ["compared", *(f"{name}_gap{end}" for name in ("mae", "bias") for end in ("", "_low", "_high"))]
    return figures.join(pd.DataFrame(gaps, columns=columns, dtype=np.float64))


def _gaps(table: pd.DataFrame, inside: np.ndarray) -> dict[str, float]:
    """The differences of the rows `inside` less all others."""
    decade = age_bins(table["age"].to_numpy())
    common = [
        start
        for start in np.unique(decade)
        if min((inside & (decade == start)).sum(), (~inside & (decade == start)).sum()) >= _LEAST_IN_DECADE
    ]
    if not common:
        return {"compared": 0.0}
    shown = np.isin(decade, common)
    weights = np.array([(decade == start).sum() for start in common]) / shown.sum()
    cells = np.column_stack([side & (decade == start) for side in (inside, ~inside) for start in common])
    error = (table["predicted"] - table["age"]).to_numpy()
    terms = np.column_stack([np.ones(len(table)), np.abs(error), error])
    columns = (cells[:, None, :] * terms[:, :, None]).reshape(len(table), -1)
    # (1 + resamples, number or error or signed error, this group or the others, decades)
    sums = resampled_sums(columns, drawn_by(table)[0]).reshape(-1, 3, 2, len(common))
    gaps = {"compared": float(shown[inside].mean())}
    for name, term in (("mae", 1), ("bias", 2)):
        standardised = ratio(sums[:, term], sums[:, 0]) @ weights
        values = with_interval(standardised[:, 0] - standardised[:, 1])
        gaps |= dict(zip((f"{name}_gap", f"{name}_gap_low", f"{name}_gap_high"), values, strict=True))
    return gaps
