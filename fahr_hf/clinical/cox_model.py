"""A Cox model as a file: what other people need to apply it, and nothing of the people it was fitted on.

The file is JSON: covariates with their units, groups and knots; coefficients and covariance; and the baseline hazard at
round times, at most 256 of them, in place of the times at which somebody died. `load_cox` gives a `CoxModel`, which
predicts for an external cohort without the data, and without the result, of the fit.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .cox import CoxResult
from .prediction import check_times, hazards_at, log_ratio, stratum_codes, survival
from .terms import GroupTerm, InteractionTerm, NumberTerm, SplineTerm, Term
from .time_grid import round_times

_FORMAT = "fahr-hf Cox model 1"
_MOST_TIMES = 256
_KINDS: dict[str, type[Term]] = {
    "number": NumberTerm,
    "groups": GroupTerm,
    "spline": SplineTerm,
    "interaction": InteractionTerm,
}


@dataclass(frozen=True, eq=False)
class CoxModel:
    """A fitted Cox regression without the people it was fitted on.

    Args:
        cohort: Name of the development cohort.
        n: Its rows.
        events: Its deaths.
        ties: "efron" or "breslow".
        terms: The covariates as fitted.
        coefficients: Log hazard ratios, indexed by covariate.
        covariance: Of the coefficients; robust if the fit had clusters.
        times: (k,), round times from 0, equally spaced.
        hazards: (strata, k), cumulative baseline hazard after each time; NaN beyond the follow-up of a stratum.
        strata_column: The column of strata, or None.
        strata_levels: Its groups.

    Examples:
        >>> from fahr_hf.clinical import cox_regression
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": [1, 0, 1, 1, 1], "age": [70, 72, 58, 66, 60]})
        >>> save_cox(cox_regression(people, "years", "died", ["age"]), "ours.json", cohort="ours")
        >>> load_cox("ours.json").predict_survival(pd.DataFrame({"age": [55, 65]}), times=[2, 4]).round(2).tolist()
        [[0.93, 0.62], [0.84, 0.3]]
    """

    cohort: str
    n: int
    events: int
    ties: str
    terms: tuple[Term, ...] = field(repr=False)
    coefficients: pd.Series = field(repr=False)
    covariance: pd.DataFrame = field(repr=False)
    times: np.ndarray = field(repr=False)
    hazards: np.ndarray = field(repr=False)
    strata_column: str | None
    strata_levels: tuple[object, ...] = field(repr=False)

    def linear_predictor(self, data: pd.DataFrame) -> pd.Series:
        """The log hazard ratio of other people, the same number as `prediction.linear_predictor` gives.

        Raises:
            ValueError: missing columns or values, text in numbers, groups that the fit did not see.
        """
        return log_ratio(self.terms, self.coefficients, data)

    def predict_survival(self, data: pd.DataFrame, times: ArrayLike) -> np.ndarray:
        """The probability that each person is alive after each time.

        At the times of the model, it is that of `prediction.predict_survival`. Between two of them the hazard is taken
        as a straight line, so that the error is at most the difference of the probabilities at the two.

        Args:
            data: One row a person, with the column of strata if the model has any.
            times: (k,) or one number, at least 0, in any order.

        Returns:
            (n, k); NaN beyond the last time of the model (in the person's stratum).

        Raises:
            ValueError: as `linear_predictor`, negative times, strata that the fit did not see.
        """
        wanted = check_times(times)
        eta = self.linear_predictor(data).to_numpy()
        hazards = np.stack([np.interp(wanted, self.times, hazard, right=np.nan) for hazard in self.hazards])
        return survival(hazards[stratum_codes(data, self.strata_column, self.strata_levels)], eta)


def save_cox(result: CoxResult, path: str | Path, cohort: str) -> None:
    """Write a fitted Cox regression as JSON, without anything of single people.

    Args:
        result: The fit.
        path: The file; one that is there is replaced.
        cohort: Name of the people it was fitted on.

    Raises:
        ValueError: groups that JSON cannot hold, such as intervals or dates.

    Examples:
        >>> from fahr_hf.clinical import cox_regression
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": [1, 0, 1, 1, 1], "age": [70, 72, 58, 66, 60]})
        >>> save_cox(cox_regression(people, "years", "died", ["age"]), "ours.json", cohort="ours")
        >>> list(json.loads(Path("ours.json").read_text()))
        ['format', 'cohort', 'n', 'events', 'ties', 'terms', 'coefficients', 'covariance', 'strata', 'baseline']
    """
    content = cox_content(result, cohort)
    Path(path).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def cox_content(result: CoxResult, cohort: str) -> dict[str, Any]:
    """What `save_cox` writes, for whoever puts it among other files.

    Raises:
        ValueError: as `save_cox`.
    """
    times = round_times(float(result.outcomes.duration.max()), _MOST_TIMES - 2)
    hazards = hazards_at(result, times)
    return {
        "format": _FORMAT,
        "cohort": cohort,
        "n": result.n,
        "events": result.events,
        "ties": result.ties,
        "terms": [_encode(term) for term in result.terms],
        "coefficients": result.summary["coef"].tolist(),
        "covariance": result.covariance.to_numpy().tolist(),
        "strata": {"column": result.strata_column, "levels": [_plain(level) for level in result.strata_levels]},
        "baseline": {
            "times": times.tolist(),
            "hazards": [[value if math.isfinite(value) else None for value in row] for row in hazards.tolist()],
        },
    }


def load_cox(path: str | Path) -> CoxModel:
    """Read what `save_cox` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file.

    Examples:
        >>> from fahr_hf.clinical import cox_regression
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": [1, 0, 1, 1, 1], "age": [70, 72, 58, 66, 60]})
        >>> save_cox(cox_regression(people, "years", "died", ["age"]), "ours.json", cohort="ours")
        >>> load_cox("ours.json").coefficients.round(3).to_dict()
        {'age': 0.093}
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{path} is no {_FORMAT!r} file, as save_cox writes it.")
    terms = tuple(_decode(term) for term in content["terms"])
    labels = [label for term in terms for label in term.labels]
    return CoxModel(
        cohort=content["cohort"],
        n=content["n"],
        events=content["events"],
        ties=content["ties"],
        terms=terms,
        coefficients=pd.Series(content["coefficients"], labels),
        covariance=pd.DataFrame(content["covariance"], labels, labels),
        times=np.array(content["baseline"]["times"]),
        hazards=np.array(content["baseline"]["hazards"], np.float64),
        strata_column=content["strata"]["column"],
        strata_levels=tuple(content["strata"]["levels"]),
    )


def _encode(term: Term) -> dict[str, Any]:
    kind = next(name for name, kind in _KINDS.items() if isinstance(term, kind))
    values = {item.name: getattr(term, item.name) for item in dataclasses.fields(term)}
    return {"kind": kind} | {name: _plain(value) for name, value in values.items()}


def _plain(value: object) -> Any:
    if isinstance(value, Term):
        return _encode(value)
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    value = value.item() if isinstance(value, np.generic) else value
    if value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is a {type(value).__name__}, which a file cannot hold; make it text first.")
    return value


def _decode(content: dict[str, Any]) -> Term:
    values = {name: value for name, value in content.items() if name != "kind"}
    for name, value in values.items():
        if isinstance(value, dict):
            values[name] = _decode(value)
        elif isinstance(value, list):
            values[name] = tuple(value)
    return _KINDS[content["kind"]](**values)
