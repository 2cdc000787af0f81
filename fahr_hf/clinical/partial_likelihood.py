r"""Cox's partial likelihood with tied deaths, delayed entry and strata: value, slope, curvature, and its maximum.

At each time of death t the risk set R(t) holds the people of the stratum with entry < t <= duration. With r = exp(x b),
the l-th of the d deaths at t (l = 0 ... d - 1) is compared with the mean of x over the risk set

    S0 = sum_R r - f sum_D r,    mean = (sum_R r x - f sum_D r x) / S0,

D being the people dying at t, and f = l / d (Efron) or 0 (Breslow). Then

    log L  = sum over deaths of  x b - log S0
    score  = sum over deaths of  x - mean
    I      = sum over people of  r H x x'  -  sum over deaths of  mean mean'

with H the sum of 1 / S0 over the deaths at which somebody is at risk. That form of the information I needs no second
moments for each risk set: an evaluation costs a few sums over risk sets and two matrix products.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .outcomes import Outcomes
from .risk_intervals import RiskIntervals

_MOST_STEPS = 60
_CONVERGED = 1e-9  # expected gain in log likelihood of one more step
_RUNS_AWAY = 0.1  # change of the linear predictor in a step after convergence
_DEPENDENT = 1e-10  # smallest eigenvalue of the information of scaled covariates, its largest being about 1


class RiskSets:
    """Who is at risk at which deaths, and what can be summed over them; deaths are in the order of strata and times.

    Args:
        outcomes: Of n people.
        x: (n, p), covariates.
        strata: (n,), numbers of strata from 0.
        efron: Efron's handling of tied deaths, else Breslow's.
    """

    def __init__(self, outcomes: Outcomes, x: np.ndarray, strata: np.ndarray, efron: bool) -> None:
        self.strata = strata
        grid = np.unique(outcomes.duration[outcomes.event])
        # A time of death in a stratum is one number, larger than those of the strata before it.
        base = strata * (len(grid) + 1)
        dead = np.flatnonzero(outcomes.event)
        number = base[dead] + np.searchsorted(grid, outcomes.duration[dead])
        order = np.argsort(number, kind="stable")
        self.dead = dead[order]
        numbers, self.first_death, self.which, deaths = np.unique(
            number[order], return_index=True, return_inverse=True, return_counts=True
        )
        self.times = grid[numbers % (len(grid) + 1)]
        rank = np.arange(len(self.dead)) - self.first_death[self.which]
        self.fraction = rank / deaths[self.which] if efron else np.zeros(len(self.dead))
        entered = 0 if outcomes.entry is None else np.searchsorted(grid, outcomes.entry, side="right")
        left = np.searchsorted(grid, outcomes.duration, side="right")
        since, until = np.searchsorted(numbers, base + entered), np.searchsorted(numbers, base + left)
        self.at_risk = RiskIntervals(since, until, len(numbers))
        # A constant in x changes nothing, and without it less is lost where the information subtracts.
        sums = np.zeros((strata.max() + 1, x.shape[1]))
        np.add.at(sums, strata, x)
        self.x = x - (sums / np.bincount(strata)[:, None])[strata]

    def at_beta(self, beta: np.ndarray) -> "Moments":
        """Everything that depends on the coefficients."""
        eta = self.x @ beta
        largest = np.full(self.strata.max() + 1, -np.inf)
        np.maximum.at(largest, self.strata, eta)
        eta -= largest[self.strata]
        r = np.exp(eta)
        rx = r[:, None] * self.x
        total = self.at_risk.over_people(r)[self.which] - self.fraction * self._dying(r)[self.which]
        summed = self.at_risk.over_people(rx)[self.which] - self.fraction[:, None] * self._dying(rx)[self.which]
        return Moments(self, eta, r, total, summed / total[:, None])

    def hazards(self, per_death: np.ndarray) -> np.ndarray:
        """Sum a quantity of deaths, (deaths, ...), over those at which each person is at risk, (n, ...).

        Under Efron's method, somebody who dies is at risk to the part 1 - f only at the deaths tied with his own.
        """
        people = self.at_risk.over_times(self._each_time(per_death))
        weight = self.fraction.reshape(-1, *[1] * (per_death.ndim - 1))
        people[self.dead] -= self._each_time(weight * per_death)[self.which]
        return people

    def mean_of_ties(self, per_death: np.ndarray) -> np.ndarray:
        """Replace a quantity of deaths, (deaths, p), by its mean over the deaths at the same time."""
        return (self._each_time(per_death) / np.bincount(self.which)[:, None])[self.which]

    def _dying(self, values: np.ndarray) -> np.ndarray:
        return self._each_time(values[self.dead])

    def _each_time(self, per_death: np.ndarray) -> np.ndarray:
        return np.add.reduceat(per_death, self.first_death, axis=0)


@dataclass(frozen=True)
class Moments:
    """The risk sets of n people, of whom d die, at given coefficients.

    Args:
        sets: The risk sets.
        eta: (n,), linear predictor less its maximum in the stratum.
        r: (n,), exp(eta).
        total: (d,), S0 of the module's docstring.
        mean: (d, p), mean covariates of the risk sets.
    """

    sets: RiskSets
    eta: np.ndarray
    r: np.ndarray
    total: np.ndarray
    mean: np.ndarray

    def log_likelihood(self) -> float:
        """Log partial likelihood."""
        return float((self.eta[self.sets.dead] - np.log(self.total)).sum())

    def score(self, weight: np.ndarray | float = 1.0) -> np.ndarray:
        """Sum of covariates less their expectation over deaths, (p,), each death times a weight, (d,)."""
        return (self._weights(weight)[:, None] * (self.sets.x[self.sets.dead] - self.mean)).sum(axis=0)

    def information(self, weight: np.ndarray | float = 1.0) -> np.ndarray:
        """Sum over deaths of the covariances within the risk sets, (p, p), each death times a weight, (d,)."""
        weights = self._weights(weight)
        people = self.r * self.sets.hazards(weights / self.total)
        x = self.sets.x
        return (people[:, None] * x).T @ x - (weights[:, None] * self.mean).T @ self.mean

    def score_residuals(self) -> np.ndarray:
        """What each person adds to the score, (n, p); it adds up to `score()`."""
        sets = self.sets
        hazard = sets.hazards(1 / self.total)
        expected = sets.hazards(self.mean / self.total[:, None])
        residuals = -self.r[:, None] * (sets.x * hazard[:, None] - expected)
        residuals[sets.dead] += sets.x[sets.dead] - sets.mean_of_ties(self.mean)
        return residuals

    def _weights(self, weight: np.ndarray | float) -> np.ndarray:
        return np.broadcast_to(np.asarray(weight, np.float64), self.total.shape)


@dataclass(frozen=True)
class Maximum:
    """Where the partial likelihood is largest.

    Args:
        beta: (p,), coefficients.
        covariance: (p, p), inverse of the information.
        log_likelihood: At `beta`.
        null_log_likelihood: At coefficients of 0.
        scale: (p,), standard deviations of the covariates.
        moments: At the maximum, the covariates divided by `scale`.
    """

    beta: np.ndarray
    covariance: np.ndarray
    log_likelihood: float
    null_log_likelihood: float
    scale: np.ndarray
    moments: Moments


def maximise(
    outcomes: Outcomes, x: np.ndarray, strata: np.ndarray | None, efron: bool, labels: Sequence[str]
) -> Maximum:
    """Find the coefficients by Newton's method.

    Args:
        outcomes: Of n people, with at least one death.
        x: (n, p), covariates, none of them constant.
        strata: (n,), numbers of strata from 0; None for one stratum.
        efron: Efron's handling of tied deaths, else Breslow's.
        labels: p names for messages.

    Raises:
        ValueError: covariates that determine each other, or that separate those who die from those at risk, so that no
            finite coefficient is the best.
    """
    scale = x.std(axis=0)
    codes = np.zeros(len(outcomes), np.int64) if strata is None else strata
    sets = RiskSets(outcomes, x / scale, codes, efron)
    spread = np.ptp(x, axis=0) / scale
    beta = np.zeros(x.shape[1])
    value, slope, curvature = _evaluate(sets, beta)
    null = value
    _check_independent(curvature, labels)
    for _ in range(_MOST_STEPS):
        step = np.linalg.solve(curvature, slope)
        if slope @ step / 2 < _CONVERGED:
            break
        beta, (value, slope, curvature) = _climb(sets, beta, step, value)
    else:
        raise ValueError(_separated(labels, beta * spread))
    last = step
    for _ in range(2):  # from here on, Newton's steps square their error, unless the maximum is at infinity
        beta = beta + step
        value, slope, curvature = _evaluate(sets, beta)
        step = np.linalg.solve(curvature, slope)
    if not np.abs(step * spread).max() < _RUNS_AWAY:
        raise ValueError(_separated(labels, np.copysign(last, beta) * spread))
    covariance = np.linalg.inv(curvature) / np.outer(scale, scale)
    return Maximum(beta / scale, covariance, value, null, scale, sets.at_beta(beta))


def _evaluate(sets: RiskSets, beta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    # A step much too long may underflow; its likelihood is then not finite, and the step is halved.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        moments = sets.at_beta(beta)
        return moments.log_likelihood(), moments.score(), moments.information()


def _climb(
    sets: RiskSets, beta: np.ndarray, step: np.ndarray, value: float
) -> tuple[np.ndarray, tuple[float, np.ndarray, np.ndarray]]:
    for _ in range(_MOST_STEPS):
        found = _evaluate(sets, beta + step)
        if found[0] >= value - 1e-10 * abs(value) and all(np.isfinite(part).all() for part in found):
            break
        step = step / 2
    return beta + step, found


def _check_independent(information: np.ndarray, labels: Sequence[str]) -> None:
    diagonal = np.diag(information)
    flat = diagonal < _DEPENDENT * max(diagonal.max(), 1.0)
    if flat.any():
        names = ", ".join(np.asarray(labels)[flat])
        raise ValueError(
            f"Among those at risk when somebody dies, {names} has a single value; leave it out of the covariates."
        )
    eigenvalues, vectors = np.linalg.eigh(information / np.sqrt(np.outer(diagonal, diagonal)))
    if eigenvalues[0] < _DEPENDENT:
        names = ", ".join(np.asarray(labels)[np.abs(vectors[:, 0]) > 1e-3])
        raise ValueError(f"{names} determine each other within the risk sets; leave one of them out of the covariates.")


def _separated(labels: Sequence[str], moves: np.ndarray) -> str:
    away = np.abs(moves) >= 0.1 * np.abs(moves).max()
    runs = [f"{label} to {'+' if move > 0 else '-'}infinity" for label, move in zip(labels, moves, strict=True)]
    return (
        f"No finite coefficients fit best: {', '.join(np.asarray(runs)[away])}. The covariate separates those who die "
        "from those at risk, as a group without a single event does; merge groups, or leave it out of the covariates."
    )
