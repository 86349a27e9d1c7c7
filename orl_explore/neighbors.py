"""Image neighbors: exact cosine kNN over the image embeddings (ORL stage 2, step 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.errors import OrlError

BLOCK = 512
"""Query rows per search: bounds the memory and sets the pace of `progress`."""

SLACK = 16
"""Candidates beyond k, so that rounding inside the search cannot decide who is the k-th neighbor."""

Found = tuple[NDArray[np.int64], NDArray[np.float32]]
"""The neighbors of one image, best first: their rows and their similarities."""


def require_faiss() -> ModuleType:
    """Import FAISS, or say how to get it; a pipeline asks before it trains for hours.

    Raises:
        OrlError: FAISS is not installed.
    """
    try:
        import faiss
    except ModuleNotFoundError:
        raise OrlError("neighbor search needs FAISS: pip install faiss-cpu (or faiss-gpu, never both)") from None
    return faiss


def nearest_neighbors(
    embeddings: NDArray[np.floating],
    image_ids: NDArray[np.int64],
    *,
    k: int = 10,
    max_similarity: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Find the k images most similar to each image, by exact cosine similarity over the whole set.

    An image is removed from its own neighbors by its id, not by its rank: a duplicate of it may come first.

    Args:
        embeddings: (N, D) floats; need not be normalized.
        image_ids: (N,) int64, unique; row i of `embeddings` belongs to `image_ids[i]`.
        k: neighbors per image, at most N - 1.
        max_similarity: leave out near-duplicates, that is neighbors more similar than this. The next ones
            move up; an image with fewer than k candidates left has fewer neighbors.
        progress: called as progress(images done, N).

    Returns:
        `image_id` int64, `rank` int16 (0 = nearest), `neighbor_id` int64, `similarity` float32 in [-1, 1];
        images in the order given, equal similarities in the order of their rows (of more than `SLACK` exact
        copies around the k-th place, the search decides which are in).

    Raises:
        OrlError: an embedding has no direction (zero, NaN or infinite).
        ValueError: shapes disagree, ids repeat, or k is below 1.
    """
    image_ids = np.asarray(image_ids, dtype=np.int64)
    if np.ndim(embeddings) != 2 or image_ids.shape != (len(embeddings),):
        raise ValueError(f"want (N, D) embeddings, (N,) ids, not {np.shape(embeddings)}, {image_ids.shape}")
    if len(np.unique(image_ids)) != len(image_ids):
        raise ValueError("image_ids must be unique")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    unit = _normalized(embeddings, image_ids)  # (N, D)
    total = len(unit)
    k = min(k, total - 1)
    limit = np.inf if max_similarity is None else max_similarity

    found: dict[int, Found] = {}
    for rows, candidates, similarities in _search(unit, width=min(k + 1 + SLACK, total)):
        for row, others, values in zip(rows, candidates, similarities, strict=True):
            best = _best(row, others, values, k=k, limit=limit)
            if len(best[0]) == k:
                found[row] = best
        if progress:
            progress(len(found), total)

    # Near-duplicates used up the candidates of these rows: look through the whole set for them.
    unsettled = np.array([row for row in range(total) if row not in found], dtype=np.int64)
    for rows, similarities in _scan(unit, unsettled):
        for row, values in zip(rows, similarities, strict=True):
            found[row] = _best(row, np.arange(total), values, k=k, limit=limit)
        if progress:
            progress(len(found), total)

    ranked = [found[row] for row in range(total)]
    counts = [len(rows) for rows, _ in ranked]
    neighbor_rows = np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in ranked)])
    return pd.DataFrame(
        {
            "image_id": np.repeat(image_ids, counts),
            "rank": np.concatenate([np.empty(0, np.int16), *(np.arange(n, dtype=np.int16) for n in counts)]),
            "neighbor_id": image_ids[neighbor_rows],
            "similarity": np.concatenate([np.empty(0, np.float32), *(values for _, values in ranked)]),
        }
    )


