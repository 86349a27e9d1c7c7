"""The defaults of the protocols against what the literature says of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from orl_explore.encoder import Encoder
from orl_explore.settings import InputSettings
from training.cli import judging
from training.transfer import fcn, linear, semi
from training.transfer.folders import Folders, Labeled
from training.transfer.protocols import PROTOCOLS

COSTS = (
    *(1.9073486328125e-06, 3.814697265625e-06, 7.62939453125e-06, 1.52587890625e-05, 3.0517578125e-05),
    *(6.103515625e-05, 0.0001220703125, 0.000244140625, 0.00048828125, 0.0009765625, 0.001953125, 0.00390625),
    *(0.0078125, 0.015625, 0.03125, 0.0625, 1.0, 10.0, 100.0),
)
"""0.5^19 .. 0.5^4, 1, 10 and 100."""

LITERATURE = {
    "voc07": {
        "feature": "map",  # 7 x 7 to 2 x 2, 8192 numbers
        "costs": COSTS,
        "folds": 3,
        "positive_weight": 2.0,
        "tolerance": 1e-4,
        "max_iterations": 2000,
        "train_difficult": "negative",
    },
    "voc07-lowshot": {
        "feature": "map",
        "k": (1, 2, 4, 8, 16, 32, 64, 96),
        "samples": 5,
        "costs": COSTS,
        "positive_weight": 2.0,
        "tolerance": 1e-4,
        "max_iterations": 2000,
    },
    "linear": {
        "preset": "imagenet",
        "layers": "all",  # five heads at once
        "lr": 0.01,
        "gamma": 0.1,
        "batch_size": 256,
        "momentum": 0.9,
        "weight_decay": 1e-4,
    },
    "semi": {
        "lists": ("1percent.txt", "10percent.txt"),
        "epochs": 20,
        "steps": (12, 16),
        "gamma": 0.2,
        "lr": 0.01,
        "head_factor": 100.0,
        "batch_size": 256,
        "momentum": 0.9,
        "weight_decay": 0.0,  # published: 5e-4, 1e-4 or 0
    },
    "detection": {
        "schedule": "1x",
        "iterations": None,
        "batch_size": 16,
        "accumulate": 1,
        "lr": 0.02,
        "head": "4conv1fc",
        "precise_bn": 200,
        "warmup": 1000,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "train_sizes": (640, 672, 704, 736, 768, 800),
        "max_size": 1333,
        "anchors": (32, 64, 128, 256, 512),
        "channels": 256,
        "regions": 512,
        "precision": "fp32",
    },
    "segmentation": {
        "preset": "voc12",
        "backbone": "fine-tuned",
        "batch_size": 16,
        "accumulate": 1,
        "momentum": 0.9,
        "precision": "fp32",
        **dict.fromkeys(("iterations", "lr", "weight_decay", "size", "crop", "channels")),  # the preset's, see below
    },
    "in-context": {"k": 30, "temperature": 0.02},
    "knn": {"k": (20, 200), "temperature": 0.07},
}
"""By protocol; typed from the papers' and benchmarks' settings, not read from the code."""

OURS = {
    "image_size",  # that of the run; 224 in the paper
    *("linear.epochs", "linear.steps", "linear.colors"),  # None: the preset's, see below
    *("in-context.memory", "in-context.batch_size"),  # a hundredth of the paper's, which fits no ordinary machine
    "segmentation.checkpoint_steps",
    *("detection.checkpoint_steps", "retrieval.queries"),  # no protocol of the literature has them
}


@pytest.mark.parametrize("name", LITERATURE)
def test_defaults_are_those_of_the_literature(name):
    defaults = vars(PROTOCOLS[name].settings())
    left = {key for key in defaults if key not in OURS and f"{name}.{key}" not in OURS}
    assert {key: defaults[key] for key in left} == LITERATURE[name]


def test_a_hundredth_of_the_patches_is_remembered():
    assert PROTOCOLS["in-context"].settings().memory * 100 == 10_240_000


@pytest.mark.parametrize(
    ("preset", "epochs", "steps", "colors"),
    [
        ("imagenet", 28, (8, 16, 24), True),
        ("places205", 14, (4, 8, 12), False),
        ("inaturalist18", 84, (24, 48, 72), False),
    ],
)
def test_schedules_of_linear_classification(preset, epochs, steps, colors):
    settings = linear.LinearSettings(preset=preset).resolved()
    assert (settings.epochs, settings.steps, settings.colors) == (epochs, steps, colors)


MOCO = {
    **{"iterations": 30_000, "lr": 0.003, "weight_decay": 1e-4, "schedule": "step", "size": (513, 2049), "crop": 513},
    **{"stride": 16, "channels": 256, "dilation": 6, "concat": False, "dropout": 0.0, "auxiliary": 0.0},
    **{"colors": False, "align_corners": True, "slide": 0},
}
FCN_D8 = {
    **{"iterations": 20_000, "lr": 0.01, "weight_decay": 5e-4, "schedule": "poly", "size": (512, 2048), "crop": 512},
    **{"stride": 8, "channels": 512, "dilation": 1, "concat": True, "dropout": 0.1, "auxiliary": 0.4},
    **{"colors": True, "align_corners": False, "slide": 0},
}
CITIES = {"size": (1025, 2049), "crop": 769, "align_corners": True, "slide": 513}


@pytest.mark.parametrize(
    ("preset", "values"),
    [
        ("voc12", MOCO),
        ("cityscapes", MOCO | CITIES | {"iterations": 90_000, "lr": 0.01}),
        ("voc12-d8", FCN_D8),
        ("cityscapes-d8", FCN_D8 | CITIES | {"iterations": 40_000}),
        ("ade20k-d8", FCN_D8 | {"iterations": 80_000}),
    ],
)
def test_recipes_of_segmentation(preset, values):
    assert dataclasses.asdict(fcn.SegmentationSettings(preset=preset).recipe()) == values


def test_command_knows_every_protocol():
    assert tuple(PROTOCOLS) == judging.PROTOCOL_NAMES
    assert set(PROTOCOLS) == {*LITERATURE, "retrieval"}  # retrieval follows no paper
    for name in PROTOCOLS:
        assert f"\n  {name} " in judging.PROTOCOLS


class Stopped(Exception):
    """Instead of a training."""


@pytest.mark.parametrize(
    ("module", "settings", "sgd", "rates", "factors"),
    [
        (
            linear,
            linear.LinearSettings(image_size=32),
            {"momentum": 0.9, "weight_decay": 1e-4, "nesterov": True},
            [0.01],
            {7: 1, 8: 0.1, 24: 0.001},
        ),
        (
            semi,
            semi.SemiSettings(image_size=32),
            {"momentum": 0.9, "weight_decay": 0.0},
            [0.01, 1.0],
            {11: 1, 12: 0.2, 16: 0.04},
        ),
    ],
)
def test_optimizers_of_linear_and_semi(module, settings, sgd, rates, factors, setup, encoder_settings, monkeypatch):
    given = {}

    def fit(network, train, val, **options):
        given.update(options, inputs=[views.inputs for views in (train, val)])
        raise Stopped

    monkeypatch.setattr(module, "fit_heads", fit)
    part = Labeled([], np.zeros(0, int))
    folders = Folders(Path(), ["cup", "mug"], part, part)
    data = folders if module is linear else semi.SemiData(folders, {"1percent": part})
    encoder = Encoder.random(encoder_settings, 0)
    encoder.inputs = InputSettings(interpolation="bicubic", crop=1.0)  # of one from elsewhere
    with pytest.raises(Stopped):
        module.judge(encoder, data, settings, setup)
    assert given["inputs"] == [encoder.inputs] * 2
    assert given["sgd"] == sgd
    assert [group["lr"] for group in given["groups"]] == rates
    assert {epoch: given["factor"](epoch) for epoch in factors} == pytest.approx(factors)
    assert (given["batch_size"], given["precision"]) == (256, "fp32")
