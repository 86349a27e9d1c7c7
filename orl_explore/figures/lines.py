"""Numbers that depend on a setting, as lines: a table with a line for each of its columns."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from orl_explore.figures import style

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")


def by_column(
    table: pd.DataFrame, *, title: str = "", y_title: str = "", form: str = "", log_x: bool = False, height: int = 340
) -> go.Figure:
    """Draw every column of a table over its index, each with a color and a symbol of its own.

    Args:
        table: numbers; missing ones leave a gap. The index, with its name, is the x axis.
        title: above the figure.
        y_title: of the y axis.
        form: of the numbers at the y axis, such as ".0%".
        log_x: a logarithmic x axis, with ticks at the values of the index.
        height: of the figure, pixels.
    """
    x = table.index.to_numpy()
    made = style.figure(
        height=height,
        title=title,
        xaxis_title=str(table.index.name or ""),
        yaxis={"title": y_title, "tickformat": form, "rangemode": "tozero"},
        margin={"l": 8, "r": 8, "t": 40, "b": 80},
    )
    if log_x:
        made.update_xaxes(type="log", tickvals=x, ticktext=[f"{value:g}" for value in x.tolist()])
    for number, name in enumerate(table.columns):
        made.add_scatter(
            x=x,
            y=table[name].to_numpy(float),
            name=str(name),
            mode="lines+markers" if len(table) <= 60 else "lines",
            line={"color": style.color(number), "width": 2},
            marker={"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 8},
        )
    return made
