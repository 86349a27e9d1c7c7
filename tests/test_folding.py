"""Folded networks say the same, whatever their kind; what cannot be folded is left as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orl_explore.embedding import embed_images
from orl_explore.encoder import Encoder, build_backbone
from orl_explore.folding import fold_batch_norm
from orl_explore.images.opening import open_images
from orl_explore.settings import EncoderSettings

IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def lived_in(network: nn.Module) -> nn.Module:
    """With statistics and scales as after training: at the start they are 0 and 1, and losing them would not show."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
            ):
                tensor.data.uniform_(low, high, generator=generator)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("resnet18", 20, 0),
        ("timm:test_resnet", 15, 0),
        ("timm:test_efficientnet", 13, 0),  # normalization and activation are one module
        ("timm:densenet121", 121, 62),  # normalization comes first: only those within a layer follow a convolution
        ("timm:test_convnext", 0, 0),
        ("timm:test_vit", 0, 0),
    ],
)
def test_networks_of_each_family_say_the_same(name, before, after):
    network = lived_in(build_backbone(name)[0])
    expected = network(IMAGES)
    folded = fold_batch_norm(network, IMAGES[:1])
    assert (norms(network), norms(folded)) == (before, after)
    torch.testing.assert_close(folded(IMAGES), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    torch.testing.assert_close(network(IMAGES), expected, rtol=0, atol=0)
    assert (folded is network) == (before == 0)


class _Twice(nn.Module):
    """The convolution's output goes past the normalization, too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        found = self.conv(images)
        return (self.norm(found) + found).mean((2, 3))


class _Shared(nn.Module):
    """One convolution, used twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(self.conv(images))).mean((2, 3))


class _Standardized(nn.Conv2d):
    """Its weights are changed at each call, so that a factor in them is lost."""

    def forward(self, images: Tensor) -> Tensor:
        weight = self.weight / self.weight.std((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(images, weight, self.bias)


@pytest.mark.parametrize(
    "network",
    [
        _Twice(),
        _Shared(),
        nn.Sequential(_Standardized(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.AdaptiveAvgPool2d(1)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1)),
    ],
)
def test_what_would_change_is_left_alone(network):
    network = lived_in(network)
    assert fold_batch_norm(network, IMAGES) is network


def test_embeddings_in_bf16_are_of_a_folded_network(photos, monkeypatch):
    """They are as near to those in fp32 as without folding: rounding decides, not the way."""
    from orl_explore import embedding

    images = open_images([photos])
    encoder = lived_in(Encoder.random(EncoderSettings("timm:test_efficientnet", hidden=0, dim=0), seed=0))
    exact = embed_images(encoder, images, size=64)
    folded = embed_images(encoder, images, size=64, bf16=True)
    monkeypatch.setattr(embedding, "fold_batch_norm", lambda network, _: network)
    plain = embed_images(encoder, images, size=64, bf16=True)
    assert not np.array_equal(folded, plain)
    assert np.abs(folded - exact).max() < 2 * np.abs(plain - exact).max()
