"""Files: whole or not there, whatever ends the writing, and disks that are full or gone."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save_file

from orl_explore.errors import OrlError
from orl_explore.runs.files import atomic_write, csv_text, hash_file, json_text, write_json

# ---- whole files or none -----------------------------------------------------------------------------------


def test_atomic_write(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == path.parent  # or renaming might copy
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as temporary:  # noqa: PT012 - the block is what is tested
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_an_error_before_anything_was_written(tmp_path):
    with pytest.raises(RuntimeError, match="at once"), atomic_write(tmp_path / "file.txt"):
        raise RuntimeError("at once")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    code = f"""
import os, signal
from pathlib import Path
from orl_explore.runs.files import atomic_write
with atomic_write(Path({str(path)!r})) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_hash_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a") == hashlib.blake2b(b"abc", digest_size=16).hexdigest()
    assert len(hash_file(tmp_path / "a")) == 32


# ---- disks that are full or gone ------------------------------------------------------------------------------------


def write_half(path, error):
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (OSError("1048576 requested and 131056 written"), "the disk is full"),  # NumPy's, without a number
        (ValueError("I/O error: No space left on device (os error 28)"), "the disk is full"),  # as of safetensors
        (ValueError("I/O error: Disk quota exceeded (os error 122)"), "the disk is full"),
        (ValueError("I/O error: Auf dem Datenträger ist kein Platz (os error 28)"), "the disk is full"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"), "the disk is full"),
        (OSError(errno.EFBIG, "File too large"), "no file may be that large there"),
        (ValueError("I/O error: File too large (os error 27)"), "no file may be that large there"),
        (ValueError("Read-only file system (os error 30)"), "the disk does not answer (Read-only file system)"),
        (OSError(errno.EIO, "Input/output error"), "the disk does not answer (Input/output error)"),
        (OSError(errno.ESTALE, "Stale file handle"), "the disk does not answer (Stale file handle)"),
    ],
)
def test_a_disk_that_fails(error, said, tmp_path):
    path = tmp_path / "table.json"
    write_json(path, "before")
    with pytest.raises(OrlError, match=re.escape(f"{path} could not be written, {said}: what was complete")):
        write_half(path, error)
    assert [file.name for file in tmp_path.iterdir()] == ["table.json"]
    assert json.loads(path.read_text()) == "before"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("wrong"),
        PermissionError(errno.EACCES, "Permission denied"),
        ValueError("Permission denied (os error 13)"),
        KeyError(1),
    ],
)
def test_other_errors_are_not_taken_for_a_full_disk(error, tmp_path):
    with pytest.raises(type(error)):
        write_half(tmp_path / "file", error)
    assert list(tmp_path.iterdir()) == []


WRITERS = {
    "checkpoint": lambda file: torch.save({"weights": torch.zeros(1 << 19)}, file),
    "encoder": lambda file: save_file({"weights": torch.zeros(1 << 19)}, file),
    "array": lambda file: np.save(file.open("wb"), np.zeros(1 << 18)),
    "table": lambda file: pd.DataFrame({"x": np.random.default_rng(0).random(1 << 18)}).to_parquet(file),
    "text": lambda file: file.write_text("x" * (1 << 21)),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
def test_a_disk_of_one_megabyte(tmp_path):
    """Every library says in its own words that a disk is full, and some hardly do."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("this machine allows no mount")
    try:
        for name, write in WRITERS.items():
            with (
                pytest.raises(OrlError, match=f"{name} could not be written, the disk is full"),
                atomic_write(tmp_path / name) as temporary,
            ):
                write(temporary)
            assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("name", WRITERS)
def test_a_limit_on_the_size_of_files(name, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    words = f"{name} could not be written, no file may be that large .*`ulimit -f unlimited`"
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(OrlError, match=words), atomic_write(tmp_path / name) as temporary:
            WRITERS[name](temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


# ---- CSV -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["=SUM(A1)", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_spreadsheet_executes_nothing(cell):
    """Text that would be a formula is text; numbers below zero stay numbers."""
    table = pd.DataFrame({"name": [cell, "plain", None], "value": [-1.5, 2.0, 3.0]})
    again = pd.read_csv(io.StringIO(csv_text(table)))
    assert again["name"][0].startswith("'")
    assert again["name"][1] == "plain"
    assert pd.isna(again["name"][2])
    assert again["value"].tolist() == [-1.5, 2.0, 3.0]


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"=HYPERLINK(A1)": [1], "+b": ["x"], "c": [2]}, "'=HYPERLINK(A1),'+b,c\n1,x,2\n"),
        ({"a": pd.Categorical(["=1", "b", None, "=1"]), "b": [1] * 4}, "a,b\n'=1,1\nb,1\n,1\n'=1,1\n"),
        ({"a": pd.Categorical([3, 4])}, "a\n3\n4\n"),
        ({"a\r=1": ["x\r=1+1", "ok"]}, "a =1\nx =1+1\nok\n"),  # else read as a line that begins with =1+1
        ({"a": ["x\n=1", 'say "-1"']}, 'a\n"x\n\'=1"\n"say ""-1"""\n'),
        # Where cells end at semicolons, as in much of Europe, or at tabs, quotes within a line do not hold it together.
        ({"a;=1": ["x;=1;+2", "x\t@y", "x; =1"]}, "a;'=1\nx;'=1;'+2\nx\t'@y\nx;' =1\n"),
        ({"a": ['x;"=1;', 'x\n"=1"\n', ' "+1']}, 'a\n"x;\'""=1;"\n"x\n\'""=1""\n"\n"\' ""+1"\n'),
        ({"a": [None, "=1", 5, -2.5, True]}, 'a\n""\n\'=1\n5\n-2.5\nTrue\n'),
        ({"a": pd.to_datetime(["2026-11-29", None]), "b": [1, 2]}, "a,b\n2026-11-29,1\n,2\n"),
        ({"a": pd.array(["-x", None], dtype="str"), "b": [1, 2]}, "a,b\n'-x,1\n,2\n"),
    ],
)
def test_headings_and_columns_of_every_kind_as_csv(table, text):
    table = pd.DataFrame(table)
    before = table.copy(deep=True)
    assert csv_text(table) == text
    pd.testing.assert_frame_equal(table, before)


@given(st.dictionaries(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=()))))
@example({"a": "\ud800" + "\udc00"})
@example({"a\ud800": "é", "\\ud800": "\\\udfff"})
def test_any_text_in_json_comes_back(value):
    """Half a character too, which is no UTF-8; two halves become one, as in JSON of escapes alone."""
    assert json.loads(json_text(value).encode()) == json.loads(json.dumps(value))
