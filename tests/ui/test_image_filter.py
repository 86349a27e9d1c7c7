"""Only the images with boxes of a selection: the chooser's steps, the gallery, and links to what is not there."""

from __future__ import annotations

import pytest

from orl_explore.runs.selections import save_selection

PAGE = "neighbors"
ROWS = [3, 7, 8]


@pytest.fixture
def ids(run):
    """Ids of the images that hold the boxes of the selection `odd *ones*`."""
    found = run.read("images")["image_id"].to_numpy()[ROWS].tolist()
    regions = run.read("regions")
    save_selection(run, "odd *ones*", regions.loc[regions["image_id"].isin(found), "region_id"].to_numpy())
    return found


def where(app):
    return next(one.value for one in app.caption if one.value.startswith("Image "))


def test_steps_lead_from_one_to_the_next(run, ids, visit):
    app = visit(image=ids[0])
    assert "4 of 24 ·" in where(app)
    app.selectbox(key="only images of").select("odd *ones*").run()
    assert "1 of 3 chosen" in where(app)
    assert app.button(key="choose Previous").disabled
    app.button(key="choose Next").click().run()
    assert f"Image {ids[1]} · 2 of 3 chosen" in where(app)
    app.selectbox(key="only images of").select("").run()
    assert "8 of 24 ·" in where(app)


def test_an_image_that_is_none_of_them_stands_between_two(run, ids, visit):
    other = int(run.read("images")["image_id"].iloc[5])
    app = visit(image=other, only="odd *ones*")
    assert "none of the 3 chosen" in where(app)
    app.button(key="choose Next").click().run()
    assert f"Image {ids[1]} · 2 of 3 chosen" in where(app)
    app = visit(image=other, only="odd *ones*")
    app.button(key="choose Previous").click().run()
    assert f"Image {ids[0]} · 1 of 3 chosen" in where(app)


def test_the_gallery_shows_them_alone(run, ids, visit):
    app = visit(page="data", only="odd *ones*")
    assert [button.key for button in app.button if button.key.startswith("gallery ")] == [f"gallery {n}" for n in ids]
    assert any(text.value == "3 of 24 images" for text in app.text)


def test_a_selection_that_is_not_there(run, ids, visit):
    app = visit(image=ids[0], only="gone")
    assert any("no selection gone" in one.value for one in app.warning)
    assert "4 of 24 ·" in where(app)


def test_without_selections_nobody_is_asked(run, visit):
    assert not [one for one in visit().selectbox if one.key == "only images of"]
