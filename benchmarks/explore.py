"""How long does `orl explore` take, what does it hold in memory, and is what it finds any good?

Explores a folder of photographs as a person does, with the dashboard and a browser, and watches: when the first
neighbors are to be seen, when the map is, and how much memory the command, the dashboard and their workers hold
together (proportional set size). Then, in this process, regions are embedded as stage 2 does it and by a plain loop, in
turns; the loop at the size that stage 2 uses and at the encoder's own. With --coco, a labeled set is explored too, and
the purity of its pairs is given. Needs Playwright and a Chromium.

    python benchmarks/explore.py PHOTOS --coco ANNOTATIONS.json
    python benchmarks/explore.py PHOTOS --settings --stage2.encoder_size=128
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import photos
import report
import torch

from orl_explore.embedding import embed_regions
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.interchange.encoders import find_encoder
from orl_explore.runs.run import Run
from orl_explore.selective_search import warm_up
from orl_explore.views import tensors
from orl_explore.views.cropping import crop_image
from training.evaluate import mining_figures
from training.machine import computing, own_share
from training.stage2 import embedding_options

GOALS = {
    "first neighbors in the browser, s": "at most 12",
    "everything with its map, s": "at most 60",
    "memory of all processes at the most, GB": "at most 2.5",
    "photographs that belong together": "6 of 6",
    "purity of object pairs": "at least 0.60",
    "times chance": "at least 5",
}
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
CROPS = 200
"""Regions that a turn of each way embeds."""
TURNS = 3
POLL = 0.3
"""Seconds between two looks at the memory."""


class Memory(threading.Thread):
    """Watches what a process and all that it has started hold: `most`, in bytes."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.most, self.done = pid, 0, threading.Event()

    def run(self) -> None:
        """Look until told to stop."""
        while not self.done.wait(POLL):
            self.most = max(self.most, sum(map(_proportional, _tree(self.pid))))


