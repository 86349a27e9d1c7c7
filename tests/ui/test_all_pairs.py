"""The page of all pairs: what it shows in every state of a run, what it saves, what it believes of the browser."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from orl_explore.runs.pair_query import AllPairs, PairQuery
from orl_explore.runs.reviews import KEY, Pair, read_disputes, read_reviews, read_verdicts, save_review, save_verdicts
from orl_explore.runs.said import MadeAnew
from orl_explore.runs.selections import read_selections, save_selection, selected
from orl_explore.ui import pair_deck, pair_filters, pair_queue

PAGE = "all_pairs"


def said(app):
    assert not app.exception
    assert not app.error
    return " ".join(element.value for kind in (app.markdown, app.text, app.info, app.caption) for element in kind)


def asked(app):
    found = app.query_params["pairs"]
    return found if isinstance(found, str) else found[0]


@pytest.fixture
def decks(monkeypatch):
    """What the deck was given, instead of a browser."""
    shown = []
    monkeypatch.setattr(pair_deck, "show", lambda key, data, **callbacks: shown.append((key, data, callbacks)))
    return shown


def test_the_worst_pairs(run, visit, decks):
    app = visit()
    assert f"**{run.count('pairs'):,}** of {run.count('pairs'):,} pairs" in said(app)
    cards = decks[-1][1]["cards"]
    assert [card["pair"] for card in cards] == AllPairs(run).numbers(PairQuery(), count=24).tolist()
    assert all(card[side].startswith("data:image/jpeg") for card in cards for side in ("query", "key"))
    assert "Reasons to doubt: " in cards[0]["title"]


@pytest.mark.parametrize(
    "text", ["relation=same", "doubt=hub", "size=0..0.2", "verdict=unreviewed", "sort=random&seed=4"]
)
def test_the_address_decides(run, visit, decks, text):
    query = PairQuery.parse(text)
    app = visit(pairs=text)
    figures = AllPairs(run).figures(query)
    assert f"**{figures.pairs:,}** of" in said(app)
    shown = decks[-1][1]["cards"] if figures.pairs else []
    assert [card["pair"] for card in shown] == AllPairs(run).numbers(query, count=24).tolist()


@pytest.mark.slow
def test_widgets_change_the_address(run, visit, decks):
    app = visit()
    app.selectbox(key="all pairs relation").select("mixed").run()
    assert PairQuery.parse(asked(app)) == PairQuery(relation="mixed")
    app.selectbox(key="all pairs sort").select("random").run()
    app.text_input(key="all pairs seed").input("7").run()
    assert PairQuery.parse(asked(app)) == PairQuery(relation="mixed", sort="random", seed=7)
    app.text_input(key="all pairs image").input("x").run()
    assert "is no whole number" in app.warning[0].value.replace("\\", "")
    app.slider(key="all pairs size").set_range(0, 30).run()
    assert PairQuery.parse(asked(app)).size == (0.0, 0.3)
    (clear,) = [button for button in app.button if button.label == "Clear all filters"]
    clear.click().run()
    assert PairQuery.parse(asked(app)) == PairQuery(sort="random", seed=7)


@pytest.mark.parametrize(
    "link",
    [{"pairs": "sort=best"}, {"pairs": "image=x"}, {"at": "99999"}, {"at": "-1"}, {"at": "x"}, {"judging": "slide"}],
)
def test_broken_links_fall_back(run, visit, decks, link):
    app = visit(**link)
    assert decks[-1][1]["cards"]
    assert len(app.warning) == 1  # a sentence
    assert "pairs" in link or not set(link) & set(app.query_params)


def test_what_the_run_does_not_have(run, visit, decks):
    for text, words in (("query_category=nothing", "there is no category"), ("selection=none", "no selection 'none'")):
        assert words in visit(pairs=text).warning[0].value.replace("\\", "")
    assert "No pair of this run is like that" in said(visit(pairs="similarity=-1..-0.99"))


@pytest.mark.parametrize("way", ["z without the others", "what they have in common"])
def test_selections_are_combined(run, way):
    """Whichever of them is the first, as a table's rows are marked in no order."""

    def part(path):
        from orl_explore.runs.run import Run
        from orl_explore.ui import pair_selections

        pair_selections._several(Run(path), ["a", "z"])

    save_selection(run, "a", [1, 2])
    save_selection(run, "z", [2, 3])
    app = AppTest.from_function(part, args=(str(run.path),)).run()
    app.selectbox[0].select(way)
    app.text_input[0].input("made")
    app.button[0].click().run()
    assert selected(run, "made").tolist() == ([3] if way.startswith("z") else [2])


def test_an_older_run_and_one_without_labels(run, visit, decks):
    run.file("pair_facts").unlink()
    assert f"of {run.count('pairs'):,} pairs" in said(visit())
    run.write("objects", run.read("objects").iloc[:0])
    app = visit()
    assert "category" not in said(app)
    assert " | " not in decks[-1][1]["cards"][0]["caption"]
    run.clear("stage2")
    assert "is not there yet: run" in visit().warning[0].value.replace("\\", "")


