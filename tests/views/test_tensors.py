"""Pictures as tensors, and ImageNet's mean and deviation."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from orl_explore.views.tensors import normalize, to_tensor
from view_parts import PIXELS


def test_to_tensor_is_channels_first():
    tensor = to_tensor(Image.fromarray(PIXELS[:5]))
    assert (tensor.dtype, tuple(tensor.shape)) == (torch.uint8, (3, 5, 8))
    assert tensor[2, 4, 1] == PIXELS[4, 1, 2]


@pytest.mark.parametrize(
    ("channel", "value", "expected"),
    [
        (0, 0, -0.485 / 0.229),
        (1, 0, -0.456 / 0.224),
        (2, 0, -0.406 / 0.225),
        (0, 255, (1 - 0.485) / 0.229),
        (1, 102, (0.4 - 0.456) / 0.224),  # 102 / 255 = 0.4
        (2, 255, (1 - 0.406) / 0.225),
    ],
)
def test_normalize(channel, value, expected):
    result = normalize(torch.full((2, 3, 4, 5), value, dtype=torch.uint8))
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert result[:, channel].numpy() == pytest.approx(expected, abs=1e-5)
