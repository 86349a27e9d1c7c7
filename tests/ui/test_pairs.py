"""The page of pairs: what it shows in every state of a run."""

from __future__ import annotations

import numpy as np
import pytest

from orl_explore.pairs import similarity_matrix

PAGE = "pairs"
WHAT_IF = {"pairs tab": "What if stage 2 had other settings?"}


def said(app):
    assert not app.exception
    assert not app.error
    return " ".join(
        element.value for kind in (app.markdown, app.caption, app.text, app.info, app.warning) for element in kind
    )


def pairs_of(run, image_id):
    pairs = run.read("pairs", image_id=image_id)
    return pairs.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)


def test_finished(run, visit):
    image_id = int(run.read("images")["image_id"].iloc[3])
    app, pairs = visit(image=image_id), pairs_of(run, image_id)
    assert "4 of 24" in said(app)
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
    text = said(visit(**link))
    assert f"**Pair {number}**, accepted by stage 2: similarity {last['similarity']:.3f}" in text
    assert "The 1st of" in text


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
    assert "it would be accepted: the 1st of" in said(app).replace("\\", "")


def test_an_image_without_neighbors(run, visit):
    neighbors, pairs = run.read("neighbors"), run.read("pairs")
    image_id = int(pairs["image_id"].iloc[0])
    run.write("pairs", pairs[pairs["image_id"] != image_id])
    run.write("neighbors", neighbors[neighbors["image_id"] != image_id])
    app = visit(image=image_id)
    assert "without a neighbor" in said(app)
    (following,) = [button for button in app.button if button.key == "choose Next"]
    following.click().run()
    assert "2 of 24" in said(app)
