"""Shards: made once, by one process or by several, whichever of them is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from commands import do, torchrun
from orl_explore.errors import OrlError
from orl_explore.runs import files
from stage_runs import outputs
from training.sharding import ProcessGroup, Shards

SHARED = """
import os, signal, sys, time
from pathlib import Path
from training import cli
from training.sharding import Shards

out, rank = Path(os.environ["TEST_OUT"]), os.environ["RANK"]
save, count = Shards._save, 0

def logged(self, path, name, part):
    global count
    count += 1
    if rank == "1" and (out / "fatal").exists():
        (out / "fatal").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    while rank == "0" and count == 2 and "1 " not in (out / "parts").read_text():
        time.sleep(0.05)  # with one part made and one in hand, until the other process has made one
    save(self, path, name, part)
    with (out / "parts").open("a") as file:
        file.write(f"{rank} {path.name}\\n")

Shards._save = logged
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("fatal", [False, True])
def test_two_processes_share_stage_2(fatal, unfinished, finished, tiny_yaml, tmp_path):
    """One process's bytes, no part made twice; likewise when one is killed with a part in hand and both begin again."""
    run, script = unfinished("stage2"), tmp_path / "shared.py"
    script.write_text(SHARED)
    if fatal:
        (tmp_path / "fatal").touch()
    words = script, "stage2", run.path, "--config", tiny_yaml
    do(*torchrun("--max-restarts=1"), *words, log=tmp_path / "log", TEST_OUT=str(tmp_path))
    assert not (tmp_path / "fatal").exists()
    assert outputs(run, "stage2") == outputs(finished, "stage2")
    made = [line.split() for line in (tmp_path / "parts").read_text().splitlines()]
    assert {rank for rank, _ in made} == {"0", "1"}
    names = [name for _, name in made]
    assert len(names) == len(set(names)) == 4 * 4 + 1


def test_a_part_in_the_hands_of_another_process_is_left_to_it(new_run, monkeypatch):
    run, made = new_run(), []
    parts = [Shards(run, "stage2", ProcessGroup(rank, 2)) for rank in (0, 1)]
    lock = (run.path / ".shards.lock").open("w")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, time; fcntl.lockf(0, fcntl.LOCK_EX, 1, 1); print(flush=True); time.sleep(60)",
        ],
        stdin=lock,
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    lock.close()

    def build(rows, progress):
        made.append(rows.start)
        return np.full((len(rows), 1), rows.start, np.float32)

    def wait():
        holder.kill()  # and its lock with it
        holder.wait()

    monkeypatch.setattr(parts[0], "wait", wait)
    parts[0].make("image_embeddings", 10, 4, build)
    assert made == [0, 8, 4]  # the part that was held comes when its holder is dead
    assert run.read_array("image_embeddings").ravel().tolist() == [0] * 4 + [4] * 4 + [8] * 2
    parts[1].make("image_embeddings", 10, 4, build)
    assert len(made) == 3
    assert [file.name for file in (run.path / "stage2/shards").iterdir()] in ([], ["progress.json"])


def test_without_its_leader_a_process_ends(new_run, monkeypatch):
    parts = Shards(new_run(), "stage2", ProcessGroup(1, 2))
    monkeypatch.setattr(os, "getppid", lambda: -1)
    with pytest.raises(OrlError, match="has ended: type the command again"):
        parts.wait_for(Path("never"))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_step_says_how_far_it_is(rank, new_run, monkeypatch):
    """For the dashboard, by the first process alone; parts that were there before do not make it look fast."""
    monkeypatch.setattr("training.sharding.TOLD", 0)
    run, notes = new_run(), []
    parts = Shards(run, "stage2", ProcessGroup(rank, 1))
    file = run.progress_file("stage2")

    def build(rows, progress):
        progress(len(rows), 0)
        notes.append(json.loads(file.read_text()) if file.exists() else None)
        if rank or len(notes) == 3:
            raise KeyboardInterrupt
        return np.zeros((len(rows), 2), np.float32)

    with pytest.raises(KeyboardInterrupt):
        parts.make("image_embeddings", 6, 2, build)
    if rank:
        assert notes == [None]
        return
    Shards(run, "stage2").make("image_embeddings", 6, 2, build)
    told = [(note["table"], note["done"], note["count"], note["first"]) for note in notes]
    assert told == [("image_embeddings", done, 6, first) for done, first in ((2, 0), (4, 0), (6, 0), (6, 4))]
    assert all(note["since"] <= note["now"] for note in notes)
    assert run.read_array("image_embeddings").shape == (6, 2)


def test_a_step_is_told_as_it_begins(new_run):
    """However soon after a note of the one before, which would be taken for the one at work."""
    run, told = new_run(), []
    parts = Shards(run, "stage2")

    def build(rows, progress):
        told.append(json.loads(run.progress_file("stage2").read_text())["table"])
        return np.zeros((len(rows), 2), np.float32)

    for name in ("image_embeddings", "region_embeddings"):
        parts.make(name, 2, 2, build)
    assert told == ["image_embeddings", "region_embeddings"]


def test_the_parts_of_others_count(new_run, monkeypatch):
    """The second process has made part 3 (of 2 images) while the first one was at part 1."""
    monkeypatch.setattr("training.sharding.TOLD", 0)
    run, seen = new_run(), []
    parts = Shards(run, "stage2", ProcessGroup(0, 2))
    part = np.zeros((2, 2), np.float32)

    def build(rows, progress):
        progress(0, 0)
        seen.append((rows.start, json.loads(run.progress_file("stage2").read_text())["done"]))
        files.write_array(parts.folder / "image_embeddings-00002", part)
        return part

    parts.make("image_embeddings", 8, 2, build)
    assert seen == [(0, 0), (2, 4), (6, 6)]