def test_an_image_that_cannot_be_read(run, visit, decks):
    first = AllPairs(run).page(PairQuery(), count=1).iloc[0]
    images = run.read("images")
    images.loc[images["image_id"] == first["image_id"], "file_name"] = "gone.jpg"
    run.write("images", images)
    visit()
    assert decks[-1][1]["cards"][0]["query"] == ""
    assert decks[-1][1]["cards"][0]["query_text"]


# ---- what the browser says -----------------------------------------------------------------------------------------


@pytest.fixture
def review(run, monkeypatch):
    """Save what a browser says, as the deck does."""
    pairs, memory = AllPairs(run), {"confirmed": {}, "rows": {}, "problem": ""}
    numbers = pairs.numbers(PairQuery(), count=10)

    def say(said, reviewer="Ann"):
        known = functools.partial(pair_queue.pairs_of, pairs, numbers, memory["rows"])
        pair_queue.save(run, said, memory, known, reviewer, of=pairs.made_from["pairs"])
        return memory

    say.numbers, say.memory = numbers, memory
    return say


def one(number, pair, verdict):
    return {"number": number, "pair": int(pair), "verdict": verdict}


def test_each_verdict_counts_once(run, review):
    numbers = review.numbers
    first = [one(1, numbers[0], "accepted"), one(2, numbers[1], "rejected")]
    memory = review({"client": "a", "verdicts": first})
    assert memory["last"] == {"client": "a", "number": 2}
    save_review(run, Pair(*map(int, read_reviews(run)[KEY].iloc[0])), verdict="", reviewer="Ann")
    review({"client": "a", "verdicts": [*first, one(3, numbers[2], "accepted")]})  # sent again, with a new one
    assert len(read_reviews(run)) == 2  # what was taken back meanwhile is not said again
    memory.pop("last")  # of a deck that was put up again
    assert review({"client": "a", "verdicts": first})["last"] == {"client": "a", "number": 3}
    review({"client": "b", "verdicts": [one(1, numbers[3], "accepted")]})  # another tab counts by itself
    assert len(read_reviews(run)) == 3


def test_stage_2_made_anew_under_an_open_page(run, review):
    """The numbers that the page holds are of other boxes then: nothing is saved, which is said with a count, once."""
    said = {"client": "a", "verdicts": [one(1, review.numbers[0], "accepted")]}
    review(said)
    run.file("reviews").unlink()
    run.file("verdicts").unlink()
    run.write("pairs", run.read("pairs").iloc[1:])
    said["verdicts"] += [one(2, review.numbers[1], "accepted"), one(3, review.numbers[2], "rejected")]
    with pytest.raises(MadeAnew, match="was made anew since"):
        review(said)
    assert not run.file("reviews").exists()
    assert review.memory["problem"].startswith("Verdicts that are not saved: 2. stage 2 of ")
    assert review.memory["last"] == {"client": "a", "number": 3}  # the browser need not say it again
    assert review(said)["problem"]


def test_the_browser_is_not_believed(run, review):
    for said in (None, [], {"client": 3}, {"client": "a"}, {"client": "a", "verdicts": [one(1, 10**9, "accepted")]}):
        review(said)
    assert not len(read_reviews(run))
    memory = review({"client": "a", "verdicts": [one(1, review.numbers[0], "perfect")]})
    assert "no verdict" in memory["problem"]
    assert "last" not in memory  # not confirmed: the browser keeps it


def test_a_queue_and_what_others_say(run, visit, decks):
    pairs = AllPairs(run)
    numbers = pairs.numbers(PairQuery(), count=3)
    second = Pair(*(int(value) for value in pairs.rows(numbers)[KEY].iloc[1]))
    save_review(run, second, verdict="rejected", reviewer="Bob")
    save_review(run, second, verdict="accepted", reviewer="Ann")
    app = visit(judging="one", reviewer="Ann")
    data = decks[-1][1]
    assert (data["mode"], data["total"]) == ("one", run.count("pairs"))
    assert [card["pair"] for card in data["cards"]][:3] == numbers.tolist()
    assert data["cards"][0]["query_whole"].startswith("data:image/jpeg")
    assert [1, "accepted"] in data["verdicts"]
    assert len(read_disputes(run)) == 2
    assert "1 pairs were judged differently" in said(app)


def test_estimates(run):
    pairs, query = AllPairs(run), PairQuery(sort="random", seed=3)
    assert pair_queue.estimated(pairs, query, stratified=False) is None
    for stratified in (False, True):
        numbers = pair_queue.queue_of(pairs, query, stratified=stratified)[:20]
        assert len(set(numbers.tolist())) == 20
        found = [Pair(*row) for row in pairs.rows(numbers)[KEY].astype(int).itertuples(index=False, name=None)]
        save_verdicts(run, [(pair, "rejected" if n % 4 == 0 else "accepted") for n, pair in enumerate(found)])
        made = pair_queue.estimated(pairs, query, stratified=stratified)
        assert made is not None
        assert made.judged >= 20
        assert made.low < made.value < made.high


