"""Image neighbors: cosine kNN over the image embeddings, exact or by an inverted file (ORL stage 2, step 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.errors import OrlError

BLOCK = 4096
"""Rows that are searched for at a time: bounds the memory and sets the pace of `progress`."""

DATABASE = 65_536
"""Rows that are searched in at a time, however many there are."""

NEAR = 2048
"""Rows that are compared with as many others at a time: were all of them alike, their pairs would still fit."""

SLACK = 16
"""Candidates beyond k, so that rounding inside the search cannot decide who is the k-th neighbor."""

PROBES = 64
"""Lists of the inverted file that a search looks into."""

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
    rows: range | None = None,
    index: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Find the k images most similar to each image, by exact cosine similarity over the whole set.

    An image is removed from its own neighbors by its id, not by its rank: a duplicate of it may come first.

    Args:
        embeddings: (N, D) floats; need not be normalized. Memory-mapped, little of it is in memory at a time.
        image_ids: (N,) int64, unique; row i of `embeddings` belongs to `image_ids[i]`.
        k: neighbors per image, at most N - 1.
        max_similarity: leave out near-duplicates, that is neighbors more similar than this. The next ones
            move up; an image with fewer than k candidates left has fewer neighbors.
        rows: find the neighbors of these images alone, among all.
        index: what `build_index` gives: look only into the likely lists. Similarities are still exact, but some of
            the k nearest may be missed for others (`recall` measures how many).
        progress: called as progress(images done, images in all).

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
    _check_directions(embeddings, image_ids)
    total = len(embeddings)
    rows = range(total) if rows is None else rows
    k = min(k, total - 1)
    width = min(k + 1 + SLACK, total)
    limit = np.inf if max_similarity is None else max_similarity

    found: list[Found] = []
    for start in range(rows.start, rows.stop, BLOCK):
        block = np.arange(start, min(start + BLOCK, rows.stop))
        queries = _unit(embeddings[start : start + len(block)])
        candidates = index.search(queries, width)[1] if index is not None else _search(queries, embeddings, width)
        best = [
            _best(int(row), others, values, k=k, limit=limit)
            for row, others, values in zip(
                block, candidates, _similarities(queries, embeddings, candidates), strict=True
            )
        ]
        # Near-duplicates used up the candidates of these, or the lists held too few: look through the whole set.
        unsettled = np.array([place for place, (others, _) in enumerate(best) if len(others) < k], np.int64)
        for place, others, values in zip(
            unsettled, *_scan(queries[unsettled], block[unsettled], embeddings, k=k, limit=limit), strict=True
        ):
            best[place] = _best(block[place], others, values, k=k, limit=limit)
        found += best
        if progress:
            progress(len(found), len(rows))

    counts = [len(others) for others, _ in found]
    neighbor_rows = np.concatenate([np.empty(0, np.int64), *(others for others, _ in found)])
    return pd.DataFrame(
        {
            "image_id": np.repeat(image_ids[rows.start : rows.stop], counts),
            "rank": np.concatenate([np.empty(0, np.int16), *(np.arange(n, dtype=np.int16) for n in counts)]),
            "neighbor_id": image_ids[neighbor_rows],
            "similarity": np.concatenate([np.empty(0, np.float32), *(values for _, values in found)]),
        }
    )


def list_count(images: int) -> int:
    """Lists of an inverted file of so many images: about 4 sqrt(N); FAISS wants 39 vectors a list at least."""
    return max(1, min(round(4 * images**0.5), images // 39))


def build_index(embeddings: NDArray[np.floating], path: Path, *, seed: int = 0) -> None:
    """Sort embeddings into the lists of an inverted file (FAISS IVF, vectors rounded to float16) and write it.

    The lists are found by k-means on at most 256 vectors a list. A search looks into `PROBES` of them. The index is
    built in memory: 2 D + 8 bytes an image.

    Args:
        embeddings: (N, D); best memory-mapped.
        path: gets the file.
        seed: of the sample that the lists are found on.
    """
    faiss = require_faiss()
    total, dim = embeddings.shape
    lists = list_count(total)
    index = faiss.index_factory(dim, f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
    sample = np.sort(np.random.default_rng(seed).permutation(total)[: 256 * lists])
    index.train(_unit(embeddings[sample]))
    for start in range(0, total, DATABASE):
        index.add(_unit(embeddings[start : start + DATABASE]))
    faiss.write_index(index, str(path))


def open_index(path: Path) -> Any:
    """Open what `build_index` wrote, memory-mapped, so that processes of a machine share it."""
    faiss = require_faiss()
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    index.nprobe = min(PROBES, index.nlist)
    return index


def recall(
    embeddings: NDArray[np.floating],
    image_ids: NDArray[np.int64],
    index: Any,
    *,
    k: int = 10,
    sample: int = 1000,
    seed: int = 0,
) -> float:
    """Share of the true k nearest that a search with an index finds, over images drawn at random.

    Near-duplicates count like others. Of neighbors that are equally similar to seven digits, any will do.
    """
    total = len(embeddings)
    k = min(k, total - 1)
    rows = np.sort(np.random.default_rng(seed).permutation(total)[:sample])
    hits = 0
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        queries = _unit(embeddings[block])
        width = min(k + 1 + SLACK, total)
        ways = []
        for candidates in (_search(queries, embeddings, width), index.search(queries, width)[1]):
            values = _similarities(queries, embeddings, candidates)
            ways.append(
                [_best(row, c, v, k=k, limit=np.inf)[1] for row, c, v in zip(block, candidates, values, strict=True)]
            )
        hits += sum(int((found >= exact[-1] - 1e-7).sum()) for exact, found in zip(*ways, strict=True))
    return hits / (k * len(rows))


def _check_directions(embeddings: NDArray[np.floating], image_ids: NDArray[np.int64]) -> None:
    bad: list[int] = []
    for start in range(0, len(embeddings), BLOCK):
        lengths = np.linalg.norm(np.asarray(embeddings[start : start + BLOCK], np.float64), axis=1)
        bad += (start + np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))).tolist()
    if bad:
        raise OrlError(
            f"{len(bad)} image embeddings are zero, NaN or infinite, the first one that of image "
            f"{image_ids[bad[0]]}: the encoder has diverged; train stage 1 anew or use another encoder."
        )


def _unit(embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
    """Copy rows at length 1; by float64, where no square of a float32 overflows or vanishes."""
    unit = np.empty(embeddings.shape, np.float32)
    for start in range(0, len(unit), BLOCK):
        rows = np.asarray(embeddings[start : start + BLOCK], np.float64)
        unit[start : start + BLOCK] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _search(queries: NDArray[np.float32], embeddings: NDArray[np.floating], width: int) -> NDArray[np.int64]:
    """The W = `width` rows nearest to each of the queries (B, D), in no order: (B, W). On a GPU where there is one."""
    best = np.empty((len(queries), 0), np.float32)
    rows = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(embeddings), DATABASE):
        database = _unit(embeddings[start : start + DATABASE])
        values, found = _top(queries, database, min(width, len(database)))
        best, rows = np.hstack([best, values]), np.hstack([rows, found + start])
        if best.shape[1] > width:
            kept = np.argpartition(-best, width - 1, axis=1)[:, :width]
            best, rows = np.take_along_axis(best, kept, axis=1), np.take_along_axis(rows, kept, axis=1)
    return rows


def _top(
    queries: NDArray[np.float32], database: NDArray[np.float32], width: int, device: str | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The largest dot products of each query with rows of the database, and the rows: (B, W) each.

    Args:
        queries: (B, D).
        database: (M, D).
        width: W, at most M.
        device: of torch, which does it on a GPU whichever FAISS is installed; default: the GPU, else FAISS on the CPU.
    """
    import torch

    if device is None and torch.cuda.is_available():
        device = "cuda"
    if device is None:
        faiss = require_faiss()
        values, rows = faiss.knn(queries, database, width, faiss.METRIC_INNER_PRODUCT)
        return values, rows
    products = torch.from_numpy(queries).to(device) @ torch.from_numpy(database).to(device).T
    best = products.topk(width, dim=1)
    return best.values.cpu().numpy(), best.indices.cpu().numpy()


