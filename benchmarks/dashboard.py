"""How fast is the dashboard? Times of its pages in headless Chromium, and the memory of its server.

Starts the app on a run, opens its pages one after another, then picks another image on each of them, and waits every
time until the page says that it is done. Needs `pip install playwright` and a Chromium.

    python benchmarks/dashboard.py runs/demo
    python benchmarks/dashboard.py /tmp/large/coco --pages overview neighbors pairs
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import report

from orl_explore.run import Run
from orl_explore.ui.shell import PAGES

APP = Path(__file__).parent.parent / "app.py"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LONGEST = 120_000
"""Milliseconds after which a page counts as stuck."""

DONE = """() => {
    const app = document.querySelector('[data-testid=stApp]');
    return app && app.dataset.testScriptState === 'notRunning'
        && document.querySelector('[data-testid=stMain] h1')
        && !document.querySelector('[data-testid=stSkeleton]')
        && [...document.querySelectorAll('[data-testid=stMain] img')].every(image => image.complete);
}"""
"""The script has ended, nothing is a placeholder any more, and every picture is there."""


def main() -> None:
    """Time the pages and write benchmarks/results/NAME.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run; its folder is the runs folder of the app")
    parser.add_argument("--pages", nargs="+", help="pages to time (default: all that there are)")
    parser.add_argument("--repeats", type=int, default=20, help="images picked on each page (default: 20)")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="browser (default: chromium on the path)")
    parser.add_argument("--name", default="dashboard", help="of the file of results (default: dashboard)")
    arguments = parser.parse_args()

    run = Run.open(arguments.run)
    ids = run.read("images", columns=["image_id"])["image_id"].to_numpy()
    # Never the same image twice, so that no picture of it lies ready.
    picked = ids[np.linspace(1, len(ids) - 1, min(arguments.repeats, len(ids) - 1)).round().astype(int)].tolist()
    pages = [
        page.name
        for page in PAGES
        if importlib.util.find_spec(f"orl_explore.ui.{page.name}") and _wanted(page, arguments)
    ]
    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port), "--server.headless", "true"],
        env=os.environ | {"ORL_RUNS": str(run.path.absolute().parent), "PYTHONPATH": str(APP.parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, server)
        rows = _drive(f"http://localhost:{port}/?run={run.path.name}", pages, picked, arguments.chromium)
        memory = _peak_memory(server.pid)
    finally:
        server.terminate()
        server.wait(timeout=30)
    body = report.markdown_table([["page", "first shown, s", "another image: median, s", "95th percentile, s"], *rows])
    body += f"\n\n{len(ids):,} images; {len(picked)} of them picked on each page. "
    body += f"Peak memory of the server: {memory / 2**20:.2f} GiB."
    report.save(arguments.name, "The dashboard: times of its pages", body)


def _wanted(page: Any, arguments: argparse.Namespace) -> bool:
    return arguments.pages is None or page.name in arguments.pages


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        if server.poll() is not None:
            raise SystemExit("the app ended before it could be looked at: try `streamlit run app.py`")
        try:
            urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    raise SystemExit("the app did not start within a minute")


def _drive(address: str, pages: list[str], picked: list[int], chromium: str | None) -> list[list[object]]:
    from playwright.sync_api import sync_playwright

    rows: list[list[object]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.set_default_timeout(LONGEST)
        for number, page in enumerate(pages):
            start = time.perf_counter()
            if number == 0:
                tab.goto(f"{address}&page={page}")
            else:
                title = next(known.title for known in PAGES if known.name == page)
                tab.locator("[data-testid=stSidebar] label", has_text=re.compile(re.escape(title) + "$")).click()
                tab.locator("[data-testid=stMain] h1", has_text=title).wait_for()
            shown = _settled(tab, start)
            times = []
            for image in picked:
                start = time.perf_counter()
                tab.goto(f"{address}&page={page}&image={image}")
                times.append(_settled(tab, start))
            median, high = (f"{np.percentile(times, share):.2f}" for share in (50, 95))
            rows.append([page, f"{shown:.2f}", median, high])
            print(*rows[-1], flush=True)
        browser.close()
    return rows


def _settled(tab: Any, start: float) -> float:
    """Seconds since `start`, once the page is done."""
    tab.wait_for_function(DONE)
    return time.perf_counter() - start


def _peak_memory(pid: int) -> int:
    """KiB that a process has held at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    main()
