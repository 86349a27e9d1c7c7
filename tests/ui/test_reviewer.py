"""Who judges: no two windows are one reviewer by chance, and a reload keeps the name."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from orl_explore.runs.reviews import KEY, Pair, read_disputes, read_verdicts, save_review
from orl_explore.ui import reviewer


def window(run):
    import streamlit as st

    from orl_explore.runs.run import Run
    from orl_explore.ui import reviewer

    who = reviewer.field(st, Run(run))
    st.button("judge", on_click=reviewer.remember, args=(who,))
    st.text(who)


@pytest.fixture
def opened(run, monkeypatch):
    monkeypatch.setattr(reviewer, "_given", {})
    monkeypatch.setattr(reviewer, "_is_open", lambda session: False)  # whose sessions are all one

    def open_window(**query):
        app = AppTest.from_function(window, args=(str(run.path),))
        for name, value in query.items():
            app.query_params[name] = value
        return app.run()

    return open_window


def who(app):
    return app.text[0].value


def test_two_windows_without_a_name_are_two(run, opened):
    first, second = opened(), opened()
    assert who(first) != who(second)
    assert who(first.run()) != who(second.run())
    pair = Pair(*map(int, run.read("pairs")[KEY].iloc[0]))
    for app, verdict in ((first, "accepted"), (second, "rejected")):
        save_review(run, pair, verdict=verdict, reviewer=who(app))
    assert len(read_disputes(run)) == 2
    reviewer._given.clear()  # the app is started again
    assert who(opened()) not in set(read_verdicts(run)["reviewer"])


def test_a_reload_keeps_the_name_once_it_has_judged(opened, monkeypatch):
    first = opened()
    assert "reviewer" not in first.query_params
    first.button[0].click().run()
    name = who(first)
    assert first.query_params["reviewer"] in (name, [name])
    assert who(opened(reviewer=name)) == name
    monkeypatch.setattr(reviewer, "_is_open", lambda session: session is not None)
    assert who(opened(reviewer=name)) != name  # a link that was sent to somebody else, while that window is open


def test_a_name_that_was_typed(opened):
    app = opened(reviewer="  Ann   B ")
    assert who(app) == "Ann B"
    app.text_input[0].input("Bob").run()
    assert who(app) == "Bob"
    app.text_input[0].input("").run()
    assert who(app).startswith("reader ")