def _similarities(
    queries: NDArray[np.float32], embeddings: NDArray[np.floating], candidates: NDArray[np.int64]
) -> Iterator[NDArray[np.float32]]:
    """Cosines of each query with its candidates, (W,) at a time; of a candidate that is none (-1), nan.

    The last bits of a search's own float32 sums depend on the number of threads. Summed again in float64 and then
    rounded, they do not, and copies of an image get the same similarity.
    """
    for start in range(0, len(queries), 256):
        part = candidates[start : start + 256]
        unit = _unit(embeddings[part.ravel()]).reshape(*part.shape, -1)  # (256, W, D)
        cosine = np.einsum("bd,bwd->bw", queries[start : start + 256], unit, dtype=np.float64).astype(np.float32)
        yield from np.where(part < 0, np.float32(np.nan), cosine)


def _scan(
    queries: NDArray[np.float32],
    rows: NDArray[np.int64],
    embeddings: NDArray[np.floating],
    *,
    k: int,
    limit: float,
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float32]]]:
    """For each query (B, D), itself row `rows[i]`: the k nearest rows up to `limit`, and their similarities."""
    others: list[NDArray[np.int64]] = [np.empty(0, np.int64) for _ in rows]
    values: list[NDArray[np.float32]] = [np.empty(0, np.float32) for _ in rows]
    if not len(rows):
        return others, values
    wide = queries.astype(np.float64)
    for start in range(0, len(embeddings), BLOCK):
        database = _unit(embeddings[start : start + BLOCK])
        products = (wide @ database.astype(np.float64).T).astype(np.float32)  # (B, BLOCK)
        for place, row in enumerate(rows):
            near = np.flatnonzero(products[place] <= limit)
            others[place], values[place] = _best(
                row,
                np.r_[others[place], start + near],
                np.r_[values[place], products[place, near]],
                k=k,
                limit=limit,
            )
    return others, values


def _best(row: int, candidates: NDArray[np.int64], similarities: NDArray[np.float32], *, k: int, limit: float) -> Found:
    """Rank the candidates of one row, without itself and what is above `limit`: at most k of them."""
    allowed = (candidates != row) & (similarities <= limit)
    candidates, similarities = candidates[allowed], similarities[allowed].clip(-1, 1)
    order = np.lexsort((candidates, -similarities))[:k]
    return candidates[order], similarities[order]


def count_near_duplicates(embeddings: NDArray[np.floating], *, threshold: float = 0.98) -> int:
    """Pairs of rows, each pair once, with a cosine above the threshold: over the whole set, not the k nearest alone.

    Args:
        embeddings: (N, D); best memory-mapped.
        threshold: of the cosine.

    Raises:
        OrlError: FAISS is not installed.
    """
    faiss = require_faiss()
    count = 0
    for first in range(0, len(embeddings), NEAR):
        index = faiss.IndexFlatIP(embeddings.shape[1])
        index.add(_unit(embeddings[first : first + NEAR]))
        for start in range(first, len(embeddings), NEAR):  # blocks before this one have met it
            queries = _unit(embeddings[start : start + NEAR])
            limits, _, found = index.range_search(queries, threshold)
            if start == first:
                rows = np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64)))
                count += int((found > rows).sum())
            else:
                count += int(limits[-1])
    return count


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
