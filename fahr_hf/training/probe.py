"""How much a frozen feature says about age: a linear probe, with every prediction made without the photo itself."""

import numpy as np

# Strengths of the penalty to choose from, relative to the number of photos.
_PENALTIES = 10.0 ** np.arange(-4, 2)


def probe_ages(features: np.ndarray, ages: np.ndarray) -> np.ndarray:
    """Ages predicted by ridge regression on features, each with its own photo left out (PRESS; Allen 1974).

    Of a few penalties the one with the smallest squared error of such predictions is taken.

    Args:
        features: (n, width), n at least 3; standardised here.
        ages: (n,), years.

    Returns:
        (n,), years.

    Raises:
        ValueError: fewer than three photos.
    """
    if len(ages) < 3:
        raise ValueError(f"A probe needs at least three photos with an age, got {len(ages)}.")
    features = features.astype(np.float64)
    # A feature without variance, as a dead unit has, stays at zero.
    scaled = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-6)
    left, singular, _ = np.linalg.svd(scaled, full_matrices=False)
    projected = left.T @ (ages - ages.mean())
    candidates = []
    for penalty in _PENALTIES * len(ages):
        shrinkage = singular**2 / (singular**2 + penalty)
        fitted = ages.mean() + left @ (shrinkage * projected)
        # Of the hat matrix, the mean included.
        leverage = 1 / len(ages) + (left**2) @ shrinkage
        candidates.append(ages - (ages - fitted) / (1 - leverage))
    return min(candidates, key=lambda predicted: float(np.square(predicted - ages).mean()))
