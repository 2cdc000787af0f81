"""Integrated Brier score as a module of `evaluate`: the functions themselves are fahr_hf's."""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np

from fahr_hf.clinical.brier import integrated_brier_score

_INPUTS = """
Args:
    predictions (`list` of `list` of `float`): for each person the probabilities of being alive at each of `times`.
    duration (`list` of `float`): time to death or censoring.
    event (`list` of `int` or `bool`): 1 where the follow-up ended in death, 0 where it was censored.
    times (`list` of `float`): at least two times in the unit of `duration`, rising, from the first death to before the
        end of follow-up.

Returns:
    integrated_brier (`float`): mean of the Brier score over the times; 0 is best.

Examples:
    >>> import evaluate
    >>> metric = evaluate.load("spaces/integrated_brier")
    >>> alive = [[0.2, 0.1], [0.9, 0.3], [0.9, 0.9]]
    >>> score = metric.compute(predictions=alive, duration=[1.0, 2.0, 3.0], event=[1, 1, 0], times=[1.5, 2.5])
    >>> round(score["integrated_brier"], 4)
    0.0283
"""


class IntegratedBrier(evaluate.Metric):
    """Integrated Brier score."""

    def _info(self) -> evaluate.MetricInfo:
        number = datasets.Value("float64")
        return evaluate.MetricInfo(
            description="Brier score of predicted survival, weighted for censoring and averaged over times.",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": datasets.List(number), "duration": number, "event": number}),
        )

    def _compute(
        self,
        predictions: list[list[float]],
        duration: list[float],
        event: list[float],
        times: Sequence[float] | np.ndarray | None = None,
    ) -> dict[str, float]:
        if times is None:
            raise ValueError("Pass times=[...]: the times to which the columns of predictions belong.")
        return {"integrated_brier": integrated_brier_score(event, duration, predictions, times)}
