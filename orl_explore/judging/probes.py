"""How good are features, judged by labels? Probes over arrays; no encoder is ever trained on what they use.

Every figure has a chance level beside it: `majority_accuracy` for the accuracies, `prevalence` for the mean AP. A
figure is nan where the labels do not allow it: fewer than two classes to train on, for example, or no item to test on.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

# The matrices are so small that BLAS threads cost many times what they save on a busy machine; with one thread the
# figures are also the same on any number of cores.
one_thread = threadpool_limits.wrap(limits=1)

Features = NDArray[np.floating]
Labels = NDArray[np.generic]

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse regularization strengths that the linear probe chooses from, for features of unit variance."""

PENALTIES = tuple(10.0 ** np.arange(0, 6.5, 0.5))
"""Ridge penalties that the multi-label classifiers choose from, for features of unit variance."""


def linear_probe(train_x: Features, train_y: Labels, test_x: Features, test_y: Labels, *, seed: int) -> float:
    """Accuracy of a multinomial logistic regression on standardized features; see `linear_right`.

    nan where there is no item to test on, or are fewer than two classes to train on.
    """
    _check(train_x, train_y, test_x, test_y)
    if len(np.unique(train_y)) < 2 or not len(test_y):
        return math.nan
    return float(linear_right(train_x, train_y, test_x, test_y, seed=seed).mean())


