"""Noise and cells that wrap around: what materials and scenery are grained with.

Two pictures are made once from a fixed seed and sampled at any points (u, v), so that a texture costs a few
interpolations and depends on its points alone. One unit is one blob, or one cell.
"""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.floating[Any]]  # float32

_TILE = 256  # pixels
_BLOBS, _CELLS = 32, 16  # of a tile's side


def smooth(u: FloatImage, v: FloatImage) -> FloatImage:
    """Return noise of one size of blob, 0..1 and about 0.5 on average, at the points (u, v), which have one shape."""
    return _sample(_noise_tile(), u, v, _TILE / _BLOBS)


def fractal(u: FloatImage, v: FloatImage) -> FloatImage:
    """Return noise of blobs of one unit and of ever finer ones, 0..1, at the points (u, v)."""
    coarse = smooth(u, v) + 0.5 * smooth(2 * u + 7.3, 2 * v + 1.9) + 0.25 * smooth(4 * u + 3.1, 4 * v + 8.7)
    return np.clip((coarse / 1.75 - 0.5) * 1.5 + 0.5, 0, 1)


def cells(u: FloatImage, v: FloatImage) -> tuple[FloatImage, FloatImage, FloatImage]:
    """Return, at the points (u, v), the distance to a cell's middle (0..1), to its edge (0..1), and a value by cell."""
    sampled = _sample(_cell_tile(), u, v, _TILE / _CELLS)
    return sampled[..., 0], sampled[..., 1], sampled[..., 2]


def _sample(tile: FloatImage, u: FloatImage, v: FloatImage, scale: float) -> FloatImage:
    # Wrapped here, as remap wraps correctly only up to 32,767 pixels; floor is much faster than np.mod.
    turns = (points.astype(np.float32, copy=False) * np.float32(scale / _TILE) for points in (u, v))
    x, y = ((turn - np.floor(turn)) * np.float32(_TILE) for turn in turns)
    return np.asarray(cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)


@lru_cache(maxsize=1)
def _noise_tile() -> FloatImage:
    """Return (256, 256) float32 in 0..1 with a standard deviation of about a fifth."""
    coarse = np.random.default_rng(0x6E015E).random((_BLOBS, _BLOBS), dtype=np.float32)
    wide = cv2.resize(np.tile(coarse, (3, 3)), None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    tile = wide[_TILE : 2 * _TILE, _TILE : 2 * _TILE]
    return np.ascontiguousarray(np.clip((tile - 0.5) * 1.1 + 0.5, 0, 1))


@lru_cache(maxsize=1)
def _cell_tile() -> FloatImage:
    """Return (256, 256, 3) float32: distance to the nearest point, to the border between two, the point's value."""
    rng = np.random.default_rng(0xCE115)
    points = rng.uniform(0.1, 0.9, (_CELLS, _CELLS, 2)).astype(np.float32)
    values = rng.random((_CELLS, _CELLS), dtype=np.float32)
    along = (np.arange(_TILE, dtype=np.float32) + 0.5) * _CELLS / _TILE
    column = np.floor(along).astype(int)
    nearest = np.full((_TILE, _TILE), 9, np.float32)
    second, value = nearest.copy(), np.zeros_like(nearest)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            rows, columns = np.ix_((column + down) % _CELLS, (column + right) % _CELLS)
            point = points[rows, columns]
            x = along[None, :] - (column[None, :] + right + point[..., 0])
            y = along[:, None] - (column[:, None] + down + point[..., 1])
            distance = np.hypot(x, y)
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            value = np.where(closer, values[rows, columns], value)
            nearest = np.minimum(nearest, distance)
    return np.stack([np.minimum(nearest, 1), np.minimum(second - nearest, 1), value], axis=-1).astype(np.float32)
