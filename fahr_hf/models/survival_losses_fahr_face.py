"""Losses on risk scores: pairwise ranking and Cox's partial likelihood, both with censoring and delayed entry.

Both compare each death with the people who were under observation at that time. Somebody is observed on the interval
(entry, duration], as in R's `Surv(entry, duration, event)`; times are equal if their numbers are. Of n people of whom d
died, a loss looks at d x n pairs, a few deaths at a time, and forms them again for the gradient: its memory is of
order n.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

# Pairs in memory together; a few temporaries of 4 MiB in float32.
_PAIRS_AT_ONCE = 2**20
_NAMED = 5


def ranking_loss(
    risk: torch.Tensor,
    duration: torch.Tensor,
    event: torch.Tensor,
    entry: torch.Tensor | None = None,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Pairwise logistic ranking loss: of two people whose order of death is known, did the riskier one die first?

    L = mean of softplus(-(risk_i - risk_j) / temperature) over the comparable pairs: i died at t_i, and j was observed
    beyond t_i or censored at t_i itself, having entered before t_i. Since softplus(-x) >= ln 2 [x <= 0], L / ln 2 is
    never below 1 - C, the share of pairs in the wrong order (`fahr_hf.clinical.concordance`).

    The paper trains with a ranking loss whose formula we do not know; this one is ours.

    Args:
        risk: (n,) scores; higher means earlier death.
        duration: (n,), time to death or censoring, in years; at least 0.
        event: (n,), 1 or True where the follow-up ended in death, 0 or False where it was censored.
        entry: (n,), time at which observation began, at least 0 and earlier than `duration`; None if all from 0.
        temperature: Difference of scores that counts as clear; positive.

    Returns:
        A scalar, in float32 or, where the scores are, in float64. Without a comparable pair it is 0, with a gradient
        of 0; `comparable_pairs` counts them.

    Raises:
        ValueError: a temperature that is not positive, or labels that are no such labels; the message names them.

    Examples:
        >>> risk, duration, event = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0]), torch.tensor([1, 0])
        >>> round(ranking_loss(risk, duration, event).item(), 4)  # ln(1 + exp(-2))
        0.1269
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be a positive finite number, got {temperature}.")
    risk = _at_least_float32(risk)
    duration, died, entry = check_labels(risk, duration, event, entry)

    def of_deaths(risk: torch.Tensor, deaths: torch.Tensor) -> torch.Tensor:
        time = duration[deaths, None]
        outlives = (duration > time) | (duration == time) & ~died
        if entry is not None:
            outlives &= entry < time
        losses = nn.functional.softplus((risk - risk[deaths, None]) / temperature)
        return torch.where(outlives, losses, 0).sum()

    total = _sum_over_deaths(of_deaths, risk, died.nonzero()[:, 0])
    return total / comparable_pairs(duration, died, entry).clamp(min=1)


def comparable_pairs(duration: torch.Tensor, event: torch.Tensor, entry: torch.Tensor | None = None) -> torch.Tensor:
    """Number of pairs that `ranking_loss` compares, in n log n steps.

    Args:
        duration: As `ranking_loss`.
        event: As `ranking_loss`.
        entry: As `ranking_loss`.

    Returns:
        A scalar, int64.
    """
    died = event.bool()
    time, last = duration[died], duration.sort().values
    pairs = (len(last) - torch.searchsorted(last, time, right=True)).sum()
    censored = duration[~died].sort().values
    pairs += (torch.searchsorted(censored, time, right=True) - torch.searchsorted(censored, time)).sum()
    if entry is not None:
        # Who entered at t or later died or was censored after t, and so was counted above.
        dtype = torch.promote_types(time.dtype, entry.dtype)
        pairs -= (len(last) - torch.searchsorted(entry.to(dtype).sort().values, time.to(dtype))).sum()
    return pairs


def cox_loss(
    risk: torch.Tensor,
    duration: torch.Tensor,
    event: torch.Tensor,
    entry: torch.Tensor | None = None,
    ties: Literal["efron", "breslow"] = "efron",
) -> torch.Tensor:
    """Cox's negative log partial likelihood, divided by the number of deaths.

    With R the people observed at a time of death and D the d of them who die then, the l-th of these deaths
    (l = 0 ... d - 1) adds log(sum over R of exp(risk) - f sum over D of exp(risk)) - its own risk, f being l / d
    (Efron 1977) or 0 (Breslow 1974). Times -(number of deaths) it is the log likelihood of
    `fahr_hf.clinical.cox_regression` and of R's `coxph`.

    Args:
        risk: (n,), log hazard ratios; higher means earlier death.
        duration: As `ranking_loss`.
        event: As `ranking_loss`.
        entry: As `ranking_loss`.
        ties: How deaths at the same time are counted.

    Returns:
        A scalar, in float32 or, where the scores are, in float64. Without a death it is 0, with a gradient of 0.

    Raises:
        ValueError: an unknown handling of ties, or labels that are no such labels; the message names them.

    Examples:
        >>> risk, duration, event = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0]), torch.tensor([1, 0])
        >>> round(cox_loss(risk, duration, event).item(), 4)  # ln(exp(2) + 1) - 2
        0.1269
    """
    if ties not in ("efron", "breslow"):
        raise ValueError(f'ties must be "efron" or "breslow", got {ties!r}.')
    risk = _at_least_float32(risk)
    duration, died, entry = check_labels(risk, duration, event, entry)

    def of_deaths(risk: torch.Tensor, deaths: torch.Tensor, fraction: torch.Tensor) -> torch.Tensor:
        time = duration[deaths, None]
        observed = duration >= time
        if entry is not None:
            observed &= entry < time
        # Weights inside one sum, never a difference of two sums: nothing is lost where both are large.
        weight = observed.to(risk) - fraction[:, None] * (died & (duration == time))
        return (torch.logsumexp(risk + weight.log(), dim=1) - risk[deaths]).sum()

    deaths, earlier, tied = _ties(duration, died)
    fraction = earlier.to(risk) / tied if ties == "efron" else torch.zeros_like(risk[deaths])
    total = _sum_over_deaths(of_deaths, risk, deaths, fraction)
    return total / died.sum().clamp(min=1)


def check_labels(
    risk: torch.Tensor, duration: torch.Tensor, event: torch.Tensor, entry: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Labels that fit the scores, on their device.

    Args:
        risk: (n,).
        duration: As `ranking_loss`.
        event: As `ranking_loss`.
        entry: As `ranking_loss`.

    Returns:
        Duration, event as booleans, and entry.

    Raises:
        ValueError: labels of another shape, missing, infinite, negative, events other than 0 and 1, or an entry that is
            not before the end; the message names values and their places, counted from 0.
    """
    if risk.ndim != 1:
        raise ValueError(f"risk must have the shape (n,), got {tuple(risk.shape)}.")
    for name, values in (("duration", duration), ("event", event), ("entry", entry)):
        # (n, 1) against (n,) would broadcast to all pairs.
        if values is not None and values.shape != risk.shape:
            raise ValueError(f"{name} must have the shape {tuple(risk.shape)}, got {tuple(values.shape)}.")
    duration, event = duration.to(risk.device), event.to(risk.device)
    _refuse(duration, ~duration.isfinite() | (duration < 0), "duration must be at least 0, finite and not missing")
    _refuse(event, (event != 0) & (event != 1), "event must be 0 (censored) or 1 (death)")
    if entry is not None:
        entry = entry.to(risk.device)
        _refuse(entry, ~entry.isfinite() | (entry < 0), "entry must be at least 0, finite and not missing")
        _refuse(entry, entry >= duration, "entry must be earlier than duration")
    return duration, event.bool(), entry


