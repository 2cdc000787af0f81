"""An order in which deaths come evenly, so that every step of survival training has people to compare.

Losses compare each death with those who outlived it; a step without a death teaches nothing. The scheme is ours: people
come in random order, with the deaths among them at even distances, so that any stretch of an epoch has its share of
deaths, rounded down or up. Where that is too few for a step, deaths come more often than once an epoch and survivors
less often, each as evenly as can be. The order depends on seed and epoch, and on the number of people in a step, in
whichever batches and processes.
"""

import numpy as np

from fahr_hf.training.randomness import draw_generator


def spread_deaths(event: np.ndarray, least: int, seed: int, epoch: int, step: int) -> np.ndarray:
    """An epoch's showings of people, with deaths at even distances.

    Args:
        event: Who died, (n,) bool; at least one person.
        least: Deaths that every step should have; where that is more than half a step, or than there are, so many.
        seed: Of the run, at least 0.
        epoch: Counted from 0.
        step: People in a step.

    Returns:
        (n,) int64: person + n x how often the epoch has shown this person before.
    """
    generator = draw_generator(seed, epoch)
    n, died, survived = len(event), np.flatnonzero(event), np.flatnonzero(~event)
    wanted = min(least, step // 2, len(died))
    deaths = min(n, max(len(died), -(-wanted * n // step))) if len(survived) else n
    places = np.zeros(n, bool)
    # A systematic sample (Madow 1949): so many a stretch, or one more, wherever it begins.
    places[np.floor((np.arange(deaths) + generator.random()) * n / deaths).astype(np.int64)] = True
    order = np.empty(n, np.int64)
    order[places] = _rounds(died, deaths, n, generator)
    order[~places] = generator.permutation(survived)[: n - deaths]
    return order


def _rounds(people: np.ndarray, count: int, n: int, generator: np.random.Generator) -> np.ndarray:
    """So many showings: each round shows everybody once, the last as many as are left."""
    rounds = [generator.permutation(people) + n * number for number in range(-(-count // len(people)))]
    return np.concatenate(rounds)[:count]
