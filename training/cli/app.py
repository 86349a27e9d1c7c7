"""`orl app`: the dashboard."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import urllib.parse
from pathlib import Path

import training
from orl_explore.errors import OrlError
from training.cli.arguments import Commands


def register(commands: Commands) -> None:
    """Add `orl app`."""
    app = commands.add("app", _app, "open the dashboard over a folder of runs")
    app.add_argument(
        "runs", type=Path, nargs="?", default=Path("runs"), help="a folder of runs, or a run to open (default: runs)"
    )
    app.add_argument("--page", help="the page to open at, by its name in the address, such as neighbors")
    app.add_argument("--port", type=int, default=8501, help="the first port to try (default: 8501)")
    app.add_argument(
        "--host",
        default="localhost",
        help="who may look: localhost (default), or 0.0.0.0: all who reach this machine, without a password",
    )


def _app(arguments: argparse.Namespace) -> None:
    """Open the dashboard in the browser: neighbors, boxes, pairs and curves of every run in a folder.

    It listens on this machine alone unless --host says otherwise, and follows runs that are still training.
    """
    root = Path(training.__file__).resolve().parent.parent
    if not (root / "app.py").exists():
        raise OrlError(f"{root} has no app.py: install from a clone of the project with `pip install -e .`")
    runs = arguments.runs.resolve()
    opened = {"page": arguments.page} if arguments.page else {}
    if (runs / "run.json").exists():  # a run was named, not the folder it is in
        opened["run"] = runs.name
        runs = runs.parent
    # Streamlit takes its settings from the folder it is started in.
    environment = os.environ | {"ORL_RUNS": os.path.relpath(runs, root) if runs.is_relative_to(root) else str(runs)}
    environment["ORL_OPEN"] = urllib.parse.urlencode(opened)
    os.chdir(root)
    options = [f"--server.address={arguments.host}", f"--server.port={_free_port(arguments.host, arguments.port)}"]
    os.execve(sys.executable, [sys.executable, "-m", "streamlit", "run", "app.py", *options], environment)


def _free_port(host: str, first: int) -> int:
    """The first free port among 20."""
    import socket

    for port in range(first, first + 20):
        with contextlib.suppress(OSError, OverflowError), socket.create_server((host, port)):
            return port
    raise OrlError(f"no free port on {host} from {first} to {first + 19}: choose another one with --port")
