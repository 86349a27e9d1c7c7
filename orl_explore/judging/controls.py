"""What stage 3 is compared with: boxes and pairs that no encoder chose, drawn blindly or read off the labels.

Stage 3 takes them as it takes those of stage 2: `runs.samples.ObjectViews`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.boxes import BOX
from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.judging.diagnostics import on_object
from orl_explore.pairs import region_slices

# ---- boxes ---------------------------------------------------------------------------------------------------------


def annotated_boxes(images: ImageSet) -> pd.DataFrame:
    """The annotated objects as regions, in whole pixels; the image itself where it has none.

    Returns:
        A table of regions: region_id, image_id, x, y, w, h, in the order of the images.

    Raises:
        OrlError: no image has an annotated object.
    """
    _require_labels(images)
    rows = []
    of = images.objects.groupby("image_id")
    known = set(of.groups)
    for image_id, width, height in images.table[["image_id", "width", "height"]].itertuples(index=False):
        boxes = of.get_group(image_id)[BOX].to_numpy() if image_id in known else np.array([[0, 0, width, height]])
        start = np.floor(boxes[:, :2])
        end = np.minimum(np.ceil(boxes[:, :2] + boxes[:, 2:]), [width, height])
        rows += [(image_id, *box) for box in np.hstack([start, np.maximum(end - start, 1)]).astype(int).tolist()]
    return _numbered(rows)


def random_boxes(images: ImageSet, regions: pd.DataFrame, *, min_side: int, seed: int) -> pd.DataFrame:
    """As many boxes an image as `regions` has, of any place, size and shape that stage 2's filter lets pass.

    Args:
        images: of the run.
        regions: column image_id.
        min_side: of a box, pixels; the shorter side of an image that is smaller.
        seed: decides them.

    Returns:
        A table of regions, as `annotated_boxes`.
    """
    rng = np.random.default_rng([seed, 20])
    counts = regions["image_id"].value_counts()
    rows = []
    for image_id, width, height in images.table[["image_id", "width", "height"]].itertuples(index=False):
        for _ in range(int(counts.get(image_id, 1))):
            least = min(min_side, width, height)
            w, h = rng.integers(least, width + 1), rng.integers(least, height + 1)
            w, h = min(w, 3 * h), min(h, 3 * w)
            rows.append((image_id, int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), int(w), int(h)))
    return _numbered(rows)


def _numbered(rows: Iterable[tuple[int, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["image_id", *BOX])
    return frame.assign(region_id=np.arange(len(frame)))


# ---- pairs ---------------------------------------------------------------------------------------------------------


def random_pairs(
    images: ImageSet, regions: pd.DataFrame, pairs: pd.DataFrame, *, anywhere: bool, seed: int
) -> pd.DataFrame:
    """As many pairs as an encoder's, of boxes drawn blindly.

    Args:
        images: of the run.
        regions: its table, grouped by image.
        pairs: of an encoder: columns image_id and neighbor_id.
        anywhere: pair boxes of any two images; otherwise, of the same two images as the encoder did.
        seed: decides them.

    Returns:
        Columns image_id, neighbor_id, query_region, key_region, a row for each of `pairs`.

    Raises:
        OrlError: there is a single image, and its boxes are to be paired with another's.
    """
    rng = np.random.default_rng([seed, 21])
    slices = region_slices(regions["image_id"])
    ids = images.table["image_id"].to_numpy()
    neighbor = pairs["neighbor_id"].to_numpy()
    if anywhere:
        if len(ids) < 2:
            raise OrlError("a pair takes two images, and there is one: name more of them with --images")
        neighbor = rng.choice(ids, len(pairs))
        own = neighbor == pairs["image_id"].to_numpy()
        neighbor[own] = ids[(pd.Index(ids).get_indexer(pd.Index(neighbor[own])) + 1) % len(ids)]
    return pd.DataFrame(
        {
            "image_id": pairs["image_id"].to_numpy(),
            "neighbor_id": neighbor,
            "query_region": [int(rng.integers(*slices[image])) for image in pairs["image_id"].tolist()],
            "key_region": [int(rng.integers(*slices[image])) for image in neighbor.tolist()],
        }
    )


def oracle_pairs(
    images: ImageSet,
    regions: pd.DataFrame,
    *,
    per_image: int = 10,
    queries: NDArray[np.int64] | None = None,
    whole: bool = False,
    seed: int,
) -> pd.DataFrame:
    """Pairs of one category, by the labels: boxes on objects, each with one on an object of the same kind elsewhere.

    The labels choose them, so that what is trained on them is no longer trained without labels.

    Args:
        images: of the run, with their objects.
        regions: its table.
        per_image: boxes of an image that are paired, at most; drawn among those that are on an object.
        queries: region ids of the boxes that are paired, in place of `per_image`, each as often as it is named; those
            that are on no object are left out.
        whole: only boxes whose IoU with their object is at least `ON_IOU`; else also those that show a part of it.
        seed: decides them.

    Returns:
        Columns image_id, neighbor_id, query_region, key_region. Images without a box on an object, or with categories
        that hardly any other image has, have no rows.

    Raises:
        OrlError: no image has an annotated object, or no pair is found.
    """
    _require_labels(images)
    rng = np.random.default_rng([seed, 22])
    categories = images.objects.set_index("object_id")["category"]
    found = on_object(regions, images.objects, whole=whole).to_numpy()
    on = regions[found >= 0].assign(category=categories[found[found >= 0]].to_numpy())
    of = {
        str(name): (rows["region_id"].to_numpy(), rows["image_id"].to_numpy()) for name, rows in on.groupby("category")
    }
    named = None if queries is None else on["region_id"].map(pd.Series(queries).value_counts()).fillna(0).astype(int)
    rows = []
    for image_id, own in on.groupby("image_id"):
        if named is None:
            drawn = own.iloc[rng.permutation(len(own))[:per_image]]
        else:
            drawn = own.loc[own.index.repeat(named[own.index])]
        for query, category in drawn[["region_id", "category"]].itertuples(index=False):
            keys, owners = of[category]
            for key in rng.integers(len(keys), size=20).tolist():
                if owners[key] != image_id:
                    rows.append((image_id, owners[key], query, keys[key]))
                    break
    if not rows:
        raise OrlError(
            "no two images have boxes on objects of one category: annotate more images, or propose more boxes"
        )
    return pd.DataFrame(rows, columns=["image_id", "neighbor_id", "query_region", "key_region"])


def _require_labels(images: ImageSet) -> None:
    if not len(images.objects):
        raise OrlError(
            "these images have no annotated objects: begin a run whose images have, as `orl run runs/labeled --images"
            " annotations.json`"
        )
