"""Pictures of any shape in rows and charts: captions stand in line, and no picture has a hole below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import streamlit as st

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from streamlit.delta_generator import DeltaGenerator

KEY = "tiles"
"""Containers whose key begins with this word are rows of pictures; the number that follows is their shape."""

BUTTON = ".stElementContainer:has(.stButton)"

STEP, WIDEST = 5, 600
"""Shapes are counted in steps of so many percent, up to the widest."""

STYLE = "\n".join(
    f"[class*=st-key-{KEY}-{percent}-] img {{ aspect-ratio: {percent / 100:g} }}"
    for percent in range(100, WIDEST + 1, STEP)
) + (
    f"""
[class*=st-key-{KEY}] img {{ object-fit: contain; object-position: 50% 100% }}
[class*=st-key-{KEY}] [data-testid=stColumn] > [data-testid=stVerticalBlock] {{ height: 100%; gap: 0.4rem }}
[class*=st-key-{KEY}] button {{ min-height: 2rem; padding: 0 0.3rem }}
[class*=st-key-{KEY}] .stVerticalBlock:has(.stButton) {{ position: relative }}
[class*=st-key-{KEY}] .stVerticalBlock:has(.stButton) .stElementToolbar {{ display: none }}
[class*=st-key-{KEY}] {BUTTON} {{ position: static }}
[class*=st-key-{KEY}] {BUTTON}:not({BUTTON} ~ *) button::after {{ content: ""; position: absolute; inset: 0 }}
[class*=st-key-{KEY}] {BUTTON} ~ {BUTTON} {{ position: relative; z-index: 1 }}
[class*=st-key-{KEY}] [data-testid=stColumn] > [data-testid=stVerticalBlock] > :last-child:not(:only-child) {{
  margin-top: auto
}}
@media (max-width: 700px) {{
  [class*=st-key-{KEY}] [data-testid=stHorizontalBlock] {{ flex-flow: row wrap }}
  [class*=st-key-{KEY}] [data-testid=stColumn] {{ min-width: 0; max-width: 33.3%; flex: 1 1 28% }}
}}
"""
)
"""Pictures of a row have one height and stand on their captions, and what comes last stands in line; a narrow screen
has three in a line. A click on a picture is one on the first button below it."""


def shape(sizes: Sequence[Sequence[int]]) -> int:
    """Width of a row's tiles in percent of their height: the tallest picture fills one, but none is above a square.

    Args:
        sizes: width and height of each picture, pixels.
    """
    tallest = min((100 * width / height for width, height in sizes), default=100.0)
    return int(min(max(tallest, 100), WIDEST)) // STEP * STEP


def places(
    sizes: Sequence[Sequence[int]], name: str, *, columns: int, gap: Literal["xsmall", "small"] = "small"
) -> Iterator[DeltaGenerator]:
    """A place for each picture, line by line.

    Args:
        sizes: width and height of each picture, pixels.
        name: of these pictures, no other ones of the page have it.
        columns: pictures in a line.
        gap: between them.
    """
    for start in range(0, len(sizes), columns):
        some = sizes[start : start + columns]
        line = st.container(key=f"{KEY} {shape(some)} {name} {start}")
        yield from line.columns(columns, gap=gap)[: len(some)]


def cells(sizes: Sequence[Sequence[int]], name: str, *, width: int) -> list[Any]:
    """A place of so many pixels for each picture, side by side, and below where there is no more room."""
    line = st.container(horizontal=True, gap="xsmall", key=f"{KEY} {shape(sizes)} {name}")
    return [line.container(width=width, gap="xsmall") for _ in sizes]


def chart(made: go.Figure, size: Sequence[float], *, key: str, above: int, **given: Any) -> None:
    """Show a chart that is one picture, as high as the picture needs where it is, but not beyond the fold.

    Args:
        made: its height is of no account.
        size: width and height of the picture, in any unit.
        key: of the chart.
        above: pixels of the screen that are for others, above the chart and below it.
        given: to `st.plotly_chart`.
    """
    name = f"chart {key}"
    needed = f"100cqw * {size[1] / size[0]:.4f} + {made.layout.margin.t + made.layout.margin.b}px"
    with st.container(key=name, gap=None):
        selector = f".st-key-{name.replace(' ', '-')}"
        st.html(
            f"<style>{selector} {{ container-type: inline-size }} {selector} .stPlotlyChart"
            f" {{ height: min({needed}, max(300px, 100vh - {above}px)) !important }}</style>"
        )
        st.plotly_chart(made, key=key, height="stretch", **given)
