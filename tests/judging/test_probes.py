"""Probes on features so simple that the right answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import RidgeCV

from orl_explore.judging import probes
from orl_explore.judging.probes import knn_accuracy, linear_probe, majority_accuracy, multilabel_map, prevalence


def blobs(rng, labels, *, spread):
    """Points around the corners of a simplex, one corner per class."""
    return (np.eye(4)[labels] + rng.normal(0, spread, (len(labels), 4))).astype(np.float32)


def test_linear_probe_separates_what_is_separable_and_no_more():
    rng = np.random.default_rng(0)
    train_y, test_y = rng.integers(4, size=400), rng.integers(4, size=400)
    near = linear_probe(blobs(rng, train_y, spread=0.1), train_y, blobs(rng, test_y, spread=0.1), test_y, seed=0)
    noise = linear_probe(rng.normal(size=(400, 4)), train_y, rng.normal(size=(400, 4)), test_y, seed=0)
    assert near > 0.99
    assert noise == pytest.approx(0.25, abs=0.08)  # 4 classes; 3 standard errors of 400 trials are 0.065


def test_linear_probe_reads_any_labels_and_does_not_depend_on_scale():
    rng = np.random.default_rng(1)
    train_y, test_y = rng.integers(4, size=60), rng.integers(4, size=60)
    train_x, test_x = blobs(rng, train_y, spread=0.5), blobs(rng, test_y, spread=0.5)
    names = np.array(["mug", "key", "fish", "star"], dtype=object)
    plain = linear_probe(train_x, train_y, test_x, test_y, seed=3)
    assert 0.3 < plain < 1
    assert linear_probe(train_x, names[train_y], test_x, names[test_y], seed=3) == plain
    assert linear_probe(1000 * train_x + 7, train_y, 1000 * test_x + 7, test_y, seed=3) == pytest.approx(
        plain, abs=0.02
    )


def test_linear_probe_counts_unseen_classes_as_wrong():
    x, y = np.array([[-1.0], [1.0]] * 5), np.array([0, 1] * 5)
    assert linear_probe(x, y, np.array([[-1.0], [1.0], [1.0], [-1.0]]), np.array([0, 1, 2, 2]), seed=0) == 0.5


def test_linear_probe_chooses_the_strength_on_its_training_part(monkeypatch):
    rng = np.random.default_rng(5)
    (train_x, train_y), (test_x, test_y) = [
        (rng.normal(y[:, None] - 0.5, 4, (len(y), 100)), y)
        for y in (rng.integers(2, size=150), rng.integers(2, size=500))
    ]

    def accuracy(*strengths):
        monkeypatch.setattr(probes, "STRENGTHS", strengths)
        return linear_probe(train_x, train_y, test_x, test_y, seed=0)

    good, bad = accuracy(1e-2), accuracy(1e-9)  # 1e-9 lets only the intercept live: the majority class
    assert good > bad + 0.1
    assert accuracy(1e-2, 1e-9, 1e-9) == good
    assert accuracy(1e-9, 1e-9, 1e-2) == good


@pytest.mark.parametrize(
    ("k", "temperature", "expected"),
    [
        # cosines of the query with a: 1.0, with both b: 0.8
        pytest.param(1, 0.07, "a", id="the nearest"),
        pytest.param(3, 0.07, "a", id="exp(1/0.07) > 2 exp(0.8/0.07)"),
        pytest.param(3, 1.0, "b", id="exp(1) = 2.72 < 2 exp(0.8) = 4.45"),
        pytest.param(99, 1.0, "b", id="k is at most the number of items"),
    ],
)
def test_knn_votes_by_cosine(k, temperature, expected):
    train_x = np.array([[10.0, 0.0], [0.8, 0.6], [0.8, -0.6]])  # length does not matter
    train_y = np.array(["a", "b", "b"])
    test_x = np.array([[3.0, 0.0]])
    assert knn_accuracy(train_x, train_y, test_x, np.array([expected]), k=k, temperature=temperature) == 1


def test_knn_goes_through_more_than_a_block():
    rng = np.random.default_rng(2)
    train_y, test_y = rng.integers(4, size=200), rng.integers(4, size=1500)
    train_x, test_x = blobs(rng, train_y, spread=0.05), blobs(rng, test_y, spread=0.05)
    assert knn_accuracy(train_x, train_y, test_x, test_y) == 1
    assert knn_accuracy(train_x, train_y, test_x, (test_y + 1) % 4) == 0


@pytest.mark.parametrize(
    ("test_y", "expected"),
    [
        # One feature, so the test items are ranked 4, 3, 2, 1 for a class that goes with it.
        ([1, 1, 0, 0], 1.0),
        ([1, 0, 1, 0], (1 / 1 + 2 / 3) / 2),
        ([0, 0, 0, 1], 1 / 4),
    ],
)
def test_map_is_the_area_under_precision_and_recall(test_y, expected):
    train_x, train_y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([[0], [0], [1], [1]])
    test_x = np.array([[4.0], [3.0], [2.0], [1.0]])
    assert multilabel_map(train_x, train_y, test_x, np.array(test_y)[:, None]) == pytest.approx(expected)


def test_map_averages_over_classes_that_both_parts_have():
    train_x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    # Class 0 goes with the feature, class 1 against it; class 2 is never trained, class 3 never tested.
    train_y = np.array([[0, 1, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    test_x = np.array([[4.0], [3.0], [2.0], [1.0]])
    test_y = np.array([[1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert multilabel_map(train_x, train_y, test_x, test_y) == pytest.approx((1 + 1 / 4) / 2)
    assert prevalence(train_y, test_y) == 1 / 4


def test_ridge_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    for n, d in ((200, 40), (40, 200)):
        x = rng.normal(size=(n, d))
        x -= x.mean(axis=0)
        y = (rng.random((n, 5)) < 0.4).astype(np.float64)
        y[:, 0] = x[:, 0] > 0  # one class that can be learned: another penalty than the others
        reference = RidgeCV(alphas=probes.PENALTIES, alpha_per_target=True).fit(x, y)
        assert len(set(reference.alpha_)) > 1
        assert probes._ridge(x, y) == pytest.approx(reference.coef_.T)


def test_majority_answers_what_is_frequent_in_training():
    assert majority_accuracy(np.array(list("aabbb")), np.array(list("aaab"))) == 1 / 4


@pytest.mark.parametrize("probe", ["linear", "knn", "map"])
def test_probes_are_deterministic_and_leave_their_input_alone(probe):
    rng = np.random.default_rng(4)
    y = rng.integers(4, size=(2, 50))
    x = [blobs(rng, labels, spread=0.6) for labels in y]
    before = [array.copy() for array in x]
    onehot = np.eye(4, dtype=int)

    def measure():
        if probe == "linear":
            return linear_probe(x[0], y[0], x[1], y[1], seed=0)
        if probe == "knn":
            return knn_accuracy(x[0], y[0], x[1], y[1])
        return multilabel_map(x[0], onehot[y[0]], x[1], onehot[y[1]])

    assert measure() == measure()
    assert all((a == b).all() for a, b in zip(x, before, strict=True))


def test_nan_where_labels_allow_no_figure():
    x, none = np.ones((3, 2)), np.ones((0, 2))
    y, no_labels = np.array([1, 1, 1]), np.array([], dtype=int)
    figures = [
        linear_probe(x, y, x, y, seed=0),  # one class
        linear_probe(none, no_labels, x, y, seed=0),
        linear_probe(x, np.array([0, 1, 0]), none, no_labels, seed=0),
        knn_accuracy(none, no_labels, x, y),
        knn_accuracy(x, y, none, no_labels),
        multilabel_map(x, np.ones((3, 0)), x, np.ones((3, 0))),
        multilabel_map(none, np.ones((0, 2)), x, np.ones((3, 2))),
        majority_accuracy(no_labels, y),
        majority_accuracy(y, no_labels),
        prevalence(np.ones((3, 0)), np.ones((3, 0))),
    ]
    assert [math.isnan(figure) for figure in figures] == [True] * 10


def test_shapes_that_do_not_fit_are_refused():
    x, y = np.ones((3, 2)), np.array([0, 1, 0])
    with pytest.raises(ValueError, match="do not fit together"):
        linear_probe(x, y, np.ones((3, 5)), y, seed=0)
    with pytest.raises(ValueError, match="do not fit together"):
        knn_accuracy(x, y[:2], x, y)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.data())
def test_largest_are_those_of_a_stable_sort(values, data):
    k = data.draw(st.integers(1, len(values)))
    array = np.array(values, np.float32)  # many equals
    assert probes._largest(array, k).tolist() == np.argsort(-array, kind="stable")[:k].tolist()
