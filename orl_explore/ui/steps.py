"""Buttons that go on or back in a row, and their keys: quick presses add up, and none is lost while the server works.

Streamlit's own buttons tell that they were pressed, not how often: the browser counts, and says where that leads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from orl_explore.ui import state

SCRIPT = """
const TEXT = 'textarea, [contenteditable=true], [role=combobox][aria-expanded=true], '
    + 'input:not([type=checkbox]):not([type=radio]):not([type=range]):not([type=button])';

export default function ({ parentElement, data, setStateValue }) {
    const host = parentElement.host ?? parentElement, frame = host.closest(`.st-key-${data.frame}`);
    if (!frame) return;
    const own = frame.orlSteps ??= { client: crypto.randomUUID?.() ?? String(Math.random()), presses: 0, to: null };
    const says = parentElement.querySelector('[role=status]');
    if (own.presses) says.textContent = data.says;  // where the presses have led, for those who do not see it
    if (data.heard[0] === own.client && data.heard[1] === own.presses) own.to = null;  // the server is there
    own.host = host;
    own.step = by => {
        const to = own.to === null ? (by > 0 ? data.next : data.previous) : own.to + by;
        own.to = Math.max(0, Math.min(to, data.count - 1));
        own.presses += 1;
        setStateValue('to', { client: own.client, presses: own.presses, place: own.to });
    };
    own.pressed = button => data.buttons.find(one => button?.closest(`.st-key-${one.key}`));
    own.typed = event => data.buttons.find(one => one.letter === event.key.toUpperCase());
    own.click ??= event => {
        const found = own.pressed(event.target.closest('button'));
        if (!found) return;
        event.stopPropagation();
        own.step(found.by);
    };
    own.press ??= event => {
        if (!frame.isConnected || !event.shiftKey || event.ctrlKey || event.metaKey || event.altKey) return;
        const found = own.typed(event);
        if (!found || document.querySelector('[role=dialog]') || event.composedPath()[0].matches?.(TEXT)) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        own.step(found.by);
    };
    frame.addEventListener('click', own.click, true);  // the same listener again is no other one
    addEventListener('keydown', own.press, true);
    return () => {
        if (own.host !== host || (frame.isConnected && frame.contains(host))) return;  // drawn anew
        frame.removeEventListener('click', own.click, true);
        removeEventListener('keydown', own.press, true);
    };
}
"""
HTML = '<div role="status" aria-live="polite"></div>'
CSS = "div { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }"
_counter = st.components.v2.component("orl_steps", html=HTML, css=CSS, js=SCRIPT)


def count(
    key: str,
    buttons: Mapping[str, tuple[int, str]],
    *,
    previous: int,
    next: int,
    of: int,
    says: str,
    on_step: Callable[[int], None],
) -> None:
    """Count the presses of buttons that stand in the same container, in place of Streamlit.

    Args:
        key: of the container; letters and hyphens.
        buttons: their keys -> 1 or -1, and the letter that does the same together with Shift.
        previous: place to which one step back leads.
        next: place to which one step on leads.
        of: number of places; a step beyond the first or the last one leads there.
        says: what is shown now, which screen readers are told after a step.
        on_step: is called with the place where the presses lead.
    """
    name = f"{key} steps"

    def said() -> dict[str, Any]:
        found = state.sent(name, "to")
        return found if isinstance(found, dict) else {}

    def stepped() -> None:
        place = said().get("place")
        if isinstance(place, int) and 0 <= place < of:
            on_step(place)

    data = {
        "frame": key,
        "buttons": [
            {"key": button.replace(" ", "-"), "by": by, "letter": letter} for button, (by, letter) in buttons.items()
        ],
        "previous": previous,
        "next": next,
        "count": of,
        "says": says,
        "heard": [said().get("client"), said().get("presses")],
    }
    _counter(key=name, data=data, on_to_change=stepped)
