"""Is the representation alive, and what did stage 2 get right? Pure functions over arrays and a run's tables.

A figure is nan where the tables hold nothing to judge it by: no labels, no objects, no pairs. Labels judge; nothing is
ever trained on them here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from orl_explore.boxes import BOX, FALLBACK, KEPT, REASONS, filter_boxes, iou, is_kept
from orl_explore.images.image_set import ImageSet
from orl_explore.images.labels import NO_CATEGORY, category_label

ON_IOU: Final = 0.5
"""A region is on an object when its IoU with the object's box is at least this ..."""

ON_SHARE: Final = 0.6
"""... or when at least this share of its area lies in that box."""


class Judged(NamedTuple):
    """A figure and what chance would give."""

    value: float
    chance: float


# ---- is the representation alive? -----------------------------------------------------------------------------------


def representation_std(vectors: Tensor) -> float:
    """Standard deviation per dimension of L2-normalized vectors, times sqrt(d): 1 when spread out, 0 when collapsed.

    Args:
        vectors: (N, d), any length.
    """
    unit = torch.nn.functional.normalize(vectors.float(), dim=1)
    return float(unit.std(dim=0).mean() * unit.shape[1] ** 0.5)


def effective_rank(vectors: Tensor) -> float:
    """exp(entropy) of the normalized singular values of the centered vectors (N, d): 1 .. min(N - 1, d).

    Identical vectors have effective rank 0.
    """
    unit = torch.nn.functional.normalize(vectors.double(), dim=1)
    singular = torch.linalg.svdvals(unit - unit.mean(dim=0))
    total = singular.sum()
    if total < 1e-9:
        return 0.0
    share = singular / total
    return float(torch.exp(-(share * torch.log(share.clamp_min(1e-12))).sum()))


# ---- neighbors (stage 2, step 1) ------------------------------------------------------------------------------------


def neighbor_agreement(neighbors: pd.DataFrame, labels: pd.Series) -> Judged:
    """Share of neighbors with the query's own label.

    Chance is the expected share were each neighbor any other labeled image. Queries and neighbors without a label are
    left out.

    Args:
        neighbors: columns image_id, neighbor_id.
        labels: index image_id; one label per image (its context, for example), missing where unknown.
    """
    labels = labels.dropna()
    query, neighbor = _labeled(neighbors, labels.index)
    if not len(query):
        return Judged(math.nan, math.nan)
    codes, classes = pd.factorize(labels)
    others = np.bincount(codes, minlength=len(classes))[codes] - 1  # (N,) other images with an image's label
    return Judged(float((codes[query] == codes[neighbor]).mean()), float(others[query].mean() / (len(labels) - 1)))


def category_overlap(neighbors: pd.DataFrame, objects: pd.DataFrame) -> Judged:
    """Mean Jaccard overlap (shared / all) of the category sets of a query and its neighbors.

    Chance is the expected overlap were each neighbor any other image with objects. Images without objects are left out.

    Args:
        neighbors: columns image_id, neighbor_id.
        objects: columns image_id, category.
    """
    table = pd.crosstab(objects["image_id"], objects["category"]) > 0  # (N, C)
    query, neighbor = _labeled(neighbors, table.index)
    if not len(query):
        return Judged(math.nan, math.nan)
    present = table.to_numpy(np.float32)
    value = _jaccard((present[query] * present[neighbor]).sum(1), present[query].sum(1), present[neighbor].sum(1))

    # Images share sets: expected overlaps are worked out between distinct sets, a block at a time.
    sets, kind, count = np.unique(present, axis=0, return_inverse=True, return_counts=True)
    sizes = sets.sum(axis=1)
    expected = np.empty(len(sets))
    for start in range(0, len(sets), 1024):
        block = slice(start, start + 1024)
        overlap = _jaccard(sets[block] @ sets.T, sizes[block, None], sizes)  # (B, U)
        expected[block] = (overlap @ count - 1) / (len(present) - 1)  # without the image itself
    return Judged(float(value.mean()), float(expected[kind.ravel()[query]].mean()))


def _jaccard(shared: NDArray, a: NDArray, b: NDArray) -> NDArray:
    return shared / (a + b - shared)


