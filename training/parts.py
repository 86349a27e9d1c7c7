"""Long steps in numbered parts, made by one process or by several, of which any may be killed and started again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.utilities import rank_zero_only

from orl_explore.errors import OrlError
from orl_explore.run import ARRAYS, TABLES, Run, write_array, write_array_parts, write_table, write_table_parts
from training.console import progress_bar

POLL = 0.2
"""Seconds between two looks at what the other processes have made."""

Progress = Callable[[int, int], None]


class Crew(NamedTuple):
    """The processes that were started together, as one of them sees it."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    """Counted on this machine: which of its GPUs is this process's."""
    group: Any = None
    """Connects them; None when there is one alone, or this one was started for training only."""

    def agree(self, value: bool | None = None) -> bool:
        """What the first process says, to all; the others wait for it."""
        message = torch.tensor([int(bool(value))])
        if self.group is not None:
            dist.broadcast(message, src=0, group=self.group)
        return bool(message)


@contextlib.contextmanager
def crew() -> Iterator[Crew]:
    """Meet the other processes that torchrun or Slurm started, or Lightning for the training just before."""
    environment = next((kind() for kind in (TorchElasticEnvironment, SLURMEnvironment) if kind.detect()), None)
    known = dist.is_available() and dist.is_initialized()
    if not known and (environment is None or environment.world_size() == 1):
        yield Crew(rank=rank_zero_only.rank)  # type: ignore[attr-defined]
        return
    if not known:
        assert environment is not None
        os.environ.setdefault("MASTER_ADDR", environment.main_address)
        os.environ.setdefault("MASTER_PORT", str(environment.main_port))
        dist.init_process_group(
            "gloo",
            rank=environment.global_rank(),
            world_size=environment.world_size(),
            timeout=timedelta(hours=2),  # the first process may look for a million files before it agrees
        )
    try:
        local_rank = environment.local_rank() if environment else int(os.environ.get("LOCAL_RANK", "0"))
        # Training on GPUs leaves a group that speaks through them; this one need not.
        yield Crew(dist.get_rank(), dist.get_world_size(), local_rank, dist.new_group(backend="gloo"))
    finally:
        if not known:
            dist.destroy_process_group()


class Parts:
    """Tables and arrays of a run that are made part by part.

    Every process goes through the same steps and makes whichever parts are missing and not in another's hands; the
    first one joins them. A part depends on its number alone, so nobody can tell afterwards who made it. A process holds
    the part that it makes by a lock that ends with the process: what a killed one was at is made by another, or when it
    is started again.

    Args:
        run: parts go to FOLDER/parts.
        folder: of the stage.
        crew: who works on it.
    """

    def __init__(self, run: Run, folder: str, crew: Crew | None = None):
        self.run, self.folder, self.crew = run, run.path / folder / "parts", crew or Crew()
        self._parent = os.getppid()

    def make(self, name: str, count: int, size: int, build: Callable[[range, Progress], Any]) -> None:
        """Make a table or array of the run, unless it is there, with a bar.

        Args:
            name: which.
            count: images in all.
            size: images per part.
            build: rows and a progress function -> one part, a frame or an array.
        """
        file = self.run.file(name)
        if file.exists():
            return
        rows = [range(start, min(start + size, count)) for start in range(0, count, size)]
        files = [self.folder / f"{name}-{number:05d}" for number in range(len(rows))]
        with progress_bar(name.replace("_", " "), shown=self.crew.rank == 0) as progress:
            while missing := [number for number, part in enumerate(files) if not part.exists()]:
                if file.exists():  # joined and removed meanwhile
                    return
                before = count - sum(len(rows[number]) for number in missing)
                progress(before, count)
                begin = len(missing) * self.crew.rank // self.crew.world  # each begins elsewhere
                worked = 0
                for number in missing[begin:] + missing[:begin]:
                    with self._held(number) as held:
                        if not held or files[number].exists() or file.exists():
                            continue
                        done = before + worked
                        part = build(rows[number], lambda n, _, done=done: progress(done + n, count))  # type: ignore[misc]
                        self._save(files[number], name, part)
                        worked += len(rows[number])
                if not worked:
                    self.wait()
            progress(count, count)
            if self.crew.rank == 0:
                self._join(file, name, files)
                for part in files:
                    part.unlink()
        self.wait_for(file)

    def once(self, file: Path, build: Callable[[], None]) -> None:
        """Make a file in the first process, while the others wait for it."""
        if self.crew.rank == 0 and not file.exists():
            build()
        self.wait_for(file)

    def wait_for(self, file: Path) -> None:
        """Wait until the first process has made a file."""
        while not file.exists():
            self.wait()

    def wait(self) -> None:
        """Let a moment pass.

        Raises:
            OrlError: whoever started this process has ended meanwhile.
        """
        if self.crew.rank and os.getppid() != self._parent:
            raise OrlError(f"the process that leads the work on {self.run.path} has ended: type the command again")
        time.sleep(POLL)

    @contextlib.contextmanager
    def _held(self, number: int) -> Iterator[bool]:
        """Keep the other processes from a part; whether that worked."""
        if self.crew.world == 1:
            yield True
            return
        with (self.run.path / ".parts.lock").open("a") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except (BlockingIOError, PermissionError):
                yield False
                return
            except OSError:  # a file system without locks: at worst a part is made twice, and comes out the same
                pass
            yield True

    def _save(self, path: Path, name: str, part: Any) -> None:
        if name in ARRAYS:
            write_array(path, part)
        else:
            write_table(path, part, TABLES[name].columns)

    def _join(self, file: Path, name: str, parts: list[Path]) -> None:
        if name in ARRAYS:
            write_array_parts(file, [np.load(part, mmap_mode="r") for part in parts])
        else:
            write_table_parts(file, (pd.read_parquet(part) for part in parts), TABLES[name].columns)
