"""Correspondence as a measure of pairs: how many join objects of one category, by rank and by category."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.judging.intervals import Scored

RANKS: Final = 10
"""Ranks that purity is told for."""


def object_pairs(pairs: pd.DataFrame, categories: pd.Series) -> pd.DataFrame:
    """Pairs whose regions are both on objects, with what they join.

    Args:
        pairs: columns image_id, query_region, key_region, and rank and neighbor_rank where they are asked for.
        categories: of the regions, as `diagnostics.region_categories` gives them.

    Returns:
        Its rows with the columns `query_category`, `key_category` and `same` added.
    """
    query, key = (categories.reindex(pairs[name]).to_numpy(object) for name in ("query_region", "key_region"))
    found = pairs.assign(query_category=query, key_category=key)
    found = found[found["query_category"].notna() & found["key_category"].notna()].reset_index(drop=True)
    return found.assign(same=found["query_category"] == found["key_category"])


def purity_by_rank(
    image_ids: NDArray[np.int64], found: pd.DataFrame, *, column: str = "rank", ranks: int = RANKS
) -> dict[int, Scored]:
    """Share of one category among object pairs of each rank (0: the most similar); ranks without any are left out.

    Args:
        image_ids: the images that are judged, which intervals are over.
        found: what `object_pairs` gives.
        column: `rank` of a pair among those of an image with a neighbor, or `neighbor_rank`.
        ranks: how many.
    """
    chosen = found[found[column] < ranks]
    parts = {int(str(rank)): part for rank, part in chosen.groupby(column)}
    return {rank: Scored.of_images(part["same"], part["image_id"], image_ids) for rank, part in parts.items()}


def purity_by_category(image_ids: NDArray[np.int64], found: pd.DataFrame) -> dict[str, Scored]:
    """Share of one category among the object pairs whose query is of each category, the most frequent one first.

    Args:
        image_ids: the images that are judged, which intervals are over.
        found: what `object_pairs` gives.
    """
    counts = found["query_category"].value_counts()
    return {
        str(category): Scored.of_images(part["same"], part["image_id"], image_ids)
        for category in counts.index
        for part in [found[found["query_category"] == category]]
    }
