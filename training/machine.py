"""What this machine is asked for: precision, threads and worker processes, devices, and which process is the first.

Threads and workers follow one rule. The cores that a process may use (`cores`) are shared evenly among the processes
that compute on this machine at the time, whoever started them (`computing`): two that compute with all cores each wait
for one another, and are together several times slower than with half of them each. Of its share, a process on a GPU
gives all to workers, which prepare images; one without gives them every fourth core, and computes with the others
itself (`share`). `workers` and the environment's OMP_NUM_THREADS, where they are set, hold.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.utilities import rank_zero_only

from orl_explore.errors import OrlError
from orl_explore.settings import Config


def precision_flag(precision: str) -> str:
    """Lightning's name for the precision of training; see `Config.precision`."""
    if precision == "paper":
        precision = "fp16" if torch.cuda.is_available() else "fp32"
    if precision == "auto" and torch.cuda.is_available():
        precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    elif precision == "auto":  # processors without such instructions imitate them, which takes longer than fp32
        precision = "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "fp32"
    return {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}[precision]


# ---- threads and workers -------------------------------------------------------------------------------------------

MOST_WORKERS: Final = 16
"""Processes that prepare images for one process that computes: 8 are too few for an H200 with `compile`
(benchmarks/results/gpu_day.md).
"""

BESIDE: Final = 4
"""Cores of a share without a GPU that one worker stands for: it feeds three that compute."""

LOOK: Final = 5.0
"""Seconds between two looks at who else computes."""


class Share(NamedTuple):
    """What one process may start."""

    threads: int
    """That it computes with."""
    workers: int
    """Processes that prepare its images; 0: it does so itself."""


def share(cores: int, computing: int, *, gpu: bool, workers: int | None = None, threads: int | None = None) -> Share:
    """Divide a machine among the processes that compute on it.

    Args:
        cores: that may be used.
        computing: processes that compute, this one included.
        gpu: whether this one computes on a GPU.
        workers: where a person has set them.
        threads: likewise.
    """
    own = max(1, cores // computing)
    if workers is None:
        workers = min(MOST_WORKERS, own if gpu else own // BESIDE)
    return Share(threads or max(1, own - workers), workers)


def own_share(config: Config) -> Share:
    """This process's share, at present."""
    set_threads = os.environ.get("OMP_NUM_THREADS", "")
    return share(
        cores(),
        max(_computing(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))),
        gpu=torch.cuda.is_available(),
        workers=config.workers,
        threads=int(set_threads) if set_threads.isdecimal() else None,
    )


def data_workers(config: Config) -> int:
    """Processes that prepare images, for each process that computes."""
    return own_share(config).workers


def pool_workers(config: Config) -> int:
    """Processes of a pool that computes in this process's place, while it waits: to search for boxes, say."""
    if config.workers is not None:
        return config.workers
    return min(MOST_WORKERS, max(1, cores() // _computing()))


def cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: by its affinity, and by the quotas of its control groups.

    Args:
        root: where /proc and /sys are.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, round(min(_quotas(root), default=float(count)))))


def _quotas(root: Path) -> Iterator[float]:
    """Cores that each control group of this process allows, of both versions of control groups."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounted = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):  # a container sees its own group as the root
            with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
                if controllers:
                    quota = (mounted / folder / "cpu.cfs_quota_us").read_text(encoding="utf-8")
                    period = (mounted / folder / "cpu.cfs_period_us").read_text(encoding="utf-8")
                else:
                    quota, period = (mounted / folder / "cpu.max").read_text(encoding="utf-8").split()
                if float(quota) > 0:  # version 2 says "max", version 1 -1, where there is none
                    yield float(quota) / float(period)


def _registry() -> Path:
    """Where processes of one person that compute on this machine say so.

    Raises:
        OSError: others could have put something there, as everybody knows its name; a link, say, to be written through.
    """
    folder = Path(tempfile.gettempdir()) / f"orl-computing-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise PermissionError(f"{folder} is not this person's alone")
    return folder


@contextlib.contextmanager
def computing(config: Config) -> Iterator[None]:
    """Say that this process computes, and compute with its share of threads; what was set before is set again."""
    before = torch.get_num_threads()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # nobody learns of it then
            path = _registry() / str(os.getpid())
            file = stack.enter_context(os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
            stack.callback(path.unlink, missing_ok=True)
        keep_to_share(config, now=True)
        try:
            yield
        finally:
            torch.set_num_threads(before)


_looked = 0.0


def keep_to_share(config: Config, *, now: bool = False) -> None:
    """Compute with more or fewer threads when other processes have ended or begun; to be called often."""
    global _looked
    if not now and time.monotonic() - _looked < LOOK:
        return
    _looked = time.monotonic()
    threads = own_share(config).threads
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)


def _computing() -> int:
    """How many processes compute on this machine, this one included."""
    others = 0
    with contextlib.suppress(OSError):
        for path in _registry().iterdir():
            if path.name == str(os.getpid()):
                continue
            with contextlib.suppress(OSError), path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:  # what nobody holds is of a process that ended without a word
                    others += 1
    return 1 + others


# ---- devices and processes -----------------------------------------------------------------------------------------


def launched(config: Config) -> tuple[int | str, int]:
    """Devices per machine and machines: as torchrun or Slurm started processes for them, or as the settings say."""
    if TorchElasticEnvironment.detect():
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    if SLURMEnvironment.detect():
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
        return int(os.environ["SLURM_NTASKS"]) // nodes, nodes
    return (config.devices if torch.cuda.is_available() or config.devices != "auto" else 1), 1


def processes_together(config: Config) -> int:
    """How many processes train together: one for each device."""
    devices, nodes = launched(config)
    return nodes * (torch.cuda.device_count() if devices == "auto" else int(devices))


def check_batches(config: Config, *stages: str) -> None:
    """Look whether the processes that train together can share the batches of stages: see `check_batch`."""
    for stage in stages:
        settings = getattr(config, stage)
        world = processes_together(config)
        check_batch(f"{stage}.batch_size", settings.batch_size, world=world, passes=settings.accumulate)


def check_batch(setting: str, batch: int, *, world: int, passes: int = 1, least: int = 2) -> None:
    """Look whether a batch can be shared equally: gradients are averaged over processes and passes, not over images.

    Args:
        setting: that the batch is, such as `stage1.batch_size`; on one device it can be shared.
        batch: images per optimizer step.
        world: processes that train together.
        passes: of each of them in a step.
        least: images that a pass needs; batch normalization takes two.

    Raises:
        OrlError: it cannot; names a number of devices, and a batch, that work.
    """
    works = [count for count in range(1, world + 1) if not batch % (count * passes) and batch >= least * count * passes]
    if world in works:
        return
    shares = world * passes
    smaller = batch // shares * shares
    among = f"{world} processes{f' with {passes} passes each' * (passes > 1)}"
    raise OrlError(
        f"{setting} is {batch}: {among} cannot share it equally{f', with {least} images or more a pass' * (least > 1)}:"
        f" take --devices {max(works)} (of torchrun or Slurm, as many processes)"
        + (f", or --{setting} {smaller}" if smaller >= least * shares else "")
    )


def is_main_process() -> bool:
    """Whether this is the first of the processes that train together: the one that writes to the run folder."""
    return rank_zero_only.rank == 0  # type: ignore[attr-defined]