def test_an_estimate_from_what_was_not_judged_before(run):
    """The recipe of the docs: doubtful pairs first, then a random queue of those without a verdict."""
    pairs, query = AllPairs(run), PairQuery(sort="random", seed=3, verdict="unreviewed")
    judge(run, pairs, pairs.numbers(PairQuery(), count=10))
    for stratified in (False, True):
        queue = pair_queue.queue_of(pairs, query, stratified=stratified)[:30]
        assert not set(queue.tolist()) & set(pairs.numbers(PairQuery(verdict="reviewed"), count=99).tolist())
        judge(run, pairs, queue)
        made = pair_queue.estimated(pairs, query, stratified=stratified)
        assert made is not None
        assert made.judged >= 30  # what was judged before counts where the random order comes to it
    assert pair_queue.estimated(pairs, dataclasses.replace(query, verdict="accepted"), stratified=False) is None


def judge(run, pairs, numbers):
    found = [Pair(*row) for row in pairs.rows(numbers)[KEY].astype(int).itertuples(index=False, name=None)]
    save_verdicts(run, [(pair, "rejected" if n % 4 == 0 else "accepted") for n, pair in enumerate(found)])


# ---- what is of other pairs or regions than the run has ------------------------------------------------------------


@pytest.mark.parametrize("stale", ["selections", "reviews", "both"])
@pytest.mark.parametrize("judging", ["look", "many"])
def test_a_stale_file_takes_nothing_else_away(run, visit, decks, stale, judging):
    first = Pair(*map(int, run.read("pairs")[KEY].iloc[0]))
    save_review(run, first, verdict="accepted")
    save_selection(run, "mine", [1, 2])
    if stale != "reviews":
        run.write("selections", run.read("selections").assign(regions_hash="of others"))
    if stale != "selections":
        for name in ("reviews", "verdicts"):
            run.write(name, run.read(name).assign(pairs_hash="of others"))
    app = visit({"all pairs tab": "Selections"}, judging=judging)
    assert f"**{run.count('pairs'):,}** of" in said(app)
    shown = decks[-1][1]["cards"] if decks else []
    assert len(shown) == (24 if judging == "look" or stale == "selections" else 0)
    told = " ".join(box.value for box in app.warning).replace("\\", "")
    assert ("of other pairs" in told) == (stale != "selections")
    assert ("of other regions" in told) == (stale != "reviews" and judging == "look")


# ---- selections ----------------------------------------------------------------------------------------------------


def test_selections(run, visit, decks):
    save_selection(run, "=some", AllPairs(run).regions(PairQuery(relation="same"))[:2], origin="a lasso")
    app = visit({"all pairs tab": "Selections"})
    assert app.dataframe[0].value["name"].tolist() == ["=some"]
    (keep,) = [button for button in app.button if button.label == "Keep"]
    (name,) = [field for field in app.text_input if field.label.startswith("Keep")]
    name.input("mine")
    keep.click().run()
    assert read_selections(run)["name"].tolist() == ["=some", "mine"]
    assert np.isin(["mine"], app.dataframe[0].value["name"]).all()


def marked(run, name):
    import streamlit as st

    from orl_explore.runs.pair_query import AllPairs
    from orl_explore.runs.run import Run
    from orl_explore.ui import pair_selections

    pairs = AllPairs(Run(run))
    pair_selections._offer_undo(pairs.run)
    pair_selections._one(pairs, name)
    st.text(str(st.session_state.get("selections say")))


def test_all_pairs_of_a_selection_are_judged_and_taken_back(run):
    pairs = AllPairs(run)
    save_selection(run, "mine", pairs.regions(PairQuery())[:2])
    touched = pairs.pairs(PairQuery(selection="mine"))
    save_review(run, touched[0], verdict="accepted", reviewer="Ann")
    save_review(run, touched[1], verdict="accepted", reviewer="Bob")
    before = read_verdicts(run)[[*KEY, "verdict", "reviewer"]]
    app = AppTest.from_function(marked, args=(str(run.path), "mine"))
    app.query_params["reviewer"] = "Ann"
    app.run()
    (reject,) = [button for button in app.button if button.label.startswith("Reject")]
    assert reject.label == f"Reject all {len(touched):,} pairs that touch it"
    reject.click().run()
    assert set(read_reviews(run)["verdict"]) == {"rejected"}
    assert len(read_reviews(run)) == len(touched)
    assert set(read_verdicts(run)["reviewer"]) == {"Ann", "Bob"}
    app.button(key="undo at once").click().run()
    assert not app.exception
    after = read_verdicts(run)[[*KEY, "verdict", "reviewer"]]
    assert sorted(map(tuple, after.to_numpy())) == sorted(map(tuple, before.to_numpy()))
    assert len(read_reviews(run)) == 2
    assert "undo at once" not in {button.key for button in app.button}


def test_names_have_their_place():
    assert set(pair_filters.SORT_NAMES) == set(pair_filters.SORTS)
