"""Inter-RoI pairs: which box of an image corresponds to which box of a neighbor (ORL stage 2, step 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.images.grouping import Groups, Slices
from orl_explore.settings import Stage2Settings

if TYPE_CHECKING:
    import torch

COLUMNS: Final = {
    "image_id": "int64",
    "neighbor_id": "int64",
    "neighbor_rank": "int16",
    "rank": "int16",
    "query_region": "int64",
    "key_region": "int64",
    "similarity": "float32",
}
"""Columns of a table of pairs, with their types."""


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
        query: (Q, D) region embeddings of the image, any float type and length.
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
    return choose_pairs(
        similarity_matrix(query, key),
        ratio=ratio,
        mutual=mutual,
        one_to_one=one_to_one,
        min_similarity=min_similarity,
    )


def similarity_matrix(
    query: NDArray[np.floating] | torch.Tensor, key: NDArray[np.floating] | torch.Tensor
) -> NDArray[np.float32]:
    """Cosine similarity (Q, R) of every query region (Q, D) with every key region (R, D), from which pairs are chosen.

    Summed in float64 and then rounded: neither the number of threads nor what else is in the matrix shows in it, and
    copies of a region are equally similar.
    """
    query, key = _normalized(query), _normalized(key)
    if query.shape[1] != key.shape[1]:
        raise ValueError(f"query and key have different dimensions: {query.shape[1]} and {key.shape[1]}")
    return (query @ key.T).astype(np.float32).clip(-1, 1)


def choose_pairs(
    similarity: NDArray[np.float32],
    *,
    ratio: float,
    mutual: bool,
    one_to_one: bool,
    min_similarity: float | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Choose pairs from a similarity matrix (Q, R); see `match_regions`."""
    top = max(1, int(ratio * len(similarity)))
    values = similarity.ravel()
    flat: NDArray[np.int64] | None = None  # all of them
    if mutual or min_similarity is not None:
        candidate = np.ones(similarity.shape, dtype=bool)  # (Q, R)
        if min_similarity is not None:
            candidate &= similarity >= min_similarity
        if mutual and similarity.size:
            is_best_key = similarity.argmax(axis=1)[:, None] == np.arange(similarity.shape[1])
            is_best_query = similarity.argmax(axis=0) == np.arange(similarity.shape[0])[:, None]
            candidate &= is_best_key & is_best_query
        flat = np.flatnonzero(candidate)
        values = values[flat]
    if len(values) > top and not one_to_one:
        # Sorting only what can be in the top is several times faster than sorting the matrix.
        in_reach = np.flatnonzero(values >= np.partition(values, -top)[-top])
        flat, values = in_reach if flat is None else flat[in_reach], values[in_reach]
    order = np.argsort(-values, kind="stable")
    best_first = order if flat is None else flat[order]
    query_index, key_index = np.divmod(best_first, similarity.shape[1] or 1)
    if one_to_one:
        chosen = _one_to_one(query_index, key_index)
        query_index, key_index = query_index[chosen], key_index[chosen]
    query_index, key_index = query_index[:top], key_index[:top]
    return query_index, key_index, similarity[query_index, key_index]


def region_slices(image_ids: NDArray[np.int64] | pd.Series) -> Slices:
    """Where the regions of each image begin and end: `region_slices(...)[image_id]` is (first, last + 1).

    Args:
        image_ids: column image_id of the regions table, which is grouped by image.
    """
    return Slices([np.asarray(image_ids, np.int64)])


def pair_image(
    image_id: int,
    neighbors: pd.DataFrame,
    slices: Mapping[int, tuple[int, int]],
    vectors: NDArray[np.floating],
    **options: Any,
) -> pd.DataFrame:
    """Match the regions of an image with those of each of its neighbors.

    Args:
        image_id: the query image.
        neighbors: its rows of the neighbors table.
        slices: what `region_slices` gives.
        vectors: embeddings of all regions, (R, D).
        options: ratio and switches of `match_regions`.

    Returns:
        The image's rows of the pairs table.
    """
    return pair_images([image_id], neighbors.assign(image_id=image_id), slices, vectors, **options)


