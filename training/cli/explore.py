"""`orl explore`: from a folder of photographs to the dashboard in one command, without training."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from training.cli.arguments import Commands, add_config, add_images, own_settings

POLITE: Final = 5
"""By how much this process and its workers step back behind the dashboard: who looks at it waits for a page, and a page
takes a second's work."""


def register(commands: Commands) -> None:
    """Add `orl explore`."""
    explore = commands.add(
        "explore", _explore, "look at a folder of photographs: no training, a minute", takes_settings=True
    )
    add_images(explore, positional=True)
    explore.add_argument("--run", type=Path, help="the run folder (default: runs/NAME, after the folder of the images)")
    explore.add_argument(
        "--encoder",
        metavar="WHICH",
        help="what to look with: embedded (default), timm:NAME, another run's as RUN:stage1, a file of weights, or"
        " another name that `orl encoders` lists (stage2.encoder)",
    )
    add_config(explore, default="the run's own, else explore")
    explore.add_argument("--no-app", action="store_true", help="end after the summary, without the dashboard")
    explore.add_argument("--port", type=int, default=8501, help="the first port to try (default: 8501)")
    explore.add_argument("--overwrite", action="store_true", help="make everything anew")


def _explore(arguments: argparse.Namespace) -> None:
    """Show what an encoder makes of your photographs: neighbors, boxes, matching regions, and a map of all regions.

    Nothing is trained: the encoder comes with this project, or is named with --encoder. The dashboard opens at once and
    fills as the steps finish. Typed again, the command goes on where it was stopped, and takes in pictures that have
    come into the folder since.

      orl explore ~/Pictures
    """
    from orl_explore.runs.exploring import begin, check_there, folder_for, forget_beginning
    from orl_explore.runs.run import Run
    from training.console import console

    check_there(arguments.images)
    encoder = own_settings(arguments, "stage2", "encoder")
    run = Run(arguments.run or folder_for(arguments.images))
    console.print(f"the run: {run.path}", markup=False)
    with contextlib.ExitStack() as stack:
        begun = begin(run)
        app = None if arguments.no_app else stack.enter_context(dashboard(run.path, arguments.port))
        if app is not None:
            os.nice(POLITE)
        try:
            from training import explore

            explore.explore(
                run,
                arguments.images,
                config=arguments.config,
                overrides=[*encoder, *arguments.overrides],
                root=arguments.root,
                label_field=arguments.field,
                overwrite=arguments.overwrite,
            )
        except BaseException:
            if begun:
                forget_beginning(run)
            raise
        for line in explore.summary(run):
            console.print(line, markup=False)
        if app is not None:
            console.print("The dashboard stays open: press Ctrl-C to end it.")
            app.wait()


@contextlib.contextmanager
def dashboard(run: Path, port: int) -> Iterator[subprocess.Popen]:
    """A dashboard over the run's folder, open at this run; it ends with the block."""
    command = [sys.executable, "-m", "training.cli", "app", str(run), "--page", "neighbors", "--port", str(port)]
    app = subprocess.Popen(command)
    try:
        yield app
    finally:
        app.terminate()
        app.wait()
