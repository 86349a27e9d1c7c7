"""Two crops place by place: heat maps over them, colors of their places, shares of their cosine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from orl_explore.figures import style
from orl_explore.judging import alike
from orl_explore.judging.alike import FeatureMap
from orl_explore.numbers import similarity_text

GAP: Final = 0.06
"""Between two crops, in sides of a crop."""

OPACITY: Final = 0.7

DIVERGING: Final = [[0.0, style.REJECTED], [0.5, "#FFFFFF"], [1.0, style.PALETTE[0]]]
"""Color scale around 0: what adds is blue, what takes away orange."""


def similar_places(
    crops: Sequence[Image.Image], maps: Sequence[FeatureMap], place: tuple[float, float], *, title: str = ""
) -> go.Figure:
    """A place in the first crop, how similar the places of the second are to it, and the most similar one.

    Args:
        crops: two, of any size.
        maps: of them, by one encoder.
        place: shares of the first crop's width and height.
        title: above the figure.
    """
    heat = alike.similarity_to(maps[0], *maps[0].cell_at(*place), maps[1])
    match = maps[1].place_of(*alike.best_match(heat))
    made = _crops(crops, title)
    made.add_trace(_overlay(heat, 1, colorscale=style.SCALE, colorbar={"thickness": 10, "title": "cosine"}))
    for start, (x, y), name, symbol in (
        (0, place, "the place", "circle-cross-open"),
        (1 + GAP, match, f"best match, {similarity_text(heat.max())}", "circle-open"),
    ):
        for color, width in (("#FFFFFF", 6), (style.REJECTED, 3)):
            marker = {"symbol": symbol, "size": 16, "color": color, "line": {"width": width}}
            made.add_scatter(x=[start + x], y=[y], mode="markers", marker=marker, name=name, hoverinfo="name")
    return made


def shares(crops: Sequence[Image.Image], maps: Sequence[FeatureMap], *, title: str = "") -> go.Figure:
    """What each place adds to the cosine of two crops; see `judging.alike.shares`.

    Args:
        crops: two, of any size.
        maps: of them, by one encoder.
        title: above the figure; by default, the cosine.
    """
    found = alike.shares(maps[0], maps[1])
    most = max(float(np.abs(part).max()) for part in found[:2])
    made = _crops(crops, title or f"shares of the cosine, {similarity_text(found.cosine)}")
    for number, part in enumerate(found[:2]):
        bar = {"colorbar": {"thickness": 10, "title": "share"}} if number else {"showscale": False}
        made.add_trace(_overlay(part, number, colorscale=DIVERGING, zmin=-most, zmax=most, **bar))
    return made


def pca_colors(crops: Sequence[Image.Image], maps: Sequence[FeatureMap], *, title: str = "") -> go.Figure:
    """Crops in the colors of their places, alike where places are alike; see `judging.alike.pca_colors`.

    Args:
        crops: of any size.
        maps: of them, by one encoder.
        title: above the figure.
    """
    colored = [
        Image.blend(crop.convert("L").convert("RGB"), Image.fromarray(colors).resize(crop.size), OPACITY)
        for crop, colors in zip(crops, alike.pca_colors(maps), strict=True)
    ]
    return _crops(colored, title, gray=False)


def _crops(crops: Sequence[Image.Image], title: str, *, gray: bool = True) -> go.Figure:
    """Crops side by side, each as a square, as encoders see them."""
    made = style.figure(
        height=360, title=title, showlegend=False, dragmode=False, margin={"l": 0, "r": 0, "t": 36, "b": 4}
    )
    for number, crop in enumerate(crops):
        shown = crop.convert("L") if gray and number else crop  # colors lie over all but the first
        source = style.data_uri(shown, 448)
        place = {"x": number * (1 + GAP), "y": 0, "sizex": 1, "sizey": 1, "xref": "x", "yref": "y"}
        made.add_layout_image(source=source, sizing="stretch", layer="below", **place)
    made.add_scatter(x=[None], y=[None], showlegend=False)  # without any trace Plotly draws no axes
    made.update_xaxes(visible=False, range=[0, len(crops) + GAP * (len(crops) - 1)], constrain="domain")
    made.update_yaxes(visible=False, range=[1, 0], scaleanchor="x", constrain="domain")
    return made


def _overlay(values: NDArray[np.floating], number: int, **look: Any) -> go.Heatmap:
    """Values of the cells (h, w) of crop `number`, over it."""
    rows, columns = values.shape
    return go.Heatmap(
        z=values,
        x=number * (1 + GAP) + (np.arange(columns) + 0.5) / columns,
        y=(np.arange(rows) + 0.5) / rows,
        opacity=OPACITY,
        zsmooth="best",
        hovertemplate="%{z:.4f}<extra></extra>",
        **look,
    )
