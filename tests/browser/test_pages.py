"""The dashboard in a real browser: every page, what a person does on them, and more than one reader at a time."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import Page, expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from browser_pages import at, box, ids_of, ready, settled, shoot, tick, visit
from orl_explore.runs.reviews import KEY, Pair, read_reviews, save_review
from orl_explore.runs.run import Run
from orl_explore.ui.shell import PAGES

pytestmark = pytest.mark.slow


NEEDED = {
    "neighbors": ".st-key-tiles-100-walk-0",
    "proposals": ".st-key-chart-boxes .stPlotlyChart",
    "pairs": ".st-key-pairs-frame .stPlotlyChart",
    "object_map": ".board",
}
"""What a page is looked at for, which is above the fold when it is opened."""


def check_look(page: Page, name: str, *, dark: bool) -> None:
    """The title stands clear of the header, nothing is wider than the screen, no figure is cut off."""
    width = page.viewport_size["width"]
    background = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 150) == dark
    title = box(page.get_by_role("heading", level=1))
    header = page.get_by_test_id("stHeader").bounding_box()
    assert header is None or title["y"] >= header["y"] + header["height"] - 8 or header["height"] < 8 or width > 1100
    wide = "[...document.querySelectorAll('.stMain *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    names = page.evaluate(f"{wide}.map(e => e.className + ' ' + e.textContent.slice(0, 40))")
    assert page.evaluate("document.querySelector('.stMain').scrollWidth") <= width, (name, names)
    figures = "[...document.querySelectorAll('[data-testid=stMetricValue] *')]"
    assert page.evaluate(f"{figures}.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)") == []


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_every_page_has_a_link(page, address, name):
    """It is opened in the dark, and looked at by day."""
    page.emulate_media(color_scheme="dark")
    visit(page, address, run="one", page=name)
    shoot(page, f"{name}-dark")
    check_look(page, name, dark=True)
    page.emulate_media(color_scheme="light")
    expect(page.get_by_test_id("stApp")).to_have_css("background-color", "rgb(255, 255, 255)")
    settled(page)
    check_look(page, name, dark=False)
    title = next(page.title for page in PAGES if page.name == name)
    expect(page.get_by_role("heading", name=title, level=1)).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)
    assert f"/{name}?" in page.url or name == PAGES[0].name  # the start page has no name
    shoot(page, name)
    if name in NEEDED:
        least = 0.9 if name == "object_map" else 1  # the map has three fifths of the window, wherever it begins
        expect(page.locator(NEEDED[name]).first).to_be_in_viewport(ratio=least)
    assert page.evaluate("[...document.querySelectorAll('.stMain img:not([alt])')].map(img => img.src)") == []
    tabs = "[...document.querySelectorAll('.stMain [role=tablist]')].filter(e => e.scrollWidth > e.clientWidth)"
    assert page.evaluate(f"{tabs}.map(e => e.textContent)") == []  # no name is cut off
    for table in page.get_by_test_id("stDataFrame").all():  # its own download would not escape cells like =SUM(
        table.hover()
        expect(page.get_by_test_id("stElementToolbarButton").get_by_label("Search").first).to_be_visible()
        for button in page.get_by_label(re.compile("^Download as CSV")).all():
            expect(button).to_be_hidden()
    names = page.locator(".stMain button").evaluate_all(
        """buttons => buttons.filter(button => button.checkVisibility()).map(button => {
            const made = button.cloneNode(true);
            made.querySelectorAll('[data-testid=stIconMaterial]').forEach(icon => icon.remove());
            return (button.getAttribute('aria-label') ?? made.textContent).trim() || button.outerHTML;
        })"""
    )
    assert not [name for name in names if name.startswith("<")]  # a button that is nothing but its icon


@pytest.mark.parametrize("width", [1024, 390])
def test_every_page_on_narrow_screens(window, address, width):
    tab = window(viewport={"width": width, "height": 800})
    for name in (page.name for page in PAGES):
        visit(tab, address, run="one", page=name)
        shoot(tab, f"{name}-{width}")
        check_look(tab, name, dark=False)


# ---- what a person does --------------------------------------------------------------------------------------------


def test_choose_an_image_and_walk(page, address, runs):
    ids = ids_of(runs)
    visit(page, address, run="one", page="neighbors")
    page.get_by_role("button", name="Gallery").click()
    expect(page.get_by_role("button", name=str(ids[7]), exact=True)).to_be_visible()
    ready(page)
    page.get_by_role("button", name=str(ids[7]), exact=True).click()
    page.wait_for_url(f"**image={ids[7]}*")
    near = Run(runs / "one").read("neighbors", image_id=ids[7]).sort_values("rank")["neighbor_id"].tolist()
    ready(page)
    page.get_by_role("button", name="Walk on").nth(1).click()
    page.wait_for_url(f"**image={near[1]}*")
    expect(page.get_by_text(f"Image {near[1]} · {ids.index(near[1]) + 1} of {len(ids)}")).to_be_visible()
    page.get_by_role("link", name="RoI pairs").click()  # all pages look at the same image
    expect(page.get_by_role("heading", name="RoI pairs", level=1)).to_be_visible()
    expect(page.get_by_text(f"Image {near[1]} · {ids.index(near[1]) + 1} of {len(ids)}")).to_be_visible()


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
    for query, key in ((len(own) - 1, 0), (0, len(other) - 1), (len(own) - 1, 0)):  # also one that was clicked before
        page.mouse.click(*at(page, 1, key + 1, query + 1))
        page.wait_for_url(f"**pair={own[query]}-{other[key]}*")
        ready(page)
    shoot(page, "pairs-clicked")


def test_what_lies_below_the_fold_is_drawn_when_it_is_seen(page, address, runs):
    ids, matrix = ids_of(runs), page.locator(".st-key-pairs-matrix .js-plotly-plot")
    visit(page, address, run="one", page="pairs", image=ids[3])
    expect(matrix).to_have_count(1)  # all of the first image
    for last in range(4, 8):  # while the page was laid out, the part below was in view: that it left it may come late
        page.wait_for_timeout(1500)
        page.keyboard.press("Shift+N")
        page.wait_for_url(f"**image={ids[last]}*")
        ready(page)
        if not matrix.count():
            break
    expect(matrix).to_have_count(0)
    page.mouse.move(640, 500)
    page.mouse.wheel(0, 800)
    expect(matrix).to_be_in_viewport()
    before = page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop")
    page.keyboard.press("Shift+P")  # the place below is looked at: it follows, and stays where it is
    page.wait_for_url(f"**image={ids[last - 1]}*")
    ready(page)
    expect(matrix).to_be_in_viewport()
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop") == pytest.approx(before, abs=80)


def test_a_step_is_one_step_of_the_history_and_takes_the_tab_along(page, address, runs):
    ids = ids_of(runs)
    visit(page, address, run="one", page="pairs", image=ids[3], tab="why-are-these-two-alike", look="colors")
    field = page.get_by_label("Box A, by its region_id")
    field.scroll_into_view_if_needed()
    settled(page)
    before = page.evaluate("history.length")
    for number in (1, 2):
        page.keyboard.press("n")
        page.wait_for_function(f"history.length === {before + number}")
        ready(page)
        query = parse_qs(urlsplit(page.url).query)
        assert "boxes" not in query  # those of the pair are shown, not of the one before
        # While it is drawn, the field of the pair before is there, too: the new one has to come, and that one to go.
        expect(field.and_(page.locator(f"[value='{query['pair'][0].split('-')[0]}']"))).to_have_count(1)
        expect(field).to_have_count(1)
    expect(page.get_by_text("The first three principal components")).to_be_visible()


def test_other_settings_are_drawn(page, address):
    visit(page, address, run="one", page="pairs")
    expect(page.locator(".js-plotly-plot")).to_have_count(2)  # the pictures and the matrix
    slider = page.get_by_test_id("stSlider").filter(has_text="Pairs per box").get_by_role("slider")
    page.get_by_role("tab", name="What if stage 2 had other settings?").click()
    slider.wait_for()
    slider.press("End")
    expect(page.get_by_text("Changes with")).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(3)
    page.get_by_text("thin gray lines: kept").scroll_into_view_if_needed()
    shoot(page, "pairs-what-if")


def test_nothing_is_a_reference_to_what_the_browser_has(page, address):
    """Streamlit's own cache in the browser can lack what the server takes for granted: see .streamlit/config.toml."""
    kinds: Counter[str] = Counter()

    def received(frame):
        message = ForwardMsg()
        message.ParseFromString(frame)
        kinds[message.WhichOneof("type")] += 1

    page.on("websocket", lambda socket: socket.on("framereceived", received))
    visit(page, address, run="one", page="pairs")
    expect(page.locator(".js-plotly-plot")).to_have_count(2)
    page.get_by_role("tab", name="What if stage 2 had other settings?").click()
    expect(page.get_by_role("slider").first).to_be_visible()
    assert kinds["delta"] > 50
    assert not kinds["ref_hash"]