@one_thread
def linear_right(
    train_x: Features, train_y: Labels, test_x: Features, test_y: Labels, *, seed: int
) -> NDArray[np.bool_]:
    """Which test items a multinomial logistic regression on standardized features gives their class.

    Its strength is the one of `STRENGTHS` that does best on a fifth of every class of the training part; then it is
    fitted on all of that part. Test items of classes without training items count as wrong.

    Args:
        train_x: (N, D).
        train_y: (N,) classes, at least two of them, of any type that sorts.
        test_x: (M, D), M > 0.
        test_y: (M,) classes.
        seed: decides which items choose the strength.

    Returns:
        (M,).
    """
    _check(train_x, train_y, test_x, test_y)
    scaler = StandardScaler().fit(train_x)
    train_x, test_x = scaler.transform(train_x), scaler.transform(test_x)

    # Every fifth item of a class, in a random order, is held out: no class is without items to fit on.
    order = np.random.default_rng(seed).permutation(len(train_y))
    held_out = np.empty(len(train_y), dtype=bool)
    held_out[order] = pd.Series(train_y[order]).groupby(train_y[order]).cumcount().to_numpy() % 5 == 4
    strength = STRENGTHS[len(STRENGTHS) // 2]
    if held_out.any():
        scores = [
            _logistic(c).fit(train_x[~held_out], train_y[~held_out]).score(train_x[held_out], train_y[held_out])
            for c in STRENGTHS
        ]
        strength = STRENGTHS[int(np.argmax(scores))]
    return np.asarray(_logistic(strength).fit(train_x, train_y).predict(test_x) == test_y)


def _logistic(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=1000, tol=1e-3)


@one_thread
def knn_accuracy(
    train_x: Features,
    train_y: Labels,
    test_x: Features,
    test_y: Labels,
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Accuracy of a vote among the k nearest training items by cosine; see `knn_right`. nan where there is no item."""
    if not len(train_y) or not len(test_y):
        _check(train_x, train_y, test_x, test_y)
        return math.nan
    return float(knn_right(train_x, train_y, test_x, test_y, k=k, temperature=temperature).mean())


@one_thread
def knn_right(
    train_x: Features,
    train_y: Labels,
    test_x: Features,
    test_y: Labels,
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> NDArray[np.bool_]:
    """Which test items have the class that the k nearest training items vote for by cosine.

    Args:
        train_x: (N, D), N > 0; no row may be zero.
        train_y: (N,) classes.
        test_x: (M, D).
        test_y: (M,) classes.
        k: voters, at most N of them, each with the weight exp(cosine / temperature).
        temperature: the smaller, the more the nearest item decides.

    Returns:
        (M,).
    """
    _check(train_x, train_y, test_x, test_y)
    train_x, test_x = _unit(train_x), _unit(test_x)
    classes, codes = np.unique(train_y, return_inverse=True)
    k = min(k, len(train_y))
    right = np.zeros(len(test_y), bool)
    block = max(1, min(1024, 2**26 // len(train_x)))  # keeps the cosine matrix small
    for start in range(0, len(test_x), block):
        cosine = test_x[start : start + block] @ train_x.T  # (B, N)
        nearest = np.stack([_largest(row, k) for row in cosine])  # (B, k)
        similarity = np.take_along_axis(cosine, nearest, axis=1)
        weight = np.exp((similarity - similarity.max(axis=1, keepdims=True)) / temperature)  # at most 1: no overflow
        votes = np.zeros((len(cosine), len(classes)))
        np.add.at(votes, (np.arange(len(cosine))[:, None], codes[nearest]), weight)
        right[start : start + block] = classes[votes.argmax(axis=1)] == test_y[start : start + block]
    return right


def _largest(values: Features, k: int) -> NDArray[np.intp]:
    """Where the k largest values are, the largest first, of equals the first; without sorting all of them."""
    candidates = np.flatnonzero(values >= np.partition(values, -k)[-k])
    return candidates[np.argsort(-values[candidates], kind="stable")[:k]]


@one_thread
def multilabel_map(
    train_x: Features, train_y: NDArray[np.generic], test_x: Features, test_y: NDArray[np.generic]
) -> float:
    """Mean average precision of one ridge classifier per class, on standardized features.

    The strength of each is chosen by leave-one-out error on the training part. Only classes with examples in both
    parts count.

    Args:
        train_x: (N, D).
        train_y: (N, C), 1 where the class is present, else 0.
        test_x: (M, D).
        test_y: (M, C).
    """
    _check(train_x, train_y, test_x, test_y)
    known = _known(train_y, test_y)
    if len(train_y) < 2 or not known.any():
        return math.nan
    scores = multilabel_scores(train_x, train_y[:, known], test_x)
    return float(average_precision_score(test_y[:, known], scores, average="macro"))


@one_thread
def multilabel_scores(train_x: Features, train_y: NDArray[np.generic], test_x: Features) -> NDArray[np.float64]:
    """How surely the classifiers of `multilabel_map` see each class in the test items, (M, C): the higher the surer.

    Args:
        train_x: (N, D), N > 1.
        train_y: (N, C), 1 where the class is present, else 0.
        test_x: (M, D).
    """
    scaler = StandardScaler().fit(train_x)
    weights = _ridge(scaler.transform(train_x), train_y.astype(np.float64))  # (D, C)
    return np.asarray(scaler.transform(test_x) @ weights, np.float64)


def _ridge(x: Features, y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ridge weights (D, C) without intercepts, each column at the penalty with the least leave-one-out error.

    `x` (N, D) must be centered. One eigendecomposition serves all penalties and columns.
    """
    y = y - y.mean(axis=0)
    values, vectors = np.linalg.eigh((x.T @ x).astype(np.float64))  # (D,), (D, D)
    rotated = x @ vectors  # (N, D)
    target = rotated.T @ y  # (D, C)
    errors, weights = [], []
    for penalty in PENALTIES:
        shrunk = target / (values + penalty)[:, None]
        leverage = rotated**2 @ (1 / (values + penalty)) + 1 / len(x)  # (N,), of an item on its own prediction
        residual = (y - rotated @ shrunk) / (1 - leverage)[:, None]
        errors.append((residual**2).mean(axis=0))
        weights.append(vectors @ shrunk)
    best = np.argmin(errors, axis=0)  # (C,)
    return np.stack(weights)[best, :, np.arange(y.shape[1])].T


def majority_accuracy(train_y: Labels, test_y: Labels) -> float:
    """Chance level of an accuracy: always answering the class that is most frequent in the training part."""
    if not len(train_y) or not len(test_y):
        return math.nan
    classes, counts = np.unique(train_y, return_counts=True)
    return float(np.mean(test_y == classes[counts.argmax()]))


def prevalence(train_y: NDArray[np.generic], test_y: NDArray[np.generic]) -> float:
    """Chance level of `multilabel_map`: the share of test items with a class, averaged over the same classes.

    Args:
        train_y: (N, C), 0 or 1.
        test_y: (M, C).
    """
    known = _known(train_y, test_y)
    return float(test_y[:, known].mean()) if known.any() else math.nan


def _known(train_y: NDArray[np.generic], test_y: NDArray[np.generic]) -> NDArray[np.bool_]:
    return np.asarray(train_y.any(axis=0) & test_y.any(axis=0))


def _unit(x: Features) -> Features:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _check(train_x: Features, train_y: Labels, test_x: Features, test_y: Labels) -> None:
    if len(train_x) != len(train_y) or len(test_x) != len(test_y) or train_x.shape[1] != test_x.shape[1]:
        shapes = ", ".join(str(array.shape) for array in (train_x, train_y, test_x, test_y))
        raise ValueError(f"features and labels do not fit together: {shapes}")
