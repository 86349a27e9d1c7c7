"""How training went: loss, learning rate, and the state of the representation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from orl_explore.figures import style

POINTS = 600
"""Points drawn of a curve at most; longer ones are averaged in equal stretches, which the hover text says."""

DASHES = ("solid", "dash", "dot")
SYMBOLS = ("circle", "diamond", "square", "cross")

NAMES = {"loss_image": "whole images", "loss_intra": "boxes and jittered copies", "loss_inter": "corresponding boxes"}


def loss(metrics: pd.DataFrame) -> go.Figure:
    """Losses over steps, each 0 (views agree) to 8; 4 means that they have nothing to do with one another.

    Args:
        metrics: `metrics.csv` of a training stage.
    """
    made = style.figure(yaxis_title="loss (0..8)", xaxis_title="step", title="Loss")
    for number, name in enumerate(name for name in NAMES if name in metrics):
        x, y = thin(metrics["step"], metrics[name])
        made.add_scatter(x=x, y=y, name=NAMES[name], mode="lines", line={"color": style.color(number), "width": 2})
    made.update_yaxes(rangemode="tozero")
    return made


def learning_rate(metrics: pd.DataFrame) -> go.Figure:
    """Learning rate, and the EMA momentum of the target network on a second axis, over steps."""
    made = style.figure(
        title="Learning rate, momentum",
        xaxis_title="step",
        yaxis_title="learning rate",
        yaxis2={"title": "momentum", "overlaying": "y", "side": "right", "showgrid": False, "tickmode": "auto"},
    )
    for number, (column, name, axis) in enumerate((("lr", "learning rate", "y"), ("momentum", "EMA momentum", "y2"))):
        x, y = thin(metrics["step"], metrics[column])
        made.add_scatter(x=x, y=y, name=name, mode="lines", yaxis=axis, line={"color": style.color(number)})
    return made


def representation(metrics: pd.DataFrame) -> go.Figure:
    """Spread (std times the root of d: 1 = spread out, 0 = collapsed) and effective rank at the end of each epoch."""
    ends = metrics.dropna(subset=["std"])
    made = style.figure(
        title="State of the representation",
        xaxis_title="epoch",
        yaxis={"title": "std · √d", "rangemode": "tozero"},
        yaxis2={
            "title": "effective rank",
            "overlaying": "y",
            "side": "right",
            "tickmode": "auto",
            "showgrid": False,
            "rangemode": "tozero",
        },
    )
    made.add_scatter(x=ends["epoch"] + 1, y=ends["std"], name="std · √d", mode="lines+markers")
    made.add_scatter(x=ends["epoch"] + 1, y=ends["rank"], name="effective rank", mode="lines+markers", yaxis="y2")
    return made


def funnel(counts: dict[str, int]) -> go.Figure:
    """What was left after each step of stage 2, as bars; a step is a name and a count."""
    names, values = list(counts), list(counts.values())
    made = style.figure(
        go.Bar(
            y=names,
            x=values,
            orientation="h",
            text=[f"{value:,}" for value in values],
            textposition="outside",
            cliponaxis=False,
            marker_color=[style.color(0), style.color(2), style.color(5), style.color(1)][: len(names)],
        ),
        height=60 + 44 * len(names),
        title="Stage 2: what was left",
    )
    made.update_yaxes(autorange="reversed", showgrid=False)
    made.update_xaxes(showticklabels=False, range=[0, 1.12 * max([1, *values])])
    return made


def thin(x: pd.Series, y: pd.Series, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Average a curve in equal stretches so that at most `points` remain; shorter ones come back as they are."""
    stretch = math.ceil(len(x) / points) if len(x) else 1
    group = np.arange(len(x)) // stretch
    return (
        pd.Series(x.to_numpy(float)).groupby(group).mean().to_numpy(),
        pd.Series(y.to_numpy(float)).groupby(group).mean().to_numpy(),
    )


def laid_over(metrics: Mapping[str, pd.DataFrame], column: str, title: str) -> go.Figure:
    """One curve of several runs on common axes, over steps; runs that do not have it are left out.

    Args:
        metrics: `metrics.csv` of a training stage, by run; a run without one has an empty table, and keeps its color.
        column: of these tables.
        title: what it is.
    """
    made = style.figure(yaxis_title=title, xaxis_title="step", title=title)
    for number, (name, table) in enumerate(metrics.items()):
        if column not in table or table[column].isna().all():
            continue
        rows = table.dropna(subset=[column])
        x, y = thin(rows["step"], rows[column])
        look = {"color": style.color(number), "width": 2, "dash": DASHES[number // len(style.GROUPS) % len(DASHES)]}
        made.add_scatter(x=x, y=y, name=style.escape(name), mode="lines", line=look)
    made.update_layout(showlegend=True, margin={"l": 8, "r": 8, "t": 40, "b": 90}, height=380)
    return made


def results(table: pd.DataFrame, runs: Sequence[str]) -> go.Figure:
    """What was measured of several runs, in percent with 95 % intervals where they are known.

    Args:
        table: columns run, encoder, what, value, low, high (shares).
        runs: all of them, also those of which nothing was measured, in the order of their colors in `laid_over`.
    """
    made = style.figure(xaxis_title="percent", title="Results, with 95 % intervals where they are known")
    lines = [f"{what} · {encoder}" for what, encoder in zip(table["what"], table["encoder"], strict=True)]
    order = list(dict.fromkeys(lines))
    for number, name in enumerate(runs):
        rows = table[(table["run"] == name).to_numpy()]
        if not len(rows):
            continue
        known, turn = rows["low"].notna(), number // len(style.GROUPS)  # past all colors, one has another symbol
        made.add_scatter(
            x=100 * rows["value"],
            y=[style.escape(line) for line, own in zip(lines, table["run"] == name, strict=True) if own],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": (100 * (rows["high"] - rows["value"])).where(known, 0),
                "arrayminus": (100 * (rows["value"] - rows["low"])).where(known, 0),
            },
            mode="markers",
            name=style.escape(name),
            marker={"color": style.color(number), "size": 10, "symbol": SYMBOLS[(number + turn) % len(SYMBOLS)]},
            hovertemplate="%{y}: %{x:.1f} %",
        )
    made.update_yaxes(autorange="reversed")
    made.update_layout(height=140 + 34 * len(order), margin={"l": 8, "r": 8, "t": 40, "b": 80}, showlegend=True)
    return made
