"""The object map: every kept box as one point, near points look alike to the encoder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from orl_explore.figures import style
from orl_explore.judging.diagnostics import UNLABELED

COLORS: Final = style.GROUPS
"""Twelve colors that can be told apart; without gray, which is for the unlabeled and for all others."""

LARGEST: Final = 10
"""Of more groups than there are colors, so many of the largest have one of their own."""

OTHERS: Final = "(other)"
NO_VALUE: Final = "(no value)"
GRAY, LIGHT_GRAY = "#8A939B", "#B9C0C6"
"""Of all others, and of what belongs to no group or has no value."""

STEPS: Final = 64
"""Colors of a scale."""

LEGEND: Final = {"itemsizing": "constant", "orientation": "v", "yref": "paper", "y": 1, "yanchor": "top", "x": 1.01}


@dataclass(frozen=True)
class Coloring:
    """Which color each region has.

    Attributes:
        title: what the colors say.
        names: of the groups; of a scale, none, or `NO_VALUE`, whose color is the last.
        colors: `#rrggbb`, of each group, or of each step of a scale.
        codes: (R,) uint16, group or step of each region.
        limits: of a scale, the values of its first and last color.
    """

    title: str
    names: list[str]
    colors: list[str]
    codes: NDArray[np.uint16]
    limits: tuple[float, float] | None = None


def coloring_of_groups(column: pd.Series, title: str, *, none: str = UNLABELED) -> Coloring:
    """A color for each of up to twelve groups; of more, for the ten largest, and one gray for all others.

    Args:
        column: text or whole numbers.
        title: what the groups are.
        none: what belongs to none of them is called, and what is missing; it is gray, too, and none of the twelve.
    """
    names = column.astype(str).where(column.notna(), none)
    sizes = names.value_counts()  # largest first
    proper = [name for name in sizes.index if name != none]
    own = sorted(proper[: LARGEST if len(proper) > len(COLORS) else len(COLORS)], key=_natural)
    code = {name: number for number, name in enumerate(own)}
    shown, colors = list(own), list(COLORS[: len(own)])
    others = OTHERS if OTHERS not in own else f"{OTHERS} than these"
    for name, members, gray in (
        (others, set(proper) - set(own), GRAY),
        (none, {none} & set(sizes.index), LIGHT_GRAY),
    ):
        if members:
            code |= dict.fromkeys(members, len(shown))
            shown.append(name)
            colors.append(gray)
    return Coloring(title, shown, colors, names.map(code).to_numpy(np.uint16))


def coloring_of_values(values: ArrayLike, title: str, *, limits: tuple[float, float] | None = None) -> Coloring:
    """A color of a scale for each number; those beyond the ends have the end's, and what is no number is gray.

    Args:
        values: (R,); infinite ones are beyond the ends.
        title: what they are.
        limits: values at the ends of the scale; default: the 1st and the 99th percentile.
    """
    from plotly.colors import sample_colorscale, unlabel_rgb

    values = _numbers(values)
    low, high = limits or _limits(values)
    steps = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * (STEPS - 1)
    found = sample_colorscale(style.SCALE, np.linspace(0, 1, STEPS).tolist())
    colors = ["#" + "".join(f"{round(part):02x}" for part in unlabel_rgb(color)) for color in found]
    missing = np.isnan(values)
    codes = np.where(missing, STEPS, steps.round()).astype(np.uint16)
    names = [NO_VALUE] if missing.any() else []
    return Coloring(title, names, [*colors, *([LIGHT_GRAY] if names else [])], codes, (low, high))


def _numbers(values: ArrayLike) -> NDArray[np.float64]:
    """Numbers of any type, missing ones as NaN."""
    found: NDArray[np.float64] = np.asarray(pd.Series(values).to_numpy(np.float64, na_value=np.nan), np.float64)
    return found


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 1st and the 99th percentile of what is finite."""
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [1, 99]) if len(finite) else (0.0, 1.0)
    return float(low), float(high)


def coloring_of_image(image_ids: pd.Series, image_id: int, neighbor_ids: Sequence[int]) -> Coloring:
    """Where the boxes of one image and of its neighbors lie, among all others."""
    codes = np.where(image_ids == image_id, 0, np.where(image_ids.isin(list(neighbor_ids)), 1, 2))
    names = ["this image", "its neighbors", "all other images"]
    return Coloring("image", names, [style.PALETTE[1], style.PALETTE[0], LIGHT_GRAY], codes.astype(np.uint16))


def by_group(points: pd.DataFrame, column: str, *, height: int = 520) -> go.Figure:
    """Color the map by groups, each a trace that the legend switches on and off; see `coloring_of_groups`.

    Args:
        points: region_id, x, y, image_id, w, h and `column`; `label` is shown where there is one.
        column: a column of text or whole numbers.
        height: of the figure, pixels.
    """
    coloring = coloring_of_groups(points[column], column)
    made = _empty(height)
    for code in reversed(range(len(coloring.names))):
        name = coloring.names[code]
        gray = coloring.colors[code] in (GRAY, LIGHT_GRAY)
        look = {"color": coloring.colors[code], "opacity": 0.4 if gray else 0.85}
        shown = name if column != "cluster" or gray else f"cluster {name}"
        made.add_trace(_trace(points[coloring.codes == code], shown, look, len(points)))
    return made


def by_value(
    points: pd.DataFrame,
    column: str,
    title: str,
    *,
    limits: tuple[float, float] | None = None,
    height: int = 520,
) -> go.Figure:
    """Color the map by a number; low values are drawn first, and before them, in gray, what has none.

    Args:
        points: region_id, x, y, image_id, w, h and `column`; `label` is shown where there is one.
        column: a column of numbers.
        title: of the color bar.
        limits: values at the ends of the color scale; default: the 1st and the 99th percentile.
        height: of the figure, pixels.
    """
    points = points.assign(**{column: _numbers(points[column])}).sort_values(column, kind="stable")
    low, high = limits or _limits(points[column].to_numpy())
    missing = points[column].isna()
    made = _empty(height)
    if missing.any():
        made.add_trace(_trace(points[missing], NO_VALUE, {"color": LIGHT_GRAY, "opacity": 0.4}, len(points)))
    points = points[~missing]
    look = {
        "color": points[column].to_numpy(np.float32),
        "colorscale": style.SCALE,
        "cmin": float(low),
        "cmax": float(high),
        "colorbar": {"title": {"text": title, "side": "right"}, "thickness": 12, "outlinewidth": 0},
        "opacity": 0.85,
    }
    made.add_trace(_trace(points, title, look, len(missing), value=True))
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


def _exact(numbers: NDArray[np.int64]) -> NDArray[Any]:
    """Whole numbers as the browser gets them right: as bytes where these hold them, else as text."""
    low, high = (int(numbers.min()), int(numbers.max())) if numbers.size else (0, 0)
    if low >= -(2**31) and high < 2**31:
        return numbers.astype(np.int32)
    if low >= -(2**53) and high <= 2**53:
        return numbers.astype(np.float64)
    return numbers.astype(str).astype(object)


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """So that 2 comes before 10, also in `cluster 2`."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(part), "") if part.isdecimal() else (1 << 40, part) for part in parts], name


def _empty(height: int) -> go.Figure:
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
        customdata=_exact(facts),
        text=[style.escape(str(label)) for label in points["label"]] if "label" in points else None,
        hovertemplate="<br>".join(lines) + "<extra></extra>",
        unselected={"marker": {"opacity": 0.25}},
    )
