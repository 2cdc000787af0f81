"""The processes that share a run: those that `torchrun` or `accelerate launch` started, or this one alone."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

_Result = TypeVar("_Result")

# One waits for the others at the end, who may have a shard of large photos left.
_PATIENCE = timedelta(days=2)


@dataclass(frozen=True)
class Processes:
    """This process among the others.

    Args:
        index: From 0.
        count: Of all.
        device: Its accelerator; None if it has none, or the choice is free.
    """

    index: int = 0
    count: int = 1
    device: "torch.device | None" = None

    def first(self, work: Callable[[], _Result]) -> _Result:
        """Let the first process work while the others wait, and give its result to all of them.

        Raises:
            Exception: what the work raises, in the first process; the others end without a word.
        """
        if self.count == 1:
            return work()
        from accelerate.utils import broadcast_object_list

        outcome: list[Any] = [None, False]
        error = None
        if self.index == 0:
            try:
                outcome = [work(), True]
            except Exception as failure:
                error = failure
        broadcast_object_list(outcome)
        if error is not None:
            raise error
        if not outcome[1]:
            raise SystemExit(1)
        return outcome[0]

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


@contextmanager
def processes() -> Iterator[Processes]:
    """This process among those that were started together; each has its own accelerator, or its share of the cores.

    Raises:
        ImportError: there are several, and accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    import torch
    from accelerate import PartialState

    torch.set_num_threads(_share_cores())
    state = PartialState(cpu=not torch.accelerator.is_available(), timeout=_PATIENCE)
    device = None if state.device.type == "cpu" else state.device
    yield Processes(state.process_index, state.num_processes, device)
    state.destroy_process_group()


def _share_cores() -> int:
    """Keep this process to its share of the cores of the machine, and say how many these are."""
    index, count = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if not hasattr(os, "sched_setaffinity"):
        return max(1, (os.cpu_count() or 1) // count)
    cores = sorted(os.sched_getaffinity(0))
    share = max(1, len(cores) // count)
    start = index * share % len(cores)
    # Whatever counts cores before it starts threads, counts these.
    os.sched_setaffinity(0, cores[start : start + share])
    return share
