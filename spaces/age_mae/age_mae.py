"""Mean absolute error of predicted ages, as a module of `evaluate`: the function itself is fahr_hf's."""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np

from fahr_hf.metrics import mean_absolute_error
from fahr_hf.resampling import bootstrap_interval

_INPUTS = """
Args:
    predictions (`list` of `float`): predicted ages, in years.
    references (`list` of `float`): true ages, in years.
    persons (`list`, *optional*): who is on each photo, if people have several: the bootstrap then draws people.
    level (`float`, *optional*, defaults to 0.95): coverage of the interval, between 0 and 1.

Returns:
    age_mae (`float`): mean absolute error, in years; 0 is best.
    low, high (`float`): its interval, by bootstrap over photos, or over persons.

Examples:
    >>> import evaluate
    >>> metric = evaluate.load("spaces/age_mae")
    >>> metric.compute(predictions=[33.0, 39.0], references=[30.0, 40.0])["age_mae"]
    2.0
"""


class AgeMae(evaluate.Metric):
    """Mean absolute error with its interval."""

    def _info(self) -> evaluate.MetricInfo:
        years = datasets.Value("float64")
        return evaluate.MetricInfo(
            description="Mean absolute error of predicted ages in years, with a bootstrap interval.",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": years, "references": years}),
        )

    def _compute(
        self,
        predictions: list[float],
        references: list[float],
        persons: Sequence[object] | np.ndarray | None = None,
        level: float = 0.95,
    ) -> dict[str, float]:
        true, predicted = np.array(references), np.array(predictions)
        clusters = None if persons is None else np.asarray(persons)
        low, high = bootstrap_interval(mean_absolute_error, true, predicted, clusters=clusters, level=level)
        return {"age_mae": mean_absolute_error(true, predicted), "low": low, "high": high}
