"""What happens beside the training steps: metrics, progress, checkpoints, kept encoders, preemption."""

from __future__ import annotations

import contextlib
import csv
import signal
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from rich.progress import TextColumn
from torch import Tensor

from orl_explore.byol import target_momentum
from orl_explore.errors import OrlError
from orl_explore.judging import diagnostics
from orl_explore.judging.diagnostics import COLLAPSED
from orl_explore.numbers import percent_text
from orl_explore.runs.checkpoints import set_aside
from orl_explore.runs.files import atomic_write, disk_trouble
from orl_explore.runs.run import kept_encoder_file
from orl_explore.settings import Config, TrainSettings
from training.console import NotebookBar, bar, console
from training.machine import keep_to_share


class Stopped(OrlError):
    """Somebody, such as Slurm before it takes the machine away, asked for an end; a checkpoint of this step exists."""

    EXIT_CODE = 143
    """What commands end with then: 128 + SIGTERM, as shells count."""


class MetricsLog(Callback):
    """Writes metrics.csv: a row per step, with the state of the representation at the end of each epoch.

    Rows of steps that a resumed run repeats are dropped first, so that the file reads as if nothing had happened.
    """

    LOOK = 20
    """Steps between two looks at whether the representation has collapsed."""

    def __init__(self, path: Path, *, start_step: int, names: list[str]):
        self.path, self.names = path, names
        self.columns = [
            "step",
            "epoch",
            "lr",
            "momentum",
            "loss",
            *[f"loss_{n}" for n in names],
            "std",
            "rank",
        ]
        self.projections: list[Tensor] = []
        self.outputs: list[dict[str, Any]] = []  # of the passes of this optimizer step
        self.said = False
        kept = []
        if path.exists() and start_step:
            with path.open(newline="") as file:
                complete = (row for row in csv.DictReader(file) if None not in row.values() and None not in row)
                kept = [row for row in complete if int(row["step"]) < start_step]
        with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(kept)
        self.file = path.open("a", newline="")
        self.writer = csv.DictWriter(self.file, self.columns)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Add the row of the step that has just ended: losses are means over its passes."""
        self.projections = [*self.projections, outputs["projection"].cpu()]  # as a checkpoint gives them back
        recent = -(-512 // len(outputs["projection"]))
        self.projections = self.projections[-recent:]
        self.outputs.append(outputs)
        if not module.ends_step(batch_idx):
            return
        passes, self.outputs = self.outputs, []
        step = trainer.global_step - 1
        epoch, position = divmod(step, module.steps_per_epoch)
        loss = sum(float(output["loss"]) for output in passes)  # Lightning has divided each by their number
        losses = {n: sum(float(output["losses"][n]) for output in passes) / len(passes) for n in self.names}
        row: dict[str, Any] = {
            "step": step,
            "epoch": epoch,
            "lr": f"{module.learning_rate_at(step):.6g}",
            "momentum": f"{target_momentum(step, module.total_steps, module.config.ema):.6g}",
            "loss": f"{loss:.6g}",
            **{f"loss_{name}": f"{value:.6g}" for name, value in losses.items()},
        }
        if not self.said and step % self.LOOK == self.LOOK - 1:
            self._look(step)
        if position == module.steps_per_epoch - 1:
            vectors = torch.cat(self.projections)
            std, rank = diagnostics.representation_std(vectors), diagnostics.effective_rank(vectors)
            row |= {"std": f"{std:.4g}", "rank": f"{rank:.4g}"}
            if std < COLLAPSED:
                console.print(
                    f"[bold red]The representation has collapsed[/]: in epoch {epoch} its standard deviation is"
                    f" {percent_text(std)} of a spread-out one's. Lower base_lr, or raise ema; the loss says nothing"
                    " about this."
                )
        with disk_trouble(self.path):
            self.writer.writerow(row)
            self.file.flush()  # before the checkpoint of this step: a resumed run keeps the rows up to there

    def _look(self, step: int) -> None:
        """Say at once, and once, that the representation has collapsed; what epochs end with comes too late."""
        std = diagnostics.representation_std(torch.cat(self.projections))
        if std < COLLAPSED:
            self.said = True
            console.print(
                f"[bold red]The representation is collapsing[/]: at step {step} its standard deviation is"
                f" {percent_text(std)} of a spread-out one's. Unless it recovers, what comes is of no"
                " use: stop it, and lower base_lr."
            )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs for the same std and rank."""
        return {"projections": self.projections}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.projections = [projection.cpu() for projection in state_dict["projections"]]

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        """Close the file; a row that found no room on the disk cannot be written now, either."""
        with contextlib.suppress(OSError):
            self.file.close()

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Close the file."""
        self.teardown(trainer, module, "fit")


class TrainingProgress(Callback):
    """A bar over all steps of a training stage; in a log, a line for every epoch."""

    def __init__(self, title: str, *, total: int, steps_per_epoch: int, done: int):
        self.title, self.total, self.done = title, total, done
        self.bar = bar(TextColumn("epoch {task.fields[epoch]}"), TextColumn("loss {task.fields[loss]}"))
        self.steps_per_epoch, self.epochs = steps_per_epoch, total // steps_per_epoch
        self.task = self.bar.add_task(title, total=total, completed=done, epoch=f"0/{self.epochs}", loss="...")
        self.in_notebook: NotebookBar | None = None
        self.text = title

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Show the bar (in the first process only)."""
        self.start = time.monotonic()
        if trainer.is_global_zero:
            self.bar.start()
            self.in_notebook = NotebookBar(self.title) if console.is_jupyter else None

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the bar."""
        if not module.ends_step(batch_idx):
            return
        step = trainer.global_step
        epoch = f"{(step - 1) // self.steps_per_epoch + 1}/{self.epochs}"
        loss = f"{float(outputs['loss']) * module.config.accumulate:.3f}"
        self.bar.update(self.task, completed=step, epoch=epoch, loss=loss)
        left = (time.monotonic() - self.start) / (step - self.done) * (self.total - step)
        self.text = f"{self.title}: epoch {epoch}, loss {loss}, {left:.0f} s left"
        if step == self.total:
            self.text = f"{self.title}: loss {loss} after {step} steps, {time.monotonic() - self.start:.0f} s"
        if self.in_notebook:
            self.in_notebook.update(self.text, step / self.total)
        elif not console.is_terminal and trainer.is_global_zero and step % self.steps_per_epoch == 0:
            console.print(self.text)

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        """Leave the bar as it stands."""
        self.bar.stop()
        if self.in_notebook:
            self.in_notebook.finish(self.text)

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Leave the bar as it stands."""
        self.teardown(trainer, module, "fit")


