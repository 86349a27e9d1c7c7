"""Choosing a cell of a matrix drawn by Plotly: by a click, or with arrow keys and Enter, of which Plotly knows nothing.

The charts are the heat maps of `figures.pairs`. Streamlit tells of clicks on points only, and a point on every cell is
slow to draw; so the line below the chart, which takes the keys, also hears of Plotly's own clicks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from orl_explore.ui import state

HTML = """<div class="keys" tabindex="0" role="application"><span class="says" role="status" aria-live="polite"></span>
</div>"""
CSS = """
.keys { font: 14px var(--st-font); color: var(--st-text-color); opacity: 0.8; padding: 2px 6px; border-radius: 6px; }
.keys:focus { outline: 2px solid var(--st-primary-color); opacity: 1; }
"""
SCRIPT = """
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export default function ({ parentElement, data, setTriggerValue }) {
    const keys = parentElement.querySelector('.keys'), says = keys.querySelector('.says');
    keys.setAttribute('aria-label', `${data.title}: arrow keys walk over its cells, Enter shows one`);
    const idle = `With keys: Tab to this line, walk over the ${data.title} with arrow keys, Enter shows a cell.`;
    const chart = `.st-key-${data.frame} .js-plotly-plot`;
    const of = `${data.of} ${data.at}`;
    if (parentElement.cell?.of !== of) parentElement.cell = { of, at: data.at };
    const cell = parentElement.cell;
    const choose = at => setTriggerValue('chosen', { of: data.of, cell: at });

    const plain = text => new DOMParser().parseFromString(text, 'text/html').body.textContent; // of what Plotly reads
    const text = ({ text, customdata, x, y, z }, row, column) => text
        ? `${plain(text[row][column])}: ${customdata[row][column].toLocaleString("en-US")} pairs`
        : `box ${y[row]} with the neighbor's box ${x[column]}: ${z[row][column].toFixed(3)}`;

    let mark = null;
    const unmark = () => { mark?.remove(); mark = null; };
    const show = () => {
        const plot = document.querySelector(chart), cells = plot?._fullData?.[0];
        unmark();
        if (!cells) return;
        const [row, column] = cell.at, x = cells.x[column], y = cells.y[row];
        says.textContent = text(cells, row, column);
        const { xaxis, yaxis } = plot._fullLayout;
        mark = document.createElement('div');
        const [left, right] = [x - 0.5, x + 0.5].map(at => xaxis._offset + xaxis.l2p(at));
        const [top, bottom] = [y - 0.5, y + 0.5].map(at => yaxis._offset + yaxis.l2p(at));
        Object.assign(mark.style, {
            position: 'absolute', pointerEvents: 'none', boxSizing: 'border-box', zIndex: 10,
            border: '2px solid #fff', outline: '2px solid #D55E00', left: `${left - 2}px`, top: `${top - 2}px`,
            width: `${right - left + 4}px`, height: `${bottom - top + 4}px`,
        });
        plot.style.position = 'relative';
        plot.append(mark);
    };
    keys.onkeydown = event => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if (STEPS[event.key]) {
            const step = STEPS[event.key];
            cell.at = cell.at.map((at, n) => Math.min(Math.max(at + step[n], 0), data.shape[n] - 1));
            show();
        } else if (event.key === 'Enter' || event.key === ' ') {
            choose(cell.at);
        } else if (event.key === 'Escape') {
            keys.blur();
        } else return;
        event.preventDefault();
        event.stopPropagation();
    };
    keys.onfocus = show;
    keys.onblur = () => { unmark(); says.textContent = idle; };
    const focused = (parentElement.activeElement ?? document.activeElement) === keys;
    if (focused) show(); else says.textContent = idle;

    // The chart may be drawn after this, drawn anew and taken down: what is pressed is there.
    const clicked = event => choose(Array.from(event.points[0].pointIndex));
    let plot = null;
    const press = event => {
        plot?.removeListener?.('plotly_click', clicked);
        plot = event.target.closest?.(chart);
        plot?.on?.('plotly_click', clicked);
    };
    document.addEventListener('pointerdown', press, true);
    return () => {
        unmark();
        plot?.removeListener?.('plotly_click', clicked);
        document.removeEventListener('pointerdown', press, true);
    };
}
"""

_cells = st.components.v2.component("orl_matrix_cells", html=HTML, css=CSS, js=SCRIPT)


def show(
    frame: str,
    *,
    title: str,
    of: str,
    shape: tuple[int, int],
    at: tuple[int, int],
    on_choose: Callable[[int, int], None],
) -> None:
    """Show the line below a matrix, which makes its cells choosable.

    Args:
        frame: key of the container that the chart is in, as it stands in the class of CSS.
        title: what the matrix is called.
        of: what its rows and columns are, so that what was clicked in the matrix before it is not taken for a cell of
            this one.
        shape: its rows and columns.
        at: row and column at which the keys begin.
        on_choose: gets the row and the column of a cell that was chosen.
    """
    key = f"keys {frame}"

    def chosen() -> None:
        if found := cell(state.sent(key, "chosen"), of, shape):
            on_choose(*found)

    facts = {"frame": frame, "title": title, "of": of, "shape": list(shape), "at": list(at)}
    _cells(key=key, data=facts, on_chosen_change=chosen)


def cell(answer: Any, of: str, shape: tuple[int, int]) -> tuple[int, int] | None:
    """The row and column that the browser answers, if they are of this matrix; it is not to be trusted."""
    if not isinstance(answer, Mapping) or answer.get("of") != of:
        return None
    found = answer.get("cell")
    if not isinstance(found, (list, tuple)) or [type(value) for value in found] != [int, int]:
        return None
    row, column = found
    return (row, column) if 0 <= row < shape[0] and 0 <= column < shape[1] else None