def test_the_decision_on_a_pair(page, address, runs):
    """All that it takes is above the fold; keys are not lost, whatever has the focus, and go on to the next image."""
    run, ids = Run(runs / "one"), ids_of(runs)
    for name in ("reviews", "verdicts"):
        run.file(name).unlink(missing_ok=True)
    pairs = run.read("pairs", image_id=ids[5]).sort_values("similarity", ascending=False, kind="stable")
    visit(page, address, run="one", page="pairs", image=ids[5])
    for needed in (page.locator(".sides figcaption").last, page.get_by_text("accepted by stage 2")):
        expect(needed).to_be_in_viewport(ratio=1)
    for name in ("Accept", "Reject", "Pass", "Undo"):
        expect(page.get_by_role("button", name=name)).to_be_in_viewport(ratio=1)
    expect(page.locator(".st-key-pairs-frame .stPlotlyChart")).to_be_in_viewport(ratio=1)
    shoot(page, "pairs-deck")
    page.get_by_role("link", name="Proposals").focus()
    page.keyboard.type("x" + "a" * len(pairs))  # without a pause, one more than the image has
    expect(page.locator(".said")).to_contain_text(re.compile("Pair [2-9].* saved"))
    page.wait_for_url(f"**image={ids[6]}*")
    expect(page.locator(".live")).to_contain_text("accepted")
    expect(page.get_by_text(f"{len(pairs)} accepted, 1 rejected", exact=False).first).to_be_visible()
    page.keyboard.type("u")
    expect(page.locator(".said")).to_contain_text("Pair 1 ")
    expect(page.locator(".said")).to_contain_text("saved")
    assert sorted(read_reviews(run)["verdict"]) == ["accepted"] * (len(pairs) - 1) + ["rejected"]
    page.reload()
    expect(page.get_by_text(f"in this run {len(pairs) - 1} accepted, 1 rejected")).to_be_visible()
    keys = page.get_by_role("application", name="similarity matrix")
    expect(page.locator(".st-key-pairs-matrix .js-plotly-plot")).to_be_visible()
    ready(page)
    keys.focus()
    expect(keys).to_contain_text(re.compile(r"box \d+ with the neighbor's box \d+: 0\.\d{3}"))
    rank = int(parse_qs(urlsplit(page.url).query)["rank"][0])
    neighbor_id = int(run.read("neighbors", image_id=ids[6]).sort_values("rank")["neighbor_id"].iloc[rank - 1])
    own, other = (run.read("regions", image_id=number)["region_id"].tolist() for number in (ids[6], neighbor_id))
    for _ in range(max(len(own), len(other))):
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**pair={own[0]}-{other[1]}*")


