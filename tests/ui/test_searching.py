"""Search with a picture, on every page: what is found, what cannot be searched, and what goes when a picture comes."""

from __future__ import annotations

import json

import pytest

from orl_explore.runs.run import Run
from orl_explore.ui import searching, state
from orl_explore.ui.shell import PAGES

OPEN = {"search by picture": True}


def buttons(app):
    return {button.key: button for button in app.button}


@pytest.mark.parametrize("page", [page.name for page in PAGES if not page.of_all])
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
