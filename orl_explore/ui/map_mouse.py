"""The object map and the mouse: the crop of the point under it, clicks on points, and the ring around the chosen one.

Streamlit's own clicks run the whole page, and Plotly then draws every point anew. Here a click runs only the fragment
that the component stands in, and the map stays as it is. Plotly's own labels could hold text alone.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from orl_explore.boxes import BOX
from orl_explore.runs.run import Run
from orl_explore.ui import state

SIDE = 120
"""Longer side of the crop, pixels."""

HTML = '<div class="card" hidden><img alt="crop under the mouse"></div>'
CSS = """
.card { position: fixed; z-index: 1000; padding: 4px; border-radius: 6px; pointer-events: none;
        background: var(--st-background-color); border: 1px solid var(--st-border-color); line-height: 0; }
"""
SCRIPT = """
const RING = 'position:absolute;box-sizing:border-box;width:20px;height:20px;margin:-10px;pointer-events:none;'
    + 'border:2px solid #000;border-radius:50%;box-shadow:0 0 0 2px #fff, inset 0 0 0 2px #fff';  // seen on any ground

const REST = 60;  // milliseconds after which the mouse rests on a point
const LATE = 100;  // milliseconds; Plotly looks every 50 what is under the mouse
const near = (one, other) => Math.hypot(one.x - other.x, one.y - other.y) < 4;  // pixels

// Streamlit calls this when what the server sends has changed, and what it returns when the place on the page goes, or
// when a call was overtaken by another one.
export default function (sent) {
    const mouse = sent.parentElement.mouse ??= follow(sent.parentElement);
    mouse.update(sent);
    return () => {
        if (mouse.last() !== sent) return;
        mouse.stop();
        delete sent.parentElement.mouse;
    };
}

