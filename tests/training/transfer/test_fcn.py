"""The FCN: dilation, heads, schedules, windows."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.label_map import IGNORED
from orl_explore.settings import EncoderSettings, InputSettings
from training.transfer import fcn
from training.transfer.fcn import RECIPES, Fcn, SegmentationSettings, SegmentationTraining


def encoder(backbone: str) -> Encoder:
    return Encoder.random(EncoderSettings(backbone=backbone, hidden=0, dim=0), seed=0)


def spacing(backbone: nn.Module, stage: str) -> list[tuple[int, int]]:
    """Dilation and stride of the 3 x 3 convolutions of a stage."""
    layers = [layer for layer in backbone.get_submodule(stage).modules() if isinstance(layer, nn.Conv2d)]
    return [(layer.dilation[0], layer.stride[0]) for layer in layers if layer.kernel_size == (3, 3)]


@pytest.mark.parametrize(("stride", "replaced"), [(16, [False, False, True]), (8, [False, True, True])])
def test_a_resnet_is_dilated_as_torchvision_does(stride, replaced):
    blocks = (Bottleneck, [1, 1, 2, 2])  # a ResNet-50 has 3, 4, 6, 3
    own = ResNet(*blocks)
    fcn.dilate(own, stride)
    made = ResNet(*blocks, replace_stride_with_dilation=replaced)
    for stage in ("layer2", "layer3", "layer4"):
        assert spacing(own, stage) == spacing(made, stage)
    made.load_state_dict(own.state_dict())
    images = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(own.eval()(images), made.eval()(images))


@pytest.mark.parametrize("backbone", ["timm:test_resnet", "resnet18"])
def test_a_dilated_network_sees_what_it_saw_at_more_places(backbone):
    made = encoder(backbone).backbone.eval()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    seen = []
    for stride in (None, 16):
        if stride:
            fcn.dilate(made, stride)
        with torch.inference_mode():
            seen.append(nn.Sequential(*list(made.children())[:-2])(images))
    assert (seen[0].shape[2], seen[1].shape[2]) == (2, 4)
    assert torch.allclose(seen[0], seen[1][..., ::2, ::2], rtol=1e-5, atol=1e-4)  # values up to 50, rounded otherwise


@pytest.mark.parametrize("preset", ["voc12", "ade20k-d8"])
def test_heads(preset):
    recipe = dataclasses.replace(RECIPES[preset], channels=16)
    model = Fcn(encoder("timm:test_resnet"), 5, recipe, frozen=False, seed=0)
    scores, auxiliary = model(torch.rand(2, 3, 64, 80))
    assert scores.shape == (2, 5, 64, 80)
    assert (auxiliary is not None) == (preset == "ade20k-d8")
    assert model.eval()(torch.rand(2, 3, 64, 80))[1] is None
    convolutions = [layer for layer in model.head.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.kernel_size[0] for layer in convolutions] == ([3, 3, 3, 1] if recipe.concat else [3, 3, 1])
    assert [layer.dilation[0] for layer in convolutions[:2]] == [recipe.dilation] * 2


def test_a_frozen_backbone_does_not_change():
    settings = SegmentationSettings(backbone="frozen", iterations=2, channels=8)
    model = Fcn(encoder("timm:test_resnet"), 3, settings.recipe(), frozen=True, seed=0)
    before = {name: value.clone() for name, value in model.body.state_dict().items()}
    model.train()
    training = SegmentationTraining(model, settings, seed=0)
    optimizer = training.configure_optimizers()["optimizer"]
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {
        id(p) for p in model.head.parameters()
    }
    scores, _ = model(torch.rand(2, 3, 64, 64))
    fcn.pixel_loss(scores, torch.zeros(2, 64, 64, dtype=torch.int64)).backward()
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in model.body.state_dict().items())


def test_what_is_no_resnet_is_refused():
    with pytest.raises(OrlError, match=r"timm:test_vit has no layer3: .* --protocol in-context"):
        Fcn(encoder("timm:test_vit"), 3, RECIPES["voc12"], frozen=False, seed=0)


def test_the_loss_counts_all_pixels_and_learns_from_labeled_ones():
    scores = torch.zeros(1, 2, 1, 4)  # ln 2 at every pixel
    labels = torch.tensor([[[0, 1, IGNORED, IGNORED]]])
    assert fcn.pixel_loss(scores, labels).item() == pytest.approx(0.5 * 0.693147)


@pytest.mark.parametrize(("preset", "weight"), [("voc12", 0.0), ("voc12-d8", 0.4)])
def test_the_loss_of_the_small_head_counts_less(preset, weight):
    model = nn.Module()
    model.inputs, model.recipe = InputSettings(), RECIPES[preset]
    uniform = torch.zeros(1, 2, 1, 4)
    model.forward = lambda images: (uniform, uniform if weight else None)
    training = SegmentationTraining(model, SegmentationSettings(preset=preset), seed=0)
    batch = (torch.zeros(1, 3, 1, 4, dtype=torch.uint8), torch.zeros(1, 1, 4, dtype=torch.int64), [0])
    assert training.training_step(batch, 0).item() == pytest.approx((1 + weight) * 0.693147)


@pytest.mark.parametrize(
    ("preset", "step", "factor"),
    [
        ("voc12", 20_999, 1.0),
        ("voc12", 21_000, 0.1),
        ("voc12", 27_000, 0.01),
        ("cityscapes", 63_000, 0.1),
        ("cityscapes", 81_000, 0.01),
        ("voc12-d8", 0, 1.0),
        ("voc12-d8", 10_000, 0.99 * 0.5**0.9 + 0.01),  # 1e-4 is a hundredth of 0.01
        ("voc12-d8", 20_000, 0.01),
    ],
)
def test_learning_rates(preset, step, factor):
    assert SegmentationSettings(preset=preset).learning_rate_factor(step) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("length", "ends"),
    [
        (2049, [769, 1282, 1795, 2049]),  # starts at 0, 513, 1026 and, moved back, 1280
        (1025, [769, 1025]),
        (769, [769]),
        (500, [500]),
    ],
)
def test_windows_cover_an_image(length, ends):
    assert fcn.window_ends(length, 769, 513) == ends


def test_windows_are_averaged(monkeypatch):
    recipe = dataclasses.replace(RECIPES["voc12"], channels=8, crop=32, slide=32)
    model = Fcn(encoder("timm:test_resnet"), 2, recipe, frozen=False, seed=0).eval()
    image = torch.rand(1, 3, 32, 64)
    whole = dataclasses.replace(recipe, slide=0)
    with torch.inference_mode():
        slid = model.segment(image, (32, 64))
        model.recipe = whole
        halves = [model.segment(image[..., part], (32, 32)) for part in (slice(0, 32), slice(32, 64))]
    assert torch.equal(slid, torch.cat(halves, dim=1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lr": 0.0}, "segmentation.lr is 0"),
        ({"batch_size": 1}, "at least 2"),
        ({"batch_size": 4, "accumulate": 3}, "equally many"),
        ({"size": (90, 60)}, "the shorter side, then"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(OrlError, match=message):
        SegmentationSettings(**wrong)
