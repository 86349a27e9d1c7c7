"""The compiled selective search against OpenCV's, on pictures small enough to know the answer."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from orl_explore import selective_search as compiled
from orl_explore.errors import OrlError
from orl_explore.proposals import selective_search

RED, GREEN = (220, 30, 60), (40, 160, 90)


def flat(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def halves(height: int, width: int, *, axis: int) -> np.ndarray:
    image = np.full((height, width, 3), GREEN, np.uint8)
    (image if axis == 0 else image.swapaxes(0, 1))[(height, width)[axis] // 2 :] = RED
    return image


def disc() -> np.ndarray:
    """A disc of radius 30 around (60, 50)."""
    y, x = np.mgrid[:120, :120]
    image = np.full((120, 120, 3), (200, 200, 190), np.uint8)
    image[(x - 60) ** 2 + (y - 50) ** 2 <= 30**2] = (20, 90, 160)
    return image


def ramp(height: int, width: int) -> np.ndarray:
    """Black on the left, white on the right."""
    return np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8)[:, None], (height, width, 3)).copy()


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def line() -> np.ndarray:
    """White, with one black column."""
    image = np.full((64, 64, 3), 255, np.uint8)
    image[:, 32] = 0
    return image


def found(image: np.ndarray, method: str) -> set[tuple[int, ...]]:
    return set(map(tuple, selective_search(image, seed=0, method=method).tolist()))


@pytest.mark.parametrize("method", ["fast", "opencv"])
@pytest.mark.parametrize(
    ("image", "boxes"),
    [
        *((flat(*shape), {(0, 0, shape[1], shape[0])}) for shape in [(1, 1), (2, 3), (1, 50), (64, 64), (3, 400)]),
        # Two regions and what they are merged to.
        (halves(60, 80, axis=1), {(0, 0, 40, 60), (40, 0, 40, 60), (0, 0, 80, 60)}),
        (halves(60, 80, axis=0), {(0, 0, 80, 30), (0, 30, 80, 30), (0, 0, 80, 60)}),
        (halves(8, 1200, axis=1), {(0, 0, 600, 8), (600, 0, 600, 8), (0, 0, 1200, 8)}),
        (halves(1200, 8, axis=0), {(0, 0, 8, 600), (0, 600, 8, 600), (0, 0, 8, 1200)}),
        # A picture one pixel high: as first row it has no neighbors, so nothing is merged. The two blurred pixels on
        # the right of the border differ less from each other than from what is beyond, and join the left half.
        (halves(1, 400, axis=1), {(0, 0, 202, 1), (202, 0, 198, 1)}),
        # The line, of 64 pixels, is too small for a region of its own and joins one of the two sides that it parts.
        (line(), {(0, 0, 33, 64), (33, 0, 31, 64), (0, 0, 64, 64)}),
        # Of fewer than 100 pixels no first region can be made but one.
        (noise(1, 2), {(0, 0, 2, 1)}),
        (noise(7, 9), {(0, 0, 9, 7)}),
    ],
)
def test_known_boxes(image, boxes, method):
    assert found(image, method) == boxes


@pytest.mark.parametrize("method", ["fast", "opencv"])
def test_a_disc_has_its_box(method):
    boxes = found(disc(), method)
    assert (30, 20, 61, 61) in boxes
    assert (0, 0, 120, 120) in boxes


@pytest.mark.parametrize(
    ("image", "common"),
    [
        (disc(), 1.0),
        (noise(64, 64), 1.0),
        (noise(100, 140, seed=1), 1.0),
        (noise(1, 700), 1.0),
        (noise(700, 1), 1.0),
        # Pairs of equal similarity: which is merged first is a matter of the sorting algorithm.
        (ramp(50, 200), 0.75),
        # Beyond 2.4 : 1 OpenCV reads the diagonal gradients from a few pixels beside the right place.
        (noise(12, 900), 0.7),
    ],
    ids=["disc", "noise", "more noise", "row", "column", "ramp", "panorama"],
)
def test_both_find_the_same_boxes(image, common):
    fast, opencv = found(image, "fast"), found(image, "opencv")
    assert len(fast & opencv) >= common * len(fast | opencv)


@pytest.mark.parametrize("shape", [(90, 130), (37, 300), (300, 37), (2, 700)])
def test_boxes_are_distinct_and_lie_inside(shape):
    boxes = selective_search(noise(*shape), seed=0)
    assert boxes.dtype == np.int32
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert boxes[:, :2].min() >= 0
    assert boxes[:, 2:].min() >= 1
    assert (boxes[:, :2] + boxes[:, 2:]).max(axis=0).tolist() == [shape[1], shape[0]]


def test_first_regions_are_those_of_opencv():
    """The segmentation leaves nothing to chance, not even where differences are equal."""
    import cv2

    image = cv2.cvtColor(disc() + noise(120, 120) // 8, cv2.COLOR_RGB2LAB)
    edges, weights = compiled._sorted_edges(cv2.GaussianBlur(image.astype(np.float32), (0, 0), compiled.SIGMA))
    assert (np.diff(weights) >= 0).all()
    assert len(edges) == 2 * 120 * 119
    for scale in compiled.SCALES:
        expected = cv2.ximgproc.segmentation.createGraphSegmentation(compiled.SIGMA, scale, 100).processImage(image)
        labels, count = compiled._segment(edges, weights, 120, 120 * 120, np.float32(scale), 100)
        np.testing.assert_array_equal(labels.reshape(120, 120), expected)
        assert count == expected.max() + 1 > 1


def test_regions_that_are_alike_are_merged_first():
    """Two reds above two greens, each light and dark: two of one hue join before all are the picture."""
    image = np.repeat(np.array([RED, (154, 21, 42), GREEN, (28, 112, 63)], np.uint8), 32, axis=0)[:, None]
    maps = compiled.regions_left(np.repeat(image, 96, axis=1), [9, 4, 2, 1])
    assert [len(np.unique(labels)) for labels in maps] == [4, 4, 2, 1]
    inside = [labels[[16, 48, 80, 112], 48].tolist() for labels in maps]
    assert inside == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 0, 2, 2], [0, 0, 0, 0]]


def test_histograms_count_every_pixel_once():
    """By hand: a region's color bins hold 3 counts for each of its pixels, its texture bins 2 for each gradient."""
    labels = np.repeat([0, 1], [40, 60]).astype(np.int32)
    features, resting = compiled._features(noise(10, 10))
    counts = compiled._histograms(features, resting, labels, np.array([40, 60], np.int32))
    assert counts[:, : compiled.COLOR].sum(axis=1).tolist() == [3 * 40, 3 * 60]
    assert counts[:, compiled.COLOR :].reshape(2, 24, 10).sum(axis=2).tolist() == [[40] * 24, [60] * 24]


