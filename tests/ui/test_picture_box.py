"""The picture that a box is drawn on: what the browser answers is checked."""

from __future__ import annotations

import base64

import pytest
from PIL import Image

from orl_explore.ui import picture_box

PICTURE = Image.new("RGB", (40, 30))


@pytest.mark.parametrize(
    ("answer", "box"),
    [
        ({"of": "a", "box": [1, 2, 10, 11]}, (1, 2, 10, 11)),
        ({"of": "a", "box": [30, 20, 100, 100]}, (30, 20, 10, 10)),
        ({"of": "a", "box": None}, None),  # a click took it away
        ({"of": "b", "box": [1, 2, 10, 11]}, None),  # drawn on another picture
        ({"of": "a", "box": [1, 2, 3]}, None),
        ({"of": "a", "box": ["1", 2, 3, 4]}, None),
        ({"of": "a", "box": [float("nan"), 2, 3, 4]}, None),
        ({"of": "a", "box": [1e30, 2, 3, 4]}, None),
        ("box", None),
        (None, None),
    ],
)
def test_boxes(answer, box):
    assert picture_box.checked(answer, PICTURE, "a") == box
    assert picture_box.checked(answer, None, "a") is None


def test_what_is_pasted():
    assert picture_box.pasted("data:image/png;base64," + base64.b64encode(b"x").decode()) == b"x"
    for answer in (None, 5, "data:text/html;base64,AAAA", "data:image/png;base64,%%%"):
        assert picture_box.pasted(answer) is None