def _labeled(neighbors: pd.DataFrame, known: pd.Index) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions in `known` of both images of those rows whose images are both known."""
    query, neighbor = (known.get_indexer(pd.Index(neighbors[name])) for name in ("image_id", "neighbor_id"))
    both = (query >= 0) & (neighbor >= 0)
    return query[both], neighbor[both]


class Hubness(NamedTuple):
    """How unevenly images are chosen as neighbors: skewness of the number of times, and the largest number."""

    skewness: float
    largest: int


def hubness(neighbors: pd.DataFrame) -> Hubness:
    """Count how often each image is somebody's neighbor (its k-occurrence); K times on average.

    A skewness far above 0 means that a few images, the hubs, are neighbors of very many. It is 0 when all counts agree.

    Args:
        neighbors: columns image_id, neighbor_id; every image is a query.
    """
    every = pd.Index(neighbors["image_id"].unique())
    counts = np.bincount(every.get_indexer(pd.Index(neighbors["neighbor_id"])), minlength=len(every))
    centered = counts - counts.mean()
    variance = (centered**2).mean()
    skewness = (centered**3).mean() / variance**1.5 if variance else 0.0
    return Hubness(float(skewness), int(counts.max()))


def near_duplicates(neighbors: pd.DataFrame, *, threshold: float = 0.98) -> int:
    """Count pairs of images, each pair once, that are neighbors with a similarity above the threshold."""
    near = neighbors[neighbors["similarity"] > threshold]
    pairs = np.sort(near[["image_id", "neighbor_id"]].to_numpy(), axis=1)
    return len(np.unique(pairs, axis=0))


def exact_duplicates(images: pd.DataFrame) -> int:
    """Count images whose file has the same bytes as that of an image before it (column content_hash)."""
    return int(images["content_hash"].duplicated().sum())


# ---- proposals and regions (stage 2, steps 2 and 3) -----------------------------------------------------------------


@dataclass(frozen=True)
class Recall:
    """How well kept boxes cover annotated objects."""

    at: dict[float, float]
    """IoU threshold -> share of objects with a kept box at least that close."""
    average_best_overlap: float
    """IoU with the closest kept box, averaged over objects."""
    objects: int
    """Objects judged."""


def best_overlaps(objects: pd.DataFrame, regions: pd.DataFrame) -> NDArray[np.float64]:
    """IoU of each object's box with the closest region of its image, (N,) in table order; 0 without any region.

    Args:
        objects: columns image_id, x, y, w, h.
        regions: the same columns.
    """
    object_boxes, region_boxes = objects[BOX].to_numpy(np.float64), regions[BOX].to_numpy(np.float64)
    regions_of = regions.groupby("image_id").indices
    best = np.zeros(len(objects))
    for image_id, rows in objects.groupby("image_id").indices.items():
        if image_id in regions_of:
            best[rows] = iou(object_boxes[rows], region_boxes[regions_of[image_id]]).max(axis=1)
    return best


def proposal_recall(
    objects: pd.DataFrame, regions: pd.DataFrame, *, thresholds: Sequence[float] = (0.5, 0.7)
) -> Recall:
    """Judge whether the kept boxes find the annotated objects.

    Args:
        objects: columns image_id, x, y, w, h.
        regions: the same columns.
        thresholds: IoU from which on a box has found an object.
    """
    best = best_overlaps(objects, regions)
    return Recall(
        {t: _share((best >= t).sum(), len(best)) for t in thresholds}, _share(best.sum(), len(best)), len(best)
    )


def recall_with(
    proposals: pd.DataFrame, objects: pd.DataFrame, *, thresholds: Sequence[float] = (0.5, 0.7), **settings: float
) -> Recall:
    """Judge the boxes that the filter would keep with other settings.

    Args:
        proposals: columns image_id, x, y, w, h; raw, those of an image in the order in which they were found.
        objects: the same columns.
        thresholds: IoU from which on a box has found an object.
        settings: of `filter_boxes`.
    """
    boxes, kept = proposals[BOX].to_numpy(), np.zeros(len(proposals), bool)
    for rows in proposals.groupby("image_id").indices.values():
        kept[rows] = is_kept(filter_boxes(boxes[rows], **settings))  # type: ignore[arg-type]
    return proposal_recall(objects, proposals[kept], thresholds=thresholds)


def funnel(
    proposals: pd.DataFrame, regions: pd.DataFrame, neighbors: pd.DataFrame, pairs: pd.DataFrame
) -> dict[str, int]:
    """Count what is left after every step of stage 2.

    Args:
        proposals: column reason.
        regions: column image_id.
        neighbors: columns image_id, neighbor_id.
        pairs: any columns.

    Returns:
        `proposals`; of these `kept`, `fallback` and, one key a reason, `rejected_side`, `rejected_aspect`,
        `rejected_iou`, `rejected_count`; `regions`; `candidate_pairs`, the sum of Q x R over an image's Q and a
        neighbor's R regions; `pairs`.
    """
    reasons = proposals["reason"].value_counts()
    by_reason = {
        reason if reason in (KEPT, FALLBACK) else f"rejected_{reason}": int(reasons.get(reason, 0))
        for reason in REASONS
    }
    count = regions["image_id"].value_counts()
    query, key = (neighbors[name].map(count).fillna(0) for name in ("image_id", "neighbor_id"))
    return {
        "proposals": len(proposals),
        **by_reason,
        "regions": len(regions),
        "candidate_pairs": int((query * key).sum()),
        "pairs": len(pairs),
    }


# ---- pairs (stage 2, step 5) ----------------------------------------------------------------------------------------


def on_object(regions: pd.DataFrame, objects: pd.DataFrame, *, whole: bool = False) -> pd.Series:
    """Find the object that each region is on.

    A region is on an object when its IoU with the object's box is at least `ON_IOU`, or when at least `ON_SHARE` of its
    area lies in that box: then it shows a part of the object. When this holds for several, the one with the largest
    share of the region's area is taken; of equal shares, the one with the highest IoU. Boxes count even where there are
    masks, so that figures of data with and without masks can be compared, and half a ring is a part of the ring.

    Args:
        regions: columns region_id, image_id, x, y, w, h (whole pixels).
        objects: columns object_id, image_id, x, y, w, h.
        whole: parts of an object do not count, the IoU alone does.

    Returns:
        int64 object_id, or -1 on no annotated object; index region_id, in the order of `regions`.
    """
    region_boxes, object_boxes = regions[BOX].to_numpy(np.float64), objects[BOX].to_numpy(np.float64)
    object_ids = objects["object_id"].to_numpy(np.int64)
    objects_of = objects.groupby("image_id").indices
    found = np.full(len(regions), -1, np.int64)
    for image_id, rows in regions.groupby("image_id").indices.items():
        if image_id not in objects_of:
            continue
        candidates = objects_of[image_id]
        boxes, targets = region_boxes[rows], object_boxes[candidates]
        share, overlap = _share_of_area(boxes, targets), iou(boxes, targets)  # (R, O)
        if whole:
            share = overlap
        on = (overlap >= ON_IOU) | (share >= ON_SHARE)
        best = np.where(on, share + 1e-6 * overlap, -1).argmax(axis=1)  # the small term only breaks ties
        found[rows] = np.where(on.any(axis=1), object_ids[candidates[best]], -1)
    return pd.Series(found, index=pd.Index(regions["region_id"], name="region_id"), name="object_id")


def _share_of_area(boxes: NDArray, targets: NDArray) -> NDArray[np.float64]:
    """Share of the area of each box (R, 4) that lies in each target box (O, 4): (R, O)."""
    boxes, targets = boxes[:, None], targets[None]
    start = np.maximum(boxes[..., :2], targets[..., :2])
    end = np.minimum(boxes[..., :2] + boxes[..., 2:], targets[..., :2] + targets[..., 2:])
    return np.clip(end - start, 0, None).prod(axis=-1) / boxes[..., 2:].prod(axis=-1)


@dataclass(frozen=True)
class Purity:
    """What accepted pairs join."""

    pairs: int
    """Accepted pairs."""
    object_pairs: int
    """Of these, pairs whose regions are both on objects."""
    objects: Judged
    """Their share; by chance: any region of a query image with any region of a neighbor."""
    mixed: float
    """Share of pairs of an object's region with an unlabeled one, which is on no annotated object."""
    unlabeled: float
    """Share of pairs of two unlabeled regions."""
    purity: Judged
    """Share of object pairs of equal category; by chance: any on-object region of a query image with any of a neighbor,
    drawn independently, sum over c of p_query(c) p_key(c)."""
    neighbor_chance: float
    """The same, where both are drawn from one image and one of *its* neighbors: what purity would be if the neighbors
    were right and the matching of regions blind."""


