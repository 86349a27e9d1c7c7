"""How far a figure would move with other test images: bootstrap intervals, of figures and of their differences.

A figure is a function of test items. Images are drawn with replacement, as many as there are, and the figure is
computed anew with every item counting as often as its image was drawn. How far 1,000 such values lie from the figure
says how far the figure lies from what endless images would give: the middle 95 % of these distances, taken off the
figure, are the interval (the basic bootstrap). The middle 95 % of the values themselves would do for accuracies, but
average precision is higher with repeated images than without, and they would lie too high. Figures of two encoders on
the same items are computed from the same draws, so that the values of one minus those of the other give the interval
of the difference (a paired bootstrap).

What is left out: other training images, other seeds of the training, that a setting was chosen on the test images, and
that average precision with a monotone envelope is a little too high on few images.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orl_explore.runs.files import atomic_write

RESAMPLES: Final = 1000
LEVEL: Final = 0.95
SEED: Final = 0

Counts = NDArray[np.int64]
"""(R, units): how often each unit was drawn in each of R resamples."""


# ---- what is known of the test items -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Items:
    """Test items of one figure.

    Attributes:
        units: how many images they belong to; these are drawn.
    """

    units: int

    def values(self, counts: Counts) -> NDArray[np.float64]:
        """The figure of each resample, (R,); nan where it is not defined."""
        raise NotImplementedError

    def value(self) -> float:
        """The figure itself: every image once."""
        return float(self.values(np.ones((1, self.units), np.int64))[0])


@dataclass(frozen=True, eq=False)
class Scored(Items):
    """Items with a score each, such as 1 for right and 0 for wrong; the figure is their mean, or a mean of means.

    Attributes:
        score: (N,).
        unit: (N,) which image each belongs to.
        group: (N,) the group of each, such as its category: the mean of each group's mean; all 0: one mean.
    """

    score: NDArray[np.float32]
    unit: NDArray[np.int32]
    group: NDArray[np.int32]

    @classmethod
    def of(cls, score: NDArray, *, unit: NDArray | None = None, group: NDArray | None = None) -> Scored:
        """Make them of scores; an image each and one group where nothing else is said.

        Args:
            score: (N,).
            unit: (N,) any labels of the images.
            group: (N,) any labels of the groups.
        """
        score = np.asarray(score, np.float32)
        units = np.arange(len(score)) if unit is None else np.unique(unit, return_inverse=True)[1]
        groups = np.zeros(len(score)) if group is None else np.unique(group.astype(str), return_inverse=True)[1]
        return cls(int(units.max()) + 1, score, units.astype(np.int32), groups.astype(np.int32))

    @classmethod
    def of_images(cls, score: ArrayLike, images: ArrayLike, image_ids: NDArray[np.int64]) -> Scored:
        """Make them of the items of some images; images without any count as units, too.

        Figures on different items of the same images then have the same draws.

        Args:
            score: (N,).
            images: (N,) the image of each item.
            image_ids: (units,) all images.
        """
        order = np.argsort(image_ids)
        units = order[np.searchsorted(image_ids, np.asarray(images), sorter=order)]
        groups = np.zeros(len(units), np.int32)
        return cls(len(image_ids), np.asarray(score, np.float32), units.astype(np.int32), groups)

    def sums(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How many items each image has of each group, and the sum of their scores: (units, groups) each."""
        groups = int(self.group.max()) + 1
        cell = self.unit.astype(np.int64) * groups + self.group
        cells = self.units * groups
        items, sums = np.zeros((2, cells))
        np.add.at(sums, cell, self.score.astype(np.float64))
        np.add.at(items, cell, 1)
        return items.reshape(self.units, groups), sums.reshape(self.units, groups)

    def values(self, counts: Counts) -> NDArray[np.float64]:
        """See `Items.values`; groups of which nothing was drawn are left out."""
        items, sums = self.sums()
        with np.errstate(invalid="ignore"):
            means = (counts @ sums) / (counts @ items)  # (R, groups)
        return _mean_of_defined(means)


