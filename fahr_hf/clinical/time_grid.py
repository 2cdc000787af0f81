"""Times at which a baseline hazard is kept: round numbers, from which no person's own time can be read."""

import math

import numpy as np


def round_times(last: float, most: int) -> np.ndarray:
    """0, s, 2 s ... up to the last time, in at most `most` steps; s is 1, 2 or 5 times a power of ten.

    Args:
        last: Of the follow-up, above 0.
        most: Steps, at least 1.

    Returns:
        (k + 1,) float64, k at most `most`.

    Examples:
        >>> round_times(7.3, most=4).tolist()
        [0.0, 2.0, 4.0, 6.0]
    """
    exponent = math.floor(math.log10(last / most))
    steps = ((digit, power) for power in (exponent, exponent + 1) for digit in (1, 2, 5))
    digit, power, count = next(
        (digit, power, count)
        for digit, power in steps
        if (count := math.floor(last / (digit * 10.0**power) + 1e-9)) <= most
    )
    # Whole numbers first: 3 / 10 is 0.3, and 3 x 0.1 is not.
    whole = digit * np.arange(count + 1)
    return whole * 10.0**power if power >= 0 else whole / 10.0**-power
