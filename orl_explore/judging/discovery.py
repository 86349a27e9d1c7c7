"""Object discovery as a measure of stage 2: is an image's first box on an object, and how many boxes find them all?

CorLoc is what single-object discovery reports: the share of images in which one box, chosen without labels, meets an
annotated object at IoU 0.5. Which box that is, an order of an image's regions says: of the proposals, or of the pairs
that were accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.boxes import BOX, iou
from orl_explore.judging.intervals import Scored

MET: Final = 0.5
"""IoU from which on a box has found an object."""

COUNTS: Final = (1, 5, 10, 20, 50, 100)
"""Boxes an image that recall is told for."""


def by_support(regions: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Order the regions of each image by the similarity of their pairs, summed over pairs as query and as key.

    What recurs in other images comes first; regions without a pair stay in their order behind.

    Args:
        regions: columns region_id, image_id, x, y, w, h.
        pairs: columns query_region, key_region, similarity; where similarities are not known, pairs are counted.
    """
    weight = pairs["similarity"].fillna(1.0).clip(lower=0).to_numpy(np.float64)
    support = pd.Series(0.0, index=regions["region_id"].to_numpy())
    for side in ("query_region", "key_region"):
        support = support.add(pd.Series(weight).groupby(pairs[side].to_numpy()).sum(), fill_value=0)
    order = regions.assign(support=-support.loc[regions["region_id"]].to_numpy())
    first = {image_id: place for place, image_id in enumerate(regions["image_id"].unique())}
    order["place"] = order["image_id"].map(first)
    return order.sort_values(["place", "support"], kind="stable")[regions.columns].reset_index(drop=True)


def corloc(image_ids: NDArray[np.int64], objects: pd.DataFrame, regions: pd.DataFrame) -> Scored | None:
    """Share of images with objects whose first region meets one of them; None without objects.

    Args:
        image_ids: the images that are judged, which intervals are over.
        objects: columns image_id, x, y, w, h.
        regions: the same columns, the regions of an image in the order of a proposer's trust in them.
    """
    first = regions.drop_duplicates("image_id").set_index("image_id")[BOX]
    with_objects = objects["image_id"].drop_duplicates()
    if not len(with_objects):
        return None
    boxes_of = objects.groupby("image_id").indices
    all_boxes = objects[BOX].to_numpy(np.float64)
    hits = [
        image_id in first.index
        and iou(first.loc[[image_id]].to_numpy(np.float64), all_boxes[boxes_of[image_id]]).max() >= MET
        for image_id in with_objects
    ]
    return Scored.of_images(np.array(hits), with_objects, image_ids)


def recall_at(
    image_ids: NDArray[np.int64], objects: pd.DataFrame, regions: pd.DataFrame, counts: Sequence[int] = COUNTS
) -> dict[int, Scored]:
    """Share of objects that one of the first N regions of their image meets, by N; empty without objects.

    Args:
        image_ids: the images that are judged, which intervals are over.
        objects: columns image_id, x, y, w, h.
        regions: the same columns, in the order of a proposer's trust in them.
        counts: the Ns.
    """
    if not len(objects):
        return {}
    needed = np.full(len(objects), np.inf)  # regions until one meets the object
    object_boxes, region_boxes = objects[BOX].to_numpy(np.float64), regions[BOX].to_numpy(np.float64)
    regions_of = regions.groupby("image_id").indices
    for image_id, rows in objects.groupby("image_id").indices.items():
        if image_id in regions_of:
            met = iou(object_boxes[rows], region_boxes[regions_of[image_id]]) >= MET  # (O, R)
            needed[rows] = np.where(met.any(axis=1), met.argmax(axis=1) + 1, np.inf)
    return {count: Scored.of_images(needed <= count, objects["image_id"], image_ids) for count in counts}
