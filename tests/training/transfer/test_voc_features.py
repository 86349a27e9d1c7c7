"""VOC07 by SVM: how images become features, what is trained on, how costs are chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.judging import intervals
from orl_explore.practice.benchmark_folders import write_voc
from orl_explore.practice.scenes import make_scenes
from orl_explore.settings import EncoderSettings
from orl_explore.views import tensors
from orl_explore.views.cropping import squeezed_view
from training.transfer import stages, svm
from training.transfer.setup import Setup
from training.transfer.voc import read_voc


@pytest.fixture
def setup(new_run, tiny, tmp_path):
    return Setup(new_run(), tiny, (), "voc07 test", tmp_path / "work")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("practice")
    write_voc(make_scenes(folder, count=90, size=64, seed=5), folder)
    return read_voc(folder / "VOC2007")


# ---- features ------------------------------------------------------------------------------------------------------


def test_images_are_resized_twice():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    # The shorter side, 300, becomes 256 and 500 becomes 427 (426.7); then both become 224.
    expected = image.resize((427, 256), Image.Resampling.BILINEAR).resize((224, 224), Image.Resampling.BILINEAR)
    assert (np.asarray(squeezed_view(image, 224)) == np.asarray(expected)).all()
    assert squeezed_view(image, 64).size == (64, 64)
    assert squeezed_view(Image.new("RGB", (9, 5000)), 224).size == (224, 224)


@pytest.mark.parametrize(
    ("stage", "side", "cells", "numbers", "kernel"),
    [  # a ResNet-50's maps at 224 px, with 64, 256, 512, 1024 and 2048 channels; then at 64 px
        ("res1", 112, 12, 9216, True),
        ("res2", 56, 6, 9216, True),
        ("res3", 28, 4, 8192, True),
        ("res4", 14, 3, 9216, True),
        ("res5", 7, 2, 8192, True),
        ("res1", 32, 12, 9216, False),
        ("res2", 16, 6, 9216, False),
        ("res3", 8, 4, 8192, False),
        ("res4", 4, 3, 9216, False),
        ("res5", 2, 2, 8192, False),
        ("res5", 1, 2, 8192, False),  # at 32 px: each cell repeats the one there is
    ],
)
def test_maps_are_pooled_to_the_cells_of_the_literature(stage, side, cells, numbers, kernel):
    channels = {"res1": 64, "res2": 256, "res3": 512, "res4": 1024, "res5": 2048}[stage]
    pooled = stages.pool_map(torch.rand(1, channels, side, side), stage)
    assert pooled.shape == (1, channels, cells, cells)
    assert pooled.numel() == numbers
    assert ("adaptive" not in stages.pooling_of(stage, (side, side))) == kernel


def test_pooling_by_hand():
    # Cell (0, 0) of the last stage is the mean of rows and columns 0..5 of 7, cell (1, 1) that of 1..6.
    found = torch.arange(49.0).reshape(1, 1, 7, 7)
    assert stages.pool_map(found, "res5")[0, 0].tolist() == [[20.0, 21.0], [27.0, 28.0]]
    # Of the first stage: windows of 10 every 10, the first begins 4 before the map, where zeros count: 6 x 6 of 100.
    pooled = stages.pool_map(torch.ones(1, 1, 112, 112), "res1")[0, 0]
    assert pooled[0, 0] == pytest.approx(0.36)
    assert pooled[1, 1] == 1.0
    assert pooled[11, 11] == pytest.approx(0.36)  # 106..115 of 0..111
    # A map of another size is divided evenly.
    assert stages.pool_map(torch.arange(16.0).reshape(1, 1, 4, 4), "res5")[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]


@pytest.mark.parametrize(("feature", "numbers"), [("map", 8192), ("pooled", 2048)])
def test_features_of_the_papers_network(setup, data, feature, numbers):
    encoder = Encoder.random(EncoderSettings("resnet50", hidden=0, dim=2048), 0)
    few = type(data)(data.root, data.classes, *(type(p)(p.files[:1], p.labels[:1]) for p in (data.trainval, data.test)))
    train, test, facts = few.embed(encoder, 224, feature, setup)
    assert train.shape == test.shape == (1, numbers)
    assert np.linalg.norm(train) == pytest.approx(1)
    how = {"map": "7 x 7 to 2 x 2, kernel 6, stride 1, padding 0", "pooled": "global average"}[feature]
    assert facts == {"name": feature, "numbers": numbers, "pooling": how}
    with torch.inference_mode():
        image = tensors.to_tensor(squeezed_view(Image.open(few.test.files[0]), 224))[None]
        net = encoder.backbone
        x = net.maxpool(net.relu(net.bn1(net.conv1(tensors.normalize(image)))))
        found = net.layer4(net.layer3(net.layer2(net.layer1(x))))  # (1, 2048, 7, 7)
    if feature == "map":
        windows = [found[:, :, y : y + 6, x : x + 6].mean((2, 3)) for y in (0, 1) for x in (0, 1)]
        by_hand = torch.stack(windows, dim=2).flatten(1)
    else:
        by_hand = found.mean((2, 3))
    assert test[0] == pytest.approx((by_hand / by_hand.norm())[0].numpy(), abs=1e-5)


def test_hooks_are_gone_afterwards(setup, data):
    encoder = Encoder.random(EncoderSettings("resnet18", hidden=0, dim=512), 0)
    train, _, facts = data.embed(encoder, 32, "map", setup)
    assert train.shape == (45, 4 * 512)
    assert facts["pooling"] == "1 x 1 to 2 x 2, adaptive"
    assert not encoder.backbone.layer4._forward_hooks


def test_a_network_without_stages_has_the_pooled_feature_alone(setup, data):
    encoder = Encoder.random(EncoderSettings("resnet18", hidden=0, dim=512), 0)
    encoder.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with pytest.raises(OrlError, match=r"has no layer4, so it is no ResNet: use --voc07\.feature pooled"):
        data.embed(encoder, 32, "map", setup)
    assert data.embed(encoder, 32, "pooled", setup)[0].shape == (45, 4)


# ---- SVMs ----------------------------------------------------------------------------------------------------------


def test_svm_has_the_settings_of_the_literature():
    made = svm.linear_svm(0.5, svm.VocSettings(), seed=0).get_params()
    wanted = {"C": 0.5, "loss": "squared_hinge", "penalty": "l2", "dual": True, "tol": 1e-4, "max_iter": 2000}
    assert wanted.items() <= made.items()
    assert made["class_weight"] == {1: 2.0, -1: 1.0}


def made_up(x, y, train):
    """VOC data of one class with these features in place of an encoder's."""
    made = type("Made", (), {})()
    made.classes = ["thing"]
    made.embed = lambda *_: (x[:train], x[train:], {"numbers": x.shape[1]})
    made.trainval, made.test = (type("Split", (), {"labels": part[:, None]}) for part in (y[:train], y[train:]))
    return made


