"""The object map: the crop of the point under the mouse, shown beside it. Plotly's own labels hold text alone."""

from __future__ import annotations

import base64
from typing import Any

import pandas as pd
import streamlit as st

from orl_explore.boxes import BOX
from orl_explore.run import Run
from orl_explore.ui import state

SIDE = 120
"""Longer side of the crop, pixels."""

HTML = '<div class="card" hidden><img alt="crop under the mouse"></div>'
CSS = """
.card { position: fixed; z-index: 1000; padding: 4px; border-radius: 6px; pointer-events: none;
        background: var(--st-background-color); border: 1px solid var(--st-border-color); line-height: 0; }
"""
SCRIPT = """
export default function ({ parentElement, data, setStateValue }) {
    const card = parentElement.querySelector('.card'), image = card.querySelector('img');
    let plot = null, wait = 0;
    if (data) {
        image.src = data.source;
        image.dataset.region = data.region;
    }
    const place = () => {
        card.hidden = card.dataset.region === undefined || card.dataset.region !== image.dataset.region;
        if (card.hidden) return;
        const { width, height } = card.getBoundingClientRect(), x = +card.dataset.x, y = +card.dataset.y;
        card.style.left = Math.max(4, Math.min(x - width / 2, innerWidth - width - 4)) + 'px';
        card.style.top = (y + 48 + height < innerHeight ? y + 48 : y - 48 - height) + 'px';
    };
    const hover = ({ points, event }) => {
        const region = points[0].customdata?.[0];
        if (region === undefined || !event) return;
        Object.assign(card.dataset, { region, x: event.clientX, y: event.clientY });
        place();
        clearTimeout(wait);  // ask for what the mouse rests on, not for all that it passes
        if (card.hidden) wait = setTimeout(() => setStateValue('region', region), 60);
    };
    const leave = () => { clearTimeout(wait); delete card.dataset.region; place(); };
    const attach = () => {  // another coloring of the map is another plot
        const found = document.querySelector('[class*=st-key-object-map-chart] .js-plotly-plot');
        if (found === plot || !found?.on) return;
        plot = found;
        plot.on('plotly_hover', hover);
        plot.on('plotly_unhover', leave);
    };
    image.onload = place;
    place();
    attach();
    const timer = setInterval(attach, 300);
    return () => {
        clearInterval(timer);
        plot?.removeListener?.('plotly_hover', hover);
        plot?.removeListener?.('plotly_unhover', leave);
    };
}
"""

_card = st.components.v2.component("orl_map_hover", html=HTML, css=CSS, js=SCRIPT)


@st.fragment
def show(run: Run, regions: pd.DataFrame) -> None:
    """Show the crop of the point that the mouse rests on; nothing else of the page runs for it."""
    key = f"object map hover {run.path}"
    _card(key=key, data=crop(run, regions, (st.session_state.get(key) or {}).get("region")), on_region_change=_nothing)


def crop(run: Run, regions: pd.DataFrame, region: object) -> dict[str, Any] | None:
    """What the browser needs to show a region; None where what it asks for is none."""
    if not isinstance(region, int) or not 0 <= region < len(regions):
        return None
    row = regions.iloc[region]
    picture = state.thumbnail(run, int(row["image_id"]), side=SIDE, box=row[BOX].to_numpy(int))
    return {"region": region, "source": "data:image/jpeg;base64," + base64.b64encode(picture).decode()}


def _nothing() -> None:
    """A state that has no callback is not told of."""
