"""The page of pairs: what was said of them, notes, and where there can be none."""

from __future__ import annotations

from orl_explore.runs.reviews import KEY, Pair, read_reviews, save_review
from orl_explore.runs.run import Run
from orl_explore.ui import pair_deck

PAGE = "pairs"


def said(app):
    assert not app.exception
    assert not app.error
    kinds = (app.markdown, app.caption, app.text, app.info, app.warning)
    return " ".join(element.value for kind in kinds for element in kind)


def test_a_verdict_and_a_note_stay(run, visit):
    image_id = int(run.read("images")["image_id"].iloc[1])
    pairs = run.read("pairs", image_id=image_id)
    pairs = pairs.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)
    number = int(pairs.index[pairs["neighbor_rank"] == 0][0])  # the pair that the page opens with
    pair = Pair(*map(int, pairs[KEY].iloc[number]))
    save_review(run, pair, verdict="accepted")
    app = visit(image=image_id)
    assert f"1 of {len(pairs)} pairs of this image reviewed · in this run 1 accepted, 0 rejected" in said(app)
    assert app.dataframe[0].value["verdict"].tolist()[number] == "✓ accepted"
    (note,) = [element for element in app.text_input if element.label == "Note"]
    note.set_value("<b>both</b> cups").run()
    assert read_reviews(run)[["verdict", "note"]].to_numpy().tolist() == [["accepted", "<b>both</b> cups"]]


def test_reviews_of_other_pairs(run, visit, monkeypatch):
    decks = []
    monkeypatch.setattr(pair_deck, "show", lambda *args, **_: decks.append(args))
    save_review(run, Pair(*map(int, run.read("pairs")[KEY].iloc[0])), verdict="rejected")
    run.write("pairs", run.read("pairs").iloc[1:])
    app = visit()
    assert "are of other pairs than stage 2 has now" in said(app)
    assert not decks
    assert len(app.dataframe)  # the page goes on


def test_a_run_that_cannot_be_written(run, monkeypatch, visit):
    app = visit()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Run, "write", refuse)
    (note,) = [element for element in app.text_input if element.label == "Note"]
    note.set_value("cups").run()
    assert not app.exception
    assert "could not be written" in app.error[0].value