def _tree(root: int) -> list[int]:
    """A process and its descendants."""
    parents = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(file.parent.name)] = int(file.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _proportional(pid: int) -> int:
    try:
        return int(re.findall(r"^Pss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)[0]) * 1024
    except (OSError, IndexError):
        return 0


def watch(sources: list[Path], run: Path, settings: list[str], chromium: str | None) -> dict[str, object]:
    """Explore with the dashboard; seconds until neighbors and map are seen, and memory."""
    from playwright.sync_api import sync_playwright

    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "training.cli", "explore", *map(str, sources), "--run", str(run)]
    log = run.parent / "explore.log"
    with sync_playwright() as playwright, log.open("w") as out:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.set_default_timeout(1_200_000)
        start = time.monotonic()
        explore = subprocess.Popen(
            [*command, "--port", str(port), *settings], stdout=out, stderr=out, env=os.environ | {"BROWSER": "true"}
        )
        memory = Memory(explore.pid)
        memory.start()
        try:
            _wait_for(port, explore, log)
            found: dict[str, object] = {"dashboard answers, s": f"{time.monotonic() - start:.1f}"}
            tab.goto(f"http://localhost:{port}/?run={run.name}&page=neighbors")
            tab.wait_for_selector("text=nearest neighbors")
            tab.wait_for_selector("[data-testid=stMain] img")
            found["first neighbors in the browser, s"] = f"{time.monotonic() - start:.1f}"
            tab.goto(f"http://localhost:{port}/?run={run.name}&page=object_map")
            tab.wait_for_selector("[data-testid=stMain] canvas")
            tab.get_by_text("There is no current UMAP").wait_for(state="hidden")  # until then principal components
            found["everything with its map, s"] = f"{time.monotonic() - start:.1f}"
        finally:
            memory.done.set()
            explore.terminate()
            explore.wait()
            browser.close()
    found["memory of all processes at the most, GB"] = f"{memory.most / 1e9:.2f}"
    for step, count, seconds in re.findall(r"^([a-z ]+): ([\d,]+) in (\d+) s", log.read_text(), re.MULTILINE):
        found[f"of these: {step}"] = f"{seconds} s ({count})"
    return found


def _wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    while True:
        try:
            urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5).close()
            return
        except OSError:
            if process.poll() is not None:
                raise OrlError(f"orl explore has ended: {log.read_text()}") from None
            time.sleep(0.1)


@torch.inference_mode()
def plain_loop(encoder: Encoder, images: ImageSet, regions: pd.DataFrame, size: int) -> np.ndarray:
    """Open the picture, crop, resize, embed: one region at a time."""
    found = []
    for row in regions.itertuples(index=False):
        picture = images.load(int(images.rows_of(row.image_id)))
        crop = crop_image(picture, (row.x, row.y, row.w, row.h), size, encoder.inputs.interpolation)
        found.append(encoder.features(tensors.normalize(tensors.to_tensor(crop)[None], encoder.inputs))[0])
    return torch.nn.functional.normalize(torch.stack(found), dim=1).numpy()


def crops_a_second(opened: Run) -> dict[str, object]:
    """Regions embedded in a second, as stage 2 does it and by the plain loop, in turns on the same regions."""
    config, regions, images = opened.config(), opened.read("regions"), opened.images()
    encoder = Encoder.load(opened.mining_encoder_file()).eval()
    some = regions.iloc[:CROPS]
    size, own = encoder.inputs.side(config.stage2.image_size), find_encoder(config.stage2.encoder or "stage1", opened)
    loops = {f"plain loop at {side} px": side for side in (size, own.load().inputs.side(size))}
    seconds: dict[str, list[float]] = {name: [] for name in ("stage 2", *loops)}
    with computing(config):
        share = own_share(config)
        for _ in range(TURNS):
            start = time.monotonic()
            ours = embed_regions(encoder, images, some, **embedding_options(config))
            seconds["stage 2"].append(time.monotonic() - start)
            for name, side in loops.items():
                start = time.monotonic()
                theirs = plain_loop(encoder, images, some, side)
                seconds[name].append(time.monotonic() - start)
                if side == size and (ours * theirs).sum(axis=1).min() < 0.98:
                    raise SystemExit("stage 2 and the plain loop should embed the same")
    rates = {name: len(some) / min(times) for name, times in seconds.items()}
    return {
        "threads and workers": f"{share.threads} and {share.workers}",
        **{f"regions a second, {name}": f"{rate:.0f}" for name, rate in rates.items()},
        **{f"times a {name}": f"{rates['stage 2'] / rates[name]:.1f}" for name in loops},
    }


def natural_pairs(run: Run, *, top: int = 3) -> dict[str, object]:
    """How many photographs that belong together are among each other's nearest; nothing where the set has others."""
    try:
        found = photos.ranks(run, list(photos.PAIRS))
    except OrlError:
        return {}
    near = sum(max(first, second) <= top for _, first, second in found)
    return {"photographs that belong together": f"{near} of {len(found)}"}


def labeled(annotations: Path, run: Path, settings: list[str]) -> dict[str, object]:
    """Explore a labeled set; how pure its pairs are."""
    start = time.monotonic()
    command = [sys.executable, "-m", "training.cli", "explore", str(annotations), "--run", str(run), "--no-app"]
    subprocess.run([*command, *settings], check=True)
    seconds = time.monotonic() - start
    opened = Run.open(run)
    figures = mining_figures(opened, opened.images())
    return {
        "labeled pictures": f"{len(opened.images()):,}, in {seconds:.0f} s",
        "boxes kept; objects met at IoU 0.5": f"{figures['regions']:,}; {figures['recall_50']:.2f}",
        "pairs that join two objects": f"{figures['object_pairs']:.2f} of {figures['pairs']:,}",
        "purity of object pairs": f"{figures['purity']:.3f} (chance {figures['purity_chance']:.3f})",
        "times chance": f"{figures['purity'] / figures['purity_chance']:.1f}",
    }


def main() -> None:
    """Measure, and write benchmarks/results/explore.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="a folder of photographs")
    parser.add_argument("--coco", type=Path, help="a COCO json, for the purity of pairs")
    parser.add_argument("--settings", nargs=argparse.REMAINDER, default=[], help="of the config, as typed; the last")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="browser (default: chromium on the path)")
    arguments = parser.parse_args()
    warm_up()  # the search is compiled at its first use on a machine
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "runs" / "photos"
        run.parent.mkdir()
        found = watch([path.resolve() for path in arguments.photos], run, arguments.settings, arguments.chromium)
        opened = Run.open(run)
        found |= {"pictures; boxes kept": f"{len(opened.images())}; {opened.count('regions'):,}"}
        found |= crops_a_second(opened) | natural_pairs(opened)
        if arguments.coco:
            found |= labeled(arguments.coco, Path(folder) / "runs" / "coco", arguments.settings)
        config = opened.config().stage2
    goals = GOALS | {name: "at least 4" for name in found if name.startswith("times a plain loop")}
    rows = [["", "measured", "goal"], *([name, value, goals.get(name, "")] for name, value in found.items())]
    text = (
        f"Encoder `{config.encoder}` at {config.encoder_size} px; searched at {config.max_side} px; at most"
        f" {config.max_boxes} boxes of at least {config.min_side} px a picture; batch {config.batch_size}."
    )
    report.save("explore", "From a folder of photographs to its object map", f"{text}\n\n{report.markdown_table(rows)}")


if __name__ == "__main__":
    main()
