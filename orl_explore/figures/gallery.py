"""Small pictures in a row or grid, each with a caption: neighbors, views, crops."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from PIL import Image

from orl_explore.figures import style

SIDE = 150
"""Longer side at which a picture is sent to the browser, pixels."""


def gallery(
    pictures: Sequence[Image.Image],
    captions: Sequence[str],
    *,
    columns: int = 6,
    frames: Mapping[int, str] | None = None,
    title: str = "",
    width: int = 900,
) -> go.Figure:
    """Lay pictures out in a grid, row by row, each fitted into a square above its caption.

    Args:
        pictures: RGB, of any size.
        captions: plain text; several lines are parted by newlines.
        columns: pictures in a row.
        frames: position of a picture -> color of a frame around it.
        title: above the grid.
        width: at which the rows are as high as they should be, pixels.

    Raises:
        ValueError: not as many captions as pictures.
    """
    if len(pictures) != len(captions):
        raise ValueError(f"want as many captions as pictures, not {len(captions)} and {len(pictures)}")
    lines = max([caption.count("\n") + 1 for caption in captions if caption], default=0)
    rows = math.ceil(len(pictures) / columns)
    cell = width / columns  # pixels
    row = 1 + (lines * 17 + 8) / cell  # height of a row in sides of a picture: the square, then its caption
    head = 36 if title else 4
    made = style.figure(
        height=round(head + rows * row * cell), title=title, margin={"l": 0, "r": 0, "t": head, "b": 0}, dragmode=False
    )
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left, top = number % columns, number // columns * row
        scale = 0.94 / max(picture.size)
        w, h = picture.width * scale, picture.height * scale
        x, y = left + (1 - w) / 2, top + (1 - h) / 2
        place = {"xref": "x", "yref": "y"}
        made.add_layout_image(
            source=style.data_uri(picture, SIDE), x=x, y=y, sizex=w, sizey=h, sizing="stretch", **place
        )
        if color := (frames or {}).get(number):
            line = {"color": color, "width": 4}
            made.add_shape(type="rect", x0=x, x1=x + w, y0=y, y1=y + h, line=line, **place)
        made.add_annotation(
            x=left + 0.5,
            y=top + 1,
            text=style.escape(caption).replace("\n", "<br>"),
            showarrow=False,
            yanchor="top",
            font={"size": 12},
            **place,
        )
    made.add_scatter(x=[None], y=[None], showlegend=False)  # without any trace Plotly draws no axes
    made.update_xaxes(visible=False, range=[0, columns], constrain="domain", constraintoward="left")
    made.update_yaxes(visible=False, range=[rows * row, 0], scaleanchor="x", constrain="domain", constraintoward="top")
    return made
