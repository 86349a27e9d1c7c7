"""Boxes and masks that were drawn on a picture as it is stored, turned upright with it by its EXIF orientation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]


def turned_points(points: NDArray[np.float64], orientation: int, stored: tuple[int, int]) -> NDArray[np.float64]:
    """Bring points upright.

    Args:
        points: (N, 2), x and y on the stored picture, pixels.
        orientation: EXIF orientation, 1..8.
        stored: width and height of the stored picture.
    """
    x, y = points[:, 0], points[:, 1]
    width, height = stored
    other_x, other_y = width - x, height - y
    new = {
        1: (x, y),
        2: (other_x, y),
        3: (other_x, other_y),
        4: (x, other_y),
        5: (y, x),
        6: (other_y, x),
        7: (other_y, other_x),
        8: (y, other_x),
    }[orientation]
    return np.stack(new, axis=1)


def turned_box(box: Box, orientation: int, stored: tuple[int, int]) -> Box:
    """Bring a box upright, xywh as in `turned_points`."""
    x, y, w, h = box
    corners = turned_points(np.array([[x, y], [x + w, y + h]], dtype=np.float64), orientation, stored)
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return left, top, right - left, bottom - top


def turned_segmentation(segmentation: Any, orientation: int, stored: tuple[int, int], mask: Any) -> Any:
    """Bring an annotation's polygons or RLE upright; what is neither comes back as it is, for `to_rle` to refuse.

    Args:
        segmentation: as in a COCO json.
        orientation: EXIF orientation, 1..8.
        stored: width and height of the stored picture.
        mask: the module `pycocotools.mask`.
    """
    if isinstance(segmentation, dict):
        from orl_explore.images.object_masks import to_rle

        width, height = stored
        counts = to_rle(segmentation, stored, mask)
        if counts is None:
            return None
        pixels = mask.decode({"size": [height, width], "counts": counts.encode("ascii")})
        turned = np.asfortranarray(turned_pixels(pixels, orientation))
        return {"size": list(turned.shape), "counts": mask.encode(turned)["counts"].decode("ascii")}
    if not isinstance(segmentation, list):
        return segmentation
    polygons = []
    for points in segmentation:
        try:
            array = np.array(points, dtype=np.float64)
            polygons.append(turned_points(array.reshape(-1, 2), orientation, stored).reshape(-1))
        except (TypeError, ValueError):
            polygons.append(points)
    return polygons


def turned_pixels(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Bring an array (H, W) or (H, W, C) upright, as a picture would be."""
    if orientation in (2, 3, 7, 8):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 6, 7):
        pixels = pixels[::-1]
    return pixels.swapaxes(0, 1) if orientation > 4 else pixels
