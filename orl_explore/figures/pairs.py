"""Pictures of corresponding boxes: an image and its neighbor joined by lines, and all similarities as a matrix."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from orl_explore.figures import style
from orl_explore.figures.object_map import OTHERS
from orl_explore.judging.diagnostics import UNLABELED
from orl_explore.numbers import similarity_text
from orl_explore.runs.reviews import ACCEPTED, REJECTED

GAP = 0.12
"""Between the two pictures, in sides of a picture."""
LINE = 16
"""Height of a line of a title, pixels."""
SIGNS = {ACCEPTED: " ✓", REJECTED: " ✗", "": ""}
"""Of verdicts."""
GRAY = style.PALETTE[-1]
"""Boxes without a pair; so no pair is gray."""
SHOWN = 40
"""Categories that the matrix of categories has rows of their own for."""
OTHER_CODE = -2
"""Number of its row of all other categories."""
DARK = ("#E69F00", "#56B4E9", "#F0E442")
"""Colors of the palette that want dark letters on them."""


def crop_uris(image: Image.Image, boxes: NDArray[np.integer], *, side: int = 128) -> list[str]:
    """Boxes (N, 4) of an image as data URIs of JPEGs, the longer side `side` pixels."""
    uris = []
    for x, y, w, h in np.asarray(boxes).tolist():
        scale = side / max(w, h)
        size = (max(1, round(w * scale)), max(1, round(h * scale)))
        buffer = io.BytesIO()
        image.resize(size, Image.Resampling.BICUBIC, box=(x, y, x + w, y + h)).save(buffer, "JPEG", quality=85)
        uris.append("data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode())
    return uris


CHANGES = {
    "kept": (style.QUIET, "solid", 1.5),
    "lost": (style.REJECTED, "dash", 3),
    "gained": (style.ACCEPTED, "solid", 3),
}
"""Color, dashes and width of pairs that two settings of stage 2 have in common, and that only one of them has."""


@dataclass(frozen=True)
class Picture:
    """An image to draw boxes on."""

    jpeg: bytes
    """Its pixels, at any size."""
    size: tuple[int, int]
    """Width and height that the boxes are counted in."""
    title: str
    """Plain text above it; several lines are parted by newlines."""


@dataclass(frozen=True)
class Link:
    """A pair to draw: its number, and the positions of its two boxes."""

    number: int | None
    """Shown on both boxes and decides the color; None: a pair that was not accepted, dashed and gray."""
    query: int
    """Row of its box among those of the image."""
    key: int
    """Row of its box among those of the neighbor."""
    similarity: float
    """Of the two boxes."""
    strong: bool = False
    """Drawn heavier than the others."""
    verdict: str = ""
    """What a person said of it, `accepted` or `rejected`: a sign behind its number. A rejected one is dotted."""
    change: str = ""
    """A key of `CHANGES`, drawn by that look and without a number; empty: not a comparison of settings."""

    @property
    def name(self) -> str:
        """Its number, and the sign of its verdict."""
        return f"{self.number}{SIGNS[self.verdict]}"


def color(number: int | None) -> str:
    """Color of the pair of this number, counted from 1."""
    return style.QUIET if number is None else style.color((number - 1) % (len(style.PALETTE) - 1))


def letters(background: str) -> str:
    """Color of letters that can be read on a color of the palette."""
    return "#111111" if background in DARK else "#FFFFFF"


def joined(
    left: Picture,
    right: Picture,
    left_boxes: NDArray[np.integer],
    right_boxes: NDArray[np.integer],
    links: Sequence[Link],
    *,
    all_boxes: bool = False,
    height: int = 400,
) -> go.Figure:
    """An image and its neighbor side by side, boxes of a pair in one color and joined by a line.

    Args:
        left: the image.
        right: the neighbor.
        left_boxes: kept boxes of the image, (Q, 4) xywh.
        right_boxes: kept boxes of the neighbor, (R, 4).
        links: pairs to draw.
        all_boxes: draw the boxes without a pair, too, thin and gray.
        height: of the figure, pixels.
    """
    made = style.figure(
        height=height,
        showlegend=False,
        hovermode="closest",
        dragmode=False,
        margin={"l": 0, "r": 0, "t": 4 + LINE * max(p.title.count("\n") + 1 for p in (left, right)), "b": 4},
    )
    pictures = ((left, left_boxes, 0.0), (right, right_boxes, 1 + GAP))
    placed: list[NDArray[np.float64]] = []
    # Given to Plotly all at once: it copies and checks everything there is with each single one that is added.
    images, notes, traces = [], [], []
    for picture, boxes, start in pictures:
        scale = 1 / max(picture.size)
        width, tall = picture.size[0] * scale, picture.size[1] * scale
        x, y = start + (1 - width) / 2, (1 - tall) / 2
        source = "data:image/jpeg;base64," + base64.b64encode(picture.jpeg).decode()
        place = {"x": x, "y": y, "sizex": width, "sizey": tall, "xref": "x", "yref": "y"}
        images.append({"source": source, **place, "sizing": "stretch", "layer": "below"})
        title = {
            "text": style.escape(picture.title).replace("\n", "<br>"),
            "showarrow": False,
            "yanchor": "bottom",
            "yshift": 2,
        }
        notes.append({"x": start + 0.5, "y": y, **title})
        placed.append(np.asarray(boxes, float).reshape(-1, 4) * scale + (x, y, 0, 0))
    if all_boxes:
        for every in placed:
            traces.append(_outline(every, hoverinfo="skip", line={"color": GRAY, "width": 1}, opacity=0.9))
    for link in sorted(
        links, key=lambda link: (link.strong, list(CHANGES).index(link.change or "kept"))
    ):  # on top last
        traces += _link(link, placed[0][link.query], placed[1][link.key])
    for side, every in enumerate(placed):
        notes += _tags([(link, (link.query, link.key)[side]) for link in links if not link.change], every)
    made.add_traces(traces)
    made.update_layout(images=images, annotations=notes)
    made.update_xaxes(range=[-0.01, 2 + GAP + 0.01], visible=False, constrain="domain")
    half = _tallest(left, right) / 2
    limits = [0.5 + half + 0.01, 0.5 - half - 0.01]
    made.update_yaxes(range=limits, visible=False, scaleanchor="x", constrain="domain", constraintoward="top")
    return made


def aspect(left: Picture, right: Picture) -> float:
    """Width of `joined` by its height within the margins, where nothing is to be empty above and below."""
    return (2 + GAP + 0.02) / (_tallest(left, right) + 0.02)


def _tallest(left: Picture, right: Picture) -> float:
    """Height of the taller picture, in longer sides of a picture."""
    return max(picture.size[1] / max(picture.size) for picture in (left, right))


def _link(link: Link, query: NDArray, key: NDArray) -> list[dict[str, Any]]:
    """Traces of a pair: its two boxes, and the line that joins them."""
    name = "not accepted" if link.number is None else f"pair {link.number}"
    line = {
        "color": color(link.number),
        "width": 5 if link.strong else 2.5,
        "dash": "dot" if link.verdict == REJECTED or link.number is None else "solid",
    }
    if link.change:
        name = link.change
        line = dict(zip(("color", "dash", "width"), CHANGES[link.change], strict=True))
    hover = {"hovertemplate": f"{name}<br>similarity {similarity_text(link.similarity)}<extra></extra>"}
    rims = []
    if link.strong:  # a rim of white, so that it stands out from any picture
        white = {"hoverinfo": "skip", "line": {"color": "white", "width": 8}, "opacity": 0.8}
        rims = [_outline(box[None], **white) for box in (query, key)]
    join = {
        "type": "scatter",
        "mode": "lines",
        "x": [query[0] + query[2], key[0]],
        "y": [query[1] + query[3] / 2, key[1] + key[3] / 2],
        "line": line if link.change else {**line, "width": 4 if link.strong else 1.5},
        "opacity": 0.95 if link.strong else 0.8,
        **hover,
    }
    return [*rims, *(_outline(box[None], line=line, **hover) for box in (query, key)), join]


def _tags(numbered: Sequence[tuple[Link, int]], boxes: NDArray) -> list[dict[str, Any]]:
    """Annotations: numbers in the corner of each box, each in its pair's color; a box of several pairs has several."""
    taken: dict[int, int] = {}
    tags = []
    for link, row in sorted(numbered, key=lambda item: item[0].number or 0):
        if link.number is None:
            continue
        text = link.name
        tags.append(
            {
                "x": boxes[row, 0],
                "y": boxes[row, 1],
                "xshift": taken.get(row, 0),
                "text": f"<b>{text}</b>",
                "showarrow": False,
                "xanchor": "left",
                "yanchor": "top",
                "bgcolor": color(link.number),
                "font": {"color": letters(color(link.number)), "size": 13},
                "borderpad": 2,
            }
        )
        taken[row] = taken.get(row, 0) + 6 + 8 * len(text)
    return tags


