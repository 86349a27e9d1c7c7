"""`orl compare-proposals`: whose boxes find the objects."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.cli.arguments import Commands, add_field, add_json, add_run

PROPOSERS = """\
WHICH is one of
  run                          the run's own boxes
  fast, opencv                 selective search, run anew
  RUN                          another run on the same images, by its folder
  FILE or FOLDER               boxes that `orl import` takes: COCO results or data sets, masks of Segment Anything, .csv

  orl compare-proposals runs/coco run masks_of_sam/
  orl compare-proposals runs/coco run cutler.json --min-score 0.5
"""


def register(commands: Commands) -> None:
    """Add `orl compare-proposals`."""
    compare = commands.add(
        "compare-proposals", _compare, "put the boxes of two proposers side by side", epilog=PROPOSERS
    )
    add_run(compare, "a run whose stage 2 is finished: its images, filter and encoder are used")
    compare.add_argument("first", metavar="A", help="a proposer; see below")
    compare.add_argument("second", metavar="B", help="another one")
    compare.add_argument(
        "--limit", type=int, default=500, metavar="N", help="judge N images at most, evenly spread (default: 500)"
    )
    compare.add_argument(
        "--min-score", type=float, metavar="X", help="of files: leave boxes out whose score is below X"
    )
    compare.add_argument(
        "--min-stability", type=float, metavar="X", help="of Segment Anything: the same for stability_score"
    )
    add_field(compare)
    add_json(compare, "every figure")


def _compare(arguments: argparse.Namespace) -> None:
    """Judge two proposers of boxes on the images of a run, and show them side by side.

    Both go through the run's filter; their boxes are embedded by the encoder that the run mined with and paired with
    those of the nearest images. Recall, the share on objects and purity need annotations. The dashboard's page
    Proposals shows the same, with pictures.
    """
    import json

    from rich.console import Console
    from rich.table import Table

    from orl_explore.errors import OrlError
    from orl_explore.judging.proposers import side_by_side, side_by_side_text
    from orl_explore.runs.run import Run
    from training.compare_proposals import compare_proposals
    from training.config import load_config

    if arguments.limit < 2:
        raise OrlError(f"--limit is {arguments.limit}: pairs need at least 2 images")
    run = Run.open(arguments.run)
    with run.lock():
        first, second = compare_proposals(
            run,
            load_config(str(run.path / "config.yaml")),
            [arguments.first, arguments.second],
            limit=arguments.limit,
            min_score=arguments.min_score,
            min_stability=arguments.min_stability,
            label_field=arguments.field,
        )
    if arguments.json:
        rows = json.loads(side_by_side(first, second).to_json(orient="records"))
        sides = {"first": first.facts["chance"], "second": second.facts["chance"]}
        print(json.dumps({"images": first.facts["count"], "figures": rows, "chance": sides}))
        return
    found = side_by_side_text(first, second)
    table = Table(title=f"{first.facts['count']:,} images of {run.path}, with 95 % intervals", title_justify="left")
    for column in ("", f"A: {Path(first.name).name}", f"B: {Path(second.name).name}", "B - A"):
        table.add_column(column)
    for row in found.to_numpy().tolist():
        table.add_row(*row)
    Console().print(table)
    if len(found) == 1:
        print("these images have no annotated objects, so nothing else can be judged")
