"""Maps of a ResNet's stages, pooled to the cells that linear classifiers see."""

from __future__ import annotations

import pytest
import torch

from training.transfer import stages


@pytest.mark.parametrize(
    ("stage", "side", "cells", "numbers", "kernel"),
    [  # a ResNet-50's maps at 224 px, with 64, 256, 512, 1024 and 2048 channels; then at 64 px
        ("res1", 112, 12, 9216, True),
        ("res2", 56, 6, 9216, True),
        ("res3", 28, 4, 8192, True),
        ("res4", 14, 3, 9216, True),
        ("res5", 7, 2, 8192, True),
        ("res1", 32, 12, 9216, False),
        ("res2", 16, 6, 9216, False),
        ("res3", 8, 4, 8192, False),
        ("res4", 4, 3, 9216, False),
        ("res5", 2, 2, 8192, False),
        ("res5", 1, 2, 8192, False),  # at 32 px: each cell repeats the one there is
    ],
)
def test_maps_are_pooled_to_the_cells_of_the_literature(stage, side, cells, numbers, kernel):
    channels = {"res1": 64, "res2": 256, "res3": 512, "res4": 1024, "res5": 2048}[stage]
    pooled = stages.pool_map(torch.rand(1, channels, side, side), stage)
    assert pooled.shape == (1, channels, cells, cells)
    assert pooled.numel() == numbers
    assert ("adaptive" not in stages.pooling_of(stage, (side, side))) == kernel


def test_pooling_by_hand():
    # Cell (0, 0) of the last stage is the mean of rows and columns 0..5 of 7, cell (1, 1) that of 1..6.
    found = torch.arange(49.0).reshape(1, 1, 7, 7)
    assert stages.pool_map(found, "res5")[0, 0].tolist() == [[20.0, 21.0], [27.0, 28.0]]
    # Of the first stage: windows of 10 every 10, the first begins 4 before the map, where zeros count: 6 x 6 of 100.
    pooled = stages.pool_map(torch.ones(1, 1, 112, 112), "res1")[0, 0]
    assert pooled[0, 0] == pytest.approx(0.36)
    assert pooled[1, 1] == 1.0
    assert pooled[11, 11] == pytest.approx(0.36)  # 106..115 of 0..111
    # A map of another size is divided evenly.
    assert stages.pool_map(torch.arange(16.0).reshape(1, 1, 4, 4), "res5")[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
