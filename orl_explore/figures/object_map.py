"""The object map: every kept box as one point, near points look alike to the encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from orl_explore.figures import style
from orl_explore.judging.diagnostics import UNLABELED

GROUPS: Final = 28
"""Groups with a look of their own at most, largest first; all further ones share one gray."""

OTHERS: Final = "all others"

COLORS: Final = style.PALETTE[:7]  # without the gray: that is for the unlabeled
SYMBOLS: Final = ("circle", "diamond", "cross", "triangle-up")

LEGEND: Final = {"itemsizing": "constant", "orientation": "v", "yref": "paper", "y": 1, "yanchor": "top", "x": 1.01}


def by_group(points: pd.DataFrame, column: str, *, height: int = 520) -> go.Figure:
    """Color the map by groups, each a trace that the legend switches on and off; beyond seven, symbols differ too.

    Args:
        points: region_id, x, y, image_id, w, h and `column`; `label` is shown where there is one.
        column: a column of text or whole numbers.
        height: of the figure, pixels.
    """
    names = points[column].astype(str)
    counts = names.value_counts()  # largest first
    proper = [name for name in counts.index if name not in (UNLABELED, OTHERS)]
    own = sorted(proper[:GROUPS], key=_natural)
    rest = [(OTHERS, ~names.isin([*own, UNLABELED])), (UNLABELED, names == UNLABELED)]
    made = _empty(height)
    for name, rows in reversed(rest):
        if rows.any():
            made.add_trace(_trace(points[rows], name, {"color": style.QUIET, "opacity": 0.4}, len(points)))
    for number, name in enumerate(own):
        symbol = SYMBOLS[number // len(COLORS) % len(SYMBOLS)]
        look = {"color": COLORS[number % len(COLORS)], "symbol": symbol, "opacity": 0.85}
        shown = name if column != "cluster" else f"cluster {name}"
        made.add_trace(_trace(points[names == name], shown, look, len(points)))
    return made


def by_value(
    points: pd.DataFrame,
    column: str,
    title: str,
    *,
    limits: tuple[float, float] | None = None,
    height: int = 520,
) -> go.Figure:
    """Color the map by a number; low values are drawn first.

    Args:
        points: region_id, x, y, image_id, w, h and `column`; `label` is shown where there is one.
        column: a column of numbers.
        title: of the color bar.
        limits: values at the ends of the color scale; default: the 1st and the 99th percentile.
        height: of the figure, pixels.
    """
    points = points.sort_values(column, kind="stable")
    low, high = limits or tuple(np.percentile(points[column], [1, 99]))
    look = {
        "color": points[column].to_numpy(np.float32),
        "colorscale": style.SCALE,
        "cmin": float(low),
        "cmax": float(high),
        "colorbar": {"title": {"text": title, "side": "right"}, "thickness": 12, "outlinewidth": 0},
        "opacity": 0.85,
    }
    made = _empty(height)
    made.add_trace(_trace(points, title, look, len(points), value=True))
    made.update_layout(showlegend=False)
    return made


def by_image(
    points: pd.DataFrame,
    image_id: int,
    similar: Mapping[int, float],
    *,
    height: int = 520,
) -> go.Figure:
    """Show where the boxes of one image and of its neighbors lie.

    Args:
        points: region_id, x, y, image_id, w, h; `label` is shown where there is one.
        image_id: the image.
        similar: its neighbors, with their similarities.
        height: of the figure, pixels.
    """
    own, near = points["image_id"] == image_id, points["image_id"].isin(list(similar))
    made = _empty(height)
    parts: tuple[tuple[str, Any, dict[str, Any]], ...] = (
        ("all other images", ~own & ~near, {"color": style.QUIET, "opacity": 0.3}),
        ("its neighbors", near, {"color": style.PALETTE[5], "symbol": "diamond", "opacity": 0.9}),
        ("this image", own, {"color": style.PALETTE[1], "opacity": 1.0}),
    )
    for name, rows, look in parts:
        if rows.any():
            bigger = 0 if name == "all other images" else 4
            made.add_trace(_trace(points[rows], name, look, len(points), bigger=bigger))
    return made


def marker_size(count: int) -> float:
    """Size of a point, pixels: 9 for a few hundred points, 2.5 for 100,000."""
    return float(np.clip(9 - 3.0 * np.log10(max(count, 1) / 400), 2.5, 9))


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (1 << 40, name)


def _empty(height: int) -> go.Figure:
    # Streamlit takes clicks for selections only while the mouse pans: a lasso or a box is chosen in the toolbar.
    made = style.figure(height=height, uirevision="map", dragmode="pan", hovermode="closest")
    made.update_layout(
        margin={"l": 4, "r": 4, "t": 28, "b": 4},
        legend=LEGEND,
    )
    made.update_xaxes(visible=False)
    made.update_yaxes(visible=False)
    return made


def _trace(
    points: pd.DataFrame,
    name: str,
    look: dict[str, Any],
    count: int,
    *,
    bigger: float = 0,
    value: bool = False,
) -> go.Scattergl:
    """Points with what the mouse tells about them; Plotly reads some HTML in names, so they are escaped.

    Numbers go to the browser as bytes: as text, 100,000 points would take it and the server seconds.
    """
    facts = points[["region_id", "image_id", "w", "h"]].to_numpy(np.int64)
    fits = not len(facts) or facts.max() < 2**31
    lines = ["region %{customdata[0]} · image %{customdata[1]}", "%{customdata[2]} x %{customdata[3]} px"]
    if value:
        lines.append(f"{style.escape(name)}: %{{marker.color:.3g}}")
    if "label" in points:
        lines.append("%{text}")
    return go.Scattergl(
        x=points["x"].to_numpy(np.float32),
        y=points["y"].to_numpy(np.float32),
        mode="markers",
        name=f"{style.escape(name)} ({len(points):,})",
        marker={"size": marker_size(count) + bigger, **look},
        customdata=facts.astype(np.int32 if fits else np.float64),
        text=[style.escape(str(label)) for label in points["label"]] if "label" in points else None,
        hovertemplate="<br>".join(lines) + "<extra></extra>",
        unselected={"marker": {"opacity": 0.25}},
    )
