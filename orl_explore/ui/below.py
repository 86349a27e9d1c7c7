"""What lies below the fold of a page: drawn once it comes into view, so that what is above it is there sooner.

With the page's first picture all of it is drawn. When the reader goes on to another one, the part below is left empty
until the browser says that it is seen, which on a tall window is at once; only this part is drawn then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from orl_explore.ui import state

SCRIPT = """
const PATIENCE = 1000;  // milliseconds after which an answer that has not come is asked for again

export default function ({ parentElement, data, setTriggerValue }) {
    const room = parentElement.querySelector('.room');
    room.style.height = `${data.height}px`;
    const ask = () => setTriggerValue('seen', data.of);
    const stop = () => { room.watch?.disconnect(); clearInterval(room.timer); };
    stop();  // what was watched for the picture before
    room.watch = new IntersectionObserver(found => {
        clearInterval(room.timer);
        if (!found.at(-1).isIntersecting) return;
        ask();
        room.timer = setInterval(ask, PATIENCE);
    });
    room.watch.observe(room);
    return stop;
}
"""
_room = st.components.v2.component("orl_below", html='<div class="room"></div>', js=SCRIPT)


def show(key: str, draw: Callable[[], None], *, of: str, height: int, keep: Sequence[str] = ()) -> None:
    """Draw what lies below the fold, or leave room for it until it is seen.

    Args:
        key: of this part.
        draw: draws it, as a fragment: what is clicked in it runs no more than it. A callback that changes what stands
            above calls `changes_page`.
        of: what it is of. Another one than was drawn last is not drawn before it is seen.
        height: of the room that is left, pixels.
        keep: keys of widgets in it that keep their values while it is not drawn.
    """
    _part(key, draw, of, height, tuple(keep))


@st.fragment
def _part(key: str, draw: Callable[[], None], of: str, height: int, keep: Sequence[str]) -> None:
    if st.session_state.pop(f"{key} changes page", False):
        st.session_state[f"{key} seen"] = None  # the reader looks at it: draw it with the page
        st.rerun()
    seen, room = f"{key} seen", f"{key} room"

    def comes_into_view() -> None:
        if st.session_state[room].get("seen") == of:  # not what a browser says of the one before
            st.session_state[seen] = of

    with state.explained(key):
        if st.session_state.get(seen) in (None, of):
            st.session_state[seen] = of
            draw()
            return
        for name in keep:
            if name in st.session_state:
                st.session_state[name] = st.session_state[name]
        _room(key=room, data={"of": of, "height": height}, on_seen_change=comes_into_view)


def changes_page(key: str) -> None:
    """Have the whole page drawn after a callback in this part; the part, which the reader looks at, with it."""
    st.session_state[f"{key} changes page"] = True
