"""The regions whose embeddings are most similar to that of one."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.errors import OrlError

BLOCK: Final = 16_384


def similarities(
    embeddings: NDArray[np.floating], region_id: int, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Cosine of one region's embedding with those of all regions, or of some, read in blocks.

    Args:
        embeddings: (R, D), rows of length 1; may be memory-mapped.
        region_id: row of the region.
        rows: which regions; all by default.
    """
    return _cosines(embeddings, np.array(embeddings[region_id], np.float32), rows)


def _cosines(
    embeddings: NDArray[np.floating], vector: NDArray[np.float32], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    import torch

    query = torch.from_numpy(vector)
    count = len(embeddings) if rows is None else len(rows)
    found = np.empty(count, np.float32)
    for start in range(0, count, BLOCK):
        block = slice(start, start + BLOCK)
        vectors = np.array(embeddings[block if rows is None else rows[block]])
        found[block] = torch.from_numpy(vectors).float() @ query  # NumPy takes five times as long to widen float16
    return found.clip(-1, 1)


def most_similar(embeddings: NDArray[np.floating], region_id: int, *, count: int = 12) -> pd.DataFrame:
    """The regions most similar to one, in the whole set, without the region itself.

    Returns:
        `region_id`, `similarity`, best first; equal ones in the order of their ids.
    """
    scores = similarities(embeddings, region_id)
    scores[region_id] = -math.inf
    return _best(scores, min(count, len(scores) - 1))


def nearest_regions(embeddings: NDArray[np.floating], vector: NDArray[np.floating], *, count: int = 12) -> pd.DataFrame:
    """The regions most similar to an embedding, such as that of a box on a picture from outside.

    Args:
        embeddings: (R, D), rows of length 1; may be memory-mapped.
        vector: (D,), of length 1.
        count: how many.

    Returns:
        As `most_similar`.

    Raises:
        OrlError: the vector has another width.
    """
    if vector.shape != embeddings.shape[1:]:
        raise OrlError(f"the encoder gives {vector.size} numbers, the embeddings have {embeddings.shape[1]}")
    scores = _cosines(embeddings, np.asarray(vector, np.float32))
    return _best(scores, min(count, len(scores)))


def _best(scores: NDArray[np.float32], count: int) -> pd.DataFrame:
    border = np.partition(scores, -count)[-count] if count else math.inf
    best = np.flatnonzero(scores >= border)
    best = best[np.lexsort((best, -scores[best]))][:count]
    return pd.DataFrame({"region_id": best, "similarity": scores[best]})