def _normalized(embeddings: NDArray[np.floating], image_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Copy the rows at length 1; in float64, where no square of a float32 overflows or vanishes."""
    rows = np.asarray(embeddings, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(bad):
        raise OrlError(
            f"{len(bad)} image embeddings are zero, NaN or infinite, the first one that of image "
            f"{image_ids[bad[0]]}: the encoder has diverged; train stage 1 anew or use another encoder."
        )
    return (rows / lengths[:, None]).astype(np.float32)


def _search(
    unit: NDArray[np.float32], *, width: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
    """Yield blocks of rows (B,) with their W = `width` nearest rows (B, W) and similarities (B, W)."""
    faiss = require_faiss()
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    for start in range(0, len(unit), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(unit)))
        _, candidates = index.search(unit[rows], width)  # (B, W)
        # The last bits of the search's own float32 sums depend on the number of threads. Summed again in
        # float64 and then rounded, they do not, and copies of an image get the same similarity.
        similarities = np.einsum("bd,bwd->bw", unit[rows], unit[candidates], dtype=np.float64)
        yield rows, candidates, similarities.astype(np.float32)


def _scan(
    unit: NDArray[np.float32], rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield blocks of `rows` (B,) with their similarities to all rows (B, N)."""
    if not len(rows):
        return
    everything = unit.astype(np.float64).T  # (D, N)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        yield block, (unit[block].astype(np.float64) @ everything).astype(np.float32)


def _best(row: int, candidates: NDArray[np.int64], similarities: NDArray[np.float32], *, k: int, limit: float) -> Found:
    """Rank the candidates of one row, without itself and what is above `limit`: at most k of them."""
    allowed = (candidates != row) & (similarities <= limit)
    candidates, similarities = candidates[allowed], similarities[allowed].clip(-1, 1)
    order = np.lexsort((candidates, -similarities))[:k]
    return candidates[order], similarities[order]


def nearest_to(
    vector: NDArray[np.floating], embeddings: NDArray[np.floating], image_ids: NDArray[np.int64], *, k: int = 10
) -> pd.DataFrame:
    """Find the k images most similar to one vector, such as that of a picture from outside the set.

    Args:
        vector: (D,), of any length but 0.
        embeddings: (N, D), rows of length 1.
        image_ids: (N,).
        k: how many.

    Returns:
        `rank`, `neighbor_id`, `similarity`: the columns of `nearest_neighbors` without `image_id`.

    Raises:
        OrlError: the vector has no direction or another width.
    """
    vector = np.asarray(vector, np.float32)
    if vector.shape != (embeddings.shape[1],):
        raise OrlError(f"the encoder gives {vector.size} numbers, the embeddings have {embeddings.shape[1]}")
    length = np.linalg.norm(vector)
    if not np.isfinite(length) or length == 0:
        raise OrlError("the encoder sees nothing in this picture: its output is zero, NaN or infinite")
    similarity = (np.asarray(embeddings) @ (vector / length)).clip(-1, 1)
    best = np.lexsort((np.arange(len(similarity)), -similarity))[:k]
    return pd.DataFrame(
        {
            "rank": np.arange(len(best), dtype=np.int16),
            "neighbor_id": np.asarray(image_ids)[best],
            "similarity": similarity[best].astype(np.float32),
        }
    )


def hubs(neighbors: pd.DataFrame) -> pd.DataFrame:
    """Count how often each image is a neighbor: `image_id`, `count`, the most frequent first.

    Args:
        neighbors: column neighbor_id. Images that are nobody's neighbor are not in the result.
    """
    ids, counts = np.unique(neighbors["neighbor_id"].to_numpy(), return_counts=True)
    order = np.lexsort((ids, -counts))
    return pd.DataFrame({"image_id": ids[order], "count": counts[order]})


def duplicate_pairs(neighbors: pd.DataFrame, *, threshold: float = 0.98) -> pd.DataFrame:
    """List the pairs of neighbors with a similarity above the threshold, each pair once, the most similar first.

    Args:
        neighbors: columns image_id, neighbor_id, similarity.
        threshold: a cosine.

    Returns:
        `first` and `second`, the lower id first, and `similarity`.
    """
    near = neighbors.loc[neighbors["similarity"] > threshold, ["image_id", "neighbor_id", "similarity"]]
    ids = np.sort(near[["image_id", "neighbor_id"]].to_numpy(np.int64), axis=1).reshape(-1, 2)
    similarity = near["similarity"].to_numpy()
    order = np.lexsort((ids[:, 1], ids[:, 0]))
    ids, similarity = ids[order], similarity[order]
    new = np.ones(len(ids), bool)
    new[1:] = (ids[1:] != ids[:-1]).any(axis=1)
    ids, similarity = ids[new], similarity[new]
    best = np.argsort(-similarity, kind="stable")
    return pd.DataFrame({"first": ids[best, 0], "second": ids[best, 1], "similarity": similarity[best]})
