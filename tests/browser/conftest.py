"""A real browser and a dashboard for it. Screenshots land in build/screenshots.

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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, sync_playwright

from browser_pages import ROOT, WATCH, wait_for
from orl_explore.maps import object_map
from orl_explore.runs.region_embeddings import read_region_embeddings
from orl_explore.runs.run import Run
from orl_explore.settings import Config
from training.embed_regions import embed_regions_by

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


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


@pytest.fixture(scope="session")
def two_runs(finished: Run, tiny: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs, "one" and "two". For reading only."""
    folder = tmp_path_factory.mktemp("browser")
    for name in ("two", "one"):
        run = Run(shutil.copytree(finished.path, folder / name))
        vectors = run.read_array("region_embeddings").astype(
            float
        )  # UMAP takes long: two of its numbers are a map, too
        table = pd.DataFrame({"region_id": range(len(vectors)), "x": vectors[:, 0], "y": vectors[:, 1], "cluster": 0})
        made = object_map.ObjectMap(table, object_map.MapSettings(), len(vectors))
        object_map.write_object_map(run, made, object_map.fingerprint(run))
        embed_regions_by(run, tiny, limit=80)
        for name in ("untrained", "stage1", "stage3"):
            found = read_region_embeddings(run, name)
            points = found.vectors[:, :3].astype(float)
            table = pd.DataFrame({"region_id": found.region_ids, "x": points[:, 0], "y": points[:, 1]})
            table["cluster"] = (points[:, 2] > np.median(points[:, 2])).astype(int)
            made = object_map.ObjectMap(table, object_map.MapSettings(), len(vectors), name)
            object_map.write_object_map(run, made, object_map.fingerprint(run, name))
    (folder / "one" / "run.json").touch()
    return folder


@pytest.fixture(scope="session")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Path]]:
    """A dashboard for all modules, as it takes ten seconds to get warm: its address, log, and the folder it is over."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}", "--server.headless=true"]
    folder = tmp_path_factory.mktemp("dashboard")
    log, runs = folder / "app.log", folder / "runs"
    with log.open("w") as file:
        app = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"ORL_RUNS": str(runs)}, stdout=file, stderr=file)
    try:
        wait_for(f"http://localhost:{port}", app, log)
        yield f"http://localhost:{port}", log, runs
    finally:
        app.terminate()
        app.wait()


@pytest.fixture(scope="module")
def runs(dashboard: tuple[str, Path, Path], two_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two runs, which a module can change, in the dashboard's folder.

    That is a link: what the dashboard still does with the runs of the module before, it does with their files.
    """
    _, _, link = dashboard
    link.unlink(missing_ok=True)
    link.symlink_to(shutil.copytree(two_runs, tmp_path_factory.mktemp("runs") / "runs"))
    return link


@pytest.fixture(scope="module")
def address(dashboard: tuple[str, Path, Path], runs: Path) -> Iterator[str]:
    """The address of the dashboard over the runs."""
    address, log, _ = dashboard
    before = len(log.read_text())
    yield address
    said = log.read_text()[before:]
    assert "Stack (most recent call last)" not in said  # a warning about our own calls, for nobody who reads
    assert "Traceback" not in said


def is_error(message: ConsoleMessage) -> bool:
    """Whether a message of the console is an error.

    Of a page's link Streamlit asks first whether it is a server's. And it takes the pictures of a view away as the next
    one is drawn, at times before a slow browser has fetched them: what counts is that none stays broken (`BROKEN`).
    """
    asks = re.search(r"/\w+/_stcore/(health|host-config)$", message.location["url"])
    gone = re.search(r"/media/\w+\.\w+$", message.location["url"]) and "404" in message.text
    gone = gone or re.match(r"Client Error: Image source error - \S+/media/", message.text)
    return message.type == "error" and not asks and not gone


BROKEN = "() => [...document.images].filter(img => img.complete && !img.naturalWidth).map(img => img.src)"
"""Addresses of the pictures on the page that could not be shown."""


FORGET = """try {
    if (!sessionStorage.orlTab) localStorage.clear();
    sessionStorage.orlTab = 'begun';
} catch { /* about:blank has no storage */ }"""


@pytest.fixture(scope="module")
def reader(browser: Browser) -> BrowserContext:
    """Has Streamlit's scripts, which take as long to fetch and compile as a page; a new tab forgets all else."""
    made = new_reader(browser)
    made.add_init_script(FORGET)
    return made


def new_reader(browser: Browser, **options: Any) -> BrowserContext:
    made = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
    made.add_init_script(WATCH)
    return made


@pytest.fixture
def window(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open windows, each of a reader by himself: `window(color_scheme="dark")`.

    Their consoles must stay free of errors, and they ask no other machine for anything.
    """
    complaints: list[str] = []
    tabs: list[Page] = []
    readers: list[BrowserContext] = []

    def open_window(known: BrowserContext | None = None, **options: Any) -> Page:
        if known is None:
            known = new_reader(browser, **options)
            readers.append(known)
        tab = known.new_page()
        tab.on("console", lambda message: complaints.append(message.text) if is_error(message) else None)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("requestfailed", lambda request: None if "localhost" in request.url else complaints.append(request.url))
        tabs.append(tab)
        return tab

    yield open_window
    broken = [source for tab in tabs for source in tab.evaluate(BROKEN)]
    for opened in (*tabs, *readers):
        opened.close()
    assert not complaints
    assert not broken, f"pictures that cannot be shown: {broken}"


@pytest.fixture
def page(window: Callable[..., Page], reader: BrowserContext) -> Page:
    """One of them, which need not be by itself."""
    reader.clear_cookies()
    return window(reader)


@pytest.fixture
def browser_without_webgl(page: Page) -> Page:
    """A tab in which a canvas gives no WebGL, as in a browser that has none."""
    page.add_init_script(
        """const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
            return /webgl/.test(kind) ? null : get.call(this, kind, ...rest);
        };"""
    )
    page.goto("about:blank")
    return page
