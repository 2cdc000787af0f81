"""Cumulative score of predicted ages, as a module of `evaluate`: the function itself is fahr_hf's."""

from collections.abc import Sequence
from functools import partial

import datasets
import evaluate
import numpy as np

from fahr_hf.metrics import cumulative_score
from fahr_hf.resampling import bootstrap_interval

_INPUTS = """
Args:
    predictions (`list` of `float`): predicted ages, in years.
    references (`list` of `float`): true ages, in years.
    within (`float`, *optional*, defaults to 5): the largest error that counts as right, in years.
    persons (`list`, *optional*): who is on each photo, if people have several: the bootstrap then draws people.
    level (`float`, *optional*, defaults to 0.95): coverage of the interval, between 0 and 1.

Returns:
    cumulative_score (`float`): share of predictions at most `within` years off, 0 to 1; 1 is best.
    low, high (`float`): its interval, by bootstrap over photos, or over persons.

Examples:
    >>> import evaluate
    >>> metric = evaluate.load("spaces/cumulative_score")
    >>> metric.compute(predictions=[36.0, 39.0], references=[30.0, 40.0], within=5)["cumulative_score"]
    0.5
"""


class CumulativeScore(evaluate.Metric):
    """Share of predictions close enough, with its interval."""

    def _info(self) -> evaluate.MetricInfo:
        years = datasets.Value("float64")
        return evaluate.MetricInfo(
            description="Share of predicted ages that are at most so many years off, with a bootstrap interval.",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": years, "references": years}),
        )

    def _compute(
        self,
        predictions: list[float],
        references: list[float],
        within: float = 5.0,
        persons: Sequence[object] | np.ndarray | None = None,
        level: float = 0.95,
    ) -> dict[str, float]:
        score = partial(cumulative_score, within=within)
        true, predicted = np.array(references), np.array(predictions)
        clusters = None if persons is None else np.asarray(persons)
        low, high = bootstrap_interval(score, true, predicted, clusters=clusters, level=level)
        return {"cumulative_score": score(true, predicted), "low": low, "high": high}
