"""The tab "Why are these two alike?", in every state of a run."""

from __future__ import annotations

import pytest

from orl_explore.judging import alike
from orl_explore.ui import pair_alike, pair_places

PAGE = "pairs"
ALIKE = {"pairs tab": pair_alike.TITLE}


@pytest.fixture(autouse=True)
def small_maps(monkeypatch):
    """Crops are enlarged to few cells: a test is no place to wait."""
    monkeypatch.setattr(alike.region_maps, "__kwdefaults__", alike.region_maps.__kwdefaults__ | {"cells": 2})


@pytest.fixture
def drawn(monkeypatch):
    """What the browser would be asked to draw, last of all."""
    found = {}
    monkeypatch.setattr(pair_places, "_places", lambda **options: found.update(options["data"]))
    return found


def said(app):
    assert not app.exception
    assert not app.error
    return " ".join(element.value for kind in (app.markdown, app.caption, app.warning) for element in kind)


def test_the_boxes_of_the_pair(run, visit, drawn):
    image_id = int(run.read("images")["image_id"].iloc[3])
    pairs = run.read("pairs", image_id=image_id).sort_values("similarity", ascending=False, kind="stable")
    app = visit(ALIKE, image=image_id)
    assert "Move the mouse over a crop" in said(app)
    best = pairs[pairs["neighbor_rank"] == 0].iloc[0]
    assert [field.value for field in app.number_input] == [best["query_region"], best["key_region"]]
    titles = [encoder["title"] for encoder in drawn["encoders"]]
    assert titles == ["untrained, where stage 1 starts", "stage 1, images", "stage 3, objects"]
    mined = drawn["encoders"][1]["facts"]
    assert f"{best['similarity']:.2f}" in mined  # stored in half precision
    assert drawn["place"]["crop"] == "a"


def test_any_two_boxes_by_the_address(run, visit, drawn):
    regions = run.read("regions")
    first, last = int(regions["region_id"].iloc[0]), int(regions["region_id"].iloc[-1])
    app = visit(boxes=f"{last}-{first}", place="b,0.10,0.90")
    assert [field.value for field in app.number_input] == [last, first]
    assert drawn["place"] == {"crop": "b", "x": 0.1, "y": 0.9}
    width, height = regions.loc[regions["region_id"] == last, ["w", "h"]].iloc[0]
    assert drawn["crops"]["a"]["width"] / drawn["crops"]["a"]["height"] == pytest.approx(width / height, rel=0.05)
    app.number_input[0].set_value(first).run()
    assert app.query_params["boxes"] in (f"{first}-{first}", [f"{first}-{first}"])
    assert "cosine 1.000" in drawn["encoders"][0]["facts"]
    (back,) = [button for button in app.button if button.label == "Back to the pair"]
    back.click().run()
    assert "boxes" not in app.query_params


@pytest.mark.parametrize("boxes", ["0-99999999", "x", "1"])
def test_a_link_to_boxes_that_are_not_there(run, visit, drawn, boxes):
    app = visit(boxes=boxes)
    assert "This run has no two boxes" in said(app)
    assert drawn["encoders"]


@pytest.mark.slow
def test_other_encoders_and_views(run, visit, drawn):
    app = visit(ALIKE)
    (choice,) = app.multiselect
    choice.set_value(["embedded", "stage1"]).run()
    assert [encoder["title"] for encoder in drawn["encoders"]] == ["stage 1, images", "embedded, supervised (ImageNet)"]
    visit(ALIKE | {"alike view": "shares"})
    assert drawn["view"] == "shares"


def test_no_encoder_chosen(run, visit):
    app = visit(ALIKE)
    app.multiselect[0].set_value([]).run()
    assert "Choose an encoder" in " ".join(info.value for info in app.info)
