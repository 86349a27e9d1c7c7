"""The object map in a real browser: clicks, the ring, a lasso, the crop under the mouse."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from browser_pages import at, draw_around_everything, ready, shoot, visit
from orl_explore.runs.run import Run

pytestmark = pytest.mark.slow


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
    assert "/pairs?" in page.url


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


def test_linked_maps_of_two_encoders(page, address):
    visit(page, address, run="one", page="compare")
    page.get_by_role("tab", name="Whole images").click()
    page.get_by_role("tab", name="All images on two maps").click()
    expect(page.locator(".js-plotly-plot")).to_have_count(3)  # the histogram and the maps
    ready(page)
    draw_around_everything(page, 1)
    expect(page.get_by_text("24 images are marked.")).to_be_visible()
    shoot(page, "compare-marked")