def matrix(
    similarity: NDArray[np.floating],
    links: Sequence[Link],
    *,
    chosen: tuple[int, int] | None = None,
    height: int = 420,
) -> go.Figure:
    """Similarity of every box of an image with every box of its neighbor; accepted pairs carry their number.

    Args:
        similarity: (Q, R).
        links: pairs to mark.
        chosen: row and column of the cell to frame.
        height: of the figure, pixels.
    """
    many = max(similarity.shape) > 40
    made = style.figure(
        height=height,
        showlegend=False,
        hovermode="closest",
        dragmode=False,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
    )
    made.add_heatmap(
        z=similarity.astype(np.float32),
        x=np.arange(1, similarity.shape[1] + 1),
        y=np.arange(1, similarity.shape[0] + 1),
        colorscale=style.SCALE,
        hovertemplate="box %{y} with the neighbor's box %{x}<br>similarity %{z:.3f}<extra></extra>",
        xgap=0 if many else 1,
        ygap=0 if many else 1,
        colorbar={"thickness": 10, "title": {"text": "cosine", "side": "right"}},
    )
    made.update_layout(
        annotations=[
            {
                "x": link.key + 1,
                "y": link.query + 1,
                "text": f"<b>{link.name}</b>",
                "showarrow": False,
                "bgcolor": color(link.number),
                "bordercolor": "#FFFFFF",
                "font": {"color": letters(color(link.number)), "size": 9 if many else 12},
                "borderpad": 1,
                "captureevents": False,
            }
            for link in links
            if link.number is not None
        ]
    )
    if chosen is not None:
        y, x = chosen[0] + 1, chosen[1] + 1
        for rim, width in (("#FFFFFF", 5), (style.REJECTED, 3)):
            made.add_shape(
                type="rect", x0=x - 0.5, x1=x + 0.5, y0=y - 0.5, y1=y + 0.5, line={"color": rim, "width": width}
            )
    made.update_xaxes(
        title="box of the neighbor",
        range=[0.4, similarity.shape[1] + 0.6],
        tickformat="d",
        dtick=_tick(similarity.shape[1]),
    )
    made.update_yaxes(
        title="box of the image",
        range=[similarity.shape[0] + 0.6, 0.4],
        showgrid=False,
        tickformat="d",
        dtick=_tick(similarity.shape[0]),
    )
    return made


