"""Object retrieval: rank the crops of all other images by their similarity to a query crop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.judging.intervals import Scored
from training.transfer.objects import ObjectCrops, embed_crops, read_objects
from training.transfer.setup import Setup


@dataclass(frozen=True, kw_only=True)
class RetrievalSettings:
    """How object retrieval judges."""

    image_size: int | None = None
    """Side that crops are resized to, pixels; None: as the run was trained."""
    queries: int = 2000
    """Query crops at most, drawn at random; all crops of held-out images are searched."""

    def __post_init__(self):
        if self.queries < 1:
            raise OrlError(f"retrieval.queries is {self.queries}: it must be 1 or more")


def read(setup: Setup, settings: RetrievalSettings) -> ObjectCrops:
    """Object crops of the run, or of a COCO json; those of held-out images are searched."""
    return read_objects(setup)


def judge(encoder: Encoder, data: ObjectCrops, settings: RetrievalSettings, setup: Setup) -> dict[str, Any]:
    """Mean average precision over the categories of the queries, and that of each category."""
    assert settings.image_size
    crops = data.crops[data.test].reset_index(drop=True)
    x = embed_crops(encoder, data, crops, settings.image_size, setup)
    labels = crops["category"].to_numpy(object)
    count = min(settings.queries, len(crops))
    queries = np.sort(np.random.default_rng([setup.seed, 3]).choice(len(crops), count, replace=False))
    image_ids = crops["image_id"].to_numpy()
    found, blind = ranked_precision(x, labels, image_ids, queries)
    by_category = pd.DataFrame(
        {"category": labels[queries], "image_id": image_ids[queries], "found": found, "blind": blind}
    ).dropna()
    if by_category.empty:
        raise OrlError("no category is in two of the held-out images: nothing can be retrieved")
    means = by_category.groupby("category")[["found", "blind"]].mean()
    return {
        "map": float(means["found"].mean()),
        "map_chance": float(means["blind"].mean()),
        "map_by_category": {str(name): float(value) for name, value in means["found"].items()},
        "queries": len(by_category),
        "items": {
            "map": Scored.of(
                by_category["found"].to_numpy(),
                unit=by_category["image_id"].to_numpy(),
                group=by_category["category"].to_numpy(),
            )
        },
    }


def ranked_precision(
    x: NDArray, labels: NDArray, image_ids: NDArray, queries: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average precision of each query among the crops of other images, and the share of right ones there.

    Args:
        x: (N, D) features of length 1.
        labels: (N,) categories.
        image_ids: (N,) the image of each crop; a query's own image is left out.
        queries: rows of the queries.

    Returns:
        Two (len(queries),) arrays; nan where no other image has the category.
    """
    precision, share = np.full(len(queries), np.nan), np.full(len(queries), np.nan)
    for index, query in enumerate(queries.tolist()):
        others = image_ids != image_ids[query]
        right = labels[others] == labels[query]
        if right.any():
            order = np.argsort(-(x[others] @ x[query]), kind="stable")
            places = np.flatnonzero(right[order])  # 0 = ranked first
            precision[index] = np.mean(np.arange(1, len(places) + 1) / (places + 1))
            share[index] = right.mean()
    return precision, share
