"""Draws of one column given the others, of which chained equations (`imputation.py`) are made."""

import numpy as np
from scipy import optimize, special

_DONORS = 5
_RIDGE = 1e-5  # of the predictors' squares: keeps collinear predictors apart, and changes nothing else
_PRIOR = 2.5  # standard deviation of a group's log odds ratios: keeps them finite where a group is separated


def match_means(y: np.ndarray, known: np.ndarray, gaps: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Predictive mean matching: values of people whose predicted means lie near those of the gaps.

    The means of the gaps are predicted with coefficients drawn from their posterior, those of the known with the most
    likely ones; each gap takes the value of one of the five nearest.

    Args:
        y: (n,), known values.
        known: (n, p), their predictors, standardised, with a leading 1.
        gaps: (g, p), predictors of the gaps.
        random: Of the draws.

    Returns:
        (g,), values out of y.
    """
    square = known.T @ known
    covariance = np.linalg.inv(square + _RIDGE * np.diag(np.diag(square)) + _RIDGE * np.eye(len(square)))
    beta = covariance @ (known.T @ y)
    rest = np.square(y - known @ beta).sum()
    sigma = np.sqrt(rest / random.chisquare(max(len(y) - known.shape[1], 1)))
    drawn = beta + sigma * np.linalg.cholesky(covariance) @ random.standard_normal(len(beta))
    donors = random.permutation(len(y))  # equal predictions must not always be served by the same rows
    donors = donors[np.argsort((known @ beta)[donors], kind="stable")]
    predicted, wanted = (known @ beta)[donors], gaps @ drawn
    number = min(_DONORS, len(y))
    around = np.searchsorted(predicted, wanted)[:, None] + np.arange(-number, number)
    inside = (around >= 0) & (around < len(y))
    around = np.clip(around, 0, len(y) - 1)
    distance = np.where(inside, np.abs(predicted[around] - wanted[:, None]), np.inf)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :number]
    chosen = nearest[np.arange(len(gaps)), random.integers(0, number, len(gaps))]
    return y[donors[around[np.arange(len(gaps)), chosen]]]


def draw_groups(
    y: np.ndarray, known: np.ndarray, gaps: np.ndarray, start: np.ndarray | None, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Groups drawn with the probabilities of a multinomial regression, its coefficients drawn from their posterior.

    Args:
        y: (n,), known groups, 0 ... k - 1, none of them empty.
        known: (n, p), their predictors, standardised, with a leading 1.
        gaps: (g, p), predictors of the gaps.
        start: Coefficients near the most likely ones, as returned for similar predictors; None for 0.
        random: Of the draws.

    Returns:
        (g,), groups; and ((k - 1) p,), the most likely coefficients.
    """
    regression = _Multinomial(known, y)
    mode, drawn = regression.posterior(np.zeros(regression.size) if start is None else start, random)
    reached = np.cumsum(regression.probabilities(drawn, gaps), axis=1)
    return (random.random((len(gaps), 1)) > reached[:, :-1]).sum(axis=1), mode


class _Multinomial:
    """Multinomial regression of the groups y, 0 ... k - 1, on x, (n, p), with coefficients (k - 1, p) as one vector."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.others = x, int(y.max())
        self.is_group = (y[:, None] == np.arange(1, self.others + 1)).astype(np.float64)
        self.size = self.others * x.shape[1]
        self.precision = np.tile([0.0, *np.full(x.shape[1] - 1, 1 / _PRIOR**2)], self.others)

    def probabilities(self, beta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Of every group, (n, k)."""
        return special.softmax(self._logits(beta, x), axis=1)

    def posterior(self, start: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The most likely coefficients, and a draw from the normal distribution around them (Laplace)."""
        found = optimize.minimize(self._loss, start, jac=True, hess=self._curvature, method="trust-exact")
        spread = np.linalg.cholesky(np.linalg.inv(found.hess))
        return found.x, found.x + spread @ random.standard_normal(len(found.x))

    def _logits(self, beta: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.hstack([np.zeros((len(x), 1)), x @ beta.reshape(self.others, -1).T])

    def _loss(self, beta: np.ndarray) -> tuple[float, np.ndarray]:
        logits = self._logits(beta, self.x)
        total = special.logsumexp(logits, axis=1, keepdims=True)
        value = total.sum() - (self.is_group * logits[:, 1:]).sum() + (self.precision * beta**2).sum() / 2
        slope = (np.exp(logits - total)[:, 1:] - self.is_group).T @ self.x
        return float(value), slope.ravel() + self.precision * beta

    def _curvature(self, beta: np.ndarray) -> np.ndarray:
        share, p = self.probabilities(beta, self.x)[:, 1:], self.x.shape[1]
        curvature = np.diag(self.precision)
        for i in range(self.others):
            for j in range(i + 1):
                weight = share[:, i] * ((i == j) - share[:, j])
                block = self.x.T @ (weight[:, None] * self.x)
                rows, columns = slice(i * p, (i + 1) * p), slice(j * p, (j + 1) * p)
                curvature[rows, columns] += block
                if i > j:
                    curvature[columns, rows] += block
        return curvature
