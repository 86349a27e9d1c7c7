"""Pictures with boxes on them, and the funnel of the filter."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from orl_explore.boxes import REASONS
from orl_explore.figures import boxes as figures


def test_outlines_go_around_each_box():
    x, y = figures.outlines(np.array([[10.0, 20, 4, 6], [0, 0, 2, 2]]))
    assert x == [10, 12, 14, 14, 14, 12, 10, 10, 10, None, 0, 1, 2, 2, 2, 1, 0, 0, 0, None]
    assert y[:10] == [20, 20, 20, 23, 26, 26, 26, 23, 20, None]
    assert len(x) == len(y) == 2 * (figures.POINTS + 1)


def test_boxes_lie_on_the_picture_and_labels_are_text():
    image = Image.new("RGB", (64, 48), "red")
    kept, small = figures.LOOKS["kept"], figures.LOOKS["side"]
    boxes = [[0, 0, 10, 10], [5, 5, 20, 10], [1, 1, 2, 2]]
    made = figures.image_with_boxes(image, boxes, [kept, kept, small], ["<b>one", "two\nlines", "c"])
    assert made.layout.images[0].sizex == 64
    assert made.layout.images[0].source.startswith("data:image/jpeg;base64,")
    assert tuple(made.layout.yaxis.range) == (48, 0)  # y runs downward, as in the picture
    named = {trace.name: trace for trace in made.data if trace.name}
    assert set(named) == {"kept (2)", "too small (1)"}
    assert named["kept (2)"].text[0] == "&lt;b&gt;one"
    assert named["kept (2)"].text[10] == "two<br>lines"
    with pytest.raises(ValueError, match="as many looks"):
        figures.image_with_boxes(image, boxes, [kept], ["a"])
    assert len(figures.image_with_boxes(image, [], [], []).data) == 1


@pytest.mark.parametrize("size", [(640, 160), (640, 400), (640, 640), (400, 640), (160, 640)])
def test_the_height_follows_the_picture(size):
    """No hole below a landscape picture; a tall one is drawn smaller."""
    made = figures.image_with_boxes(Image.new("RGB", size), [], [], [])
    inner = made.layout.height - made.layout.margin.t - made.layout.margin.b
    assert inner == pytest.approx(
        min(640 * size[1] / size[0], 520 - made.layout.margin.t - made.layout.margin.b), abs=1
    )
    looks = list(figures.LOOKS.values())
    many = figures.image_with_boxes(Image.new("RGB", size), [[0, 0, 9, 9]] * len(looks), looks, [""] * len(looks))
    assert many.layout.margin.b > made.layout.margin.b  # a legend of several lines covers no picture


def test_no_more_than_the_limit_is_drawn():
    count = figures.LIMIT + 5
    look = figures.LOOKS["iou"]
    made = figures.image_with_boxes(Image.new("RGB", (9, 9)), [[0, 0, 3, 3]] * count, [look] * count, ["x"] * count)
    assert made.data[0].name == "overlapping (first 400 of 405)"
    assert len(made.data[0].x) == figures.LIMIT * (figures.POINTS + 1)


def test_every_reason_has_a_look_of_its_own():
    looks = [figures.LOOKS[reason] for reason in REASONS]
    assert len({look.name for look in looks}) == len(REASONS)
    assert len({(look.color, look.dash) for look in looks}) == len(REASONS)


def test_funnel_takes_away_step_by_step():
    reasons = np.array(["kept"] * 3 + ["side"] * 10 + ["iou"] * 4 + ["count"] * 2 + ["aspect"])
    counts = figures.count_reasons(reasons)
    assert counts == {"kept": 3, "side": 10, "aspect": 1, "iou": 4, "count": 2, "fallback": 0}
    remain, removed = figures.funnel(counts).data
    assert list(remain.x) == [20, 18, 8, 7, 3]
    assert list(removed.x) == [0, 2, 10, 1, 4]


def test_masks_lie_over_the_picture_the_small_ones_above():
    large, small = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    large[:, :20] = True
    small[5:8, 5:8] = True
    for masks in ([large, small], [small, large]):
        pixels = np.asarray(figures.mask_overlay(masks, (30, 20)))
        assert pixels[0, 25, 3] == 0
        assert pixels[6, 6].tolist() == pixels[5, 7].tolist() != pixels[0, 0].tolist()
        assert pixels[0, 0, 3] == pixels[6, 6, 3] == figures.OPACITY
    overlay = figures.mask_overlay([large], (30, 20))
    plain, covered = (
        figures.image_with_boxes(Image.new("RGB", (30, 20)), [], [], [], overlay=over).layout.images[0].source
        for over in (None, overlay)
    )
    assert plain != covered
