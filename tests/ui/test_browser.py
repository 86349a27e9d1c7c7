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
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from orl_explore.maps import object_map
from orl_explore.runs.reviews import KEY, Pair, read_reviews, save_review
from orl_explore.runs.run import Run
from orl_explore.ui.shell import PAGES

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

pytestmark = pytest.mark.slow
expect.set_options(timeout=30_000)  # a busy machine is slow, not wrong


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
        run = Run(shutil.copytree(finished.path, folder / name))
        vectors = run.read_array("region_embeddings").astype(
            float
        )  # UMAP takes long: two of its numbers are a map, too
        table = pd.DataFrame({"region_id": range(len(vectors)), "x": vectors[:, 0], "y": vectors[:, 1], "cluster": 0})
        made = object_map.ObjectMap(table, object_map.MapSettings(), len(vectors))
        object_map.write_object_map(run, made, object_map.fingerprint(run))
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
    expect(page.get_by_text("could not be drawn")).to_have_count(0)


def ready(page: Page) -> None:
    """Wait until Streamlit has stopped running."""
    page.wait_for_selector("h1", timeout=60_000)
    done = "document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"
    page.wait_for_function(done, timeout=120_000)
    page.wait_for_timeout(500)
    # The server forgets pictures that a page no longer shows: whoever goes on before they have come finds none.
    page.wait_for_function("[...document.images].every(image => image.complete)", timeout=60_000)


def ids_of(runs: Path) -> list[int]:
    return Run(runs / "one").images().table["image_id"].tolist()


def at(page: Page, chart: int, x: float, y: float) -> tuple[float, float]:
    """Where a point of a Plotly chart's axes is in the window, pixels; the chart is scrolled into view."""
    plot = page.locator(".js-plotly-plot").nth(chart)
    plot.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    place = plot.evaluate(
        """(plot, [x, y]) => {
            const {xaxis, yaxis} = plot._fullLayout, frame = plot.getBoundingClientRect();
            return [frame.x + xaxis._offset + xaxis.l2p(x), frame.y + yaxis._offset + yaxis.l2p(y)];
        }""",
        [x, y],
    )
    return place[0], place[1]