class Checkpoints(Callback):
    """Keeps the newest checkpoint: one every so many steps, and one of the last step."""

    def __init__(self, folder: Path, *, every: int, own: Collection[Path] = ()):
        self.folder, self.every = folder, every
        self.own = set(own)
        """Checkpoints of this training: nothing else is deleted or overwritten."""
        self.saved: Path | None = None

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save when it is time, then delete the older one."""
        step = trainer.global_step
        if module.ends_step(batch_idx) and (step % self.every == 0 or step == module.total_steps):
            self.save(trainer)

    def save(self, trainer: Any) -> None:
        """Save the step that has just ended, unless that was done already, then delete the older one."""
        path = self.folder / f"step={trainer.global_step}.ckpt"
        if path == self.saved:
            return
        if trainer.is_global_zero and path not in self.own and (aside := set_aside(path)):
            console.print(f"{path} was not made by this training: it is now {aside.name}", markup=False)
        trainer.save_checkpoint(path)
        self.saved = path
        if trainer.is_global_zero:
            for older in self.own - {path}:
                older.unlink(missing_ok=True)
            self.own = {path}


class KeptEncoders(Callback):
    """Keeps the encoder of every so many epochs, for comparing it with others; the last one is kept anyway."""

    def __init__(self, folder: Path, stage: TrainSettings):
        self.folder, self.stage = folder, stage

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save the encoder where an epoch ends that is one of them."""
        epoch, rest = divmod(trainer.global_step, module.steps_per_epoch)
        if rest or not module.ends_step(batch_idx) or epoch % self.stage.keep_every or epoch == self.stage.epochs:
            return
        if trainer.is_global_zero:
            with atomic_write(kept_encoder_file(self.folder, epoch)) as temporary:
                size = self.stage.image_size
                module.networks.online.save(
                    temporary, stage=self.folder.name.removesuffix(".new"), image_size=size, epoch=epoch
                )


class OwnShare(Callback):
    """Gives up threads when another process begins to compute on this machine, and takes them when it has ended."""

    def __init__(self, config: Config):
        self.config = config

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Look every few seconds."""
        keep_to_share(self.config)


class Preemption(Callback):
    """On SIGTERM or SIGUSR1, ends training with the step that is being done, once a checkpoint of it is saved.

    Processes that train together hear a signal at different moments, and some never: they agree after every step. It
    stands in for Lightning's own handlers, which talk to the other processes in the middle of whatever they are doing.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

    def __init__(self, checkpoints: Checkpoints):
        self.checkpoints = checkpoints
        self.heard = 0
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Listen, where that can be done: in a main thread."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in self.SIGNALS}

    def _hear(self, number: int, frame: Any) -> None:
        self.heard = number

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After a step, ask all processes whether one of them has heard a signal."""
        if not module.ends_step(batch_idx) or trainer.global_step == module.total_steps:
            return
        if not trainer.strategy.reduce_boolean_decision(bool(self.heard), all=False):
            return
        self.checkpoints.save(trainer)
        name = signal.Signals(self.heard).name if self.heard else "a signal to another process"
        raise Stopped(
            f"stopped by {name}: step {trainer.global_step} of {module.total_steps} is saved, and the same command goes"
            " on from there"
        )

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        """Listen no more."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Listen no more."""
        self.teardown(trainer, module, "fit")
