"""Sums over risk sets that lose no digits: a binary tree over the times of death.

Somebody is at risk at the times since, ..., until - 1 of the k times of death. With delayed entry the sum over all at
risk is often taken as "those who leave later, less those who enter later"; where hazards differ by many orders of
magnitude, that difference is noise. Here each person stands in the few nodes of the tree (at most 2 log2 k) whose times
make up the interval, and sums only ever add.
"""

import numpy as np
from scipy import sparse


class RiskIntervals:
    """Who is at risk when.

    Args:
        since: (n,), number of the first time at which each person is at risk, 0 to k.
        until: (n,), number of the time after the last one; `since` for those never at risk.
        times: k, at least 1.
    """

    def __init__(self, since: np.ndarray, until: np.ndarray, times: int) -> None:
        self.times = times
        self.leaves = 1 << (times - 1).bit_length()
        people = np.arange(len(since))
        low, high = since + self.leaves, until + self.leaves  # node i has the children 2i and 2i + 1; leaves come last
        members, nodes = [], []
        while (low < high).any():
            odd = (low < high) & (low % 2 == 1)
            members.append(people[odd])
            nodes.append(low[odd])
            low = low + odd
            odd = (low < high) & (high % 2 == 1)
            high = high - odd
            members.append(people[odd])
            nodes.append(high[odd])
            low, high = low // 2, high // 2
        place = (np.concatenate(members), np.concatenate(nodes))
        self.nodes_of = sparse.csr_array((np.ones(len(place[0])), place), shape=(len(people), 2 * self.leaves))
        self.people_in = self.nodes_of.T.tocsr()

    def over_people(self, values: np.ndarray) -> np.ndarray:
        """Sum values of people, (n, ...), over those at risk at each time, (k, ...)."""
        tree = self.people_in @ values
        for level in self._levels():
            tree[2 * level : 4 * level] += np.repeat(tree[level : 2 * level], 2, axis=0)
        return tree[self.leaves : self.leaves + self.times]

    def over_times(self, values: np.ndarray) -> np.ndarray:
        """Sum values of times, (k, ...), over those at which each person is at risk, (n, ...)."""
        tree = np.zeros((2 * self.leaves, *values.shape[1:]))
        tree[self.leaves : self.leaves + self.times] = values
        for level in reversed(self._levels()):
            tree[level : 2 * level] = tree[2 * level : 4 * level : 2] + tree[2 * level + 1 : 4 * level : 2]
        return self.nodes_of @ tree

    def _levels(self) -> list[int]:
        return [1 << depth for depth in range(self.leaves.bit_length() - 1)]
