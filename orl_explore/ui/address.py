"""The address of a page: its parameters, as this window has left them last.

With everything that the browser asks for, it says the address. What it sent before it had heard of a change says the
address of before that, and must not take the change back: pages ask and tell the address here, never Streamlit itself.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

BEHIND: Final = 2.0
"""Seconds after a change in which the browser may still speak of the address as it was before."""

EVERYWHERE: Final = ("run", "image", "only")
"""Parameters in the address of every page of a run."""

OF_IMAGE: Final = ("rank", "pair", "region", "boxes", "place")
"""Parameters that belong to an image, and go with it."""

KEPT: Final = (*EVERYWHERE, "rank", "pair", "region", "pairs", "judging", "reviewer")
"""Parameters that are kept while other pages are looked at."""

OWN: Final = "parameters of the page"
"""Where the session keeps which parameters the page has that was drawn last."""

_CHANGES: Final = "changes of the address"


@dataclass(frozen=True)
class _Change:
    before: frozenset[str | None]
    """What the parameter was, in the last moments; None: it was not there."""
    after: str | None
    when: float
    by: str | None
    """Key of the widget that changed it; None: something else did."""


def parameters() -> dict[str, str]:
    """All parameters."""
    said: dict[str, str] = st.query_params.to_dict()
    page, changes = _changes()
    if is_step_of_history() or page != _page():
        changes.clear()
    now = time.monotonic()
    for name, change in changes.items():
        if now - change.when < BEHIND and said.get(name) in change.before:
            said.pop(name, None)
            if change.after is not None:
                said[name] = change.after
    return said


def get(name: str) -> str | None:
    """A parameter; None where the address does not name it."""
    return parameters().get(name)


def put(**changes: str | None) -> None:
    """Change parameters, also those that are kept for other pages; None takes one out."""
    kept = st.session_state.setdefault("address", {})
    for name, value in changes.items():
        kept.pop(name, None)
        if value is not None and name in KEPT:
            kept[name] = value
    become(parameters() | changes)


def hear(widget: str, name: str, value: str | None, *, take: Callable[[], None] | None = None) -> bool:
    """Let a widget change a parameter, unless it says what was before a change by another. Made for `on_change`.

    Streamlit takes what the browser said before it heard of that change for a change by the reader. Then the widget has
    to be given its value again. And it tells of widgets that have left with their page: what they say is not heard.

    Args:
        widget: its key.
        name: of the parameter.
        value: that the widget has; None takes the parameter out.
        take: changes the parameter, and what goes with it; None: the parameter alone changes.

    Returns:
        False where the widget has to be given its value again.
    """
    if name not in st.session_state.get(OWN, (name,)):
        return True
    _, changes = _changes()
    last = changes.get(name)
    if last is not None and last.by != widget and time.monotonic() - last.when < BEHIND and value in last.before:
        return False
    if take is None:
        put(**{name: value})
    else:
        take()
    _, changes = _changes()
    if name in changes:
        changes[name] = dataclasses.replace(changes[name], by=widget)
    return True


def become(wanted: Mapping[str, str | None]) -> None:
    """Have these parameters and no others; None is none."""
    there = parameters()
    new = {name: value for name, value in wanted.items() if value is not None}
    _, changes = _changes()
    now = time.monotonic()
    for name in {*there, *new}:
        if there.get(name) != new.get(name):
            last = changes.get(name)
            earlier = last.before if last is not None and now - last.when < BEHIND else frozenset()
            changes[name] = _Change((earlier | {there.get(name)}) - {new.get(name)}, new.get(name), now, None)
    st.session_state[_CHANGES] = _page(), changes
    if new != st.query_params.to_dict():
        st.query_params.from_dict(new)


def is_step_of_history() -> bool:
    """Whether the reader went back or forward in the browser's history."""
    context = get_script_run_ctx(suppress_warning=True)
    return context is not None and context.is_history_navigation


def _changes() -> tuple[str, dict[str, _Change]]:
    """The page, and its last changes by name."""
    found: tuple[str, dict[str, _Change]] = st.session_state.get(_CHANGES, ("", {}))
    return found


def _page() -> str:
    context = get_script_run_ctx(suppress_warning=True)
    return "" if context is None else context.page_script_hash
