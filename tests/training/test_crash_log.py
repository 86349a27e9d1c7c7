"""Errors that nobody foresaw: a sentence, a file with the traceback, and exit code 70; for every command."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orl_explore.errors import OrlError
from training import cli, crash_log
from training.cli import command
from training.crash_log import known_trouble, write_crash_log


def fail_with(error: BaseException, monkeypatch, *, run: Path | None = None):
    """Have a command raise an error."""

    def function(_):
        raise error

    parsed = command.parse(["config"])
    parsed.function, parsed.run = function, run
    monkeypatch.setattr(command, "parse", lambda _: parsed)
    return cli.main(["config", "typed"])


ERRORS = [ValueError("what\nis this"), KeyError("x"), RuntimeError(), RecursionError("deep"), ZeroDivisionError("0")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_nobody_foresaw(error, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert fail_with(error, monkeypatch) == 70
    said = capsys.readouterr()
    (log,) = tmp_path.glob("orl-*.log")
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert said.err.startswith(f"orl: unexpected {type(error).__name__}")
    assert said.err.rstrip().endswith(f"a fault of orl; the whole story is in {log}")
    text = log.read_text()
    assert "command: ['config', 'typed']" in text
    assert "Traceback (most recent call last)" in text


def test_the_log_is_with_the_run(monkeypatch, tmp_path, capsys):
    (tmp_path / "run.json").write_text("{}")
    assert fail_with(ValueError("x"), monkeypatch, run=tmp_path) == 70
    (log,) = (tmp_path / "logs").iterdir()
    assert str(log) in capsys.readouterr().err


def test_where_nothing_can_be_written_the_story_is_told(monkeypatch, tmp_path, capsys):
    def open_nothing(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(crash_log.os, "open", open_nothing)
    assert fail_with(ValueError("x"), monkeypatch, run=tmp_path) == 70
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.rstrip().endswith("the whole story is above")


def test_the_log_is_not_written_through_a_link(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    monkeypatch.setattr(crash_log.time, "strftime", lambda form: "now")
    monkeypatch.chdir(tmp_path)
    victim, link = tmp_path / "thesis.txt", tmp_path / "tmp" / f"orl-now-{os.getpid()}.log"
    victim.write_text("precious")
    link.parent.mkdir()
    link.symlink_to(victim)
    assert crash_log.write_crash_log(ValueError("x"), [], None) == Path(link.name)  # in this folder then
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "/data/x"), "orl: /data/x: permission denied"),
        (OSError(errno.ENOSPC, "No space left", "a"), "orl: a: the disk is full"),
        (OSError(errno.ENOSPC, "No space left"), "orl: a file could not be read or written: the disk is full"),
        (OSError(errno.EFBIG, "File too large", "a"), "orl: a: no file may be that large there (`ulimit -f"),
        (
            ValueError("I/O error: File too large (os error 27)"),
            "orl: a file could not be read or written: no file may be",
        ),
        (FileExistsError(errno.EEXIST, "exists", "a", None, "b"), "orl: a and b: it is there already"),
        (MemoryError(), "orl: memory ran out: end other programs"),
    ],
)
def test_what_the_machine_is_to_blame_for(error, said, monkeypatch, capsys):
    assert fail_with(error, monkeypatch) == 1
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 1), (OrlError("no"), 1)])
def test_what_is_no_fault_writes_no_log(error, code, monkeypatch, capfd):
    monkeypatch.setattr(crash_log, "write_crash_log", lambda *_: pytest.fail("a log"))
    saved = [os.dup(number) for number in (1, 2)]  # a broken pipe is replaced
    try:
        assert fail_with(error, monkeypatch) == code
    finally:
        for number, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, number)
            os.close(copy)


names = st.one_of(st.none(), st.text(), st.binary(), st.integers())


@settings(max_examples=60)
@given(st.sampled_from([OSError, PermissionError, FileNotFoundError]), st.integers(-5, 140), names, names)
def test_any_error_of_the_system_has_words_or_is_unforeseen(kind, number, first, second):
    error = kind(number, "x", first, None, second)
    said = known_trouble(error)
    assert said is None or (said and "Errno" not in said)


@settings(max_examples=50)
@given(st.text(), st.lists(st.text(), max_size=3))
def test_any_message_can_be_written(tmp_path_factory, message, typed):
    folder = tmp_path_factory.mktemp("run")
    (folder / "run.json").touch()
    log = write_crash_log(ValueError(message), typed, folder)
    assert log
    assert "ValueError" in log.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_pipe_that_nobody_reads(stream):
    line = {"1": "{} -m training.cli config | true", "2": "{} -m training.cli verify /nowhere 2>&1 >/dev/null | true"}
    done = subprocess.run(["bash", "-c", line[stream].format(sys.executable)], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