def draw_around_everything(page: Page, chart: int) -> None:
    """Draw a lasso along the border of a chart whose mouse is set to it."""
    area = page.locator(".js-plotly-plot").nth(chart).locator(".nsewdrag")
    area.scroll_into_view_if_needed()
    frame = area.bounding_box()
    assert frame is not None
    for number, (x, y) in enumerate([(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99), (0.01, 0.05)]):
        page.mouse.move(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"], steps=8)
        if number == 0:
            page.mouse.down()
    page.mouse.up()


def shoot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    page.wait_for_timeout(500)  # for charts to be drawn
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
    for name in (page.name for page in PAGES):
        visit(tab, address, run="one", page=name)
        background = tab.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
        assert sum(map(int, re.findall(r"\d+", background)[:3])) < 150
        shoot(tab, f"{name}-dark")
    context.close()


# ---- what a person does --------------------------------------------------------------------------------------------


def test_choose_an_image_and_walk(page, address, runs):
    ids = ids_of(runs)
    visit(page, address, run="one", page="neighbors")
    page.get_by_text("Gallery", exact=True).click()
    expect(page.get_by_role("button", name=str(ids[7]), exact=True)).to_be_visible()
    ready(page)
    page.get_by_role("button", name=str(ids[7]), exact=True).click()
    page.wait_for_url(f"**image={ids[7]}*")
    near = Run(runs / "one").read("neighbors", image_id=ids[7]).sort_values("rank")["neighbor_id"].tolist()
    ready(page)
    page.get_by_role("button", name="Walk on").nth(1).click()
    page.wait_for_url(f"**image={near[1]}*")
    expect(page.get_by_text(f"Image {near[1]} ·")).to_be_visible()
    page.locator("label", has_text="RoI pairs").click()  # all pages look at the same image
    expect(page.get_by_text(f"Image {ids.index(near[1]) + 1} of {len(ids)}")).to_be_visible()


def test_a_slider_changes_the_counts(page, address, runs):
    image_id = ids_of(runs)[3]
    found = Run(runs / "one").read("proposals", image_id=image_id)
    kept = int(found["reason"].isin(["kept", "fallback"]).sum())
    visit(page, address, run="one", page="proposals", image=image_id)
    expect(page.get_by_text(f"{kept} of {len(found)} boxes are kept")).to_be_visible()
    slider = page.get_by_test_id("stSlider").filter(has_text="Most boxes").get_by_role("slider")
    slider.press("Home")  # the least value, 1
    expect(page.get_by_text(f"1 of {len(found)} boxes are kept")).to_be_visible()
    expect(page.get_by_text(f"the run kept {kept}")).to_be_visible()
    shoot(page, "proposals-changed")


def test_a_click_in_the_matrix_shows_that_pair(page, address, runs):
    run, image_id = Run(runs / "one"), ids_of(runs)[3]
    neighbor = run.read("neighbors", image_id=image_id).sort_values("rank")["neighbor_id"].iloc[0]
    own, other = (run.read("regions", image_id=number)["region_id"].tolist() for number in (image_id, neighbor))
    visit(page, address, run="one", page="pairs", image=image_id)
    for query, key in ((len(own) - 1, 0), (0, len(other) - 1)):
        page.mouse.click(*at(page, 1, key + 1, query + 1))
        page.wait_for_url(f"**pair={own[query]}-{other[key]}*")
        ready(page)
    shoot(page, "pairs-clicked")


def test_other_settings_are_drawn(page, address):
    visit(page, address, run="one", page="pairs")
    expect(page.locator(".js-plotly-plot")).to_have_count(2)  # the pictures and the matrix
    page.get_by_role("tab", name="What if stage 2 had other settings?").click()
    slider = page.get_by_test_id("stSlider").filter(has_text="Pairs per box").get_by_role("slider")
    slider.press("End")
    expect(page.get_by_text("Changes with")).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(3)
    page.get_by_text("thin gray lines: kept").scroll_into_view_if_needed()
    shoot(page, "pairs-what-if")


def click_near(page: Page, runs: Path, x: float, y: float) -> int:
    """Click a point of the object map; the region that is then shown, where the ring stands: that, or one on top."""
    place, table = at(page, 0, x, y), Run(runs / "one").read("object_map").set_index("region_id")
    shown = page.get_by_text(re.compile(r"^Region \d+$"))
    before = shown.inner_text() if shown.count() else ""
    page.mouse.move(*place, steps=3)
    page.mouse.click(*place)
    expect(shown).to_have_text(re.compile(f"^(?!{before}$)."))
    ready(page)
    region = int(shown.inner_text().split()[1])
    assert np.hypot(table.loc[region, "x"] - x, table.loc[region, "y"] - y) < 0.05 * np.ptp(table["x"])
    assert distance_of_ring(page, table.loc[region, "x"], table.loc[region, "y"]) < 2
    return region


def distance_of_ring(page: Page, x: float, y: float) -> float:
    """Pixels between the ring of the chosen region and a point of the object map."""
    ring = page.locator(".orl-ring")
    expect(ring).to_have_count(1)
    expect(ring).to_be_visible()
    place, frame = at(page, 0, x, y), ring.bounding_box()
    assert frame is not None
    return float(np.hypot(frame["x"] + frame["width"] / 2 - place[0], frame["y"] + frame["height"] / 2 - place[1]))


def ends(runs: Path) -> tuple[pd.Series, pd.Series]:
    """The outermost points of the object map."""
    table = Run(runs / "one").read("object_map")
    return table.loc[table["x"].idxmin()], table.loc[table["x"].idxmax()]


def test_clicks_on_the_map(page, address, runs):
    left, right = ends(runs)
    visit(page, address, run="one", page="object_map")
    listen = "plot => { plot.dataset.first = 1; plot.on('plotly_afterplot', () => { window.drawn = true; }); }"
    page.locator(".js-plotly-plot").evaluate(listen)
    assert len({click_near(page, runs, end["x"], end["y"]) for end in (left, right, left)}) == 2
    expect(page.locator(".js-plotly-plot[data-first]")).to_have_count(1)  # the map is the same one
    assert not page.evaluate("window.drawn === true")  # and was not drawn again
    expect(page.get_by_role("heading", name="Most similar crops")).to_be_visible()
    shoot(page, "object_map-clicked")


def test_the_chosen_point_clicked_again_and_its_pairs(page, address, runs):
    left, right = ends(runs)
    visit(page, address, run="one", page="object_map")
    region = click_near(page, runs, left["x"], left["y"])
    page.mouse.click(*at(page, 0, left["x"], left["y"]))  # nothing changes, and yet it is answered
    ready(page)
    page.mouse.move(*at(page, 0, right["x"], right["y"]), steps=3)
    expect(page.get_by_alt_text("crop under the mouse")).to_be_visible()
    page.mouse.move(5, 5)
    table = Run(runs / "one").read("regions").set_index("region_id")
    expect(page.get_by_text(f"Region {region}", exact=True)).to_be_visible()
    page.get_by_role("button", name="Pairs of this image").click()
    expect(page.get_by_role("heading", name="RoI pairs", level=1)).to_be_visible()
    page.wait_for_url(f"**image={table.loc[region, 'image_id']}*")
    assert "page=pairs" in page.url


def test_the_ring_on_the_map(page, address, runs):
    left, right = ends(runs)
    visit(page, address, run="one", page="object_map")
    click_near(page, runs, left["x"], left["y"])
    chosen = page.get_by_role("spinbutton", name="Region").input_value()
    x, y = at(page, 0, right["x"], right["y"])
    page.mouse.move(x, y, steps=3)
    page.mouse.down()  # a move of the map is no click, and takes the ring along
    page.mouse.move(x - 30, y - 40, steps=5)
    page.mouse.up()
    page.mouse.move(5, 5)
    page.wait_for_timeout(500)
    ready(page)
    assert np.hypot(*np.subtract(at(page, 0, right["x"], right["y"]), (x, y))) > 20
    assert page.get_by_role("spinbutton", name="Region").input_value() == chosen
    page.get_by_role("spinbutton", name="Region").fill(f"{right['region_id']:.0f}")
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"Region {right['region_id']:.0f}", exact=True)).to_be_visible()
    ready(page)
    assert distance_of_ring(page, right["x"], right["y"]) < 2


