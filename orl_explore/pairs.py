"""Inter-RoI pairs: which box of an image corresponds to which box of a neighbor (ORL stage 2, step 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.run import TABLES

if TYPE_CHECKING:
    import torch


def match_regions(
    query: NDArray[np.floating] | torch.Tensor,
    key: NDArray[np.floating] | torch.Tensor,
    *,
    ratio: float = 0.1,
    mutual: bool = False,
    one_to_one: bool = False,
    min_similarity: float | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Pair the regions of an image with those of one neighbor by cosine similarity.

    The method keeps the top max(1, int(ratio * Q)) entries of the flattened Q x R matrix: a tenth of the
    number of query boxes, not of the matrix. The switches are not part of it; each thins the candidates
    before the top is taken, so with them there may be fewer pairs, or none.

    Args:
        query: (Q, D) region embeddings of the image, any float type; normalized here in float32.
        key: (R, D) region embeddings of the neighbor.
        ratio: pairs kept per query box.
        mutual: only pairs in which each region is the other's most similar one.
        one_to_one: every region in at most one pair, the best pairs chosen first.
        min_similarity: only pairs at least this similar.

    Returns:
        Query indices int64, key indices int64 and similarities float32 in [-1, 1], best first; equal
        similarities in the order of the flattened matrix.

    Raises:
        ValueError: shapes disagree, or an embedding has no direction (zero, NaN or infinite).
    """
    query, key = _normalized(query), _normalized(key)
    if query.shape[1] != key.shape[1]:
        raise ValueError(f"query and key have different dimensions: {query.shape[1]} and {key.shape[1]}")
    similarity = (query @ key.T).clip(-1, 1)  # (Q, R)
    top = max(1, int(ratio * len(query)))

    candidate = np.ones(similarity.shape, dtype=bool)  # (Q, R)
    if min_similarity is not None:
        candidate &= similarity >= min_similarity
    if mutual and similarity.size:
        is_best_key = similarity.argmax(axis=1)[:, None] == np.arange(similarity.shape[1])
        is_best_query = similarity.argmax(axis=0) == np.arange(similarity.shape[0])[:, None]
        candidate &= is_best_key & is_best_query

    flat = np.flatnonzero(candidate)
    values = similarity.ravel()[flat]
    if len(flat) > top and not one_to_one:
        # Sorting only what can be in the top is several times faster than sorting the matrix.
        in_reach = values >= np.partition(values, -top)[-top]
        flat, values = flat[in_reach], values[in_reach]
    best_first = np.argsort(-values, kind="stable")
    query_index, key_index = np.divmod(flat[best_first], similarity.shape[1] or 1)
    if one_to_one:
        chosen = _one_to_one(query_index, key_index)
        query_index, key_index = query_index[chosen], key_index[chosen]
    query_index, key_index = query_index[:top], key_index[:top]
    return query_index, key_index, similarity[query_index, key_index]


def region_slices(image_ids: NDArray[np.int64] | pd.Series) -> dict[int, tuple[int, int]]:
    """Where the regions of each image begin and end, by image id.

    Args:
        image_ids: column image_id of the regions table, which is grouped by image.
    """
    ids = np.asarray(image_ids)
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else np.empty(0, np.int64)
    ends = [*starts[1:].tolist(), len(ids)]
    return dict(zip(ids[starts].tolist(), zip(starts.tolist(), ends, strict=True), strict=True))


def pair_image(
    image_id: int,
    neighbors: pd.DataFrame,
    slices: dict[int, tuple[int, int]],
    vectors: NDArray[np.floating],
    *,
    ratio: float = 0.1,
    mutual: bool = False,
    one_to_one: bool = False,
    min_similarity: float | None = None,
) -> pd.DataFrame:
    """Match the regions of an image with those of each of its neighbors.

    Args:
        image_id: the query image.
        neighbors: its rows of the neighbors table.
        slices: what `region_slices` gives.
        vectors: embeddings of all regions, (R, D).
        ratio: this and the switches: see `match_regions`.
        mutual: see `match_regions`.
        one_to_one: see `match_regions`.
        min_similarity: see `match_regions`.

    Returns:
        The image's rows of the pairs table.
    """
    first, last = slices[image_id]
    query = np.asarray(vectors[first:last], np.float32)
    frames = []
    for neighbor_id, neighbor_rank in neighbors[["neighbor_id", "rank"]].itertuples(index=False):
        key_first, key_last = slices[neighbor_id]
        key = np.asarray(vectors[key_first:key_last], np.float32)
        q, k, similarity = match_regions(
            query, key, ratio=ratio, mutual=mutual, one_to_one=one_to_one, min_similarity=min_similarity
        )
        columns = {
            "image_id": image_id,
            "neighbor_id": neighbor_id,
            "neighbor_rank": neighbor_rank,
            "rank": np.arange(len(q)),
            "query_region": first + q,
            "key_region": key_first + k,
            "similarity": similarity,
        }
        frames.append(pd.DataFrame(columns).astype(TABLES["pairs"].columns))
    if not frames:
        return pd.DataFrame(columns=list(TABLES["pairs"].columns)).astype(TABLES["pairs"].columns)
    return pd.concat(frames, ignore_index=True)


def compare_pairs(stored: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs gained (only in `other`) and lost (only in `stored`), each in its own order; both are pairs tables."""
    key = ["image_id", "neighbor_id", "query_region", "key_region"]
    before, after = pd.MultiIndex.from_frame(stored[key]), pd.MultiIndex.from_frame(other[key])
    return other[~after.isin(before)], stored[~before.isin(after)]


def similarity_text(value: float, digits: int = 3) -> str:
    """A similarity as people read it; `unknown` for those that an imported run does not have (NaN)."""
    return "unknown" if np.isnan(value) else f"{value:.{digits}f}"


def similarity_matrix(
    query: NDArray[np.floating] | torch.Tensor, key: NDArray[np.floating] | torch.Tensor
) -> NDArray[np.float32]:
    """Cosine similarity of every query region (Q, D) with every key region (R, D), from which pairs are chosen."""
    return (_normalized(query) @ _normalized(key).T).clip(-1, 1)


def _one_to_one(query_index: NDArray[np.int64], key_index: NDArray[np.int64]) -> list[int]:
    """Walk the pairs in order; positions of those whose two regions are both still free."""
    used_queries: set[int] = set()
    used_keys: set[int] = set()
    chosen = []
    for position, (q, r) in enumerate(zip(query_index.tolist(), key_index.tolist(), strict=True)):
        if q not in used_queries and r not in used_keys:
            used_queries.add(q)
            used_keys.add(r)
            chosen.append(position)
    return chosen


def _normalized(embeddings: NDArray[np.floating] | torch.Tensor) -> NDArray[np.float32]:
    """Rows at length 1 in float32: stored as float16 they are off by up to 1e-3, and cosines with them."""
    if not isinstance(embeddings, np.ndarray):
        embeddings = embeddings.detach().cpu().float().numpy()  # via float32: numpy has no bfloat16
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be (N, D), not {embeddings.shape}")
    rows = embeddings.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)  # (N, 1)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError("a region embedding is zero, NaN or infinite")
    return rows / lengths
