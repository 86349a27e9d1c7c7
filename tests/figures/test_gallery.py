"""Small pictures in a grid."""

from __future__ import annotations

import pytest
from PIL import Image

from orl_explore.figures import gallery


def texts(figure) -> list[str]:
    return [note.text for note in figure.layout.annotations]


def test_a_gallery_fits_each_picture_into_its_square_and_escapes_captions():
    pictures = [Image.new("RGB", (100, 50)), Image.new("RGB", (10, 30)), Image.new("RGB", (8, 8))]
    made = gallery.gallery(pictures, ["a<b>\nc", "", "d"], columns=2, frames={2: "red"}, width=200)
    assert texts(made) == ["a&lt;b&gt;<br>c", "", "d"]
    first, second, third = made.layout.images
    assert (first.sizex, first.sizey) == pytest.approx((0.94, 0.47))
    assert first.x == pytest.approx(0.03)
    assert first.y == pytest.approx(0.265)  # in the middle of its square
    assert (second.sizex, second.sizey) == pytest.approx((0.94 / 3, 0.94))
    assert third.x == pytest.approx(0.03)  # a row of its own: a square of 100 px, two lines of 17 px, 8 px
    assert third.y == pytest.approx(1.42 + 0.03)
    assert made.layout.height == 4 + 2 * 142
    assert [shape.line.color for shape in made.layout.shapes] == ["red"]


def test_a_gallery_wants_a_caption_for_each_picture():
    with pytest.raises(ValueError, match="not 1 and 0"):
        gallery.gallery([], ["a"])
