"""Images as tensors: to uint8, and normalized as networks want them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from orl_explore.settings import InputSettings

IMAGENET_MEAN = InputSettings.mean
IMAGENET_STD = InputSettings.std
IMAGENET = InputSettings()


def to_tensor(image: Image.Image) -> torch.Tensor:
    """RGB image -> uint8 tensor (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def normalize(images: torch.Tensor, inputs: InputSettings = IMAGENET) -> torch.Tensor:
    """uint8 (B, 3, H, W) -> float32, channels last, with an encoder's mean and deviation removed, or ImageNet's."""
    images = images.to(torch.float32, memory_format=torch.channels_last)
    mean = torch.tensor(inputs.mean, device=images.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(inputs.std, device=images.device).view(1, 3, 1, 1) * 255
    return (images - mean) / std
