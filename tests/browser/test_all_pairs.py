"""All pairs in a real browser: sorted and filtered, judged by the keyboard and the mouse, in two windows at once."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Page, expect

from browser_pages import at, ready, shoot, visit
from orl_explore.runs.pair_query import AllPairs, PairQuery
from orl_explore.runs.reviews import KEY, Pair, read_disputes, read_reviews, read_verdicts
from orl_explore.runs.run import Run
from orl_explore.runs.selections import read_selections, selected

pytestmark = pytest.mark.slow


@pytest.fixture
def run(runs):
    run = Run(runs / "one")
    for name in ("reviews", "verdicts", "selections"):
        run.file(name).unlink(missing_ok=True)
    return run


def pair_at(run: Run, query: PairQuery, place: int) -> Pair:
    pairs = AllPairs(run)
    return Pair(*(int(value) for value in pairs.page(query, start=place, count=1)[KEY].iloc[0]))


def judged(run: Run) -> dict[Pair, str]:
    reviews = read_reviews(run)
    return {Pair(*row[:4]): row[4] for row in reviews.itertuples(index=False, name=None)}


def wait_for(run: Run, count: int) -> dict[Pair, str]:
    """The verdicts on disk, once there are so many."""
    for _ in range(100):
        if len(found := judged(run)) == count:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{len(judged(run))} verdicts, not {count}")


def deck(page: Page, text: str) -> None:
    expect(page.locator(".said")).to_contain_text(text)


def test_the_worst_pairs_and_one_of_them(page, address, run):
    visit(page, address, run="one", page="all_pairs")
    expect(page.locator(".card")).to_have_count(24)
    worst = AllPairs(run).numbers(PairQuery(), count=24).tolist()
    shown = page.locator(".card").evaluate_all("cards => cards.map(card => Number(card.dataset.pair))")
    assert shown == worst
    shoot(page, "all_pairs-look")
    first = pair_at(run, PairQuery(), 0)
    page.locator(".card").first.click()
    page.wait_for_url(f"**pair={first.query_region}-{first.key_region}*")
    expect(page.get_by_role("heading", name="RoI pairs", level=1)).to_be_visible()
    expect(page.get_by_text("accepted by stage 2")).to_be_visible()


def test_filters_are_in_the_address(page, address, run):
    visit(page, address, run="one", page="all_pairs")
    page.get_by_test_id("stSelectbox").filter(has_text="Labels").locator("input").click()
    page.get_by_role("option", name="same category").click()
    page.wait_for_url("**relation%3Dsame*")
    count = AllPairs(run).figures(PairQuery(relation="same")).pairs
    expect(page.get_by_text(re.compile(rf"^{count} of {run.count('pairs'):,} pairs"))).to_be_visible()
    page.reload()
    ready(page)
    expect(page.get_by_text(re.compile(rf"^{count} of {run.count('pairs'):,} pairs"))).to_be_visible()


def test_a_click_in_the_confusion_matrix(page, address, run):
    pairs = AllPairs(run)
    largest = pairs.confusion(PairQuery()).sort_values("pairs").iloc[-1]
    row, column = (
        int(code) if code >= 0 else len(pairs.categories)
        for code in (largest["query_category"], largest["key_category"])
    )
    visit(page, address, run="one", page="all_pairs")
    page.mouse.click(*at(page, 0, column, row))
    page.wait_for_url("**query_category*")
    expect(page.get_by_text(re.compile(rf"^{int(largest['pairs'])} of "))).to_be_visible()
    shoot(page, "all_pairs-cell")


def test_a_link_that_leads_nowhere(page, address, run):
    visit(page, address, run="one", page="all_pairs", pairs="sort%3Dbest")
    expect(page.get_by_text("The link leads nowhere")).to_be_visible()
    expect(page.locator(".card")).to_have_count(24)
    visit(page, address, run="one", page="all_pairs", pairs="query_category%3Dnothing", at="x", view="y")
    expect(page.get_by_text("there is no category")).to_be_visible()


def test_five_quick_presses(page, address, run):
    visit(page, address, run="one", page="all_pairs", view="one", reviewer="Ann")
    deck(page, "Pair 1 of")
    expect(page.locator(".one .whole").first).to_be_visible()
    shoot(page, "all_pairs-one")
    expect(page.locator(".one figcaption").first).to_be_in_viewport()  # the decision is above the fold
    page.wait_for_timeout(1500)
    page.keyboard.type("axaax")  # without a pause between them
    deck(page, "Pair 6 of")  # at once
    found = wait_for(run, 5)
    said = ["accepted", "rejected", "accepted", "accepted", "rejected"]
    assert [found[pair_at(run, PairQuery(), place)] for place in range(5)] == said
    assert set(read_verdicts(run)["reviewer"]) == {"Ann"}
    deck(page, "3 accepted, 2 rejected here · saved")
    page.keyboard.type("u")
    deck(page, "Pair 5 of")
    assert len(wait_for(run, 4)) == 4
    page.keyboard.type("a")
    found = wait_for(run, 5)
    assert found[pair_at(run, PairQuery(), 4)] == "accepted"


def test_keys_wherever_the_focus_is(page, address, run):
    visit(page, address, run="one", page="all_pairs", view="one")
    deck(page, "Pair 1 of")
    expect(page.locator(".one .whole").first).to_be_visible()
    page.get_by_test_id("stSelectbox").filter(has_text="Verdict").locator("input").focus()
    page.keyboard.press("a")
    deck(page, "Pair 2 of")
    page.get_by_test_id("stSidebar").get_by_role("link").first.focus()
    page.keyboard.press("x")
    deck(page, "Pair 3 of")
    wait_for(run, 2)
    name = page.get_by_placeholder("Your name")
    name.fill("")
    name.press_sequentially("axa")  # typing a name judges nothing
    assert name.input_value() == "axa"
    deck(page, "Pair 3 of")
    assert len(judged(run)) == 2


def test_two_dozen_at_a_time(page, address, run):
    query = PairQuery(sort="similarity")
    visit(page, address, run="one", page="all_pairs", view="many", pairs="sort%3Dsimilarity")
    expect(page.locator(".card[data-pair]")).to_have_count(24)
    page.locator(".card").nth(1).click()
    expect(page.locator(".marked")).to_have_count(1)
    first, last = page.locator(".card").nth(3).bounding_box(), page.locator(".card").nth(4).bounding_box()
    page.mouse.move(first["x"] + 20, first["y"] + 20)
    page.mouse.down()
    page.mouse.move(last["x"] + 30, last["y"] + 40, steps=4)
    page.mouse.up()
    expect(page.locator(".marked")).to_have_count(3)
    shoot(page, "all_pairs-many")
    page.keyboard.press("a")
    deck(page, "Pairs 25 to")
    found = wait_for(run, 24)
    wrong = {pair_at(run, query, place) for place in (1, 3, 4)}
    assert {pair for pair, verdict in found.items() if verdict == "rejected"} == wrong


def test_two_windows(page, address, run, browser):
    other = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    for tab, name in ((page, "Ann"), (other, "Bob")):
        visit(tab, address, run="one", page="all_pairs", view="one", reviewer=name)
        expect(tab.locator(".one .whole").first).to_be_visible()
    page.keyboard.press("a")
    page.keyboard.press("ArrowLeft")
    wait_for(run, 1)
    expect(other.locator(".verdict.accepted")).to_be_visible(timeout=15_000)  # a busy machine is slow
    other.keyboard.press("x")
    expect(page.locator(".verdict.rejected")).to_be_visible(timeout=15_000)
    expect(page.get_by_text("1 pairs were judged differently")).to_be_visible()
    assert sorted(read_disputes(run)["reviewer"]) == ["Ann", "Bob"]
    other.context.close()


def test_purity_from_a_random_queue(page, address, run):
    visit(page, address, run="one", page="all_pairs", view="many", pairs="sort%3Drandom%26seed%3D2")
    expect(page.locator(".card[data-pair]")).to_have_count(24)
    page.locator(".card").nth(0).click()
    page.locator(".card").nth(1).click()
    page.keyboard.press("a")
    wait_for(run, 24)
    expect(page.get_by_text("Right: 91.7 % of all these pairs, 95 % interval 74.2 % to 97.7 %")).to_be_visible()
    shoot(page, "all_pairs-estimate")


def test_a_selection_is_kept_and_used(page, address, run):
    visit(page, address, run="one", page="all_pairs", pairs="relation%3Dmixed")
    page.get_by_role("tab", name="Selections").click()
    page.get_by_label("Keep the boxes of all these pairs as").fill("mixed ones")
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.get_by_text(re.compile(r"Done: \d+ boxes"))).to_be_visible()
    assert read_selections(run)["name"].tolist() == ["mixed ones"]
    boxes = AllPairs(run).regions(PairQuery(relation="mixed"))
    assert selected(run, "mixed ones").tolist() == boxes.tolist()
    shoot(page, "all_pairs-selections")
