"""Long steps in numbered shards, made by one process or by several, of which any may be killed and started again."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.utilities import rank_zero_only
from torch.distributed.rendezvous import rendezvous

from orl_explore.errors import OrlError
from orl_explore.runs.checkpoints import set_aside
from orl_explore.runs.files import write_array, write_array_parts, write_json
from orl_explore.runs.run import Run
from orl_explore.runs.tables import ARRAYS, TABLES, is_whole, write_table, write_table_parts
from training.console import console, progress_bar

TOLD = 1.0
"""Least seconds between two notes of how far a step is."""

POLL = 0.2
"""Seconds between two looks at what the other processes have made."""

PATIENCE = timedelta(hours=2)
"""That processes have with one another: the first one may look for a million files before it agrees."""

Progress = Callable[[int, int], None]


class ProcessGroup(NamedTuple):
    """The processes that were started together, as one of them sees it."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    """Counted on this machine: which of its GPUs is this process's."""
    group: Any = None
    """Connects them; None when there is one alone, or this one was started for training only."""

    def agree(self, value: bool | None = None) -> bool:
        """What the first process says, to all; the others wait for it, and end in silence where it has ended."""
        message = torch.tensor([int(bool(value))])
        if self.group is not None:
            try:
                dist.broadcast(message, src=0, group=self.group)
            except RuntimeError:
                if self.rank == 0:
                    raise
                raise SystemExit(1) from None  # the first process has said why
        return bool(message)

    def meet(self) -> None:
        """Wait until all are here; end in silence where another one has ended."""
        if self.group is not None:
            try:
                dist.barrier(group=self.group)
            except RuntimeError:
                if self.rank == 0:
                    raise
                raise SystemExit(1) from None

    def decide(self, question: Callable[[], bool]) -> bool:
        """Answer a question in the first process, for all; a process that knows no others answers for itself."""
        if self.group is None:
            return question()
        return self.agree(question() if self.rank == 0 else None)


