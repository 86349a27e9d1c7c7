"""`orl app`, up to the point where Streamlit takes its place."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def started(monkeypatch):
    """What `orl app` would have started: (arguments, environment) of each program."""
    programs = []
    monkeypatch.chdir(Path.cwd())  # the command goes to the project's folder; the tests go back
    monkeypatch.setattr(os, "execve", lambda path, arguments, environment: programs.append((arguments, environment)))
    return programs


def test_streamlit_runs_in_the_project_over_the_folder_of_runs(orl, started, tmp_path):
    (tmp_path / "runs").mkdir()
    assert orl("app", tmp_path / "runs")[0] == 0
    [(arguments, environment)] = started
    assert arguments[1:5] == ["-m", "streamlit", "run", "app.py"]
    assert "--server.address=localhost" in arguments
    assert environment["ORL_RUNS"] == str(tmp_path / "runs")
    assert Path.cwd() == ROOT


def test_a_folder_in_the_project_is_shown_relative_to_it(orl, started, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert orl("app")[0] == 0
    assert started[0][1]["ORL_RUNS"] == "runs"


def test_a_run_stands_for_the_folder_it_is_in(orl, started, copy):
    assert orl("app", copy.path)[0] == 0
    assert started[0][1]["ORL_RUNS"] == str(copy.path.parent)
    assert started[0][1]["ORL_OPEN"] == "run=copy"
    assert orl("app", copy.path, "--page", "pairs")[0] == 0
    assert started[1][1]["ORL_OPEN"] == "page=pairs&run=copy"


def test_a_port_that_is_taken_is_passed_over(orl, started):
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        assert orl("app", "--port", port)[0] == 0
    [(arguments, _)] = started
    [chosen] = [int(option.removeprefix("--server.port=")) for option in arguments if "--server.port=" in option]
    assert port < chosen < port + 20


def test_no_free_port(orl, started):
    code, _, err = orl("app", "--port", 65536)
    assert code == 1
    assert "no free port on localhost from 65536 to 65555: choose another one with --port" in err
    assert not started
