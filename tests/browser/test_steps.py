"""Steps: through the history, where address, page and content agree; and quick presses, of which none is lost."""

from __future__ import annotations

import math
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from browser_pages import ids_of, ready, visit
from orl_explore.runs.reviews import read_reviews
from orl_explore.runs.run import Run
from orl_explore.ui import address
from orl_explore.ui.pair_queue import TOGETHER
from orl_explore.ui.shell import PAGES

pytestmark = pytest.mark.slow

PARAMETERS = {page.name: set() if page.of_all else {*address.EVERYWHERE, *page.parameters} for page in PAGES}


def seen(page: Page) -> tuple[str, ...]:
    """Address, title, image and open tabs; of the address nothing belongs to another page."""
    ready(page)
    address = urlsplit(page.url)
    name = address.path.strip("/") or "runs"
    assert set(parse_qs(address.query)) <= PARAMETERS[name], page.url
    title = page.get_by_role("heading", level=1)
    expect(title).to_have_text(next(each.title for each in PAGES if each.name == name))
    chooser = page.locator(".st-key-image-chooser").get_by_text("Image ")
    image = chooser.first.inner_text() if chooser.count() else ""
    if wanted := parse_qs(address.query).get("image"):
        assert f"Image {wanted[0]} ·" in image or not image
    tabs = page.locator(".stMain [role=tab][aria-selected=true]").all_inner_texts()
    return address.path, str(sorted(parse_qs(address.query).items())), image, *tabs


def test_back_and_forward_lead_through_what_a_person_did(page, address):
    def link(name: str):
        return page.get_by_role("link", name=name, exact=True)

    steps = (
        lambda: link("Neighbors").click(),
        lambda: page.get_by_role("tab", name="Hubs").click(),
        lambda: page.get_by_role("button", name="Next image").click(),
        lambda: link("RoI pairs").click(),
        lambda: page.locator(".st-key-neighbor-2 button").click(),
        lambda: link("All pairs").click(),
        lambda: page.get_by_role("button", name="Next page").click(),
        lambda: page.get_by_role("tab", name="Reviews").click(),
        lambda: page.locator(".card").nth(1).click(),  # opens the pair on another page
        lambda: link("Compare").click(),
        lambda: link("Object map").click(),
        lambda: link("Overview").click(),
        lambda: link("All runs").click(),
    )
    page.goto("about:blank")
    page.goto(f"{address}/?run=one")  # a link to a run leads to its overview, without a step
    been, first = [seen(page)], page.evaluate("history.length")
    assert been[0][0] == "/overview"
    for number, step in enumerate(steps, start=1):
        step()
        page.wait_for_function(f"history.length >= {first + number}")
        been.append(seen(page))
        assert page.evaluate("history.length") == first + number, been[-1]
        assert been[-1] != been[-2]
    for before in been[-2::-1]:
        page.go_back()
        assert seen(page)[:3] == before[:3]
    for after in been[1:]:
        page.go_forward()
        assert seen(page)[:3] == after[:3]
    assert page.evaluate("history.length") == first + len(steps)
    page.evaluate(f"history.go(-{len(steps)})")
    seen(page)
    page.go_back()
    assert page.url == "about:blank"


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_a_link_is_one_step_and_back_leads_out_of_it(page, address, name):
    page.goto("about:blank")
    visit(page, address, run="one", page=name)
    seen(page)
    page.go_back()
    assert page.url == "about:blank"
    page.go_forward()
    seen(page)
    page.go_back()
    assert page.url == "about:blank"


def test_quick_presses_are_as_many_steps(page, address, runs):
    ids = ids_of(runs)
    visit(page, address, run="one", page="neighbors", image=ids[3])
    onward = page.get_by_role("button", name="Next image")
    for _ in range(5):
        onward.click(delay=0)
    page.wait_for_url(f"**image={ids[8]}*")
    ready(page)
    for key in ("P", "P", "N", "P", "P"):
        page.keyboard.press(f"Shift+{key}")
    page.wait_for_url(f"**image={ids[5]}*")
    expect(page.get_by_text(f"Image {ids[5]} ·")).to_be_visible()
    field = page.get_by_label("Find an image")
    field.focus()
    page.keyboard.press("Shift+N")  # is a letter there
    expect(field).to_have_value("N")
    page.keyboard.press("Backspace")
    onward.focus()
    for _ in range(len(ids)):
        page.keyboard.press("Shift+N")
    page.wait_for_url(f"**image={ids[-1]}*")  # and no further
    expect(onward).to_be_disabled()


def pages_of(runs: Path) -> int:
    return math.ceil(Run(runs / "one").count("pairs") / TOGETHER)


@pytest.mark.parametrize("view", ["one", "many"])
def test_quick_presses_in_a_deck(page, address, runs, view):
    visit(page, address, run="one", page="all_pairs", judging=view)
    page.get_by_role("button", name="Pass").click(delay=0)
    page.keyboard.type("n" if view == "many" else "nnnn")
    assert pages_of(runs) > 2
    expect(page.locator(".said")).to_contain_text("Pairs 49 to" if view == "many" else "Pair 6 of")


def test_quick_presses_turn_as_many_pages(page, address, runs):
    visit(page, address, run="one", page="all_pairs")
    presses = pages_of(runs) - 1
    for button, last in (("Next page", presses + 1), ("Previous page", 1)):
        for _ in range(presses):
            page.get_by_role("button", name=button).click(delay=0)
        page.wait_for_url(f"**at={last}*")
        ready(page)
        assert f"at={last}" in page.url


@pytest.mark.parametrize("pause", [0, 20, 90], ids="{} ms".format)
def test_a_link_out_of_a_field(page, address, runs, pause):
    """What was typed is kept, and the page opens, however short the time between press and release is."""
    run = Run(runs / "one")
    for name in ("reviews", "verdicts"):
        run.file(name).unlink(missing_ok=True)
    visit(page, address, run="one", page="pairs")
    expect(page.locator(".said")).to_contain_text("Pair")
    page.get_by_placeholder("A note on this pair").fill("half a dog")
    page.get_by_test_id("stSidebar").get_by_role("link", name="Proposals").click(delay=pause)
    page.wait_for_url("**/proposals*")
    expect(page.locator(".said")).to_have_count(0)
    ready(page)
    assert read_reviews(run)["note"].tolist() == ["half a dog"]


AT_WORK = """() => {
    const app = document.querySelector('[data-testid=stApp]');
    const say = state => { if (app.dataset.testScriptState !== state) app.dataset.testScriptState = state; };
    const watch = new MutationObserver(() => say('running'));
    watch.observe(app, { attributeFilter: ['data-test-script-state'] });
    say('running');
    window.idle = () => { watch.disconnect(); say('notRunning'); };
}"""
"""The page says that the server is at work, whatever else it does meanwhile, until `idle()`."""


def test_a_link_out_of_a_field_waits_while_the_server_is_at_work(page, address):
    visit(page, address, run="one", page="pairs")
    page.get_by_placeholder("A note on this pair").focus()
    page.evaluate(AT_WORK)
    page.get_by_test_id("stSidebar").get_by_role("link", name="Proposals").click(delay=200)
    page.wait_for_timeout(600)
    assert "/proposals" not in page.url
    page.evaluate("idle()")
    page.wait_for_url("**/proposals*")
