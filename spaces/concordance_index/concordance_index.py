"""Harrell's C as a module of `evaluate`: the function itself is fahr_hf's, and agrees with R's `concordance`."""

from statistics import NormalDist

import datasets
import evaluate

from fahr_hf.clinical.concordance import concordance

_INPUTS = """
Args:
    predictions (`list` of `float`): risk scores on any scale; higher means earlier death.
    duration (`list` of `float`): time to death or censoring.
    event (`list` of `int` or `bool`): 1 where the follow-up ended in death, 0 where it was censored.
    entry (`list` of `float`): time at which a person came under observation; an input of
        `evaluate.load(..., "delayed_entry")` only.
    level (`float`, *optional*, defaults to 0.95): coverage of the interval, between 0 and 1.

Returns:
    concordance_index (`float`): Harrell's C, 0 to 1; 0.5 is chance, 1 is best.
    se (`float`): its standard error, from the infinitesimal jackknife.
    low, high (`float`): C less and plus the normal quantile times `se`.

Examples:
    >>> import evaluate
    >>> metric = evaluate.load("spaces/concordance_index")
    >>> result = metric.compute(predictions=[0.3, 0.9, 0.1], duration=[1.0, 2.0, 3.0], event=[1, 1, 0])
    >>> round(result["concordance_index"], 4)
    0.6667
"""


class ConcordanceIndex(evaluate.Metric):
    """C with its standard error and interval."""

    def _info(self) -> evaluate.MetricInfo:
        names = {"default": [], "delayed_entry": ["entry"]}
        if self.config_name not in names:
            raise ValueError(f"The configurations are {', '.join(names)}, got {self.config_name!r}.")
        columns = ["predictions", "duration", "event", *names[self.config_name]]
        return evaluate.MetricInfo(
            description="Harrell's concordance index of risk scores and survival times, with its standard error.",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({name: datasets.Value("float64") for name in columns}),
        )

    def _compute(
        self,
        predictions: list[float],
        duration: list[float],
        event: list[float],
        entry: list[float] | None = None,
        level: float = 0.95,
    ) -> dict[str, float]:
        c, se = concordance(event, duration, predictions, entry)
        margin = NormalDist().inv_cdf((1 + level) / 2) * se
        return {"concordance_index": c, "se": se, "low": c - margin, "high": c + margin}
