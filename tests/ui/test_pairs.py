"""The page of pairs: what it shows in every state of a run, and that a verdict stays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from orl_explore.figures import pairs as figures
from orl_explore.judging.diagnostics import region_categories, same_category
from orl_explore.pairs import compare_pairs, pair_image, region_slices, similarity_matrix
from orl_explore.runs.reviews import KEY, Pair, read_reviews, save_review
from orl_explore.runs.run import Run

PAGE = "pairs"
WHAT_IF = {"pairs tab": "What if stage 2 had other settings?"}


def said(app):
    assert not app.exception
    assert not app.error
    return " ".join(element.value for kind in (app.markdown, app.text, app.info, app.warning) for element in kind)


def query(app, key):
    value = app.query_params[key]
    return value[0] if isinstance(value, list) else value


def press(app, label):
    (button,) = [button for button in app.button if button.label == label]
    return button.click().run()


def pairs_of(run, image_id):
    pairs = run.read("pairs", image_id=image_id)
    return pairs.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)


def test_finished(run, visit):
    image_id = int(run.read("images")["image_id"].iloc[3])
    app, pairs = visit(image=image_id), pairs_of(run, image_id)
    assert "Image 4 of 24" in said(app)
    assert f"0 of {len(pairs)} pairs of this image reviewed" in said(app)
    table = app.dataframe[0].value
    assert table["pair"].tolist() == list(range(1, len(pairs) + 1))
    np.testing.assert_allclose(table["similarity"], pairs["similarity"])
    assert table["neighbor rank"].tolist() == (pairs["neighbor_rank"] + 1).tolist()
    assert table["image"].str.startswith("data:image/jpeg;base64,").all()
    assert not app.metric  # only the tab in front is worked out
    tiles = visit(WHAT_IF, image=image_id).metric
    assert [tile.value for tile in tiles[:3]] == [str(len(pairs)), "0", "0"]  # the run's settings change nothing


def test_a_link_to_a_pair(run, visit):
    pairs = pairs_of(run, int(run.read("images")["image_id"].iloc[0]))
    last = pairs[pairs["neighbor_rank"] == 2].iloc[0]
    link = {"image": int(last["image_id"]), "rank": 3, "pair": f"{last['query_region']:.0f}-{last['key_region']:.0f}"}
    number = int(pairs.index[pairs["neighbor_rank"] == 2][0]) + 1
    assert f"**Pair {number}**, accepted by stage 2: similarity {last['similarity']:.3f}, place 1" in said(
        visit(**link)
    )


@pytest.mark.parametrize(
    "link", [{"pair": "0-0"}, {"pair": "<b>"}, {"pair": "1-99999999"}, {"rank": 77}, {"rank": "x"}]
)
def test_a_broken_link_shows_the_best_pair(run, link, visit):
    assert "accepted by stage 2" in said(visit(**link))


def test_boxes_that_were_not_paired(run, visit):
    pairs, regions = run.read("pairs"), run.read("regions")
    first = pairs.iloc[0]
    own = regions.loc[regions["image_id"] == first["image_id"], "region_id"].tolist()
    other = regions.loc[regions["image_id"] == first["neighbor_id"], "region_id"].tolist()
    vectors = run.read_array("region_embeddings")
    similarity = similarity_matrix(np.array(vectors[own]), np.array(vectors[other]))
    row, column = np.unravel_index(similarity.argmin(), similarity.shape)
    app = visit(image=int(first["image_id"]), pair=f"{own[row]}-{other[column]}")
    assert f"**Not accepted by stage 2**: similarity {similarity.min():.3f}" in said(app)
    press(app, "Accept")
    (review,) = read_reviews(run).to_dict("records")
    assert (review["query_region"], review["key_region"]) == (own[row], other[column])


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
    assert f"{len(pairs)} of {len(pairs)} pairs of this image reviewed" in said(app)


def test_what_if(run, visit):
    image_id = int(run.read("images")["image_id"].iloc[2])
    app, stored = visit(WHAT_IF, image=image_id), pairs_of(run, image_id)
    app.slider(key="what if ratio").set_value(0.5)
    app.toggle(key="what if mutual").set_value(True)
    app.slider(key="what if K 3").set_value(2).run()
    other = pair_image(
        image_id,
        run.read("neighbors", image_id=image_id).head(2),
        region_slices(run.read("regions")["image_id"]),
        run.read_array("region_embeddings"),
        ratio=0.5,
        mutual=True,
    )
    gained, lost = compare_pairs(stored, other)
    assert [metric.value for metric in app.metric[:3]] == [str(len(other)), str(len(gained)), str(len(lost))]
    categories = region_categories(run.read("regions"), run.read("objects"))
    share = same_category(other, categories)
    assert app.metric[3].value == ("-" if np.isnan(share) else f"{share:.0%}")
    assert "could not be drawn" not in said(app)
    near, changes = run.read("neighbors", image_id=image_id)["neighbor_id"], pd.concat([gained, lost])["neighbor_id"]
    (shown,) = [box for box in app.selectbox if box.label == "Changes with"]
    assert len(shown.options) == changes.nunique()
    first = near[near.isin(changes)].iloc[0]
    counts = [f"{(rows['neighbor_id'] == first).sum()} {name}" for name, rows in (("gained", gained), ("lost", lost))]
    assert shown.options[0] == f"neighbor {near.tolist().index(first) + 1}: {', '.join(counts)}"


def test_stage2_missing(run, visit):
    run.clear("stage2")
    assert "is not there yet: run" in said(visit()).replace("\\", "")


def test_no_labels(run, visit):
    run.write("objects", run.read("objects").iloc[:0])
    app = visit()
    assert "on" not in app.dataframe[0].value
    assert "unlabeled" not in said(app)
    assert visit(WHAT_IF).metric[3].value == "-"


def test_an_image_without_pairs(run, visit):
    pairs = run.read("pairs")
    image_id = int(pairs["image_id"].iloc[0])
    run.write("pairs", pairs[pairs["image_id"] != image_id])
    app = visit(image=image_id)
    assert "accepted no pair of this image" in said(app)
    assert "**Not accepted by stage 2**" in said(app)
    assert "place 1 of" in said(app)
    press(app, "Accept")
    assert len(read_reviews(run)) == 1


def test_an_image_without_neighbors(run, visit):
    neighbors, pairs = run.read("neighbors"), run.read("pairs")
    image_id = int(pairs["image_id"].iloc[0])
    run.write("pairs", pairs[pairs["image_id"] != image_id])
    run.write("neighbors", neighbors[neighbors["image_id"] != image_id])
    app = visit(image=image_id)
    assert "without a neighbor" in said(app)
    (following,) = [button for button in app.button if button.key == "next image"]
    following.click().run()
    assert "Image 2 of 24" in said(app)


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


# ---- figures -------------------------------------------------------------------------------------------------------


def test_matrix():
    similarity = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    figure = figures.matrix(similarity, [10, 11], [20, 21, 22], [figures.Link(1, 1, 2, 0.6)], chosen=(0, 1))
    heat, cells = figure.data
    np.testing.assert_array_equal(heat.z, similarity)
    at = dict(zip(zip(cells.x, cells.y, strict=True), cells.customdata, strict=True))
    assert at[3, 2].tolist() == [11, 22, 0.6]  # column 3, row 2
    assert at[1, 1].tolist() == [10, 20, 0.1]
    (mark,) = figure.layout.annotations
    assert (mark.x, mark.y, mark.text) == (3, 2, "<b>1</b>")
    frame = figure.layout.shapes[-1]
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (1.5, 2.5, 0.5, 1.5)


def test_joined():
    left = figures.Picture(b"", (200, 100), "<i>a</i> & b")
    right = figures.Picture(b"", (50, 100), "c")
    boxes = np.array([[0, 0, 100, 100], [100, 0, 100, 100]])
    links = [figures.Link(1, 1, 0, 0.9, strong=True), figures.Link(2, 1, 1, 0.8, dashed=True)]
    figure = figures.joined(left, right, boxes, boxes // (2, 1, 2, 1), links)
    texts = [annotation.text for annotation in figure.layout.annotations]
    assert texts == ["&lt;i&gt;a&lt;/i&gt; &amp; b", "c", "<b>1 2</b>", "<b>1</b>", "<b>2</b>"]
    lines = [trace for trace in figure.data if trace.hovertemplate and len(trace.x) == 2]
    # Pair 2 first, the strong one on top; both begin at the right edge of box 1 of a picture one wide, half as high.
    assert [line.x[0] for line in lines] == [1, 1]
    assert [line.y[0] for line in lines] == [0.5, 0.5]
    assert lines[0].x[1] == pytest.approx(1 + figures.GAP + 0.25 + 0.5)
    assert [line.line.dash for line in lines] == ["dot", "solid"]
    assert len(figures.joined(left, right, boxes, boxes, [], all_boxes=True).data) == 2


def test_changes_are_drawn_without_numbers_and_the_gained_on_top():
    picture, boxes = figures.Picture(b"", (100, 100), ""), np.array([[0, 0, 10, 10], [20, 0, 10, 10]])
    links = [figures.Link(None, 0, row, 0.5, change=name) for row, name in ((0, "gained"), (1, "lost"), (1, "kept"))]
    figure = figures.joined(picture, picture, boxes, boxes, links)
    lines = [trace for trace in figure.data if len(trace.x) == 2]
    assert [line.hovertemplate.partition("<br>")[0] for line in lines] == ["kept", "lost", "gained"]
    assert [(line.line.color, line.line.dash, line.line.width) for line in lines] == list(figures.CHANGES.values())
    assert [note.text for note in figure.layout.annotations] == ["", ""]  # the titles alone


def test_colors_can_be_told_apart():
    assert len({figures.color(number) for number in range(1, 8)}) == 7
    assert figures.GRAY not in {figures.color(number) for number in range(1, 50)}
    assert figures.letters(figures.color(7)) == "#111111"


def test_crop_uris():
    assert len(figures.crop_uris(Image.new("RGB", (90, 60)), np.array([[0, 0, 90, 60], [10, 10, 1, 50]]))) == 2


def test_same_category():
    categories = pd.Series(["cup", "cup", "key", None], index=[0, 1, 2, 3])
    pairs = pd.DataFrame({"query_region": [0, 0, 3, 3], "key_region": [1, 2, 0, 3]})
    assert same_category(pairs, categories) == 0.5
    assert np.isnan(same_category(pairs.iloc[2:], categories))
