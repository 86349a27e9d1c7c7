"""What every accepted pair of a run is asked for, worked out once: `stage2/pair_facts.parquet`, a row a pair.

Ten million pairs are then sorted and filtered by scanning a few columns (`runs.pair_query`). Memory holds a few numbers
a region and one similarity a pair, whatever the width of the tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orl_explore.boxes import BOX
from orl_explore.errors import OrlError, typed
from orl_explore.images.grouping import Slices, group_starts
from orl_explore.judging.diagnostics import on_object
from orl_explore.pairs import pair_images
from orl_explore.runs.pair_query import DOUBTS, METADATA, UNLABELED_CODE, facts_fingerprint
from orl_explore.runs.reading import read_ids, read_rows
from orl_explore.runs.reviews import KEY
from orl_explore.runs.run import Run
from orl_explore.runs.tables import TABLES, write_table_parts

NEAR_CUT = 0.01
"""A pair is near the cut when it is at most this much more similar than the last accepted one of its neighbor."""
WEAK = 0.1
"""Share of the run's pairs that count as weak: the least similar ones."""
HUBS = 0.01
"""Share of the key boxes that count as hubs: those that most pairs share."""
HUB_LEAST = 3
"""Pairs that a hub has at least."""
NEAR_DUPLICATE = 0.98
"""Similarity of two images above which they count as near-duplicates."""

ROWS = 20_000
"""Rows of a row group: a page shows two dozen pairs from all over the table."""


def make_pair_facts(run: Run, *, progress: Callable[[int, int], None] | None = None) -> int:
    """Work out the facts of all pairs, and write them.

    Args:
        run: with regions, neighbors and pairs; annotations are used where there are any.
        progress: is called with the pairs done and all pairs.

    Returns:
        The number of pairs.

    Raises:
        OrlError: stage 2 is missing, or a table is damaged.
    """
    file, total = run.require("pairs"), run.count("pairs")
    fingerprint = facts_fingerprint(run)
    codes, categories, shares = _regions(run)
    counts, similarity = np.zeros(len(codes), np.int64), np.empty(total, np.float32)
    done = 0
    for keys, values in zip(read_ids(file, "key_region"), read_ids(file, "similarity"), strict=True):
        if len(keys) and not 0 <= keys.min() <= keys.max() < len(codes):
            raise OrlError(f"{file} names regions that the run has not: `{typed('stage2', run.path, '--overwrite')}`")
        counts += np.bincount(keys, minlength=len(codes))
        similarity[done : done + len(values)] = values
        done += len(values)
    known = similarity[~np.isnan(similarity)]
    weak = float(np.quantile(known, WEAK)) if len(known) else -np.inf
    used = counts[counts > 0]
    hub = max(HUB_LEAST, int(np.ceil(np.quantile(used, 1 - HUBS)))) if len(used) else HUB_LEAST
    del similarity, known
    of_neighbors = Slices(read_ids(run.require("neighbors")))
    rng, given = np.random.default_rng(run.stage("stage2").get("seed", 0)), bool(run.given())
    thinned = run.stage("stage2").get("config", {}).get("one_to_one", False)
    embedded = run.file("region_embeddings").exists()
    vectors = run.read_array("region_embeddings") if thinned and embedded and not given else None
    of_regions = Slices(read_ids(run.require("regions")))
    mutual_known = not given and (embedded or not thinned)

    def parts() -> Iterator[pd.DataFrame]:
        first = 0
        for pairs in _whole_images(run):
            near = read_rows(run.file("neighbors"), *of_neighbors.span(pairs["image_id"].unique()))
            if vectors is None:
                mutual = _mutual_among_accepted(pairs)
            else:
                best = pair_images(pairs["image_id"].unique(), near, of_regions, vectors, ratio=1.0, mutual=True)
                mutual = pd.MultiIndex.from_frame(pairs[KEY]).isin(pd.MultiIndex.from_frame(best[KEY]))
            facts = _facts(
                pairs.assign(mutual=mutual),
                near,
                codes=codes,
                shares=shares,
                counts=counts,
                weak=weak,
                hub=hub,
                mutual_known=mutual_known,
            )
            facts.insert(0, "pair", np.arange(first, first + len(facts)))
            first += len(facts)
            if progress:
                progress(first, total)
            yield facts.assign(shuffle=rng.integers(0, 2**32, len(facts), np.uint32))

    metadata = {
        "categories": categories,
        "labeled": bool(categories),
        "hub": hub,
        "weak": weak if np.isfinite(weak) else None,
        "made_from": fingerprint,
    }
    columns, described = TABLES["pair_facts"].columns, {METADATA: json.dumps(metadata).encode()}
    write_table_parts(run.file("pair_facts"), parts(), columns, metadata=described, row_group=ROWS)
    return total


