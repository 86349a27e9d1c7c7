"""The map of the regions in the browser: a component that draws it, and a small one that answers it.

Streamlit sends a component anew when anything of what it shows has changed, and a map is millions of bytes. So what is
clicked, drawn around or looked at is heard by another component, in a fragment: a click runs no more than that, and the
map stays as it is. It is drawn on plain canvases by `point_map.js`, without WebGL, which a browser may lack or lose.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore.boxes import BOX
from orl_explore.errors import OrlError
from orl_explore.runs.run import Run
from orl_explore.ui import state

SIDE: Final = 120
"""Longer side of a crop on the map, pixels."""

CROPS: Final = 80
"""Crops sent at once at most."""

LEGEND: Final = 100
"""Entries of a legend at most."""

HTML = """
<div class="board"></div>
<div class="tools">
  <button type="button" class="in" aria-label="zoom in" title="Zoom in (+)">+</button>
  <button type="button" class="out" aria-label="zoom out" title="Zoom out (-)">&minus;</button>
  <button type="button" class="all" aria-label="show all" title="Show all (0)">⤢</button>
</div>
<div class="bar" hidden>
  <span class="from"></span>
  <input class="slider" type="range" min="0" max="1" step="0.01" value="0" aria-label="between the two encoders">
  <span class="to"></span>
  <button type="button" class="play">Slide</button>
</div>
<div class="legend" role="group" aria-label="legend"></div>
<div class="card" hidden><img alt="crop under the mouse"><span></span></div>
"""

CSS = """
:host { display: block; position: relative; }
.board { display: flex; gap: 8px; height: max(500px, 64vh); }
.map { position: relative; flex: 1; min-width: 0; border: 1px solid var(--st-border-color); border-radius: 8px;
       overflow: hidden; }
.map canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
.map .over { touch-action: none; cursor: crosshair; }
.map .over:focus { outline: none; }
.map:focus-within { border-color: var(--st-primary-color); }
.map:has(.over:focus-visible:not([data-pressed])) { box-shadow: 0 0 0 2px var(--st-primary-color); }
.title { position: absolute; top: 6px; left: 10px; font-weight: 600; pointer-events: none; }
.hint { position: absolute; bottom: 10px; left: 0; right: 0; margin: auto; width: max-content; padding: 4px 10px;
        border-radius: 6px; background: #000c; color: #fff; pointer-events: none; }
[hidden] { display: none !important; }
.tools { position: absolute; top: 8px; right: 8px; display: flex; flex-direction: column; gap: 4px; }
button { font: inherit; color: inherit; cursor: pointer; background: var(--st-background-color);
         border: 1px solid var(--st-border-color); border-radius: 6px; }
button:focus-visible { outline: 2px solid var(--st-primary-color); }
.tools button { width: 30px; height: 30px; line-height: 1; }
.bar { display: flex; gap: 12px; align-items: center; padding: 8px 2px 0; }
.bar .slider { flex: 1; accent-color: var(--st-primary-color); }
.bar .play { padding: 2px 12px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px; align-items: center; padding: 8px 0 0; font-size: 0.875rem; }
.entry { display: inline-flex; gap: 6px; align-items: center; padding: 1px 8px; border-radius: 12px;
         user-select: none; max-width: 100%; }
.entry span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; max-width: 22rem; }
.entry i { flex: none; width: 10px; height: 10px; border-radius: 50%; }
.entry[aria-pressed=false] { opacity: 0.4; text-decoration: line-through; }
.ramp { width: 200px; height: 10px; border-radius: 5px; }
.card { position: fixed; z-index: 1000; padding: 4px; border-radius: 6px; pointer-events: none; font-size: 0.8rem;
        background: var(--st-background-color); border: 1px solid var(--st-border-color);
        max-width: 260px; overflow-wrap: anywhere; }
@media (max-width: 700px) {
    .board { flex-direction: column; height: auto; }
    .map { flex: none; height: 340px; }
}
.card img { display: block; margin: 0 auto 2px; max-width: 140px; }
"""

ANSWERS = """
const PATIENCE = 10000;  // milliseconds after which an answer is waited for no longer