def test_pieces_of_a_panorama_join_without_a_seam(monkeypatch):
    picture = noise(40, 1000)
    pieces = list(compiled._gradients(picture))  # two of 512 pixels
    monkeypatch.setattr(compiled, "MAX_ASPECT", 100)
    whole = list(compiled._gradients(picture))
    for piece, expected in zip(pieces, whole, strict=True):
        # The turned pictures lie on other grids; both are interpolated twice.
        inside = np.corrcoef(piece[:, 500:524].ravel(), expected[:, 500:524].ravel())[0, 1]
        assert inside > 0.8
        assert piece.shape == picture.shape


@pytest.mark.parametrize("method", ["fast", "opencv"])
def test_max_side_gives_boxes_of_the_whole_picture(method):
    image = halves(120, 160, axis=1)
    small = selective_search(image, seed=0, method=method, max_side=40)
    # 40 x 30 pixels, four times enlarged: the halves meet at 20, which is 80.
    assert sorted(small.tolist()) == [[0, 0, 80, 120], [0, 0, 160, 120], [80, 0, 80, 120]]
    same = selective_search(image, seed=0, method=method, max_side=160)
    np.testing.assert_array_equal(same, selective_search(image, seed=0, method=method))
    odd = selective_search(noise(151, 203), seed=0, method=method, max_side=97)
    assert (odd[:, :2] + odd[:, 2:]).max(axis=0).tolist() == [203, 151]
    assert len(np.unique(odd, axis=0)) == len(odd)
    assert odd.dtype == np.int32


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    return done.stdout.strip()


def test_without_numba_opencv_is_there():
    code = """
import sys
sys.modules["numba"] = None
import numpy as np
from orl_explore.errors import OrlError
from orl_explore.proposals import selective_search
image = np.zeros((8, 8, 3), np.uint8)
print(selective_search(image, seed=0, method="opencv").tolist())
try:
    selective_search(image, seed=0)
except OrlError as error:
    print(error)
"""
    boxes, message = run(code).splitlines()
    assert boxes == "[[0, 0, 8, 8]]"
    assert "--stage2.proposals opencv" in message


def test_what_is_compiled_is_kept_where_there_is_a_place(monkeypatch, caplog):
    import numba

    def refuse(function=None, cache=False):
        if cache:
            raise RuntimeError("no locator available")
        return lambda *arguments: ("in memory", function(*arguments))

    monkeypatch.setattr(numba, "njit", lambda *a, **k: refuse(*a, **k) if a else lambda f: refuse(f, **k))
    with caplog.at_level("INFO"):
        assert compiled._compiled(abs)(-3) == ("in memory", 3)
    assert "compiled anew" in caplog.text


def test_trouble_other_than_numba_is_not_hidden(monkeypatch):
    monkeypatch.setitem(sys.modules, "orl_explore.selective_search", None)
    monkeypatch.delattr("orl_explore.selective_search")
    with pytest.raises(ImportError) as error:
        selective_search(flat(4, 4), seed=0)
    assert not isinstance(error.value, OrlError)
