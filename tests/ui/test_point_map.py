"""The component that answers the map: crops for what is asked, clicks and selections; and numbers from the browser."""

from __future__ import annotations

import pytest

from orl_explore.errors import OrlError
from orl_explore.ui import point_map, state


@pytest.fixture
def heard(run, monkeypatch):
    """What the component is given, and how the browser answers: `heard({"wanted": [3]})`."""
    calls = []
    monkeypatch.setattr(point_map, "_answers", lambda **arguments: calls.append(arguments))
    key = f"object map answers {run.path}"

    def hear(said, **options):
        monkeypatch.setattr(point_map.st, "session_state", {key: said})
        defaults = {"chosen": None, "selected": [], "legend": "k", "hidden": [2]}
        defaults |= dict.fromkeys(["on_click", "on_select", "on_hide"])
        point_map.answer(run, run.read("regions"), **(defaults | options))
        return calls[-1]

    hear.calls = calls
    return hear


def test_crops_of_what_is_asked_for(heard):
    data = heard({"wanted": [3, 5]}, chosen=3, selected=[5, 6])["data"]
    assert list(data["crops"]) == [3, 5]
    assert data["crops"][3].startswith("data:image/jpeg;base64,")
    assert (data["chosen"], data["selected"]) == (3, [5, 6])
    assert heard({})["data"]["selected"] is None


def test_clicks_selections_and_the_legend(heard):
    clicked, selected, hidden = [], [], []
    options = {"on_click": clicked.append, "on_select": selected.append, "on_hide": hidden.append}
    call = heard(
        {
            "clicked": {"act": 5, "regions": [4]},
            "selected": {"act": 6, "regions": [1, 2]},
            "hidden": {"turn": 7, "legend": "k", "entries": [0, "x", 5000]},
        },
        **options,
    )
    assert (call["data"]["legend"], call["data"]["hidden"]) == ("k", [2])
    for name in ("clicked", "selected", "hidden"):
        call[f"on_{name}_change"]()
    assert (clicked, selected, hidden) == ([4], [[1, 2]], [[0]])
    assert (call["data"]["act"], call["data"]["turn"]) == (None, None)
    assert {6, 7} <= {value for value in point_map.st.session_state.values() if isinstance(value, int)}
    heard({"hidden": {"turn": 8, "legend": "another", "entries": [1]}}, **options)["on_hidden_change"]()
    assert hidden == [[0]]
    call = heard({"clicked": None, "selected": None}, **options)
    call["on_clicked_change"]()
    call["on_selected_change"]()
    assert (clicked, selected) == ([4], [[1, 2]])


@pytest.mark.parametrize("said", [10**9, -1, "3", None, 2.5, {}])
def test_the_browser_is_not_trusted(heard, said):
    clicked = []
    for answer in (said, {"act": 1, "regions": said}, {"act": 1, "regions": [said]}):
        heard({"clicked": answer}, on_click=clicked.append)["on_clicked_change"]()
    call = heard({"wanted": [said], "hidden": said}, on_click=clicked.append)
    call["on_hidden_change"]()
    assert (clicked, call["data"]["crops"]) == ([], {})


def test_an_image_that_is_gone(run, heard, request):
    """That is said, and the others' crops are sent all the same."""
    regions = run.read("regions")
    path = state.images(run).path(state.row_of(run, int(regions["image_id"].iloc[0])))
    away = path.rename(path.with_suffix(".away"))
    request.addfinalizer(lambda: away.rename(path))  # other tests see the same images
    last = len(regions) - 1
    with pytest.raises(OrlError, match="no such file"):
        heard({"wanted": [0, last]})
    assert list(heard.calls[-1]["data"]["crops"]) == [last]
