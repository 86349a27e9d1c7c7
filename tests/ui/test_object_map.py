"""The object map in the app: with and without a map, a chosen region, a selection, no labels, no stage 2."""

from __future__ import annotations

import numpy as np
import pytest

from flat_maps import flat_layout
from orl_explore.errors import OrlError
from orl_explore.maps import object_map, similar_regions
from orl_explore.runs.tables import TABLES
from orl_explore.ui import map_mouse, state
from orl_explore.ui import object_map as page

PAGE = "object_map"


@pytest.fixture
def run(run, monkeypatch):
    """A finished run with a map that UMAP had no part in."""
    monkeypatch.setattr(object_map, "umap_layout", flat_layout)
    object_map.make_object_map(run)
    return run


def chosen(app):
    return [box.value for box in app.markdown if box.value.startswith("**Region")]


def test_the_map_of_a_finished_run(run, visit):
    app = visit()
    assert not app.warning
    assert f"{len(run.read('regions')):,} regions" in app.caption[2].value
    assert not chosen(app)


@pytest.mark.parametrize("color", page.COLORS)
def test_every_color_with_a_chosen_region(run, color, visit):
    app = visit()
    app.selectbox(key="object map color").set_value(color).run()
    app.number_input(key=f"object map region {run.path}").set_value(3).run()
    assert not app.exception
    assert not app.error
    assert chosen(app)[0].startswith("**Region 3**")
    expected = similar_regions.most_similar(run.read_array("region_embeddings"), 3, count=page.SIMILAR)
    shown = [app.button(key=f"object map similar {n}").label for n in range(len(expected))]
    assert shown == [f"{value:.3f}" for value in expected["similarity"]]


def test_a_button_leads_to_the_pairs_of_the_image(run, visit):
    app = visit()
    app.number_input(key=f"object map region {run.path}").set_value(0).run()
    best = int(similar_regions.most_similar(run.read_array("region_embeddings"), 0, count=1)["region_id"].iloc[0])
    app.button(key="object map similar 0").click().run()
    assert app.title[0].value == "RoI pairs"
    assert "".join(app.query_params["image"]) == str(run.read("regions")["image_id"].iloc[best])


def test_a_selection_is_listed_and_exported(run, visit):
    app = visit({f"object map picked {run.path}": list(range(35))})
    assert any(box.value == "Selection: 35 regions" for box in app.subheader)
    assert sum(box.value.split()[0].isdecimal() and int(box.value.split()[0]) < 35 for box in app.caption) >= 30


def test_what_a_lasso_holds_is_remembered(run, monkeypatch):
    chart, picked = (page._key(run, name) for name in ("chart", "picked"))
    held = {}
    monkeypatch.setattr(page.st, "session_state", held)
    points = [{"customdata": {"0": 4, "1": 9}}, {"customdata": [5]}, {}]
    held[chart] = {"selection": {"points": points, "box": [], "lasso": [{"x": [0]}]}}
    page._select(run)
    assert held[picked] == [4, 5]
    held[chart] = {"selection": {"points": [], "box": [], "lasso": []}}  # the lasso was taken away; its crops stay
    page._select(run)
    assert held[picked] == [4, 5]


def test_an_image_that_is_gone(run, visit, monkeypatch, request):
    """Its regions have no crop, which is said; the next click is heard all the same."""
    calls = []
    monkeypatch.setattr(map_mouse, "_mouse", lambda **arguments: calls.append(arguments))
    regions = run.read("regions")
    path = state.images(run).path(state.row_of(run, int(regions["image_id"].iloc[5])))
    away = path.rename(path.with_suffix(".away"))
    request.addfinalizer(lambda: away.rename(path))  # other tests see the same images
    app = visit()
    app.number_input(key=f"object map region {run.path}").set_value(5).run()
    assert len(app.warning) == 1
    assert "no such file" in app.warning[0].value
    assert calls[-1]["data"]["chosen"] is not None
    monkeypatch.setattr(map_mouse.st, "session_state", {calls[-1]["key"]: {"region": 5}})
    with pytest.raises(OrlError, match="no such file"):
        map_mouse.listen(run, regions, None, lambda region: None)
    assert calls[-1]["data"] == {"under": None, "chosen": None, "clicks": 0}


def test_a_choice_leads_to_its_image_and_its_point(run, visit):
    regions, points = run.read("regions"), run.read("object_map")
    app = visit()
    app.number_input(key=f"object map region {run.path}").set_value(7).run()
    assert "".join(app.query_params["image"]) == str(regions["image_id"].iloc[7])
    row = points[points["region_id"] == 7].iloc[0]
    assert page._place(points, 7) == pytest.approx((row["x"], row["y"]))
    assert page._place(points.drop(row.name), 7) is None  # not in the sample that is drawn
    assert page._place(points, None) is None


def test_without_labels(run, visit):
    objects = run.read("objects")
    run.write("objects", objects[:0])
    app = visit()
    assert "label" not in app.selectbox(key="object map color").options
    assert not app.warning


def test_without_a_map_it_can_be_made_here(run, visit):
    run.file("object_map").unlink()
    app = visit()
    assert f"`orl map {run.path}`" in app.info[0].value
    next(button for button in app.button if button.label == "Compute the map").click().run()
    assert not app.exception
    assert run.file("object_map").exists()
    assert not app.info


def test_a_stale_map_says_so(run, visit):
    run.note("stage2", outputs={"region_embeddings": "other"})
    app = visit()
    assert "other region embeddings" in app.info[0].value


def test_more_regions_than_drawn(run, visit):
    object_map.make_object_map(run, object_map.MapSettings(limit=20))
    regions = len(run.read("regions"))
    assert f"A random sample of 20 of all {regions:,} regions" in visit().caption[2].value
    assert run.read("object_map").columns.tolist() == [*TABLES["object_map"].columns, "pca_x", "pca_y", "kept"]
    assert np.isfinite(run.read("object_map")["x"]).all()


def test_stage_2_missing(run, visit):
    run.clear("stage2")
    assert "orl stage2" in visit().warning[0].value
