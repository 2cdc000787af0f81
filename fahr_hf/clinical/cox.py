"""Cox regression: hazard ratios of covariates, with the numbers of R's `coxph`.

The partial likelihood is maximised by our own Newton steps (`partial_likelihood.py`): statsmodels agrees with R on
coefficients, but its cluster-robust errors are NaN where rows are censored before the first death, it has no test of
proportional hazards, and 35,000 people with 15 covariates take it 30 s, and these steps half a second.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from .design import Covariate, check_complete, covariate_columns, fit_terms
from .outcomes import Outcomes, check_outcomes
from .partial_likelihood import Maximum, maximise
from .terms import Term, design_matrix

Z95 = float(special.ndtri(0.975))


@dataclass(frozen=True, eq=False)
class CoxResult:
    """A fitted Cox regression.

    Args:
        summary: Indexed by covariate: `coef` (log hazard ratio), `se`, `z`, `p` (two-sided, Wald), `hr`, `hr_low`,
            `hr_high` (95 % Wald interval). With `cluster`, `se` and what follows from it are robust.
        covariance: Of the coefficients; robust with `cluster`.
        naive_covariance: Inverse of the information.
        log_likelihood: Log partial likelihood.
        null_log_likelihood: The same with all coefficients 0.
        n: Rows.
        events: Deaths.
        ties: "efron" or "breslow".
        linear_predictor: x times coefficients, not centred, indexed as the data; higher means earlier death.
        terms: The covariates as fitted; `linear_predictor` and `predict_survival` of `prediction.py` compute them for
            other people.
        outcomes: Times and events of the fit.
        design: (n, p), the covariates as numbers.
        strata: (n,), numbers of strata; None without strata.
        strata_column: The column of strata, and ...
        strata_levels: ... its groups, in the order of their numbers; one nameless group without strata.
        clustered: Whether the errors are robust.
        maximum: What the tests of the fit compute with.

    Examples:
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": [1, 0, 1, 1, 1], "age": [70, 72, 58, 66, 60]})
        >>> fit = cox_regression(people, "years", "died", ["age"])
        >>> fit.linear_predictor.round(2).tolist()
        [6.5, 6.68, 5.38, 6.13, 5.57]
    """

    summary: pd.DataFrame
    covariance: pd.DataFrame = field(repr=False)
    naive_covariance: pd.DataFrame = field(repr=False)
    log_likelihood: float
    null_log_likelihood: float
    n: int
    events: int
    ties: str
    linear_predictor: pd.Series = field(repr=False)
    terms: tuple[Term, ...] = field(repr=False)
    outcomes: Outcomes = field(repr=False)
    design: np.ndarray = field(repr=False)
    strata: np.ndarray | None = field(repr=False)
    strata_column: str | None
    strata_levels: tuple[object, ...] = field(repr=False)
    clustered: bool
    maximum: Maximum = field(repr=False)


class ChiSquared(NamedTuple):
    """A test whose statistic is chi-squared with `df` degrees of freedom."""

    statistic: float
    df: int
    p: float


def cox_regression(
    data: pd.DataFrame,
    duration: str,
    event: str,
    covariates: Sequence[Covariate],
    *,
    entry: str | None = None,
    ties: Literal["efron", "breslow"] = "efron",
    strata: str | None = None,
    cluster: str | None = None,
) -> CoxResult:
    """Fit a Cox regression, as R's `coxph(Surv(entry, duration, event) ~ covariates + strata(s), cluster=c)`.

    Times that differ by rounding alone are tied, as in R (`check_outcomes`).

    Args:
        data: One row a person, or, with `entry`, one row an interval of follow-up.
        duration: Column with the time of death or censoring; a death at time 0 counts.
        event: Column with 1 for death, 0 for censoring.
        covariates: Numeric columns, hazard ratio per unit, or `Scaled("faceage", per=10)`, `Standardised("risk")`,
            `Categorical("sex", reference="male")`, `Spline("faceage", knots=4)`, `Interaction("faceage", "age")`.
        entry: Column with the time at which follow-up begins; a person is at risk on (entry, duration].
        ties: How tied deaths are handled.
        strata: Column of groups with baseline hazards of their own.
        cluster: Column saying which rows are dependent; gives robust errors (grouped score residuals, without a
            small-sample factor). A column that differs in every row gives R's `robust=TRUE`.

    Raises:
        ValueError: missing columns or values, text in numbers, no event, a covariate with one value, covariates that
            determine each other, or separation: no finite coefficient fits best. Messages name columns and rows,
            counted from 0.
        TypeError: covariates that are not a list.

    Warns:
        UserWarning: fewer events than coefficients.

    Examples:
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": [1, 0, 1, 1, 1], "age": [70, 72, 58, 66, 60]})
        >>> fit = cox_regression(people, "years", "died", ["age"])
        >>> fit.summary[["hr", "hr_low", "hr_high", "p"]].round(2)
                    hr  hr_low  hr_high     p
        covariate
        age        1.1    0.82     1.47  0.54
    """
    if ties not in ("efron", "breslow"):
        raise ValueError(f"ties must be 'efron' or 'breslow', got {ties!r}.")
    roles = [name for name in (duration, event, entry, strata, cluster) if name is not None]
    check_complete(data, [*roles, *covariate_columns(covariates)])
    outcomes = _outcomes(data, duration, event, entry)
    if clash := sorted({duration, event, entry or duration} & set(covariate_columns(covariates))):
        raise ValueError(f"{', '.join(clash)} is the outcome and cannot be a covariate.")
    terms = fit_terms(data, covariates)
    labels = [label for term in terms for label in term.labels]
    events = int(outcomes.event.sum())
    if events < len(labels):
        warnings.warn(f"events: {events}, coefficients: {len(labels)}; the estimates mean little.", stacklevel=2)
    design = design_matrix(terms, data)
    codes, levels = (None, (None,)) if strata is None else _groups(data[strata])
    maximum = maximise(outcomes, design, codes, ties == "efron", labels)
    covariance = maximum.covariance if cluster is None else _robust(maximum, _groups(data[cluster])[0])
    return CoxResult(
        summary=_summary(labels, maximum.beta, np.sqrt(np.diag(covariance))),
        covariance=pd.DataFrame(covariance, labels, labels),
        naive_covariance=pd.DataFrame(maximum.covariance, labels, labels),
        log_likelihood=maximum.log_likelihood,
        null_log_likelihood=maximum.null_log_likelihood,
        n=len(data),
        events=events,
        ties=ties,
        linear_predictor=pd.Series(design @ maximum.beta, index=data.index, name="linear_predictor"),
        terms=terms,
        outcomes=outcomes,
        design=design,
        strata=codes,
        strata_column=strata,
        strata_levels=levels,
        clustered=cluster is not None,
        maximum=maximum,
    )


def wald_test(result: CoxResult, labels: Sequence[str]) -> ChiSquared:
    """Test whether several coefficients are all 0, with robust errors where the fit has clusters.

    Args:
        result: A fitted Cox regression.
        labels: Rows of its summary.

    Raises:
        ValueError: names that are no rows of the summary.

    Examples:
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5], "died": 1, "age": [70, 72, 58, 66, 60]})
        >>> people["ill"] = [1, 0, 0, 1, 0]
        >>> fit = cox_regression(people, "years", "died", ["age", "ill"])
        >>> round(wald_test(fit, ["age", "ill"]).p, 3)
        0.441
    """
    if not labels or not set(labels) <= set(result.summary.index):
        raise ValueError(f"labels must be some of {', '.join(result.summary.index)}; got {list(labels)}.")
    coefficients = result.summary.loc[list(labels), "coef"].to_numpy()
    covariance = result.covariance.loc[list(labels), list(labels)].to_numpy()
    statistic = float(coefficients @ np.linalg.solve(covariance, coefficients))
    return ChiSquared(statistic, len(labels), float(special.chdtrc(len(labels), statistic)))


def likelihood_ratio_test(reduced: CoxResult, full: CoxResult) -> ChiSquared:
    """Test whether the covariates that `full` has beyond `reduced` improve the fit.

    Args:
        reduced: A fit whose covariates can be written with those of `full`, on the same rows.
        full: The larger fit.

    Raises:
        ValueError: fits that are not nested, on other rows, with other ties or strata, or with clusters, for which the
            likelihood is not that of independent rows.

    Examples:
        >>> people = pd.DataFrame({"years": [1, 2, 3, 4, 5, 6], "died": 1, "age": [70, 58, 66, 72, 60, 62]})
        >>> people["ill"] = [1, 1, 0, 1, 0, 0]
        >>> reduced = cox_regression(people, "years", "died", ["age"])
        >>> full = cox_regression(people, "years", "died", ["age", "ill"])
        >>> round(likelihood_ratio_test(reduced, full).p, 3)
        0.146
    """
    if reduced.clustered or full.clustered:
        raise ValueError(
            "A likelihood-ratio test takes independent rows; fit without cluster, or use the robust Wald p."
        )
    if reduced.ties != full.ties:
        raise ValueError(f"The fits handle ties differently: {reduced.ties} and {full.ties}.")
    if reduced.n != full.n or not all(
        np.array_equal(left, right) for left, right in zip(_rows(reduced), _rows(full), strict=True)
    ):
        raise ValueError(
            f"The fits are not on the same rows, entries and strata ({reduced.n} and {full.n} rows); drop the rows "
            "that lack a covariate of the full fit before either is made."
        )
    df = full.design.shape[1] - reduced.design.shape[1]
    if df < 1 or not _spans(full.design, reduced.design):
        raise ValueError(
            f"The fits are not nested: {', '.join(reduced.summary.index)} within {', '.join(full.summary.index)}."
        )
    statistic = max(2 * (full.log_likelihood - reduced.log_likelihood), 0.0)
    return ChiSquared(statistic, df, float(special.chdtrc(df, statistic)))


def _outcomes(data: pd.DataFrame, duration: str, event: str, entry: str | None) -> Outcomes:
    entries = None if entry is None else data[entry]
    outcomes = check_outcomes(data[duration], data[event], entries, (duration, event, str(entry)))
    if not outcomes.event.any():
        raise ValueError(f"{event} is 0 in all {len(outcomes)} rows; Cox regression needs at least one event.")
    return outcomes


def _groups(column: pd.Series) -> tuple[np.ndarray, tuple[object, ...]]:
    groups = column.astype("category").cat.remove_unused_categories()
    return groups.cat.codes.to_numpy(np.int64), tuple(groups.cat.categories.tolist())


def _robust(maximum: Maximum, clusters: np.ndarray) -> np.ndarray:
    residuals = np.zeros((clusters.max() + 1, len(maximum.beta)))
    np.add.at(residuals, clusters, maximum.moments.score_residuals() * maximum.scale)
    influence = residuals @ maximum.covariance
    return influence.T @ influence


def _summary(labels: list[str], beta: np.ndarray, se: np.ndarray) -> pd.DataFrame:
    z = beta / se
    with np.errstate(over="ignore"):  # per unit of something tiny, a hazard ratio may well be infinite
        hr, low, high = np.exp([beta, beta - Z95 * se, beta + Z95 * se])
    p = 2 * special.ndtr(-np.abs(z))
    columns = {"coef": beta, "se": se, "z": z, "p": p, "hr": hr, "hr_low": low, "hr_high": high}
    return pd.DataFrame(columns, index=pd.Index(labels, name="covariate"))


def _rows(result: CoxResult) -> list[np.ndarray]:
    nothing = np.zeros(0)
    return [
        result.outcomes.duration,
        result.outcomes.event,
        nothing if result.outcomes.entry is None else result.outcomes.entry,
        nothing if result.strata is None else result.strata,
    ]


def _spans(full: np.ndarray, reduced: np.ndarray) -> bool:
    """Whether every column of `reduced` is a combination of columns of `full` and a constant."""
    full = (full - full.mean(axis=0)) / full.std(axis=0)
    reduced = (reduced - reduced.mean(axis=0)) / reduced.std(axis=0)
    rest = reduced - full @ np.linalg.lstsq(full, reduced, rcond=None)[0]
    return bool(np.abs(rest).max() < 1e-6)