export default function ({ data, setStateValue, setTriggerValue }) {
    const hub = window.orlMap ??= Object.assign(new EventTarget(), { crops: new Map(), chosen: null, selected: null });
    if (hub.run !== data.run || hub.crops.size > 3000) {
        if (hub.run !== data.run) hub.turn = hub.act = 0;
        hub.run = data.run;
        hub.crops.clear();
    }
    for (const [region, source] of Object.entries(data.crops)) {
        if (hub.crops.has(Number(region))) continue;
        const image = new Image();
        image.onload = () => hub.dispatchEvent(new Event('crops'));
        image.src = source;
        hub.crops.set(Number(region), image);
    }
    // The last click that the server has not answered yet. What it says meanwhile is of before that; what goes to it
    // would carry the field of the region as it was before, too, and undo the click.
    if (hub.act === data.act || Date.now() - hub.act > PATIENCE) hub.act = 0;
    if (!hub.act) {
        hub.chosen = data.chosen;
        hub.selected = data.selected;
    }
    if (hub.turn === data.turn) hub.turn = 0;
    if (!hub.turn) hub.hidden = { legend: data.legend, entries: data.hidden };
    hub.dispatchEvent(new Event('state'));

    hub.wanted ??= [];
    let waiting = 0;
    const send = () => {
        if ((hub.act && Date.now() - hub.act < PATIENCE) || !hub.wanted.length) return;
        setStateValue('wanted', hub.wanted);
        hub.wanted = [];
    };
    const soon = () => { clearTimeout(waiting); waiting = setTimeout(send, 60); };
    const want = ({ detail }) => {  // for what the mouse rests on, not for all that it passes
        hub.wanted = [...detail, ...hub.wanted].slice(0, data.most);
        soon();
    };
    const act = name => ({ detail }) => {
        hub.act = Date.now();
        setTriggerValue(name, { act: hub.act, regions: [detail].flat() });
        setTimeout(send, PATIENCE);
    };
    const clicked = act('clicked'), selected = act('selected');
    hub.tellHidden = () => setTriggerValue('hidden', { turn: hub.turn, ...hub.hidden });
    const hide = ({ detail }) => {  // told after the second click of two; until that is heard, the server is behind
        hub.turn = Date.now();
        hub.hidden = detail;
        clearTimeout(hub.hiding);
        hub.hiding = setTimeout(() => hub.tellHidden(), 400);
    };
    soon();
    hub.stop?.abort();  // of the run before: Streamlit tells only when the component leaves
    const stop = hub.stop = new AbortController(), options = { signal: stop.signal };
    hub.addEventListener('want', want, options);
    hub.addEventListener('clicked', clicked, options);
    hub.addEventListener('selected', selected, options);
    hub.addEventListener('hidden', hide, options);
    return () => { clearTimeout(waiting); stop.abort(); };
}
"""

_map = st.components.v2.component(
    "orl_point_map", html=HTML, css=CSS, js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
)
_answers = st.components.v2.component("orl_point_map_answers", js=ANSWERS)


def show(data: dict[str, Any], *, key: str) -> None:
    """Draw a map; `data` is made by `orl_explore.figures.point_map`."""
    _map(key=state.component_key(key), data=data)


def answer(
    run: Run,
    regions: pd.DataFrame,
    *,
    chosen: int | None,
    selected: Sequence[int],
    legend: str,
    hidden: Sequence[int],
    on_click: Callable[[int], None],
    on_select: Callable[[list[int]], None],
    on_hide: Callable[[list[int]], None],
) -> None:
    """Hear what is done on the map, and send it crops. Made for a fragment.

    Args:
        run: the run.
        regions: its table of regions.
        chosen: the region that has a ring.
        selected: those that stand out.
        legend: which legend is meant by `hidden`.
        hidden: numbers of its entries that are hidden.
        on_click: is called with a region whose point was clicked.
        on_select: is called with the regions that were drawn around, none of them to clear.

    Raises:
        OrlError: an image cannot be read; the others' crops are sent.
    """
    key = state.component_key(f"object map answers {run.path}")

    def heard(name: str) -> Any:
        return state.sent(key, name)

    act = f"{key} act"  # the last that was heard: it tells the browser which of its clicks this answers
    turn = f"{key} turn"  # the same of what the legend hides

    def acted(name: str) -> list[int] | None:
        said = heard(name)
        if not isinstance(said, dict):
            return None
        st.session_state[act] = said.get("act")
        return _numbers(said.get("regions"), len(regions))

    def clicked() -> None:
        region = acted("clicked")
        if region:
            on_click(region[0])

    def drawn() -> None:
        found = acted("selected")
        if found is not None:
            on_select(found)

    def hid() -> None:
        said = heard("hidden")
        if isinstance(said, dict):
            st.session_state[turn] = said.get("turn")
            if said.get("legend") == legend:
                on_hide(_numbers(said.get("entries"), LEGEND))

    crops, trouble = {}, None
    for region in _numbers(heard("wanted"), len(regions))[:CROPS]:
        try:
            crops[region] = crop(run, regions, region)
        except OrlError as error:
            trouble = error
    data = {"run": str(run.path), "crops": crops, "chosen": chosen, "selected": list(selected) or None, "most": CROPS}
    data |= {"legend": legend, "hidden": list(hidden), "turn": st.session_state.get(turn)}
    data["act"] = st.session_state.get(act)
    _answers(
        key=key,
        data=data,
        on_wanted_change=_nothing,
        on_clicked_change=clicked,
        on_selected_change=drawn,
        on_hidden_change=hid,
    )
    if trouble is not None:
        raise trouble


def crop(run: Run, regions: pd.DataFrame, region: int) -> str:
    """A region as an image's source."""
    row = regions.iloc[region]
    picture = state.thumbnail(run, int(row["image_id"]), side=SIDE, box=row[BOX].to_numpy(np.int64))
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode()


def _numbers(values: Any, count: int) -> list[int]:
    """Numbers of regions; the browser is not to be trusted with them."""
    values = values if isinstance(values, list) else []
    return [value for value in values if isinstance(value, int) and 0 <= value < count]


def _nothing() -> None:
    """A state that has no callback is not told of."""
