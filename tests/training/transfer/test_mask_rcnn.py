"""Mask R-CNN on an encoder's backbone: schedules, views, weights, precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detected_boxes import SMALL
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.settings import EncoderSettings
from training.transfer.mask_rcnn import DetectionImages, DetectionSettings, DetectionTraining, mask_rcnn


@pytest.mark.parametrize(
    ("schedule", "step", "factor"),
    [
        ("1x", 0, 0.001),
        ("1x", 500, 0.5005),  # half way from 0.001 to 1
        ("1x", 1000, 1.0),
        ("1x", 59_999, 1.0),
        ("1x", 60_000, 0.1),
        ("1x", 79_999, 0.1),
        ("1x", 80_000, 0.01),
        ("2x", 119_999, 1.0),
        ("2x", 120_000, 0.1),
        ("2x", 160_000, 0.01),
        ("2x", 179_999, 0.01),
    ],
)
def test_the_schedules_are_those_of_1x_and_2x(schedule, step, factor):
    settings = DetectionSettings(schedule=schedule)
    assert settings.steps() == {"1x": 90_000, "2x": 180_000}[schedule]
    assert settings.learning_rate_factor(step) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"batch_size": 0}, r"detection\.batch_size is 0: it must be above 0"),
        ({"lr": float("nan")}, r"detection\.lr is nan"),
        ({"batch_size": 4, "accumulate": 3}, r"accumulate is 3: it must divide the batch of 4"),
        ({"iterations": 0}, r"iterations is 0"),
        ({"anchors": (32, 64)}, r"a side for each of the five levels"),
        ({"train_sizes": (16,)}, r"sides of 32 px or more"),
        ({"train_sizes": ()}, r"sides of 32 px or more"),
        ({"max_size": 700}, r"at most max_size, 700"),
    ],
)
def test_settings_that_cannot_work_are_refused(values, sentence):
    with pytest.raises(OrlError, match=sentence):
        DetectionSettings(**values)


def test_boxes_and_masks_are_mirrored_with_their_image(images):
    # Boxes of practice scenes are those of their masks, mirrored or not.
    label_of = {name: number for number, name in enumerate(sorted(set(images.objects["category"])), start=1)}
    plain, mirrored = (DetectionImages(images, label_of, seed) for seed in (None, 3))
    flips = 0
    for row in range(len(images)):
        (image, target), (other, theirs) = plain[0, row], mirrored[0, row]
        for masks, boxes in ((target["masks"], target["boxes"]), (theirs["masks"], theirs["boxes"])):
            for mask, box in zip(masks, boxes, strict=True):
                y, x = mask.nonzero().unbind(1)
                assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        flipped = not torch.equal(image, other)
        assert torch.equal(other, image.flip(2) if flipped else image)
        assert torch.equal(theirs["masks"], target["masks"].flip(2) if flipped else target["masks"])
        assert torch.equal(mirrored[0, row][0], other)  # (seed, epoch, image) decide
        flips += flipped
    assert 4 < flips < 20  # of 24


def test_every_layer_is_trained_from_the_encoders_weights():
    encoder = Encoder.random(EncoderSettings("resnet18", hidden=0, dim=512), seed=1).eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    model = mask_rcnn(encoder, 3, DetectionSettings(**SMALL), seed=0)
    body = model.backbone.body.state_dict()
    assert body.keys() == {name for name in encoder.backbone.state_dict() if not name.startswith("fc.")}
    assert all(torch.equal(value, encoder.backbone.state_dict()[name]) for name, value in body.items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.training
    # Batch normalization in every convolution of the pyramid (4 levels, 2 each) and of the mask head (4).
    norms = [name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert sum(name.startswith("backbone.fpn.") for name in norms) == 8
    assert sum(name.startswith("roi_heads.mask_head.") for name in norms) == 4
    groups = (
        DetectionTraining(model, DetectionSettings(**SMALL), seed=0).configure_optimizers()["optimizer"].param_groups
    )
    assert [(group["weight_decay"], len(group["params"])) for group in groups][1] == (0.0, 2 * len(norms))
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    # A step changes the copy, never the encoder that is judged.
    targets = [{"boxes": torch.tensor([[4.0, 4, 40, 40]]), "labels": torch.tensor([1]), "masks": torch.ones(1, 64, 64)}]
    sum(model([torch.rand(3, 64, 64)] * 2, targets * 2).values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_boxes_are_exact_in_mixed_precision():
    encoder = Encoder.random(EncoderSettings("timm:test_resnet", hidden=0, dim=96), seed=1)
    model = mask_rcnn(encoder, 3, DetectionSettings(**SMALL), seed=0).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        (found,) = model([torch.rand(3, 64, 64)])
    assert {found[name].dtype for name in ("boxes", "scores", "masks")} == {torch.float32}
    assert (found["boxes"].bfloat16() != found["boxes"]).any()


def test_a_backbone_without_stages_is_refused():
    encoder = Encoder.random(EncoderSettings("resnet18", hidden=0, dim=512), seed=1)
    encoder.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    with pytest.raises(OrlError, match="has no layer1: detection needs a ResNet"):
        mask_rcnn(encoder, 3, DetectionSettings(**SMALL), seed=0)


def shapes(module):
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
    return [(type(part).__name__, tuple(part.weight.shape)) for part in module.modules() if isinstance(part, kinds)]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (
            "4conv1fc",
            [*[("Conv2d", (16, 16, 3, 3)), ("BatchNorm2d", (16,))] * 4, ("Linear", (64, 16 * 7 * 7))],
        ),
        ("fc", [("Linear", (64, 16 * 7 * 7)), ("Linear", (64, 64))]),
    ],
)
def test_the_box_head(head, expected):
    encoder = Encoder.random(EncoderSettings("timm:test_resnet", hidden=0, dim=96), seed=1)
    model = mask_rcnn(encoder, 3, DetectionSettings(**SMALL, head=head), seed=0)
    assert shapes(model.roi_heads.box_head) == expected
    # Convolutions before batch normalization have no bias of their own.
    assert all(part.bias is None for part in model.roi_heads.box_head.modules() if isinstance(part, nn.Conv2d))
    norms = [name for name, part in model.named_modules() if isinstance(part, nn.BatchNorm2d)]
    assert sum(name.startswith("roi_heads.mask_head.") for name in norms) == 4
    assert sum(name.startswith("backbone.fpn.") for name in norms) == 8
    assert DetectionSettings().head == "4conv1fc"
