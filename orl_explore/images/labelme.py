"""Shapes of LabelMe's files: which of their fields are read, and what becomes of each kind of shape."""

from __future__ import annotations

import functools
import math
from typing import Any, Final

from orl_explore.images.packed_masks import BoxMask, png_mask

PICTURE_KEYS: Final = frozenset(
    ("version", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth", "lineColor", "fillColor")
)
SHAPE_KEYS: Final = frozenset(("label", "points", "shape_type", "mask", "line_color", "fill_color"))
"""Fields that are read, or say nothing about what a picture shows."""


def box_or_mask(shape: dict[str, Any]) -> dict[str, Any]:
    """Box (xywh), polygon or mask of a shape, in pixels, as in a COCO json; nothing of lines and points.

    Raises:
        TypeError, ValueError, OverflowError: its points are no numbers.
    """
    points = [(float(x), float(y)) for x, y in shape["points"]] if isinstance(shape.get("points"), list) else []
    kind = shape.get("shape_type") or "polygon"
    if kind == "polygon":
        return {"segmentation": [[number for point in points for number in point]]}
    if kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        return {"bbox": [x - radius, y - radius, 2 * radius, 2 * radius]}
    if kind in ("rectangle", "mask") and len(points) in (2, 4):
        left, right, top, bottom = (end(axis) for axis in zip(*points, strict=True) for end in (min, max))
        last = kind == "mask"  # its last point is in the mask
        box = [left, top, right - left + last, bottom - top + last]
        if not (mask := shape.get("mask")):
            return {"bbox": box}
        return {"bbox": box, "segmentation": BoxMask(box, functools.partial(png_mask, str(mask)))}
    return {}
