"""The look that all figures share: colors that the color-blind can tell apart, quiet axes, no chart junk."""

from __future__ import annotations

import base64
import io
from typing import Any, Final

import plotly.graph_objects as go
from PIL import Image

PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#7F7F7F")
"""Okabe and Ito's colors, and a gray."""

GROUPS: Final = (*PALETTE[:7], "#3A1FD0", "#E81FD0", "#2FD12F", "#E0125A", "#7B5AC8")
"""Twelve colors for groups; without gray, which is for what belongs to none."""

ACCEPTED: Final = "#009E73"
REJECTED: Final = "#D55E00"
QUIET: Final = "#8A939B"
SCALE: Final = "Cividis"
"""Color scale for similarities: rises evenly in lightness, the same to the color-blind."""

LEGEND: Final = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}
"""A line of entries at the bottom edge; a figure that has several such lines makes room in its margin."""


def color(index: int) -> str:
    """The color of group number `index`; they begin anew after the twelfth."""
    return GROUPS[index % len(GROUPS)]


def figure(*traces: Any, height: int = 320, **layout: Any) -> go.Figure:
    """A figure of these traces with the common layout; `layout` goes to `update_layout` and wins."""
    made = go.Figure(list(traces))
    made.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        colorway=list(GROUPS),
        hoverlabel={"align": "left"},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": QUIET, "activecolor": PALETTE[1]},
        legend=LEGEND,
    )
    made.update_xaxes(automargin=True, showgrid=False, zeroline=False, separatethousands=True)
    made.update_yaxes(automargin=True, gridcolor="rgba(128,128,128,0.2)", zeroline=False, separatethousands=True)
    made.update_layout(**layout)
    return made


def short(text: str, length: int) -> str:
    """A text of so many letters at most; shorten before escaping."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def escape(text: str) -> str:
    """Plotly reads a little HTML in its texts, and hover templates read braces; names of files and labels mean none."""
    plain = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return plain.replace("%{", "%&#123;").replace("$", "&#36;")


def data_uri(picture: Image.Image, side: int) -> str:
    """A picture as a JPEG that a figure can hold, its longer side at most `side` pixels."""
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
