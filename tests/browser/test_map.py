"""The object map in a real browser: clicks, a lasso, two maps, crops, zoom, the legend, the address, no WebGL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from browser_pages import box, ready, settled, shoot, visit
from orl_explore.maps.object_map import map_file, read_object_map
from orl_explore.runs.run import Run
from orl_explore.runs.selections import save_selection, selected
from orl_explore.ui.map_address import packed

pytestmark = pytest.mark.slow

FIND = """(function () {
    for (const host of document.querySelectorAll('*')) if (host.shadowRoot?.orlMap) return host.shadowRoot;
})()"""
"""The shadow root that the map is in."""


def open_map(page: Page, address: str, /, **query: object) -> None:
    visit(page, address, run="one", page="object_map", **query)
    page.wait_for_function(f"{FIND}?.querySelector('.over')?.dataset.inView > 0")


def at(page: Page, region: int, number: int = 0) -> tuple[float, float]:
    """Where a region is in the window, pixels, on map `number`."""
    found: Any = page.evaluate(f"([number, region]) => {FIND}.orlMap.screen(number, region)", [number, region])
    return found[0], found[1]


def answered(page: Page) -> None:
    """Wait until the map has said what it wants, which it keeps back until a click is answered, and has it."""
    page.wait_for_function("!window.orlMap.wanted.length")
    settled(page)


def ring(page: Page, number: int = 0) -> np.ndarray | None:
    """Where the ring of the chosen region is, pixels in the window."""
    over = page.locator(".over").nth(number)
    text, frame = over.get_attribute("data-ring"), box(over)
    return np.array([frame["x"], frame["y"]]) + np.array(text.split(), float) if text else None


def click(page: Page, region: int, number: int = 0) -> int:
    """Click a region's point; the one that is then chosen: that, or one on top of it."""
    page.locator(".over").nth(number).evaluate("map => map.scrollIntoView({ block: 'center' })")
    settled(page)
    place = at(page, region, number)
    page.mouse.move(*place, steps=3)
    page.mouse.click(*place)
    field = page.get_by_role("spinbutton", name="Region")
    expect(field).not_to_have_value("")
    settled(page)
    chosen = int(field.input_value())
    assert np.hypot(*np.subtract(at(page, chosen, number), place)) < 12
    marked = ring(page, number)
    assert marked is not None
    assert np.hypot(*(marked - at(page, chosen, number))) < 2
    return chosen


def lasso(page: Page, number: int = 0, size: float = 0.49) -> None:
    """Draw around the middle of a map, with the button that also clicks."""
    page.locator(".over").nth(number).evaluate("map => map.scrollIntoView({ block: 'center' })")
    settled(page)
    frame = box(page.locator(".over").nth(number))
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    for turn, (dx, dy) in enumerate([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -0.9)]):
        page.mouse.move(x + dx * size * frame["width"], y + dy * size * frame["height"], steps=6)
        if turn == 0:
            page.mouse.down()
    page.mouse.up()


def ends(runs: Path, encoder: str = "stage3") -> tuple[int, int]:
    """The outermost regions of a map."""
    table: pd.DataFrame = read_object_map(Run(runs / "one"), encoder).table
    return int(table.loc[table["x"].idxmin(), "region_id"]), int(table.loc[table["x"].idxmax(), "region_id"])


def test_a_click_chooses_and_the_map_stays(page, address, runs):
    left, right = ends(runs)
    open_map(page, address)
    expect(page.get_by_text("The objects as seen by stage 3")).to_be_visible()
    page.evaluate(f"() => {{ {FIND}.querySelector('.over').dataset.first = 1; }}")
    assert click(page, left) != click(page, right)
    expect(page.locator(".over[data-first]")).to_have_count(1)  # it is the same map
    expect(page.get_by_text(re.compile("^Most similar by stage 3$"))).to_be_visible()
    chosen = page.get_by_role("spinbutton", name="Region").input_value()
    assert f"region={chosen}" in page.url
    shoot(page, "object_map-clicked")
    page.reload()
    ready(page)
    expect(page.get_by_role("spinbutton", name="Region")).to_have_value(chosen)  # a little after the field is there
    assert ring(page) is not None
    page.get_by_role("button", name="Pairs of this image").click()
    expect(page.get_by_role("heading", name="RoI pairs", level=1)).to_be_visible()


