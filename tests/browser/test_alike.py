"""Why are these two alike, in a real browser: a place by mouse and keys, its best match, and the address."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from browser_pages import box, ready, shoot, visit
from orl_explore.judging import alike, comparison
from orl_explore.runs.run import Run
from orl_explore.ui.pair_alike import TITLE
from orl_explore.ui.pair_places import Place
from orl_explore.ui.pair_rule import WHAT_IF
from orl_explore.ui.state import tab_in_address

pytestmark = pytest.mark.slow

BEST = re.compile(r"best match (-?\d\.\d{3})")


def boxes_of(runs) -> tuple[Run, int, int]:
    """Two boxes of different images that are no pair."""
    run = Run(runs / "one")
    regions = run.read("regions")
    return run, int(regions["region_id"].iloc[2]), int(regions["region_id"].iloc[-1])


def open_boxes(page: Page, address: str, runs, **query: object) -> tuple[Run, list[alike.FeatureMap]]:
    """The tab, and what the trained encoder of stage 3 says of the boxes."""
    run, first, last = boxes_of(runs)
    visit(page, address, run="one", page="pairs", boxes=f"{first}-{last}", **query)
    expect(page.locator("canvas.a")).to_have_count(3)
    encoder = comparison.compared_encoders(run)["stage3"].load()
    table = run.read("regions").set_index("region_id", drop=False).loc[[first, last]]
    return run, alike.region_maps(encoder, run.images(), table, size=comparison.image_size(run))


def best(page: Page, crop: str) -> float:
    """Similarity of the best match that the last encoder's picture of a crop tells."""
    line = page.locator(f"canvas.{crop} + .says").last
    expect(line).to_have_text(BEST)
    found = BEST.search(line.inner_text())
    assert found is not None
    return float(found[1])


def wait_for_place(page: Page, crop: str, x: float, y: float) -> None:
    """Wait until the address names a place, to a pixel."""

    def named(url: str) -> bool:
        place = Place.read(parse_qs(urlsplit(url).query).get("place", [""])[0])
        return place is not None and place.crop == crop and abs(place.x - x) + abs(place.y - y) < 0.02

    page.wait_for_url(named)


def test_a_click_shows_the_best_match(page, address, runs):
    _, (a, b) = open_boxes(page, address, runs)
    canvas = page.locator("canvas.a").last
    canvas.scroll_into_view_if_needed()
    frame = box(canvas)
    for x, y in ((0.3, 0.3), (0.8, 0.6)):
        page.mouse.click(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])
        page.mouse.move(5, 5)
        heat = alike.similarity_to(a, *a.cell_at(x, y), b)
        assert best(page, "b") == pytest.approx(heat.max(), abs=2e-3)
        wait_for_place(page, "a", x, y)
    shoot(page, "pairs-alike")


def test_a_click_in_the_second_crop_looks_back(page, address, runs):
    _, (a, b) = open_boxes(page, address, runs)
    canvas = page.locator("canvas.b").last
    canvas.scroll_into_view_if_needed()
    frame = box(canvas)
    page.mouse.click(frame["x"] + 0.52 * frame["width"], frame["y"] + 0.25 * frame["height"])
    page.mouse.move(5, 5)
    heat = alike.similarity_to(b, *b.cell_at(0.52, 0.25), a)
    assert best(page, "a") == pytest.approx(heat.max(), abs=2e-3)


def test_arrow_keys_move_the_place(page, address, runs):
    _, (a, b) = open_boxes(page, address, runs, place="a,0.5,0.5")
    canvas = page.locator("canvas.a").last
    canvas.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft"):
        canvas.press(key)
    row, column = a.cell_at(0.5, 0.5)
    heat = alike.similarity_to(a, row + 1, column + 1, b)
    assert best(page, "b") == pytest.approx(heat.max(), abs=2e-3)
    wait_for_place(page, "a", *a.place_of(row + 1, column + 1))


def test_boxes_by_their_numbers(page, address, runs):
    """Quickly one after the other, then back to the pair, and back again through what was done."""
    visit(page, address, run="one", page="pairs", tab=tab_in_address(TITLE))
    expect(page.locator("canvas.a")).to_have_count(3)
    first, second = (page.get_by_label(f"Box {letter}, by its region_id", exact=True) for letter in "AB")
    for field in (first, second):
        expect(field).not_to_have_value("")
    pair = first.input_value(), second.input_value()
    cosine = page.locator(".facts").first.inner_text()
    first.fill("2")
    second.fill("7")  # before the page has followed the first
    second.press("Enter")
    page.wait_for_url("**boxes=2-7*")
    expect(first).to_have_value("2")
    expect(second).to_have_value("7")
    expect(page.locator(".facts").first).not_to_have_text(cosine)
    page.get_by_role("button", name="Back to the pair").click()
    expect(first).to_have_value(pair[0])
    expect(second).to_have_value(pair[1])
    page.wait_for_url(lambda url: "boxes=" not in url)
    expect(page.locator(".facts").first).to_have_text(cosine)
    page.go_back()
    page.wait_for_url("**boxes=2-7*")
    expect(first).to_have_value("2")
    expect(second).to_have_value("7")
    expect(page.get_by_label(re.compile("by its region_id"))).to_have_count(2)


def test_views(page, address, runs):
    _, maps = open_boxes(page, address, runs)
    drawn = "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    before = np.array(page.locator("canvas.b").last.evaluate(drawn))
    page.get_by_text("Shares of the cosine").click()
    ready(page)
    expect(page.locator("canvas.a + .says").last).to_contain_text(f"together {alike.shares(*maps).cosine:.2f}")
    shoot(page, "pairs-alike-shares")
    page.get_by_text("PCA colors").click()
    ready(page)
    after = np.array(page.locator("canvas.b").last.evaluate(drawn))
    assert np.abs(before - after).mean() > 5
    shoot(page, "pairs-alike-colors")


def test_a_switch_leads_to_its_settings(page, address, runs):
    visit(page, address, run="one", page="pairs")
    page.get_by_text(re.compile("of 5 settings would change this")).click()
    ready(page)
    page.get_by_role("button", name="Try").nth(1).click()
    ready(page)
    expect(page.get_by_role("slider", name="Similarity at least")).to_be_visible()
    assert re.search(r"(least|ratio|mutual|one)=", page.url)
    changed = page.get_by_test_id("stMetric").filter(has_text="Lost").inner_text()
    link = {key: values[0] for key, values in parse_qs(urlsplit(page.url).query).items()}
    visit(page, address, page="pairs", **link)
    page.get_by_text(WHAT_IF).click()
    expect(page.get_by_test_id("stMetric").filter(has_text="Lost")).to_have_text(re.compile(changed.split()[-1]))
