"""A memory of past scores, by which a small batch is compared with many people; approximate.

Of the b people of a step, each meets b - 1 others, and with a memory also everybody whose score is remembered. A
remembered score is a constant: gradients pass through the people of the step alone. That would be exact if scores did
not change between steps. They do, so the larger the memory and the faster the learning, the staler is what it holds.
The idea is that of cross-batch memories of embeddings (Wang et al. 2020). Where only the device's memory is short,
batches that are accumulated (`gradient_caching`) compare as many people without this error.

Nobody is compared twice: a newer score takes the place of the older one of the same person, and people of the step
count as scored now. So the risk sets of Cox's loss are sets of people, too.
"""

from collections.abc import Callable

import torch


class ScoreMemory:
    """A joint loss of the people of a step and of those remembered; each call remembers the people of its step.

    Where several processes share a step, each calls this with the people of all, and so all remember the same.

    Args:
        loss: A scalar of scores, (n,), and their labels, (n,) each, that does not depend on the order of people.
        size: People that are remembered at most, at least 1; those scored longest ago are forgotten first.

    Raises:
        ValueError: a size below 1.

    Examples:
        >>> from fahr_hf.models.survival_losses_fahr_face import ranking_loss
        >>> memory = ScoreMemory(ranking_loss, size=100)
        >>> person, risk, duration, event = torch.tensor([[7.0], [2.0], [1.0], [1.0]])
        >>> memory(risk, duration, event, person).item()  # nobody to compare with
        0.0
        >>> person, risk, duration, event = torch.tensor([[8.0], [0.0], [3.0], [0.0]])
        >>> round(memory(risk, duration, event, person).item(), 4)  # ln(1 + exp(-2))
        0.1269
    """

    def __init__(self, loss: Callable[..., torch.Tensor], size: int):
        if size < 1:
            raise ValueError(f"A memory of scores must hold at least 1 person, got {size}.")
        self.loss, self.size = loss, size
        self.columns: list[torch.Tensor] = []
        """Scores, labels and persons, (m,) each, the oldest first; empty before the first step. A run's checkpoints
        hold them, without which it could not go on as if it had not been interrupted."""

    def __call__(self, risk: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        """The loss of everybody, with a gradient for this step's b people, N / b times as large with N people in all.

        So the steps of an epoch have on average the gradient that all N would have at once, if scores did not change.

        Args:
            risk: (b,).
            *labels: (b,) each, as `loss` takes them, and at last a number for each person.
        """
        now = [risk, *labels]
        before = [column.to(risk.device) for column in self.columns] or [column[:0].detach() for column in now]
        others = ~torch.isin(before[-1], labels[-1])
        people = len(risk) + int(others.sum())
        # The same values, bit by bit, with a steeper slope.
        steeper = risk.detach() + (risk - risk.detach()) * (people / len(risk))
        compared = [torch.cat([old[others], new]) for old, new in zip(before, [steeper, *labels], strict=True)]
        loss = self.loss(*compared[:-1])
        self._remember([torch.cat([old, new.detach()]) for old, new in zip(before, now, strict=True)])
        return loss

    def _remember(self, columns: list[torch.Tensor]) -> None:
        """Keep the last score of each of the last people."""
        _, which = columns[-1].unique(return_inverse=True)
        places = torch.arange(len(which), device=which.device)
        last = torch.zeros_like(which).scatter_reduce(0, which, places, "amax")
        self.columns = [column[last[which] == places][-self.size :] for column in columns]
