"""`orl encoders`: what can be named as an encoder."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.cli.arguments import Commands, add_json


def register(commands: Commands) -> None:
    """Add `orl encoders`."""
    encoders = commands.add("encoders", _encoders, "list what can be named as an encoder")
    encoders.add_argument("run", type=Path, nargs="?", metavar="RUN", help="a run, whose own encoders are listed first")
    add_json(encoders, "the list")


def _encoders(arguments: argparse.Namespace) -> None:
    """List the names that --encoder takes: of `orl stage2`, of `orl evaluate --protocol`, and the dashboard's.

    With a run, its own encoders come first, those of earlier epochs (--stage1.keep_every) included.
    """
    from orl_explore.interchange.encoders import known_encoders
    from orl_explore.runs.run import Run

    found = known_encoders(Run.open(arguments.run) if arguments.run else None)
    if arguments.json:
        import json

        print(json.dumps(found))
        return
    width = max(map(len, found))
    for name, sentence in found.items():
        print(f"{name:{width}}  {sentence}")