def _refuse(values: torch.Tensor, wrong: torch.Tensor, rule: str) -> None:
    places = wrong.nonzero()[:, 0].tolist()
    if places:
        some = ", ".join(f"{values[place].item():g} at place {place}" for place in places[:_NAMED])
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        raise ValueError(f"{rule}; got {some}{more}.")


def _at_least_float32(risk: torch.Tensor) -> torch.Tensor:
    return risk.to(torch.promote_types(risk.dtype, torch.float32))


def _ties(duration: torch.Tensor, died: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Deaths in the order of their times; how many at the same time stand before each; and how many there are then."""
    deaths = died.nonzero()[:, 0]
    _, which, count = duration[deaths].unique(return_inverse=True, return_counts=True)
    order = which.argsort()
    which = which[order]
    earlier = torch.arange(len(deaths), device=deaths.device) - (count.cumsum(0) - count)[which]
    return deaths[order], earlier, count[which]


def _sum_over_deaths(
    of_deaths: Callable[..., torch.Tensor], risk: torch.Tensor, *columns: torch.Tensor
) -> torch.Tensor:
    """Add up a loss of some of the deaths, of_deaths(risk, *rows of the columns), over all of them."""
    rows = max(1, _PAIRS_AT_ONCE // max(1, len(risk)))
    # Also without a single death the result hangs on the scores, so that backward works.
    total = (0 * risk).sum()
    for chunk in zip(*(column.split(rows) for column in columns), strict=True):
        total = total + checkpoint(of_deaths, risk, *chunk, use_reentrant=False, preserve_rng_state=False)
    return total
