"""The dashboard in a real browser: what only JavaScript shows. Screenshots land in build/screenshots.

A browser is looked for in this order: one of the system, Playwright's own, Debian's package. Without any the tests are
skipped, but never in CI.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from orl_explore.run import Run
from orl_explore.ui.shell import PAGES

ROOT = Path(__file__).parent.parent
SCREENSHOTS = ROOT / "build" / "screenshots"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

pytestmark = pytest.mark.slow


def find_browser() -> str | None:
    """Path of a Chromium or Chrome of the system; it is installed where that needs no questions."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium"]):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(command, check=False, capture_output=True, env=environment)
        found = shutil.which("chromium")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        try:
            made = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        except Error as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"NO BROWSER, so the dashboard is not tested in one: {error.message.splitlines()[0]}")
        yield made
        made.close()


@pytest.fixture(scope="module")
def runs(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs, "one" and "two"."""
    folder = tmp_path_factory.mktemp("browser") / "runs"
    for name in ("two", "one"):
        shutil.copytree(finished.path, folder / name)
    (folder / "one" / "run.json").touch()
    return folder


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    """A dashboard over the runs."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}", "--server.headless=true"]
    log = runs.parent / "app.log"
    with log.open("w") as file:
        app = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"ORL_RUNS": str(runs)}, stdout=file, stderr=file)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://localhost:{port}/_stcore/health")
                break
            except OSError:
                assert app.poll() is None, log.read_text()
                time.sleep(0.5)
        yield f"http://localhost:{port}"
    finally:
        app.terminate()
        app.wait()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab whose console must stay free of errors, and which asks no other machine for anything."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    tab = context.new_page()
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("requestfailed", lambda request: None if "localhost" in request.url else complaints.append(request.url))
    yield tab
    context.close()
    assert not complaints


def visit(page: Page, address: str, /, **query: object) -> None:
    """Open a page of the dashboard and wait until it is drawn."""
    page.goto(f"{address}/?{'&'.join(f'{key}={value}' for key, value in query.items())}")
    ready(page)


def ready(page: Page) -> None:
    """Wait until Streamlit has stopped running."""
    page.wait_for_selector("h1", timeout=60_000)
    page.wait_for_function("document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'")
    page.wait_for_timeout(500)


def shoot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_every_page_has_a_link(page, address, name):
    visit(page, address, run="one", page=name)
    title = next(page.title for page in PAGES if page.name == name)
    expect(page.get_by_role("heading", name=title, level=1)).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)
    assert f"page={name}" in page.url
    shoot(page, name)


def test_dark_theme(browser, address):
    context = browser.new_context(color_scheme="dark", viewport={"width": 1280, "height": 800})
    tab = context.new_page()
    visit(tab, address, run="one")
    background = tab.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", background)[:3])) < 150
    shoot(tab, "overview-dark")
    context.close()


def test_pages_and_the_way_back(page, address):
    visit(page, address, run="one", page="overview")
    page.locator("label", has_text="Proposals").click()
    expect(page.get_by_role("heading", name="Proposals", level=1)).to_be_visible()
    ready(page)
    assert "page=proposals" in page.url


def test_two_readers_see_their_own_pages(browser, address):
    contexts = [browser.new_context() for _ in range(2)]
    first, second = (context.new_page() for context in contexts)
    visit(first, address, run="one", page="neighbors")
    visit(second, address, run="two", page="proposals")
    first.reload()
    ready(first)
    expect(first.get_by_role("heading", name="Neighbors", level=1)).to_be_visible()
    expect(second.get_by_role("heading", name="Proposals", level=1)).to_be_visible()
    assert "run=two" in second.url
    for context in contexts:
        context.close()


def test_a_running_stage_comes_to_life_without_a_reload(page, address, runs):
    run = Run(runs / "two")
    metrics = run.path / "stage1" / "metrics.csv"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[:4]))
    run.note("stage1", state="running")
    visit(page, address, run="two")
    expect(page.get_by_text("epoch 1 of 2")).to_be_visible()
    metrics.write_text("".join(lines))
    expect(page.get_by_text("epoch 2 of 2")).to_be_visible(timeout=15_000)
    run.note("stage1", state="finished")
    expect(page.get_by_text("epoch 2 of 2")).to_have_count(0, timeout=15_000)
