"""Does the rule for threads and workers (training/machine.py) choose well? Held against every choice by hand.

Stage 1 trains on practice scenes in three situations: alone; with a dashboard and a browser that watches it; with a
second run beside it. In each, once as the rule chooses and once for each choice by hand, which sets OMP_NUM_THREADS and
--workers; a second run makes the same choice, and the images of both count. The goal is half of the best by hand at
the least. Without Playwright and a Chromium the dashboard is left out.

    python benchmarks/threads.py
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import report

from orl_explore.practice.scenes import make_scenes
from orl_explore.runs.run import Run
from training import pipeline
from training.machine import cores

GOAL = 0.5
SITUATIONS = {"alone": 1, "dashboard beside it": 1, "a second run beside it": 2}
"""Runs that train at a time."""


def train(runs: list[Path], scenes: Path, epochs: int, choice: tuple[int, int] | None) -> float:
    """Train stage 1 of some runs at the same time; images a second of all together, start and end left out."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    by_hand = []
    if choice:
        environment["OMP_NUM_THREADS"] = str(choice[0])
        by_hand = ["--workers", str(choice[1])]
    for run in runs:
        shutil.rmtree(run, ignore_errors=True)
        pipeline.prepare(run, config="demo", overrides=["--stage1.epochs", str(epochs), *by_hand], images=[scenes])
    command = [sys.executable, "-m", "training.cli", "stage1"]
    started = [subprocess.Popen([*command, str(run)], env=environment, stderr=subprocess.DEVNULL) for run in runs]
    codes = [process.wait() for process in started]
    if any(codes):
        raise SystemExit("a training has failed: try it with `orl stage1`")
    found = [Run.open(run) for run in runs]
    return sum(epochs * len(run.images()) / run.stage("stage1")["seconds"] for run in found)


@contextlib.contextmanager
def dashboard(run: Path, chromium: str | None) -> Iterator[None]:
    """A dashboard with a browser open at a run's overview, which follows the training."""
    from playwright.sync_api import sync_playwright

    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "training.cli", "app", str(run.parent), "--port", str(port)]
    environment = os.environ | {"BROWSER": "true"}
    app = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            tab = browser.new_page(viewport={"width": 1280, "height": 800})
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
                    break
                tab.wait_for_timeout(200)
            tab.goto(f"http://localhost:{port}/?run={run.name}")
            tab.wait_for_selector("h1")
            yield
            browser.close()
    finally:
        app.terminate()
        app.wait()


def main() -> None:
    """Measure, and write benchmarks/results/threads.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=300, help="practice scenes (default: 300)")
    parser.add_argument("--epochs", type=int, default=12, help="of stage 1, each time (default: 12)")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="browser (default: chromium on the path)")
    arguments = parser.parse_args()
    choices = [(threads, workers) for threads in range(1, cores() + 1) for workers in range(cores() + 1)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scenes = make_scenes(Path(folder) / "scenes", count=arguments.scenes, size=160, seed=0)
        runs = [Path(folder) / "runs" / name for name in ("one", "two")]
        for situation, count in SITUATIONS.items():
            pipeline.prepare(runs[0], config="demo", images=[scenes])
            beside: contextlib.AbstractContextManager = contextlib.nullcontext()
            if "dashboard" in situation:
                try:
                    beside = dashboard(runs[0], arguments.chromium)
                except ImportError:
                    continue
            with beside:
                found = {choice: train(runs[:count], scenes, arguments.epochs, choice) for choice in [None, *choices]}
            ruled = found.pop(None)
            best = max(found, key=found.__getitem__)
            rows += [
                [
                    situation,
                    f"{ruled:.0f}",
                    f"{found[best]:.0f} ({best[0]} and {best[1]})",
                    f"{ruled / found[best]:.2f}",
                ]
                + [f"{found[choice]:.0f}" for choice in choices]
            ]
    header = ["situation", "by the rule", "best by hand", "rule / best", *(f"{t} and {w}" for t, w in choices)]
    text = (
        "Images a second in stage 1 of the demo's settings, of all runs together; by hand: threads and workers of each"
        f" run. The goal is {GOAL} of the best."
    )
    report.save(
        "threads",
        "Threads and workers: the rule against every choice",
        f"{text}\n\n" + report.markdown_table([header, *rows]),
    )


if __name__ == "__main__":
    main()
