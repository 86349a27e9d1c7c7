"""Box geometry against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orl_explore.boxes import filter_boxes, iou, is_kept, jitter_box


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 10, 10), 50 / 150),  # half of each is shared
        ((0, 0, 10, 10), (10, 0, 10, 10), 0.0),  # half-open: column 10 is the first one outside
        ((0, 0, 10, 10), (0, 9, 10, 10), 10 / 190),  # one row shared
        ((0, 0, 10, 10), (2, 2, 5, 5), 25 / 100),  # contained
        ((0, 0, 10, 10), (0, 0, 20, 5), 50 / 150),  # equal areas, crossed shapes
        ((0, 0, 10, 10), (5, 5, 10, 10), 25 / 175),  # a quarter of each
        ((0, 0, 10, 10), (30, 40, 5, 5), 0.0),  # apart in both directions: no (-) x (-) = (+)
        ((0, 0, 10, 10), (9.5, 0, 10, 10), 5 / 195),  # fractions of pixels
        ((0, 0, 10, 10), (3, 3, 0, 0), 0.0),
        ((3, 3, 0, 0), (3, 3, 0, 0), 0.0),  # 0 / 0 is no overlap
    ],
)
def test_iou(a, b, expected):
    assert iou([a], [b]) == pytest.approx(np.array([[expected]]))
    assert iou([b], [a]) == pytest.approx(np.array([[expected]]))


def test_iou_is_a_matrix_of_a_against_b():
    a = np.array([[0, 0, 10, 10], [100, 100, 10, 10]], np.int32)
    b = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [100, 100, 5, 10]], np.int32)
    assert iou(a, b) == pytest.approx(np.array([[1, 0.5, 0], [0, 0, 0.5]]))
    assert iou(a, np.empty((0, 4))).shape == (2, 0)


def test_iou_does_not_overflow_small_integer_types():
    big = np.array([[0, 0, 60_000, 60_000]], np.int32)  # the area is beyond int32
    assert iou(big, big)[0, 0] == 1


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        pytest.param([(0, 0, 96, 96), (200, 0, 95, 200)], "kept side", id="side: 96 is enough, 95 is not"),
        pytest.param(
            [(0, 0, 288, 96), (0, 200, 289, 96), (400, 0, 96, 289)],  # 288 / 96 = 3 exactly
            "kept aspect aspect",
            id="aspect: 3 is allowed, more is not, lying or standing",
        ),
        pytest.param([(0, 0, 400, 400), (0, 0, 50, 400)], "kept side", id="side is tested before aspect"),
        pytest.param([(0, 0, 400, 100), (0, 0, 400, 100)], "fallback aspect", id="aspect before IoU"),
        pytest.param(
            [(0, 0, 100, 100), (0, 0, 100, 200)],  # 10000 / 20000
            "kept kept",
            id="IoU of 0.5 exactly is allowed",
        ),
        pytest.param([(0, 0, 100, 100), (0, 0, 100, 199)], "kept iou", id="IoU 10000 / 19900 is not"),
        # Neighbors in this row of three overlap by 80 / 120 = 0.67, the outer two by 60 / 140 = 0.43.
        pytest.param(
            [(0, 0, 100, 100), (20, 0, 100, 100), (40, 0, 100, 100)],
            "kept iou kept",
            id="a dropped box does not strike out others",
        ),
        pytest.param(
            [(20, 0, 100, 100), (0, 0, 100, 100), (40, 0, 100, 100)],
            "kept iou iou",
            id="the same boxes in another order",
        ),
        pytest.param([(0, 0, 10, 10), (0, 0, 50, 95), (0, 0, 500, 100)], "fallback side aspect", id="fallback"),
        pytest.param([], "", id="nothing in, nothing out"),
    ],
)
def test_filter_boxes(boxes, expected):
    assert filter_boxes(boxes).tolist() == expected.split()


def test_filter_stops_at_max_boxes():
    boxes = [(0, 0, 100, 100), (0, 0, 10, 10), (200, 0, 100, 100), (400, 0, 100, 100), (0, 0, 10, 10)]
    # The walk ends at the second kept box; what comes after is not looked at, the tiny one included.
    assert filter_boxes(boxes, max_boxes=2).tolist() == ["kept", "side", "kept", "count", "count"]
    assert filter_boxes(boxes, max_boxes=3).tolist() == ["kept", "side", "kept", "kept", "count"]
    assert filter_boxes(boxes, max_boxes=4).tolist() == ["kept", "side", "kept", "kept", "side"]


def test_filter_settings():
    boxes = [(0, 0, 20, 20), (0, 0, 20, 15), (50, 0, 40, 20)]  # IoU of the first two: 300 / 400
    assert filter_boxes(boxes, min_side=15).tolist() == ["kept", "iou", "kept"]
    assert filter_boxes(boxes, min_side=15, max_iou=0.75).tolist() == ["kept"] * 3
    assert filter_boxes(boxes, min_side=16, max_aspect=1.9).tolist() == ["kept", "side", "aspect"]
    assert filter_boxes([(0, 0, 0, 9), (0, 0, 9, 9)], min_side=0).tolist() == ["aspect", "kept"]
    with pytest.raises(ValueError, match="max_boxes"):
        filter_boxes(boxes, max_boxes=0)
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        filter_boxes(np.zeros((3, 5)))


def filter_by_the_letter(boxes, *, min_side, max_aspect, max_iou, max_boxes):
    """The method's sentence, one box at a time."""
    kept, reasons = [], []
    for box in boxes:
        w, h = box[2:]
        if len(kept) == max_boxes:
            reasons.append("count")
        elif min(w, h) < min_side:
            reasons.append("side")
        elif max(w, h) / min(w, h) > max_aspect:
            reasons.append("aspect")
        elif any(iou([box], [other])[0, 0] > max_iou for other in kept):
            reasons.append("iou")
        else:
            kept.append(box)
            reasons.append("kept")
    if boxes and not kept:
        reasons[0] = "fallback"
    return reasons


