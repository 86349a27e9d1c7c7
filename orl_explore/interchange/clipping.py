"""Boxes of the ORL authors' files that reach over the border of their image, or are empty: clipped or left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orl_explore.images.annotations import FLAT, OUTSIDE
from orl_explore.interchange.foreign import CLIPPED, Ledger
from orl_explore.interchange.tables import Ragged

BLOCK = 1000
"""Groups that are looked at together."""


def clip_boxes(rows: Ragged, sizes: NDArray[np.integer], file: Path, *, where: str, ledger: Ledger) -> Ragged:
    """Clip every box to its image, and leave out the rows with one of which nothing is left.

    Args:
        rows: groups of rows, each of one box (4 numbers, xywh) or of two (8).
        sizes: int (G, W / 4, 2), width and height of the image that each box of a group's rows is of.
        file: where the rows go that are left; it must not exist yet.
        where: the list, for messages.
        ledger: counts; with `strict`, a box that is clipped or left out is refused.

    Returns:
        The rows that are left; `rows` itself where nothing had to be done.

    Raises:
        OrlError: the ledger is strict, and names the box.
    """
    if not any(_wrong(block, sizes[of]) for _, block, of in _blocks(rows)):
        return rows
    left = Ragged(file, rows.width)
    for first, block, of in _blocks(rows):
        start, end = _corners(block)
        size = sizes[of]
        low, high = np.clip(start, 0, size), np.clip(end, 0, size)
        flat, outside = np.any(end <= start, axis=(1, 2)), np.any(high <= low, axis=(1, 2))
        beyond = np.any((low != start) | (high != end), axis=(1, 2))
        for bad in np.flatnonzero(flat | beyond).tolist():
            place = bad - int(np.searchsorted(of, of[bad]))
            entry = f"{where}[{of[bad]}][{place}], {block[bad].tolist()},"
            if flat[bad] or outside[bad]:
                ledger.leave_out(FLAT if flat[bad] else OUTSIDE, entry)
            else:
                ledger.alter(CLIPPED, entry)
        clipped = np.concatenate([low, high - low], axis=2).reshape(len(block), -1).astype(np.int32)
        good = ~(flat | outside)
        counts = np.bincount(of[good] - first, minlength=min(BLOCK, len(rows) - first))
        for part in np.split(clipped[good], np.cumsum(counts)[:-1]):
            left.add(part)
    return left.finish()


def _blocks(rows: Ragged) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.int64]]]:
    """First group, rows (n, W), and the group of each (n,)."""
    for first in range(0, len(rows), BLOCK):
        bounds = rows.starts[first : first + BLOCK + 1]
        of = np.repeat(np.arange(first, first + len(bounds) - 1), np.diff(bounds))
        yield first, np.asarray(rows.values[bounds[0] : bounds[-1]]), of


def _corners(rows: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Upper left and lower right corners of the boxes, each (n, W / 4, 2)."""
    boxes = rows.astype(np.int64).reshape(len(rows), -1, 4)
    return boxes[..., :2], boxes[..., :2] + boxes[..., 2:]


def _wrong(rows: NDArray[np.int32], sizes: NDArray[np.integer]) -> bool:
    start, end = _corners(rows)
    return bool(((start < 0) | (end <= start) | (end > sizes)).any())
