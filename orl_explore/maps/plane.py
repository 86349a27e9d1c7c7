"""The first two principal components: a map at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 16_384


def plane(vectors: NDArray[np.floating], *, fit_on: int = 20_000) -> NDArray[np.float64]:
    """Principal component analysis to two dimensions, (N, 2); signs are fixed, so that a map never flips.

    Args:
        vectors: (N, d).
        fit_on: the components are those of this many rows at most, evenly spread.
    """
    rows = np.linspace(0, len(vectors) - 1, min(fit_on, len(vectors))).round().astype(int)
    some = np.asarray(vectors[rows], np.float64)
    center = some.mean(axis=0)
    _, _, axes = np.linalg.svd(some - center, full_matrices=False)
    axes = axes[:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    blocks = np.split(vectors, range(BLOCK, len(vectors), BLOCK))  # float64 takes four times the room of float16
    flat = np.concatenate([(np.asarray(block, np.float64) - center) @ axes.T for block in blocks])
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
