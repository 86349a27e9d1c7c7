"""An import comes together in a folder of its own beside the run, and is moved into place at its end."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from orl_explore.errors import OrlError, typed
from orl_explore.runs.checkpoints import set_aside
from orl_explore.runs.files import atomic_write
from orl_explore.runs.run import Run
from orl_explore.runs.said import put_by
from orl_explore.runs.successor import settle, take_places
from training.record import take_over_said


@contextlib.contextmanager
def staged(path: Path, overwrite: bool) -> Iterator[tuple[Run, Run | None]]:
    """Give a run in a folder beside `path`, and the run at `path` or None; move the former there at the end."""
    old = Run.open(path) if (path / "run.json").exists() else None
    if path.is_symlink() or path.exists():
        if not path.is_dir():
            again = typed("import", "RUN", path.name)
            raise OrlError(f"{path} is no folder: name the run folder first, as in `{again}`")
        if old is None and any(path.iterdir()):
            raise OrlError(f"{path} is a folder, but no run: choose another one")
    run = Run(path.absolute().with_name(f".{path.absolute().name}.import.tmp"))
    with contextlib.ExitStack() as locks:
        if old is not None:
            locks.enter_context(old.lock())
            settle(old)
        locks.enter_context(run.lock())
        try:
            for leftover in run.path.iterdir():  # of a killed import
                if leftover.name != ".lock":
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            yield run, old
            _move(run, old, path, overwrite)
        finally:
            shutil.rmtree(run.path, ignore_errors=True)


def _move(run: Run, old: Run | None, path: Path, overwrite: bool) -> None:
    (run.path / ".lock").unlink()
    if old is None and not path.exists():
        run.path.rename(path)
        return
    if old is None:  # an empty folder, perhaps a link or the current one; run.json makes it a run
        for made in sorted(run.path.iterdir(), key=lambda made: made.name == "run.json"):
            made.rename(path / made.name)
        return
    stages = [name for name in ("stage1", "stage2", "stage3") if (run.path / name).exists()]
    for name in stages:
        if (path / name).exists() and not overwrite:
            raise OrlError(f"{path} has its own {name} already: import into a new run, or replace it with --overwrite")
    _replace(run, old, stages)
    if "stage2" in stages:
        put_by(path, path / "former")
        shutil.rmtree(path / "former", ignore_errors=True)
    take_over_said(old)


def _replace(run: Run, old: Run, stages: list[str]) -> None:
    """Put imported stages in the places of those that a run has, which stand until the new ones do."""
    mine, theirs = run.manifest(), old.manifest()
    for name in stages:
        theirs["stages"].pop(name, None)
        theirs.get("successors", {}).pop(name, None)
    theirs["stages"] |= mine["stages"]
    theirs["config"] = mine["config"]
    theirs["imports"] = [*theirs.get("imports", []), *mine["imports"]]
    theirs["imported_tables"] = theirs.get("imported_tables", {}) | mine["imported_tables"]
    with contextlib.ExitStack() as undo:
        for name in stages:
            new = old.path / f"{name}.new"
            if aside := set_aside(new):  # it was begun anew with --overwrite
                undo.callback(aside.rename, new)
            (run.path / name).rename(new)
            undo.callback(new.rename, run.path / name)
        with atomic_write(old.path / "config.yaml") as temporary:
            shutil.copyfile(run.path / "config.yaml", temporary)
            take_places(old, theirs, stages)
            undo.pop_all()
    settle(old)
