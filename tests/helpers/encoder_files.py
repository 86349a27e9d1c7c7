"""A small encoder for tests, and its weights as other projects save them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from orl_explore.encoder import Encoder
from orl_explore.settings import EncoderSettings

SETTINGS = EncoderSettings("resnet18", hidden=24, dim=8)
State = dict[str, torch.Tensor]


@functools.cache
def encoder() -> Encoder:
    """An encoder whose batch statistics are not the ones it begins with, so that losing them would show."""
    made = Encoder.random(SETTINGS, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        made.train()(torch.randn(4, 3, 32, 32))
    return made.eval()


def pictures() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def difference(first: Callable, second: Callable) -> float:
    return (first(pictures()) - second(pictures())).abs().max().item()


def plain() -> State:
    return {"fc.weight": torch.ones(5, 512), "fc.bias": torch.ones(5), **encoder().backbone.state_dict()}


def moco() -> dict:
    query = {f"module.encoder_q.{k}": v for k, v in encoder().backbone.state_dict().items()}
    query |= {"module.encoder_q.fc.0.weight": torch.ones(8, 512), "module.encoder_q.fc.2.weight": torch.ones(4, 8)}
    key = {k.replace("_q", "_k"): v + 1 for k, v in query.items()}
    return {"epoch": 200, "arch": "resnet18", "state_dict": {**query, **key, "module.queue": torch.ones(4, 9)}}


def fill(module: nn.Module, seed: int = 0) -> None:
    """Give every weight and statistic a value that depends on its position and on nothing else."""
    rng = np.random.default_rng(seed)
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if tensor.ndim > 1:
            values = rng.normal(0, math.sqrt(2 / tensor[0].numel()), tensor.shape)
        elif name.endswith("running_var") or name.endswith("weight"):
            values = rng.uniform(0.5, 1.5, tensor.shape)
        else:
            values = rng.normal(0, 0.1, tensor.shape)
        tensor.copy_(torch.from_numpy(values))
