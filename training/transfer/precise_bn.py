"""Statistics of batch normalization, estimated anew from many batches (PreciseBN, Wu and Johnson 2021)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def norms_of(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The layers of batch normalization that keep statistics."""
    found = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return [norm for norm in found if norm.track_running_stats]


@torch.no_grad()
def reestimate(model: nn.Module, forwards: Iterable[Callable[[], object]]) -> int:
    """Replace running means and variances, which lag behind the weights, by those over some batches.

    Args:
        model: is in training mode while it runs, and afterwards as before; weights stay as they are.
        forwards: each runs the model on one batch; all batches count the same.

    Returns:
        How many there were; of none, nothing changes.
    """
    modes = {module: module.training for module in model.modules()}
    norms = norms_of(model)
    momenta = [norm.momentum for norm in norms]
    means: list[list[Tensor]] = [[] for _ in norms]
    variances: list[list[Tensor]] = [[] for _ in norms]
    model.train()
    for norm in norms:
        norm.momentum = 1.0  # running statistics are then those of the last batch
    batches = 0
    for forward in forwards:
        forward()
        batches += 1
        for norm, mean, variance in zip(norms, means, variances, strict=True):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            mean.append(norm.running_mean.to("cpu", torch.float64, copy=True))
            variance.append(norm.running_var.to("cpu", torch.float64, copy=True))
    for norm, momentum, mean, variance in zip(norms, momenta, means, variances, strict=True):
        norm.momentum = momentum
        if batches:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            of_batches = torch.stack(mean)  # (batches, C)
            norm.running_mean.copy_(of_batches.mean(0))
            # Of all batches as one: within them, and between their means.
            norm.running_var.copy_(torch.stack(variance).mean(0) + of_batches.var(0, correction=0))
    for module, mode in modes.items():
        module.training = mode
    return batches
