"""VOC07 classification with linear SVMs on frozen features, on all of trainval or on a few positives per class.

The settings are those of Goyal et al., "Scaling and benchmarking self-supervised visual representation learning"
(ICCV 2019), which the ORL paper follows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.judging.intervals import Ranked
from training.console import progress_bar
from training.transfer.setup import Setup
from training.transfer.voc import Feature, Voc, find_voc, read_voc

Task = tuple[Any, ...]
"""A function, and its arguments."""

COSTS = tuple(sorted([0.5**power for power in range(4, 20)] + [1.0, 10.0, 100.0]))
"""Costs that are tried: the smaller, the stronger the regularization."""


@dataclass(frozen=True, kw_only=True)
class VocSettings:
    """How VOC07 classification judges."""

    image_size: int | None = None
    """Side that images are squeezed to, pixels; None: as the run was trained (224 in the paper)."""
    feature: Feature = "map"
    """map: the last stage's map, pooled to 2 x 2 cells; pooled: to one, for other networks than ResNets."""
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
    train_difficult: Literal["negative", "ignore"] = "negative"
    """Images of trainval with only difficult objects of a class: negative, or left out. In test they are left out."""

    def __post_init__(self):
        object.__setattr__(self, "costs", checked_costs("voc07", self.costs))
        if self.folds < 2:
            raise OrlError(f"voc07.folds is {self.folds}: it must be at least 2")


@dataclass(frozen=True, kw_only=True)
class LowShotSettings:
    """How low-shot VOC07 classification judges."""

    image_size: int | None = None
    """Side that images are squeezed to, pixels; None: as the run was trained (224 in the paper)."""
    feature: Feature = "map"
    """map: the last stage's map, pooled to 2 x 2 cells; pooled: to one, for other networks than ResNets."""
    k: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 96)
    """Positive images per class; (classes - 1) times as many negative ones are drawn with them."""
    samples: int = 5
    """Independent draws for each k."""
    costs: tuple[float, ...] = COSTS
    """Costs that are tried. As in the literature the best on the test images counts, one for each k, after the mean
    over draws and classes: so few images leave none to choose by. Name a single cost to choose nothing."""
    positive_weight: float = 2.0
    """Weight of images with the class; the others have 1."""
    tolerance: float = 1e-4
    """When the solver stops."""
    max_iterations: int = 2000
    """When it stops at the latest."""

    def __post_init__(self):
        object.__setattr__(self, "costs", checked_costs("voc07-lowshot", self.costs))
        if not self.k or min(self.k) < 1 or self.samples < 1:
            raise OrlError(f"voc07-lowshot needs k and samples of 1 or more, not {self.k} and {self.samples}")


def checked_costs(name: str, costs: Sequence[float]) -> tuple[float, ...]:
    """Costs in order, so that the smallest of equally good ones is taken; what is no list of costs is refused."""
    if not costs or not all(0 < cost < float("inf") for cost in costs):
        raise OrlError(f"{name}.costs is {list(costs)}: it must list numbers above 0")
    return tuple(sorted(costs))


# ---- all of trainval -----------------------------------------------------------------------------------------------


def read(setup: Setup, settings: VocSettings) -> Voc:
    """VOC2007, whose classes must have as many positive images as there are folds."""
    return read_voc(find_voc(setup.data), minimum=settings.folds)