@contextlib.contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """Meet the other processes that torchrun or Slurm started, or Lightning for the training just before.

    They stay connected until the process ends: to shard and to meet again at the same address is a race.
    """
    environment = next((kind() for kind in (TorchElasticEnvironment, SLURMEnvironment) if kind.detect()), None)
    known = dist.is_available() and dist.is_initialized()
    if not known and (environment is None or environment.world_size() == 1):
        yield ProcessGroup(rank=rank_zero_only.rank)  # type: ignore[attr-defined]
        return
    if not known:
        assert environment is not None
        os.environ.setdefault("MASTER_ADDR", environment.main_address)
        os.environ.setdefault("MASTER_PORT", str(environment.main_port))
        rank, world = environment.global_rank(), environment.world_size()
        store, _, _ = next(iter(rendezvous("env://", rank, world, timeout=PATIENCE)))
        # torchrun's store may outlive processes that it starts again, and with it the addresses of the dead.
        attempt = dist.PrefixStore(f"orl/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"  # Lightning trains with what it finds
        dist.init_process_group(backend, store=attempt, rank=rank, world_size=world)
        atexit.register(dist.destroy_process_group)
    local_rank = environment.local_rank() if environment else int(os.environ.get("LOCAL_RANK", "0"))
    # Training on GPUs leaves a group that speaks through them; this one need not.
    yield ProcessGroup(dist.get_rank(), dist.get_world_size(), local_rank, _patient_group())


@functools.cache
def _patient_group() -> Any:
    return dist.new_group(backend="gloo", timeout=PATIENCE)


class Shards:
    """Tables and arrays of a run that are made shard by shard.

    Every process goes through the same steps and makes whichever shards are missing and not in another's hands; the
    first one joins them. A shard depends on its number alone, so nobody can tell afterwards who made it. A process
    holds the shard that it makes by a lock that ends with the process: what a killed one was at is made by another, or
    when it is started again.

    Args:
        run: shards go to FOLDER/shards.
        folder: of the stage.
        processes: who works on it.
    """

    def __init__(self, run: Run, folder: str, processes: ProcessGroup | None = None):
        self.run, self.folder, self.processes = run, run.folder(folder) / "shards", processes or ProcessGroup()
        self.stage = folder
        self._parent = os.getppid()
        self._told = 0.0
        self._seen: tuple[int, float] = (0, time.monotonic())

    def make(self, name: str, count: int, size: int, build: Callable[[range, Progress], Any]) -> None:
        """Make a table or array of the run, unless it is there, with a bar.

        Args:
            name: which.
            count: images in all.
            size: images per shard.
            build: rows and a progress function -> one shard, a frame or an array.
        """
        file = self.run.file(name)
        if file.exists():
            return
        rows = [range(start, min(start + size, count)) for start in range(0, count, size)]
        files = [self.folder / f"{name}-{number:05d}" for number in range(len(rows))]
        if self.processes.rank == 0:
            for number, shard in enumerate(files):
                self._check(shard, name, len(rows[number]) if name == "image_embeddings" else None)
        with progress_bar(name.replace("_", " "), shown=self.processes.rank == 0) as bar:
            progress = self._telling(name, bar)
            while missing := [number for number, shard in enumerate(files) if not shard.exists()]:
                if file.exists():  # joined and removed meanwhile
                    return
                before = count - sum(len(rows[number]) for number in missing)
                progress(before, count)
                begin = len(missing) * self.processes.rank // self.processes.world  # each begins elsewhere
                worked = 0
                for number in missing[begin:] + missing[:begin]:
                    with self._held(number) as held:
                        if not held or files[number].exists() or file.exists():
                            continue
                        done = before + worked if self.processes.world == 1 else self._done(rows, files)
                        shard = build(rows[number], lambda n, _, done=done: progress(done + n, count))  # type: ignore[misc]
                        self._save(files[number], name, shard)
                        worked += len(rows[number])
                if not worked:
                    self.wait()
            progress(count, count)
            if self.processes.rank == 0:
                self._join(file, name, files)
                for shard in files:
                    shard.unlink()
        self.wait_for(file)

    def clear(self) -> None:
        """Remove the shards and what else was noted here, once the stage is done; files of others stay."""
        names = "|".join((*TABLES, *ARRAYS))
        own = re.compile(rf"({names})-\d{{5,}}|progress\.json|neighbor_index|\..+\.tmp")
        for file in self.folder.glob("*"):
            if own.fullmatch(file.name) and file.is_file():
                file.unlink()
        with contextlib.suppress(OSError):  # it is not empty, or not there
            self.folder.rmdir()

    @staticmethod
    def _done(rows: list[range], files: list[Path]) -> int:
        """Images of the shards that are there, by whomever they were made."""
        return sum(len(own) for own, file in zip(rows, files, strict=True) if file.exists())

    def _telling(self, name: str, bar: Progress) -> Progress:
        """A progress function that also notes, for whoever looks at the run, how far the first process sees the step.

        The note has what the step makes, images done and in all, how many were done at the beginning, and when that and
        this was (seconds since 1970).
        """
        began: dict[str, float] = {}

        def progress(done: int, count: int) -> None:
            bar(done, count)
            now, begins = time.time(), not began
            if begins:  # which is told at once: else the step before would be taken for the one at work
                began.update(first=done, since=now)
            if self.processes.rank == 0 and (begins or not 0 <= now - self._told < TOLD):  # the clock may go back
                self._told = now
                note = {"table": name, "done": done, "count": count, **began, "now": now}
                write_json(self.run.progress_file(self.stage), note)

        return progress

    def once(self, file: Path, build: Callable[[], None]) -> None:
        """Make a file in the first process, while the others wait for it."""
        if self.processes.rank == 0 and not file.exists():
            build()
        self.wait_for(file)

    def rebuild(self, file: Path, build: Callable[[], None]) -> None:
        """Make a file again that is there and cannot be used; a process that is not the first one gives up."""
        if self.processes.rank:
            raise OrlError(f"{file} is cut or damaged: type the command again")
        set_aside(file)
        build()

    def wait_for(self, file: Path) -> None:
        """Wait until the first process has made a file."""
        while not file.exists():
            self.wait()

    def wait(self) -> None:
        """Let a moment pass.

        Raises:
            OrlError: whoever started this process has ended meanwhile, the first process has failed, or nothing has
                changed in the folder of the stage for as long as processes have patience.
        """
        if self.processes.rank and os.getppid() != self._parent:
            raise OrlError(f"the process that leads the work on {self.run.path} has ended: type the command again")
        if self.processes.rank and self.run.stage(self.stage).get("state") == "failed":
            raise SystemExit(1)  # the first process has said why
        changed, since = self._changed(), time.monotonic()
        if changed != self._seen[0]:
            self._seen = changed, since
        elif since - self._seen[1] > PATIENCE.total_seconds():
            raise OrlError(
                f"the other processes have made nothing in {self.folder} for"
                f" {PATIENCE.total_seconds() / 3600:.0f} hours: end them, and type the command again"
            )
        time.sleep(POLL)

    def _changed(self) -> int:
        """When something last came or went in the folder of the stage, or its progress was noted (nanoseconds)."""
        times = [0]
        for path in (self.folder, self.folder.parent, self.folder / "progress.json"):
            with contextlib.suppress(OSError):
                times.append(path.stat().st_mtime_ns)
        return max(times)

    @contextlib.contextmanager
    def _held(self, number: int) -> Iterator[bool]:
        """Keep the other processes from a shard; whether that worked."""
        if self.processes.world == 1:
            yield True
            return
        with (self.run.path / ".shards.lock").open("a") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except (BlockingIOError, PermissionError):
                yield False
                return
            except OSError:  # a file system without locks: at worst a shard is made twice, and comes out the same
                pass
            yield True

    def check(self, names: Sequence[str]) -> None:
        """Put aside what of these tables and arrays is there, cut or something else, so that it is made again.

        To be done before the other processes begin.
        """
        for name in names:
            self._check(self.run.file(name), name, read=False)

    def _check(self, file: Path, name: str, rows: int | None = None, *, read: bool = True) -> None:
        """Put a file of ours aside that is cut or something else: it is made again.

        Args:
            file: need not exist.
            name: of the table or array that it is, or is a shard of.
            rows: how many it must have, where that is known.
            read: all of it.
        """
        if not file.exists() or is_whole(file, name, rows, read=read):
            return
        aside = set_aside(file)
        console.print(
            f"{file} is cut, or none of this run: it is now {aside.name if aside else 'gone'}, and made again",
            markup=False,
        )

    def _save(self, path: Path, name: str, shard: Any) -> None:
        if name in ARRAYS:
            write_array(path, shard)
        else:
            write_table(path, shard, TABLES[name].columns)

    def _join(self, file: Path, name: str, shards: list[Path]) -> None:
        if name in ARRAYS:
            write_array_parts(file, [np.load(shard, mmap_mode="r") for shard in shards])
        else:
            write_table_parts(file, (pd.read_parquet(shard) for shard in shards), TABLES[name].columns)
