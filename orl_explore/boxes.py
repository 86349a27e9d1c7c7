"""Box geometry: IoU, the proposal filter and the jitter of intra-RoI pairs.

A box is `(x, y, w, h)` in pixels of the original image, top-left origin, half-open: it covers the columns
x .. x+w-1 and the rows y .. y+h-1. Arrays of boxes are (N, 4). Everything here is a pure function.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

BOX: Final = ["x", "y", "w", "h"]
"""The columns of a table that hold a box."""

KEPT: Final = "kept"
FALLBACK: Final = "fallback"
REASONS: Final = (KEPT, "side", "aspect", "iou", "count", FALLBACK)
"""Every word `filter_boxes` can answer with."""


def iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every box of `a` (N, 4) with every box of `b` (M, 4): (N, M) float64.

    Two boxes without area have IoU 0.
    """
    a, b = _as_boxes(a)[:, None], _as_boxes(b)[None]  # (N, 1, 4), (1, M, 4)
    top_left = np.maximum(a[..., :2], b[..., :2])
    bottom_right = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    intersection = np.clip(bottom_right - top_left, 0, None).prod(axis=-1)  # (N, M)
    union = a[..., 2:].prod(axis=-1) + b[..., 2:].prod(axis=-1) - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def filter_boxes(
    boxes: ArrayLike,
    *,
    min_side: float = 96,
    max_aspect: float = 3.0,
    max_iou: float = 0.5,
    max_boxes: int = 100,
) -> NDArray[np.str_]:
    """Walk raw proposals in order and say of each why it is kept or dropped (ORL stage 2, step 3).

    Args:
        boxes: (N, 4) raw proposals, in the order in which they were found.
        min_side: drop ("side") when the shorter side is below this many pixels.
        max_aspect: drop ("aspect") when the longer side is more than this many times the shorter one.
        max_iou: drop ("iou") when the IoU with a box already kept is above this.
        max_boxes: stop here: once this many are kept, all later boxes are "count".

    Returns:
        (N,) strings out of `REASONS`; the first test that fails names the reason. When nothing is kept, the
        first raw box is kept all the same and marked "fallback", so only N = 0 leaves an image without boxes.

    Raises:
        ValueError: `boxes` is not (N, 4), or `max_boxes` is below 1.
    """
    if max_boxes < 1:
        raise ValueError(f"max_boxes must be at least 1, not {max_boxes}")
    boxes = _as_boxes(boxes)
    shorter, longer = boxes[:, 2:].min(axis=1), boxes[:, 2:].max(axis=1)
    too_small = shorter < min_side
    too_long = longer > max_aspect * shorter  # a product, so that a side of 0 needs no special case
    reasons = np.full(len(boxes), KEPT, dtype=np.array(REASONS).dtype)  # (N,), wide enough for every reason
    reasons[too_long] = "aspect"
    reasons[too_small] = "side"  # the side is tested first

    # The boxes still to be walked; every box kept strikes out the later ones that overlap it. That is the
    # same as testing each box against those already kept, with one vector operation per kept box.
    rest = np.flatnonzero(reasons == KEPT)
    kept = 0
    while len(rest):
        first, rest = rest[0], rest[1:]
        kept += 1
        if kept == max_boxes:
            reasons[first + 1 :] = "count"
            break
        overlaps = iou(boxes[first : first + 1], boxes[rest])[0] > max_iou
        reasons[rest[overlaps]] = "iou"
        rest = rest[~overlaps]

    if len(boxes) and not kept:
        reasons[0] = FALLBACK
    return reasons


def is_kept(reasons: NDArray[np.str_] | pd.Series) -> NDArray[np.bool_]:
    """Tell which boxes take part in what follows: those marked "kept" or "fallback"."""
    return np.asarray((reasons == KEPT) | (reasons == FALLBACK))


def jitter_box(
    box: ArrayLike, *, image_size: tuple[int, int], rng: np.random.Generator, tries: int = 200
) -> NDArray[np.int64]:
    """Draw the second box of an intra-RoI pair near the first one (ORL stage 3).

    A draw has area x U(0.5, 2), a log-uniform aspect w/h in [0.5, 2], and its center moved by U(-0.5, 0.5)
    times the box's width and height. Taken is the first draw inside the image with IoU > 0.5 to `box`.

    Args:
        box: (4,) xywh.
        image_size: (width, height) in pixels.
        rng: consumed by the same amount whatever the outcome.
        tries: how many draws to make before giving up.

    Returns:
        (4,) int64 xywh: the draw, rounded to pixels, or `box` itself when no draw was accepted.
    """
    original = np.rint(_as_boxes(box)[0])
    x, y, w, h = original.tolist()
    area = w * h * rng.uniform(0.5, 2, tries)
    aspect = np.exp(rng.uniform(math.log(0.5), math.log(2), tries))
    sides = np.sqrt(area * aspect), np.sqrt(area / aspect)  # w and h of each draw
    shift = rng.uniform(-0.5, 0.5, (tries, 2))
    left, top = x + w / 2 + shift[:, 0] * w - sides[0] / 2, y + h / 2 + shift[:, 1] * h - sides[1] / 2
    # One of the first draws is mostly accepted, so plain numbers, one draw after the other, are fastest.
    for x2, y2, w2, h2 in map(np.ndarray.tolist, np.rint([left, top, *sides]).T):
        if x2 < 0 or y2 < 0 or x2 + w2 > image_size[0] or y2 + h2 > image_size[1]:
            continue
        common = max(0.0, min(x + w, x2 + w2) - max(x, x2)) * max(0.0, min(y + h, y2 + h2) - max(y, y2))
        if common > 0.5 * (w * h + w2 * h2 - common):  # IoU > 0.5
            return np.array([x2, y2, w2, h2]).astype(np.int64)
    return original.astype(np.int64)


def _as_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(boxes, dtype=np.float64)
    if array.ndim == 1 and array.size in (0, 4):
        array = array.reshape(-1, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes must be (N, 4) as x, y, w, h, not {array.shape}")
    return array
