"""The proposals page and its figures: what the filter says, what is drawn, and the page in every state."""

import numpy as np
import pytest
from PIL import Image

from orl_explore.boxes import REASONS, filter_boxes
from orl_explore.figures import boxes as figures
from orl_explore.runs.run import Run
from orl_explore.ui import proposals as page

PAGE = "proposals"


BOX = ["x", "y", "w", "h"]


def slider(app, name):
    return next(item for item in app.slider if item.key.endswith(f" {name}"))


def said(app):
    return next(box.value for box in app.markdown if "boxes are kept" in box.value)


# ---- the page ------------------------------------------------------------------------------------------------------


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
    assert [metric.value for metric in app.metric][2:] == [f"{recall.at[t]:.1%}" for t in (0.5, 0.7)]


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
    assert [metric.value for metric in app.metric][2:] == [f"{made.at[t]:.1%}" for t in (0.5, 0.7)]
    assert app.metric[2].delta == f"{100 * (made.at[0.5] - stored.at[0.5]):+.1f} points"
    assert any("with the settings above; below" in box.value for box in app.caption)


def test_an_image_that_does_not_exist(runs, visit):
    app = visit(image="123456789")
    assert "there is no image 123456789" in app.warning[0].value
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


# ---- figures -------------------------------------------------------------------------------------------------------


def test_outlines_go_around_each_box():
    x, y = figures.outlines(np.array([[10.0, 20, 4, 6], [0, 0, 2, 2]]))
    assert x == [10, 12, 14, 14, 14, 12, 10, 10, 10, None, 0, 1, 2, 2, 2, 1, 0, 0, 0, None]
    assert y[:10] == [20, 20, 20, 23, 26, 26, 26, 23, 20, None]
    assert len(x) == len(y) == 2 * (figures.POINTS + 1)


def test_boxes_lie_on_the_picture_and_labels_are_text():
    image = Image.new("RGB", (64, 48), "red")
    kept, small = figures.LOOKS["kept"], figures.LOOKS["side"]
    boxes = [[0, 0, 10, 10], [5, 5, 20, 10], [1, 1, 2, 2]]
    made = figures.image_with_boxes(image, boxes, [kept, kept, small], ["<b>one", "two\nlines", "c"])
    assert made.layout.images[0].sizex == 64
    assert made.layout.images[0].source.startswith("data:image/jpeg;base64,")
    assert tuple(made.layout.yaxis.range) == (48, 0)  # y runs downward, as in the picture
    named = {trace.name: trace for trace in made.data if trace.name}
    assert set(named) == {"kept (2)", "too small (1)"}
    assert named["kept (2)"].text[0] == "&lt;b&gt;one"
    assert named["kept (2)"].text[10] == "two<br>lines"
    with pytest.raises(ValueError, match="as many looks"):
        figures.image_with_boxes(image, boxes, [kept], ["a"])
    assert len(figures.image_with_boxes(image, [], [], []).data) == 1


def test_no_more_than_the_limit_is_drawn():
    count = figures.LIMIT + 5
    look = figures.LOOKS["iou"]
    made = figures.image_with_boxes(Image.new("RGB", (9, 9)), [[0, 0, 3, 3]] * count, [look] * count, ["x"] * count)
    assert made.data[0].name == "overlapping (first 400 of 405)"
    assert len(made.data[0].x) == figures.LIMIT * (figures.POINTS + 1)


def test_every_reason_has_a_look_of_its_own():
    looks = [figures.LOOKS[reason] for reason in REASONS]
    assert len({look.name for look in looks}) == len(REASONS)
    assert len({(look.color, look.dash) for look in looks}) == len(REASONS)


def test_funnel_takes_away_step_by_step():
    reasons = np.array(["kept"] * 3 + ["side"] * 10 + ["iou"] * 4 + ["count"] * 2 + ["aspect"])
    counts = figures.count_reasons(reasons)
    assert counts == {"kept": 3, "side": 10, "aspect": 1, "iou": 4, "count": 2, "fallback": 0}
    remain, removed = figures.funnel(counts).data
    assert list(remain.x) == [20, 18, 8, 7, 3]
    assert list(removed.x) == [0, 2, 10, 1, 4]
