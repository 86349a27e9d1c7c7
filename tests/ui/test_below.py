"""What lies below the fold of a page."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from orl_explore.ui import below


def page() -> None:
    import streamlit as st

    from orl_explore.ui import below

    st.text_input("Image", "1", key="image")
    st.text(f"picture {st.session_state['image']}")
    st.button("Show below", on_click=below.bring_into_view, args=("part",))
    below.show("part", lambda: st.text(f"matrix {st.session_state['image']}"), of=st.session_state["image"], height=300)


@pytest.fixture
def app():
    """The page on its first picture."""
    return AppTest.from_function(page).run()


@pytest.fixture
def seen(monkeypatch):
    """What the browser says, as it can be told here."""
    said = {"part": False}
    monkeypatch.setattr(below, "is_looked_at", said.__getitem__)
    return said


def words(app: AppTest) -> list[str]:
    return [text.value for text in app.text]


def look(app: AppTest, image: str) -> list[str]:
    """Go on to a picture."""
    app.text_input(key="image").input(image).run()
    return words(app)


def test_another_picture_is_drawn_below_once_that_is_seen(app, seen):
    assert words(app) == ["picture 1", "matrix 1"]  # the first one is drawn as a whole
    assert look(app, "2") == ["picture 2"]
    app.run()
    assert words(app) == ["picture 2"]
    seen["part"] = True
    assert look(app, "2") == ["picture 2", "matrix 2"]
    seen["part"] = False
    assert look(app, "2") == ["picture 2", "matrix 2"]  # what is drawn stays when the reader scrolls up


def test_while_it_is_looked_at_it_is_drawn_with_the_page(app, seen):
    seen["part"] = True
    assert look(app, "2") == ["picture 2", "matrix 2"]
    assert look(app, "3") == ["picture 3", "matrix 3"]


def test_what_is_brought_into_view_is_drawn(app, seen):
    assert look(app, "2") == ["picture 2"]
    app.button[0].click().run()
    assert words(app) == ["picture 2", "matrix 2"]
    assert look(app, "3") == ["picture 3"]
