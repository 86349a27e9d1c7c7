"""Boxes kept under a name: from a lasso on the map, from a search, and what is said where that cannot be."""

from __future__ import annotations

import numpy as np
from streamlit.testing.v1 import AppTest

from orl_explore.runs.selections import read_selections, regions_hash, selected


def part(run, boxes, of):
    from orl_explore.runs.run import Run
    from orl_explore.ui import keeping

    keeping.keep_as(Run(run), lambda: boxes, of=of, origin="a test", key="k")


def keep(app, name, key="k"):
    app.text_input(key=f"{key} name").input(name)
    (button,) = [button for button in app.button if button.label == "Keep"]
    return button.click().run()


def test_boxes_are_kept(run):
    app = keep(AppTest.from_function(part, args=(str(run.path), [3, 1, 3], regions_hash(run))).run(), " my  boxes ")
    assert "2 boxes are kept as my boxes" in app.success[0].value
    assert app.text_input(key="k name").value == ""
    assert selected(run, "my boxes").tolist() == [1, 3]
    assert read_selections(run)["origin"].tolist() == ["a test"]
    assert not keep(app, "").success
    assert "is no name" in app.warning[0].value
    assert not AppTest.from_function(part, args=(str(run.path), [], "")).run().success


def test_from_the_map(run, visit):
    app = visit(page="object_map", selected="3.4.2", layout="pca")
    keep(app, "drawn", "object map keep")
    assert selected(run, "drawn").tolist() == [3, 7, 9]
    assert read_selections(run)["origin"].tolist() == ["drawn on the map of what stage 2 mined with"]
    assert "selection: drawn" in app.selectbox(key=f"object map color {run.path}").options


def test_from_a_search(run, visit):
    app = visit({"search by picture": True}, page="proposals")
    keep(app, "found", "search keep")
    assert len(selected(run, "found")) == 12
    assert read_selections(run)["origin"].str.startswith("most similar to image ").all()
    assert np.isin(selected(run, "found"), run.read("regions")["region_id"]).all()
