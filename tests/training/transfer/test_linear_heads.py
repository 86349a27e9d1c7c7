"""Linear classification: five heads at once, one scale a channel, training views, what is known of each image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.settings import EncoderSettings
from training.transfer import fitting, linear
from training.transfer.fitting import COLORS_TOO, Answers, Heads, LabeledViews
from training.transfer.folders import Labeled
from training.transfer.setup import Setup


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


# ---- views ---------------------------------------------------------------------------------------------------------


def views(**options):
    pixels = np.random.default_rng(0).integers(60, 200, (40, 40, 3), dtype=np.uint8)
    return LabeledViews(lambda row: Image.fromarray(pixels), np.zeros(9, int), size=16, seed=0, **options)


def test_colors_are_jittered_and_shifted_in_training_alone():
    plain, colored = views(), views(augment=COLORS_TOO, color_noise=0.1)
    shifts = np.stack([colored[(epoch, 0)]["shift"].numpy() for epoch in range(300)])
    assert len(np.unique(shifts[:, 0])) == 300
    # Of the components' scales 0.2175, 0.0188 and 0.0045 the first, nearly gray, counts: 0.1 * 0.2175 * 0.57 = 0.0124.
    assert shifts.std(axis=0) == pytest.approx([0.0124, 0.0126, 0.0127], rel=0.15)
    assert np.corrcoef(shifts.T)[0, 2] > 0.95
    assert not torch.equal(plain[(0, 0)]["image"], colored[(0, 0)]["image"])
    for test in (plain[0], colored[0]):
        assert test["shift"].tolist() == [0, 0, 0]
    assert torch.equal(plain[0]["image"], colored[0]["image"])


def test_color_noise_by_hand(monkeypatch):
    # Once along the first component, half against the second, three times the third.
    rng = type("Rng", (), {"normal": lambda self, mean, deviation, count: deviation * np.array([1, -0.5, 3])})()
    by_hand = [
        0.1 * (-0.5675 * 0.2175 - 0.5 * 0.7192 * 0.0188 + 3 * 0.4009 * 0.0045),
        0.1 * (-0.5808 * 0.2175 + 0.5 * 0.0045 * 0.0188 - 3 * 0.8140 * 0.0045),
        0.1 * (-0.5836 * 0.2175 + 0.5 * 0.6948 * 0.0188 + 3 * 0.4203 * 0.0045),
    ]
    assert fitting.color_shift(rng, 0.1) == pytest.approx(by_hand)


def test_the_shift_is_added_to_what_the_network_sees():
    batch = {"image": torch.full((1, 3, 2, 2), 255, dtype=torch.uint8), "shift": torch.tensor([[0.1, 0.0, -0.1]])}
    shown = fitting._shown(batch)[0, :, 0, 0].tolist()
    # (1 + shift - mean) / std, beyond white where the shift leads there.
    assert shown == pytest.approx([(1.1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (0.9 - 0.406) / 0.225], rel=1e-5)


@pytest.mark.parametrize(("preset", "colors"), [("imagenet", True), ("places205", False), ("inaturalist18", False)])
def test_colors_are_distorted_for_imagenet_alone(preset, colors, new_run, tiny, tmp_path):
    settings = linear.LinearSettings(preset=preset).resolved()
    setup = Setup(new_run(), tiny, (), "linear", tmp_path)
    made = linear.views_of(Labeled([], np.zeros(0, int)), 32, setup, colors=settings.colors)
    jitter = made.augment
    assert made.color_noise == (0.1 if colors else 0.0)
    assert jitter.color_jitter == (1.0 if colors else 0.0)
    if colors:
        assert (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) == (0.4, 0.4, 0.4, 0.0)
    assert (jitter.gray, jitter.blur, jitter.solarize) == (0.0, (0.0, 0.0), (0.0, 0.0))
    assert (jitter.crop_scale, jitter.flip) == ((0.08, 1.0), 0.5)


# ---- what is known of each image -----------------------------------------------------------------------------------


def test_places_of_the_right_class():
    logits = torch.tensor([[5.0, 4, 3, 2, 1, 0, -1]]).repeat(4, 1)
    network = torch.nn.Module()
    network.forward = lambda images: {"head": logits}
    module = Heads(network, groups=[], factor=lambda _: 1.0, steps_per_epoch=1, epochs=1, sgd={})
    batch = {"image": torch.zeros(4, 3, 2, 2, dtype=torch.uint8), "shift": torch.zeros(4, 3)}
    module.validation_step({**batch, "label": torch.tensor([0, 3, 4, 6])}, 0)
    places = np.concatenate(module.places["head"])
    assert places.tolist() == [0, 3, 4, 5]
    tested = Answers(places)
    assert (tested.top1, tested.top5) == (1 / 4, 3 / 4)
    assert tested.items.value() == 1 / 4
