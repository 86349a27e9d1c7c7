"""The page of stage 1: curves, of a finished stage and of one at work."""

from __future__ import annotations

PAGE = "stage1"


def test_a_finished_stage(runs, visit):
    app = visit()
    assert len(app.get("plotly_chart")) == 3
    assert any("finished" in box.value for box in app.markdown)


def test_a_stage_that_has_just_begun(run, visit):
    (run.path / "stage1" / "metrics.csv").unlink()
    run.note("stage1", state="running")
    with run.lock():
        app = visit()
    assert any("begin with the first steps" in box.value for box in app.info)
    assert any("running" in box.value for box in app.markdown)