def test_a_map_colored_by_similarity_follows_the_click(page, address, runs):
    visit(page, address, run="one", page="object_map")
    page.get_by_test_id("stSelectbox").filter(has_text="Color").locator("input").click()
    page.get_by_role("option", name="similarity to the chosen region").click()
    expect(page.get_by_text("Pick the region to compare with")).to_be_visible()
    ready(page)
    most_similar = """plot => {
        const {customdata, marker} = plot._fullData[0], own = [...marker.color];
        return [...customdata[own.indexOf(Math.max(...own))]][0];
    }"""
    for end in ends(runs):
        region = click_near(page, runs, end["x"], end["y"])
        assert page.locator(".js-plotly-plot").evaluate(most_similar) == region
    shoot(page, "object_map-similarity")


def test_a_lasso_on_the_map(page, address):
    visit(page, address, run="one", page="object_map")
    page.locator('[data-title="Lasso Select"]').click()
    draw_around_everything(page, 0)
    expect(page.get_by_role("heading", name=re.compile(r"Selection: \d+ regions"))).to_be_visible()
    expect(page.get_by_alt_text(re.compile("^crop of region"))).not_to_have_count(0)
    shoot(page, "object_map-lasso")


def test_the_crop_under_the_mouse(page, address, runs):
    table = Run(runs / "one").read("object_map")
    visit(page, address, run="one", page="object_map")
    card = page.get_by_alt_text("crop under the mouse")
    expect(card).to_be_hidden()
    for edge in (table.loc[table["x"].idxmax()], table.loc[table["x"].idxmin()]):
        page.mouse.move(*at(page, 0, edge["x"], edge["y"]), steps=3)
        expect(card).to_be_visible()
        region = int(card.get_attribute("data-region") or -1)
        shown = table.loc[table["region_id"] == region].iloc[0]  # that, or one on top
        assert np.hypot(shown["x"] - edge["x"], shown["y"] - edge["y"]) < 0.05 * np.ptp(table["x"])
        page.mouse.move(5, 5)
        expect(card).to_be_hidden()
    assert "region" not in page.url  # nothing was chosen by it
    expect(page.get_by_text("Nothing is chosen yet")).to_be_visible()


