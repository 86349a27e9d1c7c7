"""`orl report`: a run as one HTML file."""

from __future__ import annotations

import argparse
from pathlib import Path

from orl_explore.errors import OrlError
from training.cli.arguments import Commands, add_run


def register(commands: Commands) -> None:
    """Add `orl report`."""
    report = commands.add("report", _report, "write a run as one HTML file, to be handed on")
    add_run(report)
    report.add_argument("-o", "--output", type=Path, metavar="FILE.html", help="default: RUN.html, here")
    report.add_argument("--pairs", metavar="QUERY", help="which pairs are shown (see `orl pairs --help`)")
    report.add_argument("--title", default="", help="its heading (default: the run's name)")


def _report(arguments: argparse.Namespace) -> None:
    """Write what a run is, its key figures, curves, pairs and map into one file of less than 10 MB.

    It opens in any browser, without this project and without a network, and names no folder of this machine.
    """
    from orl_explore.figures.report import write_report
    from orl_explore.runs.pair_query import PairQuery
    from orl_explore.runs.run import Run
    from training.cli.pair_sets import prepared
    from training.console import console

    run = Run.open(arguments.run)
    query = None if arguments.pairs is None else PairQuery.parse(arguments.pairs)
    out = arguments.output or Path(f"{run.path.resolve().name}.html")
    if out.suffix != ".html":
        raise OrlError(f"a report is a page for the browser: name it {out.name.partition('.')[0]}.html")
    if run.file("pairs").exists():
        prepared(run.path)
    write_report(run, out, query, title=arguments.title)
    console.print(f"{out}: {out.stat().st_size:,} bytes", markup=False)
