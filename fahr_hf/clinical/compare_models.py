"""Does a score add to what is known without it? Named Cox models side by side, on the same people.

`compare_models` fits and compares them; `compare_fits` compares finished fits on people they have not seen, such as an
external cohort. On the people it was fitted to a model looks too good: `optimism.py` says by how much.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .brier import brier_score, integrated_brier_score
from .compare_concordance import compare_concordance
from .concordance import concordance
from .cox import Z95, CoxResult, cox_regression, likelihood_ratio_test
from .design import Covariate, check_complete, covariate_columns
from .discrimination import auc_over_time, uno_concordance
from .ipcw import check_times
from .outcomes import Outcomes, check_column, check_outcomes
from .prediction import linear_predictor, predict_survival

_GRID = 100


@dataclass(frozen=True, eq=False)
class Performance:
    """How well fitted models predict n people. Tables that could not be made are None, and `problems` says why.

    Args:
        n: People with all covariates of all models.
        events: Deaths among them.
        dropped: People left out because a covariate of some model is missing.
        concordance: Indexed by model: Harrell's `c`, `se`, `low`, `high` (95 %, normal).
        differences: One row for each pair, in the order of the models: `model`, `against`, `difference` of their C
            (above 0: `model` is better), `se`, `low`, `high`, `z`, `p`.
        uno: Indexed by model: Uno's `c` with tau the last of the times.
        auc: `model`, `time`, `auc` (cumulative/dynamic), `cases`, `controls`.
        brier: `model`, `time`, `brier`, `reference` (of the Kaplan-Meier estimate), `scaled`.
        integrated_brier: Indexed by model: `integrated_brier`, the mean Brier score from the first death to the last
            of the times.
        problems: Name of a table to the reason why it is absent.
    """

    n: int
    events: int
    dropped: int
    concordance: pd.DataFrame = field(repr=False)
    differences: pd.DataFrame = field(repr=False)
    uno: pd.DataFrame | None = field(repr=False)
    auc: pd.DataFrame | None = field(repr=False)
    brier: pd.DataFrame | None = field(repr=False)
    integrated_brier: pd.DataFrame | None = field(repr=False)
    problems: dict[str, str]


@dataclass(frozen=True, eq=False)
class ModelComparison(Performance):
    """Models fitted to n people, and how well they predict these same people.

    Args:
        fits: Name of a model to its fit.
        models: Indexed by model: `coefficients`, `events_per_parameter`, `log_likelihood`, `aic`.
        likelihood_ratio: One row for each nested pair: `reduced`, `full`, `chisq`, `df`, `p`.
    """

    fits: dict[str, CoxResult] = field(repr=False)
    models: pd.DataFrame = field(repr=False)
    likelihood_ratio: pd.DataFrame = field(repr=False)


def compare_models(
    data: pd.DataFrame,
    duration: str,
    event: str,
    models: Mapping[str, Sequence[Covariate]],
    times: ArrayLike,
    entry: str | None = None,
) -> ModelComparison:
    """Fit Cox models to the same people and compare how well they predict.

    People who lack a covariate of any model are left out of all, and counted.

    Args:
        data: One row a person.
        duration: Column with the time of death or censoring.
        event: Column with 1 for death, 0 for censoring.
        models: At least one name and its covariates, such as `{"clinical": [...], "clinical + FaceAge": [...]}`.
        times: (k,), horizons of AUC and Brier score, rising, within the follow-up.
        entry: Column with the time at which follow-up begins; Uno's C, AUC and Brier scores are then absent.

    Raises:
        ValueError: no model, absent columns, and what `cox_regression` refuses; the message names the model.

    Examples:
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5, 6], "died": 1, "age": [70, 58, 66, 72, 60, 62]})
        >>> people["score"] = [0.6, 0.4, 0.8, 0.5, 0.3, 0.2]
        >>> models = {"age": ["age"], "age + score": ["age", "score"]}
        >>> found = compare_models(people, "years", "died", models, times=[3, 5])
        >>> found.concordance["c"].round(3).to_dict()
        {'age': 0.533, 'age + score': 0.8}
    """
    if not models:
        raise ValueError('models is empty; name at least one, such as {"clinical": ["age"]}.')
    columns = {name: covariate_columns(covariates) for name, covariates in models.items()}
    complete = _complete(data, [column for some in columns.values() for column in some])
    fits = {name: _fit(complete, duration, event, models[name], entry, name) for name in models}
    found = compare_fits(fits, complete, duration, event, times, entry)
    about = {
        "coefficients": [len(fit.summary) for fit in fits.values()],
        "events_per_parameter": [events_per_parameter(fit) for fit in fits.values()],
        "log_likelihood": [fit.log_likelihood for fit in fits.values()],
        "aic": [2 * len(fit.summary) - 2 * fit.log_likelihood for fit in fits.values()],
    }
    return ModelComparison(
        **{**vars(found), "dropped": len(data) - len(complete)},
        fits=fits,
        models=pd.DataFrame(about, index=pd.Index(fits, name="model")),
        likelihood_ratio=_nested_tests(fits),
    )


def compare_fits(
    fits: Mapping[str, CoxResult],
    data: pd.DataFrame,
    duration: str,
    event: str,
    times: ArrayLike,
    entry: str | None = None,
) -> Performance:
    """Compare fitted models on other people, with coefficients and baseline hazards as they are.

    Args:
        fits: Name of a model to its fit.
        data: One row a person.
        duration: As `compare_models`.
        event: As `compare_models`.
        times: As `compare_models`.
        entry: As `compare_models`.

    Raises:
        ValueError: absent columns, unusable outcomes, no comparable pair of people.
    """
    complete = _complete(data, [column for fit in fits.values() for term in fit.terms for column in term.columns])
    outcomes = check_outcomes(*(complete[name] for name in (duration, event, *([entry] if entry else []))))
    risks = {name: linear_predictor(fit, complete).to_numpy() for name, fit in fits.items()}
    ranking = {"concordance": _concordances(outcomes, risks), "differences": _differences(outcomes, risks)}
    horizons = check_column(np.atleast_1d(times), "times")
    y = (outcomes.event, outcomes.duration)
    tables: dict[str, pd.DataFrame | None] = {}
    problems: dict[str, str] = {}

    def survival(name: str, at: np.ndarray) -> np.ndarray:
        return predict_survival(fits[name], complete, at)

    def attempt(table: str, make: Callable[[], pd.DataFrame]) -> None:
        tables[table] = None
        try:
            if outcomes.entry is not None:
                raise ValueError("Not defined with delayed entry: its weights are of people observed from the start.")
            check_times(horizons, outcomes)
            tables[table] = make()
        except (ImportError, ValueError) as error:
            problems[table] = str(error)

    grid = np.linspace(outcomes.duration[outcomes.event].min(), horizons[-1], _GRID)
    attempt("uno", lambda: _each({name: uno_concordance(*y, risks[name], horizons[-1]) for name in fits}, "c"))
    attempt("auc", lambda: _stack({name: auc_over_time(*y, risks[name], horizons) for name in fits}))
    attempt("brier", lambda: _stack({name: brier_score(*y, survival(name, horizons), horizons) for name in fits}))
    attempt(
        "integrated_brier",
        lambda: _each(
            {name: integrated_brier_score(*y, survival(name, grid), grid) for name in fits}, "integrated_brier"
        ),
    )
    return Performance(
        n=len(complete),
        events=int(outcomes.event.sum()),
        dropped=len(data) - len(complete),
        problems=problems,
        **ranking,
        **tables,
    )


def events_per_parameter(result: CoxResult) -> float:
    """Deaths for each coefficient; below about 10, estimates are unstable and their C is optimistic.

    Examples:
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": [1, 0, 1, 1, 1], "age": [70, 72, 58, 66, 60]})
        >>> events_per_parameter(cox_regression(people, "years", "died", ["age"]))
        4.0
    """
    return result.events / len(result.summary)


def _complete(data: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    check_complete(data.dropna(subset=[column for column in columns if column in data]), columns)
    return data.dropna(subset=columns)


def _fit(
    data: pd.DataFrame, duration: str, event: str, covariates: Sequence[Covariate], entry: str | None, name: str
) -> CoxResult:
    try:
        return cox_regression(data, duration, event, covariates, entry=entry)
    except ValueError as error:
        raise ValueError(f"Model {name!r}: {error}") from None


def _nested_tests(fits: Mapping[str, CoxResult]) -> pd.DataFrame:
    rows = []
    for pair in combinations(fits, 2):
        reduced, full = sorted(pair, key=lambda name: len(fits[name].summary))
        try:
            rows.append((reduced, full, *likelihood_ratio_test(fits[reduced], fits[full])))
        except ValueError:  # Not nested; all else is the same in both
            continue
    return pd.DataFrame(rows, columns=["reduced", "full", "chisq", "df", "p"])


def _concordances(outcomes: Outcomes, risks: Mapping[str, np.ndarray]) -> pd.DataFrame:
    found = [concordance(outcomes.event, outcomes.duration, risk, outcomes.entry) for risk in risks.values()]
    table = pd.DataFrame(found, pd.Index(risks, name="model"), ["c", "se"])
    return table.assign(low=table["c"] - Z95 * table["se"], high=table["c"] + Z95 * table["se"])


def _differences(outcomes: Outcomes, risks: Mapping[str, np.ndarray]) -> pd.DataFrame:
    rows = []
    for against, model in combinations(risks, 2):
        found = compare_concordance(outcomes.event, outcomes.duration, risks[model], risks[against], outcomes.entry)
        rows.append((model, against, found.difference, found.se, found.low, found.high, found.z, found.p))
    return pd.DataFrame(rows, columns=["model", "against", "difference", "se", "low", "high", "z", "p"])


def _each(values: Mapping[str, float], column: str) -> pd.DataFrame:
    return pd.DataFrame({column: values}).rename_axis("model")


def _stack(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, names=["model", None]).reset_index("model").reset_index(drop=True)
