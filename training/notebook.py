"""Training from a notebook: a loss plot that lives while a stage trains, and processes of its own for several GPUs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from orl_explore.errors import OrlError
from orl_explore.runs.run import Run
from orl_explore.settings import Config
from training.config import save_config
from training.console import NotebookBar, console

PATIENCE = 600.0
"""Seconds that processes have for saving a checkpoint before they are killed."""


class LossPlot:
    """The loss so far, below the notebook's cell: one figure, which changes in place and stays as the last one was.

    Args:
        file: the stage's metrics.csv, which another process may be writing.
        title: heading of the figure.
    """

    INTERVAL = 3.0
    """Least seconds between two drawings."""
    SHARE = 0.05
    """Of the time that drawing may take, at most."""

    def __init__(self, file: Path, title: str):
        self.file, self.title = file, title
        self._handle: Any = None
        self._next = 0.0

    def update(self, *, now: bool = False) -> None:
        """Draw the losses that are there, unless that was done a moment ago."""
        start = time.monotonic()
        if start < self._next and not now:
            return
        import pandas as pd
        from IPython.display import display

        from orl_explore.figures import curves

        try:
            metrics = pd.read_csv(self.file, on_bad_lines="skip").dropna(subset=["loss"])  # the last row may be torn
        except (FileNotFoundError, pd.errors.EmptyDataError):
            return
        if metrics.empty:
            return
        # Plotly's own display cannot change in place: hand over what it would have shown.
        shown = curves.loss(metrics).update_layout(title=self.title)._repr_mimebundle_()
        if self._handle:
            self._handle.update(shown, raw=True)
        else:
            self._handle = display(shown, raw=True, display_id=True)
        end = time.monotonic()
        self._next = end + max(self.INTERVAL, (end - start) / self.SHARE)


class LiveLoss(Callback):
    """Keeps a `LossPlot` up to date while this process trains."""

    def __init__(self, plot: LossPlot):
        self.plot = plot

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Draw what `MetricsLog` has written."""
        self.plot.update()

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        """Leave the whole curve."""
        self.plot.update(now=True)

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Leave the curve as far as it went."""
        self.plot.update(now=True)


def processes(config: Config) -> int:
    """How many processes a stage needs that is started from here: more than one only in a notebook with several GPUs.

    A kernel cannot be one of the processes that train together, since its own may have used the GPU already.
    """
    if not console.is_jupyter:
        return 1
    return max(1, torch.cuda.device_count()) if config.devices == "auto" else config.devices


def train_in_processes(stage: str, run: Run, config: Config, *, overwrite: bool = False) -> Run:
    """Do a stage by the `orl` command under torchrun, with one process per device, and show how it goes.

    Args:
        stage: `stage1`, `stage2` or `stage3`.
        run: the run.
        config: settings; `devices` says how many processes.
        overwrite: make the stage anew.

    Raises:
        OrlError: the command failed; with its reason, where it gave one.
    """
    title, count, start = f"{stage[:-1]} {stage[-1]}", processes(config), time.monotonic()
    relay, plot = _Relay(title), LossPlot(run.path / stage / "metrics.csv", f"{title}: loss")
    with tempfile.TemporaryDirectory() as folder:
        settings, log = Path(folder) / "config.yaml", Path(folder) / "log"
        save_config(config, settings)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        command += [str(count), "-m", "training.cli", stage, str(run.path), "--config", str(settings)]
        command += ["--overwrite"] if overwrite else []
        with log.open("w") as out, log.open() as lines:
            # In a session of its own: what interrupts the kernel must not reach it twice.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=_environment()
            )
            try:
                code = None
                while code is None:
                    time.sleep(0.2)
                    code = process.poll()  # before reading, so that nothing is said after the last reading
                    relay.show(lines.read())
                    plot.update(now=code is not None)
            except BaseException:  # Ctrl+C, or "interrupt the kernel": stop as a preempted job does
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=PATIENCE)
                except subprocess.TimeoutExpired:  # it does not even save; what was saved before is intact
                    process.kill()
                raise
    if code:
        raise OrlError(relay.reason())
    relay.bar.finish(f"{title}: {count} processes, {time.monotonic() - start:.0f} s")
    return run


class _Relay:
    """Shows what a command says: the epochs in one line that changes, the rest as it is, torchrun's own words never."""

    def __init__(self, title: str):
        self.said = ""
        self.bar = NotebookBar(title)

    def show(self, new: str) -> None:
        """Take what the command has said since the last time."""
        start = self.said.rfind("\n") + 1
        self.said += new
        for line in self.said[start : self.said.rfind("\n") + 1].splitlines():
            epoch = re.search(r": epoch (\d+)/(\d+)", line)
            if epoch:
                self.bar.update(line, int(epoch[1]) / int(epoch[2]))
            elif not re.match(r"[WEI]\d{4} |\*{5}|orl: |\s|$", line):
                console.print(line, markup=False)

    def reason(self) -> str:
        """Why the command failed: its error message, or else the last that it said."""
        found = re.search(r"^orl: (.+)", self.said, re.MULTILINE)
        return found[1] if found else self.said[-2000:]


def _environment() -> dict[str, str]:
    """The kernel's environment, as a log file is written with: kernels force colors and moving bars on everyone."""
    kept = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "CLICOLOR_FORCE")}
    return {"OMP_NUM_THREADS": "1", **kept, "PYTHONUNBUFFERED": "1", "TTY_COMPATIBLE": "0"}
