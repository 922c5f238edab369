"""FSDP2: each process holds a share of the weights that are computed with, of their gradients and of AdamW's averages.

torch's own `fully_shard`, which also works on CPUs over gloo; accelerate's plugin for it knows GPUs and their like alone. Every layer of the LLM,
frozen or with LoRA, is put together when it computes and taken apart after it; all else is put together once a step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from anygpt.cross_attention import decoder_layers

Groups = dict[str, list[nn.Parameter]]


def shard(module: nn.Module, llm: nn.Module, groups: Groups, device: torch.device) -> Groups:
    """Share `module` out over all processes, on their devices; returns `groups` with the parameters that took the old ones' places.

    Args:
        llm: within `module`; its layers are shared out one by one.
        groups: those of the module's parameters that train.
    """
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for layer in decoder_layers(llm):
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)
    shared = dict(module.named_parameters())
    return {
        name: [shared[names[id(parameter)]] for parameter in parameters]
        for name, parameters in groups.items()
    }


def whole(value: Any) -> Any:
    """A tensor, or each one in dictionaries and lists, put together from all processes' shares; all must ask at once."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return value


def shared_as(value: Any, parameter: nn.Parameter) -> Any:
    """This process's share of a whole tensor, where `parameter` of the same shape is shared out; anything else as it is."""
    if isinstance(parameter, DTensor) and isinstance(value, Tensor) and value.shape == parameter.shape:
        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
    return value