def test_crops_asked_for_around_a_click_do_not_undo_it(page, address, runs):
    """What asks for crops carries the field of the region as the browser knows it: as it was before the click."""
    open_map(page, address)
    want = "region => window.orlMap.dispatchEvent(new CustomEvent('want', { detail: [region] }))"
    others = iter(range(8, 100))
    for region in [*ends(runs)] * 4:
        place = at(page, region)
        page.mouse.move(*place)
        page.evaluate(want, next(others))
        page.wait_for_timeout(80)  # asked for and not answered yet
        page.mouse.click(*place)
        page.evaluate(want, next(others))
        field = page.get_by_role("spinbutton", name="Region")
        expect(field).not_to_have_value("")
        answered(page)
        chosen = int(field.input_value())
        assert np.hypot(*np.subtract(at(page, chosen), place)) < 12
        assert f"region={chosen}" in page.url


def test_a_lasso_and_a_click_without_modes_and_clear(page, address, runs):
    open_map(page, address)
    lasso(page)
    expect(page.get_by_role("heading", name=re.compile(r"Selection: \d+ regions"))).to_be_visible()
    ready(page)
    assert "selected=" in page.url
    link = page.url
    first = page.locator(".st-key-object-map-selected-0 button").first
    wanted = first.inner_text()
    first.click()
    expect(page.get_by_role("spinbutton", name="Region")).to_have_value(wanted)
    ready(page)
    shoot(page, "object_map-lasso")
    click(page, ends(runs)[0])
    expect(page.get_by_role("heading", name=re.compile("Selection"))).to_be_visible()  # a click leaves it
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page.get_by_role("heading", name=re.compile("Selection"))).to_have_count(0)
    ready(page)
    assert "selected=" not in page.url
    page.goto(link)  # a link shows the selection again
    ready(page)
    expect(page.get_by_role("heading", name=re.compile(r"Selection: \d+ regions"))).to_be_visible()


def test_what_the_map_says_is_heard_once(page, address, runs):
    """However often the part of the page that hears it was drawn."""
    sent: list[bytes] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(bytes(frame))))
    open_map(page, address)
    for region in ends(runs):
        click(page, region)
    sent.clear()
    page.evaluate("() => window.orlMap.dispatchEvent(new CustomEvent('want', { detail: [33] }))")
    answered(page)
    found = [re.search(rb'"wanted":\s*(\[[^\]]*\])', frame) for frame in sent]
    assert [match[1] for match in found if match] == [b"[33]"]


def test_what_is_asked_for_just_after_a_button_does_not_undo_it(page, address):
    """Crops that the mouse asks for say the address as the browser knows it: as it was before the button."""
    open_map(page, address)
    for turn in range(3):
        lasso(page)
        expect(page.get_by_role("heading", name=re.compile(r"Selection: \d+ regions"))).to_be_visible()
        ready(page)
        page.evaluate(
            """region => {
                const buttons = [...document.querySelectorAll('button')];
                buttons.find(button => button.textContent.endsWith('Clear')).click();
                window.orlMap.dispatchEvent(new CustomEvent('want', { detail: [region] }));
            }""",
            20 + turn,
        )
        answered(page)
        expect(page.get_by_role("heading", name=re.compile("Selection"))).to_have_count(0)
        assert "selected=" not in page.url


def test_a_lasso_is_kept_and_colors_the_map(page, address, runs):
    run = Run(runs / "one")
    run.file("selections").unlink(missing_ok=True)
    open_map(page, address)
    lasso(page, size=0.25)
    expect(page.get_by_role("heading", name=re.compile(r"Selection: \d+ regions"))).to_be_visible()
    ready(page)
    page.get_by_label("Keep these boxes as").fill("the middle")
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.get_by_text(re.compile(r"Done: \d+ boxes are kept as the middle"))).to_be_visible()
    ready(page)
    boxes = selected(run, "the middle")
    assert 0 < len(boxes) < len(read_object_map(run, "stage3").table)
    field = page.get_by_test_id("stSelectbox").filter(has_text="Color").locator("input")
    field.click()
    field.press_sequentially("the middle")  # of a long list, only what is in view is there
    page.get_by_role("option", name="selection: the middle").click()
    page.wait_for_url("**color=in*")
    ready(page)
    page.wait_for_function(f"{FIND}.textContent.includes('the middle')")
    shoot(page, "object_map-kept")
    run.file("selections").unlink()


def test_two_maps_are_linked(page, address, runs):
    left, _ = ends(runs, "stage1")
    open_map(page, address, encoder="stage1", versus="stage3")
    expect(page.locator(".over")).to_have_count(2)
    chosen = click(page, left, number=1)
    for number in (0, 1):
        marked = ring(page, number)
        assert marked is not None
        assert np.hypot(*(marked - at(page, chosen, number))) < 2
    expect(page.get_by_text(re.compile("^Most similar by stage 1$"))).to_be_visible()
    expect(page.get_by_text(re.compile("^Most similar by stage 3$"))).to_be_visible()
    lasso(page, number=1)
    expect(page.get_by_role("heading", name=re.compile(r"Selection: \d+ regions"))).to_be_visible()
    shoot(page, "object_map-beside")


