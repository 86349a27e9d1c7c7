"""Two crops as each encoder sees them, in the browser: a place in one, its likes in the other, as the mouse moves.

The server sends all similarities of places once; what a click or an arrow key shows is drawn here without asking it.
Only the chosen place goes back, for the address.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from plotly.colors import sample_colorscale

from orl_explore.figures import style
from orl_explore.judging import alike
from orl_explore.judging.alike import FeatureMap

VIEWS: Final = {"places": "Similar places", "colors": "PCA colors", "shares": "Shares of the cosine"}

SIDE: Final = 280
"""Longer side of a crop at most, pixels; of one encoder alone, half as much again."""

STOPS: Final = 16
"""Colors that the scale is sent in."""

LEVELS: Final = 65535
"""Steps that a similarity is sent in, of the range from the least to the largest one."""


class Place(NamedTuple):
    """A place in one of two crops.

    Attributes:
        crop: `a` or `b`.
        x: share of its width.
        y: share of its height.
    """

    crop: str
    x: float
    y: float

    @classmethod
    def read(cls, text: object) -> Place | None:
        """The place that a text such as `a,0.25,0.50` names; None: it names none."""
        crop, _, numbers = str(text).partition(",")
        try:
            x, y = (float(number) for number in numbers.split(","))
        except ValueError:
            return None
        return cls(crop, x, y) if crop in ("a", "b") and 0 <= x <= 1 and 0 <= y <= 1 else None

    def __str__(self) -> str:
        return f"{self.crop},{self.x:.3f},{self.y:.3f}"


@dataclass(frozen=True)
class Seen:
    """Two crops as one encoder sees them.

    Attributes:
        title: of the encoder.
        facts: a line below it.
        maps: of the two crops.
    """

    title: str
    facts: str
    maps: tuple[FeatureMap, FeatureMap]


HTML = '<div class="grid" part="grid"></div>'
CSS = """
.grid { display: grid; gap: 4px 14px; font: 13px var(--st-font); color: var(--st-text-color); }
.title { font-weight: 600; }
.facts, .says { opacity: 0.8; min-height: 1.3em; }
.says { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.crop { display: flex; flex-direction: column; gap: 2px; }
canvas { max-width: 100%; border-radius: 4px; cursor: crosshair; outline-offset: 2px; touch-action: none; }
canvas:focus-visible { outline: 2px solid var(--st-primary-color); }
.bar { display: flex; align-items: center; gap: 6px; margin-top: 2px; min-height: 1.4em;
       font-variant-numeric: tabular-nums; }
.bar i { flex: 0 1 90px; height: 8px; border-radius: 2px; }
"""
SCRIPT = """
const PIXELS = 2;  // of a canvas for each pixel of the screen
const OVER = 0.68;  // how much of the picture a color covers
const MARK = ['#fff', '#d55e00'];
const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const numbers = (text, Kind) => new Kind(bytes(text).buffer);
const other = { a: 'b', b: 'a' };

export default function (sent) {
    const shown = sent.parentElement.places ??= show(sent.parentElement);
    shown.update(sent);
    return () => {
        if (shown.last() !== sent) return;
        delete sent.parentElement.places;
    };
}

function show(parent) {
    const grid = parent.querySelector('.grid');
    let last = null, views = [], pinned = null, hovered = null, made = '', late = 0;

    const cellOf = (shape, place) =>
        [[place.y, shape[0]], [place.x, shape[1]]].map(([at, n]) => Math.min(n - 1, Math.max(0, Math.floor(at * n))));
    const middle = ([rows, columns], cell) =>
        ({ x: (cell % columns + 0.5) / columns, y: (Math.floor(cell / columns) + 0.5) / rows });

    // The similarities of a cell of one crop with all of the other one.
    const heat = (view, place) => {
        const [row, column] = cellOf(view.shapes[place.crop], place);
        const cell = row * view.shapes[place.crop][1] + column;
        const [na, nb] = ['a', 'b'].map(crop => view.shapes[crop][0] * view.shapes[crop][1]);
        const values = new Float32Array(place.crop === 'a' ? nb : na);
        const { low, high } = view;
        for (let i = 0; i < values.length; i++) {
            const level = view.levels[place.crop === 'a' ? cell * nb + i : i * nb + cell];
            values[i] = low + (high - low) * level / 65535;
        }
        return values;
    };

    const colored = (shape, color) => {  // a small picture, a pixel a cell
        const small = new OffscreenCanvas(shape[1], shape[0]), context = small.getContext('2d');
        const image = context.createImageData(shape[1], shape[0]);
        for (let i = 0; i < shape[0] * shape[1]; i++) image.data.set(color(i), 4 * i);
        context.putImageData(image, 0, 0);
        return small;
    };
    const scale = share => {
        const stops = last.data.scale, at = Math.min(1, Math.max(0, share)) * (stops.length - 1);
        const i = Math.min(stops.length - 2, Math.floor(at)), part = at - i;
        return stops[i].map((value, k) => value + part * (stops[i + 1][k] - value));
    };

    const paint = (view, crop, small, smooth) => {
        const { canvas, image } = view[crop], context = canvas.getContext('2d');
        context.globalAlpha = 1;
        context.filter = small ? 'grayscale(1)' : 'none';
        context.drawImage(image, 0, 0, canvas.width, canvas.height);
        context.filter = 'none';
        if (!small) return;
        context.imageSmoothingEnabled = smooth;
        context.imageSmoothingQuality = 'high';
        context.drawImage(small, 0, 0, canvas.width, canvas.height);
    };
    const mark = (view, crop, place, cross) => {
        const { canvas } = view[crop], context = canvas.getContext('2d');
        const x = place.x * canvas.width, y = place.y * canvas.height, r = 7 * PIXELS;
        MARK.forEach((color, k) => {
            context.strokeStyle = color;
            context.lineWidth = (k ? 2 : 5) * PIXELS;
            context.beginPath();
            context.arc(x, y, r, 0, 2 * Math.PI);
            if (cross) for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
                context.moveTo(x + dx * r, y + dy * r);
                context.lineTo(x + dx * r * 2, y + dy * r * 2);
            }
            context.stroke();
        });
    };
    const say = (view, crop, text, bar) => {
        view[crop].says.textContent = text;
        view[crop].bar.innerHTML = '';
        if (!bar) return;
        const [left, ramp, right] = [bar[0], bar[1], bar[2]];
        const line = document.createElement('i');
        line.style.background = ramp;
        view[crop].bar.append(left, line, right);
    };

    const drawPlaces = (view, place) => {
        const target = other[place.crop], shape = view.shapes[target], values = heat(view, place);
        let low = Infinity, high = -Infinity, best = 0;
        values.forEach((value, i) => { if (value > high) { high = value; best = i; } low = Math.min(low, value); });
        paint(view, place.crop, null);
        mark(view, place.crop, place, true);
        paint(view, target, colored(shape, i => [...scale((values[i] - low) / (high - low || 1)), 255 * OVER]), true);
        const match = middle(shape, best);
        mark(view, target, match, false);
        const at = `${Math.round(100 * match.x)} % across, ${Math.round(100 * match.y)} % down`;
        say(view, target, `best match ${high.toFixed(3)}, ${at}`, [low.toFixed(2), last.data.ramp, high.toFixed(2)]);
        say(view, place.crop, 'the chosen place');
        view[target].canvas.dataset.best = high.toFixed(3);
    };
    const drawColors = view => {
        for (const crop of ['a', 'b']) {
            const colors = view.colors[crop], shape = view.shapes[crop];
            paint(view, crop, colored(shape, i => [...colors.slice(3 * i, 3 * i + 3), 200]), true);
            say(view, crop, '');
        }
    };
    const drawShares = (view, place) => {
        const most = Math.max(...view.shares.a.map(Math.abs), ...view.shares.b.map(Math.abs)) || 1;
        for (const crop of ['a', 'b']) {
            const shares = view.shares[crop], shape = view.shapes[crop];
            const opacity = i => 230 * Math.sqrt(Math.abs(shares[i]) / most);
            const color = i => [...(shares[i] < 0 ? [213, 94, 0] : [0, 114, 178]), opacity(i)];
            paint(view, crop, colored(shape, color), true);
            const sum = shares.reduce((all, one) => all + one, 0);
            const sorted = [...shares].sort((x, y) => y - x), quarter = Math.ceil(sorted.length / 4);
            const part = sorted.slice(0, quarter).reduce((all, one) => all + one, 0);
            let text = `together ${sum.toFixed(3)}; a quarter of the places has ${part.toFixed(3)}`;
            if (place && place.crop === crop) {
                const [row, column] = cellOf(shape, place);
                text = `here ${shares[row * shape[1] + column].toFixed(4)} of ${sum.toFixed(3)}`;
            }
            say(view, crop, text);
        }
    };
    const draw = () => {
        const place = hovered ?? pinned;
        for (const view of views) {
            if (!view.a.image.complete || !view.b.image.complete) continue;
            if (last.data.view === 'colors') drawColors(view);
            else if (last.data.view === 'shares') drawShares(view, hovered);
            else if (place) drawPlaces(view, place);
        }
    };

    const placeAt = (crop, canvas, event) => {
        const frame = canvas.getBoundingClientRect();
        const share = (at, from, length) => Math.min(1, Math.max(0, (at - from) / length));
        return { crop, x: share(event.clientX, frame.x, frame.width), y: share(event.clientY, frame.y, frame.height) };
    };
    const pin = (place, wait) => {
        pinned = place;
        hovered = null;
        draw();
        clearTimeout(late);  // keys come fast: the server is told where they ended
        late = setTimeout(() => last.setStateValue('place', place), wait);
    };
    const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const listen = (view, crop) => {
        const { canvas } = view[crop];
        canvas.onpointermove = event => { hovered = placeAt(crop, canvas, event); draw(); };
        canvas.onpointerleave = () => { hovered = null; draw(); };
        canvas.onclick = event => pin(placeAt(crop, canvas, event), 0);
        canvas.onkeydown = event => {
            const step = STEPS[event.key];
            if (!step) return;
            event.preventDefault();
            const shape = view.shapes[crop], from = pinned?.crop === crop ? pinned : { x: 0.5, y: 0.5 };
            const [row, column] = cellOf(shape, from);
            const at = [row + step[1], column + step[0]].map((value, k) => Math.min(shape[k] - 1, Math.max(0, value)));
            pin({ crop, ...middle(shape, at[0] * shape[1] + at[1]) }, 300);
        };
    };

    const element = (kind, name, text) => {
        const found = document.createElement(kind);
        found.className = name;
        if (text) found.textContent = text;
        return found;
    };
    const build = data => {
        grid.innerHTML = '';
        const alone = data.encoders.length === 1;  // then its crops stand side by side, else those of encoders do
        grid.style.gridTemplateColumns = `repeat(${Math.max(data.encoders.length, 2)}, minmax(0, 1fr))`;
        views = data.encoders.map((encoder, number) => {
            const view = { ...encoder, levels: numbers(encoder.levels, Uint16Array), colors: {}, shares: {} };
            for (const crop of ['a', 'b']) {
                view.colors[crop] = bytes(encoder.colors[crop]);
                view.shares[crop] = Array.from(numbers(encoder.shares[crop], Float32Array));
            }
            const head = element('div', 'head');
            head.append(element('div', 'title', encoder.title), element('div', 'facts', encoder.facts));
            head.style.gridArea = alone ? '1 / 1 / 2 / 3' : `1 / ${number + 1}`;
            grid.append(head);
            for (const [row, crop] of ['a', 'b'].entries()) {
                const place = element('div', 'crop'), canvas = element('canvas', crop), image = new Image();
                const { source, width, height } = data.crops[crop];
                canvas.width = PIXELS * width;
                canvas.height = PIXELS * height;
                canvas.style.width = `${width}px`;
                canvas.style.aspectRatio = `${width} / ${height}`;
                canvas.tabIndex = 0;
                canvas.setAttribute('role', 'img');
                const which = `box ${crop.toUpperCase()} as seen by ${encoder.title}`;
                canvas.setAttribute('aria-label', `${which}; arrow keys choose a place`);
                image.onload = draw;
                image.src = source;
                const says = element('div', 'says'), bar = element('div', 'bar');
                says.setAttribute('aria-live', number ? 'off' : 'polite');
                place.append(canvas, says, bar);
                place.style.gridArea = alone ? `2 / ${row + 1}` : `${row + 2} / ${number + 1}`;
                grid.append(place);
                view[crop] = { canvas, image, says, bar };
                listen(view, crop);
            }
            return view;
        });
    };

    const update = sent => {
        last = sent;
        const { data } = sent;
        if (data.key !== made) {
            build(data);
            made = data.key;
            pinned = data.place;
        }
        draw();
    };
    return { update, last: () => last };
}
"""

_places = st.components.v2.component("orl_pair_places", html=HTML, css=CSS, js=SCRIPT)


def show(
    crops: tuple[bytes, bytes],
    sizes: tuple[tuple[int, int], tuple[int, int]],
    seen: Sequence[Seen],
    *,
    view: str,
    place: Place | None,
    name: str,
    on_place: Callable[[Place], None],
) -> None:
    """Draw two crops for each encoder, one below the other, and let the reader choose a place. Made for a fragment.

    Args:
        crops: the two crops as JPEGs.
        sizes: width and height of the two boxes, pixels.
        seen: what each encoder says of them.
        view: a key of `VIEWS`.
        place: that is chosen at first; by default where the last encoder finds most of the likeness.
        name: of what is shown: another one is drawn anew.
        on_place: is called with a place that the reader chose.
    """
    key = "pair places"

    def changed() -> None:
        value = (st.session_state[key] or {}).get("place") or {}
        chosen = Place.read(f"{value.get('crop')},{value.get('x')},{value.get('y')}")
        if chosen is not None:
            on_place(chosen)

    if place is None:
        best = alike.best_match(alike.shares(*seen[-1].maps).a)
        place = Place("a", *seen[-1].maps[0].place_of(*best))
    ramp = np.rint(255 * np.array(sample_colorscale(style.SCALE, STOPS, colortype="tuple"))).astype(int).tolist()
    data = {
        "key": name,
        "view": view,
        "place": place._asdict(),
        "scale": ramp,
        "ramp": f"linear-gradient(90deg, {', '.join('rgb({}, {}, {})'.format(*color) for color in ramp)})",
        "crops": {
            letter: _picture(jpeg, size, SIDE * (3 if len(seen) == 1 else 2) // 2)
            for letter, jpeg, size in zip("ab", crops, sizes, strict=True)
        },
        "encoders": [sent(one) for one in seen],
    }
    _places(key=key, data=data, on_place_change=changed)


def sent(seen: Seen) -> dict[str, Any]:
    """What the browser is sent of one encoder; arrays as base64 of their bytes."""
    similarities = alike.similarities(*seen.maps).reshape(seen.maps[0].cells[..., 0].size, -1)
    low, high = float(similarities.min()), float(similarities.max())
    levels = np.rint((similarities - low) * (LEVELS / ((high - low) or 1))).astype("<u2")
    shares, colors = alike.shares(*seen.maps), alike.pca_colors(seen.maps)
    return {
        "title": seen.title,
        "facts": seen.facts,
        "shapes": {letter: list(one.cells.shape[:2]) for letter, one in zip("ab", seen.maps, strict=True)},
        "low": low,
        "high": high,
        "levels": _text(levels),
        "colors": {letter: _text(one) for letter, one in zip("ab", colors, strict=True)},
        "shares": {letter: _text(one.astype("<f4")) for letter, one in zip("ab", shares[:2], strict=True)},
    }


def _text(array: NDArray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _picture(jpeg: bytes, size: tuple[int, int], side: int) -> dict[str, Any]:
    scale = side / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    return {"source": "data:image/jpeg;base64," + base64.b64encode(jpeg).decode(), "width": width, "height": height}
