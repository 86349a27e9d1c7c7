"""Batches that worker processes prepare, as a loop over them that neither waits forever nor ends with a lost worker.

PyTorch's `DataLoader` moves batches through shared memory. Where that is small (64 MB in most containers), its workers
lose batches without a word, and the loop waits for them; where a worker is killed, the loop ends with a traceback. Here
the loop goes on at the batch that is missing: through pipes in place of shared memory, with fewer workers, in the end
without. What a batch holds depends on its place alone, so nobody can tell afterwards.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing
import pickle
import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.process import BaseProcess
from typing import Any, Final

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data._utils import signal_handling
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from orl_explore.errors import OrlError

PATIENCE: Final = 3600.0
"""Seconds without any batch after which a loop gives up: workers that live and do nothing wait for a disk."""

WATCH: Final = 5.0
"""Seconds between two looks at whether the workers live, where no signal says so."""

_ROOM = re.compile(
    r"shared memory|/torch_|No space left|Too many open files|ancdata|Cannot allocate memory"
    r"|Resource temporarily|Read-only file"
)
"""What errors say that are about the way from a worker to the loop."""

log = logging.getLogger("orl_explore")


class WorkerLost(Exception):
    """A worker process ended before its work did."""


class Batches:
    """Batches of a dataset, in order; each loop over it starts workers of its own.

    Args:
        dataset: what the batches are taken from.
        batches: lists of indices, the same at every loop.
        collate: list of samples -> batch; tensors in mappings, sequences and named tuples.
        workers: processes that prepare batches; 0: none, this process does.
        prepare: called in every worker with its number.
        pin_memory: see `DataLoader`.
        ahead: batches that a worker prepares before they are asked for.

    Raises (while looping):
        OrlError: workers crash, or nothing arrives for `PATIENCE` seconds.
    """

    def __init__(
        self,
        dataset: Dataset,
        batches: Any,
        *,
        collate: Callable[[list[Any]], Any],
        workers: int,
        prepare: Callable[[int], None] | None = None,
        pin_memory: bool = False,
        ahead: int = 2,
    ):
        self.dataset, self.batches, self.collate = dataset, batches, collate
        self.workers, self.prepare, self.pin_memory, self.ahead = workers, prepare, pin_memory, ahead

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        done, workers, piped = 0, self.workers, False
        while True:
            try:
                for batch in self._run(done, workers, piped):
                    yield batch
                    done += 1
                return
            except _TROUBLE as error:
                known = isinstance(error, WorkerLost | MemoryError) or _ROOM.search(str(error))
                if not workers or not known:
                    raise
                piped, workers = self._instead(error, workers, piped)

    def _instead(self, error: Exception, workers: int, piped: bool) -> tuple[bool, int]:
        """Whether to use pipes, and how many workers, after something went wrong; and say so."""
        reason = " ".join(str(error).split()) if isinstance(error, WorkerLost) else _short(error)
        crashed = isinstance(error, WorkerLost) and not re.search("SIGKILL|SIGBUS|SIGTERM", reason)
        if crashed and workers == 1:
            raise OrlError(
                f"{reason}, as did all before it: set --workers 0 to see its own error, or `orl verify` the images"
            ) from error
        full = "SIGBUS" in reason or (not isinstance(error, WorkerLost | MemoryError) and "space" in reason)
        if (full or "shared memory" in reason) and not piped:
            log.warning("%s: this goes on without shared memory, a little slower", reason)
            return True, workers
        fewer = workers // 2
        how = f"{fewer} worker process{'es' if fewer > 1 else ''}" if fewer else "no worker processes, slower"
        log.warning("%s: this goes on with %s (setting workers)", reason, how)
        return piped, fewer

    def _run(self, done: int, workers: int, piped: bool) -> Iterator[Any]:
        """Batches from number `done` on."""
        sending = _Sending(self.collate, piped) if workers else self.collate
        loader = DataLoader(
            self.dataset,
            batch_sampler=_From(self.batches, done),
            collate_fn=sending,
            num_workers=workers,
            worker_init_fn=self.prepare,
            pin_memory=self.pin_memory,
            prefetch_factor=self.ahead if workers else None,
            timeout=WATCH if workers else 0,
        )
        if not workers:
            yield from loader
            return
        with _Watched(loader) as batches:
            while True:
                try:
                    batch = batches.next()
                except StopIteration:
                    return
                yield pickle.loads(batch.content) if isinstance(batch, _Packed) else batch


_TROUBLE = (WorkerLost, RuntimeError, OSError, MemoryError)


class _Watched:
    """An iterator of a loader with workers, and an eye on these.

    PyTorch raises its error about a lost worker wherever the process happens to be, in the middle of a training step
    also; here it is raised only while a batch is waited for. That must be from a signal: of a worker that died while it
    was writing, half a message stays in the pipe, and reading it has no end.
    """

    def __init__(self, loader: DataLoader):
        self.loader = loader
        self.waiting = False

    def __enter__(self) -> _Watched:
        before = set(multiprocessing.active_children())
        in_main = threading.current_thread() is threading.main_thread()
        self._handler = signal.getsignal(signal.SIGCHLD) if in_main else None
        try:
            self._iterator: Any = iter(self.loader)
        except BaseException as error:
            for child in set(multiprocessing.active_children()) - before:
                child.kill()
            for frame, _ in traceback.walk_tb(error.__traceback__):
                if isinstance(half := frame.f_locals.get("self"), _MultiProcessingDataLoaderIter):
                    half._shutdown = True  # else its `__del__` misses what it has not got yet, and tells so
            raise
        self._workers = [child for child in multiprocessing.active_children() if child not in before]
        if in_main:
            signal.signal(signal.SIGCHLD, self._hear)
        self._in_main = in_main
        return self

    def __exit__(self, *error: object) -> None:
        # PyTorch's own handler comes back last, when no worker is left that it could raise an error about.
        with contextlib.suppress(Exception):  # the iterator of another version of PyTorch
            if self._iterator._worker_pids_set:
                signal_handling._remove_worker_pids(id(self._iterator))
                self._iterator._worker_pids_set = False
        if error[0] is not None:
            for worker in self._workers:  # those that are left may hold a lock that another waits for
                worker.kill()
                worker.join(WATCH)
        with contextlib.suppress(Exception):  # it is over already
            self._iterator._shutdown_workers()
        del self._iterator
        if self._in_main:
            signal.signal(signal.SIGCHLD, self._handler if self._handler is not None else signal.SIG_DFL)

    def _hear(self, number: int, frame: object) -> None:
        if self.waiting:
            self._look()

    def _look(self) -> None:
        lost = [worker for worker in self._workers if not worker.is_alive() and worker.exitcode != 0]
        if lost:
            self.waiting = False
            raise WorkerLost(f"a worker process that prepares images {_end_of(lost[0])}")

    def next(self) -> Any:
        """The next batch.

        Raises:
            StopIteration: there is none.
            WorkerLost: a worker died.
            OrlError: nothing came for `PATIENCE` seconds.
        """
        end = time.monotonic() + PATIENCE
        self.waiting = True
        try:
            while True:
                self._look()
                try:
                    return next(self._iterator)
                except (ConnectionError, EOFError, FileNotFoundError) as error:
                    if str(error).startswith("Caught "):  # by the worker, in the data
                        raise
                    time.sleep(0.5)  # it was the way to a worker that has just died
                    self._look()
                    raise WorkerLost("a worker process that prepares images died") from None
                except RuntimeError as error:
                    self._look()
                    if "exited unexpectedly" in str(error):
                        raise WorkerLost("a worker process that prepares images died") from None
                    if "timed out" not in str(error):
                        raise
                    if time.monotonic() > end:
                        raise OrlError(
                            f"the worker processes have prepared nothing for {PATIENCE / 60:.0f} minutes: does the disk"
                            " with the images answer? The same command goes on from the last checkpoint"
                        ) from None
        finally:
            self.waiting = False


class _From(Sampler[list[Any]]):
    """The batches from one on."""

    def __init__(self, batches: Any, first: int):
        self.batches, self.first = batches, first

    def __len__(self) -> int:
        return len(self.batches) - self.first

    def __iter__(self) -> Iterator[list[Any]]:
        return itertools.islice(iter(self.batches), self.first, None)


class _Packed:
    """A batch as bytes: these go through the pipe itself."""

    def __init__(self, content: bytes):
        self.content = content


class _Sending:
    """Collates in a worker, and puts the batch into shared memory there, where an error is still told.

    Left to the thread that sends it, an error would be printed, the batch lost, and the loop would wait for it.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], piped: bool):
        self.collate, self.piped = collate, piped

    def __call__(self, samples: list[Any]) -> Any:
        if self.piped:
            return _Packed(pickle.dumps(self.collate(samples), pickle.HIGHEST_PROTOCOL))
        batch = self.collate(samples)
        _share(batch)
        return batch


def _share(value: Any) -> None:
    if isinstance(value, Tensor):
        value.share_memory_()
    elif isinstance(value, Mapping):
        for one in value.values():
            _share(one)
    elif isinstance(value, tuple | list):
        for one in value:
            _share(one)


def _end_of(process: BaseProcess) -> str:
    code = process.exitcode
    if code is None or code >= 0:
        return "ended by itself" if code is None else f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    why = {"SIGKILL": ", as when memory runs out", "SIGBUS": ", as when shared memory (/dev/shm) is full"}.get(name, "")
    return f"was ended by {name}{why}"


def _short(error: Exception) -> str:
    """The last line of an error that a worker met, without the traceback that is put before it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"a worker process that prepares images met {lines[-1].strip()[:200]}"
