"""The proposals page: what the filter says, with the run's settings and others, and the page in every state."""

from __future__ import annotations

from orl_explore.boxes import filter_boxes
from orl_explore.numbers import percent_text
from orl_explore.runs.run import Run
from orl_explore.ui import proposals as page

PAGE = "proposals"


BOX = ["x", "y", "w", "h"]


def slider(app, name):
    return next(item for item in app.slider if item.key.endswith(f" {name}"))


def said(app):
    return next(box.value for box in app.markdown if "boxes are kept" in box.value)


def test_the_run_s_own_settings_give_the_run_s_own_boxes(runs, finished, visit):
    image_id = int(finished.images().table["image_id"].iloc[3])
    found = finished.read("proposals", image_id=image_id)
    kept = found["reason"].isin(["kept", "fallback"]).sum()
    app = visit(image=str(image_id))
    assert not app.warning
    assert slider(app, "min_side").value == 16
    assert said(app) == f"**{kept} of {len(found)} boxes are kept**, as in the run."
    assert next(b for b in app.button if b.key == "filter reset").disabled


def test_sliders_filter_anew(runs, finished, visit):
    image_id = int(finished.images().table["image_id"].iloc[3])
    found = finished.read("proposals", image_id=image_id)
    app = visit(image=str(image_id))
    slider(app, "max_boxes").set_value(2)
    slider(app, "max_iou").set_value(0.2)
    app.run()
    assert not app.exception
    reasons = filter_boxes(found[BOX].to_numpy(), min_side=16, max_iou=0.2, max_boxes=2)
    assert said(app).startswith(f"**{(reasons == 'kept').sum()} of {len(found)} boxes are kept**; the run kept")

    app.pills(key="dropped").set_value(["count"])
    app.run()
    assert not app.exception
    next(b for b in app.button if b.key == "filter reset").click()
    app.run()
    assert said(app).endswith("as in the run.")
    assert Run(runs / "one").read("proposals", image_id=image_id).equals(found)  # nothing was written


def test_recall_of_the_whole_run(runs, finished, visit):
    from orl_explore.judging.diagnostics import proposal_recall

    recall = proposal_recall(finished.read("objects"), finished.read("regions"))
    app = visit()
    assert [metric.value for metric in app.metric][2:] == [percent_text(recall.at[t]) for t in (0.5, 0.7)]


def test_recall_with_other_settings(run, finished, visit):
    from orl_explore.judging.diagnostics import proposal_recall, recall_with

    proposals, objects = finished.read("proposals"), finished.read("objects")
    stored = proposal_recall(objects, finished.read("regions"))
    assert recall_with(proposals, objects, min_side=16).at == stored.at  # the run's own settings
    app = visit()
    slider(app, "max_boxes").set_value(1)
    app.run()
    assert not app.exception
    made = recall_with(proposals, objects, min_side=16, max_boxes=1)
    assert made.at[0.5] < stored.at[0.5]
    assert [metric.value for metric in app.metric][2:] == [percent_text(made.at[t]) for t in (0.5, 0.7)]
    assert app.metric[2].delta == f"{100 * (made.at[0.5] - stored.at[0.5]):+.1f} points"
    assert any("with the settings above; below" in box.value for box in app.caption)


def test_an_image_that_does_not_exist(runs, visit):
    app = visit(image="123456789")
    assert "There is no image 123456789" in app.warning[0].value
    assert said(app)


def test_without_stage_2(runs, visit):
    Run(runs / "one").clear("stage2")
    app = visit()
    assert "orl stage2" in app.warning[0].value


def test_without_annotations(runs, finished, visit):
    Run(runs / "one").write("objects", finished.read("objects").iloc[:0])
    app = visit()
    assert said(app)
    assert not app.metric
    assert any("no annotated objects" in box.value for box in app.caption)


def test_an_image_without_objects_among_others(runs, finished, visit):
    run, objects = Run(runs / "one"), finished.read("objects")
    image_id = int(objects["image_id"].iloc[0])
    run.write("objects", objects[objects["image_id"] != image_id])
    app = visit(image=str(image_id))
    assert [metric.value for metric in app.metric][:2] == ["-", "-"]


def test_defaults():
    paper = {"min_side": 96, "max_aspect": 3.0, "max_iou": 0.5, "max_boxes": 100}
    assert page.defaults({}) == paper
    assert page.defaults({"config": {"min_side": 32, "neighbors": 10}}) == {**paper, "min_side": 32}
