"""The rule of stage 2 in words on the page of pairs, and settings in the address."""

from __future__ import annotations

import numpy as np
import pytest

from orl_explore.judging.verdicts import Rule
from orl_explore.pairs import similarity_matrix
from orl_explore.ui.pair_rule import WHAT_IF

PAGE = "pairs"


def said(app):
    assert not app.exception
    assert not app.error
    return " ".join(element.value for element in app.markdown).replace("\\", "")


def press(app, key):
    (button,) = [button for button in app.button if button.key == key]
    return button.click().run()


def best_pair(run):
    """Image, neighbor and regions of the first image's most similar pair with its nearest neighbor."""
    pairs = run.read("pairs")
    first = pairs[(pairs["image_id"] == pairs["image_id"].iloc[0]) & (pairs["neighbor_rank"] == 0)].iloc[0]
    regions = run.read("regions")
    own, other = (
        regions.loc[regions["image_id"] == first[name], "region_id"].to_numpy() for name in ("image_id", "neighbor_id")
    )
    return first, own, other


def test_an_accepted_pair(run, visit):
    first, own, other = best_pair(run)
    text = said(visit(image=int(first["image_id"])))
    assert f"The 1st of {len(own) * len(other):,} similarities" in text
    assert f"10 % of {len(own)} box" in text


def test_a_pair_that_was_not_accepted(run, visit):
    first, own, other = best_pair(run)
    vectors = run.read_array("region_embeddings")
    similarity = similarity_matrix(np.array(vectors[own]), np.array(vectors[other]))
    row, column = np.unravel_index(similarity.argmin(), similarity.shape)
    app = visit({"pair rule open": True}, image=int(first["image_id"]), pair=f"{own[row]}-{other[column]}")
    text = said(app)
    assert f"The {similarity.size:,}" in text
    assert f"this one {similarity.min():.3f}" in text
    assert "**One to one**: turned on, the pair is still not accepted" in text


def test_a_switch_is_tried(run, visit):
    first, _, _ = best_pair(run)
    app = press(visit({"pair rule open": True}, image=int(first["image_id"])), "pair rule similarity at least")
    least = float(np.ravel(app.query_params["least"])[0])
    assert least == pytest.approx(float(first["similarity"]), abs=0.011)
    (slider,) = [slider for slider in app.slider if slider.key == "what if least"]
    assert slider.value == least
    lost = next(metric for metric in app.metric if metric.label == "Lost")
    assert int(lost.value) >= 1  # this very pair
    app = press(app, "what if stored")
    assert "least" not in app.query_params
    assert next(metric for metric in app.metric if metric.label == "Lost").value == "0"


def test_a_link_carries_settings(run, visit):
    app = visit({"pairs tab": WHAT_IF}, k=2, ratio=0.5, least=0.25, mutual=1, one=1)
    assert {slider.key: slider.value for slider in app.slider} == {
        "what if K": 2,
        "what if ratio": 0.5,
        "what if least": 0.25,
    }
    assert {toggle.key: toggle.value for toggle in app.toggle if toggle.key.startswith("what if")} == {
        "what if mutual": True,
        "what if one": True,
    }
    (slider,) = [slider for slider in app.slider if slider.key == "what if ratio"]
    slider.set_value(0.3).run()
    assert np.ravel(app.query_params["ratio"])[0] == "0.3"
    assert np.ravel(app.query_params["mutual"])[0] == "1"


@pytest.mark.parametrize("link", [{"k": "x"}, {"ratio": "nan"}, {"least": "7"}, {"k": "0"}, {"ratio": "-1"}])
def test_settings_that_make_no_sense(run, visit, link):
    app = visit({"pairs tab": WHAT_IF}, **link)
    assert not app.exception
    assert not app.error
    assert app.metric


def test_embeddings_that_say_something_else(run, visit):
    """Embeddings made anew after pairs were mined, or settings changed."""
    first, _, _ = best_pair(run)
    pairs = run.read("pairs")
    own = (pairs["image_id"] == first["image_id"]) & (pairs["neighbor_id"] == first["neighbor_id"])
    run.write("pairs", pairs[~own])
    link = {"image": int(first["image_id"]), "pair": f"{first['query_region']:.0f}-{first['key_region']:.0f}"}
    text = said(visit(**link))
    assert "**Not accepted by stage 2**" in text
    assert "it would be accepted: the 1st of" in text


def test_no_embeddings(run, visit):
    run.file("region_embeddings").unlink()
    text = said(visit())
    assert "similarity unknown" in text or "accepted by stage 2" in text
    assert "similarities;" not in text


def test_defaults_are_the_papers():
    assert Rule().pairing() == {"ratio": 0.1, "mutual": False, "one_to_one": False, "min_similarity": None}