def pair_purity(pairs: pd.DataFrame, regions: pd.DataFrame, region_object: pd.Series, objects: pd.DataFrame) -> Purity:
    """Judge whether accepted pairs join two objects, and objects of the same category.

    Chance levels are taken over the regions that could have been paired: those of every image and neighbor that have a
    pair, so that an image with several neighbors, or that is the neighbor of several, counts each time.

    Args:
        pairs: columns image_id, neighbor_id, query_region, key_region.
        regions: columns region_id, image_id.
        region_object: what `on_object` gives for these regions.
        objects: columns object_id, category.
    """
    category_codes, categories = pd.factorize(objects["category"])
    code_of = pd.Series(category_codes, index=objects["object_id"])
    codes = region_object.map(code_of).fillna(-1).astype(np.int64)  # by region_id; -1: unlabeled
    query = codes.loc[pairs["query_region"]].to_numpy()
    key = codes.loc[pairs["key_region"]].to_numpy()
    both = (query >= 0) & (key >= 0)
    neither = (query < 0) & (key < 0)

    image_index = pd.Index(regions["image_id"].unique())
    counts = np.zeros((len(image_index), len(categories) + 1))  # regions of an image by category; last: unlabeled
    np.add.at(
        counts, (image_index.get_indexer(pd.Index(regions["image_id"])), codes.loc[regions["region_id"]].to_numpy()), 1
    )
    met = pairs[["image_id", "neighbor_id"]].drop_duplicates()
    rows, columns = (image_index.get_indexer(pd.Index(met[name])) for name in met)
    graph = sparse.csr_array((np.ones(len(met)), (rows, columns)), shape=(len(image_index),) * 2)
    could_query = np.bincount(rows, minlength=len(image_index)) @ counts  # (C + 1,) regions, as often as they could
    could_key = np.bincount(columns, minlength=len(image_index)) @ counts
    on = counts[:, :-1]  # (I, C)
    near = graph @ on  # (I, C): on-object regions in an image's neighbors

    on_query, on_key = could_query[:-1].sum(), could_key[:-1].sum()
    return Purity(
        pairs=len(pairs),
        object_pairs=int(both.sum()),
        objects=Judged(_share(both.sum(), len(pairs)), _share(on_query * on_key, could_query.sum() * could_key.sum())),
        mixed=_share((~both & ~neither).sum(), len(pairs)),
        unlabeled=_share(neither.sum(), len(pairs)),
        purity=Judged(
            _share((query[both] == key[both]).sum(), both.sum()),
            _share(could_query[:-1] @ could_key[:-1], on_query * on_key),
        ),
        neighbor_chance=_share((on * near).sum(), (on.sum(axis=1) * near.sum(axis=1)).sum()),
    )


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else math.nan


