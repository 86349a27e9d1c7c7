"""Pages of a run that is being made."""

from __future__ import annotations

import pytest

from orl_explore.runs.exploring import begin
from orl_explore.runs.files import write_json
from orl_explore.runs.run import Run
from orl_explore.ui import waiting


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A run that has nothing yet."""
    run = Run(tmp_path / "runs" / "begun")
    assert begin(run)
    monkeypatch.setenv("ORL_RUNS", str(run.path.parent))
    return run


@pytest.mark.parametrize("page", ["overview", "neighbors", "proposals", "pairs", "object_map"])
def test_before_there_are_images(begun, visit, page):
    app = visit(run="begun", page=page)
    assert not app.exception
    if page != "overview":
        assert "No pictures have been read yet" in app.info[0].value


def test_a_page_says_how_far_the_work_is(run, visit):
    run.file("pairs").unlink()
    run.note("stage2", state="running", error=None)
    run.progress_file("stage2").parent.mkdir()
    note = {"table": "pairs", "done": 6, "count": 24, "first": 0, "since": 0.0, "now": 3.0}
    write_json(run.progress_file("stage2"), note)
    with run.lock("explore"):
        app = visit(run="one", page="pairs")
    assert "Stage 2" in app.info[0].value
    assert not app.warning


def test_a_page_of_a_run_at_rest_says_what_to_type(run, visit):
    run.file("pairs").unlink()
    assert "orl stage2" in visit(run="one", page="pairs").warning[0].value


def test_what_was_made_since_changes_the_list(run):
    before = waiting.made(run)
    run.note("stage2", state="running")
    assert waiting.made(run) != before
    assert "object_map" not in before
    run.file("object_map").touch()
    assert "object_map" in waiting.made(run)
