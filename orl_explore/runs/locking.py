"""One process at a time on a run: who holds the run's lock, and what they are at.

The lock is the operating system's own and ends with the process that holds it, however that ends. It is therefore also
the best witness of whether a run is still being worked on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orl_explore.errors import OrlError

PATIENCE = 0.5
"""Seconds that a lock is tried for: whoever only looks whether it is held has it for a moment, too."""

_LEFTOVER = re.compile(r"\..+\.(\d+)\.tmp")
"""Names that `atomic_write` gives, with the number of the process."""

WRITTEN = ("review", "selection")
"""What people add to a run while it works, each under a lock of its own."""

_held: set[tuple[Path, int]] = set()
"""Lock files or run folders, and the threads that have taken their locks and may take them again."""


def host() -> str:
    """What this machine calls itself."""
    return socket.gethostname()


def is_alive(process: int) -> bool:
    """Whether a process of this machine has this number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


@contextlib.contextmanager
def one_writer(folder: Path, what: str) -> Iterator[None]:
    """Wait until nobody else, no other thread either, writes something that people add to a run while it works.

    Args:
        folder: of the run.
        what: it is: "review", say.

    Raises:
        OrlError: nothing can be written there.
    """
    try:
        with _alone(folder / f".{what}s.lock"):
            yield
    except OSError as error:
        raise OrlError(f"the {what} could not be written to {folder} ({error.strerror or error})") from None


@contextlib.contextmanager
def no_writer(folder: Path) -> Iterator[None]:
    """Wait until nobody writes what people add to a run, and keep them all from it while what it is about is moved."""
    with contextlib.ExitStack() as held:
        for what in WRITTEN:
            with contextlib.suppress(OSError):  # a file system without locks, or no run there
                held.enter_context(_alone(folder / f".{what}s.lock"))
        yield


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Wait for a lock; within it, the same thread may take it again."""
    key = (file.resolve(), threading.get_ident())
    if key in _held:
        yield
        return
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        _held.add(key)
        try:
            yield
        finally:
            _held.remove(key)


@contextlib.contextmanager
def lock(folder: Path, doing: str | None = None) -> Iterator[None]:
    """Keep other processes and threads from a run; within it, the same thread may take the lock again.

    Args:
        folder: of the run; made if need be.
        doing: the command that works, such as "run", for whoever looks (see `holder`).

    Raises:
        OrlError: another process is at work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = (folder.resolve(), threading.get_ident())
    if key in _held:
        yield
        return
    with (folder / ".lock").open("a+") as file:
        if not _take(file.fileno()):
            raise OrlError(f"another process is working on {folder}: wait for it, or end it first")
        file.truncate(0)
        json.dump({"doing": doing, "host": host(), "process": os.getpid()}, file)
        file.flush()
        _held.add(key)
        try:
            yield
        finally:
            _held.remove(key)


def _take(descriptor: int) -> bool:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        except OSError:  # a file system without locks: nothing keeps two commands apart there
            return True
        else:
            return True


def holder(folder: Path) -> dict[str, Any] | None:
    """What whoever holds the lock of a run said of itself (doing, host, process); None where nobody holds it.

    Raises:
        OSError: the file system knows no locks, so nobody can tell.
    """
    try:
        file = (folder / ".lock").open()
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            try:
                said = json.loads(file.read())
            except ValueError:  # it has only just taken it, or is of an earlier version
                said = {}
            return said if isinstance(said, dict) else {}
    return None


def clear_leftovers(run: Path, stage: Path) -> None:
    """Remove the half-written files that a killed process left in a stage's folder, and of run.json.

    To the run's own folder somebody may write at this moment: what a process that lives is writing stays.
    """
    for leftover in (*stage.rglob(".*.tmp"), *run.glob(".run.json.*.tmp")):
        found = _LEFTOVER.fullmatch(leftover.name)
        if found and leftover.is_file() and (leftover.parent != run or not is_alive(int(found[1]))):
            leftover.unlink(missing_ok=True)
