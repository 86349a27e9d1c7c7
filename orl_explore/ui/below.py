"""What lies below the fold of a page: drawn once it comes into view, so that what is above it is there sooner.

With the page's first picture all of it is drawn. When the reader goes on to another one while the part below is out of
sight, it is left empty until the browser says that it is seen. While it is looked at, it is drawn with the page. It
keeps its height until it is there again, so that nothing jumps.

Whether it is seen is a state of the component and no event: it goes along with all else that the browser says, so that
it can come late but is never lost. The server tells what it believes, and the browser contradicts where that is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import streamlit as st

from orl_explore.ui import state

SCRIPT = """
const PATIENCE = 1000;  // milliseconds after which what the server has not heard is said again
const SETTLED = 1500;  // milliseconds after which what was drawn has its own height
const PEEKING = 80;  // pixels of it that may be seen without it being looked at
const ARRIVED = 8000;  // milliseconds in which what is still being drawn may push away what was brought into view

function arrive(frame, part) {  // and stay there, while the page grows, until the reader goes elsewhere
    const stop = new AbortController(), options = { signal: stop.signal, capture: true, passive: true };
    const go = () => {
        const target = (part && frame.querySelector(`.st-key-${part}`)) || frame;
        const { top, bottom } = target.getBoundingClientRect();
        if (top < 0 || bottom > innerHeight) target.scrollIntoView({ block: 'start' });
    };
    for (const act of ['wheel', 'pointerdown', 'keydown']) addEventListener(act, () => stop.abort(), options);
    const sizes = new ResizeObserver(go);
    sizes.observe(frame);
    sizes.observe(frame.closest('.stMainBlockContainer') ?? frame);
    stop.signal.addEventListener('abort', () => sizes.disconnect());
    setTimeout(() => stop.abort(), ARRIVED);
    return stop;
}

export default function ({ parentElement, data, setStateValue }) {
    const host = parentElement.host ?? parentElement, frame = host.closest(`.st-key-${data.frame}`);
    if (!frame) return;
    const own = frame.orlBelow ??= { of: data.of, height: data.height, visible: false, said: 0 };
    own.host = host;
    own.drawn = data.drawn;
    own.believed = data.believed;
    own.tell = () => setStateValue('looked', { visible: own.visible, said: own.said += 1 });
    own.agree = () => {  // until the server knows what is seen, and what is seen is there
        clearTimeout(own.timer);
        if (own.visible === own.believed && (own.drawn || !own.visible)) return;
        own.timer = setTimeout(() => { own.tell(); own.agree(); }, PATIENCE);
    };

    if (own.of !== data.of || !data.drawn) {
        frame.style.minHeight = `${own.height}px`;
        clearTimeout(own.release);
        own.release = null;
    }
    own.of = data.of;
    if (data.drawn && frame.style.minHeight) {
        own.release ??= setTimeout(() => { frame.style.minHeight = ''; own.release = null; }, SETTLED);
    }
    own.sizes ??= new ResizeObserver(() => {
        if (own.drawn && !frame.style.minHeight) own.height = Math.max(data.height, frame.offsetHeight);
    });
    own.sizes.observe(frame);
    own.watch ??= new IntersectionObserver(found => {
        own.visible = found.at(-1).isIntersecting;
        if (own.visible !== own.believed) own.tell();
        own.agree();
    }, { rootMargin: `0px 0px -${PEEKING}px 0px` });
    own.watch.observe(frame);
    own.agree();
    const scrolled = window.orlScrolled ??= {};  // a visit later on begins at the top of the page
    if (data.scroll && data.scroll !== scrolled[data.frame]) {
        scrolled[data.frame] = data.scroll;
        own.arrival?.abort();
        own.arrival = arrive(frame, data.part);
    }
    return () => {
        if (own.host !== host || (frame.isConnected && frame.contains(host))) return;  // drawn anew
        for (const observer of [own.watch, own.sizes]) observer.disconnect();
        clearTimeout(own.timer);
        clearTimeout(own.release);
        own.arrival?.abort();
    };
}
"""
_watcher = st.components.v2.component("orl_below", html="<div></div>", js=SCRIPT)


def show(key: str, draw: Callable[[], None], *, of: str, height: int, within_fragment: bool = False) -> None:
    """Draw what lies below the fold, or leave room for it until it is seen.

    Args:
        key: of this part; letters and hyphens.
        draw: draws it.
        of: what it is of. Another one than was drawn last is not drawn before it is seen.
        height: of the room that is left at first, pixels.
        within_fragment: what this is shown in is a fragment. Then that runs when the part is seen, and no fragment of
            its own: what Streamlit's fragments draw no longer stays on the page when another one runs just then.
    """
    drawn = is_looked_at(key) or st.session_state.get(f"{key} drawn") in (None, of)
    if drawn:
        st.session_state[f"{key} drawn"] = of
    with st.container(key=key):
        (_watch if within_fragment else _watch_alone)(key, of, height)
        if drawn:
            draw()


def bring_into_view(key: str, part: str | None = None) -> None:
    """Scroll to what is shown under this key, and draw it, when the page is drawn next. Made for callbacks.

    Args:
        key: as `show` has it.
        part: key of a container in it, to scroll to; None: to the whole.
    """
    st.session_state.pop(f"{key} drawn", None)
    st.session_state[f"{key} part"] = part
    st.session_state[f"{key} scroll"] = str(time.time_ns())


def is_looked_at(key: str) -> bool:
    """Whether the reader sees this part, as far as the browser has said."""
    said = state.sent(f"{key} watcher", "looked")
    return isinstance(said, dict) and said.get("visible") is True


@st.fragment
def _watch_alone(key: str, of: str, height: int) -> None:
    if st.session_state.get(f"{key} drawn") != of and is_looked_at(key):
        st.rerun()
    _watch(key, of, height)


def _watch(key: str, of: str, height: int) -> None:
    drawn, believed = st.session_state.get(f"{key} drawn") == of, is_looked_at(key)
    data = {
        "frame": key,
        "of": of,
        "drawn": drawn,
        "believed": believed,
        "height": height,
        "scroll": st.session_state.get(f"{key} scroll"),
        "part": st.session_state.get(f"{key} part"),
    }
    _watcher(key=f"{key} watcher", data=data, on_looked_change=lambda: None)
