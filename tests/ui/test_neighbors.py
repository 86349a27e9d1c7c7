"""The neighbors page: looked at in every state, and a picture of one's own among the run's."""

from __future__ import annotations

import pytest

from orl_explore.runs.run import Run

PAGE = "neighbors"


def button(app, key):
    return next(item for item in app.button if item.key == key)


# ---- the page ------------------------------------------------------------------------------------------------------


def test_neighbors_in_order_and_a_walk(runs, finished, visit):
    image_id = int(finished.images().table["image_id"].iloc[4])
    own = finished.read("neighbors", image_id=image_id).sort_values("rank")
    app = visit(image=str(image_id))
    assert not app.warning
    shown = [box.value for box in app.markdown if "no." in box.value]
    assert shown == [f"**{s:.3f}** :gray[no. {rank + 1}]" for rank, s in enumerate(own["similarity"])]

    button(app, "walk 1").click()
    app.run()
    assert app.query_params["image"] == str(own["neighbor_id"].iloc[1])
    assert any(f"Image {own['neighbor_id'].iloc[1]}" in box.value for box in app.caption)


def test_signs_tell_what_is_shared(runs, finished, visit):
    images = finished.images()
    image_id = int(images.table["image_id"].iloc[0])
    contexts = images.table.set_index("image_id")["context"]
    near = finished.read("neighbors", image_id=image_id)["neighbor_id"]
    app = visit(image=str(image_id))
    captions = [box.value for box in app.caption]
    assert sum("check_circle" in text for text in captions) == (contexts[near] == contexts[image_id]).sum()
    assert sum("cancel" in text for text in captions) == (contexts[near] != contexts[image_id]).sum()


def test_the_search_finds_by_id_and_by_name(runs, finished, visit):
    table = finished.images().table
    app = visit()
    app.text_input(key="find image").input(str(table["image_id"].iloc[7]))
    app.run()
    assert app.query_params["image"] == str(table["image_id"].iloc[7])
    app.text_input(key="find image").input("jpg")  # all of them: the gallery opens
    app.run()
    assert not app.exception
    assert button(app, f"gallery {table['image_id'].iloc[3]}")
    app.text_input(key="find image").input("<b>nothing")
    app.run()
    assert any("No image has" in box.value for box in app.text)


def test_a_page_of_the_gallery_and_a_pick(runs, finished, visit):
    table = finished.images().table
    app = visit()
    app.session_state["gallery open"] = True
    app.run()
    button(app, f"gallery {table['image_id'].iloc[9]}").click()
    app.run()
    assert not app.exception
    assert app.query_params["image"] == str(table["image_id"].iloc[9])
    assert app.session_state["gallery open"] is False


@pytest.mark.parametrize("tab", ["Hubs", "Near-duplicates"])
def test_the_other_tabs(runs, tab, visit):
    app = visit()
    app.session_state["neighbors tab"] = tab
    app.run()
    assert not app.exception
    assert not app.error


def test_an_image_that_does_not_exist(runs, finished, visit):
    app = visit(image="123456789")
    assert "There is no image 123456789" in app.warning[0].value
    assert button(app, "walk 0")


def test_without_stage_2(runs, visit):
    Run(runs / "one").clear("stage2")
    app = visit()
    assert "orl stage2" in app.warning[0].value


def test_without_labels(runs, finished, visit):
    run = Run(runs / "one")
    run.write("objects", finished.read("objects").iloc[:0])
    run.write("images", finished.read("images").drop(columns="context"))
    app = visit()
    assert not app.warning
    assert button(app, "walk 0")
    assert not any("material/c" in box.value for box in app.caption)
