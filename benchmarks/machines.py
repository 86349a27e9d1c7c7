"""Try the three stages on machines that lack something: no HOME, nothing to write to beside the run, a small /dev/shm.

    sudo .venv/bin/python benchmarks/machines.py

Needs Linux and root, for mounts that the case alone sees. Each case is a process of its own, and its result is compared
byte by byte with that of a run on this machine as it is. Prints a line for each.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from sigkill import outputs, settings

from orl_explore.practice.scenes import make_scenes
from orl_explore.runs.run import Run
from training import cli
from training.config import save_config

ROOT = Path(__file__).resolve().parents[1]
NEW_MOUNTS = 0x00020000
STAGES = ("stage1", "stage2", "stage3")


def mounts(*commands: str) -> None:
    """Mount something that this process and its children alone see."""
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "no mounts of our own: be root")
    for command in ("mount --make-rprivate /", *commands):
        subprocess.run(command.split(), check=True)


def shared_memory(options: str) -> Callable[[], None]:
    """Another /dev/shm."""
    return lambda: mounts(f"mount -t tmpfs -o {options} tmpfs /dev/shm")


def no_home() -> None:
    """Without HOME."""
    os.environ.pop("HOME", None)


def read_only() -> None:
    """Nothing can be written to beside the temporary folder."""
    os.environ |= {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none", "MPLCONFIGDIR": "/proc/none"}
    mounts(f"mount --bind {ROOT} {ROOT}", f"mount -o remount,ro,bind {ROOT} {ROOT}")


def cores() -> None:
    """A control group of 1.5 cores (version 1 of these)."""
    group = Path(f"/sys/fs/cgroup/cpu/orl-{os.getpid()}")
    group.mkdir()
    (group / "cpu.cfs_quota_us").write_text("150000")
    (group / "cgroup.procs").write_text(str(os.getpid()))


def clock() -> None:
    """A clock that goes back a minute at every look."""
    real, looks = time.time, 0

    def back() -> float:
        nonlocal looks
        looks += 1
        return real() - 60 * looks

    time.time = back


CASES: dict[str, tuple[Callable[[], object], str, int]] = {
    "no HOME": (no_home, "run", 0),
    "read-only install, no cache": (read_only, "run", 0),
    "64 MB of /dev/shm": (shared_memory("size=64m"), "run", 2),
    "64 kB of /dev/shm": (shared_memory("size=64k"), "run", 2),
    "read-only /dev/shm": (shared_memory("ro"), "run", 2),
    "umask 077": (lambda: os.umask(0o077), "run", 0),
    "1.5 cores by a control group": (cores, "run", 2),
    "blanks and accents in the path": (lambda: None, "un café, ein Übungs-Ordner", 2),
    "a clock that goes back": (clock, "run", 0),
}


def commands(run: Path, images: Path, config: Path, workers: int) -> tuple[int, str]:
    """The three stages; exit code of the first that fails, and all that was said."""
    said = run.parent / "said"
    with said.open("w") as file:
        os.dup2(file.fileno(), 2)
        for stage in STAGES:
            more = ["--images", str(images)] if stage == "stage1" else []
            code = cli.main([stage, str(run), "--config", str(config), "--workers", str(workers), *more])
            if code:
                break
    return code, said.read_text()


def fork(do: Callable[[], object]) -> None:
    """Do something in a process of its own."""
    pid = os.fork()
    if not pid:
        with contextlib.suppress(SystemExit):
            do()
        os._exit(0)
    os.waitpid(pid, 0)


def main() -> None:
    """Try each case, then a disk that is full and has room later."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = make_scenes(folder / "scenes", count=24, size=80, seed=1, disguise=True)
        config = folder / "tiny.yaml"
        save_config(settings(2, 0), config)
        plain = folder / "plain" / "run"
        plain.parent.mkdir()
        fork(lambda: commands(plain, images, config, 0))
        expected = {stage: outputs(Run(plain), stage) for stage in STAGES}

        def tell(case: str, run: Path, code: int, said: str) -> None:
            same = code == 0 and all(outputs(Run(run), stage) == expected[stage] for stage in STAGES)
            sentences = dict.fromkeys(re.findall(r".*(?:goes on|orl: ).*", said))
            result = "the same bytes" if same else f"exit {code}"
            fault = " TRACEBACK" if "Traceback" in said else ""
            os.write(1, f"{case}: {result}{fault}{''.join(f' | {one}' for one in sentences)}\n".encode())

        for case, (prepare, called, workers) in CASES.items():
            run = folder / re.sub(r"\W", "-", case) / called
            run.parent.mkdir()

            def attempt(prepare: object = prepare, run: Path = run, workers: int = workers, case: str = case) -> None:
                prepare()  # type: ignore[operator]
                tell(case, run, *commands(run, images, config, workers))

            fork(attempt)

        def full() -> None:
            small = folder / "small"
            small.mkdir()
            mounts(f"mount -t tmpfs -o size=300k tmpfs {small}")
            tell("a full disk", small / "run", *commands(small / "run", images, config, 0))
            subprocess.run(f"mount -o remount,size=99m {small}".split(), check=True)
            tell("the same command once there is room", small / "run", *commands(small / "run", images, config, 0))

        fork(full)


if __name__ == "__main__":
    main()
