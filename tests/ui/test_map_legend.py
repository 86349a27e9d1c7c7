"""Which entries of the map's legend are hidden, in the address."""

from __future__ import annotations

import pytest

from orl_explore.runs.run import Run
from orl_explore.ui import address, map_legend, state
from orl_explore.ui.map_legend import Legend

MUGS = Legend("k", "label", ["mug", "a,b", "", "other"])


@pytest.fixture
def reader(monkeypatch):
    """The address and what is said to a reader, whose session has no state yet."""
    named, said = {}, []

    def put(**changes):
        for name, value in changes.items():
            named.pop(name, None)
            if value is not None:
                named[name] = value

    monkeypatch.setattr(address, "get", named.get)
    monkeypatch.setattr(address, "put", put)
    monkeypatch.setattr(map_legend.st, "session_state", {})
    monkeypatch.setattr(state, "fall_back", said.append)
    return named, said


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
def test_there_and_back(reader, numbers, text, monkeypatch):
    run = Run("run")
    map_legend.hide(run, MUGS, numbers)
    assert reader[0].get("legend") == text
    assert map_legend.hidden(run, MUGS) == numbers
    monkeypatch.setattr(map_legend.st, "session_state", {})  # another reader follows the link
    assert map_legend.hidden(run, MUGS) == numbers
    assert reader[1] == []


def test_another_color_shows_all_again_and_back_hides_them(reader):
    run, clusters = Run("run"), Legend("c", "cluster", ["cluster 0", "other"])
    map_legend.hidden(run, MUGS)
    map_legend.hide(run, MUGS, [3])
    assert map_legend.hidden(run, clusters) == []
    assert "legend" not in reader[0]
    reader[0]["legend"] = "without,other"
    assert map_legend.hidden(run, MUGS) == [3]


@pytest.mark.parametrize("text", ["", "all", "without,cup", "only,cup"])
def test_what_is_typed_wrong(reader, text):
    reader[0]["legend"] = text
    assert map_legend.hidden(Run("run"), MUGS) == []
    assert len(reader[1]) == 1