@dataclass(frozen=True, eq=False)
class Ranked(Items):
    """Images ranked for each class; the figure is the mean average precision over classes, then over rankings.

    Attributes:
        order: (D, C, N) images of each class, the surest first, in each of D rankings.
        labels: (C, N) int8: 1 = shows the class, -1 = does not, 0 = is left out.
    """

    order: NDArray[np.uint32]
    labels: NDArray[np.int8]

    @classmethod
    def of(cls, scores: NDArray, labels: NDArray) -> Ranked:
        """Make them of scores, the higher the surer.

        Args:
            scores: (N, C), or (D, N, C) of D rankings.
            labels: (N, C) of 1, -1 and 0.
        """
        scores = scores[None] if scores.ndim == 2 else scores
        order = np.argsort(-np.swapaxes(scores, 1, 2), axis=2, kind="stable").astype(np.uint32)
        return cls(len(labels), order, np.ascontiguousarray(labels.T, dtype=np.int8))

    def values(self, counts: Counts) -> NDArray[np.float64]:
        """See `Items.values`; classes that no drawn image shows are left out."""
        drawn = _by_unit(counts)
        found = np.empty((*self.order.shape[:2], len(counts)))  # (D, C, R)
        for draw, classes in enumerate(self.order):
            for number, (order, labels) in enumerate(zip(classes, self.labels, strict=True)):
                used = order[labels[order] != 0]
                found[draw, number] = weighted_precision(labels[used] == 1, drawn[used])
        return _mean_of_defined(found.reshape(-1, len(counts)).T)


def _by_unit(counts: Counts) -> NDArray[np.int32]:
    """(units, R): what is added up along ranks lies side by side for all resamples, which is several times faster."""
    return np.ascontiguousarray(counts.T, dtype=np.int32)


def weighted_precision(hits: NDArray[np.bool_], drawn: NDArray[np.int32]) -> NDArray[np.float64]:
    """Area under the precision-recall curve, precision made monotone, when items count several times or not at all.

    Args:
        hits: (n,) whether the item at each rank is right.
        drawn: (n, R) how often each counts.

    Returns:
        (R,), nan where nothing right is left.
    """
    if not hits.any():
        return np.full(drawn.shape[1], np.nan)
    right = drawn[hits]  # (h, R)
    true = np.cumsum(right, axis=0, dtype=np.int32)
    envelope = _envelope(true / np.maximum(np.cumsum(drawn, axis=0, dtype=np.int32)[hits], 1))
    with np.errstate(invalid="ignore"):
        return (envelope * right).sum(axis=0) / true[-1]


