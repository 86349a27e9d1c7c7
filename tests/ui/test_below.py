"""What lies below the fold of a page."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def page() -> None:
    import streamlit as st

    from orl_explore.ui import below

    st.text_input("Image", "1", key="image")
    st.text(f"picture {st.session_state['image']}")

    def draw() -> None:
        st.text(f"matrix {st.session_state['image']}")
        st.text_input("Kept", key="kept")
        st.button("Choose", on_click=below.changes_page, args=("part",))

    below.show("part", draw, of=st.session_state["image"], height=300, keep=["kept"])


def words(app: AppTest) -> list[str]:
    return [text.value for text in app.text]


def say(app: AppTest, of: str) -> None:
    """Tell the app what a browser does that sees the room that was left."""
    app.session_state["part seen"] = of
    app.run()


def test_another_picture_is_drawn_below_once_that_is_seen():
    app = AppTest.from_function(page).run()
    assert words(app) == ["picture 1", "matrix 1"]  # the first one is drawn as a whole
    app.text_input(key="kept").input("mine").run()
    app.text_input(key="image").input("2").run()
    assert words(app) == ["picture 2"]
    say(app, "1")  # too late, it is of the picture before
    assert words(app) == ["picture 2"]
    say(app, "2")
    assert words(app) == ["picture 2", "matrix 2"]
    assert app.text_input(key="kept").value == "mine"


def test_what_is_chosen_below_draws_the_page_and_what_is_below():
    app = AppTest.from_function(page).run()
    app.button[0].click().run()
    assert words(app) == ["picture 1", "matrix 1"]
    app.session_state["part changes page"] = True  # as a callback says it that goes to another picture, too
    app.text_input(key="image").input("2").run()
    assert words(app) == ["picture 2", "matrix 2"]
