"""A picture on which a box is drawn with the mouse, and which takes a picture that is pasted; Streamlit has neither."""

from __future__ import annotations

import base64
import io
from typing import Any

import streamlit as st
from PIL import Image

from orl_explore.ui import state

SIDE = 640
"""Longer side of the picture that is sent, pixels."""

HTML = (
    '<div class="frame" hidden><img alt="the picture to search with" draggable="false"><div class="box" hidden></div>'
    "</div>"
)
CSS = """
.frame { position: relative; display: inline-block; cursor: crosshair; touch-action: none; line-height: 0; }
.frame[hidden], .box[hidden] { display: none; }
img { max-width: 100%; max-height: 340px; border-radius: 4px; user-select: none; }
.box { position: absolute; box-sizing: border-box; border: 3px solid #D55E00; outline: 1px solid #fff;
       pointer-events: none; }
"""
SCRIPT = """
const LEAST = 6;  // pixels of the screen: less is a click, which takes the box away

export default function (sent) {
    const { parentElement, data, setStateValue, setTriggerValue } = sent;
    const frame = parentElement.querySelector('.frame'), image = frame.querySelector('img');
    const mark = frame.querySelector('.box');
    frame.hidden = !data.source;
    if (data.source && image.src !== data.source) image.src = data.source;

    const show = box => {
        mark.hidden = !box;
        if (!box) return;
        const scale = image.clientWidth / data.width;
        ['left', 'top', 'width', 'height'].forEach((side, k) => mark.style[side] = box[k] * scale + 'px');
    };
    image.onload = () => show(data.box);
    show(data.box);

    let start = null, now = null;
    const place = ({ clientX, clientY }) => {
        const { left, top, width, height } = image.getBoundingClientRect();
        return [Math.min(Math.max(clientX - left, 0), width), Math.min(Math.max(clientY - top, 0), height)];
    };
    const drawn = () => {
        const scale = data.width / image.clientWidth;
        const [x, y] = [0, 1].map(k => Math.min(start[k], now[k]));
        const [w, h] = [0, 1].map(k => Math.abs(start[k] - now[k]));
        return Math.min(w, h) < LEAST ? null : [x, y, w, h].map(value => Math.round(value * scale));
    };
    frame.onpointerdown = event => {
        start = now = place(event);
        frame.setPointerCapture(event.pointerId);
        event.preventDefault();
    };
    frame.onpointermove = event => {
        if (!start) return;
        now = place(event);
        show(drawn());
    };
    frame.onpointerup = event => {
        if (!start) return;
        now = place(event);
        const box = drawn();
        start = null;
        show(box);
        setStateValue('box', { box, of: data.key });
    };

    const paste = event => {
        const file = [...event.clipboardData?.files ?? []].find(file => file.type.startsWith('image/'));
        if (!file) return;
        event.preventDefault();
        const reader = new FileReader();
        reader.onload = () => setTriggerValue('pasted', reader.result);
        reader.readAsDataURL(file);
    };
    document.removeEventListener('paste', parentElement.paste);  // Streamlit tells only when the component leaves
    document.addEventListener('paste', parentElement.paste = paste);
    return () => document.removeEventListener('paste', paste);
}
"""

_component = st.components.v2.component("orl_picture_box", html=HTML, css=CSS, js=SCRIPT)


def draw(picture: Image.Image | None, *, key: str, of: str) -> tuple[tuple[int, int, int, int] | None, bytes | None]:
    """Show a picture to draw a box on.

    Args:
        picture: none shows nothing, and still takes what is pasted.
        key: of the widget.
        of: which picture this is; a box that was drawn on another one is forgotten.

    Returns:
        The box, xywh in pixels of the picture, or None; and a picture that was pasted just now, or None.
    """
    held = state.sent(key, "box")
    box = checked(held, picture, of)
    data: dict[str, Any] = {"source": None, "width": 1, "box": box, "key": of}
    if picture is not None:
        data |= {"source": _source(picture), "width": picture.width}
    answer = _component(key=key, data=data, on_box_change=_nothing, on_pasted_change=_nothing)
    return checked(answer.get("box"), picture, of), pasted(answer.get("pasted"))


def checked(answer: object, picture: Image.Image | None, of: str) -> tuple[int, int, int, int] | None:
    """The box that the browser answers, if it is one on this picture; the browser is not to be trusted with it."""
    if not isinstance(answer, dict) or answer.get("of") != of or picture is None:
        return None
    box = answer.get("box")
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        return None
    if not all(isinstance(value, (int, float)) and abs(value) < 1e6 for value in box):
        return None
    from orl_explore.maps.picture_search import inside

    return inside(box, picture)


def pasted(answer: object) -> bytes | None:
    """The bytes of a data URI; None where it is none."""
    if not isinstance(answer, str) or not answer.startswith("data:image/"):
        return None
    try:
        return base64.b64decode(answer.partition(",")[2], validate=True)
    except ValueError:
        return None


def _source(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _nothing() -> None:
    """A state that has no callback is not told of."""