def test_points_slide_from_one_encoder_to_the_other(page, address, runs):
    left, _ = ends(runs)
    open_map(page, address, encoder="stage1", versus="stage3", view="slide")

    def place():  # on the map, wherever the page is scrolled to
        frame = box(page.locator(".over"))
        return np.subtract(at(page, left), (frame["x"], frame["y"]))

    before = place()
    page.get_by_role("button", name="Slide", exact=True).click()
    page.wait_for_function(f"{FIND}.querySelector('.slider').value === '1'")
    after = place()
    assert np.hypot(*np.subtract(before, after)) > 2
    page.get_by_role("slider", name="between the two encoders").fill("0.5")
    np.testing.assert_allclose(place(), (before + after) / 2, atol=0.5)


def test_a_view_without_a_point_says_how_to_leave_it(page, address, runs):
    open_map(page, address)
    over, hint = page.locator(".over"), page.locator(".hint")
    over.focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    expect(hint).to_have_text("No point is here: 0, or ⤢, shows all")
    page.keyboard.press("0")
    expect(hint).to_be_hidden()


def test_the_crop_under_the_mouse_and_crops_in_place_of_dots(page, address, runs):
    left, _ = ends(runs)
    open_map(page, address)
    card = page.locator(".card")
    expect(card).to_be_hidden()
    page.mouse.move(*at(page, left), steps=3)
    expect(card).to_be_visible()
    expect(page.get_by_alt_text("crop under the mouse")).to_be_visible()
    assert "region=" not in page.url
    page.mouse.move(5, 5)
    expect(card).to_be_hidden()
    over = page.locator(".over")
    over.focus()
    page.mouse.move(*at(page, left))
    while int(over.get_attribute("data-in-view") or 0) > 8:
        page.mouse.wheel(0, -300)
        page.wait_for_timeout(150)
    x, y = at(page, left)
    page.mouse.move(5, 5)
    page.wait_for_function(  # a photograph has more colors than a dot
        f"""([x, y]) => {{
            const picture = {FIND}.querySelector('canvas'), {{left, top}} = picture.getBoundingClientRect();
            const pixels = picture.getContext('2d').getImageData(x - left - 12, y - top - 12, 24, 24).data;
            return new Set(Array.from(new Uint32Array(pixels.buffer))).size > 50;
        }}""",
        arg=[x, y],
    )
    shoot(page, "object_map-crops")


def test_the_wheel_scrolls_the_page_unless_a_key_is_held(page, address, runs):
    left, right = ends(runs)

    def width():
        return at(page, right)[0] - at(page, left)[0]

    open_map(page, address)
    before = width()
    page.mouse.move(*at(page, left))
    page.mouse.wheel(0, -200)
    expect(page.get_by_text("to zoom with the wheel", exact=False).first).to_be_visible()
    assert width() == pytest.approx(before)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    page.wait_for_timeout(300)
    assert width() > 1.2 * before
    page.get_by_role("button", name="show all").click()
    assert width() == pytest.approx(before)
    click(page, left)
    page.mouse.wheel(0, -200)  # after a click it zooms
    page.wait_for_timeout(300)
    assert width() > 1.2 * before
    moved = at(page, left)
    page.keyboard.press("ArrowLeft")
    assert at(page, left)[0] == pytest.approx(moved[0] + 60, abs=1)
    page.keyboard.press("0")
    assert width() == pytest.approx(before)
    for _ in range(6):  # zoomed in on the middle, the region that Enter chooses is near it
        page.keyboard.press("+")
    page.keyboard.press("Enter")
    page.wait_for_url("**region=*")
    page.keyboard.press("0")
    x, y = at(page, left)
    page.mouse.move(x + 40, y + 60)
    page.mouse.down(button="right")  # this button moves the map
    page.mouse.move(x + 70, y + 90, steps=4)
    page.mouse.up(button="right")
    np.testing.assert_allclose(at(page, left), (x + 30, y + 30), atol=1.5)


