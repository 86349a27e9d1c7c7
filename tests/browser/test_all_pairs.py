"""All pairs in a real browser: sorted and filtered, judged by the keyboard and the mouse, in two windows at once."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Page, expect

from browser_pages import at, box, ready, shoot, tick, visit
from orl_explore.runs.pair_query import AllPairs, PairQuery
from orl_explore.runs.reviews import KEY, Pair, read_disputes, read_reviews, read_verdicts, save_review
from orl_explore.runs.run import Run
from orl_explore.runs.selections import read_selections, save_selection, selected

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
    visit(page, address, run="one", page="all_pairs", pairs="query_category%3Dnothing", at="x", judging="y")
    expect(page.get_by_text("there is no category")).to_be_visible()


def test_five_quick_presses(page, address, run):
    visit(page, address, run="one", page="all_pairs", judging="one", reviewer="Ann")
    deck(page, "Pair 1 of")
    expect(page.locator(".one .whole").first).to_be_visible()
    shoot(page, "all_pairs-one")
    expect(page.locator(".one figcaption").first).to_be_in_viewport()  # the decision is above the fold
    ready(page)
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


@pytest.mark.parametrize("kind", ["one", "many", "pair"])
def test_a_deck_that_is_put_up_again_is_where_it_was(page, address, run, kind):
    """As Streamlit may do at any time: the reader goes to another page at once after a press, and comes back."""
    name = "RoI pairs" if kind == "pair" else "All pairs"
    if kind == "pair":
        counts = run.read("pairs")["image_id"].value_counts()
        found = run.read("pairs", image_id=int(counts.index[0])).sort_values("similarity", kind="stable")
        rank, query, key = found[["neighbor_rank", "query_region", "key_region"]].astype(int).iloc[-1]
        link = {"rank": rank + 1, "pair": f"{query}-{key}"}
        visit(page, address, run="one", page="pairs", image=counts.index[0], **link)
    else:
        visit(page, address, run="one", page="all_pairs", judging=kind)
    deck(page, "Pairs 1 to 24" if kind == "many" else "Pair 1 of")
    ready(page)
    place = page.locator(".said")
    page.keyboard.type("aa")
    page.get_by_test_id("stSidebar").get_by_role("link", name="Proposals").click()  # within the gathering of verdicts
    expect(place).to_have_count(0)
    ready(page)
    many = 48 if kind == "many" else 2
    wait_for(run, many)  # also where the page of the deck was at work just then: the next one says it again
    page.get_by_test_id("stSidebar").get_by_role("link", name=name, exact=True).click()
    deck(page, "Pairs 49 to" if kind == "many" else "Pair 3 of")
    page.keyboard.type("u")
    deck(page, "Pairs 25 to" if kind == "many" else "Pair 2 of")
    wait_for(run, many // 2)


def test_what_cannot_be_saved_is_said(page, address, run):
    visit(page, address, run="one", page="proposals")
    ready(page)
    left = "{ queue: 'gone', client: 'c', waiting: [{ number: 1, pair: 1, verdict: 'accepted' }] }"
    page.evaluate(f"(window.orlDecks ??= new Map()).set('deck', {left})")
    expect(page.get_by_text("could not be saved, as their queue is gone: 1.")).to_be_visible()
    page.wait_for_function("!window.orlDecks.get('deck').waiting.length")


def test_keys_wherever_the_focus_is(page, address, run):
    visit(page, address, run="one", page="all_pairs", judging="one")
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


@pytest.mark.parametrize("judging", ["one", "many"])
def test_a_click_counts_although_verdicts_are_saved_during_it(page, address, run, judging):
    """What is under the mouse stays while it is down, and is drawn anew after."""
    visit(page, address, run="one", page="all_pairs", judging=judging)
    deck(page, "Pair 1 of" if judging == "one" else "Pairs 1 to 24")
    step = 1 if judging == "one" else 24
    shown = box(page.locator("button[data-does^=Judge], button[data-does*=Reject]"))
    page.keyboard.press("a")  # is being saved
    page.mouse.move(shown["x"] + 10, shown["y"] + 10)
    page.mouse.down()
    wait_for(run, step)
    page.wait_for_timeout(1000)  # the page says so
    page.mouse.up()
    wait_for(run, 2 * step)
    expect(page.locator(".said")).to_contain_text("· saved")


def test_two_dozen_at_a_time(page, address, run):
    query = PairQuery(sort="similarity")
    visit(page, address, run="one", page="all_pairs", judging="many", pairs="sort%3Dsimilarity")
    expect(page.locator(".card[data-pair]")).to_have_count(24)
    page.locator(".card").nth(1).click()
    expect(page.locator(".marked")).to_have_count(1)
    first, last = (box(page.locator(".card").nth(place)) for place in (3, 4))
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


SOON = 15_000
"""Milliseconds in which a window has what another one said: two seconds, but a busy machine is slow."""


def test_two_windows(page, address, run, window):
    other = window()
    for tab, name in ((page, "Ann"), (other, "Bob")):
        visit(tab, address, run="one", page="all_pairs", judging="one", reviewer=name)
        expect(tab.locator(".one .whole").first).to_be_visible()
    page.keyboard.press("a")
    page.keyboard.press("ArrowLeft")
    wait_for(run, 1)
    expect(other.locator(".verdict.accepted")).to_be_visible(timeout=SOON)
    other.keyboard.press("x")
    expect(page.locator(".verdict.rejected")).to_be_visible(timeout=SOON)
    expect(page.get_by_text("1 pairs were judged differently")).to_be_visible()
    assert sorted(read_disputes(run)["reviewer"]) == ["Ann", "Bob"]


def test_two_windows_without_names_are_two_people(page, address, run, window):
    """The second one even has the address of the first."""
    visit(page, address, run="one", page="all_pairs", judging="one")
    expect(page.locator(".one .whole").first).to_be_visible()
    page.keyboard.press("a")
    wait_for(run, 1)
    page.wait_for_url("**reviewer=reader*")
    other = window()
    other.goto(page.url)
    ready(other)
    expect(other.locator(".one .whole").first).to_be_visible()
    other.keyboard.press("x")
    for _ in range(50):
        if len(read_disputes(run)) == 2:
            break
        time.sleep(0.2)
    assert len(set(read_disputes(run)["reviewer"])) == 2
    name = read_verdicts(run).sort_values("time")["reviewer"].iloc[0]
    page.reload()
    ready(page)
    expect(page.get_by_placeholder(name)).to_be_visible()


@pytest.mark.parametrize("where", ["grid", "pair"])
def test_what_another_window_says_is_seen_where_one_only_looks(page, address, run, where):
    pair = pair_at(run, PairQuery(), 0)
    if where == "grid":
        visit(page, address, run="one", page="all_pairs")
        expect(page.locator(".card")).to_have_count(24)
        seen = page.locator(".card .verdict.rejected")
    else:
        rank = run.read("neighbors", image_id=pair.image_id).set_index("neighbor_id").loc[pair.neighbor_id, "rank"]
        link = {"image": pair.image_id, "rank": rank + 1, "pair": f"{pair.query_region}-{pair.key_region}"}
        visit(page, address, run="one", page="pairs", **link)
        seen = page.locator(".st-key-pairs-frame .annotation-text").filter(has_text="✗").first
    expect(seen).to_have_count(0)
    save_review(run, pair, verdict="rejected", reviewer="Bob")
    expect(seen).to_be_visible(timeout=SOON)


def test_purity_from_a_random_queue(page, address, run):
    visit(page, address, run="one", page="all_pairs", judging="many", pairs="sort%3Drandom%26seed%3D2")
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
    expect(page.get_by_text(re.compile(r"Done: \d+ boxes are kept as mixed ones"))).to_be_visible()
    assert read_selections(run)["name"].tolist() == ["mixed ones"]
    boxes = AllPairs(run).regions(PairQuery(relation="mixed"))
    assert selected(run, "mixed ones").tolist() == boxes.tolist()
    shoot(page, "all_pairs-selections")


def test_a_selection_is_judged_combined_and_taken_away(page, address, run):
    pairs = AllPairs(run)
    boxes = pairs.regions(PairQuery())
    save_selection(run, "first", boxes[:2])
    save_selection(run, "second", boxes[1:3])
    touched = len(pairs.pairs(PairQuery(selection="first")))
    visit(page, address, run="one", page="all_pairs", tab="selections")
    table = page.get_by_test_id("stDataFrame").first
    tick(page, table, 0)
    page.get_by_role("button", name=f"Reject all {touched:,} pairs that touch it").click()
    expect(page.get_by_text(f"Done: {touched:,} pairs rejected")).to_be_in_viewport()  # and so is the way back
    assert set(judged(run).values()) == {"rejected"}
    page.get_by_role("button", name=f"Undo: {touched:,} pairs rejected").click()
    expect(page.get_by_text(f"Done: {touched:,} verdicts taken back")).to_be_visible()
    assert not judged(run)
    page.get_by_role("button", name=f"Accept all {touched:,} pairs that touch it").click()
    expect(page.get_by_text(f"Done: {touched:,} pairs accepted")).to_be_visible()
    assert len(wait_for(run, touched)) == touched
    for name, file in (("Parquet", "first.parquet"), ("CSV", "first.csv"), ("COCO json", "first.json")):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        assert download.value.suggested_filename == file
        content = download.value.path().read_bytes()
        assert content.startswith({"Parquet": b"PAR1", "CSV": b"region_id", "COCO json": b"{"}[name])
    tick(page, table, 1)
    page.get_by_label("under the name").fill("both")
    page.get_by_test_id("stFormSubmitButton").filter(has_text="Keep").last.click()
    expect(page.get_by_text("Done: 3 boxes are kept as both")).to_be_visible()
    assert selected(run, "both").tolist() == boxes[:3].tolist()


def test_a_report_of_what_is_shown(page, address, run):
    visit(page, address, run="one", page="all_pairs", pairs="relation%3Dmixed", tab="share")
    with page.expect_download(timeout=120_000) as download:
        page.get_by_role("button", name="Report with this view").click()
    text = download.value.path().read_text(encoding="utf-8")
    assert text.lstrip().lower().startswith("<!doctype html")
    assert len(text) < 10_000_000
    page.set_viewport_size({"width": 390, "height": 800})
    page.set_content(text)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
