"""What is known of each region, one column each, to color a map by."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.boxes import BOX
from orl_explore.images.image_set import ImageSet
from orl_explore.judging import diagnostics
from orl_explore.proposals import is_kept
from orl_explore.runs import reviews
from orl_explore.runs.reviews import ACCEPTED, KEY, REJECTED, read_reviews
from orl_explore.runs.run import Run

NOT_REVIEWED: Final = "not reviewed"
NO_TAG: Final = "no tag"

BOTH: Final = "both"
"""Verdict of a region that was accepted in one pair and rejected in another."""


def region_facts(run: Run, region_ids: NDArray[np.integer], images: ImageSet, regions: pd.DataFrame) -> pd.DataFrame:
    """Box, image and size of some regions, and whatever further columns the table of regions has.

    Args:
        run: the run.
        region_ids: which; ascending.
        images: its images.
        regions: its table of regions.

    Returns:
        `region_id`, `image_id`, `left`, `top`, `w`, `h`, `share` (percent of the image that the box covers), then the
        further columns; in the order asked for.
    """
    found = regions.iloc[region_ids].reset_index(drop=True).rename(columns={"x": "left", "y": "top"})
    sizes = images.table.set_index("image_id")[["width", "height"]].loc[found["image_id"]].to_numpy(float)
    found["share"] = 100 * found["w"].to_numpy() * found["h"].to_numpy() / sizes.prod(axis=1)
    return found


def labels_of(facts: pd.DataFrame, images: ImageSet) -> pd.Series | None:
    """Category of the object that each region is on, else `UNLABELED`; None without annotations."""
    boxes = facts[["region_id", "image_id", "w", "h"]].assign(x=facts["left"], y=facts["top"])
    found = diagnostics.region_labels(boxes[["region_id", "image_id", *BOX]], images)
    return None if found is None else found.reset_index(drop=True)


def ranks_of(run: Run, region_ids: NDArray[np.integer]) -> NDArray[np.int64]:
    """When each region's box was found among the proposals of its image; 0: first. -1 where the table does not say.

    Raises:
        OrlError: there are no proposals, or the table is damaged.
    """
    import pyarrow.parquet as pq

    ranks = []
    with pq.ParquetFile(run.require("proposals")) as proposals:
        for batch in proposals.iter_batches(1 << 18, columns=["rank", "reason"]):
            part = batch.to_pandas()
            ranks.append(part.loc[is_kept(part["reason"]), "rank"].to_numpy())  # regions are numbered in this order
    found = np.concatenate([np.zeros(0, np.int64), *ranks])
    return found[region_ids] if len(found) == run.count("regions") else np.full(len(region_ids), -1)


def verdicts_of(run: Run, region_ids: NDArray[np.integer]) -> pd.Series:
    """What people said of the pairs that each region is in: accepted, rejected, both, not reviewed.

    Raises:
        OrlError: the reviews are of other pairs, or damaged.
    """
    judged = read_reviews(run)
    found = pd.Series(NOT_REVIEWED, index=pd.Index(region_ids))
    said = {
        verdict: set(judged.loc[judged["verdict"] == verdict, ["query_region", "key_region"]].to_numpy().ravel())
        for verdict in (ACCEPTED, REJECTED)
    }
    for verdict, regions in said.items():
        found[found.index.isin(regions)] = verdict
    found[found.index.isin(said[ACCEPTED] & said[REJECTED])] = BOTH
    return found.reset_index(drop=True)


def tags_of(run: Run, region_ids: NDArray[np.integer]) -> pd.Series:
    """The tags of the reviewed pairs that each region is in, parted by spaces; `no tag` for the others.

    Raises:
        OrlError: the reviews are of other pairs, or damaged.
    """
    tags = reviews.tags_of(read_reviews(run))
    both = pd.concat([tags[[side, "tag"]].set_axis(["region", "tag"], axis=1) for side in KEY[2:]])
    words = both.drop_duplicates().sort_values("tag").groupby("region")["tag"].agg(" ".join)
    return words.reindex(region_ids).fillna(NO_TAG).reset_index(drop=True)