def _regions(run: Run) -> tuple[NDArray[np.int16], list[str], NDArray[np.float32]]:
    """Of every region its category's number, the categories, and its share of the image's area."""
    regions, images = run.read("regions"), run.images()
    sides = images.table.set_index("image_id")[["width", "height"]]
    sizes: NDArray[np.float64] = sides.loc[regions["image_id"]].to_numpy(np.float64)
    shares = (regions["w"].to_numpy(np.float64) * regions["h"].to_numpy() / sizes.prod(axis=1)).astype(np.float32)
    objects = images.objects
    if not len(objects):
        return np.full(len(regions), UNLABELED_CODE, np.int16), [], shares
    names = objects["category"].astype("str")
    categories = sorted(names.dropna().unique().tolist())
    code_of = pd.Series(pd.Categorical(names, categories).codes.astype(np.int16), index=objects["object_id"])
    found = on_object(regions[["region_id", "image_id", *BOX]], objects)
    codes = np.asarray(found.map(code_of).fillna(UNLABELED_CODE))
    return codes.astype(np.int16), categories, shares


def _whole_images(run: Run) -> Iterator[pd.DataFrame]:
    """The pairs in table order, in pieces that end where an image ends."""
    with pq.ParquetFile(run.file("pairs")) as parquet:
        left = parquet.schema_arrow.empty_table().to_pandas()
        for group in range(parquet.num_row_groups):
            pairs = parquet.read_row_group(group).to_pandas()
            pairs = pd.concat([left, pairs], ignore_index=True) if len(left) else pairs
            last = int(group_starts(pairs["image_id"].to_numpy())[-1]) if len(pairs) else 0
            if group + 1 < parquet.num_row_groups:
                left, pairs = pairs.iloc[last:], pairs.iloc[:last]
            if len(pairs):
                yield pairs.reset_index(drop=True)
    if not run.count("pairs"):
        yield left


def _mutual_among_accepted(pairs: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether no better accepted pair of the two images shares a box with a pair.

    Pairs that stage 2 accepts are the most similar ones of all, unless it keeps them one to one: then the two boxes are
    each other's most similar ones.
    """
    order = pairs.sort_values("rank", kind="stable")
    shared = [order.duplicated(["image_id", "neighbor_id", side]) for side in ("query_region", "key_region")]
    return ~(shared[0] | shared[1]).sort_index().to_numpy(bool)


def _facts(
    pairs: pd.DataFrame,
    neighbors: pd.DataFrame,
    *,
    codes: NDArray[np.int16],
    shares: NDArray[np.float32],
    counts: NDArray[np.int64],
    weak: float,
    hub: int,
    mutual_known: bool,
) -> pd.DataFrame:
    """Facts of the pairs of some images, in their order; they have the column `mutual` already."""
    query, key = pairs["query_region"].to_numpy(), pairs["key_region"].to_numpy()
    between = pairs.groupby(["image_id", "neighbor_id"], sort=False)
    margin = pairs["similarity"] - between["similarity"].transform("min")
    near = neighbors[["image_id", "neighbor_id", "similarity"]].drop_duplicates(["image_id", "neighbor_id"])
    met = pairs[["image_id", "neighbor_id"]].merge(near, on=["image_id", "neighbor_id"], how="left")
    image_similarity = met["similarity"].to_numpy(np.float32)
    several = between["similarity"].transform("size") > 1
    doubts = {
        "near the cut": several & (margin <= NEAR_CUT),
        "weak": pairs["similarity"] <= weak,
        "hub": counts[key] >= hub,
        "not mutual": ~pairs["mutual"] & mutual_known,
        "labels differ": (codes[query] >= 0) & (codes[key] >= 0) & (codes[query] != codes[key]),
        "near-duplicates": image_similarity > NEAR_DUPLICATE,
    }
    assert tuple(doubts) == DOUBTS
    bits = sum(np.asarray(doubt, np.uint8) << bit for bit, doubt in enumerate(doubts.values()))
    return pairs[list(TABLES["pairs"].columns)].assign(
        margin=margin,
        mutual=pairs["mutual"],
        query_category=codes[query],
        key_category=codes[key],
        key_count=counts[key],
        least_share=np.minimum(shares[query], shares[key]),
        image_similarity=image_similarity,
        doubts=bits,
        # Whole numbers count the reasons; among equals the less similar pair is the more doubtful.
        doubt=np.bitwise_count(bits) + (1 - pairs["similarity"].fillna(1).clip(-1, 1)) / 2.01,
    )
