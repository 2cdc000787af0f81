"""A table of risks as a calibrated survival model holds it, made up."""

import numpy as np

RISKS = {
    "cohort": "simulated",
    "clock": "time since photo",
    "people": 400,
    "events": 200,
    "coefficient": 1.0,
    "coefficient_se": 0.1,
    "mean": 0.0,
    "quantiles": np.linspace(-5, 5, 101).tolist(),
    "times": [0.0, 2.0, 4.0, 6.0],
    "baseline_hazard": [0.0, 0.1, 0.2, 0.3],
    "follow_up": 6.0,
    "observed_expected": 1.0,
    "observed_expected_of": "400 people",
    "calibrated": True,
    "warning": None,
}
