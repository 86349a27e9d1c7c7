"""How fast is the dashboard? Times of its pages in headless Chromium, and the memory of its server.

Starts the app on a run, opens its pages one after another as a person does, picks other images, pairs, points or boxes
on each of them, then goes through the pages once more, and waits every time until the page says that it is done. Needs
`pip install playwright` and a Chromium. On a machine that is busy with other work the server's own processor time tells
more than the clock: it is given beside it.

    python benchmarks/dashboard.py runs/demo
    python benchmarks/dashboard.py /tmp/large/coco --pages overview neighbors pairs
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import report

from orl_explore.runs.region_embeddings import embedded_encoders, read_region_embeddings
from orl_explore.runs.run import Run
from orl_explore.ui.shell import PAGES
from orl_explore.ui.state import list_runs

APP = Path(__file__).parent.parent / "app.py"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PAUSE = 500
"""Milliseconds that a person looks at a page before going on."""
POLL = 25
"""Milliseconds between two looks at whether it is done: looking with every frame would take time from the page."""
LONGEST = 60_000
"""Milliseconds after which a page counts as stuck."""

DONE = """() => {
    const app = document.querySelector('[data-testid=stApp]');
    return app && app.dataset.testScriptState === 'notRunning'
        && document.querySelector('[data-testid=stMain] h1')
        && !document.querySelector('[data-testid=stSkeleton]')
        && [...document.querySelectorAll('[data-testid=stMain] img')].every(image => image.complete);
}"""
"""The script has ended, nothing is a placeholder any more, and every picture is there."""


MAP = """(function () {
    for (const host of document.querySelectorAll('*')) if (host.shadowRoot?.orlMap) return host.shadowRoot;
})()"""
"""The shadow root that the object map is in."""

DECK = """(function () {
    const hosts = [...document.querySelectorAll('*')].filter(host => host.shadowRoot?.querySelector('.deck'));
    return hosts[0]?.shadowRoot;
})()"""
"""The shadow root that the deck of pairs is in."""

PLACES = """(function () {
    const hosts = [...document.querySelectorAll('*')].filter(host => host.shadowRoot?.querySelector('canvas.a'));
    return hosts.flatMap(host => [...host.shadowRoot.querySelectorAll('canvas.a')]);
})()"""
"""Pictures of the first of two boxes, one for each encoder that is asked why the two are alike."""

SCROLLED = "document.querySelector('[data-testid=stMain]')"
"""The part of the window that scrolls."""

SENTENCE = "[data-testid=stMain] [data-testid=stAlert]"
"""What stands on a page in its place where the run lacks what it shows."""

MAIN = {
    "runs": "[data-testid=stDataFrame]",
    "overview": ".js-plotly-plot",
    "data": "[class*=st-key-tiles] img",
    "stage1": ".js-plotly-plot",
    "neighbors": ".st-key-walk-0",
    "proposals": ".js-plotly-plot",
    "pairs": ".st-key-pairs-pictures .js-plotly-plot",
    "all_pairs": "[class*=st-key-all-pairs-grid]",
    "sample": ".st-key-sample-epoch",
    "object_map": "[class*=st-key-object-map-region]",
    "compare": ".st-key-compare-region",
}
"""What a page has when it is there, besides its title."""

NEXT = "the next image"
BELOW, ALIKE = "pairs, below", "pairs, why alike"
PICKS = {
    "neighbors": "an image found by its id",
    "proposals": "an image found by its id",
    "pairs": NEXT,
    BELOW: "the matrix of the next image, scrolled to",
    ALIKE: "another box, as each encoder of the run sees it",
    "sample": NEXT,
    "all_pairs": "the next 24 pairs",
    "object_map": "a click on a point",
    "compare": "a box and its nearest by both",
}
"""What a person does on a page, again and again; two parts of a page that are further down have lines of their own."""


def main() -> None:
    """Time the pages and write benchmarks/results/NAME.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run; its folder is the runs folder of the app")
    names = [page.name for page in PAGES]
    parser.add_argument("--pages", nargs="+", choices=names, default=names, help="pages to time (default: all)")
    parser.add_argument("--repeats", type=int, default=20, help="picks on each page (default: 20)")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="browser (default: chromium on the path)")
    parser.add_argument("--name", default="dashboard", help="of the file of results (default: dashboard)")
    parser.add_argument("--remark", default="", help="a sentence on the machine's state, to go into the results")
    arguments = parser.parse_args()

    run, root = Run.open(arguments.run), arguments.run.absolute().parent
    if arguments.run.name not in list_runs(root):
        raise SystemExit(f"the app does not open {arguments.run}: it lies behind a link, give the folder itself")
    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port), "--server.headless", "true"],
        cwd=APP.parent,
        env=os.environ | {"ORL_RUNS": str(root), "PYTHONPATH": str(APP.parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, server)
        drive = _Drive(run, f"http://localhost:{port}/?run={run.path.name}", server.pid, arguments.repeats)
        with _OwnMemory(server.pid) as own:
            rows = drive.run(arguments.pages, arguments.chromium)
        memory = _status(server.pid, "VmHWM")
    finally:
        server.terminate()
        server.wait(timeout=30)
    header = ["page", "first shown", "shown again", "picked", "answered", "95th percentile"]
    header += ["all drawn", "95th percentile", "server's time"]
    body = report.markdown_table([header, *rows])
    body += (
        "\n\nAll in seconds, medians and 95th percentiles of the picks. Answered: what was asked for is there, on RoI"
        " pairs the pictures and what a decision takes (what lies below is drawn when it is seen), on Compare and the"
        " object map the region by its name; elsewhere that is the whole page. The last column is"
        " the processor time that the server took for a pick, median. "
    )
    body += f"{run.count('images'):,} images, {run.count('regions'):,} regions, {run.count('pairs'):,} pairs; "
    body += f"{arguments.repeats} picks a page. Peak memory of the server: {memory / 2**20:.2f} GiB, of which at most"
    body += (
        f" {own.peak / 2**20:.2f} GiB are its own; the rest are pages of files that are mapped, which the system takes"
    )
    body += " back when it needs room. "
    body += f"{drive.stuck} times nothing came within {LONGEST // 1000} s." if drive.stuck else ""
    body += f"\n\n{arguments.remark}" if arguments.remark else ""
    report.save(arguments.name, f"The dashboard on a run of {run.count('images'):,} images: times of its pages", body)


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


class _Drive:
    """A person at the browser, with a watch."""

    def __init__(self, run: Run, address: str, server: int, repeats: int):
        self.address, self.server, self.stuck = address, server, 0
        self.ids = run.read("images", columns=["image_id"])["image_id"].tolist()
        embedded = embedded_encoders(run)
        self.regions = (
            read_region_embeddings(run, embedded[0]).region_ids if embedded else np.arange(run.count("regions"))
        )
        # Never the same image twice, so that no picture of it lies ready.
        self.rows = np.linspace(1, len(self.ids) - 2, min(repeats, len(self.ids) - 2)).round().astype(int).tolist()

    def run(self, pages: list[str], chromium: str | None) -> list[list[object]]:
        from playwright.sync_api import sync_playwright

        rows: list[list[object]] = []
        parts: list[list[object]] = []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
            self.tab = browser.new_page(viewport={"width": 1280, "height": 800})
            self.tab.set_default_timeout(LONGEST)
            for number, page in enumerate(pages):
                first = self._timed(lambda page=page, start=number == 0: self._open(page, start=start))[1]
                rows.append(self._row(page, f"{first:.2f}", self._picks(page)))
                print(*rows[-1], flush=True)
                if page == "pairs" and "-" not in rows[-1][3:]:
                    parts.append(self._row(BELOW, "-", [self._scroll_down() for _ in self.rows]))
                    if self._open_alike():
                        parts.append(self._row(ALIKE, "-", [self._timed(partial(self._alike, n)) for n in self.rows]))
                    for part in parts:
                        print(*part, flush=True)
            for number in [*range(1, len(pages)), 0]:
                if len(pages) > 1:
                    again = self._timed(lambda number=number: self._open(pages[number], start=False))[1]
                    rows[number][2] = f"{again:.2f}"
            browser.close()
        if parts:
            place = pages.index("pairs") + 1
            rows[place:place] = parts
        return rows

    @staticmethod
    def _row(name: str, first: str, picks: Sequence[tuple[float, float, float]]) -> list[object]:
        answered, done, used = zip(*picks, strict=True) if picks else ((), (), ())
        found = [_percentiles(answered, 50, 95), _percentiles(done, 50, 95), _percentiles(used, 50)]
        return [name, first, "-", PICKS[name] if picks else "-", *itertools.chain(*found)]

    def _timed(self, action: Callable[[], str]) -> tuple[float, float, float]:
        """Seconds until what was asked for is there, and until all of the page is, and processor seconds of the server.

        The action gives a JavaScript condition that says that its effect has come.
        """
        from playwright.sync_api import TimeoutError as Stuck

        self.tab.wait_for_timeout(PAUSE)
        start, used = time.perf_counter(), _processor_time(self.server)
        answered = None
        try:
            condition = action()
            self.tab.wait_for_function(f"() => {condition}", polling=POLL)
            answered = time.perf_counter() - start
            self.tab.wait_for_function(f"() => ({condition}) && ({DONE})()", polling=POLL)
        except Stuck:  # counts as long as it was waited for
            self.stuck += 1
        done = time.perf_counter() - start
        return done if answered is None else answered, done, _processor_time(self.server) - used

    def _open(self, page: str, *, start: bool) -> str:
        title = next(known.title for known in PAGES if known.name == page)
        if start:
            self.tab.goto(f"{self.address}&page={page}")
        else:
            self.tab.locator("[data-testid=stSidebarNav]").get_by_role("link", name=title, exact=True).click()
        heading = f"document.querySelector('[data-testid=stMain] h1')?.innerText.trim() === {title!r}"
        return f"{heading} && document.querySelector({f'{MAIN[page]}, {SENTENCE}'!r})"

    def _picks(self, page: str) -> list[tuple[float, float, float]]:
        if page not in PICKS or not self.tab.locator(MAIN[page]).count():
            return []
        if PICKS[page] == NEXT:  # from the first one on
            self._timed(lambda: self._find(self.ids[0]))
        return [self._timed(lambda number=number: self._pick(page, number)) for number in range(len(self.rows))]

    def _pick(self, page: str, number: int) -> str:
        if page == "object_map":
            return self._click_a_point(self.rows[number])
        if page == "all_pairs":
            self.tab.get_by_role("button", name="Next page").click()
            return f"{_in_address('at', number + 2)} && ({DONE})()"
        if page == "compare":
            region = int(self.regions[number * (len(self.regions) // (len(self.rows) + 1))])
            field = self.tab.get_by_label("Region", exact=True)
            field.fill(str(region))
            field.press("Enter")
            named = f"document.querySelector('[data-testid=stMain]').innerText.includes('Region {region} ·')"
            return f"{_in_address('region', region)} && {named}"
        if PICKS[page] == NEXT:
            now = re.search(r"image=(\d+)", self.tab.url)
            place = self.ids.index(int(now[1])) if now else 0
            self.tab.get_by_role("button", name="Next image").first.click()
            address = _in_address("image", self.ids[place + 1])
            if page == "pairs":  # the two pictures come first, then the deck with the decision
                return f"{address} && {DECK}?.querySelector('.deck').dataset.pair?.startsWith('{self.ids[place + 1]},')"
            return f"{address} && ({DONE})()"
        return self._find(self.ids[self.rows[number]])

    def _scroll_down(self) -> tuple[float, float, float]:
        """Go to the next image, then time how long its matrix takes that is not drawn before it is seen."""
        self.tab.evaluate(f"{SCROLLED}.scrollTop = 0")
        self._timed(lambda: self._pick("pairs", 0))

        def down() -> str:
            self.tab.evaluate(f"{SCROLLED}.scrollTop = 700")
            return "document.querySelector('.st-key-pairs-matrix .js-plotly-plot .heatmaplayer image')"

        return self._timed(down)

    def _open_alike(self) -> bool:
        """Open the tab that asks why two boxes are alike; whether there is an encoder to ask."""
        from playwright.sync_api import TimeoutError as Stuck

        self.tab.get_by_role("tab", name="Why are these two alike?").click()
        try:
            self.tab.wait_for_function(f"() => {PLACES}.length", timeout=LONGEST // 2)
        except Stuck:
            return False
        return True

    def _alike(self, number: int) -> str:
        """Ask about another box of the run."""
        self.tab.evaluate(f"{PLACES}.forEach(canvas => {{ canvas.orlSeen = true; }})")
        field = self.tab.get_by_label("Box A, by its region_id", exact=True)
        field.fill(str(self.regions[number % len(self.regions)]))
        field.press("Enter")
        return f"{PLACES}.some(canvas => !canvas.orlSeen)"

    def _find(self, wanted: int) -> str:
        field = self.tab.get_by_placeholder("id or part of a file name")
        field.fill(str(wanted))
        field.press("Enter")
        return f"{_in_address('image', wanted)} && ({DONE})()"

    def _click_a_point(self, number: int) -> str:
        """Click a region of the object map that is in the window; of those on one another, the nearest is taken."""
        shown = "document.body.innerText.match(/Region (\\d+)(?= ·|\\n)/)?.[1]"
        before = self.tab.evaluate(shown)
        place = self.tab.evaluate(f"number => {MAP}.orlMap.visible(number)", number)
        self.tab.mouse.move(*place)
        self.tab.mouse.click(*place)
        return f"({shown} ?? null) !== {json.dumps(before)}"


def _in_address(parameter: str, value: int) -> str:
    return f"new URLSearchParams(location.search).get('{parameter}') === '{value}'"


def _percentiles(values: Sequence[float], *shares: int) -> list[str]:
    return [f"{np.percentile(values, share):.2f}" if len(values) else "-" for share in shares]


def _processor_time(pid: int) -> float:
    """Seconds that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status(pid: int, what: str) -> int:
    """What the system says of a process's memory, KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(what)).split()[1])


class _OwnMemory:
    """Watches the memory of a process that is no page of a file; `peak` is in KiB."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peak = pid, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self.peak = max(self.peak, _status(self.pid, "RssAnon"))

    def __enter__(self) -> _OwnMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


if __name__ == "__main__":
    main()
