"""Gradients of a loss that compares people across batches, in the memory of one batch (Gao et al. 2021).

Losses of pairs do not add up over parts of a batch: two people in different parts are never compared. But the gradient
passes through the scores alone, and scores are small. So all batches, of all processes, are scored without a graph; the
loss of all scores together gives the slope at each; and each batch is scored once more, with the same random numbers,
to carry its slopes back into the parameters. A single batch in a single process needs none of this, and is scored once.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn


def cached_gradients(
    accelerator: Accelerator,
    model: nn.Module,
    batches: Sequence[Mapping[str, Any]],
    score: Callable[[Mapping[str, Any]], torch.Tensor],
    loss: Callable[..., torch.Tensor],
    labels: Sequence[str] = ("duration", "event"),
) -> torch.Tensor:
    """Add to the gradients of a model those of one loss over all batches of all processes.

    Parameters receive what a single batch of all samples would give them, unless samples of a batch see each other
    within the model, as in batch normalisation that is being trained. Generators and running statistics are left as by
    one pass.

    It must not be called under autocast: that would keep the half-precision weights of the scoring without a graph, and
    with them no way back to the parameters.

    Args:
        accelerator: Whose mixed precision is used, and whose processes take part.
        model: As `accelerator.prepare` returned it.
        batches: At least one, on the accelerator's device; processes may bring different numbers of samples.
        score: Runs the model on a batch of b samples: scores, (b,). Whatever it draws comes from torch's global
            generators.
        loss: A scalar of all n scores and then the labels, (n,) each, such as `FahrFaceForSurvival.survival_loss`.
        labels: Columns of a batch, (b,) each, in the order that `loss` takes them.

    Returns:
        The loss, the same in every process, without a graph.
    """
    if len(batches) == accelerator.num_processes == 1:
        [batch] = batches
        with accelerator.autocast():
            risk = score(batch)
        value = loss(risk.float(), *(batch[name] for name in labels))
        accelerator.backward(value)
        return value.detach()

    device, process = accelerator.device, accelerator.process_index
    generators: list[Any] = [torch, *([] if device.type == "cpu" else [torch.get_device_module(device)])]
    before = [buffer.clone() for buffer in model.buffers()]
    risks, states = [], []
    with torch.no_grad(), accelerator.autocast():
        for batch in batches:
            states.append([generator.get_rng_state() for generator in generators])
            risks.append(score(batch).float())
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)

    own = [torch.cat(risks), *(torch.cat([batch[name] for batch in batches]) for name in labels)]
    parts = gather_object([[column.cpu() for column in own]])
    risk, *columns = (torch.cat(column).to(device) for column in zip(*parts, strict=True))
    value = loss(risk.requires_grad_(), *columns)
    [slope] = torch.autograd.grad(value, risk)
    sizes = [len(part[0]) for part in parts]
    slopes = slope.split(sizes)[process].split([len(risk) for risk in risks])

    for position, batch in enumerate(batches):
        # Processes exchange gradients once, after the last batch.
        with nullcontext() if position == len(batches) - 1 else accelerator.no_sync(model):
            for generator, state in zip(generators, states[position], strict=True):
                generator.set_rng_state(state)
            with accelerator.autocast():
                risk = score(batch)
            # Times the number of processes, over which the exchange takes the mean and not the sum.
            accelerator.backward((risk.float() * slopes[position]).sum() * accelerator.num_processes)
    return value.detach()
