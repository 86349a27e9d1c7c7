"""Drawing with Pillow: boxes, tags and curves, pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orl_explore.figures import drawing
from orl_explore.figures.drawing import PALETTE, couple, curve, draw_boxes, fit_into
from painted_runs import BLUE, GREEN, VERMILLION, WHITE, extent, paint, solid, where

# ---- pictures with boxes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "into", "expected"),
    [
        ((40, 40), (100, 100), (100, 100)),  # small ones are enlarged
        ((400, 200), (100, 100), (100, 50)),
        ((200, 400), (100, 100), (50, 100)),
        ((100, 50), (100, 20), (40, 20)),
        ((3000, 32), (60, 60), (60, 1)),  # 60 * 32 / 3000 = 0.64
        ((3000, 2), (60, 60), (60, 1)),  # not 0
    ],
)
def test_fit(size, into, expected):
    assert fit_into(solid(size), *into).size == expected


@pytest.mark.parametrize(
    ("box", "drawn"),
    [
        ((10, 20, 30, 15), (10, 20, 30, 15)),
        ((0, 0, 60, 60), (0, 0, 60, 60)),  # the whole image: half-open, so its last pixels are 59
        ((-5, 50, 20, 20), (0, 50, 15, 10)),  # cut off at the left and below
        ((30, 30, 1, 1), (30, 30, 1, 1)),
        ((10.4, 10.4, 20.2, 20.2), (10, 10, 21, 21)),  # 10.4 + 20.2 = 30.6: ends before 31
        ((70, 70, 5, 5), (59, 59, 1, 1)),  # outside: the nearest pixel, not an error
    ],
)
def test_draw_boxes(box, drawn):
    image = solid()
    result = draw_boxes(image, [box], [""], [PALETTE[0]], line=2, hairline=0)
    x, y, w, h = drawn
    expected = np.zeros((60, 60), bool)
    expected[y : y + h, x : x + w] = True
    expected[y + 2 : y + h - 2, x + 2 : x + w - 2] = False  # the line is two pixels wide, the inside untouched
    np.testing.assert_array_equal(where(result, VERMILLION), expected)
    np.testing.assert_array_equal(where(result, (128, 128, 128)), ~expected)
    assert image.getcolors() == [(3600, (128, 128, 128))]  # it works on a copy


def test_a_hairline_lies_inside():
    result = draw_boxes(solid(), [(10, 10, 30, 30)], [""], [PALETTE[1]], line=2)
    assert extent(result, BLUE) == (10, 10, 30, 30)
    assert extent(result, WHITE) == (12, 12, 26, 26)


def test_tags_keep_clear_of_each_other():
    image = solid((200, 200))
    boxes = [(10, 10, 150, 150), (10, 10, 140, 140), (10, 10, 130, 130)]  # all begin in the same corner
    plain = draw_boxes(image, boxes, [""] * 3, PALETTE[:3])
    tagged = draw_boxes(image, boxes, ["1", "2", "3"], PALETTE[:3])
    more = [int((where(tagged, color) & ~where(plain, color)).sum()) for color in (VERMILLION, BLUE, GREEN)]
    assert min(more) > 100  # a plate of about 15 x 21 each, less the number; hidden ones would have next to nothing


@pytest.mark.parametrize("size", [(200, 12), (6, 200), (3, 3)])
def test_a_tag_larger_than_the_image(size):
    assert draw_boxes(solid(size), [(0, 0, *size)], ["12"], [PALETTE[0]]).size == size


def test_no_boxes():
    assert draw_boxes(solid(), np.empty((0, 4)), [], []).getcolors() == [(3600, (128, 128, 128))]


def test_couple():
    picture = couple(
        solid((40, 20), paint(1)), solid((20, 40), paint(2)), number="3", similarity=0.5, color=PALETTE[2], width=164
    )
    assert picture.width == 164  # a gap of 164 // 50 between two squares of 80
    assert extent(picture, paint(1)) == (0, 20, 80, 40)  # twice as wide as high, in the middle of its square
    assert extent(picture, paint(2)) == (83 + 20, 0, 40, 80)
    x, y, *_ = extent(picture, GREEN)
    assert x == 0
    assert y >= 80  # the tag is below


# ---- curves --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("highest", "expected"),
    [
        (1.0, [0, 0.5, 1]),
        (0.81, [0, 0.5, 1]),
        (0.79, [0, 0.2, 0.4, 0.6, 0.8]),
        (8.0, [0, 2, 4, 6, 8]),
        (12.3, [0, 5, 10, 15]),
        (3.9e-3, [0, 1e-3, 2e-3, 3e-3, 4e-3]),
        (0.0, [0, 0.5, 1]),
        (-1.0, [0, 0.5, 1]),
    ],
)
def test_ticks(highest, expected):
    assert drawing._ticks(highest) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (1, [1]),
        (3, [1, 2, 3]),
        (20, [1, 10, 20]),
        (150, [1, 50, 100, 150]),
        (101, [1, 50, 101]),  # 100 would touch 101
    ],
)
def test_whole_ticks(epochs, expected):
    assert drawing._whole_ticks(epochs) == expected


def test_a_curve_goes_through_its_points():
    series = {"a": [1.0, 1.0, 1.0], "b": [0.0, math.nan, 0.5]}
    plot = curve(series, title="", colors=PALETTE[:2], size=(400, 200), font_size=10, line=3)
    assert plot.size == (400, 200)
    # The axes: 26 px left, 10 px right, 25 px above, 24 px below; ticks 0, 0.5, 1. The legend is above them.
    assert where(plot, VERMILLION)[25, [26, 100, 208, 300, 389]].all()
    assert where(plot, BLUE)[[176, 138, 100], [26, 208, 390]].all()  # straight over the missing epoch: 0, 0.25, 0.5
    assert where(plot, VERMILLION)[:16].any()
    assert where(plot, BLUE)[:16].any()


@pytest.mark.parametrize("values", [[], [math.nan], [2.0], [0.0, 0.0], list(range(300))])
def test_curves_of_any_length(values):
    plot = curve({"stage 1": values}, title="loss", colors=PALETTE[:1], size=(300, 150))
    drawn = where(plot, VERMILLION)[30:].any()
    assert drawn == any(map(math.isfinite, values))


# ---- text ----------------------------------------------------------------------------------------------------------


def test_shorten():
    font = drawing.load_font(18)
    assert drawing.shorten("town", 200, 18) == "town"
    assert drawing.shorten("café 中", 200, 18) == "cafe ?"  # Pillow's font has no other letters
    short = drawing.shorten("a very long name of a place", 100, 18)
    assert short.endswith("…")
    assert font.getlength(short) <= 100
    assert drawing.shorten("town", 0, 18) == "…"
