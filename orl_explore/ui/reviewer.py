"""Who judges in this window: the name that was typed, else one of its own, so that no two are one by chance."""

from __future__ import annotations

import itertools
import re
import threading
from typing import Any, Final

import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from orl_explore.errors import OrlError
from orl_explore.runs.reviews import REVIEWER_LENGTH, read_verdicts
from orl_explore.runs.run import Run
from orl_explore.ui import address, state

PARAMETER: Final = "reviewer"
"""Of the address: the name, once it was typed or has judged; so that a reload keeps it."""

_OWN: Final = re.compile(r"reader [1-9]\d{0,8}")
_given: dict[str, str] = {}
"""Name of a window -> its session."""
_lock = threading.Lock()


def name(run: Run) -> str:
    """The name that verdicts of this window carry; never empty."""
    wanted = " ".join((address.get(PARAMETER) or "").split())[:REVIEWER_LENGTH]
    if wanted and not _OWN.fullmatch(wanted):
        return wanted
    if "reader" not in st.session_state:
        st.session_state["reader"] = _give(run, wanted)
    return str(st.session_state["reader"])


def _give(run: Run, wanted: str) -> str:
    """A name that no other window has; the wanted one where its window is gone, as after a reload."""
    context = get_script_run_ctx()
    session = context.session_id if context else ""
    try:
        known = set(read_verdicts(run)["reviewer"])
    except OrlError:  # of other pairs, as the page says
        known = set()
    with _lock:
        if not wanted or _is_open(_given.get(wanted)):
            names = (f"reader {number}" for number in itertools.count(1))
            wanted = next(free for free in names if free not in known and free not in _given)
        _given[wanted] = session
    return wanted


def _is_open(session: str | None) -> bool:
    return session is not None and runtime.exists() and runtime.get_instance().is_active_session(session)


def remember(who: str) -> None:
    """Put the window's own name into the address, as it has judged now. Made for callbacks."""
    if who == st.session_state.get("reader") and address.get(PARAMETER) != who:
        address.put(**{PARAMETER: who})


def field(place: Any, run: Run) -> str:
    """The field for the name, wherever one judges; returns the name."""
    who = name(run)
    changed = state.follow(
        "reviewer",
        PARAMETER,
        read=lambda text: "" if text is None or _OWN.fullmatch(text) else text,
        write=lambda text: text or None,
    )
    place.text_input(
        "Your name, kept with your verdicts",
        key="reviewer",
        placeholder=f"Your name (you are {who})",
        max_chars=REVIEWER_LENGTH,
        label_visibility="collapsed",
        on_change=changed,
    )
    return who