@given(
    boxes=st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 30), st.integers(1, 30)), max_size=30
    ),
    min_side=st.integers(1, 15),
    max_boxes=st.integers(1, 8),
)
def test_filter_is_what_the_method_says(boxes, min_side, max_boxes):
    settings = {"min_side": min_side, "max_aspect": 2.0, "max_iou": 0.4, "max_boxes": max_boxes}
    assert filter_boxes(boxes, **settings).tolist() == filter_by_the_letter(boxes, **settings)


@pytest.mark.parametrize("kind", [np.array, pd.Series, lambda reasons: pd.Series(pd.Categorical(reasons))])
def test_is_kept(kind):
    reasons = kind(["kept", "side", "aspect", "iou", "count", "fallback"])
    assert is_kept(reasons).tolist() == [True, False, False, False, False, True]


@st.composite
def boxes_in_images(draw):
    width, height = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    w, h = draw(st.integers(1, width - x)), draw(st.integers(1, height - y))
    return (x, y, w, h), (width, height)


@given(where=boxes_in_images(), seed=st.integers(0, 2**32))
def test_jitter_keeps_its_promises(where, seed):
    box, (width, height) = where
    jittered = jitter_box(box, image_size=(width, height), rng=np.random.default_rng(seed))
    assert jittered.dtype == np.int64
    assert jittered.shape == (4,)
    x, y, w, h = jittered.tolist()
    assert x >= 0
    assert y >= 0
    assert x + w <= width
    assert y + h <= height
    if tuple(jittered) == box:
        return  # no draw was accepted
    assert iou([box], [jittered])[0, 0] > 0.5
    # Before rounding, sides were within 0.5 of w and h, and the center within 0.75 of where it is now.
    area = box[2] * box[3]
    assert (w + 0.5) * (h + 0.5) >= 0.5 * area
    assert (w - 0.5) * (h - 0.5) <= 2 * area
    assert (w + 0.5) / (h - 0.5) >= 0.5
    assert (w - 0.5) / (h + 0.5) <= 2
    assert abs(x + w / 2 - box[0] - box[2] / 2) <= 0.5 * box[2] + 0.75
    assert abs(y + h / 2 - box[1] - box[3] / 2) <= 0.5 * box[3] + 0.75


