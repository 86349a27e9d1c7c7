"""Optimizers of stages 1 and 3: SGD as in the paper, AdamW for transformers, LARS for large batches."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from orl_explore.byol import TwinNetworks
from orl_explore.settings import TrainSettings

SECOND_BETA: Final = 0.999
"""Of AdamW, as PyTorch has it."""

TRUST: Final = 0.001
"""LARS's trust coefficient, as BYOL has it."""


def make_optimizer(networks: TwinNetworks, settings: TrainSettings, *, fused: bool = False) -> Optimizer:
    """Make the optimizer of everything that is trained, at its full learning rate.

    SGD decays all parameters, as published. AdamW and LARS leave out biases, normalization and what a transformer says
    of its own (its positions and tokens), as their authors do; LARS does not adapt the rate of these either.

    Args:
        networks: BYOL or ORL; parameters without a gradient are left out.
        settings: the stage's.
        fused: one kernel for all parameters, on GPUs; LARS has none.
    """
    rate, decay = settings.learning_rate(), settings.weight_decay
    trained = {name: p for name, p in networks.named_parameters() if p.requires_grad}
    if settings.optimizer == "sgd":
        optimizer = SGD(trained.values(), lr=rate, momentum=settings.momentum, weight_decay=decay, fused=fused)
        if fused:
            # A first step that float16's scaler leaves out, as it does most first steps, would take whatever lies in
            # memory for PyTorch's momentum. A first step from zero momentum is the first step.
            for parameter in trained.values():
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer
    undecayed = _undecayed(networks.online.backbone)
    groups: list[dict] = [{"params": [], "weight_decay": decay}, {"params": [], "weight_decay": 0.0}]
    for name, parameter in trained.items():
        plain = parameter.ndim < 2 or name.removeprefix("online.backbone.") in undecayed
        groups[plain]["params"].append(parameter)
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "adamw":
        return AdamW(groups, lr=rate, betas=(settings.momentum, SECOND_BETA), fused=fused)
    from timm.optim import Lars

    for group in groups:
        group["always_adapt"] = group["params"][0].ndim > 1  # without any decay, too
    return Lars(groups, lr=rate, momentum=settings.momentum, trust_coeff=TRUST)


def _undecayed(backbone: nn.Module) -> set[str]:
    """Parameters that timm's model says need no weight decay."""
    named = getattr(backbone, "no_weight_decay", None)
    return set(named()) if callable(named) else set()
