"""A matrix drawn by Plotly, by keyboard: arrow keys walk over its cells, Enter chooses one. Plotly knows no keys.

The charts are those of `figures.pairs`: a heat map, and unseen points on its cells, row after row, with the texts that
hovering shows and the custom data that a click hands over.
"""

from __future__ import annotations

import math
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
    const chart = () => document.querySelector(`.st-key-${data.frame} .js-plotly-plot`);
    if (parentElement.cell?.of !== data.of) parentElement.cell = { of: data.of, at: data.at };
    const cell = parentElement.cell;

    const points = () => {
        const plot = chart(), cells = plot?._fullData?.[1];
        if (!cells) return null;
        const [rows, columns] = [cells.y, cells.x].map(axis => new Set(axis).size);
        return { plot, cells, rows, columns };
    };
    const text = (cells, number, found) => {
        if (cells.text?.[number]) return `${cells.text[number]}: ${Number(found[2]).toLocaleString("en-US")} pairs`;
        return `box ${cells.y[number]} with the neighbor's box ${cells.x[number]}: ${Number(found[2]).toFixed(3)}`;
    };
    const custom = (cells, number) => [...cells.customdata[number]].map(Number);

    let mark = null;
    const unmark = () => { mark?.remove(); mark = null; };
    const show = () => {
        const all = points();
        unmark();
        if (!all) return;
        const [row, column] = cell.at, number = row * all.columns + column;
        says.textContent = text(all.cells, number, custom(all.cells, number));
        const { xaxis, yaxis } = all.plot._fullLayout, x = all.cells.x[number], y = all.cells.y[number];
        mark = document.createElement('div');
        const [left, right] = [x - 0.5, x + 0.5].map(at => xaxis._offset + xaxis.l2p(at));
        const [top, bottom] = [y - 0.5, y + 0.5].map(at => yaxis._offset + yaxis.l2p(at));
        Object.assign(mark.style, {
            position: 'absolute', pointerEvents: 'none', boxSizing: 'border-box', zIndex: 10,
            border: '2px solid #fff', outline: '2px solid #D55E00', left: `${left - 2}px`, top: `${top - 2}px`,
            width: `${right - left + 4}px`, height: `${bottom - top + 4}px`,
        });
        all.plot.style.position = 'relative';
        all.plot.append(mark);
    };
    keys.onkeydown = event => {
        const all = points();
        if (!all || event.ctrlKey || event.metaKey || event.altKey) return;
        if (STEPS[event.key]) {
            const limits = [all.rows, all.columns];
            cell.at = cell.at.map((at, n) => Math.min(Math.max(at + STEPS[event.key][n], 0), limits[n] - 1));
            show();
        } else if (event.key === 'Enter' || event.key === ' ') {
            setTriggerValue('chosen', custom(all.cells, cell.at[0] * all.columns + cell.at[1]));
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
    return unmark;
}
"""

_keys = st.components.v2.component("orl_cell_keys", html=HTML, css=CSS, js=SCRIPT)


def show(
    frame: str, *, title: str, at: tuple[int, int], on_choose: Callable[[list[float]], None], of: str = ""
) -> None:
    """Show the line below a matrix from which the keyboard walks over it.

    Args:
        frame: key of the container that the chart is in, as it stands in the class of CSS.
        title: what the matrix is called.
        at: row and column to begin at.
        on_choose: gets the custom data of a cell that was chosen.
        of: which matrix this is: another one begins at `at` again.
    """
    key = f"keys {frame}"

    def chosen() -> None:
        if found := numbers(state.sent(key, "chosen")):
            on_choose(found)

    _keys(key=key, data={"frame": frame, "title": title, "at": list(at), "of": of + str(at)}, on_chosen_change=chosen)


def numbers(answer: Any) -> list[float] | None:
    """What the browser answers, if it is three finite numbers; it is not to be trusted."""
    if not isinstance(answer, (list, tuple)) or len(answer) != 3:
        return None
    good = all(type(value) in (int, float) and math.isfinite(value) for value in answer)
    return list(answer) if good else None
