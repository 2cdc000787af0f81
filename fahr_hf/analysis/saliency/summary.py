"""Maps of many photos in figures: shares of the regions, by age, and two models against each other."""

from itertools import pairwise

import numpy as np
import pandas as pd

from fahr_hf.analysis.saliency.checks import rank_correlations, token_means
from fahr_hf.analysis.saliency.regions import REGIONS, region_areas, region_shares
from fahr_hf.resampling import resampled_sums, with_interval

AGE_EDGES = (0, 18, 40, 60, np.inf)
"""Years at which the age groups begin and end; 40 is where the paper's age model looks more at the temples."""

LEAST = 10
"""Photos from which on a group has figures."""


def average_map(maps: np.ndarray) -> np.ndarray:
    """The mean of maps (n, height, width), each as absolute values divided by their mean, so that photos count alike.

    Returns:
        (height, width); 1 is as much as the average place of the crop.
    """
    sizes = abs(maps)
    return (sizes / sizes.mean(axis=(1, 2), keepdims=True)).mean(axis=0)


def regional_table(maps: np.ndarray, labels: np.ndarray, clusters: np.ndarray | None = None) -> pd.DataFrame:
    """Mean share of each region in the maps.

    Args:
        maps: (n, side, side).
        labels: What `regions.region_labels` returns.
        clusters: Persons, as for `fahr_hf.resampling.resampled_sums`.

    Returns:
        A row a region: `region`, `share` with its 95 % interval `share_low`, `share_high` (per cent of the map's
        absolute values; fewer than `LEAST` photos have no interval), `area` (per cent of the crop), `density`: share by
        area, 1 for a region that matters as much as the average place of the crop.
    """
    shares, areas = 100 * region_shares(maps, labels), 100 * region_areas(labels)
    means = _resampled_means(shares, clusters)
    table = pd.DataFrame([with_interval(column) for column in means.T], columns=["share", "share_low", "share_high"])
    if len(maps) < LEAST:
        table[["share_low", "share_high"]] = np.nan
    table.insert(0, "region", REGIONS)
    return table.assign(area=areas, density=table["share"] / areas)


def age_groups(age: np.ndarray) -> dict[str, np.ndarray]:
    """Masks (n,) of the groups of `AGE_EDGES` with at least `LEAST` photos; an unknown age, NaN, is in none."""
    groups = {}
    for low, high in pairwise(AGE_EDGES):
        name = f"{low} or more" if high == np.inf else f"{low} to {high - 1}"
        groups[name] = (age >= low) & (age < high)
    return {name: inside for name, inside in groups.items() if inside.sum() >= LEAST}


def compare_maps(
    maps: np.ndarray, others: np.ndarray, labels: np.ndarray, side: int, clusters: np.ndarray | None = None
) -> dict[str, tuple[float, float, float]]:
    """How alike two models' maps of the same crops are.

    Args:
        maps: (n, height, width), of one model.
        others: The same shape, of the other.
        labels: What `regions.region_labels` returns.
        side: Of a token's place, in pixels.
        clusters: As for `regional_table`.

    Returns:
        Three correlations, each with the ends of its 95 % interval: `"photos"`, Spearman's over the pixels of a photo,
        mean over photos; `"average"`, Pearson's of the average maps, over the tokens' places; `"regions"`, Pearson's of
        the regions' densities. The last two are of averages, and higher than what holds for a single photo.
    """
    photos = _resampled_means(rank_correlations(maps, others)[:, None], clusters)[:, 0]
    tokens = [token_means(abs(values), side) for values in (maps, others)]
    tokens = [values / values.sum(axis=1, keepdims=True) for values in tokens]
    densities = [region_shares(values, labels) / region_areas(labels) for values in (maps, others)]
    return {
        "photos": with_interval(photos),
        "average": with_interval(_correlations(*(_resampled_means(values, clusters) for values in tokens))),
        "regions": with_interval(_correlations(*(_resampled_means(values, clusters) for values in densities))),
    }


def regional_differences(
    maps: np.ndarray, others: np.ndarray, labels: np.ndarray, clusters: np.ndarray | None = None
) -> pd.DataFrame:
    """Shares of the regions with two models, and their difference on the same photos.

    Args:
        maps: As for `compare_maps`.
        others: As for `compare_maps`.
        labels: As for `compare_maps`.
        clusters: As for `compare_maps`.

    Returns:
        A row a region: `region`, `share`, `other_share`, `difference`, `difference_low`, `difference_high`; per cent.
    """
    ours, theirs = (100 * region_shares(values, labels) for values in (maps, others))
    columns = _resampled_means(ours - theirs, clusters).T
    table = pd.DataFrame([with_interval(column) for column in columns])
    table.columns = ["difference", "difference_low", "difference_high"]
    return pd.DataFrame({"region": REGIONS, "share": ours.mean(axis=0), "other_share": theirs.mean(axis=0)}).join(table)


def _resampled_means(values: np.ndarray, clusters: np.ndarray | None) -> np.ndarray:
    """Means over rows (n, k) of the data and of each resample, (1 + resamples, k)."""
    counted = np.column_stack([np.ones(len(values)), values])
    sums = resampled_sums(counted, clusters)
    return sums[:, 1:] / sums[:, :1]


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each row with the same row, (n,)."""
    first, second = (values - values.mean(axis=1, keepdims=True) for values in (first, second))
    return (first * second).sum(axis=1) / np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
