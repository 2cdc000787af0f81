"""The spread of risk in the cohort that a survival model was calibrated on: the unit of changes of risk."""

from typing import Any

import numpy as np


def risk_sd(calibration: dict[str, Any] | None) -> float:
    """Standard deviation of risk in the reference cohort.

    Between two of the table's quantiles risks are taken as evenly spread.

    Args:
        calibration: The model's `config.calibration`.

    Raises:
        ValueError: the model has no table of risks, or one that says its score is no risk.

    Examples:
        >>> round(risk_sd({"survival": {"warning": None, "quantiles": [0.0, 0.5, 1.0]}}), 4)
        0.2887
    """
    table = (calibration or {}).get("survival")
    if table is None:
        raise ValueError(
            "The survival model has no table of risks, and so no cohort whose spread of risk changes could be held "
            "against. Run `fahr-hf calibrate` on it first."
        )
    if table["warning"] is not None:
        raise ValueError(f"The survival model gives no risk: {table['warning']}.")
    low, high = np.array(table["quantiles"][:-1]), np.array(table["quantiles"][1:])
    mean = ((low + high) / 2).mean()
    return float(np.sqrt(((low**2 + low * high + high**2) / 3).mean() - mean**2))
