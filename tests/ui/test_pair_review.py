"""The page of pairs: verdicts that stay, and where they cannot."""

from __future__ import annotations

from orl_explore.runs.reviews import KEY, Pair, read_reviews, save_review
from orl_explore.runs.run import Run

PAGE = "pairs"


def said(app):
    assert not app.exception
    assert not app.error
    return " ".join(element.value for kind in (app.markdown, app.text, app.info, app.warning) for element in kind)


def press(app, label):
    (button,) = [button for button in app.button if button.label == label]
    return button.click().run()


def pairs_of(run, image_id):
    pairs = run.read("pairs", image_id=image_id)
    return pairs.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)


def test_a_verdict_stays(run, visit):
    image_id = int(run.read("images")["image_id"].iloc[1])
    pairs = pairs_of(run, image_id)
    app = visit(image=image_id)
    app.toggle(key="pairs_go_on").set_value(False).run()
    chosen = pairs[pairs["neighbor_rank"] == 0].iloc[0]
    press(app, "Accept")
    (review,) = read_reviews(run).to_dict("records")
    assert [review[name] for name in KEY] == [int(chosen[name]) for name in KEY]
    assert review["verdict"] == "accepted"

    number = int(pairs.index[pairs["neighbor_rank"] == 0][0]) + 1
    again = visit(image=image_id)  # as another browser, or the same after a reload
    assert f"verdict on pair {number}: accepted" in said(again)
    assert again.dataframe[0].value["verdict"].tolist()[number - 1] == "✓ accepted"
    (note,) = [element for element in again.text_input if element.label == "Note"]
    note.set_value("<b>both</b> cups").run()
    assert read_reviews(run)["note"].tolist() == ["<b>both</b> cups"]
    assert "in this run 1 accepted, 0 rejected" in said(press(again, "Next"))
    press(app, "Accept")  # again: takes it back, and leaves the other browser's note
    assert read_reviews(run)[["verdict", "note"]].to_numpy().tolist() == [["", "<b>both</b> cups"]]


def test_going_on_after_a_verdict(run, visit):
    image_id = int(run.read("images")["image_id"].iloc[1])
    pairs = pairs_of(run, image_id)
    app = visit(image=image_id)
    for _ in range(len(pairs)):
        press(app, "Reject")
    reviews = read_reviews(run)
    assert {Pair(*row) for row in reviews[KEY].to_numpy().tolist()} == {
        Pair(*row) for row in pairs[KEY].to_numpy().tolist()
    }
    assert f"0 accepted, {len(pairs)} rejected" in said(app)
    assert app.query_params["image"] not in (str(image_id), [str(image_id)])  # the next image follows the last pair


def test_reviews_of_other_pairs(run, visit):
    save_review(run, Pair(*map(int, run.read("pairs")[KEY].iloc[0])), verdict="rejected")
    run.write("pairs", run.read("pairs").iloc[1:])
    app = visit()
    assert "are of other pairs than stage 2 has now" in said(app)
    assert "Accept" not in [button.label for button in app.button]
    assert len(app.dataframe)  # the page goes on


def test_a_run_that_cannot_be_written(run, monkeypatch, visit):
    app = visit()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Run, "write", refuse)
    press(app, "Accept")
    assert not app.exception
    assert "could not be written" in app.error[0].value