def pair_images(
    image_ids: Sequence[int] | NDArray[np.int64],
    neighbors: pd.DataFrame,
    slices: Mapping[int, tuple[int, int]],
    vectors: NDArray[np.floating],
    *,
    ratio: float = 0.1,
    mutual: bool = False,
    one_to_one: bool = False,
    min_similarity: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Match the regions of images with those of their neighbors: one matrix product an image, over all its neighbors.

    Args:
        image_ids: the query images; one without neighbors has no pairs.
        neighbors: rows of the neighbors table; those of other images are passed over.
        slices: what `region_slices` gives.
        vectors: embeddings of all regions, (R, D), best memory-mapped: of them, one image's and its neighbors' regions
            are in memory at a time.
        ratio: this and the switches: see `match_regions`.
        mutual: see `match_regions`.
        one_to_one: see `match_regions`.
        min_similarity: see `match_regions`.
        progress: called as progress(images done, images in all).

    Returns:
        The pairs table of these images, in their order.

    Raises:
        KeyError: a neighbor has no regions.
        ValueError: an embedding has no direction (zero, NaN or infinite).
    """
    groups = Groups(neighbors["image_id"].to_numpy())
    neighbor_ids, ranks = neighbors["neighbor_id"].to_numpy(), neighbors["rank"].to_numpy()
    header: list[tuple[int, int, int, int]] = []  # of each image and neighbor: ids, rank, number of pairs
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
    for done, image_id in enumerate(np.asarray(image_ids).tolist(), start=1):
        rows = groups.rows(image_id)
        if len(rows):  # max_image_similarity can leave it without neighbors
            first, last = slices[image_id]
            spans = [slices[neighbor_id] for neighbor_id in neighbor_ids[rows].tolist()]
            keys = np.concatenate([vectors[start:end] for start, end in spans])  # (sum of R, D)
            similarity = similarity_matrix(vectors[first:last], keys)
            end = 0
            for row, span in zip(rows, spans, strict=True):
                begin, end = end, end + span[1] - span[0]
                q, k, values = choose_pairs(
                    similarity[:, begin:end],
                    ratio=ratio,
                    mutual=mutual,
                    one_to_one=one_to_one,
                    min_similarity=min_similarity,
                )
                header.append((image_id, neighbor_ids[row], ranks[row], len(q)))
                found.append((first + q, span[0] + k, values))
        if progress:
            progress(done, len(image_ids))
    ids, others, of, counts = np.array(header, np.int64).reshape(-1, 4).T
    nothing = np.zeros(0, np.int64)
    query, key, values = (
        np.concatenate([nothing.astype(kind), *(part[column] for part in found)])
        for column, kind in enumerate((np.int64, np.int64, np.float32))
    )
    return pd.DataFrame(
        {
            "image_id": np.repeat(ids, counts),
            "neighbor_id": np.repeat(others, counts),
            "neighbor_rank": np.repeat(of, counts),
            "rank": np.concatenate([nothing, *(np.arange(count) for count in counts)]),
            "query_region": query,
            "key_region": key,
            "similarity": values,
        }
    ).astype(COLUMNS)


def compare_pairs(stored: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs gained (only in `other`) and lost (only in `stored`), each in its own order; both are pairs tables."""
    key = ["image_id", "neighbor_id", "query_region", "key_region"]
    before, after = pd.MultiIndex.from_frame(stored[key]), pd.MultiIndex.from_frame(other[key])
    return other[~after.isin(before)], stored[~before.isin(after)]


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


def _normalized(embeddings: NDArray[np.floating] | torch.Tensor) -> NDArray[np.float64]:
    """Rows at length 1: stored as float16 they are off by up to 1e-3, and cosines with them."""
    if not isinstance(embeddings, np.ndarray):
        embeddings = embeddings.detach().cpu().float().numpy()  # via float32: numpy has no bfloat16
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be (N, D), not {embeddings.shape}")
    rows = embeddings.astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError("a region embedding is zero, NaN or infinite")
    rows /= lengths[:, None]
    return rows


def pair_regions(
    image_ids: np.ndarray,
    neighbors: pd.DataFrame,
    regions: pd.DataFrame,
    vectors: np.ndarray,
    stage: Stage2Settings,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Match the regions of images with those of their neighbors (step 5), from tables in memory.

    Args:
        image_ids: the query images.
        neighbors: the neighbors table.
        regions: the regions table, grouped by image.
        vectors: their embeddings, (R, D), each computed once and used for every neighbor.
        stage: ratio and switches.
        progress: called as progress(images done, images in all).

    Returns:
        The pairs table of these images.
    """
    slices = region_slices(regions["image_id"])
    return pair_images(image_ids, neighbors, slices, vectors, progress=progress, **pairing(stage))


def pairing(stage: Stage2Settings) -> dict[str, Any]:
    """Ratio and switches, as `pair_images` takes them."""
    return {
        "ratio": stage.pair_ratio,
        "mutual": stage.mutual,
        "one_to_one": stage.one_to_one,
        "min_similarity": stage.min_similarity,
    }
