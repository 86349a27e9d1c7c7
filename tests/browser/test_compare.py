"""Compare, in a real browser: objects of a category, one box, from there to why two boxes are alike, and the pairs."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from browser_pages import draw_around_everything, ready, settled, shoot, visit
from orl_explore.runs.run import Run
from training.embed_regions import embed_regions_by

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def embedded(runs, tiny):
    """The run "one", all its regions embedded by the untrained encoder and those of stages 1 and 3."""
    run = Run(runs / "one")
    embed_regions_by(run, tiny, limit=run.count("regions"))
    return run


def test_a_category_and_its_boxes(page, address):
    visit(page, address, run="one", page="compare")
    expect(page.get_by_text("nearest boxes of the same category")).to_be_visible()
    shoot(page, "compare-objects")
    choice = page.get_by_test_id("stSelectbox").filter(has_text="Category").locator("input")
    choice.scroll_into_view_if_needed()
    settled(page)  # a list that is open closes when the page scrolls
    choice.click()
    option = page.get_by_role("option").nth(1)
    name = option.inner_text()
    option.click()
    ready(page)
    expect(page.get_by_role("heading", name=f"What changed about {name}")).to_be_visible()
    assert re.search(rf"category={name}", page.url)
    shoot(page, "compare-category")
    page.get_by_role("link", name="See on the map").click()
    expect(page.get_by_role("heading", name="Object map", level=1)).to_be_visible()
    expect(page.locator(".entry")).to_have_text(re.compile(rf"^{name}"))  # and no other
    expect(page.locator(".over")).to_have_count(2)
    ready(page)
    shoot(page, "object_map-category")
    page.go_back()
    expect(page.get_by_role("heading", name=f"What changed about {name}")).to_be_visible()


def test_one_box_and_why_it_is_alike_to_another(page, address, embedded):
    region = int(embedded.read("regions")["region_id"].iloc[4])
    visit(page, address, run="one", page="compare", region=region)
    expect(page.get_by_text(re.compile(rf"^Region {region}\b"))).to_be_visible()
    why = page.get_by_role("button", name=re.compile(rf"Why are {region} and \d+ alike")).first
    why.scroll_into_view_if_needed()
    shoot(page, "compare-one-box")
    why.click()
    expect(page.get_by_role("heading", name="RoI pairs", level=1)).to_be_visible()
    expect(page.locator("canvas.a")).to_have_count(3)
    assert re.search(rf"boxes={region}-\d+", page.url)
    ready(page)
    expect(page.locator("canvas.a").first).to_be_in_viewport()  # however late it came
    page.wait_for_timeout(2500)
    assert "category=" not in page.url  # what Compare's fields say once more is not heard here
    assert "region=" not in page.url
    page.go_back()
    expect(page.get_by_role("heading", name="Compare", level=1)).to_be_visible()
    ready(page)
    expect(page.get_by_text(re.compile(rf"^Region {region}\b"))).to_be_in_viewport()


def test_pairs_that_either_would_mine(page, address):
    visit(page, address, run="one", page="compare")
    page.get_by_role("tab", name="Pairs that stage 2 would mine").click()
    expect(page.get_by_text("purity of all pairs")).to_be_visible()
    ready(page)
    shoot(page, "compare-pairs")


def test_linked_maps_of_two_encoders(page, address):
    visit(page, address, run="one", page="compare")
    page.get_by_role("tab", name="Whole images").click()
    page.get_by_role("tab", name="All images on two maps").click()
    expect(page.locator(".js-plotly-plot:visible")).to_have_count(3)  # the histogram and the maps
    ready(page)
    charts = page.locator(".js-plotly-plot")
    shown = [number for number in range(charts.count()) if charts.nth(number).is_visible()]
    draw_around_everything(page, shown[1])
    expect(page.get_by_text("24 images are marked.")).to_be_visible()
    shoot(page, "compare-marked")
