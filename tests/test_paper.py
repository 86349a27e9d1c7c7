"""`coco_paper` against what was published, typed by hand (arXiv 2106.11952, and the settings of its authors)."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from orl_explore import settings as settings_module
from orl_explore.boxes import jitter_box
from orl_explore.byol import BYOL, learning_rate_at, target_momentum
from orl_explore.encoder import Encoder
from orl_explore.orl import ORL
from orl_explore.runs.samples import StepSampler
from orl_explore.settings import EncoderSettings
from training.config import load_config
from training.twin_training import TwinTraining

ROOT = Path(__file__).parents[1]
COCO, COCO_PLUS = 118_287, 241_690

TRAINING = {
    "encoder.backbone": "resnet50",
    "encoder.hidden": 4096,
    "encoder.dim": 256,
    "encoder.init": "paper",
    "views.crop_scale": [0.08, 1.0],
    "views.crop_ratio": [3 / 4, 4 / 3],
    "views.flip": 0.5,
    "views.color_jitter": 0.8,
    "views.brightness": 0.4,
    "views.contrast": 0.4,
    "views.saturation": 0.2,
    "views.hue": 0.1,
    "views.gray": 0.2,
    "views.blur": [1.0, 0.1],
    "views.blur_sigma": [0.1, 2.0],
    "views.solarize": [0.0, 0.2],
    "image_size": 224,
    "epochs": 800,
    "batch_size": 512,  # 8 GPUs of 64 images
    "accumulate": 1,
    "init": None,  # from scratch
    "optimizer": "sgd",
    "base_lr": 0.4,  # at a batch of 512
    "momentum": 0.9,
    "weight_decay": 1e-4,  # on everything
    "warmup_epochs": 4.0,
    "schedule": "epoch",
    "drop_last": False,
    "ema": 0.99,
    "augment": "pil",
}
STAGE2 = {
    "encoder": None,
    "encoder_size": None,
    "image_size": 224,
    "neighbors": 10,
    "proposals": "opencv",
    "max_side": None,
    "min_side": 96,
    "max_aspect": 3.0,
    "max_iou": 0.5,
    "max_boxes": 100,
    "pair_ratio": 0.1,
    "mutual": False,
    "one_to_one": False,
    "min_similarity": None,
    "max_image_similarity": None,
    "mask_outside": 0.0,
}
STAGE3 = TRAINING | {
    "patch_size": 96,
    "image_weight": 1.0,
    "intra_weight": 1.0,
    "inter_weight": 1.0,
    "reviews": None,
    "without": None,
}
OURS = {
    "stage1": {"checkpoint_steps", "compile", "gradient_checkpointing", "knn_every", "keep_every"},
    "stage2": {"index", "batch_size", "shard_images"},
    "stage3": {"checkpoint_steps", "compile", "gradient_checkpointing", "knn_every", "keep_every"},
}
"""Settings that no result depends on beyond rounding."""


def flat(values: dict, prefix: str = "") -> dict:
    found = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


@pytest.mark.parametrize(("stage", "expected"), [("stage1", TRAINING), ("stage2", STAGE2), ("stage3", STAGE3)])
def test_every_setting_of_coco_paper(stage, expected):
    config = load_config("coco_paper")
    assert config.precision == "paper"
    own = flat(config.as_dict()[stage])
    assert own.keys() - OURS[stage] == expected.keys()
    assert {name: own[name] for name in expected} == expected
    assert config.stage2.index == "auto"
    assert not config.stage2.searches_lists(COCO_PLUS)  # exact


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_schedule(stage):
    settings = getattr(load_config("coco_paper"), stage)
    # 118,287 = 231 x 512 + 15.
    assert settings.steps_per_epoch(COCO) == 232
    assert settings.steps_per_epoch(COCO_PLUS) == 473
    assert settings.total_steps(COCO) == 185_600
    for step, expected in [
        (0, 0.4 * 1e-4),
        (464, 0.4 * (1e-4 + (1 - 1e-4) / 2) * (1 + math.cos(math.pi * 2 / 800)) / 2),  # half of 4 epochs of warm-up
        (927, 0.4 * (1e-4 + (1 - 1e-4) * 927 / 928) * (1 + math.cos(math.pi * 3 / 800)) / 2),
        (928, 0.4 * (1 + math.cos(math.pi * 4 / 800)) / 2),  # the cosine began with the first epoch
        (928 + 231, 0.4 * (1 + math.cos(math.pi * 4 / 800)) / 2),  # one value an epoch
        (92_800, 0.2),
        (185_599, 0.4 * (1 + math.cos(math.pi * 799 / 800)) / 2),
    ]:
        assert learning_rate_at(settings, step, COCO) == pytest.approx(expected, rel=1e-12)
    # A cosine per step that begins after the warm-up is never more than 0.46 % of the full rate away.
    by_step = dataclasses.replace(settings, schedule="step")
    steps = range(0, 185_600, 29)
    gap = max(abs(learning_rate_at(settings, s, COCO) - learning_rate_at(by_step, s, COCO)) for s in steps) / 0.4
    assert 0.0035 < gap < 0.0047


def test_momentum_of_the_target():
    for step, expected in [(0, 0.99), (92_800, 0.995), (185_600, 1.0)]:
        assert target_momentum(step, 185_600, load_config("coco_paper").stage1.ema) == pytest.approx(expected)


@pytest.mark.parametrize(("world", "last"), [(1, 15), (8, 16)])
def test_the_last_batch_is_kept(world, last):
    """On eight devices it has 16 images, two to a device: the first one of the epoch stands in it a second time."""
    shares = []
    for rank in range(world):
        sampler = StepSampler(COCO, batch_size=512, epochs=800, seed=0, start_step=231, rank=rank, world=world)
        shares.append(next(iter(sampler)))
    assert len({len(share) for share in shares}) == 1
    rows = [row for share in shares for epoch, row in share if epoch == 0]
    assert len(rows) == last
    order = sampler.order(0)
    assert sorted(rows) == sorted([*order[231 * 512 :], *order[: last - 15]])


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.random(EncoderSettings(), seed=0)


def test_shape_and_initialization(encoder):
    assert encoder.width == 2048
    shapes = [
        (type(layer).__name__, *layer.state_dict()["weight"].shape) for layer in encoder.projector if layer.state_dict()
    ]
    assert shapes == [("Linear", 4096, 2048), ("BatchNorm1d", 4096), ("Linear", 256, 4096)]
    assert encoder.projector[0].bias is not None
    assert encoder.projector[3].bias is None
    for name, layer in encoder.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            # n weights drawn: their standard deviation is within 4 / sqrt(2 n) of the true one.
            near = 4 / math.sqrt(2 * layer.weight.numel())
            assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / fan_in), rel=near), name
            assert layer.bias is None or not layer.bias.detach().any(), name
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            assert (layer.weight == 1).all(), name  # that of a residual branch's end, too
            assert (layer.bias == 0).all(), name


def test_torchvisions_start_is_another():
    ours, theirs = (Encoder.random(EncoderSettings(init=init), seed=0).backbone for init in ("paper", "torchvision"))
    for layer, factor in [
        ("conv1", math.sqrt(64 / 3)),  # fan-out 64 x 49, fan-in 3 x 49
        ("layer1.0.conv3", math.sqrt(256 / 64)),  # expands
        ("layer2.1.conv1", math.sqrt(128 / 512)),  # reduces
        ("layer3.0.conv2", 1.0),
    ]:
        deviations = [float(net.get_submodule(layer).weight.detach().std()) for net in (ours, theirs)]
        assert deviations[0] / deviations[1] == pytest.approx(factor, rel=0.05)


@pytest.mark.parametrize(
    ("backbone", "alike"), [("timm:test_convnext", True), ("timm:test_vit", True), ("timm:test_resnet", False)]
)
def test_no_resnet_starts_as_timm_draws_it(backbone, alike):
    ours, theirs = (
        Encoder.random(EncoderSettings(backbone, 0, 0, init), seed=0).state_dict() for init in ("paper", "torchvision")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in ours) == alike


def test_a_box_is_jittered_up_to_200_times():
    assert inspect.signature(jitter_box).parameters["tries"].default == 200


@pytest.mark.parametrize(("networks", "predictors"), [(BYOL, 1), (ORL, 3)])
def test_predictors_and_optimizer(networks, predictors):
    made = networks(EncoderSettings("timm:test_resnet", hidden=4096, dim=256))
    heads = [layer for name, layer in made.named_children() if name.endswith("predictor")]
    assert len(heads) == predictors
    for head in heads:
        assert [tuple(layer.weight.shape) for layer in head if hasattr(layer, "weight")] == [
            (4096, 256),
            (4096,),
            (256, 4096),
        ]
        assert head[0].bias is not None
        assert head[3].bias is None
    settings = load_config("coco_paper").stage1
    module = TwinTraining(made, settings, images=COCO, weights={"image": 1.0})
    optimizer = module.configure_optimizers()["optimizer"]
    assert isinstance(optimizer, torch.optim.SGD)
    [group] = optimizer.param_groups  # weight decay on everything, biases and normalization included
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 1e-4, False)
    trained = sum(p.numel() for p in made.parameters() if p.requires_grad)
    assert sum(p.numel() for p in group["params"]) == trained
    assert not any(p.requires_grad for p in made.target.parameters())


@pytest.mark.parametrize(("gpu", "training", "bf16"), [(True, "16-mixed", False), (False, "32-true", False)])
def test_precision(gpu, training, bf16, monkeypatch):
    """Float16 with loss scaling where there is a GPU; stage 2 in float32."""
    from training import machine, stage2

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    config = load_config("coco_paper")
    assert machine.precision_flag(config.precision) == training
    assert stage2.embedding_options(config)["bf16"] == bf16


def test_every_claim_of_equality_names_tests_that_exist():
    page = (ROOT / "docs/differences.md").read_text(encoding="utf-8")
    table = page[page.index("## What is the same") : page.index("## Done differently")]
    lines = [line for line in table.splitlines() if line.startswith("| **")]
    assert len(lines) == 15
    written = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for line in lines:
        names = re.findall(r"`(test_\w+)`", line)
        assert names, line
        for name in names:
            assert f"def {name}(" in written, name


def test_everything_added_is_on_the_page():
    page = (ROOT / "docs/differences.md").read_text(encoding="utf-8")
    stages = {"TrainSettings": ("stage1", "stage3"), "Stage2Settings": ("stage2",), "Stage3Settings": ("stage3",)}
    added = []
    for each in ast.parse(inspect.getsource(settings_module)).body:
        for field, after in itertools.pairwise(getattr(each, "body", ())):
            said = getattr(getattr(after, "value", None), "value", None)
            if isinstance(field, ast.AnnAssign) and isinstance(said, str) and said.startswith("Not in the paper"):
                added += [f"{stage}.{field.target.id}" for stage in stages[each.name]]
    assert {"stage1.accumulate", "stage2.max_side", "stage3.without"} <= set(added)
    assert [name for name in (*added, "stage2.index") if name not in page] == []
