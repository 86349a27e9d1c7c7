"""The lock of a run: who has it, again from within, and what is seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from orl_explore.errors import OrlError
from orl_explore.runs import locking

LOOK = (
    "import sys; from orl_explore.runs import locking; print(locking.holder(__import__('pathlib').Path(sys.argv[1])))"
)


def test_whoever_looks_is_told_what_is_done(tmp_path):
    assert locking.holder(tmp_path / "none") is None
    with locking.lock(tmp_path, "run"):
        told = locking.holder(tmp_path)  # another open file is another holder, in the same process, too
        assert told == {"doing": "run", "host": locking.host(), "process": os.getpid()}
        seen = subprocess.run([sys.executable, "-c", LOOK, str(tmp_path)], capture_output=True, text=True, check=True)
        assert seen.stdout.strip() == str(told)
    assert locking.holder(tmp_path) is None


def test_the_same_thread_takes_it_again_and_another_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "PATIENCE", 0.05)
    refused = []

    def other() -> None:
        try:
            with locking.lock(tmp_path):
                pass
        except OrlError as error:
            refused.append(str(error))

    with locking.lock(tmp_path, "run"):
        with locking.lock(tmp_path, "stage1"):
            assert locking.holder(tmp_path)["doing"] == "run"
        assert locking.holder(tmp_path)["doing"] == "run"  # what is left within is not let go
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1
    other()
    assert len(refused) == 1


def test_looking_does_not_stop_who_wants_to_begin(tmp_path):
    """The look holds the lock for a moment: whoever begins tries again."""
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            locking.holder(tmp_path)

    (tmp_path / ".lock").touch()
    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(30):
            with locking.lock(tmp_path):
                pass
    finally:
        stop.set()
        thread.join()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locking.fcntl, "flock", refuse)
    with locking.lock(tmp_path):  # nothing keeps two apart there, and nothing stops one
        pass
    with pytest.raises(OSError, match="not supported"):
        locking.holder(tmp_path)


def test_a_lock_file_of_an_earlier_version(tmp_path):
    with locking.lock(tmp_path):
        (tmp_path / ".lock").write_text("")
        assert locking.holder(tmp_path) == {}
