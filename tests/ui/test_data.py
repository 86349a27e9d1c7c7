"""The page of images: what there is, and a click that looks at one."""

from __future__ import annotations

from orl_explore.runs.run import Run

PAGE = "data"


def test_images_and_what_was_found(run, visit):
    app = visit()
    assert any("24 images, 0 files skipped" in box.value for box in app.markdown)
    image_id = int(run.read("images")["image_id"].iloc[9])
    app.button(key=f"gallery {image_id}").click().run()
    assert app.title[0].value == "Neighbors"
    assert app.query_params["image"] in (str(image_id), [str(image_id)])


def test_without_annotations(run: Run, visit):
    run.write("objects", run.read("objects").iloc[:0])
    assert any("no annotations" in box.value for box in visit().markdown)