def test_a_verdict_survives_a_reload(page, address, runs):
    image_id = ids_of(runs)[5]
    visit(page, address, run="one", page="pairs", image=image_id)
    page.get_by_role("button", name="Accept").click()
    expect(page.get_by_text("1 accepted, 0 rejected")).to_be_visible()
    ready(page)
    page.keyboard.press("x")  # the next pair, from the keyboard
    expect(page.get_by_text("1 accepted, 1 rejected")).to_be_visible()
    page.reload()
    ready(page)
    expect(page.get_by_text("1 accepted, 1 rejected")).to_be_visible()
    assert sorted(read_reviews(Run(runs / "one"))["verdict"]) == ["accepted", "rejected"]


def test_a_link_to_a_neighbor_of_an_image(page, address, runs):
    ids = ids_of(runs)
    visit(page, address, run="one", page="pairs", image=ids[9], rank=2)
    expect(page.get_by_text(f"Image 10 of {len(ids)}")).to_be_visible()
    expect(page.get_by_text("neighbor 2, similarity")).to_be_visible()


def test_a_picture_of_ones_own(page, address, runs, tmp_path):
    images = Run(runs / "one").images()
    visit(page, address, run="one", page="neighbors")
    page.get_by_text("Neighbors of a picture of your own").click()
    page.locator("input[type=file]").set_input_files(images.path(5))
    expect(page.get_by_alt_text("your picture")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("1.000 no. 1")).to_be_visible()
    shoot(page, "neighbors-own-picture")
    (tmp_path / "no.png").write_bytes(b"<script>alert(1)</script>")
    page.locator("input[type=file]").set_input_files(tmp_path / "no.png")
    expect(page.get_by_text("not an image")).to_be_visible()
    expect(page.get_by_alt_text("your picture")).to_have_count(0)


def test_linked_maps_of_two_encoders(page, address):
    visit(page, address, run="one", page="compare")
    page.get_by_role("tab", name="All images on two maps").click()
    expect(page.locator(".js-plotly-plot")).to_have_count(3)  # the histogram and the maps
    ready(page)
    draw_around_everything(page, 1)
    expect(page.get_by_text("24 images are marked.")).to_be_visible()
    shoot(page, "compare-marked")


# ---- more than one page, reader or moment --------------------------------------------------------------------------


def test_pages_and_the_way_back(page, address):
    visit(page, address, run="one", page="overview")
    page.locator("label", has_text="Proposals").click()
    expect(page.get_by_role("heading", name="Proposals", level=1)).to_be_visible()
    ready(page)
    assert "page=proposals" in page.url


def test_names_never_become_html(page, address, runs):
    """Of the run, of files and labels, and a note: each would call home if a browser read it as HTML."""
    attack = "<img src=x onerror=window.attacked=1>"
    folder = runs / attack
    run = Run(shutil.copytree(runs / "two", folder))
    pictures = [run.images().path(row) for row in range(len(ids_of(runs)))]
    links = [picture.with_name(attack + picture.name) for picture in pictures]
    try:
        for link, picture in zip(links, pictures, strict=True):
            link.symlink_to(picture)
        images, objects = run.read("images"), run.read("objects")
        pair = Pair(*map(int, run.read("pairs").iloc[0][KEY]))
        run.write("images", images.assign(context=attack, file_name=[attack + name for name in images["file_name"]]))
        run.write("objects", objects.assign(category=attack))
        save_review(run, pair, verdict="accepted", note=attack)
        for name in (page.name for page in PAGES):
            shown = f"image={pair.image_id}&rank=1&pair={pair.query_region}-{pair.key_region}"
            page.goto(f"{address}/?run={quote(attack)}&page={name}&{shown}")
            ready(page)
            assert quote(attack, safe="") in page.url.replace("+", "%20")
            assert page.evaluate("window.attacked") is None
            assert page.locator("img[src=x]").count() == 0
            expect(page.get_by_text("could not be drawn")).to_have_count(0)
            if name == "pairs":
                expect(page.get_by_label("Note")).to_have_value(attack)
    finally:
        for link in links:
            link.unlink(missing_ok=True)
        shutil.rmtree(folder)


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
