"""Loops over batches that worker processes prepare: all batches come, in order, whatever happens to the workers."""

from __future__ import annotations

import gc
import logging
import multiprocessing.synchronize
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from orl_explore.errors import OrlError
from orl_explore.views import loading
from orl_explore.views.loading import Batches


class Numbers(Dataset):
    """Item i is i, some times over; some items end the worker that makes them, until that has happened often enough."""

    def __init__(self, folder: Path, fatal: dict[int, int] | None = None, *, times: int = 1, size: int = 1000):
        self.folder, self.fatal, self.times, self.size = folder, fatal or {}, times, size
        self.parent = os.getpid()

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        deaths = len(list(self.folder.iterdir()))
        if index in self.fatal and deaths < self.times and os.getpid() != self.parent:
            (self.folder / str(os.getpid())).touch()
            os.kill(os.getpid(), self.fatal[index])
        return {"value": torch.full((self.size,), index)}


def collate(samples):
    return {"value": torch.stack([sample["value"] for sample in samples])}


BATCHES = [[n, n + 1] for n in range(0, 40, 2)]


def loop(dataset: Dataset, **options) -> list[list[int]]:
    given = {"collate": collate, "workers": 2} | options
    return [batch["value"][:, 0].tolist() for batch in Batches(dataset, BATCHES, **given)]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_batches_in_order(workers, tmp_path):
    assert loop(Numbers(tmp_path), workers=workers) == BATCHES
    batches = Batches(Numbers(tmp_path), BATCHES, collate=collate, workers=workers)
    assert len(batches) == 20
    first = iter(batches)
    next(first)
    del first  # half of a loop leaves nobody behind
    assert loop(Numbers(tmp_path)) == BATCHES


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "SIGKILL, as when memory runs out: this goes on with 1 worker process (setting workers)"),
        (signal.SIGBUS, "SIGBUS, as when shared memory (/dev/shm) is full: this goes on without shared memory"),
        (signal.SIGSEGV, "was ended by SIGSEGV: this goes on with 1 worker process"),
    ],
)
@pytest.mark.parametrize("size", [1000, 3_000_000], ids=["small", "large"])
def test_a_worker_dies(number, said, size, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert loop(Numbers(tmp_path, {17: number}, size=size)) == BATCHES
    assert said in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_worker_dies(tmp_path, caplog):
    """Killed for memory, however few: in the end this process does it. The loop before does not leave its signal."""
    before = signal.getsignal(signal.SIGCHLD)
    assert loop(Numbers(tmp_path, dict.fromkeys(range(40), signal.SIGKILL), times=99), workers=4) == BATCHES
    assert [re.search(r"with (\S+) worker", text)[1] for text in caplog.messages] == ["2", "1", "no"]
    assert signal.getsignal(signal.SIGCHLD) == before


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_crashes_a_worker_would_crash_this_process(tmp_path):
    with pytest.raises(OrlError, match=r"ended by SIGSEGV, as did all before it: set --workers 0"):
        loop(Numbers(tmp_path, {9: signal.SIGSEGV}, times=99))


@pytest.mark.slow
def test_a_worker_killed_from_outside(tmp_path):
    """While a message of its is half in the pipe, which would be read forever."""
    import multiprocessing

    batches = Batches(Numbers(tmp_path, size=4_000_000), BATCHES, collate=collate, workers=2)
    found = []
    for number, batch in enumerate(batches):
        found.append(batch["value"][:, 0].tolist())
        if number == 3:
            time.sleep(0.3)
            for child in multiprocessing.active_children():
                child.kill()
    assert found == BATCHES


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"),
        OSError(24, "Too many open files"),
        MemoryError("out of it"),
    ],
)
def test_no_way_to_send_a_batch(error, tmp_path, monkeypatch, caplog):
    def share(_):
        raise error

    monkeypatch.setattr(loading, "_share", share)
    assert loop(Numbers(tmp_path)) == BATCHES
    assert caplog.messages[0].startswith("a worker process that prepares images met ")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("number", "text"), [(11, "Resource temporarily unavailable"), (30, "Read-only file system"), (28, "No space left")]
)
def test_no_worker_can_be_started(number, text, tmp_path, monkeypatch, caplog):
    def fork():
        raise OSError(number, text)

    monkeypatch.setattr(os, "fork", fork)
    assert loop(Numbers(tmp_path)) == BATCHES
    assert caplog.messages[-1].endswith("no worker processes, slower (setting workers)")


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_no_queue_can_be_made(tmp_path, monkeypatch, caplog):
    def no_room(*_, **__):
        raise OSError(28, "No space left on device")

    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", no_room)
    assert loop(Numbers(tmp_path)) == BATCHES
    gc.collect()
    assert raised == []
    assert caplog.messages[-1].endswith("no worker processes, slower (setting workers)")


def test_errors_of_the_data_are_told_as_they_are(tmp_path):
    class Gone(Numbers):
        def __getitem__(self, index):
            raise OrlError(f"{index}.jpg is gone")

    with pytest.raises(OrlError) as error:
        loop(Gone(tmp_path))
    assert str(error.value) == "0.jpg is gone"
    with pytest.raises(KeyError):
        loop(type("Broken", (Numbers,), {"__getitem__": lambda *_: {}["x"]})(tmp_path))


def test_workers_that_do_nothing_are_given_up(tmp_path, monkeypatch):
    class Stuck(Numbers):
        def __getitem__(self, index):
            time.sleep(60)

    monkeypatch.setattr(loading, "PATIENCE", 0.5)
    monkeypatch.setattr(loading, "WATCH", 0.3)
    with pytest.raises(OrlError, match="have prepared nothing for 0 minutes: does the disk"):
        loop(Stuck(tmp_path))


def test_pipes_keep_every_bit(tmp_path):
    class Mixed(Numbers):
        def __getitem__(self, index):
            return np.random.default_rng(index).random((3, 4, 5))

    def turned(samples):
        return torch.from_numpy(np.stack(samples)).permute(0, 3, 1, 2)

    one, two = (list(Batches(Mixed(tmp_path), BATCHES, collate=turned, workers=0)) for _ in "ab")
    piped = list(Batches(Mixed(tmp_path), BATCHES, collate=turned, workers=1)._run(0, 1, True))
    assert all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(one, piped, strict=True))
    assert len(one) == len(two) == len(piped) == 20


SMALL = """
import sys; sys.path[:0] = [{here!r}]
import logging, torch; logging.basicConfig(format="%(message)s"); torch.set_num_threads(1)
from pathlib import Path
from test_loading import *
print(loop(Numbers(Path({folder!r}), size=3_000_000), workers=2) == BATCHES)
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_small_dev_shm():
    """Where this can be tried: as root, with a /dev/shm of 64 MB of its own, in which one batch takes 48 MB."""
    folder = tempfile.TemporaryDirectory()  # pytest's may be in the /dev/shm that this hides
    code = SMALL.format(here=str(Path(__file__).parent), folder=folder.name)
    shell = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$0" -c "$1"'
    command = ["unshare", "-m", "sh", "-c", shell, sys.executable, code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare")
    if re.search("unshare:|mount:|denied", done.stderr):
        pytest.skip(f"no /dev/shm of our own: {done.stderr}")
    assert done.stdout.strip() == "True", done.stderr
    assert "this goes on without shared memory" in done.stderr
