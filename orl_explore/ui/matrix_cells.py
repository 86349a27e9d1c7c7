"""Choosing a cell of a matrix drawn by Plotly: by a click, or with arrow keys and Enter, of which Plotly knows nothing.

The charts are the heat maps of `figures.pairs`. Streamlit tells of clicks on points only, and a point on every cell is
slow to draw; so the line below the chart, which takes the keys, also hears of Plotly's own clicks.
"""

from __future__ import annotations

from collections.abc import Callable
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
    if (parentElement.cell?.of !== data.of) parentElement.cell = { of: data.of, at: data.at };
    const cell = parentElement.cell;

    const text = ({ text, customdata, x, y, z }, row, column) => text
        ? `${text[row][column]}: ${customdata[row][column].toLocaleString("en-US")} pairs`
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
            setTriggerValue('chosen', cell.at);
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
    const choose = event => setTriggerValue('chosen', Array.from(event.points[0].pointIndex));
    let plot = null;
    const press = event => {
        plot?.removeListener?.('plotly_click', choose);
        plot = event.target.closest?.(chart);
        plot?.on?.('plotly_click', choose);
    };
    document.addEventListener('pointerdown', press, true);
    return () => {
        unmark();
        plot?.removeListener?.('plotly_click', choose);
        document.removeEventListener('pointerdown', press, true);
    };
}
"""

_cells = st.components.v2.component("orl_matrix_cells", html=HTML, css=CSS, js=SCRIPT)


def show(
    frame: str,
    *,
    title: str,
    shape: tuple[int, int],
    at: tuple[int, int],
    on_choose: Callable[[int, int], None],
    of: str = "",
) -> None:
    """Show the line below a matrix, which makes its cells choosable.

    Args:
        frame: key of the container that the chart is in, as it stands in the class of CSS.
        title: what the matrix is called.
        shape: its rows and columns.
        at: row and column at which the keys begin.
        on_choose: gets the row and the column of a cell that was chosen.
        of: which matrix this is: in another one, the keys begin at `at` again.
    """
    key = f"keys {frame}"

    def chosen() -> None:
        if found := cell(state.sent(key, "chosen"), shape):
            on_choose(*found)

    facts = {"frame": frame, "title": title, "shape": list(shape), "at": list(at), "of": of + str(at)}
    _cells(key=key, data=facts, on_chosen_change=chosen)


def cell(answer: Any, shape: tuple[int, int]) -> tuple[int, int] | None:
    """The row and column that the browser answers, if the matrix has them; it is not to be trusted."""
    if not isinstance(answer, (list, tuple)) or [type(value) for value in answer] != [int, int]:
        return None
    row, column = answer
    return (row, column) if 0 <= row < shape[0] and 0 <= column < shape[1] else None
