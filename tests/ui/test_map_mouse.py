"""The object map and the mouse: what the browser asks for and is answered."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from flat_maps import flat_layout
from orl_explore.maps import object_map
from orl_explore.ui import map_mouse, state


@pytest.fixture
def run(run, monkeypatch):
    """A finished run with a map that UMAP had no part in."""
    monkeypatch.setattr(object_map, "umap_layout", flat_layout)
    object_map.make_object_map(run)
    return run


def chosen(app):
    return [box.value for box in app.markdown if box.value.startswith("**Region")]


@pytest.mark.parametrize(
    ("clicked", "chosen"), [(4, [4]), (0, [0]), (-1, []), (10**9, []), ("4", []), (None, []), ([4], []), (4.0, [])]
)
def test_a_click_on_the_map_is_of_a_region_or_none(run, monkeypatch, clicked, chosen):
    """What the browser says was clicked is not to be trusted either."""
    held, told, asked = {}, [], {}
    monkeypatch.setattr(map_mouse.st, "session_state", held)
    monkeypatch.setattr(map_mouse, "_mouse", lambda **arguments: asked.update(arguments))
    map_mouse.listen(run, state.table(run, "regions"), (0.5, 2.0), told.append)
    assert asked["data"] == {"under": None, "chosen": (0.5, 2.0), "clicks": 0}
    held[asked["key"]] = {"clicked": clicked}
    asked["on_clicked_change"]()
    assert told == chosen
    map_mouse.listen(run, state.table(run, "regions"), (0.5, 2.0), told.append)
    assert asked["data"]["clicks"] == 1  # answered, even if it was the chosen one, or none


@pytest.mark.parametrize("asked", [None, -1, 10**9, "3", "<b>", 1.5, [3]])
def test_the_crop_under_the_mouse_is_of_a_region_or_none(run, asked):
    """What the browser asks for is not to be trusted."""
    assert map_mouse.crop(run, state.table(run, "regions"), asked) is None


def test_the_crop_under_the_mouse(run):
    made = map_mouse.crop(run, state.table(run, "regions"), 3)
    assert made["region"] == 3
    picture = Image.open(io.BytesIO(base64.b64decode(made["source"].removeprefix("data:image/jpeg;base64,"))))
    w, h = run.read("regions").loc[3, ["w", "h"]]
    assert abs(picture.width / picture.height - w / h) < 0.1
