"""Selective search, compiled: the boxes of OpenCV's `fast` mode in a fraction of its time (ORL stage 2, step 2).

The algorithm is that of Uijlings et al. (2013) with OpenCV's settings. A picture is split into small regions by color
differences between neighboring pixels (Felzenszwalb and Huttenlocher, 2004), in HSV and in Lab and at three scales
each. From each such start, the two most similar regions that touch are merged until one is left, once by color,
texture, size and fill and once without color. The boxes of all regions that ever existed are the proposals.

Four things make it faster than OpenCV's, none of which changes what is computed: the edges between pixels are sorted
once for all scales, and each once instead of twice; histograms are counted once, in one pass, and merged by addition;
regions that touch are linked lists; and the most similar pair is on top of a heap instead of at the end of a list that
is sorted after every merge. Memory grows with the number of pixels alone, by about 150 bytes for each.

One thing is done otherwise on purpose: OpenCV reads the diagonal gradients of pictures beyond 2.4 : 1 from beside the
right place, and here they are read from it.

Importing this module imports Numba; what it compiles is kept in `__pycache__`, or in the user's cache folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

SCALES = (150.0, 300.0, 450.0)
"""k of the graph segmentations: the larger, the larger the first regions. OpenCV's fast mode takes these three."""

SIGMA = float(np.float32(0.8))
"""Blur before the segmentation, pixels; in single precision as OpenCV has it, for the last bit can move a border."""

MIN_SIZE = 100
"""First regions of fewer pixels are joined with a neighbor."""

MAX_ASPECT, MARGIN = 3, 8
"""Longer pictures are turned in pieces, which overlap by so many pixels."""

COLOR_BINS, TEXTURE_BINS = 25, 10
COLOR = 3 * COLOR_BINS
"""Columns of a region's histogram: color of the 3 channels, then texture: each bin of the positive and of the negative
part of 12 gradients (4 directions of 3 channels)."""
GRADIENTS = 12
COLUMNS = COLOR + GRADIENTS * 2 * TEXTURE_BINS

UNIT = 2.0**30
"""A whole histogram in fixed point: sums of integers come out the same in any order, on any processor."""


def _compiled(function: Callable) -> Any:
    """Compile at the first call; the result is kept on disk where there is a place to write to, else in memory."""
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError as error:  # Numba found no folder
        logging.getLogger(__name__).info("selective search is compiled anew by every process: %s", error)
        return numba.njit(function)


def search(image: NDArray[np.uint8], *, seed: int) -> NDArray[np.int32]:
    """Propose boxes; `orl_explore.proposals.selective_search` is the way to it.

    Args:
        image: (H, W, 3) uint8 RGB.
        seed: non-negative; decides the order of the boxes, never the set of them.

    Returns:
        (N, 4) int32 xywh, every box once, those of small regions rather first.
    """
    boxes, levels = [], []
    for space in (cv2.COLOR_RGB2HSV, cv2.COLOR_RGB2LAB):
        for found in _hierarchies(np.asarray(cv2.cvtColor(np.ascontiguousarray(image), space), np.uint8)):
            boxes.append(found.boxes)
            levels.append(found.levels)
    level = np.concatenate(levels)
    rank = np.random.default_rng(seed).random(len(level)) * level
    ordered = np.concatenate(boxes)[np.argsort(rank, kind="stable")]
    return pd.DataFrame(ordered).drop_duplicates().to_numpy(np.int32)


def regions_left(image: NDArray[np.uint8], counts: Sequence[int]) -> list[NDArray[np.int32]]:
    """The regions of one of the starts, the finest one in HSV, when merging has left so many: to see how it goes on.

    Args:
        image: (H, W, 3) uint8 RGB.
        counts: how many regions; more than there are at first: those of the start.

    Returns:
        For each count a map (H, W) int32: the number of the region that a pixel belongs to.
    """
    start = next(_hierarchies(np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV), np.uint8)))
    maps = []
    for count in counts:
        labels = start.labels.copy()
        for kept, gone in start.merges[: max(0, len(start.merges) + 1 - count)]:
            labels[labels == gone] = kept
        maps.append(labels)
    return maps


def warm_up() -> None:
    """Compile everything, or load what was compiled before: ten seconds the first time, then half a second."""
    search(np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3), seed=0)


