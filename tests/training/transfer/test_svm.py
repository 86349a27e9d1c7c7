"""VOC07 classification: average precision, costs, low-shot draws, each by hand or against its definition."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orl_explore.encoder import Encoder
from orl_explore.judging import intervals
from orl_explore.practice.benchmark_folders import write_voc
from orl_explore.practice.scenes import make_scenes
from training.transfer import svm
from training.transfer.svm import average_precision, chance, sample_labels
from training.transfer.voc import read_voc

# ---- average precision ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "expected"),
    [  # of images ranked 1, 2, 3, ...
        pytest.param([1, 1, -1, -1], 1.0, id="all first"),
        pytest.param([1, -1, 1, -1], (1 + 2 / 3) / 2, id="precision 1/1, then 2/3"),
        pytest.param([-1, 1, 1], 2 / 3, id="1/2, then 2/3: the better later precision counts for both"),
        pytest.param([-1, -1, 1], 1 / 3, id="last"),
        pytest.param([0, 1, 0, -1], 1.0, id="difficult images are as if they were not there"),
        pytest.param([1, -1, -1, 1, 1], (1 + 3 / 5 + 3 / 5) / 3, id="2/4 is raised to 3/5"),
    ],
)
def test_average_precision_by_hand(labels, expected):
    scores = -np.arange(len(labels), dtype=float)
    assert average_precision(scores, np.array(labels)) == pytest.approx(expected)


@given(st.lists(st.sampled_from([-1, 1]), min_size=1, max_size=30).filter(lambda labels: 1 in labels), st.randoms())
def test_average_precision_is_the_area_under_the_envelope(labels, random):
    order = list(range(len(labels)))
    random.shuffle(order)
    scores, y = np.array(order, float), np.array(labels)
    ranked = y[np.argsort(-scores)] == 1
    recalls = np.cumsum(ranked) / ranked.sum()
    precisions = np.cumsum(ranked) / np.arange(1, len(y) + 1)
    # The definition: over the steps of recall, the best precision reached at this recall or a higher one.
    area, before = 0.0, 0.0
    for recall in sorted(set(recalls[ranked])):
        area += (recall - before) * precisions[recalls >= recall].max()
        before = recall
    assert average_precision(scores, y) == pytest.approx(area)
    assert average_precision(2 * scores + 7, y) == pytest.approx(area)


@pytest.mark.parametrize(
    ("seed", "state"), [(0, 0), (7, 7), (2**32 - 1, 2**32 - 1), (2**32 + 7, 7), (2**63 - 1, 2**32 - 1)]
)
def test_every_seed_that_a_run_can_have(seed, state):
    x, y = np.random.default_rng(0).normal(size=(20, 4)), np.repeat([1, -1], 10)
    svm.decisions(x, y, x, 1.0, svm.VocSettings(), seed)
    assert svm.linear_svm(1.0, svm.VocSettings(), seed).random_state == state


def test_chance_is_the_mean_share_of_positives_without_the_difficult():
    labels = np.array([[1, 1], [-1, 1], [-1, 0], [-1, -1]])  # 1 of 4; 2 of 3
    assert chance(labels) == pytest.approx((1 / 4 + 2 / 3) / 2)


# ---- SVMs ----------------------------------------------------------------------------------------------------------


@given(k=st.integers(1, 3), seed=st.integers(0, 99))
def test_low_shot_draws_k_positives_and_their_negatives(k, seed):
    rng = np.random.default_rng(1)
    labels = rng.choice([-1, 1], size=(60, 4), p=[0.7, 0.3]).astype(np.int8)
    labels[0] = 0
    kept = sample_labels(labels, k, [seed])
    assert ((kept == 1).sum(axis=0) == k).all()
    assert ((kept == -1).sum(axis=0) == 3 * k).all()  # (classes - 1) k
    assert (labels[kept != 0] == kept[kept != 0]).all()  # no label is made up, none of a difficult image is used
    assert (sample_labels(labels, k, [seed]) == kept).all()


def test_low_shot_draws_are_independent():
    labels = np.repeat(np.array([[1], [-1]], np.int8), 40, axis=0).repeat(2, axis=1)
    draws = [sample_labels(labels, 4, [0, draw, 4]).tolist() for draw in range(5)]
    assert len({json.dumps(draw) for draw in draws}) == 5


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


@pytest.mark.parametrize("kind", [svm.VocSettings, svm.LowShotSettings])
def test_costs_are_in_order(kind):
    assert kind(costs=(10.0, 0.1, 1.0)).costs == (0.1, 1.0, 10.0)


def test_the_smallest_of_equally_good_costs_is_taken(setup):
    y = np.array([1, -1] * 8, np.int8)
    settings = svm.VocSettings(image_size=32, costs=(10.0, 0.1, 1.0))
    figures = svm.judge(None, made_up(y[:, None] * np.ones((16, 2)), y, 10), settings, setup)  # any cost tells them
    assert figures["cost"] == {"thing": 0.1}


def test_folds_are_judged_without_the_envelope():
    # Two folds: the first two images of each class, and the last two. Scores grow with the number. In the first fold
    # wrong, right, right, wrong: 1/2 and 2/3, where the envelope would raise the first; the second fold is right.
    x = np.array([0.9, 0.5, 1.0, -5, 1.0, 0.8, -1, -1])[:, None]
    y = np.array([1, 1, -1, -1, 1, 1, -1, -1], np.int8)
    found = svm.cross_validated(x, y, 1.0, svm.VocSettings(folds=2), 0)
    assert found == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1) / 2)


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


def test_low_shot_scores_the_largest_k_and_has_the_interval_of_each(setup, practice, encoder_settings):
    data = read_voc(practice / "VOC2007")
    settings = svm.LowShotSettings(image_size=32, k=(2, 1), samples=2, costs=(0.01, 1.0))
    figures = svm.judge_lowshot(Encoder.random(encoder_settings, 0), data, settings, setup)
    assert figures["map"] == figures["map_by_k"]["2"]
    assert set(figures["cost_by_k"].values()) <= {0.01, 1.0}
    items = figures["items"]["map"]
    assert items.value() == pytest.approx(figures["map"])
    assert items.order.shape == (2, len(data.classes), 45)
    for k, value in figures["map_by_k"].items():
        items = figures["items"][f"map_by_k/{k}"]
        assert items.value() == pytest.approx(value)
        low, high = intervals.interval(intervals.resampled(items, resamples=100), items.value())
        assert low < value < high


@pytest.mark.slow  # many scenes are drawn
def test_the_printed_low_shot_command_has_images_enough(setup, tmp_path):
    """Small ones, in half the time, and with two more images of every class: what hides what depends on the size."""
    page = (Path(__file__).parents[3] / "docs" / "transfer.md").read_text(encoding="utf-8")
    count, seed = map(int, re.findall(r"^orl scenes data/practice --count (\d+) --seed (\d+) ", page, re.MULTILINE)[0])
    k = json.loads(re.findall(r"--voc07-lowshot\.k '(.+?)' --data data/practice", page)[0])
    write_voc(make_scenes(tmp_path, count=count, seed=seed, size=64), tmp_path)
    setup = dataclasses.replace(setup, data=(tmp_path,))
    assert len(svm.read_lowshot(setup, svm.LowShotSettings(k=(max(k) + 2,))).classes) == 24
