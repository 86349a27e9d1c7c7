"""Pictures with boxes on them, and what the filter of stage 2 left of the boxes found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageColor

from orl_explore.boxes import FALLBACK, KEPT, REASONS
from orl_explore.figures import style

LIMIT: Final = 400
"""Boxes of one kind that are drawn at most; more are a blot."""

OPACITY: Final = 130
"""Of masks, of 255."""

SIDE: Final = 900
"""Longer side at which the picture itself is sent to the browser, pixels."""


class Look(NamedTuple):
    """How a kind of box is drawn and called: by color and by dashes, so that neither is needed alone."""

    name: str
    color: str
    dash: str = "solid"
    width: float = 2


LOOKS: Final = {
    KEPT: Look("kept", style.ACCEPTED),
    FALLBACK: Look("kept, as nothing else was", style.ACCEPTED, "dash"),
    "side": Look("too small", style.PALETTE[5], "dot", 1.5),
    "aspect": Look("too long", style.PALETTE[4], "dash", 1.5),
    "iou": Look("overlapping", style.REJECTED, "dashdot", 1.5),
    "count": Look("after the limit", style.PALETTE[3], "longdash", 1.5),
    "object": Look("annotated object", style.PALETTE[6], "solid", 3),
    "missed": Look("missed object", style.PALETTE[1], "solid", 3),
    "marked": Look("the chosen region", style.PALETTE[1], "solid", 6),
}
"""How boxes look by the filter's reason; `object` is for ground truth."""


def mask_overlay(masks: Sequence[NDArray[np.bool_]], size: tuple[int, int]) -> Image.Image:
    """Masks as a picture to be laid over the image: each of one color, see-through, the small ones above the large.

    Args:
        masks: (H, W) each, true on the object.
        size: width and height of the image.
    """
    overlay = np.zeros((size[1], size[0], 4), np.uint8)
    colors = [ImageColor.getrgb(color) for color in style.PALETTE]
    areas = np.array([mask.sum() for mask in masks])
    for place, number in enumerate(np.argsort(-areas, kind="stable")):
        overlay[masks[number]] = (*colors[place % len(colors)][:3], OPACITY)
    return Image.fromarray(overlay, "RGBA")


