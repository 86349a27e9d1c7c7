"""Two encoders on the same boxes: which boxes are near each other by either, and what that says of objects.

Nearest boxes are those of other images: boxes of one image overlap, and would only find each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from orl_explore.judging import intervals, probes
from orl_explore.judging.diagnostics import UNLABELED, region_labels
from orl_explore.judging.intervals import Scored
from orl_explore.pairs import pair_images, region_slices
from orl_explore.runs.region_embeddings import RegionEmbeddings, shared_regions
from orl_explore.runs.run import Run

K: Final = 10
"""Nearest boxes that are looked at."""

QUERIES: Final = 2000
"""Boxes whose nearest ones are found, at most; of more, a random sample."""

ITEMS: Final = 3000
"""Boxes that probes are fitted on, and that they are tested on, at most."""

BLOCK: Final = 4_096

NEAREST: Final = "nearest boxes of the same category"
KNN, PROBE = "kNN on proposal boxes, accuracy", "linear probe on proposal boxes, accuracy"
"""What the figures of two encoders are called; `results.ENCODER_ROWS` are on annotated objects, and other ones."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes that two encoders are asked about.

    Attributes:
        region_ids: (R,) ascending.
        image_ids: (R,) the image of each.
        labels: (R,) text: the category of the object that each is on, or `UNLABELED`; None without annotations.
        a: (R, D) their vectors by the first encoder, of length 1.
        b: (R, E) by the second one.
    """

    region_ids: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    labels: NDArray[np.object_] | None
    a: NDArray[np.floating]
    b: NDArray[np.floating]

    @property
    def on_objects(self) -> NDArray[np.int64]:
        """Rows of the boxes that are on annotated objects."""
        return np.flatnonzero(self.labels != UNLABELED) if self.labels is not None else np.zeros(0, np.int64)

    def rows_of(self, region_ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Rows of some regions; -1 for those that are not among them."""
        places = np.minimum(np.searchsorted(self.region_ids, region_ids), len(self.region_ids) - 1)
        return np.where(self.region_ids[places] == region_ids, places, -1)


def shared_boxes(run: Run, a: RegionEmbeddings, b: RegionEmbeddings) -> Boxes:
    """The boxes of a run that both encoders have embedded, with their labels.

    Raises:
        OrlError: stage 2 is missing.
    """
    ids = shared_regions(a, b)
    regions = run.read("regions").iloc[ids]
    found = region_labels(regions, run.images())
    labels = None if found is None else found.to_numpy(object)

    def of(embeddings: RegionEmbeddings) -> NDArray[np.floating]:
        rows = embeddings.rows_of(ids)
        whole = len(rows) == len(embeddings.vectors)
        return embeddings.vectors if whole else np.asarray(embeddings.vectors)[rows]

    return Boxes(ids, regions["image_id"].to_numpy(np.int64), labels, of(a), of(b))


# ---- nearest boxes -------------------------------------------------------------------------------------------------


