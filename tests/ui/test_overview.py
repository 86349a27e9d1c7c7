"""The overview: how far a run is, how good each stage was, while it runs and after."""

from __future__ import annotations

import json

import pytest

from orl_explore.runs.run import Run
from orl_explore.ui import overview

PAGE = "overview"


def texts(app):
    """Everything that warns or informs, in one text."""
    return "\n".join(box.value for box in [*app.warning, *app.info, *app.error])


def test_the_overview_of_a_finished_run(runs, visit):
    app = visit()
    assert not app.exception
    assert not app.warning
    assert not app.error
    assert app.title[0].value == "Overview"
    assert sum("finished" in box.value for box in app.markdown) == 3


def test_only_the_stage_that_is_looked_at_is_drawn(runs, visit):
    """The last one at first, and the one at work as soon as one is."""
    assert len(visit().get("plotly_chart")) == 3  # curves of stage 3
    opened = visit({f"overview stage3 {runs / 'one'}": "Stage 2 · correspondences"})
    assert len(opened.get("plotly_chart")) == 1  # the funnel
    run = Run(runs / "one")
    run.note("stage2", state="running")
    with run.lock():
        assert len(visit().get("plotly_chart")) == 1


def test_a_running_stage_says_what_is_left(runs, visit):
    run = Run(runs / "one")
    metrics = run.path / "stage1" / "metrics.csv"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:4]))  # three of six steps
    run.note("stage1", state="running")
    with run.lock():
        app = visit()
    assert not app.exception
    (progress,) = app.get("progress")
    assert progress.proto.value == 50
    assert "epoch 1 of 2" in progress.proto.text


def test_a_stage_that_was_killed_is_stopped(runs, visit):
    """Nobody holds the lock: what run.json says is left over."""
    Run(runs / "one").note("stage1", state="running")
    app = visit()
    assert not app.get("progress")
    assert any("stopped" in box.value for box in app.markdown)
    assert any("To go on" in box.value for box in app.caption)


def test_pages_do_not_tell_to_begin_what_a_running_command_comes_to(runs, visit):
    run = Run(runs / "one")
    for name in ("stage2", "stage3"):
        run.clear(name)
    run.note("stage1", state="running")
    with run.lock("run"):
        said = [box.value for app in (visit(), visit(page="pairs")) for box in [*app.caption, *app.info, *app.warning]]
    assert not [text for text in said if "orl stage" in text.replace("\\", "")]
    assert [text for text in said if "by itself" in text]


@pytest.fixture
def at_work(run):
    """The lock of the run, held."""
    with run.lock():
        yield


def test_a_running_stage_2_says_which_step_it_is_at(run, at_work, visit):
    run.note("stage2", state="running")
    assert not visit().get("progress")  # it has not said anything yet
    file = run.progress_file("stage2")
    file.parent.mkdir()
    note = {"table": "region_embeddings", "done": 18, "count": 24, "first": 6, "since": 1000.0, "now": 1040.0}
    file.write_text(json.dumps(note))
    (progress,) = visit().get("progress")
    assert progress.proto.value == 75
    expected = r"step 4 of 5: region embeddings, 18 of 24 images, 20 s left in this step"  # 12 in 40 s, 6 are left
    assert progress.proto.text.replace("\\", "") == expected
    file.write_text(json.dumps(note | {"table": "<b>", "first": 18}))
    (progress,) = visit().get("progress")
    assert progress.proto.text.replace("\\", "") == "<b>, 18 of 24 images"
    whole = json.dumps(note)
    for damaged in ("", "[]", '{"table": 1}', "3", whole.replace("18", "1e400"), whole.replace("18", "9" * 400)):
        file.write_text(damaged)
        app = visit()
        assert not app.exception
        assert not app.error
        assert not app.get("progress")
    run.file("pairs").unlink()
    said = [box.value for box in visit().info]
    assert said == ["The counts of boxes and pairs stand here when all are there."]  # and not: run `orl stage2`
    file.write_text(json.dumps(note | {"done": -5}))
    assert visit().get("progress")[0].proto.value == 0


def test_settings_that_differ_from_the_papers(runs, visit):
    assert not [frame for frame in visit().dataframe if "paper" in frame.value]  # not before somebody looks
    opened = visit({"differences": True})
    (table,) = [frame.value for frame in opened.dataframe if "paper" in frame.value]
    assert table.set_index("setting").loc["stage1.epochs", ["paper", "this run"]].tolist() == ["800", "2"]


def test_a_damaged_summary_is_a_sentence(runs, visit):
    (runs / "one" / "evaluation").mkdir(exist_ok=True)
    (runs / "one" / "evaluation" / "summary.json").write_text("[")
    assert "orl evaluate" in texts(visit())


def test_the_summary_is_shown(runs, visit):
    judged = {"object_probe": 0.5, "object_knn": 0.25, "scene_map": 0.125, "feature_std": 1, "feature_rank": 9}
    summary = {"random": judged, "stage1": judged, "stage3": judged, "stage2": {"recall_50": 0.75}}
    summary["chance"] = {"object_probe": 0.1}
    (runs / "one" / "evaluation").mkdir(exist_ok=True)
    (runs / "one" / "evaluation" / "summary.json").write_text(json.dumps(summary))
    values = {tile.label: tile.value for tile in visit().metric}
    assert values["Linear probe, stage 3"] == "50.0 %"
    assert values["Objects with a box"] == "75.0 %"
    assert "Pairs of one category" not in values  # nobody has measured it


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (7200, "2.0 h")])
def test_duration(seconds, text):
    assert overview.duration(seconds) == text


def test_annotations_that_were_left_out_are_shown(run, visit):
    file = run.path / "run.json"
    manifest = json.loads(file.read_text())
    left_out = [{"what": "marked iscrowd", "count": 3, "example": "annotations[1] of a.json"}]
    manifest["images"]["annotations"] = {"given": 8, "used": 5, "left_out": left_out, "changed": []}
    manifest["images"]["notes"] = ["2 names of a.json found in another form"]
    file.write_text(json.dumps(manifest))
    shown = " ".join(box.value.replace("\\", "") for box in visit({"data": True}).markdown)
    assert "5 objects of 8 annotations" in shown
    assert "left out: 3 annotations marked iscrowd, such as annotations[1] of a.json" in shown
    assert "2 names of a.json found in another form" in shown


@pytest.mark.parametrize("page", ["overview", "proposals"])
def test_what_stage_2_leaves_out_for_speed_is_said(run, visit, page):
    assert "longer side" not in "".join(box.value for box in visit(run="one", page=page).caption)
    run.note("stage2", config=run.stage("stage2")["config"] | {"max_side": 480, "max_boxes": 30})
    said = "".join(box.value for box in visit(run="one", page=page).caption)
    assert "480 px on the longer side" in said
    assert "At most 30 boxes" in said
