"""Dose and response: the hazard ratio along the values of a covariate, and whether it follows a straight line."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .cox import Z95, ChiSquared, CoxResult, wald_test
from .outcomes import check_column
from .terms import GroupTerm, InteractionTerm, SplineTerm, Term


def dose_response(result: CoxResult, column: str, values: ArrayLike, reference: float) -> pd.DataFrame:
    """Hazard ratios of the values of a column against a reference value, other covariates being the same.

    With d the difference of the term's columns of the design matrix, log HR = d b and its variance is d V d', b being
    the coefficients and V their covariance. The intervals are pointwise.

    Args:
        result: A Cox regression with the column as a number or a `Spline`.
        column: The column, in the unit of the data.
        values: (k,), usually the range of the data; beyond it a spline is a straight line.
        reference: The value whose hazard ratio is 1.

    Returns:
        One row a value: `value`, `hr`, `hr_low`, `hr_high` (95 %, robust if the fit has clusters).

    Raises:
        ValueError: a column that is no number or spline of the fit, or has an interaction; values that are no numbers.

    Examples:
        >>> from fahr_hf.clinical import Spline, cox_regression
        >>> age = np.arange(40, 80)
        >>> people = pd.DataFrame({"years": 100 - age + 20 * np.sin(age), "died": 1, "age": age})
        >>> fit = cox_regression(people, "years", "died", [Spline("age", knots=3)])
        >>> dose_response(fit, "age", [50, 60, 70], reference=60).round(2)
           value    hr  hr_low  hr_high
        0   50.0  0.43    0.25     0.73
        1   60.0  1.00    1.00     1.00
        2   70.0  1.96    1.19     3.25
    """
    term = _term(result, column)
    wanted = check_column(np.atleast_1d(values), "values")
    rows = term.values(pd.DataFrame({column: [reference, *wanted]}))
    labels = list(term.labels)
    difference = rows[1:] - rows[0]
    log_ratio = difference @ result.summary.loc[labels, "coef"].to_numpy()
    variance = (difference @ result.covariance.loc[labels, labels].to_numpy() * difference).sum(axis=1)
    margin = Z95 * np.sqrt(variance)
    with np.errstate(over="ignore"):
        hr, low, high = np.exp([log_ratio, log_ratio - margin, log_ratio + margin])
    return pd.DataFrame({"value": wanted, "hr": hr, "hr_low": low, "hr_high": high})


def nonlinearity_test(result: CoxResult, column: str) -> ChiSquared:
    """Wald test of whether the log hazard ratio bends: all coefficients of a spline but its first, of x itself, are 0.

    For the likelihood-ratio test, fit the column once as a `Spline` and once as a number, and use
    `likelihood_ratio_test`.

    Raises:
        ValueError: a column that is no `Spline` of the fit, or has an interaction.

    Examples:
        >>> from fahr_hf.clinical import Spline, cox_regression
        >>> age = np.arange(40, 80)
        >>> people = pd.DataFrame({"years": 100 - age + 20 * np.sin(age), "died": 1, "age": age})
        >>> fit = cox_regression(people, "years", "died", [Spline("age", knots=3)])
        >>> round(nonlinearity_test(fit, "age").p, 3)
        0.635
    """
    term = _term(result, column)
    if not isinstance(term, SplineTerm):
        raise ValueError(f"{column} is a straight line in this fit; fit it as Spline({column!r}).")
    return wald_test(result, term.labels[1:])


def _term(result: CoxResult, column: str) -> Term:
    names = ", ".join(term.name for term in result.terms)
    terms = [term for term in result.terms if column in term.columns]
    if not terms:
        raise ValueError(f"{column} is no covariate of the fit, which has {names}.")
    if any(isinstance(term, InteractionTerm) for term in terms):
        raise ValueError(f"{column} has an interaction, so its hazard ratios depend on another covariate: {names}.")
    if isinstance(terms[0], GroupTerm):
        raise ValueError(f"{column} has groups, not numbers; their hazard ratios are rows of the summary.")
    return terms[0]