def region_categories(regions: pd.DataFrame, objects: pd.DataFrame) -> pd.Series:
    """Category of the object that each region is on, missing where unlabeled; index region_id.

    Args:
        regions: as for `on_object`.
        objects: likewise.
    """
    category_of = pd.Series(objects["category"].to_numpy(object), index=objects["object_id"])
    return on_object(regions, objects).map(category_of).astype("str").rename("category")


def same_category(pairs: pd.DataFrame, categories: pd.Series) -> float:
    """Share of one category among pairs whose regions are both on objects: purity, without its chance levels.

    Args:
        pairs: columns query_region, key_region.
        categories: what `region_categories` gives.
    """
    query, key = (categories.reindex(pairs[name]).reset_index(drop=True) for name in ("query_region", "key_region"))
    both = query.notna() & key.notna()
    return _share((query[both] == key[both]).sum(), both.sum())


UNLABELED: Final = NO_CATEGORY
"""Label of a region that is on no annotated object, or on one of no category; see `labels.NO_CATEGORY`."""


# ---- what the points are -------------------------------------------------------------------------------------------


def label_names(categories: pd.Series) -> pd.Series:
    """Categories as people read them, missing where there is none; see `labels.category_label`."""
    return categories.map({name: category_label(name) for name in categories.dropna().unique()})


def region_labels(regions: pd.DataFrame, images: ImageSet) -> pd.Series | None:
    """Category of the object that each region is on, else `UNLABELED`; None without annotations.

    Args:
        regions: columns region_id, image_id, x, y, w, h.
        images: with their objects.

    Returns:
        Text, index region_id, in the order of `regions`.
    """
    objects = images.objects
    if not len(objects):
        return None
    category = pd.Series(label_names(objects["category"]).to_numpy(object), index=objects["object_id"].to_numpy())
    found = on_object(regions, objects)
    return found.map(category).fillna(UNLABELED).astype(str).rename("label")


COLLAPSED = 0.1
"""Representation std, as a share of that of a spread-out representation, below which training has collapsed."""
