"""Search with a picture, on every page: what is found, what cannot be searched, and what goes when a picture comes."""

from __future__ import annotations

import json
import shutil

import pytest

from orl_explore.runs.run import Run
from orl_explore.ui import searching, state
from orl_explore.ui.shell import PAGES

OPEN = {"search by picture": True}


def buttons(app):
    return {button.key: button for button in app.button}


@pytest.mark.parametrize("page", [page.name for page in PAGES])
def test_every_page_has_the_field_and_the_button(runs, page, visit):
    app = visit(page=page)
    assert app.text_input(key="find image")
    app.button(key="search open").click().run()
    assert not app.error
    assert app.session_state["search by picture"]
    assert [box for box in app.get("button_group") if box.key == "search with"]


def test_the_image_looked_at_finds_itself(runs, visit):
    run = Run(runs / "one")
    image_id = int(run.read("images")["image_id"].iloc[4])
    app = visit(OPEN, page="proposals", image=image_id)
    found = buttons(app)
    assert found["search image 0"].label == "1.000"
    assert f"image {image_id}" in found["search image 0"].help
    assert len([key for key in found if key.startswith("search box")]) == searching.REGIONS
    found["search image 1"].click().run()
    assert not app.session_state["search by picture"]
    assert app.query_params["image"] not in (str(image_id), [str(image_id)])


@pytest.mark.parametrize(
    ("page", "title"),
    [
        *(("proposals", "Proposals"), ("pairs", "RoI pairs"), ("object_map", "Object map"), ("compare", "Compare")),
        *(("overview", "Proposals"), ("runs", "Proposals"), ("all_pairs", "All pairs")),
    ],
)
def test_a_box_that_was_found_is_looked_at(runs, visit, page, title):
    """On the page where it was searched for, if that can show a box; else where boxes are."""
    app = visit(OPEN | {"search with": searching.OWN, "search pasted": picture_of(runs)}, page=page)
    found = buttons(app)["search box 1"]
    found.click().run()
    assert not app.exception
    assert app.title[0].value == title
    region = int(app.session_state["address"]["region"])  # of the pages that show one
    owner = Run(runs / "one").read("regions")["image_id"].iloc[region]
    assert "".join(app.query_params["image"]) == str(owner)
    if page == "all_pairs":
        assert "".join(app.query_params["pairs"]) == f"box={region}"
    if title == "Proposals":
        assert "the chosen region" in str(app.get("plotly_chart")[0].proto)


def picture_of(runs):
    return Run(runs / "one").images().path(3).read_bytes()


def test_from_all_runs_it_searches_in_the_run_that_is_chosen(runs, visit):
    shutil.copytree(runs / "one", runs / "two")
    app = visit(page="runs")
    app.selectbox(key="run").set_value("one").run()
    image_id = int(Run(runs / "one").read("images")["image_id"].iloc[4])
    app.text_input(key="find image").input(str(image_id)).run()
    assert app.title[0].value == "Neighbors"
    assert "".join(app.query_params["run"]) == "one"
    assert "".join(app.query_params["image"]) == str(image_id)


def test_a_picture_that_was_pasted(runs, visit):
    run = Run(runs / "one")
    data = run.images().path(3).read_bytes()
    state_of_page = OPEN | {"search with": searching.OWN, "search pasted": data}
    app = visit(state_of_page, page="overview")
    assert buttons(app)["search image 0"].label == "1.000"
    buttons(app)["search image 0"].click().run()
    assert app.title[0].value == "Neighbors"  # the overview looks at no image
    broken = visit(OPEN | {"search with": searching.OWN, "search pasted": b"<html>"}, page="overview")
    assert any("not an image" in box.value for box in broken.warning)
    assert "search image 0" not in buttons(broken)


def test_without_embeddings_it_says_so(runs, visit):
    run = Run(runs / "one")
    run.file("region_embeddings").unlink()
    app = visit(OPEN, page="neighbors")
    assert any("is gone" in box.value for box in app.warning)
    assert "search image 0" in buttons(app)


def test_thumbnails_of_missing_files_say_so(runs, tmp_path, visit):
    run = Run(runs / "one")
    manifest = run.manifest()
    manifest["images"]["roots"] = [str(tmp_path / "gone")]
    (run.path / "run.json").write_text(json.dumps(manifest))
    state._jpeg.clear()
    state._images.clear()
    assert any("put it back" in box.value for box in visit(page="neighbors").text)
    assert any("put it back" in box.value for box in visit(OPEN, page="neighbors").warning)