def nearest(
    vectors: NDArray[np.floating],
    image_ids: NDArray[np.int64],
    queries: NDArray[np.int64],
    *,
    k: int = K,
    progress: Progress | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The boxes of other images that are most similar to some boxes.

    Args:
        vectors: (R, D), rows of length 1; best memory-mapped, read in blocks.
        image_ids: (R,).
        queries: (Q,) rows.
        k: how many.
        progress: called as progress(boxes searched, boxes in all).

    Returns:
        Rows int64 (Q, k) and cosines float32, the most similar first; -1 and nan where there are no more.
    """
    own = torch.from_numpy(np.array(vectors[queries])).float()
    images, of_query = torch.from_numpy(np.array(image_ids)), torch.from_numpy(np.array(image_ids[queries]))
    best = torch.full((len(queries), k), -torch.inf)
    rows = torch.full((len(queries), k), -1)
    for start in range(0, len(vectors), BLOCK):
        part = torch.from_numpy(np.array(vectors[start : start + BLOCK])).float()
        found = own @ part.T  # (Q, block)
        found[of_query[:, None] == images[None, start : start + BLOCK]] = -torch.inf
        values, places = found.topk(min(k, len(part)), dim=1)
        values, places = torch.cat([best, values], dim=1), torch.cat([rows, places + start], dim=1)
        best, order = values.topk(k, dim=1)
        rows = places.gather(1, order)
        if progress:
            progress(min(start + BLOCK, len(vectors)), len(vectors))
    nothing = torch.isinf(best)
    rows[nothing] = -1
    best[nothing] = torch.nan
    return rows.numpy(), best.clamp(-1, 1).numpy()


def some_boxes(boxes: Boxes, *, limit: int = QUERIES, seed: int = 0) -> NDArray[np.int64]:
    """Rows of the boxes whose neighbors are compared: those on objects, or all without labels; at most so many."""
    rows = boxes.on_objects if boxes.labels is not None else np.arange(len(boxes.region_ids))
    if len(rows) > limit:
        rows = np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))
    return rows


@dataclass(frozen=True, eq=False)
class Neighborhoods:
    """The nearest boxes of some boxes by two encoders.

    Attributes:
        boxes: what was searched.
        queries: (Q,) rows.
        a: (Q, K) rows of the nearest boxes by the first encoder, -1 where there are no more.
        b: the same by the second one.
    """

    boxes: Boxes
    queries: NDArray[np.int64]
    a: NDArray[np.int64]
    b: NDArray[np.int64]

    @property
    def kept(self) -> NDArray[np.float64]:
        """Share of the nearest boxes by A that are among those by B, (Q,)."""
        same = (self.a[:, :, None] == self.b[:, None, :]) & (self.a >= 0)[:, :, None]
        return same.any(axis=2).sum(axis=1) / np.maximum((self.a >= 0).sum(axis=1), 1)

    def alike(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Share of a box's nearest boxes that are on an object of its own category, by A and by B: (Q,) each.

        Raises:
            ValueError: there are no labels.
        """
        if self.boxes.labels is None:
            raise ValueError("without labels no box is of a category")
        labels = self.boxes.labels
        own = labels[self.queries, None]
        shares = [((labels[rows] == own) * _weights(rows)).sum(axis=1) for rows in (self.a, self.b)]
        return shares[0], shares[1]

    def moved(self) -> pd.DataFrame:
        """The boxes, those that moved most first.

        Returns:
            `region_id`, `image_id`, `kept` and, with labels, `category`, `alike_a`, `alike_b` and `change`: by how much
            the share of nearest boxes of its own category rose. Sorted by how few neighbors are kept.
        """
        rows = self.queries
        found = pd.DataFrame(
            {"region_id": self.boxes.region_ids[rows], "image_id": self.boxes.image_ids[rows], "kept": self.kept}
        )
        if self.boxes.labels is not None:
            alike_a, alike_b = self.alike()
            found = found.assign(
                category=self.boxes.labels[rows], alike_a=alike_a, alike_b=alike_b, change=alike_b - alike_a
            )
        return found.sort_values("kept", kind="stable", ignore_index=True)

    def company(self, category: str) -> pd.DataFrame:
        """What the nearest boxes of a category's boxes are on, by A and by B.

        Returns:
            `nearest` (a category or `UNLABELED`), `a`, `b` and `change`: mean shares of a box's nearest boxes, that of
            the category itself as `by_category` has it; and `error`, the change's standard error over images. By
            change, the largest rise first.
        """
        labels = self.boxes.labels
        if labels is None:
            raise ValueError("without labels no box is of a category")
        own = np.flatnonzero(labels[self.queries] == category)
        near, columns = (self.a[own], self.b[own]), ["a", "b", "change", "error"]  # (Q', K) each
        names = np.unique([str(name) for rows in near for name in labels[rows[rows >= 0]]])
        if not len(names):
            return pd.DataFrame(columns=["nearest", *columns])
        scores = [
            ((labels[rows].astype(str)[..., None] == names) * _weights(rows)[..., None]).sum(axis=1).ravel()
            for rows in near
        ]  # (Q' * names,) each
        unit, group = np.repeat(self.boxes.image_ids[self.queries[own]], len(names)), np.tile(names, len(own))
        a, b = (Scored.of(score, unit=unit, group=group) for score in scores)
        found = pd.DataFrame(intervals.by_group(a, b), columns=columns).assign(nearest=names)
        return found[["nearest", *columns]].sort_values("change", ascending=False, kind="stable", ignore_index=True)


def _weights(rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """What each nearest box counts, (Q, K): those of one box are 1 together; places without one count nothing."""
    return (rows >= 0) / np.maximum((rows >= 0).sum(axis=1, keepdims=True), 1)


def neighborhoods(
    boxes: Boxes, *, k: int = K, limit: int = QUERIES, seed: int = 0, progress: Progress | None = None
) -> Neighborhoods:
    """Find the nearest boxes of some boxes by both encoders.

    Args:
        boxes: that both have embedded.
        k: how many nearest ones.
        limit: of more boxes, a random sample of this size is asked.
        seed: decides the sample.
        progress: called as progress(boxes searched, boxes in all), for both encoders together.
    """
    queries, count = some_boxes(boxes, limit=limit, seed=seed), len(boxes.region_ids)
    found = []
    for number, vectors in enumerate((boxes.a, boxes.b)):

        def tell(done: int, _: int, before: int = number * count) -> None:
            if progress:
                progress(before + done, 2 * count)

        found.append(nearest(vectors, boxes.image_ids, queries, k=k, progress=tell)[0])
    return Neighborhoods(boxes, queries, *found)


# ---- figures -------------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """A figure by two encoders on the same items, with standard errors over images.

    Attributes:
        a: by the first one, a share.
        b: by the second one.
        error_a: standard error of `a`.
        error_b: of `b`.
        error: of their difference, which is smaller than those of both suggest: the items are the same.
        chance: what blind guessing gives.
        items: how many items it is a mean over.
    """

    a: float
    b: float
    error_a: float
    error_b: float
    error: float
    chance: float
    items: int


def change(a: Scored, b: Scored, *, chance: float = float("nan"), resamples: int = intervals.RESAMPLES) -> Change:
    """Compare two encoders on the same items, by resampling images."""
    values = [intervals.resampled(items, resamples=resamples) for items in (a, b)]
    errors = [intervals.standard_error(some) for some in (*values, values[1] - values[0])]
    return Change(a.value(), b.value(), errors[0], errors[1], errors[2], chance, len(a.score))


@dataclass(frozen=True, eq=False)
class Probed:
    """Which boxes on objects of held-out images two encoders give their category.

    Attributes:
        rows: (M,) the boxes that were tested.
        knn: (2, M) whether a vote of the nearest training boxes is right, by A and by B.
        linear: (2, M) whether a linear classifier is.
        chance: accuracy of always answering the most frequent category.
    """

    rows: NDArray[np.int64]
    knn: NDArray[np.bool_]
    linear: NDArray[np.bool_]
    chance: float


def probe(boxes: Boxes, *, test_share: float = 0.3, limit: int = ITEMS, seed: int = 0) -> Probed | None:
    """Fit a vote of nearest boxes and a linear classifier on boxes of some images, test them on those of others.

    Args:
        boxes: only those on objects count.
        test_share: share of the images that are held out.
        limit: boxes to fit on, and to test on, at most.
        seed: decides the images, the samples, and which boxes choose the strength of the linear classifier.

    Returns:
        None where there are no labels, or too few to fit and test on.
    """
    if boxes.labels is None:
        return None
    rng, rows = np.random.default_rng(seed), boxes.on_objects
    images = np.unique(boxes.image_ids)
    held_out = rng.permutation(images)[: round(test_share * len(images))]
    is_test = np.isin(boxes.image_ids[rows], held_out)
    parts = [rows[~is_test], rows[is_test]]
    train, test = (np.sort(rng.choice(part, min(limit, len(part)), replace=False)) for part in parts)
    labels = boxes.labels.astype(str)
    if len(np.unique(labels[train])) < 2 or not len(test):
        return None
    knn, linear = [], []
    for vectors in (boxes.a, boxes.b):
        train_x, test_x = (np.asarray(vectors[part], np.float32) for part in (train, test))
        knn.append(probes.knn_right(train_x, labels[train], test_x, labels[test]))
        linear.append(probes.linear_right(train_x, labels[train], test_x, labels[test], seed=seed))
    chance = probes.majority_accuracy(labels[train], labels[test])
    return Probed(test, np.array(knn), np.array(linear), chance)


def figures(near: Neighborhoods, probed: Probed | None) -> dict[str, Change]:
    """The figures of two encoders on the same boxes; none without labels.

    Returns:
        `NEAREST`, `KNN` and `PROBE`.
    """
    boxes = near.boxes
    if boxes.labels is None or not len(near.queries):
        return {}
    unit = boxes.image_ids[near.queries]
    alike = [Scored.of(share, unit=unit) for share in near.alike()]
    names, counts = np.unique(boxes.labels.astype(str), return_counts=True)
    share = dict(zip(names.tolist(), (counts / counts.sum()).tolist(), strict=True))
    chance = float(np.mean([share[name] for name in boxes.labels[near.queries].tolist()]))
    found = {NEAREST: change(*alike, chance=chance)}
    if probed is not None:
        unit = boxes.image_ids[probed.rows]
        for name, right in ((KNN, probed.knn), (PROBE, probed.linear)):
            found[name] = change(*(Scored.of(one, unit=unit) for one in right), chance=probed.chance)
    return found


def by_category(near: Neighborhoods, probed: Probed | None) -> pd.DataFrame:
    """The same figures for each category, those with a clear change first, of more than two standard errors in any.

    Of these, and of the others, those first whose nearest boxes changed most.

    Returns:
        `category`, `boxes`, `asked` (how many of them are queries), and for each figure its value by A and by B, the
        change, and the change's standard error over images: `nearest_a`, `nearest_b`, ..., `linear_error`.
    """
    boxes = near.boxes
    if boxes.labels is None:
        raise ValueError("without labels no box is of a category")
    parts = {"nearest": (near.queries, near.alike())}
    if probed is not None:
        parts |= {"knn": (probed.rows, tuple(probed.knn)), "linear": (probed.rows, tuple(probed.linear))}
    table = pd.Series(boxes.labels[boxes.on_objects]).value_counts().rename("boxes").rename_axis("category").to_frame()
    table["asked"] = pd.Series(boxes.labels[near.queries]).value_counts().reindex(table.index, fill_value=0)
    for name, (rows, scores) in parts.items():
        labels, unit = boxes.labels[rows], boxes.image_ids[rows]
        a, b = (Scored.of(score, unit=unit, group=labels) for score in scores)
        values = pd.DataFrame(
            intervals.by_group(a, b), index=np.unique(labels.astype(str)), columns=["a", "b", "change", "error"]
        )
        table = table.join(values.add_prefix(f"{name}_"))
    size = table["nearest_change"].abs()
    clear = [table[f"{name}_change"].abs() > 2 * table[f"{name}_error"] for name in parts]
    table = table.assign(clear=np.logical_or.reduce(clear), size=size)
    table = table.sort_values(["clear", "size"], ascending=False, kind="stable")
    return table.drop(columns=["clear", "size"]).reset_index()


# ---- pairs that stage 2 would mine ---------------------------------------------------------------------------------


def mined_pairs(
    boxes: Boxes, vectors: NDArray[np.floating], neighbors: pd.DataFrame, pairing: dict[str, object]
) -> pd.DataFrame:
    """Pairs that the rule of stage 2 finds among these boxes by one encoder.

    Where the boxes are a sample, a share of them is kept as the rule keeps a share of all: figures of two encoders on
    one sample compare, but not with those of the run's own pairs.

    Args:
        boxes: all boxes of the run, or a sample.
        vectors: of these, `boxes.a` or `boxes.b`.
        neighbors: the neighbors table by the same encoder; images without a box are passed over.
        pairing: ratio and switches, as `pair_images` takes them.

    Returns:
        A pairs table.
    """
    slices = region_slices(boxes.image_ids)
    known = np.unique(boxes.image_ids)
    near = neighbors[neighbors["image_id"].isin(known) & neighbors["neighbor_id"].isin(known)]
    found = pair_images(known, near, slices, vectors, **pairing)  # type: ignore[arg-type]
    for name in ("query_region", "key_region"):
        found[name] = boxes.region_ids[found[name].to_numpy()]
    return found


def purity_items(boxes: Boxes, pairs: pd.DataFrame) -> Scored | None:
    """Whether each pair of two boxes on objects joins one category; None where there is none.

    Resampled are all images of the boxes, so that figures of different pairs of the same boxes can be compared.
    """
    if boxes.labels is None:
        return None
    query, key = (boxes.labels[boxes.rows_of(pairs[name].to_numpy())] for name in ("query_region", "key_region"))
    both = (query != UNLABELED) & (key != UNLABELED)
    if not both.any():
        return None
    images = np.unique(boxes.image_ids)
    unit = np.searchsorted(images, pairs["image_id"].to_numpy()[both]).astype(np.int32)
    score = (query == key)[both].astype(np.float32)
    return Scored(len(images), score, unit, np.zeros(len(score), np.int32))
