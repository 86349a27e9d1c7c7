"""How similar neighbors are, over the whole run, and where one image stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from orl_explore.figures import style


def histogram(similarities: ArrayLike, bins: int = 60) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count similarities in equal bins between the least and the greatest: counts (bins,), edges (bins + 1,).

    Those that are unknown (NaN) are left out.
    """
    values = np.asarray(similarities, np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return np.zeros(1, np.int64), np.array([0.0, 1.0])
    low, high = values.min(), values.max()
    counts, edges = np.histogram(values, bins, range=(low, high) if high > low else (low - 0.01, low + 0.01))
    return counts.astype(np.int64), edges


def similarities(counts: ArrayLike, edges: ArrayLike, marked: Sequence[float]) -> go.Figure:
    """Histogram of the similarities of all neighbors, with those of one image marked.

    Args:
        counts: of `histogram`.
        edges: of `histogram`.
        marked: similarities of the image's own neighbors, nearest first.
    """
    counts, edges = np.asarray(counts), np.asarray(edges, np.float64)
    made = style.figure(
        go.Bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts,
            width=np.diff(edges),
            marker={"color": style.PALETTE[5], "line_width": 0},
            name="all neighbors of all images",
            customdata=np.column_stack([edges[:-1], edges[1:]]),
            hovertemplate="%{customdata[0]:.3f} to %{customdata[1]:.3f}: %{y:,}<extra></extra>",
        ),
        title="Similarities of neighbors",
        xaxis_title="cosine similarity",
        yaxis_title="neighbors",
        bargap=0,
    )
    if len(marked):
        # A strip below the bars, so that marks and bars never hide one another.
        made.add_scatter(
            x=list(marked),
            y=[-0.06 * max(1, int(counts.max()))] * len(marked),
            mode="markers",
            marker={"color": style.PALETTE[1], "symbol": "triangle-up", "size": 11},
            name="this image's neighbors",
            text=[f"neighbor {rank}" for rank in range(1, len(marked) + 1)],
            hovertemplate="%{text}: %{x:.3f}<extra></extra>",
        )
    made.update_yaxes(range=[-0.12 * max(1, int(counts.max())), 1.05 * max(1, int(counts.max()))])
    return made
