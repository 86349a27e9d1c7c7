"""Pages of the dashboard in a browser: open them, wait for them, find a point of a chart, draw, take a screenshot."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import FloatRect, Locator, Page, expect

from orl_explore.runs.run import Run

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"

expect.set_options(timeout=30_000)  # a busy machine is slow, not wrong


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    """Wait until a dashboard answers; the process that starts it must not end before."""
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/_stcore/health")
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.25)


def visit(page: Page, address: str, /, **query: object) -> None:
    """Open a page of the dashboard and wait until it is drawn."""
    page.goto(f"{address}/?{'&'.join(f'{key}={value}' for key, value in query.items())}")
    ready(page)
    expect(page.get_by_text("could not be drawn")).to_have_count(0)


WATCH = """(() => {
    const seen = window.orlSeen = { said: 0, heard: -1, changed: 0 };
    const changed = () => { seen.changed = performance.now(); };
    window.WebSocket = class extends WebSocket {
        constructor(...address) {
            super(...address);
            this.addEventListener('message', () => { seen.heard = performance.now(); });
        }
        send(message) {
            seen.said = performance.now();
            super.send(message);
        }
    };
    new MutationObserver(changed).observe(document, { subtree: true, childList: true, attributes: true });
    for (const act of ['pointermove', 'pointerdown', 'pointerup', 'wheel', 'keydown', 'input', 'scroll', 'popstate'])
        addEventListener(act, changed, { capture: true, passive: true });
})()"""
"""Keeps when a page last said something to the server, heard of it, and was changed: drawn, scrolled or used."""

SETTLED = """([quiet, unheard]) => {
    const { said, heard, changed } = window.orlSeen, now = performance.now();
    return document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
        && (said < heard || now - said > unheard) && now - Math.max(heard, changed) > quiet
        && [...document.images].every(image => image.complete);
}"""
QUIET = 250
"""Milliseconds after which a page that was changed stays as it is: it says within them what a person did."""
UNHEARD = 8000
"""Milliseconds after which no answer comes: Streamlit gives none to a fragment's tick once its page was left."""


def settled(page: Page) -> None:
    """Wait until the server has answered all that the page has said, and what it answered is drawn.

    With its pictures: the server forgets those that a page no longer shows.
    """
    page.wait_for_function(SETTLED, arg=[QUIET, UNHEARD], timeout=120_000)


def ready(page: Page) -> None:
    """Wait until a page of the dashboard is drawn."""
    page.wait_for_selector("h1", timeout=60_000)
    settled(page)


def ids_of(runs: Path) -> list[int]:
    return Run(runs / "one").images().table["image_id"].tolist()


def box(shown: Locator) -> FloatRect:
    """Where something is in the window, pixels; there is no such place while it is drawn anew."""
    for _ in range(100):
        if found := shown.bounding_box():
            return found
        shown.page.wait_for_timeout(100)
    raise AssertionError(f"{shown} has no place in the window")


def at(page: Page, chart: int, x: float, y: float) -> tuple[float, float]:
    """Where a point of a Plotly chart's axes is in the window, pixels; the chart is scrolled into view."""
    plot = page.locator(".js-plotly-plot").nth(chart)
    plot.scroll_into_view_if_needed()
    settled(page)
    place = plot.evaluate(
        """(plot, [x, y]) => {
            const {xaxis, yaxis} = plot._fullLayout, frame = plot.getBoundingClientRect();
            return [frame.x + xaxis._offset + xaxis.l2p(x), frame.y + yaxis._offset + yaxis.l2p(y)];
        }""",
        [x, y],
    )
    return place[0], place[1]


def tick(page: Page, table: Locator, row: int, height: int = 36) -> None:
    """Tick a row of a table, which is drawn on a canvas: its box is in the first column."""
    table.scroll_into_view_if_needed()
    frame = box(table)
    page.mouse.click(frame["x"] + 16, frame["y"] + 36 + height * row + height / 2)
    ready(page)


def draw_around_everything(page: Page, chart: int) -> None:
    """Draw a lasso along the border of a chart whose mouse is set to it."""
    area = page.locator(".js-plotly-plot").nth(chart).locator(".nsewdrag")
    area.scroll_into_view_if_needed()
    frame = box(area)
    for number, (x, y) in enumerate([(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99), (0.01, 0.05)]):
        page.mouse.move(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"], steps=8)
        if number == 0:
            page.mouse.down()
    page.mouse.up()


def shoot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    settled(page)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
