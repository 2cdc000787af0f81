"""FaceAge, FaceSurvival, age and what else is known in one Cox model: what does each add to the others?

Covariates are put in by blocks. Each block is tested twice: when it comes in, after those before it, and as if it had
come last, after all others. What two blocks say in common counts for the first of them in the one table and for neither
in the other; what only one of them says counts in both.

The model of all blocks is a file for others by `save_cox`, and is applied to other people by `load_cox`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import special

from .compare_concordance import compare_concordance
from .cox import ChiSquared, CoxResult, cox_regression, likelihood_ratio_test
from .design import Covariate

_NOTHING = "nothing"


@dataclass(frozen=True, eq=False)
class Combination:
    """One Cox model of several blocks of covariates, and what each block adds.

    Both tables are indexed by block: `to` (the model that the block is added to), `chisq`, `df`, `p` (likelihood-ratio
    test), `c` (Harrell's, with the block), `difference` of C to the model without it, `difference_low`,
    `difference_high` (95 %), `difference_p`. Models are judged on the people they were fitted to, which favours large
    ones; `compare_fits` of `compare_models.py` judges `models` on others.

    Args:
        fit: The model of all blocks.
        models: Every model that was fitted, by name such as "age + FaceAge".
        in_order: Each block added to those before it.
        last: Each block added to all others.
    """

    fit: CoxResult
    models: dict[str, CoxResult] = field(repr=False)
    in_order: pd.DataFrame = field(repr=False)
    last: pd.DataFrame = field(repr=False)


def combine_scores(
    data: pd.DataFrame,
    duration: str,
    event: str,
    blocks: Mapping[str, Sequence[Covariate]],
    *,
    entry: str | None = None,
) -> Combination:
    """Fit one Cox model of all blocks of covariates, and test what each adds to those before it and to all others.

    Args:
        data: One row a person, without missing values in the columns used.
        duration: Column with the time of death or censoring.
        event: Column with 1 for death, 0 for censoring.
        blocks: Name to covariates, in the order in which they come in: what is known without a photo first, such as
            `{"age": [Scaled("age", per=10)], "FaceAge": [Scaled("faceage", per=10)],
            "FaceSurvival": [Standardised("risk")]}`.
        entry: Column with the time at which follow-up begins.

    Raises:
        ValueError: no block or an empty one, and what `cox_regression` refuses.

    Examples:
        >>> from fahr_hf.clinical import Scaled, load_cox, save_cox
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5, 6, 7, 8], "died": 1})
        >>> people["age"], people["faceage"] = [66, 58, 70, 61, 64, 60, 63, 56], [71, 66, 68, 60, 66, 58, 57, 59]
        >>> blocks = {"age": [Scaled("age", per=10)], "FaceAge": [Scaled("faceage", per=10)]}
        >>> found = combine_scores(people, "years", "died", blocks)
        >>> found.in_order[["to", "chisq", "df", "p"]].round(2)
                      to  chisq  df     p
        block
        age      nothing   2.42   1  0.12
        FaceAge      age   4.27   1  0.04
        >>> save_cox(found.fit, "combination.json", cohort="ours")
        >>> load_cox("combination.json").linear_predictor(pd.DataFrame({"age": [60], "faceage": [65]})).round(1).item()
        20.8
    """
    if empty := [name for name, covariates in blocks.items() if not covariates]:
        raise ValueError(f"The block {empty[0]!r} has no covariates; leave it out.")
    if not blocks:
        raise ValueError('blocks is empty; name at least one, such as {"FaceAge": ["faceage"]}.')
    models: dict[str, CoxResult] = {}

    def fit(names: Sequence[str]) -> CoxResult:
        name = " + ".join(names)
        if name not in models:
            covariates = [covariate for block in names for covariate in blocks[block]]
            models[name] = cox_regression(data, duration, event, covariates, entry=entry)
        return models[name]

    def added(block: str, others: Sequence[str]) -> dict[str, object]:
        without = fit(others) if others else None
        gain = _gain(without, fit([name for name in blocks if name == block or name in others]))
        return {"block": block, "to": " + ".join(others) or _NOTHING} | gain

    order = list(blocks)
    # The largest first: it refuses missing values in any block, so that all models are of the same people.
    largest = fit(order)
    in_order = [added(name, order[:place]) for place, name in enumerate(order)]
    last = [added(name, [other for other in order if other != name]) for name in order]
    return Combination(largest, models, *(pd.DataFrame(rows).set_index("block") for rows in (in_order, last)))


def _gain(smaller: CoxResult | None, larger: CoxResult) -> dict[str, object]:
    test = _against_nothing(larger) if smaller is None else likelihood_ratio_test(smaller, larger)
    y = larger.outcomes
    # Nothing ranks nobody: its C is a half.
    before = np.zeros(larger.n) if smaller is None else smaller.linear_predictor
    ranking = compare_concordance(y.event, y.duration, larger.linear_predictor, before, y.entry)
    return {
        "chisq": test.statistic,
        "df": test.df,
        "p": test.p,
        "c": ranking.c_a,
        "difference": ranking.difference,
        "difference_low": ranking.low,
        "difference_high": ranking.high,
        "difference_p": ranking.p,
    }


def _against_nothing(fit: CoxResult) -> ChiSquared:
    statistic = 2 * (fit.log_likelihood - fit.null_log_likelihood)
    return ChiSquared(statistic, len(fit.summary), float(special.chdtrc(len(fit.summary), statistic)))