function follow(parentElement) {
    const card = parentElement.querySelector('.card'), image = card.querySelector('img');
    const ring = Object.assign(document.createElement('div'), { className: 'orl-ring', hidden: true });
    ring.style = RING;
    let last = null, plot = null, under, place = {}, pressed = null, asked = false, resting = 0, late = 0;

    const placeCard = () => {
        card.hidden = under === undefined || String(under) !== image.dataset.region;
        if (card.hidden) return;
        const { width, height } = card.getBoundingClientRect(), { x, y } = place;
        card.style.left = Math.max(4, Math.min(x - width / 2, innerWidth - width - 4)) + 'px';
        card.style.top = (y + 48 + height < innerHeight ? y + 48 : y - 48 - height) + 'px';
    };
    const placeRing = () => {
        if (!plot) return;
        const { xaxis, yaxis } = plot._fullLayout, { chosen } = last.data;
        const [x, y] = chosen ? [xaxis.l2p(chosen[0]), yaxis.l2p(chosen[1])] : [-1, -1];
        ring.hidden = x < 0 || y < 0 || x > xaxis._length || y > yaxis._length;
        ring.style.left = xaxis._offset + x + 'px';
        ring.style.top = yaxis._offset + y + 'px';
    };

    const ask = () => {  // for what the mouse rests on, not for all that it passes, and not before a click is answered
        clearTimeout(resting);
        if (under === undefined || !card.hidden || asked) return;
        resting = setTimeout(() => last.setStateValue('region', under), REST);
    };
    const choose = () => {
        if (under === undefined) return;
        clearTimeout(resting);
        asked = true;
        last.setTriggerValue('clicked', under);
    };
    const hover = ({ points, event }) => {  // comes when it is another point
        under = points[0].customdata?.[0];
        place = { x: event?.clientX, y: event?.clientY };
        placeCard();
        ask();
    };
    const leave = () => { clearTimeout(resting); under = undefined; placeCard(); };
    const press = ({ button, clientX: x, clientY: y }) => { pressed = button === 0 ? { x, y } : null; };
    const release = ({ clientX: x, clientY: y }) => {
        const still = pressed && near(pressed, { x, y });  // else the map was moved
        pressed = null;
        if (!still || plot?._fullLayout.dragmode !== 'pan') return;
        if (near(place, { x, y })) return choose();
        late = setTimeout(() => {  // a mouse that was fast: Plotly did not look while the button was down
            const move = new MouseEvent('mousemove', { clientX: x, clientY: y, bubbles: true });
            plot?.querySelector('.nsewdrag')?.dispatchEvent(move);
            late = setTimeout(choose, LATE);
        });
    };
    const events = { plotly_hover: hover, plotly_unhover: leave, plotly_afterplot: placeRing,
        plotly_relayouting: placeRing };

    const detach = () => {
        for (const [name, handler] of Object.entries(events)) plot?.removeListener?.(name, handler);
        plot?.removeEventListener('pointerdown', press, true);
        ring.remove();
        plot = null;
    };
    const attach = () => {  // another coloring of the map is another plot
        const found = document.querySelector('[class*=st-key-object-map-chart] .js-plotly-plot');
        if (found === plot || !found?.on || !found._fullLayout?.xaxis) return;
        detach();
        leave();
        plot = found;
        for (const [name, handler] of Object.entries(events)) plot.on(name, handler);
        plot.addEventListener('pointerdown', press, true);
        plot.querySelector('.svg-container').append(ring);
        placeRing();
    };
    addEventListener('pointerup', release, true);  // Plotly covers the window while a button is down
    image.onload = placeCard;
    const timer = setInterval(attach, 300);

    const update = sent => {
        last = sent;
        asked = false;
        if (sent.data.under) {
            image.src = sent.data.under.source;
            image.dataset.region = sent.data.under.region;
        }
        attach();
        placeCard();
        placeRing();
        ask();
    };
    const stop = () => {
        [resting, late].forEach(clearTimeout);
        clearInterval(timer);
        removeEventListener('pointerup', release, true);
        detach();
    };
    return { update, stop, last: () => last };
}
"""

_mouse = st.components.v2.component("orl_map_mouse", html=HTML, css=CSS, js=SCRIPT)


def listen(
    run: Run, regions: pd.DataFrame, chosen: tuple[float, float] | None, on_click: Callable[[int], None]
) -> None:
    """Follow the mouse over the map. Made for a fragment, which is run for every point that the mouse rests on.

    Args:
        run: the run.
        regions: its table of regions.
        chosen: where on the map the ring stands.
        on_click: is called with the number of a region whose point was clicked.
    """
    # Streamlit refuses two underscores in a row in the name of a component, and runs may have them in theirs.
    name = str(run.path).replace("__", "_ _")
    key, clicks = f"object map mouse {name}", f"object map clicks {run.path}"

    def clicked() -> None:
        st.session_state[clicks] = st.session_state.get(clicks, 0) + 1
        region = _number(st.session_state[key].get("clicked"), len(regions))
        if region is not None:
            on_click(region)

    under = (st.session_state.get(key) or {}).get("region")
    # The number of clicks makes each answer another one: the browser is not told of what has not changed.
    data: dict[str, Any] = {"under": None, "chosen": chosen, "clicks": st.session_state.get(clicks, 0)}
    try:
        data["under"] = crop(run, regions, under)
    finally:  # an image that cannot be read does not end the listening
        _mouse(key=key, data=data, on_region_change=_nothing, on_clicked_change=clicked)


def crop(run: Run, regions: pd.DataFrame, region: object) -> dict[str, Any] | None:
    """What the browser needs to show a region; None where what it asks for is none."""
    number = _number(region, len(regions))
    if number is None:
        return None
    row = regions.iloc[number]
    picture = state.thumbnail(run, int(row["image_id"]), side=SIDE, box=row[BOX].to_numpy(int))
    return {"region": number, "source": "data:image/jpeg;base64," + base64.b64encode(picture).decode()}


def _number(region: object, count: int) -> int | None:
    """The number of a region; the browser is not to be trusted with it."""
    return region if isinstance(region, int) and 0 <= region < count else None


def _nothing() -> None:
    """A state that has no callback is not told of."""
