"""The picture of the claim: what every arm gains on stage 1, for all data that `claim.py` has results of.

python benchmarks/claim_figure.py
python benchmarks/claim_figure.py --output docs/images/claim.png
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import NamedTuple

import plotly.graph_objects as go
from claim import ARMS, RESULTS
from claim_table import gain, over_trainings, read
from plotly.subplots import make_subplots

from orl_explore.figures import style

DATA = {"scenes": "practice scenes", "disguise": "disguised drawings", "photographs": "photographs"}
LOOKS = {"probe": ("linear probe", "circle", style.PALETTE[0]), "knn": ("kNN", "diamond", style.PALETTE[1])}
NEWEST = ("new", "known")
"""Instances never seen in training, where there are some apart from the others; of photographs all are."""


class Gain(NamedTuple):
    """What an arm has more than stage 1, shares of 1."""

    mean: float
    """Over its seeds."""
    low: float
    """Of the 95 % interval over images."""
    high: float
    single: list[float]
    """Of each seed."""
    half: float
    """Of the 95 % interval over seeds and trainings; nan where it is not known."""


def gains(folder: Path, measure: str) -> dict[str, Gain]:
    """By arm, what it gains."""
    results = read(folder, ARMS)
    both = {arm: [seed for seed in of if seed in results.get("stage1", {})] for arm, of in results.items()}
    measured = {key for of in results.values() for one in of.values() for key in one["figures"]}
    key = next((key for key in (f"{measure}/{test}" for test in NEWEST) if key in measured), "")
    halves = over_trainings(results, key, base=("stage1",))
    return {
        arm: Gain(
            *gain(folder, "stage1", arm, seeds, key),
            [gain(folder, "stage1", arm, [seed], key)[0] for seed in seeds],
            halves.get(arm, (math.nan, math.nan))[1],
        )
        for arm, seeds in both.items()
        if seeds and arm != "stage1"
    }


def draw(root: Path) -> go.Figure:
    """A column for each data set, a line for each arm; small marks are single seeds.

    Thick bars are intervals over images, thin ones over seeds and trainings.
    """
    columns = {name: {key: gains(root / name, key) for key in LOOKS} for name in DATA if (root / name).exists()}
    columns = {name: of for name, of in columns.items() if of["probe"]}
    if not columns:
        raise SystemExit(f"{root} has no results yet: `python benchmarks/claim.py scenes` makes some")
    arms = [arm for arm in ARMS if any(arm in of["probe"] for of in columns.values())]
    place = {arm: len(arms) - number for number, arm in enumerate(arms)}
    titles = [DATA[name] for name in columns]
    made = make_subplots(1, len(columns), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.03)
    for column, of in enumerate(columns.values(), start=1):
        for offset, (key, (name, symbol, color)) in zip((0.14, -0.14), LOOKS.items(), strict=True):
            rows = [(place[arm] + offset, values) for arm, values in of[key].items()]
            marks = {
                "x": [100 * one.mean for _, one in rows],
                "y": [y for y, _ in rows],
                "mode": "markers",
                "marker": {"symbol": symbol, "color": color, "size": 10},
            }
            thin = {"array": [100 * one.half for _, one in rows], "width": 0, "thickness": 1, "color": color}
            made.add_scatter(**marks, error_x=thin, showlegend=False, hoverinfo="skip", row=1, col=column)
            thick = {
                "symmetric": False,
                "array": [100 * (one.high - one.mean) for _, one in rows],
                "arrayminus": [100 * (one.mean - one.low) for _, one in rows],
                "width": 0,
                "thickness": 3,
            }
            made.add_scatter(**marks, error_x=thick, name=name, showlegend=column == 1, row=1, col=column)
            made.add_scatter(
                x=[100 * value for _, one in rows for value in one.single],
                y=[y for y, one in rows for _ in one.single],
                mode="markers",
                marker={"symbol": symbol, "color": color, "size": 5, "opacity": 0.45},
                showlegend=False,
                row=1,
                col=column,
            )
        made.add_vline(x=0, line={"color": style.QUIET, "width": 1}, row=1, col=column)
    names = [ARMS[arm].title for arm in arms]
    made.update_yaxes(tickvals=[place[arm] for arm in arms], ticktext=names, showgrid=True, gridcolor="#EEEEEE")
    made.update_yaxes(range=[0.4, len(arms) + 0.6], zeroline=False)
    made.update_xaxes(title="points over stage 1", gridcolor="#EEEEEE", zeroline=False, matches="x")
    made.update_layout(
        height=150 + 34 * len(arms),
        width=420 + 330 * len(columns),
        margin={"l": 8, "r": 16, "t": 40, "b": 8},
        plot_bgcolor="white",
        legend={"orientation": "h", "y": -0.22 if len(arms) < 8 else -0.12},
        font={"size": 13},
    )
    return made


def main() -> None:
    """Draw what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="of claim.py (default: beside this file)")
    parser.add_argument("--output", type=Path, default=Path("docs/images/claim.png"), help="a png, svg or pdf")
    arguments = parser.parse_args()
    draw(arguments.results).write_image(arguments.output, scale=2)
    print(arguments.output)


if __name__ == "__main__":
    main()
