"""Commands in processes of their own that begin at once: forked where all that they import has been imported.

A `python -m training.cli` imports for seven seconds before it does anything. What is begun here differs in nothing else
that a command could see: arguments, environment, working directory, output and signals are its own, and it can be
killed. Where it is forked, nothing has run. A new Python is started all the same by Lightning and in notebooks, and by
tests of commands that end at once.
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

CLI = ("-m", "training.cli")


@functools.cache
def _server() -> ForkServerContext:
    """Where they are forked; started once, with nothing but imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["all_imports"])
    with pytest.MonkeyPatch.context() as here:
        here.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()
    return context


class Command:
    """What `python WORDS` does, begun at once.

    Args:
        words: a script or `-m`, a module, and arguments.
        log: gets what it says, after what others have said there.
        environment: variables beside those of this process.
    """

    def __init__(self, *words: object, log: Path, **environment: str) -> None:
        self.log, self._before = log, log.stat().st_size if log.exists() else 0
        arguments = list(map(str, words)), log, {**os.environ, **environment}
        self.process = _server().Process(target=_begin, args=arguments, daemon=True)  # ends with the tests
        self.process.start()

    def said(self) -> str:
        """All that has come into its log since it began."""
        return self.log.read_bytes()[self._before :].decode()

    def wait(self) -> int:
        """Its exit code, once it has ended; that of a signal is negative."""
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Wait for something that happens before it ends."""
        while not happened():
            assert self.process.exitcode is None, f"it has ended before: {self.said()}"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        assert self.wait() == -signal.SIGKILL, self.said()


def do(*words: object, log: Path, **environment: str) -> None:
    """Do what `python WORDS` does, to the end, without an error."""
    command = Command(*words, log=log, **environment)
    assert command.wait() == 0, command.said()


def torchrun(*options: str) -> tuple[str, ...]:
    """Words of torchrun itself, which forks its two processes; what they do follows, as after `python`."""
    launcher = "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *options
    return *launcher, "--start-method=fork", "--run-path", __file__


def _begin(words: list[str], log: Path, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    multiprocessing.set_start_method(None, force=True)  # the system's own, not what this one was begun by
    multiprocessing.current_process()._config["daemon"] = False  # it may have processes of its own
    _run(words)


def _run(words: list[str]) -> None:
    """Do it in this process, which has done nothing yet."""
    import torch
    from lightning.fabric.utilities.rank_zero import _get_rank, rank_zero_only

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):  # torchrun's are not those of its processes
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    rank_zero_only.rank = _get_rank() or 0  # set when it is imported
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # what is forked leaves them out


if __name__ == "__main__":
    _run(sys.argv[1:])
