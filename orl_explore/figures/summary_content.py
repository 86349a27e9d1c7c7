"""What the summary picture shows: which images, with which neighbors and pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from PIL import Image

from orl_explore.boxes import BOX
from orl_explore.images.image_set import ImageSet
from orl_explore.runs.run import Run

NEIGHBORS: Final = 4
"""Neighbors shown of an image, and pairs: the best one with each."""


# ---- what is shown -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QueryRow:
    """An image, its neighbors and its pairs, ready to be drawn.

    Attributes:
        query: the image; `neighbors` are its neighbors' images, nearest first.
        similarities: of the neighbors.
        label, neighbor_labels: their contexts, None where there is none.
        proposals: how many boxes were found in the image.
        boxes: (R, 4) kept ones, xywh.
        pairs: a tuple per pair: row of the query's box in `boxes`, place of the neighbor, box there, similarity.
    """

    query: Image.Image
    label: str | None
    proposals: int
    boxes: np.ndarray
    neighbors: list[Image.Image]
    neighbor_labels: list[str | None]
    similarities: list[float]
    pairs: list[tuple[int, int, np.ndarray, float]]


def best_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """The most similar pair of every image with each of its nearest neighbors: rows of `stage2/pairs.parquet`."""
    near = pairs[pairs["neighbor_rank"] < NEIGHBORS].sort_values(["image_id", "neighbor_rank", "rank"], kind="stable")
    return near.drop_duplicates(["image_id", "neighbor_rank"])


def choose_queries(images: ImageSet, neighbors: pd.DataFrame, best: pd.DataFrame, *, rows: int) -> list[int]:
    """Choose images that show something: one from each of `rows` equal stretches of the images table.

    It is the image whose pairs start from the most boxes; of several such images, the one whose pairs are most similar.
    Images already shown, as a query or a neighbor, come last. No label is looked at.

    Args:
        images: all images.
        neighbors: the neighbors table.
        best: what `best_pairs` gives.
        rows: how many to choose, at least 1; fewer come back when there are fewer images.
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, not {rows}")
    groups = best.groupby("image_id")
    scores = pd.DataFrame({"boxes": groups["query_region"].nunique(), "similarity": groups["similarity"].mean()})
    scores = scores.reindex(images.table["image_id"])  # missing values without pairs: sorted last
    near = neighbors[neighbors["rank"] < NEIGHBORS].groupby("image_id")["neighbor_id"].agg(list)
    seen: set[int] = set()
    chosen = []
    for stretch in np.array_split(np.arange(len(images)), min(rows, len(images))):
        part = scores.iloc[stretch]
        part = part.assign(seen=part.index.isin(seen))
        part = part.sort_values(["seen", "boxes", "similarity"], ascending=[True, False, False], kind="stable")
        chosen.append(int(part.index[0]))
        seen |= {chosen[-1], *near.get(chosen[-1], [])}
    return chosen


def gather_row(
    run: Run, images: ImageSet, tables: Mapping[str, pd.DataFrame], best: pd.DataFrame, image_id: int
) -> QueryRow:
    """Read the pictures of a row and what is known of them.

    Args:
        run: for the number of proposals.
        images: of the run.
        tables: its neighbors and regions.
        best: what `best_pairs` gives.
        image_id: the query.
    """
    row_of = {known: row for row, known in enumerate(images.table["image_id"].tolist())}

    def of_image(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["image_id"] == image_id]

    def label(image_id: int) -> str | None:
        if "context" not in images.table:
            return None
        value: Any = images.table["context"].iloc[row_of[image_id]]
        return None if pd.isna(value) else str(value)

    near = of_image(tables["neighbors"]).sort_values("rank")
    near = near[near["rank"] < NEIGHBORS]
    near_ids = near["neighbor_id"].tolist()
    regions = tables["regions"]
    own = of_image(regions)
    own_ids = own["region_id"].tolist()
    pairs = of_image(best)
    key_boxes = regions.set_index("region_id").loc[pairs["key_region"], BOX].to_numpy(np.int64)
    names = ("query_region", "neighbor_id", "similarity")
    query_regions, neighbor_ids, similarities = (pairs[name].tolist() for name in names)
    return QueryRow(
        query=images.load(row_of[image_id]),
        label=label(image_id),
        proposals=len(run.read("proposals", image_id=image_id, columns=["image_id"])),
        boxes=own[BOX].to_numpy(np.int64),
        neighbors=[images.load(row_of[near_id]) for near_id in near_ids],
        neighbor_labels=[label(near_id) for near_id in near_ids],
        similarities=near["similarity"].tolist(),
        pairs=[
            (own_ids.index(region), near_ids.index(neighbor), box, similarity)
            for region, neighbor, box, similarity in zip(
                query_regions, neighbor_ids, key_boxes, similarities, strict=True
            )
        ],
    )
