"""The look that figures share: colors by number, names that are no markup, small pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from orl_explore.figures import style


def test_the_palette_begins_anew():
    colors = [style.color(number) for number in range(25)]
    assert len(set(colors)) == 12
    assert colors[12:24] == colors[:12]
    assert colors[24] == colors[0]


def test_twelve_colors_can_be_told_apart():
    """In CIE Lab, where 2 or 3 is the least difference that is seen: 25 at least, and as much from the gray."""
    import cv2

    names = [*style.GROUPS, style.QUIET]
    pixels = np.array([ImageColor.getrgb(name) for name in names], np.float32)[None] / 255
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    assert distance[np.triu_indices(len(names), 1)].min() > 25


def test_what_a_figure_asks_for_wins():
    plain, made = style.figure(), style.figure(height=100, margin={"t": 0}, showlegend=False)
    assert (plain.layout.height, plain.layout.margin.t, plain.layout.margin.l) == (320, 40, 8)
    assert (made.layout.height, made.layout.margin.t, made.layout.margin.l) == (100, 0, 8)
    assert made.layout.showlegend is False


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<b>cat</b>", "&lt;b&gt;cat&lt;/b&gt;"),
        ("a & b", "a &amp; b"),
        ("&lt;", "&amp;lt;"),  # what looks escaped was typed like that
        ("%{x}", "%&#123;x}"),  # a hover template would put a number there
        ("$x^2$", "&#36;x^2&#36;"),  # and MathJax a formula here
        (7, "7"),
    ],
)
def test_names_are_no_markup(text, escaped):
    assert style.escape(text) == escaped


@pytest.mark.parametrize(
    ("size", "side", "small"),
    [((200, 100), 50, (50, 25)), ((100, 200), 50, (25, 50)), ((40, 30), 50, (40, 30))],  # never enlarged
)
def test_a_picture_in_a_figure(size, side, small):
    head, _, data = style.data_uri(Image.new("RGBA", size, (255, 0, 0, 255)), side).partition(",")
    assert head == "data:image/jpeg;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (picture.format, picture.size) == ("JPEG", small)
    red, green, blue = picture.getpixel((3, 3))
    assert red > 250
    assert max(green, blue) < 5
