"""Maps of the same regions by several encoders, so turned that a region lies near its place, and how well that worked.

Measures, all of shares 0..1: how many of a region's 15 nearest neighbors on one map are among its 50 nearest on another
(`neighbors_shared`), how many of its 15 nearest by the features are (`neighbors_kept`), and the distance between its
places on two maps in parts of the map's radius (`moved`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NEAR: Final = 15
"""Nearest neighbors that should be found again."""

AMONG: Final = 50
"""Nearest neighbors on the other map that count as found again."""


def procrustes(
    points: NDArray[np.floating], onto: NDArray[np.floating], rows: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Turn, mirror, scale and move points so that they lie as near to others as such a motion allows.

    Args:
        points: (N, 2).
        onto: (N, 2), the same regions' places.
        rows: (N,), which of them decide the motion; all by default.

    Returns:
        (N, 2): as near in the sum of squared distances as can be; neighbors on the map stay what they were.
    """
    rows = np.ones(len(points), bool) if rows is None else rows
    from_, to = points[rows].mean(axis=0), onto[rows].mean(axis=0)
    here, there = points[rows] - from_, onto[rows] - to
    left, stretch, right = np.linalg.svd(here.T @ there)
    scale = stretch.sum() / max(float((here**2).sum()), 1e-12)
    return (scale * (points - from_) @ (left @ right) + to).astype(np.float32)


def nearest_points(points: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Rows of the nearest points of each point, without itself: (N, count), nearest first."""
    from scipy.spatial import cKDTree

    count = min(count, len(points) - 1)
    found = cKDTree(points).query(points, k=count + 1)[1]
    own = found == np.arange(len(points))[:, None]
    own[~own.any(axis=1), -1] = True  # among many points in one place, one need not find itself
    return found[~own].reshape(-1, count)


def neighbors_kept(neighbors: NDArray[np.integer], points: NDArray[np.floating], among: int = AMONG) -> NDArray:
    """How many of each row's neighbors are among its nearest points, as a share: (N,) float32.

    Args:
        neighbors: (N, k), rows that are each row's neighbors, such as the nearest by the features.
        points: (N, 2).
        among: how many points around count as near.
    """
    return found_again(neighbors, nearest_points(points, among))


def neighbors_shared(
    first: NDArray[np.floating], second: NDArray[np.floating], *, near: int = NEAR, among: int = AMONG
) -> NDArray[np.float32]:
    """How many of a region's nearest points on one map are among its nearest on another, as a share: (N,) float32."""
    return found_again(nearest_points(first, near), nearest_points(second, among))


def found_again(wanted: NDArray[np.integer], found: NDArray[np.integer]) -> NDArray[np.float32]:
    """Share of each row's numbers in `wanted` (N, k) that are in the same row of `found` (N, m): (N,) float32."""
    rows, span = np.arange(len(wanted))[:, None], int(max(wanted.max(), found.max())) + 1
    hits = np.isin((rows * span + wanted).ravel(), (rows * span + found).ravel(), assume_unique=True)
    return hits.reshape(wanted.shape).mean(axis=1, dtype=np.float32)


def moved(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float32]:
    """Distance between each region's places on two maps, in parts of the first map's radius (root mean square)."""
    radius = np.sqrt(((first - first.mean(axis=0)) ** 2).sum(axis=1).mean())
    return (np.linalg.norm(first - second, axis=1) / max(float(radius), 1e-12)).astype(np.float32)
