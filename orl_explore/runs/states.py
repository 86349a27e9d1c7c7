"""What became of a stage: what run.json says of it, held against the lock, the files, and their age.

A process that is killed cannot write that it was, and a file that is deleted leaves its record behind. So a state is
never read from run.json alone: pages and commands ask here, by `Run.state`.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from orl_explore.errors import typed
from orl_explore.runs import locking

State = Literal["absent", "waiting", "running", "stopped", "failed", "incomplete", "finished", "imported"]
"""absent: never begun. waiting: never begun, but `orl run` or `orl explore` is at work and comes to it. running.
stopped: killed, or interrupted. failed: ended with an error. incomplete: finished once, but files of it are gone.
finished. imported."""

QUIET: Final = 600.0
"""Seconds without a sign after which a stage counts as stopped where the lock tells nothing: of another machine, or
on a file system without locks."""

COMES_TO: Final[Mapping[str, tuple[str, ...]]] = {"run": ("stage1", "stage2", "stage3"), "explore": ("stage2",)}
"""Stages that a command at work comes to by itself."""

INTERRUPTED: Final = ("KeyboardInterrupt", "SystemExit", "Stopped")
"""Errors that are no failure: somebody, or the scheduler, ended the command."""


@dataclass(frozen=True)
class StageState:
    """A stage as it is now."""

    name: str
    state: State
    record: Mapping[str, Any]
    """What run.json says."""
    seconds: float
    """Worked so far, over all attempts, killed ones included."""
    missing: tuple[str, ...]
    """Tables, arrays or "encoder" that it made and that are gone."""
    command: str | None
    """What to type next; None while a command is at work, and when there is nothing to do."""

    @property
    def begun(self) -> bool:
        """Whether it has ever been started."""
        return bool(self.record)

    @property
    def word(self) -> str:
        """The state in a word or two."""
        return {"absent": "not begun", "waiting": "to come"}.get(self.state, self.state)

    @property
    def sentence(self) -> str:
        """The state in a few words, with what to type."""
        words = {
            "absent": "not begun",
            "waiting": "not begun: the command at work comes to it by itself",
            "stopped": "stopped before its end",
            "failed": "ended with an error",
            "incomplete": f"finished, but gone since: {', '.join(self.missing)}",
        }.get(self.state, self.state)
        return f"{words}: `{self.command}`" if self.command else words


def state_of(folder: Path, stages: Mapping[str, Mapping[str, Any]], name: str, missing: Sequence[str]) -> StageState:
    """The state of a stage.

    Args:
        folder: of the run.
        stages: `stages` of run.json.
        name: of the stage.
        missing: what the stage made, by its record, and what is not there.
    """
    record = stages.get(name, {})
    said, at_work = record.get("state"), _at_work(folder)
    state: State
    if said is None:
        comes = COMES_TO.get(str(at_work.get("doing")), ()) if at_work is not None else ()
        state = "waiting" if name in comes else "absent"
    elif said == "running":
        state = "running" if _is_alive(folder, stages, name, at_work) else "stopped"
    elif said == "failed":
        state = "stopped" if str(record.get("error")).startswith(INTERRUPTED) else "failed"
    elif missing:
        state = "incomplete"
    else:
        state = "imported" if "imported" in record else "finished"
    idle = at_work is None and state in ("absent", "stopped", "failed", "incomplete")
    command = command_for(folder, name, record, missing) if idle else None
    return StageState(name, state, record, _seconds(folder, name, record, state), tuple(missing), command)


def command_for(folder: Path, name: str, record: Mapping[str, Any], missing: Sequence[str] = ()) -> str:
    """What begins a stage, goes on with it, or makes what is missing of it."""
    if missing and "imported" in record:
        files = [file.get("path", file["file"]) for file in record["imported"].get("files", [])]
        return typed("import", folder, *files, "--overwrite")
    return typed(name, folder)


def spent(folder: Path, name: str, record: Mapping[str, Any]) -> float:
    """Seconds that a stage has worked in attempts that have ended; of a killed one, until the last file it wrote."""
    seconds = float(record.get("seconds", 0.0))
    if record.get("state") == "running":
        seconds += max(0.0, last_sign(folder, name) - _started(record))
    return seconds


def last_sign(folder: Path, name: str) -> float:
    """When a stage last wrote anything, seconds since 1970; 0 when never."""
    times = [0.0]
    for file in (folder / name).rglob("*"):
        try:
            if file.is_file() and file.name != "reviews.parquet":  # that is a person's
                times.append(file.stat().st_mtime)
        except FileNotFoundError:  # renamed or removed meanwhile
            continue
    return max(times)


def _seconds(folder: Path, name: str, record: Mapping[str, Any], state: State) -> float:
    if state == "running":
        return float(record.get("seconds", 0.0)) + max(0.0, time.time() - _started(record))
    return spent(folder, name, record)


def _started(record: Mapping[str, Any]) -> float:
    try:
        return datetime.datetime.fromisoformat(record["started"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return time.time()


def _at_work(folder: Path) -> dict[str, Any] | None:
    try:
        return locking.holder(folder)
    except OSError:
        return None


def _is_alive(
    folder: Path, stages: Mapping[str, Mapping[str, Any]], name: str, at_work: Mapping[str, Any] | None
) -> bool:
    """Whether somebody works on a stage that is recorded as running."""
    record = stages[name]
    # A process is at one stage at a time: what was begun before another that runs was killed.
    latest = max((stages[key] for key in stages if stages[key].get("state") == "running"), key=_started)
    if at_work is not None:
        return record is latest
    if record.get("host", locking.host()) == locking.host() and _locks_tell(folder):
        return False
    return record is latest and time.time() - max(last_sign(folder, name), _started(record)) < QUIET


def _locks_tell(folder: Path) -> bool:
    try:
        locking.holder(folder)
    except OSError:
        return False
    return True
