"""States of stages: the record against the lock, the files and their age; and advice that is typed."""

from __future__ import annotations

import contextlib
import datetime
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from orl_explore.errors import OrlError
from orl_explore.runs import locking, states
from orl_explore.runs.run import Run
from orl_explore.runs.tables import ARRAYS, MINED, TABLES
from training import cli

WORK = """
import sys
from orl_explore.runs.run import Run
with Run(sys.argv[1]).working_on("stage1", config={}, seed=0, inputs={}):
    print("at work", flush=True)
    sys.stdin.read()
"""


def ago(seconds):
    return (datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)).isoformat(timespec="seconds")


def test_a_process_that_is_killed_without_a_word(run):
    with subprocess.Popen(
        [sys.executable, "-c", WORK, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout.readline() == "at work\n"
        assert run.state("stage1").state == "running"
        assert run.state("stage1").command is None  # nobody else is to begin it
        assert run.state("stage2").state == "absent"
        assert run.state("stage2").command is None  # the run is at work: the command would be refused
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert run.stage("stage1")["state"] == "running"  # it could not write anything else
    assert run.state("stage1").state == "stopped"
    assert run.state("stage1").command == f"orl stage1 {run.path}"
    with pytest.raises(OrlError) as error:  # what comes later is not to be typed first
        run.require("pairs")
    assert f"run `orl stage1 {run.path}` and then `orl stage2 {run.path}` first" in str(error.value)


@pytest.mark.parametrize(
    ("record", "state"),
    [
        ({}, "absent"),
        ({"state": "failed", "error": "OrlError: the disk is full"}, "failed"),
        ({"state": "failed", "error": "KeyboardInterrupt: "}, "stopped"),
        ({"state": "failed", "error": "Stopped: stopped by SIGTERM"}, "stopped"),
        ({"state": "finished"}, "finished"),
        ({"state": "finished", "imported": {"files": []}}, "imported"),
        ({"state": "finished", "outputs": {"pairs": "0", "unheard-of": "1"}}, "incomplete"),
        ({"state": "running"}, "stopped"),  # of a version that did not say on which machine
    ],
)
def test_what_the_record_says(run, record, state):
    run.note("stage2", **record) if record else run.path.mkdir(parents=True)
    assert run.state("stage2").state == state
    assert run.finished("stage2") == (state in ("finished", "imported"))


def test_a_whole_run_comes_to_what_is_not_begun(run):
    with run.lock("run"):
        run.note("stage1", state="running", started=ago(5))
        assert [run.state(name).state for name in ("stage1", "stage2")] == ["running", "waiting"]
        assert "comes to it by itself" in run.state("stage2").sentence
        with pytest.raises(OrlError, match="appears by itself"):
            run.require("pairs")
    assert run.state("stage2").state == "absent"


def test_one_stage_is_at_work_at_a_time(run):
    run.note("stage1", state="running", started=ago(500))  # killed
    run.note("stage3", state="running", started=ago(5))
    with run.lock("stage3"):
        assert run.state("stage1").state == "stopped"
        assert run.state("stage3").state == "running"


@pytest.mark.parametrize(("age", "state"), [(5, "running"), (2 * states.QUIET, "stopped")])
def test_another_machine_is_believed_for_a_while(run, age, state):
    """Locks need not reach from machine to machine."""
    run.note("stage1", state="running", started=ago(3 * states.QUIET), host="another")
    metrics = run.path / "stage1" / "metrics.csv"
    metrics.parent.mkdir()
    metrics.touch()
    os.utime(metrics, (time.time() - age,) * 2)
    assert run.state("stage1").state == state


def test_a_file_system_without_locks(run, monkeypatch):
    run.note("stage1", state="running", started=ago(5), host=locking.host())
    monkeypatch.setattr(states.locking, "holder", lambda _: (_ for _ in ()).throw(OSError()))
    assert run.state("stage1").state == "running"
    run.note("stage1", started=ago(2 * states.QUIET))
    assert run.state("stage1").state == "stopped"


def test_seconds_add_up_over_kills(run):
    """60 s of a first attempt that failed, 100 s of a second that was killed after it had last written something."""
    run.note("stage1", state="running", started=ago(1000), seconds=60.0)
    file = run.path / "stage1" / "metrics.csv"
    file.parent.mkdir()
    file.touch()
    os.utime(file, (time.time() - 900,) * 2)
    assert run.state("stage1").seconds == pytest.approx(160, abs=2)
    with run.working_on("stage1", config={}, seed=0, inputs={}):
        assert run.state("stage1").seconds == pytest.approx(160, abs=2)
    assert run.stage("stage1")["seconds"] == pytest.approx(160, abs=2)


def test_reviews_are_no_sign_of_life(run):
    file = run.path / "stage2" / "reviews.parquet"
    file.parent.mkdir(parents=True)
    file.touch()
    assert states.last_sign(run.path, "stage2") == 0


# ---- advice that is typed ------------------------------------------------------------------------------------------


def typed(error: OrlError) -> None:
    """Type the command that an error advises."""
    words = shlex.split(str(error).split("`")[1])
    assert words[0] == "orl"
    assert cli.main(words[1:]) == 0


@pytest.fixture
def spaced(finished, tmp_path):
    """A finished run, whose name has a space."""
    return Run(shutil.copytree(finished.path, tmp_path / "my run"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MINED, "images", "objects"])
def test_what_is_gone_is_made_again_by_the_advised_command(spaced, name):
    before = spaced.file(name).read_bytes()
    spaced.file(name).unlink()
    stage2 = name in MINED
    assert spaced.finished("stage2") != stage2
    assert spaced.state("stage2").state == ("incomplete" if stage2 else "finished")
    with pytest.raises(OrlError) as error:
        spaced.require(name)
    typed(error.value)
    assert spaced.finished("stage2")
    after = spaced.read_array(name) if name in ARRAYS else spaced.read(name)
    assert len(after)
    if name in TABLES:
        assert spaced.file(name).read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_an_encoder_that_is_gone_is_made_again(spaced, stage):
    spaced.encoder_file(stage).unlink()
    assert spaced.state(stage).state == "incomplete"
    assert "encoder" in spaced.state(stage).sentence
    assert cli.main(shlex.split(spaced.state(stage).command)[1:]) == 0
    assert spaced.state(stage).state == "finished"


@pytest.mark.slow
def test_what_was_imported_and_is_gone(imported):
    run = imported
    assert run.state("stage2").state == "imported"
    with pytest.raises(OrlError, match="embeddings are no part of that: `orl embed"):
        run.require("region_embeddings")
    run.file("pairs").unlink()
    assert run.state("stage2").state == "incomplete"
    assert cli.main(["stage2", str(run.path)]) == 1  # and does not pass it over as finished
    with pytest.raises(OrlError) as error:
        run.require("pairs")
    typed(error.value)
    assert run.state("stage2").state == "imported"


def test_embeddings_of_an_import_that_are_gone_are_not_called_missing_from_it(imported):
    run = imported
    run.note("stage2", outputs=run.stage("stage2")["outputs"] | {"region_embeddings": "0"})  # as `orl embed` does
    assert run.state("stage2").state == "imported"
    with pytest.raises(OrlError, match="is gone: `orl embed"):
        run.require("region_embeddings")


def test_a_run_that_was_never_there(tmp_path):
    assert Run(tmp_path / "none").state("stage1").state == "absent"
    with contextlib.suppress(OrlError):
        Run(tmp_path / "none").require("pairs")
    assert not (tmp_path / "none").exists()  # asking makes nothing
