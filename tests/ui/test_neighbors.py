"""The neighbors page: looked at in every state, and a picture of one's own among the run's."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from orl_explore.embedding import embed_picture
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.runs.run import Run
from orl_explore.ui import neighbors as page
from orl_explore.ui import state

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


# ---- a picture of one's own ----------------------------------------------------------------------------------------


def test_a_picture_of_the_run_finds_itself(runs):
    run = Run(runs / "one")
    images = run.images()
    picture, found = page.match(run, images.path(5).read_bytes())
    assert picture.size == (80, 80)
    assert found["neighbor_id"].iloc[0] == images.table["image_id"].iloc[5]
    assert found["similarity"].iloc[0] == pytest.approx(1, abs=1e-4)
    assert len(found) == 3  # the run's K


def test_it_is_embedded_as_stage_2_does(finished):
    encoder = Encoder.load(finished.encoder_file("stage1"))
    vector = embed_picture(encoder, finished.images().load(2), size=32)
    assert vector == pytest.approx(finished.read_array("image_embeddings")[2], abs=1e-5)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "empty file"), (b"<html>", "not an image"), (b"\x89PNG\r\n", "damaged"), (b"x" * (21 << 20), "20 MB")],
)  # fmt: skip
def test_what_is_no_picture(runs, data, message):
    with pytest.raises(OrlError, match=message):
        page.match(Run(runs / "one"), data)


def test_another_encoder_is_refused(runs):
    run = Run(runs / "one")
    run.note("stage2", inputs={"encoder": "0" * 32})
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(buffer, "PNG")
    with pytest.raises(OrlError, match="another encoder"):
        page.match(run, buffer.getvalue())


def test_thumbnails_of_missing_files_say_so(runs, tmp_path, finished, visit):
    run = Run(runs / "one")
    manifest = run.manifest()
    manifest["images"]["roots"] = [str(tmp_path / "gone")]
    (run.path / "run.json").write_text(json.dumps(manifest))
    state._jpeg.clear()
    state._images.clear()
    app = visit()
    assert any("put it back" in box.value for box in app.text)
