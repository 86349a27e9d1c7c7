"""Two encoders on the same boxes, as pictures."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from orl_explore.figures import style

LONGEST = 24
"""Letters of a name on the axis at most."""

MOST = 12
"""Categories with bars of their own at most: those that changed most."""


def company(table: pd.DataFrame, category: str, names: tuple[str, str] = ("A", "B")) -> go.Figure:
    """What the nearest boxes of a category's boxes are on, by A and by B, as bars; the category itself on top.

    Args:
        table: what `Neighborhoods.company` gives.
        category: whose boxes were asked.
        names: of the two encoders.
    """
    own = table["nearest"] == category
    others = table[~own]
    keep = others["change"].abs().sort_values(ascending=False, kind="stable").index[: MOST - 1]
    shown = pd.concat([table[own], others.loc[keep].sort_values("change", ascending=False, kind="stable")])
    labels = [style.escape(name) for name in shown["nearest"]]
    made = style.figure(
        height=90 + 32 * len(shown),
        title=f"What the nearest boxes of {style.escape(category)} are on",
        barmode="group",
        bargap=0.25,
        margin={"l": 8, "r": 8, "t": 40, "b": 64},
    )
    for letter, column, number, pattern in (("A", "a", 0, ""), ("B", "b", 1, "/")):
        made.add_bar(
            y=labels,
            x=100 * shown[column],
            name=style.escape(names[number]),
            orientation="h",
            marker={"color": style.color(number), "pattern": {"shape": pattern}},
            hovertemplate=f"{letter}: %{{x:.1f}} % of the nearest boxes are %{{y}}<extra></extra>",
        )
    made.update_xaxes(title="percent")
    ticks = [style.escape(style.short(name, LONGEST)) for name in shown["nearest"]]
    made.update_yaxes(type="category", tickvals=labels, ticktext=ticks, autorange="reversed", showgrid=False)
    return made