def test_a_link_to_a_neighbor_of_an_image(page, address, runs):
    ids = ids_of(runs)
    visit(page, address, run="one", page="pairs", image=ids[9], rank=2)
    expect(page.get_by_text(f"10 of {len(ids)}")).to_be_visible()
    expect(page.get_by_text("neighbor 2, similarity")).to_be_visible()


def test_search_with_a_picture_and_with_a_box_on_it(page, address, runs, tmp_path):
    images = Run(runs / "one").images()
    visit(page, address, run="one", page="overview")
    page.get_by_role("button", name="Search by picture").click()
    dialog = page.get_by_role("dialog")
    picture = tmp_path / "named.anyhow"
    picture.write_bytes(images.path(5).read_bytes())
    dialog.locator("input[type=file]").set_input_files(picture)
    shown = dialog.get_by_alt_text("the picture to search with")
    expect(shown).to_be_visible(timeout=60_000)
    expect(dialog.get_by_role("button", name="1.000").first).to_be_visible(timeout=60_000)
    frame = box(shown)
    page.mouse.move(frame["x"] + 5, frame["y"] + 5)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2, steps=5)
    page.mouse.up()
    expect(dialog.get_by_text("Box at (")).to_be_visible()
    ready(page)
    shoot(page, "search-box")
    (tmp_path / "no.png").write_bytes(b"<script>alert(1)</script>")
    dialog.locator("input[type=file]").set_input_files(tmp_path / "no.png")
    expect(dialog.get_by_text("not an image")).to_be_visible()
    expect(dialog.get_by_text("Most similar images")).to_have_count(0)
    dialog.locator("input[type=file]").set_input_files(picture)
    dialog.locator("[class*=st-key-search-image-1] button").first.click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("heading", name="Neighbors", level=1)).to_be_visible()


