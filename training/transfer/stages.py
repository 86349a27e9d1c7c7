"""What comes out of each stage of a ResNet, pooled to the few cells a side that linear classifiers see."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError


class Pool(NamedTuple):
    """An average pooling, in pixels of the stage's map, and the cells a side that it leaves at 224 px."""

    kernel: int
    stride: int
    padding: int
    cells: int


POOLS: Final = {
    "res1": Pool(10, 10, 4, 12),
    "res2": Pool(16, 8, 0, 6),
    "res3": Pool(13, 5, 0, 4),
    "res4": Pool(8, 3, 0, 3),
    "res5": Pool(6, 1, 0, 2),
}
"""Of each stage's map: about 9,000 numbers each in a ResNet-50 at 224 px (Goyal et al. 2019)."""

MODULES: Final = {"res1": "maxpool", "res2": "layer1", "res3": "layer2", "res4": "layer3", "res5": "layer4"}
"""Where the maps are found: res1 goes into the max pooling, the others come out of the four stages."""


class StageMaps:
    """Catches the maps of stages while a backbone runs; leaving it as a context takes the hooks away.

    Args:
        encoder: its backbone is a ResNet.
        stages: keys of POOLS.
        hint: what an error tells the user to do instead.

    Raises:
        OrlError: the backbone has no such stages.
    """

    def __init__(self, encoder: Encoder, stages: Sequence[str] = tuple(POOLS), *, hint: str):
        modules = dict(encoder.backbone.named_modules())
        for stage in stages:
            if MODULES[stage] not in modules:
                raise OrlError(f"{encoder.settings.backbone} has no {MODULES[stage]}, so it is no ResNet: {hint}")
        self.caught: dict[str, Tensor] = {}
        self._hooks = [self._watch(stage, modules[MODULES[stage]]) for stage in stages]

    def _watch(self, stage: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        if stage == "res1":
            return module.register_forward_pre_hook(lambda _, given: self.caught.update({stage: given[0]}))
        return module.register_forward_hook(lambda _, __, out: self.caught.update({stage: out}))

    def take(self) -> dict[str, Tensor]:
        """The maps (B, C, H, W) of the last forward pass by stage, in float32; they are let go of."""
        maps = {stage: found.float() for stage, found in self.caught.items()}
        self.caught.clear()
        return maps

    def __enter__(self) -> StageMaps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()


def fits(stage: str, size: Sequence[int]) -> bool:
    """Whether the published kernel leaves the published number of cells of a map of this height and width."""
    pool = POOLS[stage]
    return all((side + 2 * pool.padding - pool.kernel) // pool.stride + 1 == pool.cells for side in size)


def pool_map(found: Tensor, stage: str) -> Tensor:
    """Pool a stage's map (B, C, H, W) to (B, C, cells, cells).

    By the published kernel where it leaves that many cells (the padding counts as zeros, as there); a map of another
    size is divided into as many cells that are as equal as can be.
    """
    pool = POOLS[stage]
    if fits(stage, found.shape[2:]):
        return nn.functional.avg_pool2d(found, pool.kernel, pool.stride, pool.padding)
    return nn.functional.adaptive_avg_pool2d(found, pool.cells)


def pooling_of(stage: str, size: Sequence[int]) -> str:
    """How `pool_map` pools a map of this height and width, in words."""
    pool = POOLS[stage]
    how = f"kernel {pool.kernel}, stride {pool.stride}, padding {pool.padding}" if fits(stage, size) else "adaptive"
    return f"{size[0]} x {size[1]} to {pool.cells} x {pool.cells}, {how}"
