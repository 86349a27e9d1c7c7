"""Corresponding boxes in pictures: joined by lines, and as a matrix."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from orl_explore.figures import pairs as figures


def test_matrix():
    similarity = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    link = figures.Link(1, 1, 2, 0.6, verdict="accepted")
    figure = figures.matrix(similarity, [link], chosen=(0, 1))
    (heat,) = figure.data
    np.testing.assert_array_equal(heat.z, similarity.astype(np.float32))
    assert heat.x.tolist() == [1, 2, 3]
    assert heat.y.tolist() == [1, 2]
    (mark,) = figure.layout.annotations
    assert (mark.x, mark.y, mark.text) == (3, 2, "<b>1 ✓</b>")
    frame = figure.layout.shapes[-1]
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (1.5, 2.5, 0.5, 1.5)


def test_joined():
    left = figures.Picture(b"", (200, 100), "<i>a</i> & b")
    right = figures.Picture(b"", (50, 100), "c")
    boxes = np.array([[0, 0, 100, 100], [100, 0, 100, 100]])
    links = [figures.Link(1, 1, 0, 0.9, strong=True), figures.Link(2, 1, 1, 0.8, verdict="rejected")]
    figure = figures.joined(left, right, boxes, boxes // (2, 1, 2, 1), links)
    texts = [annotation.text for annotation in figure.layout.annotations]
    assert texts == ["&lt;i&gt;a&lt;/i&gt; &amp; b", "c", "<b>1</b>", "<b>2 ✗</b>", "<b>1</b>", "<b>2 ✗</b>"]
    tags = figure.layout.annotations[2:]
    boxes_of = {trace.hovertemplate[:6]: trace.line.color for trace in figure.data if trace.hovertemplate}
    assert [tag.bgcolor for tag in tags] == [boxes_of[f"pair {tag.text[3]}"] for tag in tags]  # of its pair's boxes
    assert tags[0].xshift == 0 < tags[1].xshift  # two pairs of one box: beside each other
    lines = [trace for trace in figure.data if trace.hovertemplate and len(trace.x) == 2]
    # Pair 2 first, the strong one on top; both begin at the right edge of box 1 of a picture one wide, half as high.
    assert [line.x[0] for line in lines] == [1, 1]
    assert [line.y[0] for line in lines] == [0.5, 0.5]
    assert lines[0].x[1] == pytest.approx(1 + figures.GAP + 0.25 + 0.5)
    assert [line.line.dash for line in lines] == ["dot", "solid"]
    assert len(figures.joined(left, right, boxes, boxes, [], all_boxes=True).data) == 2


@pytest.mark.parametrize("sizes", [((400, 100), (400, 100)), ((100, 400), (300, 200)), ((50, 50), (400, 300))])
def test_the_height_follows_the_pictures(sizes):
    """At the aspect that is named, the pictures fill the height between the margins; titles have lines of their own."""
    left, right = (figures.Picture(b"", size, title) for size, title in zip(sizes, ("a", "b\nc"), strict=True))
    figure = figures.joined(left, right, np.zeros((0, 4)), np.zeros((0, 4)), [])
    low, high = sorted(figure.layout.yaxis.range)
    across = figure.layout.xaxis.range[1] - figure.layout.xaxis.range[0]
    assert figures.aspect(left, right) == pytest.approx(across / (high - low))
    tallest = max(picture.sizey for picture in figure.layout.images)
    assert high - low == pytest.approx(tallest, abs=0.021)
    assert figure.layout.margin.t >= 2 * figures.LINE
    assert figure.layout.annotations[1].text == "b<br>c"


def test_changes_are_drawn_without_numbers_and_the_gained_on_top():
    picture, boxes = figures.Picture(b"", (100, 100), ""), np.array([[0, 0, 10, 10], [20, 0, 10, 10]])
    links = [figures.Link(None, 0, row, 0.5, change=name) for row, name in ((0, "gained"), (1, "lost"), (1, "kept"))]
    figure = figures.joined(picture, picture, boxes, boxes, links)
    lines = [trace for trace in figure.data if len(trace.x) == 2]
    assert [line.hovertemplate.partition("<br>")[0] for line in lines] == ["kept", "lost", "gained"]
    assert [(line.line.color, line.line.dash, line.line.width) for line in lines] == list(figures.CHANGES.values())
    assert [note.text for note in figure.layout.annotations] == ["", ""]  # the titles alone


def test_colors_can_be_told_apart():
    assert len({figures.color(number) for number in range(1, 8)}) == 7
    assert figures.GRAY not in {figures.color(number) for number in range(1, 50)}
    assert figures.letters(figures.color(7)) == "#111111"


def test_crop_uris():
    assert len(figures.crop_uris(Image.new("RGB", (90, 60)), np.array([[0, 0, 90, 60], [10, 10, 1, 50]]))) == 2


# ---- categories ----------------------------------------------------------------------------------------------------


def crossed(count):
    """Pairs of categories: that of number n has n + 1 pairs with itself and one with the unlabeled."""
    own = np.arange(count)
    table = pd.DataFrame({"query_category": own, "key_category": own, "pairs": own + 1})
    return pd.concat([table, pd.DataFrame({"query_category": -1, "key_category": own, "pairs": 1})], ignore_index=True)


def cells(table, names):
    """The figure, and the number of pairs by the categories of row and column."""
    figure, codes = figures.confusion(table, names), figures.confusion_codes(table, names).tolist()
    (heat,) = figure.data
    np.testing.assert_array_equal(np.isnan(heat.z), heat.customdata == 0)
    counts = zip(itertools.product(codes, codes), heat.customdata.ravel().tolist(), strict=True)
    return figure, dict(counts)


def test_few_categories_have_a_row_each():
    figure, found = cells(crossed(3), ["cup", "unlabeled", "other"])
    assert (found[1, 1], found[-1, 2], found[0, 1]) == (2, 1, 0)
    assert figure.data[0].text[3][2] == "(unlabeled) with other"
    assert list(figure.layout.xaxis.ticktext) == ["cup", "unlabeled", "other", "(unlabeled)"]


@pytest.mark.parametrize("count", [41, 1203])
def test_many_categories_are_small_enough_for_a_browser(count):
    table = crossed(count)
    figure, found = cells(table, [f"kind {number}" for number in range(count)])
    assert len(figure.to_json()) < 500_000
    assert sum(found.values()) == table["pairs"].sum()
    assert len(found) == (figures.SHOWN + 2) ** 2
    assert found[count - 1, count - 1] == count  # the largest has its row
    assert found[-1, figures.OTHER_CODE] == count - figures.SHOWN