class _Hierarchy(NamedTuple):
    """First regions, and all that they are merged to."""

    labels: NDArray[np.int32]  # (H, W), first region of each pixel
    boxes: NDArray[np.int32]  # (N, 4) of all regions, the first ones first
    levels: NDArray[np.int32]  # (N,)
    merges: NDArray[np.int32]  # (M, 2), numbers of first regions: what the second is part of joins what the first is


def _hierarchies(picture: NDArray[np.uint8]) -> Iterator[_Hierarchy]:
    """Yield what each scale and each of the two ways to measure similarity makes."""
    height, width = picture.shape[:2]
    blurred = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), SIGMA)
    edges, weights = _sorted_edges(blurred)
    features, resting = _features(picture)
    for scale in SCALES:
        labels, count = _segment(edges, weights, width, height * width, np.float32(scale), MIN_SIZE)
        labels = labels.reshape(height, width)
        sizes, corners, pairs = _outline(labels, count)
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        histograms = _histograms(features, resting, labels.ravel(), sizes)
        for first in (0, COLOR):
            yield _Hierarchy(labels, *_merge(histograms, first, sizes, corners, pairs, height * width))


# ---- what regions look like -------------------------------------------------------------------------------------


def _features(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Bins of every pixel: 3 of color and 12 of texture (pixels, 15); and where a gradient's other half is (12,)."""
    height, width = picture.shape[:2]
    features = np.empty((height * width, 3 + GRADIENTS), np.uint8)
    features[:, :3] = (picture.reshape(-1, 3).astype(np.uint16) * COLOR_BINS) >> 8
    resting = np.empty(GRADIENTS, np.uint8)
    for number, gradient in enumerate(_gradients(picture)):
        first = 3 * number
        _texture(
            np.ascontiguousarray(gradient).reshape(-1, 3),
            features[:, 3 + first : 6 + first],
            resting[first : first + 3],
        )
    return features, resting


def _gradients(picture: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """Yield the gradients (H, W, 3) along x, along y and along the two diagonals."""
    yield np.asarray(cv2.Scharr(picture, cv2.CV_32F, 1, 0), np.float32)
    yield np.asarray(cv2.Scharr(picture, cv2.CV_32F, 0, 1), np.float32)
    # A turned panorama is mostly corners: 100 times its pixels at 200 : 1. It is turned piece by piece.
    along = int(picture.shape[1] > picture.shape[0])
    length, short = picture.shape[along], picture.shape[1 - along]
    step = max(MAX_ASPECT * short, 512)
    for direction in ((1, 0), (0, 1)):
        pieces = []
        for start in range(0, length, step):
            stop = min(start + step, length)
            first, last = max(start - MARGIN, 0), min(stop + MARGIN, length)
            piece = _diagonal_gradient(picture.take(range(first, last), axis=along), direction)
            pieces.append(piece.take(range(start - first, stop - first), axis=along))
        yield np.concatenate(pieces, axis=along)


def _diagonal_gradient(picture: NDArray[np.uint8], direction: tuple[int, int]) -> NDArray[np.float32]:
    """The gradient along x or y of the picture turned by 45 degrees, turned back: (H, W, 3)."""
    height, width = picture.shape[:2]
    center = (width / 2, height / 2)
    _, _, *box = cv2.RotatedRect(center, (width, height), 45.0).boundingRect()
    turn = cv2.getRotationMatrix2D(center, 45.0, 1.0)
    turn[:, 2] += (box[0] / 2 - center[0], box[1] / 2 - center[1])
    gradient = cv2.Scharr(cv2.warpAffine(picture, turn, box), cv2.CV_32F, *direction)
    back = cv2.getRotationMatrix2D((box[0] // 2, box[1] // 2), -45.0, 1.0)
    back[:, 2] -= ((box[0] - width) // 2, (box[1] - height) // 2)
    return np.asarray(cv2.warpAffine(gradient, back, (width, height)), np.float32)


@_compiled
def _texture(gradient, bins, resting):
    """Write the bins of a gradient (pixels, 3): 0..9 where it is positive, 10..19 where not.

    Every gradient has a histogram of its positive part and one of its negative part, each cut into ten from its least
    to its greatest value. A pixel is in both; where it is positive, it rests in the bin of 0 of the negative part, and
    the other way. `resting` (3,) is that bin of the negative part; that of the positive part is the first.
    """
    for channel in range(3):
        low, high = gradient[0, channel], gradient[0, channel]
        for i in range(len(gradient)):
            low, high = min(low, gradient[i, channel]), max(high, gradient[i, channel])
        zero = np.float32(0)
        positive_low, positive_high = max(zero, low), max(zero, high)
        negative_low, negative_high = min(zero, low), min(zero, high)
        up = np.float32(254 / (positive_high - positive_low)) if positive_high > positive_low else zero
        down = np.float32(254 / (negative_high - negative_low)) if negative_high > negative_low else zero
        for i in range(len(gradient)):
            value = gradient[i, channel]
            if value > 0:
                bins[i, channel] = np.int32(np.rint((value - positive_low) * up)) * 10 >> 8
            else:
                bins[i, channel] = 10 + (np.int32(np.rint((value - negative_low) * down)) * 10 >> 8)
        resting[channel] = 9 if low < 0 else 0


@_compiled
def _histograms(features, resting, labels, sizes):
    """Count the bins of every region: (regions, 315) int32."""
    counts = np.zeros((len(sizes), COLUMNS), np.int32)
    for i in range(len(labels)):
        row = counts[labels[i]]
        for channel in range(3):
            row[channel * COLOR_BINS + features[i, channel]] += 1
        for gradient in range(GRADIENTS):
            row[COLOR + gradient * 2 * TEXTURE_BINS + features[i, 3 + gradient]] += 1
    for region in range(len(sizes)):
        for gradient in range(GRADIENTS):
            first = COLOR + gradient * 2 * TEXTURE_BINS
            positive = counts[region, first : first + TEXTURE_BINS].sum()
            counts[region, first] += sizes[region] - positive
            counts[region, first + TEXTURE_BINS + resting[gradient]] += positive
    return counts


# ---- the first regions ------------------------------------------------------------------------------------------


@_compiled
def _sorted_edges(blurred):
    """The edges between pixels side by side, the least different first.

    Returns:
        edges: int32, 2 * pixel + 0 (to the one on the right) or + 1 (to the one below).
        weights: float32, distance of the two colors.
    """
    height, width = blurred.shape[:2]
    total = height * (width - 1) + (height - 1) * width
    edges, weights = np.empty(total, np.int32), np.empty(total, np.float32)
    count = 0
    for y in range(height):
        for x in range(width):
            for down in range(2):
                other_y, other_x = y + down, x + 1 - down
                if other_y < height and other_x < width:
                    square = np.float32(0)
                    for channel in range(3):
                        step = np.float64(blurred[y, x, channel] - blurred[other_y, other_x, channel])
                        square = np.float32(square + step * step)
                    edges[count] = 2 * (y * width + x) + down
                    weights[count] = np.sqrt(square)
                    count += 1
    # Radix sort; the bits of floats that are not negative are in the order of their values.
    keys = weights.view(np.uint32)
    other_keys, other_edges = np.empty(total, np.uint32), np.empty(total, np.int32)
    for shift in (0, 11, 22):
        starts = np.zeros(2049, np.int64)
        for i in range(total):
            starts[((keys[i] >> shift) & 2047) + 1] += 1
        starts = np.cumsum(starts)
        for i in range(total):
            digit = (keys[i] >> shift) & 2047
            to = starts[digit]
            starts[digit] += 1
            other_keys[to], other_edges[to] = keys[i], edges[i]
        keys, other_keys = other_keys, keys
        edges, other_edges = other_edges, edges
    return edges, keys.view(np.float32)


@_compiled
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@_compiled
def _segment(edges, weights, width, pixels, scale, min_size):
    """Join pixels along ever larger differences while these are no larger than those inside the two regions.

    Returns:
        labels (pixels,) int32, counted from 0 in the order in which the regions are met; the number of regions.
    """
    parent = np.arange(pixels).astype(np.int32)
    size = np.ones(pixels, np.int32)
    limit = np.full(pixels, scale, np.float32)
    left = np.empty(len(edges), np.int32)  # edges between two regions
    count = 0
    for i in range(len(edges)):
        pixel = edges[i] >> 1
        a = _root(parent, pixel)
        b = _root(parent, pixel + (width if edges[i] & 1 else 1))
        if a == b:
            continue
        weight = weights[i]
        if weight <= limit[a] and weight <= limit[b]:
            if size[a] < size[b]:
                a, b = b, a
            parent[b] = a
            size[a] += size[b]
            limit[a] = weight + scale / np.float32(size[a])
        else:
            left[count] = edges[i]
            count += 1
    for i in range(count):
        pixel = left[i] >> 1
        a = _root(parent, pixel)
        b = _root(parent, pixel + (width if left[i] & 1 else 1))
        if a != b and (size[a] < min_size or size[b] < min_size):
            if size[a] < size[b]:
                a, b = b, a
            parent[b] = a
            size[a] += size[b]
    number = np.full(pixels, -1, np.int32)
    labels = np.empty(pixels, np.int32)
    regions = 0
    for pixel in range(pixels):
        root = _root(parent, pixel)
        if number[root] < 0:
            number[root] = regions
            regions += 1
        labels[pixel] = number[root]
    return labels, regions


@_compiled
def _outline(labels, count):
    """Sizes (R,) int32 of the regions, their corners (R, 4) int32 x0, y0, x1, y1 (half-open), and who touches whom.

    Regions touch where a pixel of one is the left, upper or upper left neighbor of one of the other. As in OpenCV,
    pixels of the first row and column have no such neighbors.
    """
    height, width = labels.shape
    sizes = np.zeros(count, np.int32)
    corners = np.empty((count, 4), np.int32)
    corners[:, 0], corners[:, 1], corners[:, 2], corners[:, 3] = width, height, 0, 0
    # A hash table of pairs. They are the edges of a planar graph, fewer than 3 a region: it is never half full.
    slots = 16
    while slots < 8 * count:
        slots *= 2
    table = np.full(slots, -1, np.int64)
    pairs = np.empty((3 * count, 2), np.int32)
    found = 0
    for y in range(height):
        for x in range(width):
            here = labels[y, x]
            sizes[here] += 1
            corners[here, 0], corners[here, 1] = min(corners[here, 0], x), min(corners[here, 1], y)
            corners[here, 2], corners[here, 3] = max(corners[here, 2], x + 1), max(corners[here, 3], y + 1)
            if x == 0 or y == 0:
                continue
            for there in (labels[y, x - 1], labels[y - 1, x], labels[y - 1, x - 1]):
                if there == here:
                    continue
                key = np.int64(min(here, there)) * count + max(here, there)
                slot = (key * 0x9E3779B1 >> 7) & (slots - 1)
                while table[slot] not in (-1, key):
                    slot = (slot + 1) & (slots - 1)
                if table[slot] == -1:
                    table[slot] = key
                    pairs[found, 0], pairs[found, 1] = min(here, there), max(here, there)
                    found += 1
    return sizes, corners, pairs[:found]


# ---- merging ----------------------------------------------------------------------------------------------------


@_compiled
def _normalize(counts, shares, region, first, size):
    """Histograms as shares of a whole: the color ones together, and the texture ones together."""
    color, texture = UNIT / (3 * size), UNIT / (2 * GRADIENTS * size)
    for column in range(first, COLUMNS):
        shares[region, column] = np.int32(counts[region, column] * (color if column < COLOR else texture) + 0.5)


@_compiled
def _similarity(a, b, shares, first, sizes, corners, pixels):
    """Mean of the similarities of two regions: texture, size, fill and, if `first` is 0, color."""
    total = 0
    for column in range(first, COLUMNS):
        total += min(shares[a, column], shares[b, column])
    together = sizes[a] + sizes[b]
    box_width = max(corners[a, 2], corners[b, 2]) - min(corners[a, 0], corners[b, 0])
    box_height = max(corners[a, 3], corners[b, 3]) - min(corners[a, 1], corners[b, 1])
    size = 1 - together / pixels
    fill = 1 - (np.int64(box_width) * box_height - together) / pixels
    return (total / UNIT + size + fill) / (4 if first == 0 else 3)


@_compiled
def _above(similarity, age, a, b):
    """Whether pair a is merged before pair b: the more similar one, of equal ones the one met last."""
    return similarity[a] > similarity[b] or (similarity[a] == similarity[b] and age[a] > age[b])


@_compiled
def _settle(heap, place, similarity, age, at, count):
    """Move what is at a position of the heap up or down to where it belongs."""
    pair = heap[at]
    while at > 0 and _above(similarity, age, pair, heap[(at - 1) >> 1]):
        heap[at] = heap[(at - 1) >> 1]
        place[heap[at]] = at
        at = (at - 1) >> 1
    while 2 * at + 1 < count:
        child = 2 * at + 1
        if child + 1 < count and _above(similarity, age, heap[child + 1], heap[child]):
            child += 1
        if not _above(similarity, age, heap[child], pair):
            break
        heap[at] = heap[child]
        place[heap[at]] = at
        at = child
    heap[at] = pair
    place[pair] = at


@_compiled
def _remove(heap, place, similarity, age, pair, count):
    """Take a pair out of a heap of `count`; its place is -1 from then on."""
    at = place[pair]
    place[pair] = -1
    if at < count - 1:
        heap[at] = heap[count - 1]
        _settle(heap, place, similarity, age, at, count - 1)


@_compiled
def _merge(counts, first, sizes, corners, pairs, pixels):
    """Merge the two most similar regions that touch until none do.

    Args:
        counts: (R, 315) int32, histograms of the first regions.
        first: column from which on they are compared: 0, or COLOR to leave color out.
        sizes: (R,) int32, pixels.
        corners: (R, 4) int32.
        pairs: (P, 2) int32, regions that touch.
        pixels: of the picture.

    Returns:
        Boxes (R + merges, 4) int32 xywh of all regions, the first ones first; their levels: 1 for a first region, else
        one more than the higher of the two that it was made of; and which two were merged (merges, 2) int32, where the
        new one goes by the lower number.
    """
    counts, sizes, corners = counts.copy(), sizes.copy(), corners.copy()
    regions, total = len(sizes), len(pairs)
    shares = np.empty((regions, COLUMNS), np.int32)
    level = np.ones(regions, np.int32)
    boxes, levels = np.empty((2 * regions, 4), np.int32), np.empty(2 * regions, np.int32)
    merged = np.empty((regions, 2), np.int32)
    for region in range(regions):
        _normalize(counts, shares, region, first, sizes[region])
        boxes[region], levels[region] = corners[region], 1

    # Pair p has two ends, 2p and 2p + 1. The ends at a region are a linked list; those of pairs that are gone stay
    # in it until it is next walked.
    end = pairs.copy().ravel()
    follow = np.full(2 * total, -1, np.int32)
    head, tail = np.full(regions, -1, np.int32), np.full(regions, -1, np.int32)
    for at in range(2 * total):
        region = end[at]
        if head[region] < 0:
            head[region] = at
        else:
            follow[tail[region]] = at
        tail[region] = at

    similarity, age = np.empty(total, np.float64), np.arange(total)
    heap, place = np.arange(total).astype(np.int32), np.arange(total).astype(np.int32)
    for pair in range(total):
        similarity[pair] = _similarity(pairs[pair, 0], pairs[pair, 1], shares, first, sizes, corners, pixels)
        _settle(heap, place, similarity, age, pair, pair + 1)

    met = np.full(regions, -1, np.int32)  # the last merge that walked past a region
    waiting, made, now = total, regions, total
    while waiting:
        best = heap[0]
        a, b = end[2 * best], end[2 * best + 1]
        a, b = min(a, b), max(a, b)
        _remove(heap, place, similarity, age, best, waiting)
        waiting -= 1

        sizes[a] += sizes[b]
        for column in range(first, COLUMNS):
            counts[a, column] += counts[b, column]
        _normalize(counts, shares, a, first, sizes[a])
        corners[a, 0], corners[a, 1] = min(corners[a, 0], corners[b, 0]), min(corners[a, 1], corners[b, 1])
        corners[a, 2], corners[a, 3] = max(corners[a, 2], corners[b, 2]), max(corners[a, 3], corners[b, 3])
        level[a] = max(level[a], level[b]) + 1
        boxes[made], levels[made] = corners[a], level[a]
        merged[made - regions, 0], merged[made - regions, 1] = a, b

        follow[tail[a]] = head[b]
        at, last = head[a], -1
        while at >= 0:
            other = end[at ^ 1]
            pair = at >> 1
            if place[pair] >= 0 and met[other] == made:  # it touched both: one of the two pairs is enough
                _remove(heap, place, similarity, age, pair, waiting)
                waiting -= 1
            if place[pair] >= 0:
                met[other] = made
                end[at] = a
                similarity[pair] = _similarity(a, other, shares, first, sizes, corners, pixels)
                age[pair] = now
                now += 1
                _settle(heap, place, similarity, age, place[pair], waiting)
                if last < 0:
                    head[a] = at
                else:
                    follow[last] = at
                last = at
            at = follow[at]
        if last >= 0:
            follow[last] = -1
            tail[a] = last
        made += 1
    boxes, levels = boxes[:made], levels[:made]
    boxes[:, 2] -= boxes[:, 0]
    boxes[:, 3] -= boxes[:, 1]
    return boxes, levels, merged[: made - regions]
