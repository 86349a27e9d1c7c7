"""Where objects of a scene are, what covers what, and when too much of one is hidden."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from orl_explore.practice.shapes import Sprite

MAX_OUTSIDE = 0.12  # how far an object may cross the border, in its own sides
MIN_VISIBLE = 0.6  # of an object's area: neither behind nearer objects nor outside the picture
MAX_OVERLAP = 0.25  # IoU of the visible boxes of two objects

Box = tuple[int, int, int, int]  # xywh, pixels
Mask = NDArray[np.bool_]  # (size, size)


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene: its visible `mask`, the `box` of that mask and the visible share of the object's area."""

    category: str
    instance: str
    mask: Mask
    box: Box
    visible: float


@dataclass
class Placed:
    """An object on the canvas; `mask` shrinks when another is laid over it, `area` is that of the whole object."""

    category: str
    instance: str
    mask: Mask
    area: int

    def seen(self) -> SceneObject:
        """Return what a scene says of it."""
        return SceneObject(self.category, self.instance, self.mask, box(self.mask), float(self.mask.sum() / self.area))


def mask_at(sprite: Sprite, left: int, top: int, size: int) -> tuple[Mask, int]:
    """Return the sprite's mask in the picture, (size, size), and its whole area in pixels."""
    solid = sprite.alpha >= 0.5
    mask = np.zeros((size, size), bool)
    picture, inside = windows(left, top, solid.shape, size)
    mask[picture] = solid[inside]
    return mask, int(solid.sum())


def windows(left: int, top: int, shape: tuple[int, ...], size: int) -> tuple[Any, Any]:
    """Return where an array laid at (left, top) meets the picture: index into the picture, index into the array."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + shape[1], size), min(top + shape[0], size)
    return np.s_[y0:y1, x0:x1], np.s_[y0 - top : y1 - top, x0 - left : x1 - left]


def may_cover(mask: Mask, other: Placed) -> bool:
    """Whether enough of `other` stays visible, in a box of its own, when an object is laid over it."""
    rest = other.mask & ~mask
    if rest.sum() < MIN_VISIBLE * other.area:
        return False
    a, b = box(rest), box(mask)
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(high, 0)
    return shared <= MAX_OVERLAP * (a[2] * a[3] + b[2] * b[3] - shared)


def box(mask: Mask) -> Box:
    """Return the bounds of a mask."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return int(x), int(y), int(width), int(height)
