"""Segmentations of COCO annotations, checked and brought into one form: compressed RLE."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_rle(segmentation: Any, size: tuple[int, int], mask: Any) -> str | None:
    """Convert an annotation's polygons or RLE to the counts of a compressed RLE; None if absent or invalid."""
    width, height = size
    try:
        if isinstance(segmentation, dict):
            counts = segmentation["counts"]
            runs = _runs(counts) if isinstance(counts, str) else counts
            if list(segmentation["size"]) != [height, width] or sum(runs) != height * width or min(runs) < 0:
                return None
            rle = mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
        else:
            polygons = [polygon for points in segmentation or () if (polygon := _polygon(points, size)) is not None]
            if not polygons:
                return None
            rles = mask.frPyObjects(polygons, height, width)
            rle = rles[0] if len(rles) == 1 else mask.merge(rles)
        return rle["counts"].decode("ascii") if mask.area(rle) else None
    except Exception:  # whatever strange content makes Python or C code raise: the mask is invalid
        return None


def from_rle(counts: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode a mask, bool (H, W), from the counts of a compressed RLE and the image's width and height."""
    from pycocotools import mask

    width, height = size
    return mask.decode({"size": [height, width], "counts": counts.encode("ascii")}).astype(bool)


def _polygon(points: Any, size: tuple[int, int]) -> NDArray[np.float64] | None:
    """Clip x1, y1, x2, y2, ... to the image: pycocotools takes memory by how far a point is off."""
    array = np.array(points, dtype=np.float64)
    # pycocotools would take four numbers for a box.
    if array.ndim != 1 or len(array) < 6 or len(array) % 2 or not np.isfinite(array).all():
        return None
    np.clip(array[0::2], 0, size[0], out=array[0::2])
    np.clip(array[1::2], 0, size[1], out=array[1::2])
    return array


def _runs(counts: str) -> list[int]:
    """Unpack a compressed COCO RLE into run lengths, because pycocotools reads beyond the end of a damaged one.

    Each character holds 5 bits, low ones first, and a sixth that says whether the number goes on; from the
    fourth number on, it is the (signed) difference to the number before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for code in counts.encode("ascii"):
        bits = code - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("ends within a number")
    return runs