# ---- more than one page, reader or moment --------------------------------------------------------------------------


def test_pages_and_the_way_back(page, address):
    visit(page, address, run="one", page="overview")
    page.get_by_role("link", name="Proposals").click()
    expect(page.get_by_role("heading", name="Proposals", level=1)).to_be_visible()
    ready(page)
    assert "/proposals?" in page.url


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
        for name, of_all in ((known.name, known.of_all) for known in PAGES):
            shown = f"image={pair.image_id}&rank=1&pair={pair.query_region}-{pair.key_region}"
            page.goto(f"{address}/?run={quote(attack)}&page={name}&{shown}")
            ready(page)
            assert (quote(attack, safe="") in page.url.replace("+", "%20")) is not of_all  # such a page is of no run
            assert page.evaluate("window.attacked") is None
            assert page.locator("img[src=x]").count() == 0
            expect(page.get_by_text("could not be drawn")).to_have_count(0)
            if name == "pairs":
                expect(page.get_by_label("Note")).to_have_value(attack)
            if name == "all_pairs":
                keys = page.get_by_role("application", name="matrix of categories")
                keys.focus()
                expect(keys).to_contain_text(f"{attack} with {attack}: ")  # as it is, and not escaped for Plotly
    finally:
        for link in links:
            link.unlink(missing_ok=True)
        shutil.rmtree(folder)


def test_two_readers_see_their_own_pages(window, address):
    first, second = window(), window()
    visit(first, address, run="one", page="neighbors")
    visit(second, address, run="two", page="proposals")
    first.reload()
    ready(first)
    expect(first.get_by_role("heading", name="Neighbors", level=1)).to_be_visible()
    expect(second.get_by_role("heading", name="Proposals", level=1)).to_be_visible()
    assert "run=two" in second.url


def test_runs_laid_over_each_other(page, address):
    visit(page, address, page="runs")
    table = page.get_by_test_id("stDataFrame").first
    for row in range(2):
        tick(page, table, row, 64)
    expect(page.get_by_role("heading", name="Laid over each other")).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    shoot(page, "runs-laid-over")


def test_a_running_stage_comes_to_life_without_a_reload(page, address, runs):
    run = Run(runs / "two")
    metrics = run.path / "stage1" / "metrics.csv"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[:4]))
    run.note("stage1", state="running")
    with run.lock():
        visit(page, address, run="two")
        expect(page.get_by_text("epoch 1 of 2")).to_be_visible()
        metrics.write_text("".join(lines))
        expect(page.get_by_text("epoch 2 of 2")).to_be_visible(timeout=15_000)
        run.note("stage1", state="finished")
        expect(page.get_by_text("epoch 2 of 2")).to_have_count(0, timeout=15_000)
