"""An age-balanced draw: epochs in which common ages do not drown rare ones.

The paper trains "age-balanced" and does not publish how; this scheme is ours. A photo is drawn with a weight of
`count ** -balance`, where `count` is the number of photos of its whole year of age: 0 draws every photo once an epoch,
1 draws each age as often as any other, and 0.5, the square root of the inverse frequency, lies between. No photo is
expected more than `cap` times an epoch, so that the few photos of a rare age are not memorised; what that takes from
them goes to the other ages.

A draw belongs to its seed and epoch, and a place in an epoch to its photo. So resuming, workers and several processes
change nothing, and the training loop knows nothing of it.
"""

from typing import Any

import numpy as np

from fahr_hf.training.randomness import draw_generator
from fahr_hf.training.samples import CropSamples


class BalancedSamples:
    """Samples of which an epoch sees as many as there are, but each as often as its age's weight says.

    Args:
        samples: With the column `age`, in years.
        balance: 0 (every photo once) to 1 (every age alike).
        cap: Most often that a photo is expected in an epoch, at least 1.
        seed: Of the draws, at least 0.

    Raises:
        ValueError: `balance` or `cap` out of range.
    """

    def __init__(self, samples: CropSamples, balance: float, cap: float, seed: int):
        self.samples, self.seed = samples, seed
        self.years = whole_years(samples.columns["age"])
        self.expected = expected_draws(self.years, balance, cap)
        # Of the epoch asked for last: a worker asks for one after the other.
        self._epoch, self._drawn = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        """As of the samples, for the photo at a place; `index` is the place, so that each showing has its own view."""
        epoch, index = place
        if epoch != self._epoch:
            self._epoch, self._drawn = epoch, self.drawn(epoch)
        return {**self.samples[epoch, int(self._drawn[index])], "index": index}

    def drawn(self, epoch: int) -> np.ndarray:
        """Positions of an epoch's photos, (n,), ascending.

        Each photo is drawn as often as expected, rounded down or up, and so is each year of age: a systematic sample
        (Madow 1949) of the photos sorted by age, in random order within an age.
        """
        generator = draw_generator(self.seed, epoch)
        order = np.lexsort((generator.random(len(self)), self.years))
        ends = np.cumsum(self.expected[order])
        points = (np.arange(len(self)) + generator.random()) * (ends[-1] / len(self))
        return np.sort(order[np.searchsorted(ends, points, side="right")])


def whole_years(ages: np.ndarray) -> np.ndarray:
    """Ages in years, (n,), as completed years, (n,) int64."""
    return np.floor(ages).astype(np.int64)


def expected_draws(years: np.ndarray, balance: float, cap: float) -> np.ndarray:
    """How often an epoch is expected to show each photo, (n,); the sum is n.

    Args:
        years: Whole years of age, (n,).
        balance: 0 to 1.
        cap: At least 1.

    Raises:
        ValueError: `balance` or `cap` out of range.
    """
    if not 0 <= balance <= 1:
        raise ValueError(f"balance must lie between 0 (every photo once) and 1 (every age alike), got {balance}.")
    if not cap >= 1:
        raise ValueError(f"cap must be at least 1, or an epoch could not be filled, got {cap}.")
    _, age, counts = np.unique(years, return_inverse=True, return_counts=True)
    weights = counts.astype(np.float64) ** -balance
    expected = np.empty(len(counts))
    left, weight_left = float(len(years)), (weights * counts).sum()
    # The rarest first: what the cap takes from an age goes to those after it, and once it takes nothing, it never does.
    for year in np.argsort(counts):
        expected[year] = min(cap, weights[year] * left / weight_left)
        left -= expected[year] * counts[year]
        weight_left -= weights[year] * counts[year]
    return expected[age]
