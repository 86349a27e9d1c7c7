"""Rows of pictures of any shape: as tall as their tallest picture, a square at most."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orl_explore.figures.boxes import image_with_boxes
from orl_explore.ui import tiles

side = st.integers(1, 5000)


@pytest.mark.parametrize(
    ("sizes", "percent"),
    [
        ([(300, 200), (450, 300)], 150),  # landscapes alone: no hole below them
        ([(300, 200), (200, 200)], 100),
        ([(200, 800)], 100),  # a tall picture is no taller than a square
        ([(800, 200), (400, 300)], 130),  # 4:3 is 133 %: rounded down, so that nothing is cut off
        ([(90000, 1)], tiles.WIDEST),
        ([], 100),
    ],
)
def test_the_shape_of_a_row(sizes, percent):
    assert tiles.shape(sizes) == percent


@given(st.lists(st.tuples(side, side), min_size=1, max_size=10))
def test_every_picture_fits_and_the_tallest_fills_its_tile(sizes):
    width, height = tiles.shape(sizes), 100
    drawn = [min(width, height * w / h) * h / w for w, h in sizes]  # height of each in tiles of this shape
    assert all(tall <= height * 1.001 for tall in drawn)
    if width < tiles.WIDEST:
        assert max(drawn) >= height / (1 + tiles.STEP / 100)
    assert f"[class*=st-key-{tiles.KEY}-{width}-] img {{ aspect-ratio: {width / 100:g} }}" in tiles.STYLE


def test_a_chart_is_as_high_as_its_picture(monkeypatch):
    """4:1 pictures need a quarter of the width, and the margins; 1:4 ones end at the fold."""
    from PIL import Image

    styles = []
    monkeypatch.setattr(tiles.st, "html", styles.append)
    monkeypatch.setattr(tiles.st, "plotly_chart", lambda *_, **__: None)
    for size, share in (((400, 100), "0.2500"), ((100, 400), "4.0000")):
        made = image_with_boxes(Image.new("RGB", size), [], [], [])
        tiles.chart(made, size, key="a chart", above=300)
        margins = made.layout.margin.t + made.layout.margin.b
        assert re.search(rf"min\(100cqw \* {share} \+ {margins}px, max\(300px, 100vh - 300px\)\)", styles[-1])
        assert ".st-key-chart-a-chart " in styles[-1]