def test_the_legend_hides_and_isolates(page, address, runs):
    open_map(page, address, color="cluster")
    over, entries = page.locator(".over"), page.locator(".entry")
    everything = int(over.get_attribute("data-in-view") or 0)
    size = int(re.findall(r"\((\d+)\)", entries.first.inner_text())[0])
    entries.first.click()
    expect(over).to_have_attribute("data-in-view", str(everything - size))
    expect(entries.first).to_have_attribute("aria-pressed", "false")
    entries.first.click()
    expect(over).to_have_attribute("data-in-view", str(everything))
    entries.first.dblclick()
    expect(over).to_have_attribute("data-in-view", str(size))
    lasso(page)
    expect(page.get_by_role("heading", name=f"Selection: {size} regions")).to_be_visible()  # of what is shown
    entries.first.dblclick()
    expect(over).to_have_attribute("data-in-view", str(everything))


def test_what_the_legend_hides_is_in_the_address(page, address):
    open_map(page, address, color="cluster")
    over, entries = page.locator(".over"), page.locator(".entry")
    everything = over.get_attribute("data-in-view")
    entries.first.dblclick()
    page.wait_for_url("**legend=*")
    shown = over.get_attribute("data-in-view")
    assert shown != everything
    page.reload()
    expect(over).to_have_attribute("data-in-view", shown)
    ready(page)
    entries.first.dblclick()
    expect(over).to_have_attribute("data-in-view", everything)
    page.wait_for_url(lambda url: "legend=" not in url)
    ready(page)
    page.go_back()
    expect(over).to_have_attribute("data-in-view", shown)


def test_only_some_regions_answer(page, address, runs):
    region = ends(runs)[0]
    save_selection(Run(runs / "one"), "an end", [region])
    open_map(page, address, show="selection:an%20end")
    expect(page.locator(".over")).to_have_attribute("data-in-view", "1")
    assert click(page, region) == region
    lasso(page)
    expect(page.get_by_role("heading", name="Selection: 1 regions")).to_be_visible()


def test_a_click_on_a_picture_is_one_on_its_button(page, address, runs):
    open_map(page, address, region=ends(runs)[0], selected=packed(ends(runs)))
    button = page.locator(".st-key-object-map-selected-1 button").first
    wanted = button.inner_text()
    page.get_by_alt_text(f"crop of region {wanted}").last.click(force=True)  # the button lies over it
    expect(page.get_by_role("spinbutton", name="Region")).to_have_value(wanted)
    expect(page.locator(".st-key-object-map-chosen")).to_be_in_viewport()
    ready(page)
    page.get_by_role("button", name="Proposals of this image").click()
    expect(page.get_by_role("heading", name="Proposals", level=1)).to_be_visible()


def test_a_frame_for_those_who_come_by_keyboard(page, address, runs):
    open_map(page, address)
    frame = "map => getComputedStyle(map).boxShadow"
    click(page, ends(runs)[0])
    page.keyboard.press("ArrowLeft")
    assert page.locator(".map").evaluate(frame) == "none"
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    assert page.locator(".map").evaluate(frame) != "none"


def test_a_map_colored_by_similarity_follows_the_click(page, address, runs):
    open_map(page, address, color="similarity")
    expect(page.get_by_text("Click the region to compare with.")).to_be_visible()
    click(page, ends(runs)[0])
    expect(page.locator(".ramp")).to_be_visible()
    expect(page.get_by_text("Click the region to compare with.")).to_have_count(0)
    shoot(page, "object_map-similarity")


def test_equal_scales_and_most_of_the_window(page, address, runs):
    table = read_object_map(Run(runs / "one"), "stage3").table.set_index("region_id")
    open_map(page, address)
    frame, main = box(page.locator(".over")), box(page.get_by_test_id("stMainBlockContainer"))
    assert frame["height"] >= 0.6 * 800
    assert frame["width"] > 0.85 * main["width"]
    one, other = ends(runs)
    dx, dy = np.subtract(at(page, other), at(page, one))
    wide, tall = (table.loc[other, axis] - table.loc[one, axis] for axis in "xy")
    assert -dy / dx == pytest.approx(tall / wide, rel=1e-3)


def test_without_webgl(browser_without_webgl, address, runs):
    """The map needs none: it is drawn and answers as ever."""
    page = browser_without_webgl
    assert page.evaluate("document.createElement('canvas').getContext('webgl')") is None
    open_map(page, address)
    click(page, ends(runs)[0])


def test_a_map_that_another_process_makes_appears_by_itself(page, address, runs):
    file = map_file(Run(runs / "one"), "stage1")
    aside = file.rename(file.with_suffix(".aside"))
    try:
        visit(page, address, run="one", page="object_map", encoder="stage1")
        told = page.get_by_text("There is no current UMAP by stage 1 yet").first
        expect(told).to_be_visible()
    finally:
        aside.rename(file)
    expect(told).to_be_hidden()
    expect(page.get_by_text("The objects as seen by stage 1")).to_have_count(1)  # the title of before is gone
