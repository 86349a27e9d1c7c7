"""Two encoders on the same images: how much their neighbors overlap, and a map of the images by each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from orl_explore.figures import style
from orl_explore.figures.object_map import coloring_of_groups

SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "pentagon", "star-triangle-down", "hexagram", "bowtie")
"""A label has a color and a symbol, so that it can be told without its color."""

NO_LABEL: Final = "no label"

WEBGL_FROM: Final = 4000
"""Points from which on they are drawn by the graphics card."""


def overlap(shares: NDArray[np.float64], k: int, *, chance: float, chosen: float | None = None) -> go.Figure:
    """Histogram of how many of k neighbors are kept, over images.

    Args:
        shares: kept share of each image's neighbors, 0..1.
        k: neighbors per image.
        chance: share that blind drawing gives.
        chosen: share of the image that is looked at; its bar is marked.
    """
    kept = np.rint(np.asarray(shares) * k).astype(int)
    counts = np.bincount(kept, minlength=k + 1)
    here = -1 if chosen is None else round(chosen * k)
    made = style.figure(
        go.Bar(
            x=list(range(k + 1)),
            y=counts,
            marker={
                "color": [style.color(1) if number == here else style.color(0) for number in range(k + 1)],
                "pattern": {"shape": ["/" if number == here else "" for number in range(k + 1)]},
            },
            hovertemplate="%{x} of " + str(k) + " kept: %{y:,} images<extra></extra>",
        ),
        title="Kept neighbors per image" + ("" if here < 0 else f"; hatched: this one, {here} of {k}"),
        xaxis={"title": f"of {k} neighbors, kept", "dtick": 1 if k <= 20 else None},
        yaxis_title="images",
        showlegend=False,
        bargap=0.08,
    )
    highest = 1.35 * max(1, int(counts.max()))  # above the bars, so that words and bars never meet
    made.update_yaxes(range=[0, highest])
    lines = sorted([(float(np.mean(shares)) * k, "mean", "solid"), (chance * k, "chance", "dot")])
    for (value, name, dash), height in zip(lines, (0.97, 0.86), strict=True):
        # The left line is the longer one, so that neither crosses the words beside the other.
        y = height * highest
        made.add_shape(
            type="line", x0=value, x1=value, y0=0, y1=y, line={"color": style.QUIET, "dash": dash, "width": 2}
        )
        made.add_annotation(
            x=value,
            y=y,
            text=f"{name} {value:.1f}",
            font={"color": style.QUIET},
            showarrow=False,
            xanchor="left" if value < 0.75 * k else "right",
            yanchor="top",
            xshift=4 if value < 0.75 * k else -4,
        )
    return made


def image_map(
    points: NDArray[np.float64],
    labels: Sequence[str] | None = None,
    *,
    rows: NDArray[np.int64] | None = None,
    names: Sequence[str] | None = None,
    marked: Sequence[int] = (),
    chosen: int | None = None,
    title: str = "",
) -> go.Figure:
    """Map of images, one point each, colored by label; some marked with rings, the chosen one with a cross.

    Every point carries the row of its image as custom data.

    Args:
        points: (N, 2).
        labels: of the images; None draws them all alike.
        rows: which images to draw, by row; all of them by default.
        names: shown when the pointer is on a point.
        marked: rows to mark; all others step back.
        chosen: row of the image that is looked at.
        title: above the map.
    """
    rows = np.arange(len(points)) if rows is None else np.asarray(rows)
    kind = go.Scattergl if len(rows) > WEBGL_FROM else go.Scatter
    coloring = None if labels is None else coloring_of_groups(pd.Series(list(labels), dtype=object), "", none=NO_LABEL)
    names_of = ["image"] if coloring is None else coloring.names
    colors = [style.color(0)] if coloring is None else coloring.colors
    codes = np.zeros(len(points), int) if coloring is None else coloring.codes
    made = style.figure(
        height=460,
        title=title,
        margin={"l": 8, "r": 8, "t": 32, "b": 80},
        legend={**style.LEGEND, "itemsizing": "constant"},
        dragmode="lasso",
        uirevision="map",
    )
    some = len(marked) > 0
    is_marked = np.isin(np.arange(len(points)), list(marked))
    for number, (name, color) in enumerate(zip(names_of, colors, strict=True)):
        of_group = rows[codes[rows] == number]
        made.add_trace(
            kind(
                x=points[of_group, 0],
                y=points[of_group, 1],
                customdata=of_group[:, None],
                text=[style.escape(names[row]) for row in of_group.tolist()] if names is not None else None,
                hovertemplate=("%{text}<br>" if names is not None else "") + f"{style.escape(name)}<extra></extra>",
                name=style.escape(name),
                mode="markers",
                marker={
                    "color": color,
                    "symbol": SYMBOLS[number % len(SYMBOLS)],
                    "size": 7,
                    "opacity": np.where(is_marked[of_group], 1.0, 0.25).tolist() if some else 0.75,
                },
                selected={"marker": {"opacity": 1.0}},
                unselected={"marker": {"opacity": 0.25}},
                showlegend=labels is not None,
            )
        )
    if some:
        ringed = np.array([row for row in marked if 0 <= row < len(points)], dtype=int)
        made.add_trace(
            kind(
                x=points[ringed, 0],
                y=points[ringed, 1],
                customdata=ringed[:, None],
                name="marked",
                mode="markers",
                marker={"symbol": "circle-open", "size": 13, "color": style.QUIET, "line": {"width": 2}},
                hoverinfo="skip",
            )
        )
    if chosen is not None:
        made.add_trace(
            kind(
                x=[points[chosen, 0]],
                y=[points[chosen, 1]],
                customdata=[[chosen]],
                name="this image",
                mode="markers",
                marker={"symbol": "x-thin", "size": 15, "line": {"width": 4, "color": style.color(1)}},
                hoverinfo="skip",
            )
        )
    made.update_xaxes(showticklabels=False, title="")
    made.update_yaxes(showticklabels=False, showgrid=False, title="", scaleanchor="x")
    return made