def test_cost_is_the_one_that_cross_validates_best(setup):
    # One feature tells the class, among many of noise: a strong penalty ranks as well as a weak one on training data,
    # but the weak one fits the noise. So the chosen cost must have the best mean AP over the folds, whatever it is.
    rng = np.random.default_rng(0)
    y = np.where(rng.random(60) < 0.4, 1, -1).astype(np.int8)
    x = rng.normal(size=(60, 20)) + y[:, None] * np.eye(20)[0]
    settings = svm.VocSettings(image_size=32, costs=(1e-4, 1.0, 100.0))
    figures = svm.judge(None, made_up(x, y, 40), settings, setup)
    scores = [svm.cross_validated(x[:40], y[:40], cost, settings, 0) for cost in settings.costs]
    assert len(set(scores)) > 1
    assert figures["cost"] == {"thing": settings.costs[int(np.argmax(scores))]}
    assert figures["map"] == figures["ap"]["thing"] > figures["map_chance"]
    assert figures["items"]["map"].value() == pytest.approx(figures["map"])


def test_difficult_images_are_negatives_in_training_unless_asked(setup):
    # The difficult image lies where the positives are: as a negative, it turns the order of the two test images, that
    # differ in the second number only.
    x = np.array([[1.0, 0], [1, 0.2], [1, 1], [-1, 0], [-1, 0], [1, 0], [1, 0.9]])
    y = np.array([1, 1, 0, -1, -1, 1, -1], np.int8)
    settings = {"image_size": 32, "costs": (100.0,), "folds": 2}
    found = {
        kind: svm.judge(None, made_up(x, y, 5), svm.VocSettings(**settings, **kind_of), setup)["map"]
        for kind, kind_of in (("default", {}), ("ignore", {"train_difficult": "ignore"}))
    }
    assert found["default"] == 1.0
    assert found["ignore"] == 0.5
    # An image of 0 has no part in a fit: with another feature there, the same scores.
    moved = x.copy()
    moved[2] = -500
    scores = [svm.decisions(z[:5], y[:5], x[5:], 1.0, svm.VocSettings(), 0) for z in (x, moved)]
    assert (scores[0] == scores[1]).all()


def test_the_cost_is_chosen_after_the_mean_over_draws():
    precision = np.array(
        [  # one k: two draws, three costs. Means 0.5, 0.6, 0.55: the second, though neither draw is best there.
            [[0.9, 0.6, 0.2], [0.1, 0.6, 0.9]],
            [[0.3, 0.1, 0.1], [0.3, 0.2, 0.1]],
        ]
    )
    best, of_best = svm.choose_costs(precision)
    assert best.tolist() == [1, 0]
    assert of_best.tolist() == [[0.6, 0.6], [0.3, 0.3]]  # the best of every draw would give 0.9


def test_low_shot_scores_the_largest_k_with_its_interval(setup, data, encoder_settings):
    settings = svm.LowShotSettings(image_size=32, k=(2, 1), samples=2, costs=(0.01, 1.0))
    figures = svm.judge_lowshot(Encoder.random(encoder_settings, 0), data, settings, setup)
    assert figures["map"] == figures["map_by_k"]["2"]
    assert set(figures["cost_by_k"].values()) <= {0.01, 1.0}
    items = figures["items"]["map"]
    assert items.value() == pytest.approx(figures["map"])
    assert items.order.shape == (2, len(data.classes), 45)
    low, high = intervals.interval(intervals.resampled(items, resamples=100))
    assert low < figures["map"] < high