def confusion_codes(table: pd.DataFrame, categories: Sequence[str]) -> NDArray[np.int64]:
    """Number of the category in each row and column of `confusion`, the unlabeled (-1) last.

    Of more than `SHOWN` categories, those with most pairs have rows of their own, and all others one together.
    """
    shown = np.arange(len(categories))
    if len(categories) <= SHOWN:
        return np.r_[shown, -1]
    pairs_of = np.zeros(len(categories) + 1, np.int64)  # the unlabeled last
    for name in ("query_category", "key_category"):
        np.add.at(pairs_of, table[name].to_numpy(np.int64), table["pairs"].to_numpy(np.int64))
    return np.r_[np.sort(np.argsort(-pairs_of[:-1], kind="stable")[:SHOWN]), OTHER_CODE, -1]


def confusion(table: pd.DataFrame, categories: Sequence[str], *, height: int = 400) -> go.Figure:
    """How many pairs join which categories; rows and columns are those of `confusion_codes`.

    Args:
        table: columns query_category, key_category (numbers, -1: unlabeled) and pairs; cells that are empty may lack.
        categories: names by number.
        height: of the figure, pixels.
    """
    codes = confusion_codes(table, categories)
    special = {OTHER_CODE: OTHERS, -1: UNLABELED}
    names = [special[code] if code in special else categories[code] for code in codes.tolist()]
    place = np.full(len(categories) + 1, len(codes) - 2)  # of the others
    place[codes[codes >= 0]], place[-1] = np.flatnonzero(codes >= 0), len(codes) - 1
    count = np.zeros((len(codes), len(codes)), np.int64)
    query, key = (place[table[name].to_numpy(np.int64)] for name in ("query_category", "key_category"))
    np.add.at(count, (query, key), table["pairs"].to_numpy(np.int64))
    made = style.figure(
        height=height,
        showlegend=False,
        hovermode="closest",
        dragmode=False,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
    )
    shown = [style.escape(name) for name in names]
    made.add_heatmap(
        z=np.where(count, np.log10(np.maximum(count, 1)) + 0.15, np.nan),  # one pair is to be seen beside thousands
        x=np.arange(len(names)),
        y=np.arange(len(names)),
        text=[[f"{row} with {column}" for column in shown] for row in shown],
        customdata=count,
        colorscale=style.SCALE,
        showscale=False,
        hovertemplate="%{text}<br>%{customdata:,} pairs<extra></extra>",
        xgap=1,
        ygap=1,
    )
    places = np.arange(0, len(names), -(-len(names) // 30))
    ticks = {
        "tickvals": places,
        "ticktext": [style.escape(style.short(names[place], 14)) for place in places],
        "showgrid": False,
    }
    ticks["tickfont"] = {"size": 12 if len(places) <= 16 else 9}  # names that overlap cannot be read
    made.update_xaxes(title="the neighbor's box is on", range=[-0.5, len(names) - 0.5], tickangle=-90, **ticks)
    made.update_yaxes(title="the image's box is on", range=[len(names) - 0.5, -0.5], **ticks)
    return made


def _tick(count: int) -> int:
    return 1 if count <= 12 else 5 if count <= 60 else 10


def _outline(boxes: NDArray, **look: Any) -> dict[str, Any]:
    """A trace: the edges of boxes (N, 4), as one line with gaps."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for x, y, w, h in boxes.tolist():
        xs += [x, x + w, x + w, x, x, None]
        ys += [y, y, y + h, y + h, y, None]
    return {"type": "scatter", "mode": "lines", "x": xs, "y": ys, **look}
