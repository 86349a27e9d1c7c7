"""Which entries of the map's legend are hidden, in the address."""

from __future__ import annotations

import pytest

from orl_explore.runs.run import Run
from orl_explore.ui import map_address, map_legend, state
from orl_explore.ui.map_legend import Legend

MUGS = Legend("k", "label", ["mug", "a,b", "", "other"])


@pytest.fixture
def address(monkeypatch):
    """The address and the session's state of a reader."""
    address, said = {}, []
    for module in (map_address, map_legend, state):
        monkeypatch.setattr(module.st, "query_params", address)
        monkeypatch.setattr(module.st, "session_state", {})
    monkeypatch.setattr(state, "fall_back", said.append)
    return address, said


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], None),
        ([1], r"without,a\,b"),
        ([0, 1, 3], "only,"),
        ([0, 2], "without,mug,"),
        ([0, 1, 2, 3], r"without,mug,a\,b,,other"),
    ],
)
def test_there_and_back(address, numbers, text, monkeypatch):
    run = Run("run")
    map_legend.hide(run, MUGS, numbers)
    assert address[0].get("legend") == text
    assert map_legend.hidden(run, MUGS) == numbers
    monkeypatch.setattr(map_legend.st, "session_state", {})  # another reader follows the link
    assert map_legend.hidden(run, MUGS) == numbers
    assert address[1] == []


def test_another_color_shows_all_again_and_back_hides_them(address):
    run, clusters = Run("run"), Legend("c", "cluster", ["cluster 0", "other"])
    map_legend.hidden(run, MUGS)
    map_legend.hide(run, MUGS, [3])
    assert map_legend.hidden(run, clusters) == []
    assert "legend" not in address[0]
    address[0]["legend"] = "without,other"
    assert map_legend.hidden(run, MUGS) == [3]


@pytest.mark.parametrize("text", ["", "all", "without,cup", "only,cup"])
def test_what_is_typed_wrong(address, text):
    address[0]["legend"] = text
    assert map_legend.hidden(Run("run"), MUGS) == []
    assert len(address[1]) == 1
