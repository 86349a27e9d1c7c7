"""Batch normalization folded into the convolutions before it: a frozen network says the same, and sooner."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)

TOLERANCE = 1e-2
"""How far a folded network may be from the original, as a share of its largest output: convolutions of a GPU round."""


@torch.inference_mode()
def fold_batch_norm(network: Network, example: Tensor) -> Network:
    """Fold every batch normalization that takes a convolution's output into that convolution.

    In eval mode a normalization multiplies each channel and adds to it, which the convolution can do itself. Outputs
    agree to about 1e-5, as weights are rounded anew.

    Args:
        network: in eval mode; it is left as it is.
        example: what it takes, to see what goes where and to compare.

    Returns:
        A copy; the network itself where there is nothing to fold, or where the copy would say something else, as when
        a convolution's output also goes elsewhere.
    """
    expected, found = _trace(network, example)
    if not found:
        return network
    folded = copy.deepcopy(network)
    for convolution, norm in found.items():
        before, after = folded.get_submodule(convolution), folded.get_submodule(norm)
        folded.set_submodule(convolution, fuse_conv_bn_eval(before, after))  # type: ignore[type-var, arg-type]
        folded.set_submodule(norm, _rest(after) or nn.Identity())
    same = torch.allclose(folded(example), expected, rtol=0, atol=TOLERANCE * expected.abs().max().item())
    return folded if same else network


def _trace(network: nn.Module, example: Tensor) -> tuple[Tensor, dict[str, str]]:
    """What the network says, and which convolution's output each batch normalization takes, by their names."""
    outputs: list[tuple[Tensor, str]] = []  # held, so that no other tensor is taken for one of them
    found: dict[str, str] = {}

    def convolved(name: str) -> Any:
        return lambda _, __, output: outputs.append((output, name))

    def normalized(name: str) -> Any:
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            for output, convolution in outputs:
                if output is inputs[0]:
                    found[convolution] = name

        return note

    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(convolved(name)))
        elif isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and _rest(module) is not None:
            hooks.append(module.register_forward_pre_hook(normalized(name)))
    try:
        expected = network(example)
    finally:
        for hook in hooks:
            hook.remove()
    return expected, found


def _rest(norm: nn.Module) -> nn.Module | None:
    """What a batch normalization does beside normalizing: nothing, or timm's activation; None of other kinds."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    if isinstance(drop := getattr(norm, "drop", None), nn.Module) and isinstance(norm.act, nn.Module):
        return nn.Sequential(drop, norm.act)
    return None
