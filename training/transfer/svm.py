"""VOC07 classification with linear SVMs on frozen features, on all of trainval or on a few positives per class.

The settings are those of Goyal et al., "Scaling and benchmarking self-supervised visual representation learning"
(ICCV 2019), which the ORL paper follows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from training.console import progress_bar
from training.transfer.setup import Setup
from training.transfer.voc import Voc, find_voc, read_voc

Task = tuple[Any, ...]
"""A function, and its arguments."""

COSTS = tuple(sorted([0.5**power for power in range(4, 20)] + [1.0, 10.0, 100.0]))
"""Costs that are tried: the smaller, the stronger the regularization."""


@dataclass(frozen=True, kw_only=True)
class VocSettings:
    """How VOC07 classification judges."""

    image_size: int | None = None
    """Side that images are squeezed to, pixels; None: as the run was trained (224 in the paper)."""
    costs: tuple[float, ...] = COSTS
    """Costs that are tried for every class."""
    folds: int = 3
    """Parts of trainval that the cost of a class is chosen by in turn."""
    positive_weight: float = 2.0
    """Weight of images with the class; the others have 1."""
    tolerance: float = 1e-4
    """When the solver stops."""
    max_iterations: int = 2000
    """When it stops at the latest."""
    train_difficult: Literal["ignore", "negative"] = "ignore"
    """Images of trainval with only difficult objects of a class: left out, or (as some scripts do) negative."""

    def __post_init__(self):
        check_costs("voc07", self.costs)
        if self.folds < 2:
            raise OrlError(f"voc07.folds is {self.folds}: it must be at least 2")


@dataclass(frozen=True, kw_only=True)
class LowShotSettings:
    """How low-shot VOC07 classification judges."""

    image_size: int | None = None
    """Side that images are squeezed to, pixels; None: as the run was trained (224 in the paper)."""
    k: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 96)
    """Positive images per class; (classes - 1) times as many negative ones are drawn with them."""
    samples: int = 5
    """Independent draws for each k."""
    costs: tuple[float, ...] = COSTS
    """Costs that are tried. As in the literature the best on the test images counts, one for each k and draw: so few
    images leave none to choose by. Name a single cost to choose nothing."""
    positive_weight: float = 2.0
    """Weight of images with the class; the others have 1."""
    tolerance: float = 1e-4
    """When the solver stops."""
    max_iterations: int = 2000
    """When it stops at the latest."""

    def __post_init__(self):
        check_costs("voc07-lowshot", self.costs)
        if not self.k or min(self.k) < 1 or self.samples < 1:
            raise OrlError(f"voc07-lowshot needs k and samples of 1 or more, not {self.k} and {self.samples}")


def check_costs(name: str, costs: Sequence[float]) -> None:
    """Refuse what is no list of costs."""
    if not costs or not all(0 < cost < float("inf") for cost in costs):
        raise OrlError(f"{name}.costs is {list(costs)}: it must list numbers above 0")


# ---- all of trainval -----------------------------------------------------------------------------------------------


def read(setup: Setup, settings: VocSettings) -> Voc:
    """VOC2007, whose classes must have as many positive images as there are folds."""
    return read_voc(find_voc(setup.data), minimum=settings.folds)


def judge(encoder: Encoder, data: Voc, settings: VocSettings, setup: Setup) -> dict[str, Any]:
    """Mean average precision on test, that of each class, and the chosen costs."""
    assert settings.image_size
    train_x, test_x = data.embed(encoder, settings.image_size, setup)
    labels = [_trained_on(column, settings.train_difficult) for column in data.trainval.labels.T]
    folds: list[Task] = [
        (cross_validated, train_x, y, cost, settings, setup.seed)
        for y in labels
        for cost in settings.costs  # classes and costs are all independent
    ]
    scores = np.array(_in_parallel(folds, setup, "costs")).reshape(len(data.classes), len(settings.costs))
    best = [settings.costs[index] for index in scores.argmax(axis=1)]
    tests: list[Task] = [
        (precision_on_test, train_x, y, test_x, test_y, cost, settings, setup.seed)
        for y, test_y, cost in zip(labels, data.test.labels.T, best, strict=True)
    ]
    precision = dict(zip(data.classes, _in_parallel(tests, setup, "classes"), strict=True))
    return {
        "map": float(np.mean(list(precision.values()))),
        "map_chance": chance(data.test.labels),
        "ap": precision,
        "cost": dict(zip(data.classes, best, strict=True)),
    }


def _trained_on(labels: NDArray[np.int8], difficult: str) -> NDArray[np.int8]:
    return np.where(labels == 0, -1, labels) if difficult == "negative" else labels


def cross_validated(x: NDArray, y: NDArray, cost: float, settings: VocSettings, seed: int) -> float:
    """Mean average precision over the folds of the images whose label is not 0."""
    from sklearn.model_selection import cross_val_score

    used = y != 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large costs do not converge in max_iterations, which is part of the protocol
        return float(
            cross_val_score(
                linear_svm(cost, settings, seed), x[used], y[used], cv=settings.folds, scoring="average_precision"
            ).mean()
        )


def precision_on_test(
    x: NDArray,
    y: NDArray,
    test_x: NDArray,
    test_y: NDArray,
    cost: float,
    settings: VocSettings | LowShotSettings,
    seed: int,
) -> float:
    """Average precision on test of an SVM that was fitted to the images whose label is not 0."""
    used = y != 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        svm = linear_svm(cost, settings, seed).fit(x[used], y[used])
    return average_precision(svm.decision_function(test_x), test_y)


def linear_svm(cost: float, settings: VocSettings | LowShotSettings, seed: int) -> Any:
    """One class against the others: L2 penalty, squared hinge loss, solved in its dual form."""
    from sklearn.svm import LinearSVC

    return LinearSVC(
        C=cost,
        penalty="l2",
        loss="squared_hinge",
        dual=True,
        class_weight={1: settings.positive_weight, -1: 1.0},
        tol=settings.tolerance,
        max_iter=settings.max_iterations,
        random_state=seed,
    )


def average_precision(scores: NDArray, labels: NDArray) -> float:
    """Area under the precision-recall curve, precision made monotone from the right: VOC's rule from 2010 on.

    The benchmarks of self-supervised learning use this area on VOC07, too, not that year's own mean over 11 recalls.

    Args:
        scores: (N,), the higher the surer.
        labels: (N,), 1 or -1; images with 0 (difficult) are left out. At least one is 1.
    """
    used = labels != 0
    order = np.argsort(-scores[used], kind="stable")
    hits = labels[used][order] == 1
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]  # the best precision at this recall or a higher one
    return float(envelope[hits].mean())


def chance(labels: NDArray) -> float:
    """Mean average precision of blind scores, about: the share of images with a class, averaged over classes."""
    return float(np.mean([(column == 1).sum() / (column != 0).sum() for column in labels.T]))


# ---- a few positives per class -------------------------------------------------------------------------------------


def read_lowshot(setup: Setup, settings: LowShotSettings) -> Voc:
    """VOC2007, whose classes must have as many images as the largest k."""
    data = read_voc(find_voc(setup.data), minimum=max(settings.k))
    fewest = int((data.trainval.labels == -1).sum(axis=0).min())
    if fewest < (wanted := (len(data.classes) - 1) * max(settings.k)):
        name = data.classes[int((data.trainval.labels == -1).sum(axis=0).argmin())]
        largest = fewest // (len(data.classes) - 1)
        raise OrlError(
            f"k = {max(settings.k)} takes {wanted} images without the class, and {name!r} has {fewest} in trainval of"
            f" {data.root}: "
            + (f"--voc07-lowshot.k [{largest}] is the largest that it allows" if largest else "add images")
        )
    return data


def judge_lowshot(encoder: Encoder, data: Voc, settings: LowShotSettings, setup: Setup) -> dict[str, Any]:
    """Mean average precision over draws, for each k; the score is that of the largest k."""
    assert settings.image_size
    train_x, test_x = data.embed(encoder, settings.image_size, setup)
    tasks: list[Task] = [
        (low_shot_map, train_x, labels, test_x, data.test.labels, settings, setup.seed)
        for k in settings.k
        for draw in range(settings.samples)
        for labels in [sample_labels(data.trainval.labels, k, [setup.seed, draw, k])]
    ]
    found = np.array(_in_parallel(tasks, setup, "draws")).reshape(len(settings.k), settings.samples)
    largest = int(np.argmax(settings.k))
    return {
        "map": float(found[largest].mean()),
        "map_chance": chance(data.test.labels),
        "map_by_k": {str(k): float(row.mean()) for k, row in zip(settings.k, found, strict=True)},
        "std_by_k": {str(k): float(row.std()) for k, row in zip(settings.k, found, strict=True)},
    }


def sample_labels(labels: NDArray, k: int, seed: Sequence[int]) -> NDArray[np.int8]:
    """Keep the labels of k positive and (classes - 1) k negative images of each class; all others become 0.

    Args:
        labels: (N, C) of 1, 0 and -1.
        k: positives per class.
        seed: decides the draw.
    """
    rng = np.random.default_rng(seed)
    kept = np.zeros(labels.shape, np.int8)
    for column in range(labels.shape[1]):
        for sign, count in ((1, k), (-1, (labels.shape[1] - 1) * k)):
            rows = np.flatnonzero(labels[:, column] == sign)
            kept[rng.choice(rows, count, replace=False), column] = sign
    return kept


def low_shot_map(
    x: NDArray, y: NDArray, test_x: NDArray, test_y: NDArray, settings: LowShotSettings, seed: int
) -> float:
    """Mean average precision over classes of one draw, at the cost that is best on test."""
    return max(
        float(
            np.mean(
                [
                    precision_on_test(x, y[:, column], test_x, test_y[:, column], cost, settings, seed)
                    for column in range(y.shape[1])
                ]
            )
        )
        for cost in settings.costs
    )


# ---- in parallel ---------------------------------------------------------------------------------------------------


def _in_parallel(tasks: Sequence[Task], setup: Setup, what: str) -> list[float]:
    """Results of (function, *arguments), in order; in processes, as the solver keeps its random state globally."""
    from joblib import Parallel, delayed

    jobs = max(1, min(setup.workers, len(tasks)))
    with progress_bar(f"{setup.title}: {what}") as progress:
        results: Iterable[float] = Parallel(n_jobs=jobs, return_as="generator")(
            delayed(function)(*arguments) for function, *arguments in tasks
        )
        found = []
        for result in results:
            found.append(result)
            progress(len(found), len(tasks))
    return found
