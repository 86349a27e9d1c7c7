"""For `torch.hub.load(REPOSITORY, "load_encoder", FILE)`: an encoder without knowing this project's classes."""

from __future__ import annotations

from pathlib import Path

from torch import nn

dependencies = ["torch", "torchvision", "timm", "safetensors", "numpy"]


def load_encoder(file: str) -> nn.Module:
    """Load the backbone of an `encoder.safetensors`, in eval mode.

    Args:
        file: path of the file.

    Returns:
        A module: RGB images with ImageNet's mean and standard deviation, (N, 3, H, W) -> pooled features (N, width).
    """
    from orl_explore.encoder import Encoder

    return Encoder.load(Path(file)).backbone
