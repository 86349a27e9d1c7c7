"""Linear classification: the settings of the literature, five heads at once, one scale a channel, training views."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.settings import EncoderSettings
from training.transfer import linear, semi
from training.transfer.folders import Labeled


def test_presets_are_those_of_the_literature():
    resolved = {name: linear.LinearSettings(preset=name).resolved() for name in linear.PRESETS}
    assert {name: (s.epochs, s.steps, s.colors) for name, s in resolved.items()} == {
        "imagenet": (28, (8, 16, 24), True),
        "places205": (14, (4, 8, 12), False),
        "inaturalist18": (84, (24, 48, 72), False),
    }
    assert linear.LinearSettings(preset="places205", epochs=3).resolved().epochs == 3
    default = semi.SemiSettings()
    assert (default.epochs, default.lr, default.steps, default.gamma) == (20, 0.01, (12, 16), 0.2)


@pytest.mark.parametrize(
    ("backbone", "size", "numbers"),
    [
        ("resnet50", 224, {"res1": 9216, "res2": 9216, "res3": 8192, "res4": 9216, "res5": 8192}),
        # Other widths: 64, 64, 128, 256 and 512 channels in as many cells, 144, 36, 16, 9 and 4; at 64 px the same.
        ("resnet18", 224, {"res1": 9216, "res2": 2304, "res3": 2048, "res4": 2304, "res5": 2048}),
        ("resnet18", 64, {"res1": 9216, "res2": 2304, "res3": 2048, "res4": 2304, "res5": 2048}),
    ],
)
def test_five_heads_see_the_numbers_of_the_literature(backbone, size, numbers):
    probe = linear.LinearProbe(Encoder.random(EncoderSettings(backbone, hidden=0), 0), 10, size=size)
    assert {name: head[-1].in_features for name, head in probe.heads.items()} == numbers
    assert all(("adaptive" in how) == (size == 64) for how in probe.pooling.values())
    logits = probe.eval()(torch.rand(2, 3, size, size))
    assert {name: tuple(each.shape) for name, each in logits.items()} == dict.fromkeys(numbers, (2, 10))


def test_one_scale_a_channel():
    # A channel whose cells differ keeps their differences: normalized number by number, each cell would have mean 0.
    probe = linear.LinearProbe(Encoder.random(EncoderSettings("resnet18", hidden=0), 0), 3, size=64).train()
    norm = probe.heads["res5"][0]
    assert norm.weight is None
    assert norm.running_mean.shape == (512,)
    maps = torch.zeros(4, 512, 2, 2)
    maps[:, :, 0, 0] = 8.0
    # Mean 2 and variance 12 over images and cells: 6 / sqrt(12) and -2 / sqrt(12).
    found = norm(maps)[0, 0].flatten().tolist()
    assert found == pytest.approx([6 / 12**0.5, *[-2 / 12**0.5] * 3], abs=1e-4)


def test_the_pooled_feature_alone():
    encoder = Encoder.random(EncoderSettings("resnet18", hidden=0), 0)
    probe = linear.LinearProbe(encoder, 10, "last", size=64)
    assert {name: head[-1].in_features for name, head in probe.heads.items()} == {"last": 512}
    encoder.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with pytest.raises(OrlError, match=r"has no maxpool, so it is no ResNet: use --linear\.layers last"):
        linear.LinearProbe(encoder, 10, size=64)
    assert linear.LinearProbe(encoder, 10, "last", size=64).heads["last"][-1].in_features == 4


def test_the_backbone_runs_once_for_all_heads():
    probe = linear.LinearProbe(Encoder.random(EncoderSettings("resnet18", hidden=0), 0), 3, size=64)
    calls = []
    probe.backbone.register_forward_hook(lambda *_: calls.append(1))
    probe(torch.rand(2, 3, 64, 64))
    assert len(calls) == 1


@pytest.mark.parametrize(("preset", "colors"), [("imagenet", True), ("places205", False), ("inaturalist18", False)])
def test_colors_are_distorted_for_imagenet_alone(preset, colors, setup):
    settings = linear.LinearSettings(preset=preset).resolved()
    made = linear.views_of(Labeled([], np.zeros(0, int)), 32, setup, colors=settings.colors)
    jitter = made.augment
    assert made.color_noise == (0.1 if colors else 0.0)
    assert jitter.color_jitter == (1.0 if colors else 0.0)
    if colors:
        assert (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) == (0.4, 0.4, 0.4, 0.0)
    assert (jitter.gray, jitter.blur, jitter.solarize) == (0.0, (0.0, 0.0), (0.0, 0.0))
    assert (jitter.crop_scale, jitter.flip) == ((0.08, 1.0), 0.5)