def _envelope(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """The best precision at this rank or a later one, of those of the right items: in between it only falls."""
    return np.maximum.accumulate(precision[::-1], axis=0)[::-1]


@dataclass(frozen=True, eq=False)
class Detected(Items):
    """Detections that were matched with the objects of images; the figure is COCO's AP.

    Attributes:
        image, category, score: (N,) of each detection; those of an image and a category by falling score.
        right, wrong: (N,) bit t is set where it matches, or does not, at IoU threshold t; neither: ignored.
        object_image, object_category, objects: (M,) how many objects of a category an image has, crowds apart.
        thresholds: how many IoU thresholds there are.
    """

    image: NDArray[np.int32]
    category: NDArray[np.int32]
    score: NDArray[np.float64]
    right: NDArray[np.uint16]
    wrong: NDArray[np.uint16]
    object_image: NDArray[np.int32]
    object_category: NDArray[np.int32]
    objects: NDArray[np.int32]
    thresholds: int

    RECALLS: ClassVar = np.linspace(0, 1, 101)

    def values(self, counts: Counts) -> NDArray[np.float64]:
        """See `Items.values`; categories of which no object was drawn are left out."""
        drawn = _by_unit(counts)
        rows = []
        for category in np.unique(self.object_category):
            of = self.object_category == category
            total = self.objects[of].astype(np.int64) @ drawn[self.object_image[of]]  # (R,)
            own = np.flatnonzero(self.category == category)
            own = own[np.argsort(-self.score[own], kind="mergesort")]  # as pycocotools: ties keep their order
            of_own = drawn[self.image[own]]  # (n, R)
            ranks: dict[bytes, NDArray[np.int32]] = {}  # by what is ignored: mostly the same at all thresholds
            for bit in range(self.thresholds):
                hits = (self.right[own] & np.uint16(1 << bit)) > 0
                judged = hits | ((self.wrong[own] & np.uint16(1 << bit)) > 0)
                if not hits.any():
                    rows.append(np.where(total > 0, 0.0, np.nan))
                    continue
                key = judged.tobytes()
                if key not in ranks:
                    ranks[key] = np.cumsum(of_own * judged[:, None], axis=0, dtype=np.int32)
                rows.append(self._precision(of_own[hits], ranks[key][hits], total))
        return _mean_of_defined(np.array(rows).T)

    def _precision(
        self, right: NDArray[np.int32], rank: NDArray[np.int32], total: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Mean precision at 101 recalls of one category and threshold, (R,).

        Args:
            right: (h, R) how often each right detection counts, the surest first.
            rank: (h, R) how many detections come before it, itself included.
            total: (R,) objects.
        """
        true = np.cumsum(right, axis=0, dtype=np.int32)
        envelope = _envelope(true / np.maximum(rank, 1))
        recall = true / np.maximum(total, 1)
        # How many of the 101 recalls each hit is the first to reach: there the envelope at its rank counts.
        reached = np.searchsorted(self.RECALLS, recall, side="right") * (true > 0)
        found = (envelope * np.diff(reached, axis=0, prepend=0)).sum(axis=0) / len(self.RECALLS)
        return np.where(total > 0, found, np.nan)


@dataclass(frozen=True, eq=False)
class Segmented(Items):
    """Images whose pixels were given classes; the figure is the mean intersection over union.

    A class's intersections and unions are added up over all drawn images before they are divided, as the field does.

    Attributes:
        intersections: (units, C) int64: pixels of each image that are of a class and were given it.
        unions: (units, C) int64: pixels that are of the class, were given it, or both.
    """

    intersections: NDArray[np.int64]
    unions: NDArray[np.int64]

    def values(self, counts: Counts) -> NDArray[np.float64]:
        """See `Items.values`; classes that no drawn image shows, or was given, are left out."""
        return _mean_of_defined(self.by_class(counts))

    def by_class(self, counts: Counts | None = None) -> NDArray[np.float64]:
        """Intersection over union of each class, (R, C); nan where there is none. Without counts every image once."""
        drawn = np.ones((1, self.units)) if counts is None else counts.astype(np.float64)  # BLAS; exact below 2^53
        with np.errstate(invalid="ignore"):
            return (drawn @ self.intersections.astype(np.float64)) / (drawn @ self.unions.astype(np.float64))


def _mean_of_defined(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the columns that are not nan; nan where all are."""
    defined = ~np.isnan(columns)
    with np.errstate(invalid="ignore"):
        return np.where(defined, columns, 0.0).sum(axis=1) / defined.sum(axis=1)


# ---- the bootstrap -------------------------------------------------------------------------------------------------


def resampled(items: Items, *, resamples: int = RESAMPLES, seed: int = SEED) -> NDArray[np.float64]:
    """The figure of each resample, (resamples,): equal draws for equal seeds and numbers of images."""
    rng = np.random.default_rng([seed, items.units])
    return np.concatenate([items.values(counts) for counts in _draws(rng, items.units, resamples)])


def _draws(rng: np.random.Generator, units: int, resamples: int) -> Iterator[Counts]:
    """Draws with replacement, as many at once as memory bears."""
    at_once = max(1, 2_000_000 // units)
    for start in range(0, resamples, at_once):
        rows = range(start, min(start + at_once, resamples))
        yield np.stack([np.bincount(rng.integers(0, units, units), minlength=units) for _ in rows])


def interval(values: NDArray[np.float64], value: float, level: float = LEVEL) -> tuple[float, float]:
    """Turn the middle part of what `resampled` gives around the figure itself: (low, high).

    Args:
        values: of the resamples; those that are nan are left out.
        value: the figure.
        level: share of the values that the middle part holds.

    Returns:
        nan where no resample has a value.
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(2 * value - high), float(2 * value - low)


def standard_error(values: NDArray[np.float64]) -> float:
    """Standard deviation of what `resampled` gives; nan where fewer than two resamples have a value."""
    defined = values[~np.isnan(values)]
    return float(defined.std(ddof=1)) if len(defined) > 1 else float("nan")


def by_group(first: Scored, second: Scored, *, resamples: int = RESAMPLES, seed: int = SEED) -> NDArray[np.float64]:
    """Figures of two encoders on the same items, for each group of the items.

    Args:
        first: items of some groups.
        second: the same items with other scores.
        resamples: how often images are drawn.
        seed: decides the draws.

    Returns:
        (groups, 4): the first figure, the second, their difference, and its standard error over images, nan for a group
        of a single image; groups in the order of their sorted labels.
    """
    items, first_sums = first.sums()
    _, second_sums = second.sums()
    rng = np.random.default_rng([seed, first.units])
    with np.errstate(invalid="ignore"):
        drawn = [
            (counts @ (second_sums - first_sums)) / (counts @ items) for counts in _draws(rng, first.units, resamples)
        ]
        means = [sums.sum(axis=0) / items.sum(axis=0) for sums in (first_sums, second_sums)]
    alone = (items > 0).sum(axis=0) < 2
    errors = np.where(alone, np.nan, [standard_error(column) for column in np.concatenate(drawn).T])
    return np.column_stack([*means, means[1] - means[0], errors])


# ---- files ---------------------------------------------------------------------------------------------------------

KINDS: Final[dict[str, type[Items]]] = {kind.__name__: kind for kind in (Scored, Ranked, Detected, Segmented)}


class Resampled(NamedTuple):
    """What a file knows of a figure: of how many images, the figure itself, and its values in the resamples."""

    units: int
    value: float
    values: NDArray[np.float64]


def write_items(path: Path, items: Mapping[str, Items]) -> dict[str, list[float]]:
    """Write items and the values of their resamples, by the name of their figure, as NumPy's npz.

    Returns:
        [low, high] of each figure, within 0 and 1 as all figures are shares.
    """
    arrays, found = {}, {}
    for name, of in items.items():
        value, values = of.value(), resampled(of)
        found[name] = np.clip(interval(values, value), 0, 1).tolist()
        arrays[f"{name}/kind"] = np.array(type(of).__name__)
        arrays[f"{name}/value"] = np.array(value)
        arrays[f"{name}/resampled"] = values.astype(np.float32)
        for field in fields(of):
            arrays[f"{name}/{field.name}"] = np.asarray(getattr(of, field.name))
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return found


def read_items(path: Path, name: str) -> Items:
    """Read the items of one figure.

    Raises:
        OSError, KeyError, ValueError: there is no such file or figure, or it is damaged.
    """
    with np.load(path) as arrays:
        kind = KINDS[str(arrays[f"{name}/kind"])]
        values = {field.name: arrays[f"{name}/{field.name}"] for field in fields(kind)}
    return kind(**{key: int(value) if value.ndim == 0 else value for key, value in values.items()})


def read_resampled(path: Path, name: str) -> Resampled | None:
    """Read what is known of a figure; None where that is not to be had."""
    try:
        with np.load(path) as arrays:
            units, value = int(arrays[f"{name}/units"]), float(arrays[f"{name}/value"])
            return Resampled(units, value, arrays[f"{name}/resampled"].astype(np.float64))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def difference(first: Resampled, second: Resampled) -> tuple[float, float] | None:
    """Interval of the second figure minus the first one; None for other images."""
    if first.units != second.units or len(first.values) != len(second.values):
        return None
    return interval(second.values - first.values, second.value - first.value)
