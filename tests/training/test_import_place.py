"""An import that replaces what a run has: whatever it is ended by, the old stage stands, or the new one."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from authors_files import neighbors
from killing import killed
from orl_explore.errors import OrlError
from orl_explore.runs import successor
from orl_explore.runs.reviews import KEY, Pair, read_reviews, save_review
from orl_explore.runs.run import Run
from orl_explore.runs.successor import Successor, settle
from training import import_place
from training.importing import import_files


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def test_a_full_disk_leaves_the_run_as_it_was(imported, write, monkeypatch):
    Successor(imported.path, "stage2").note("stage2", state="failed")
    (imported.path / "stage2.new").mkdir()
    (imported.path / "stage2.new" / "neighbors.parquet").write_text("begun")
    (imported.path / "stage2" / "notes.txt").write_text("mine")
    before = contents(imported.path)

    def full(path: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(successor, "write_json", full)
        with pytest.raises(OrlError, match="the disk is full"):
            import_files(imported.path, [write(neighbors(), "n.json")], overwrite=True)
    assert contents(imported.path) == before
    assert not list(imported.path.parent.glob(".*import.tmp"))
    import_files(imported.path, [write(neighbors(), "n.json")], overwrite=True)
    assert [path.name for path in sorted((imported.path / "stage2").iterdir())] == ["neighbors.parquet", "notes.txt"]
    assert (imported.path / "stage2.new.set-aside" / "neighbors.parquet").read_text() == "begun"
    assert not {"successors", "taking_place"} & imported.manifest().keys()


@pytest.mark.parametrize("killed_at", range(0, 24, 2))
def test_killed_while_it_takes_the_place(killed_at, imported, write, monkeypatch):
    """At any file system call: old results with the old record, or new ones; and the same command ends it."""
    pair = Pair(*map(int, imported.read("pairs")[KEY].iloc[0]))
    save_review(imported, pair, verdict="accepted")
    old, record = contents(imported.path / "stage2"), imported.stage("stage2")
    source, replace = write(neighbors(), "n.json"), import_place._replace

    def replace_and_die(*arguments):
        calls = (Path, "rename"), (Path, "replace"), (Path, "unlink"), (shutil, "copyfile")
        with killed(monkeypatch, killed_at, *calls):
            replace(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(import_place, "_replace", replace_and_die)
        try:
            import_files(imported.path, [source], overwrite=True)
        except KeyboardInterrupt:
            assert killed_at < 20
    run = Run.open(imported.path)
    if "taking_place" in run.manifest():
        settle(run)
    if run.stage("stage2"):
        assert run.stage("stage2") == record
        assert contents(run.path / "stage2") == old
        assert read_reviews(run)["verdict"].tolist() == ["accepted"]
    else:
        assert not run.file("pairs").exists()
        assert list(run.path.glob("said/*/reviews.parquet"))  # waits for the pairs that come
    import_files(run.path, [source], overwrite=True)
    assert list(contents(run.path / "stage2")) == ["neighbors.parquet"]
    assert run.manifest()["imports"][-1]["file"] == "n.json"