def image_with_boxes(
    image: Image.Image,
    boxes: ArrayLike,
    looks: Sequence[Look],
    labels: Sequence[str],
    *,
    overlay: Image.Image | None = None,
    height: int | None = None,
) -> go.Figure:
    """Draw boxes on a picture; the pointer on the edge of a box shows its label.

    Boxes of one look are one entry of the legend, where a click hides them. Of more than `LIMIT`, the first are drawn.

    Args:
        image: RGB.
        boxes: (N, 4) xywh in pixels of the image.
        looks: (N,) how each is drawn.
        labels: (N,) plain text; several lines are parted by newlines.
        overlay: drawn between the picture and the boxes, RGBA, of the picture's size.
        height: of the figure; by default what the picture needs where it is 640 pixels wide, 520 at most.
    """
    lines = -(-len(set(looks)) // 3)  # of the legend, where the figure is narrow
    margin = {"l": 0, "r": 0, "t": 4, "b": 14 + 20 * max(1, lines)}
    height = height or min(520, margin["t"] + margin["b"] + round(640 * image.height / image.width))
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not len(boxes) == len(looks) == len(labels):
        raise ValueError(f"want as many looks and labels as boxes, not {len(boxes)}, {len(looks)}, {len(labels)}")
    made = style.figure(height=height, margin=margin, hovermode="closest")
    place: dict[str, Any] = {"xref": "x", "yref": "y", "x": 0, "y": 0, "sizex": image.width, "sizey": image.height}
    if overlay is not None:
        image = Image.alpha_composite(image.convert("RGBA"), overlay).convert("RGB")
    made.add_layout_image(source=style.data_uri(image, SIDE), sizing="stretch", layer="below", **place)
    made.update_xaxes(visible=False, range=[0, image.width], constrain="domain")
    made.update_yaxes(
        visible=False, range=[image.height, 0], scaleanchor="x", constrain="domain", constraintoward="top"
    )
    for look in dict.fromkeys(looks):
        rows = [row for row, other in enumerate(looks) if other == look]
        shown = rows[:LIMIT]
        x, y = outlines(boxes[shown])
        text: list[str | None] = []
        for row in shown:
            text += [style.escape(labels[row]).replace("\n", "<br>")] * POINTS + [None]
        number = f"{len(rows):,}" if len(shown) == len(rows) else f"first {len(shown):,} of {len(rows):,}"
        common: dict[str, Any] = {"x": x, "y": y, "mode": "lines", "legendgroup": look.name}
        if look.dash == "solid":  # a dark rim, so that light lines show on light pictures
            rim = {"color": "rgba(0,0,0,0.55)", "width": look.width + 2}
            made.add_scatter(**common, line=rim, hoverinfo="skip", showlegend=False)
        made.add_scatter(
            **common,
            name=f"{look.name} ({number})",
            line={"color": look.color, "width": look.width, "dash": look.dash},
            text=text,
            hovertemplate="%{text}<extra></extra>",
        )
    if not len(boxes):  # without any trace Plotly draws no axes, and without axes no picture
        made.add_scatter(x=[None], y=[None], showlegend=False)
    return made


POINTS: Final = 9
"""Points of an outline: the corners, the middles of the edges, and the first again."""


def outlines(boxes: NDArray[np.float64]) -> tuple[list[float | None], list[float | None]]:
    """x and y of the outlines of boxes (N, 4) as one line with gaps: `POINTS` points a box, then None."""
    across = np.array([0, 0.5, 1, 1, 1, 0.5, 0, 0, 0])
    down = np.array([0, 0, 0, 0.5, 1, 1, 1, 0.5, 0])
    gap = np.full((len(boxes), 1), np.nan)
    x = np.hstack([boxes[:, :1] + boxes[:, 2:3] * across, gap]).ravel().tolist()
    y = np.hstack([boxes[:, 1:2] + boxes[:, 3:] * down, gap]).ravel().tolist()
    return [None if v != v else v for v in x], [None if v != v else v for v in y]


def funnel(counts: dict[str, int]) -> go.Figure:
    """What each test of the filter left of the boxes of one image, as bars, with what it took away beside.

    Args:
        counts: of `count_reasons`.
    """
    left = sum(counts.values())
    names, remain, removed = ["found"], [left], [0]
    for reason, name in (
        ("count", "before the limit"),
        ("side", "large enough"),
        ("aspect", "not too long"),
        ("iou", "no overlap: kept"),
    ):
        left -= counts[reason]
        names.append(name)
        remain.append(left)
        removed.append(counts[reason])
    if counts[FALLBACK]:
        names[-1] += " (or the first one)"
    made = style.figure(height=60 + 38 * len(names), title="What the filter left", barmode="stack", showlegend=False)
    colors = [style.PALETTE[0]] * (len(names) - 1) + [style.ACCEPTED]
    made.add_bar(
        y=names,
        x=remain,
        orientation="h",
        marker_color=colors,
        hovertemplate="%{y}: %{x:,}<extra></extra>",
    )
    made.add_bar(
        y=names,
        x=removed,
        orientation="h",
        marker={"color": "rgba(128,128,128,0.25)", "pattern": {"shape": "/", "fgcolor": style.QUIET}},
        text=[f"{a:,}" + (f"  (-{b:,})" if b else "") for a, b in zip(remain, removed, strict=True)],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="taken away: %{x:,}<extra></extra>",
    )
    made.update_yaxes(autorange="reversed", showgrid=False)
    made.update_xaxes(showticklabels=False, range=[0, 1.75 * max(1, remain[0])])
    return made


def count_reasons(reasons: ArrayLike) -> dict[str, int]:
    """Count every reason of the filter, also those that do not occur."""
    values = np.asarray(reasons)
    return {reason: int((values == reason).sum()) for reason in REASONS}