class Draws:
    """A generator that draws what it is told, checking the limits it is asked for."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def uniform(self, low, high, shape):
        expected_low, expected_high, values = self.draws.pop(0)
        assert (low, high) == pytest.approx((expected_low, expected_high))
        values = np.array(values, dtype=np.float64)
        assert np.full(shape, 0.0).shape == values.shape
        return values


def test_jitter_by_hand():
    rng = Draws(
        (0.5, 2, [2.0, 1.0, 0.64, 1.0]),
        (-np.log(2), np.log(2), np.log([1, 1, 16 / 9, 1])),
        (-0.5, 0.5, [(0.5, 0), (0.4, 0.4), (0.1, -0.05), (0, 0)]),
    )
    # 1: 85 x 85 around (160, 130), right edge 202: outside. 2: 60 x 60 moved by 24 both ways: IoU 1296 / 5904.
    # 3: area 0.64 * 3600 = 2304 = 64 x 36, aspect 16 / 9; center (130 + 6, 130 - 3), corner (104, 109):
    #    the overlap is 56 x 36 = 2016, IoU 2016 / (3600 + 2304 - 2016) = 0.52: taken. 4: would be perfect.
    jittered = jitter_box((100, 100, 60, 60), image_size=(200, 200), rng=rng, tries=4)
    assert jittered.tolist() == [104, 109, 64, 36]


def test_jitter_may_touch_the_border():
    rng = np.random.default_rng(0)
    draws = np.array([jitter_box((0, 0, 60, 60), image_size=(60, 60), rng=rng) for _ in range(300)])
    smaller = draws[(draws != [0, 0, 60, 60]).any(axis=1)]
    assert smaller[:, :2].min() == 0
    assert ((smaller[:, :2] + smaller[:, 2:]).max(axis=0) == 60).all()


def test_jitter_moves_boxes_that_have_room():
    rng = np.random.default_rng(0)
    draws = np.array([jitter_box((100, 100, 60, 60), image_size=(300, 300), rng=rng) for _ in range(200)])
    assert len(np.unique(draws, axis=0)) > 190
    sides = draws[:, 2:]
    assert sides.min() < 50  # both shrinks
    assert sides.max() > 72  # and grows
    ratio = sides[:, 0] / sides[:, 1]
    assert ratio.min() < 0.75
    assert ratio.max() > 1.33
    assert np.abs(np.log(ratio).mean()) < 0.1  # no shape is favored
    assert np.abs(draws[:, :2] + sides / 2 - 130).max() > 10


@pytest.mark.parametrize(
    ("box", "image_size", "tries"),
    [
        ((0, 0, 1, 1), (1, 1), 200),  # nowhere to go
        ((0, 0, 200, 10), (200, 10), 200),  # inside, aspect <= 2 leaves 20 x 10 at most: IoU 0.1
        ((50, 50, 60, 60), (200, 200), 0),
    ],
)
def test_jitter_gives_the_box_itself_when_no_draw_is_accepted(box, image_size, tries):
    jittered = jitter_box(box, image_size=image_size, rng=np.random.default_rng(0), tries=tries)
    assert tuple(jittered) == box


def test_jitter_takes_from_the_generator_the_same_amount_whatever_happens():
    stuck, free = np.random.default_rng(3), np.random.default_rng(3)
    jitter_box((0, 0, 200, 10), image_size=(200, 10), rng=stuck)
    jitter_box((50, 50, 60, 60), image_size=(200, 200), rng=free)
    assert stuck.random() == free.random()