def judge(encoder: Encoder, data: Voc, settings: VocSettings, setup: Setup) -> dict[str, Any]:
    """Mean average precision on test, that of each class, and the chosen costs."""
    assert settings.image_size
    train_x, test_x, feature = data.embed(encoder, settings.image_size, settings.feature, setup)
    labels = [_trained_on(column, settings.train_difficult) for column in data.trainval.labels.T]
    folds: list[Task] = [
        (cross_validated, train_x, y, cost, settings, setup.seed)
        for y in labels
        for cost in settings.costs  # classes and costs are all independent
    ]
    found = np.array(_in_parallel(folds, setup, "costs")).reshape(len(data.classes), len(settings.costs))
    best = [settings.costs[index] for index in found.argmax(axis=1)]
    tests: list[Task] = [
        (decisions, train_x, y, test_x, cost, settings, setup.seed) for y, cost in zip(labels, best, strict=True)
    ]
    scores = np.stack(_in_parallel(tests, setup, "classes"), axis=1)  # (N, C)
    pairs = zip(data.classes, scores.T, data.test.labels.T, strict=True)
    precision = {name: average_precision(column, test_y) for name, column, test_y in pairs}
    return {
        "map": float(np.mean(list(precision.values()))),
        "map_chance": chance(data.test.labels),
        "ap": precision,
        "cost": dict(zip(data.classes, best, strict=True)),
        "feature": feature,
        "items": {"map": Ranked.of(scores, data.test.labels)},
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


def decisions(
    x: NDArray, y: NDArray, test_x: NDArray, cost: float, settings: VocSettings | LowShotSettings, seed: int
) -> NDArray[np.float64]:
    """Scores of the test images by an SVM that was fitted to the images whose label is not 0: (N,)."""
    used = y != 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        svm = linear_svm(cost, settings, seed).fit(x[used], y[used])
    return svm.decision_function(test_x)


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
        random_state=seed % 2**32,  # it takes no more
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
    """Mean average precision over draws at the cost that is best for that mean, for each k.

    The score is that of the largest k.
    """
    assert settings.image_size
    train_x, test_x, feature = data.embed(encoder, settings.image_size, settings.feature, setup)
    ks = tuple(dict.fromkeys(settings.k))
    drawn = {
        (k, draw): sample_labels(data.trainval.labels, k, [setup.seed, draw, k])
        for k in ks
        for draw in range(settings.samples)
    }
    tasks: list[Task] = [
        (low_shot, train_x, labels, test_x, data.test.labels, settings, setup.seed) for labels in drawn.values()
    ]
    precision = np.array(_in_parallel(tasks, setup, "draws")).reshape(len(ks), settings.samples, -1)
    best, of_best = choose_costs(precision)
    chosen = {k: settings.costs[index] for k, index in zip(ks, best.tolist(), strict=True)}
    # Scores of the chosen costs alone are fitted again: those of all would fill the memory.
    tasks = [
        (all_decisions, train_x, labels, test_x, chosen[k], settings, setup.seed) for (k, _), labels in drawn.items()
    ]
    scores = dict(zip(drawn, _in_parallel(tasks, setup, "intervals"), strict=True))
    items = {
        k: Ranked.of(np.stack([scores[k, draw] for draw in range(settings.samples)]), data.test.labels) for k in ks
    }
    largest = max(ks)
    return {
        "map": float(of_best[ks.index(largest)].mean()),
        "map_chance": chance(data.test.labels),
        "map_by_k": {str(k): float(row.mean()) for k, row in zip(ks, of_best, strict=True)},
        "std_by_k": {str(k): float(row.std()) for k, row in zip(ks, of_best, strict=True)},
        "cost_by_k": {str(k): cost for k, cost in chosen.items()},
        "feature": feature,
        "items": {"map": items[largest]} | {f"map_by_k/{k}": of for k, of in items.items()},
    }


def choose_costs(precision: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """For each k the cost with the best mean over draws: choosing one for every draw would be biased upwards.

    Args:
        precision: (k, draws, costs) mean average precision over classes.

    Returns:
        (k,) index of the cost, and (k, draws) what it gave.
    """
    best = precision.mean(axis=1).argmax(axis=1)
    return best, np.take_along_axis(precision, best[:, None, None], axis=2)[:, :, 0]


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


def low_shot(
    x: NDArray, y: NDArray, test_x: NDArray, test_y: NDArray, settings: LowShotSettings, seed: int
) -> list[float]:
    """Mean average precision over classes of one draw at each cost."""
    found = []
    for cost in settings.costs:
        scores = all_decisions(x, y, test_x, cost, settings, seed)
        pairs = zip(scores.T, test_y.T, strict=True)
        found.append(float(np.mean([average_precision(column, labels) for column, labels in pairs])))
    return found


def all_decisions(
    x: NDArray, y: NDArray, test_x: NDArray, cost: float, settings: LowShotSettings, seed: int
) -> NDArray[np.float64]:
    """Scores of test images for every class, (N, C), by SVMs of one draw and cost."""
    return np.stack([decisions(x, column, test_x, cost, settings, seed) for column in y.T], axis=1)


# ---- in parallel ---------------------------------------------------------------------------------------------------


def _in_parallel(tasks: Sequence[Task], setup: Setup, what: str) -> list[Any]:
    """Results of (function, *arguments), in order; in processes, as the solver keeps its random state globally."""
    from joblib import Parallel, delayed

    jobs = max(1, min(setup.jobs, len(tasks)))
    with progress_bar(f"{setup.title}: {what}") as progress:
        results: Iterable[Any] = Parallel(n_jobs=jobs, return_as="generator")(
            delayed(function)(*arguments) for function, *arguments in tasks
        )
        found = []
        try:
            for result in results:
                found.append(result)
                progress(len(found), len(tasks))
        except BrokenProcessPool as error:
            raise OrlError(
                f"one of {jobs} worker processes was lost, most likely for lack of memory: give fewer, --workers"
                f" {jobs // 2}"
            ) from error
    return found
