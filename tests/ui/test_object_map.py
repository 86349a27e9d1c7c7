"""The object map in the app: encoders, colors, layouts, the address, and what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from flat_maps import flat_layout
from orl_explore.maps import object_map
from orl_explore.runs.reviews import Pair, save_review
from orl_explore.ui import map_job, point_map
from orl_explore.ui import object_map as page
from training.embed_regions import embed_regions_by

PAGE = "object_map"


@pytest.fixture
def run(run, monkeypatch):
    """A finished run with a map that UMAP had no part in."""
    monkeypatch.setattr(object_map, "umap_layout", flat_layout)
    object_map.make_object_map(run)
    return run


@pytest.fixture
def embedded(run, tiny):
    """The run with maps of 60 regions by three encoders."""
    embed_regions_by(run, tiny, limit=60)
    object_map.make_object_maps(run, ["untrained", "stage1", "stage3"])
    return run


@pytest.fixture
def drawn(monkeypatch):
    """What the map's component is given."""
    calls = []
    monkeypatch.setattr(point_map, "show", lambda data, *, key: calls.append(data))
    return calls


def box(app, run, name):
    return app.selectbox(key=f"object map {name} {run.path}")


def title(app):
    return next(text.value for text in app.markdown if text.value.startswith("**The objects"))


def test_the_map_of_what_stage_2_mined_with(run, visit, drawn):
    app = visit()
    assert not app.warning, [box.value for box in app.warning]
    assert "what stage 2 mined with" in title(app)
    assert f"{len(run.read('regions')):,} regions, UMAP" in title(app)
    assert drawn[-1]["mode"] == "one"
    assert sum(drawn[-1]["counts"]) == len(run.read("regions"))


def test_the_best_encoder_comes_first_and_another_is_chosen(embedded, visit, drawn):
    app = visit()
    assert "as seen by stage 3" in title(app)
    assert "a random sample of 60 of" in title(app)
    assert box(app, embedded, "encoder").options == [
        *("the untrained network", "stage 1", "stage 3", "what stage 2 mined with")
    ]
    box(app, embedded, "encoder").set_value("stage1").run()
    assert "as seen by stage 1" in title(app)
    assert "".join(app.query_params["encoder"]) == "stage1"
    assert drawn[-1]["views"][0]["name"] == "stage 1"


@pytest.mark.parametrize("view", ["beside", "slide"])
def test_two_encoders(embedded, visit, drawn, view):
    app = visit(encoder="stage1", versus="stage3", view=view, color="shared")
    assert "as seen by stage 1 and by stage 3" in title(app)
    assert [view["name"] for view in drawn[-1]["views"]] == ["stage 1", "stage 3"]
    assert drawn[-1]["mode"] == view
    assert drawn[-1]["title"] == page.COLORS["shared"]
    app = visit(encoder="stage1", versus="mined")  # of what both have
    assert sum(drawn[-1]["counts"]) == 60


@pytest.mark.parametrize("color", [name for name in page.COLORS if name != "shared"])
def test_every_color_with_a_chosen_region(run, visit, drawn, color):
    first = run.read("pairs").iloc[0]
    pair = Pair(*(int(first[name]) for name in ("image_id", "neighbor_id", "query_region", "key_region")))
    save_review(run, pair, verdict="accepted", note="#seen")
    app = visit(color=color, region=3)
    assert not app.warning, [box.value for box in app.warning]
    assert drawn[-1]["title"]
    assert ("scale" in drawn[-1]) == (color in ("similarity", "size", "rank", "kept"))
    assert any(text.value.startswith("**Region 3**") for text in app.markdown)


def test_similarity_needs_a_region(run, visit, drawn):
    assert any("Click the region to compare with" in text.value for text in visit(color="similarity").caption)
    assert "scale" not in drawn[-1]


def test_a_column_that_the_regions_have_besides(run, visit, drawn):
    regions = run.read("regions")
    run.write("regions", regions.assign(tag=np.where(regions["region_id"] % 2, "odd", "even")))
    visit(color="tag")
    assert drawn[-1]["names"] == ["even", "odd"]


def test_components_at_once_while_there_is_no_map(run, visit, drawn, monkeypatch):
    run.file("object_map").unlink()
    started = []
    monkeypatch.setattr(map_job, "start", lambda *arguments: started.append(arguments))
    app = visit()
    assert "the first two principal components are shown" in app.info[0].value
    assert "first two principal components" in title(app)
    assert sum(drawn[-1]["counts"]) == len(run.read("regions"))
    next(button for button in app.button if button.label == "Make the map").click().run()
    assert started[0][1:] == ("mined", object_map.MapSettings())


def test_a_map_that_is_being_made_says_how_far_it_is(run, visit, monkeypatch):
    run.file("object_map").unlink()
    job = map_job.Job(percent=40, began=0.0)
    monkeypatch.setattr(map_job, "current", lambda run, encoder: job)
    assert not visit().info
    job.error, job.done = "no room: make some", True
    assert "no room" in visit().warning[0].value


def test_other_settings_make_it_anew(run, visit, monkeypatch):
    started = []
    monkeypatch.setattr(map_job, "start", lambda *arguments: started.append(arguments))
    app = visit()
    next(button for button in app.button if button.label == "Compute the map").click().run()
    assert started[0][1:] == ("mined", object_map.MapSettings())


def test_principal_components_instead(run, visit, drawn):
    app = visit(layout="pca")
    assert "first two principal components" in title(app)
    assert not app.info


def test_without_labels(run, visit, drawn):
    run.write("objects", run.read("objects")[:0])
    app = visit()
    assert "category" not in box(app, run, "color").options
    assert not app.warning, [box.value for box in app.warning]
    assert "labels" not in drawn[-1]


def test_what_is_typed_wrong_in_the_address(embedded, visit):
    app = visit(encoder="resnet", versus="?", color="taste", region="x", selected="!!")
    assert "as seen by stage 3" in title(app)
    said = " ".join(box.value for box in app.warning)
    assert all(word in said for word in ("resnet", "taste", "region x"))


def test_stage_2_missing(run, visit):
    run.clear("stage2")
    assert "orl stage2" in visit().warning[0].value


def test_the_line_of_the_image_is_there_while_the_map_is_colored_by_it(run, visit):
    def line(app):
        return [text.value for text in app.caption if text.value.startswith("Image ")]

    app = visit(color="size")
    assert not line(app)
    assert not [button for button in app.button if button.label == "Next image"]
    app = visit(color="image", region=30)
    app.number_input(key=f"object map region {run.path}").set_value(31).run()
    owner = run.read("regions")["image_id"].iloc[31]
    assert line(app)[0].startswith(f"Image {owner} ")
    app = visit(color="size")
    other = int(run.images().table["image_id"].iloc[5])
    app.text_input(key="find image").input(str(other)).run()  # shown on the map
    assert line(app)[0].startswith(f"Image {other} ")
    assert np.ravel(app.query_params["color"])[0] == "image"
