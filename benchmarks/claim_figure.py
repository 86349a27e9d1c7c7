"""The picture of the claim: what every arm gains on stage 1, for all data that `claim.py` has results of.

python benchmarks/claim_figure.py
python benchmarks/claim_figure.py --output docs/images/claim.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import plotly.graph_objects as go
from claim import ARMS, RESULTS
from claim_table import gain
from plotly.subplots import make_subplots

from orl_explore.figures import style

DATA = {"scenes": "practice scenes", "disguise": "disguised drawings", "photographs": "photographs"}
LOOKS = {"probe": ("linear probe", "circle", style.PALETTE[0]), "knn": ("kNN", "diamond", style.PALETTE[1])}
NEWEST = ("new", "known")
"""Instances never seen in training, where there are some apart from the others; of photographs all are."""


def gains(folder: Path, measure: str) -> dict[str, tuple[float, float, float, list[float]]]:
    """By arm: the mean gain over its seeds, its 95 % interval over images, and the gain of each seed."""
    found = {}
    for arm in ARMS:
        files = sorted(folder.glob(f"seed*/{arm}.json"))
        known = {one["seed"]: one["figures"] for one in map(json.loads, (file.read_text() for file in files))}
        seeds = [seed for seed in known if (folder / f"seed{seed}/stage1.json").exists()]
        if arm == "stage1" or not seeds:
            continue
        key = next(key for key in (f"{measure}/{test}" for test in NEWEST) if key in known[seeds[0]])
        found[arm] = (
            *gain(folder, "stage1", arm, seeds, key),
            [gain(folder, "stage1", arm, [s], key)[0] for s in seeds],
        )
    return found


def draw(root: Path) -> go.Figure:
    """A column for each data set, a line for each arm; small marks are single seeds."""
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
            rows = [(place[arm] + offset, *values) for arm, values in of[key].items()]
            y, mean, low, high, single = zip(*rows, strict=True)
            bars = {
                "type": "data",
                "symmetric": False,
                "array": [100 * (b - m) for m, b in zip(mean, high, strict=True)],
                "arrayminus": [100 * (m - a) for m, a in zip(mean, low, strict=True)],
                "width": 0,
            }
            marker = {"symbol": symbol, "color": color, "size": 10}
            made.add_scatter(
                x=[100 * value for value in mean],
                y=y,
                error_x=bars,
                mode="markers",
                marker=marker,
                name=name,
                showlegend=column == 1,
                row=1,
                col=column,
            )
            made.add_scatter(
                x=[100 * value for values in single for value in values],
                y=[row for row, values in zip(y, single, strict=True) for _ in values],
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
