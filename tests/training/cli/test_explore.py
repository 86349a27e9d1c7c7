"""`orl explore`: its dashboard, and what it leaves when nothing comes of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from training.cli import explore as command


@pytest.fixture
def started(monkeypatch):
    """The programs that were started in place of the dashboard."""
    programs = []
    original = subprocess.Popen

    def start(arguments):
        programs.append(arguments)
        return original([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    monkeypatch.setattr(command.subprocess, "Popen", start)
    return programs


def test_the_dashboard_opens_at_the_run_and_ends_with_the_block(started, tmp_path):
    with command.dashboard(tmp_path / "run", 8600) as app:
        assert app.poll() is None
    assert app.poll() is not None
    assert started[0][1:] == [
        "-m",
        "training.cli",
        "app",
        str(tmp_path / "run"),
        "--page",
        "neighbors",
        "--port",
        "8600",
    ]


def test_a_folder_without_pictures_leaves_no_run(orl, started, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, said = orl("explore", tmp_path / "empty", "--run", tmp_path / "run")
    assert code == 1
    assert "no usable image" in said
    assert not (tmp_path / "run").exists()


def test_nothing_is_begun_for_images_that_are_not_there(orl, started, tmp_path):
    code, _, said = orl("explore", tmp_path / "nowhere", "--run", tmp_path / "run")
    assert code == 1
    assert "there is no" in said
    assert not started
    assert not (tmp_path / "run").exists()
