"""Low-rank adaptation (Hu et al. 2022): small matrices beside frozen ones, merged into them when training is over.

The adapters are PEFT's, put into the model in place. So the model stays of its class, goes through the training loop
like any other, and after `merge_lora` is an ordinary model again, which loads without PEFT.
"""

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear

from fahr_hf.models.modeling_fahr_face import FahrFacePreTrainedModel

TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "up_proj", "down_proj")
"""The linear layers of every transformer layer."""


def add_lora(model: FahrFacePreTrainedModel, rank: int) -> FahrFacePreTrainedModel:
    """Let only adapters of a rank, and the whole head, be trained.

    The answers are at first the same. The adapters begin alike in every run, so that one that was interrupted can be
    taken up again.

    Args:
        model: With a head; changed in place.
        rank: Of the matrices, at least 1.

    Returns:
        The same model.
    """
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inject_adapter_in_model(config, model)
    for parameter in getattr(model, str(model.head_name)).parameters():
        parameter.requires_grad_(True)
    return model


def merge_lora(model: FahrFacePreTrainedModel) -> FahrFacePreTrainedModel:
    """Add each adapter's product to the matrix beside it, and take the adapter away.

    Args:
        model: As `add_lora` made it, trained or not; changed in place. Afterwards everything in it can be trained.

    Returns:
        The same model.
    """
    adapted = [(name, module) for name, module in model.named_modules() if isinstance(module, Linear)]
    for name, module in adapted:
        module.merge()
        model.set_submodule(name, module.get_base_layer())
    return model.requires_grad_(True)
