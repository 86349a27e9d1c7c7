"""`orl explore` as somebody watches it: every page comes to life by itself as its part is made."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from playwright.sync_api import expect

from browser_pages import ROOT, shoot, wait_for
from orl_explore.runs.run import Run

SMALL = ["--stage2.encoder_size=64", "--stage2.shard_images=7", "--workers=0"]
PAGES = {
    "neighbors": "nearest neighbors",
    "proposals": "in this image",
    "pairs": "Pairs with all neighbors",
    "object_map": "The objects as seen by the embedded encoder",
}
"""What each page says once its part is there."""


@pytest.fixture
def exploring(annotations, tmp_path):
    """`orl explore` with its dashboard: the process, the run and the dashboard's address."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    run = Run(tmp_path / "runs" / "scenes")
    command = [sys.executable, "-m", "training.cli", "explore", str(annotations), "--run", str(run.path)]
    log = tmp_path / "log"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs beside it without
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--port", str(port), *SMALL],
            cwd=ROOT,
            env=os.environ | {"BROWSER": "true"},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    signal.signal(signal.SIGINT, before)
    address = f"http://localhost:{port}"
    try:
        wait_for(address, process, log)
        yield process, run, address
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
def test_pages_fill_as_steps_finish_and_ctrl_c_ends_both(exploring, page, tmp_path):
    process, run, address = exploring
    try:
        look(process, run, address, page)
    except AssertionError as error:  # what came of the run, beside what the page says of it
        error.add_note(f"{run.manifest()['stages']}\n{(tmp_path / 'log').read_text()[-4000:]}")
        raise


def look(process, run, address, page):
    tabs = {"neighbors": page} | {name: page.context.new_page() for name in list(PAGES)[1:]}
    for name, tab in tabs.items():
        tab.goto(f"{address}/{name}?run={run.path.name}")
    for name, text in PAGES.items():
        expect(tabs[name].get_by_text(text).first).to_be_visible(timeout=180_000)
        expect(tabs[name].get_by_test_id("stMain").locator("img, canvas").first).to_be_visible()
    expect(tabs["object_map"].get_by_text("There is no current UMAP")).to_have_count(0, timeout=180_000)
    shoot(tabs["object_map"], "explore-object_map")
    for tab in list(tabs.values())[1:]:
        tab.close()
    page.goto("about:blank")  # nobody is there to miss the dashboard

    os.killpg(process.pid, signal.SIGINT)  # as the terminal sends it to all that it has started
    assert process.wait(timeout=60) == 130
    assert run.finished("stage2")
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{address}/_stcore/health")
