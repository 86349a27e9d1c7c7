"""Lightning around the networks of stages 1 and 3: optimizer, schedules, logs, checkpoints, resume."""

from __future__ import annotations

import atexit
import contextlib
import csv
import functools
import logging
import multiprocessing
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from rich.progress import TextColumn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from orl_explore.byol import TwinNetworks, learning_rate_factor, target_momentum
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.judging import diagnostics
from orl_explore.runs.run import Run, atomic_write, disk_trouble, hash_file, kept_encoder_file
from orl_explore.runs.samples import StepSampler
from orl_explore.views.parameters import normalize
from orl_explore.views.renderers import collate, finish
from training.config import Config, TrainConfig
from training.console import NotebookBar, bar, console
from training.notebook import LiveLoss, LossPlot

COLLAPSED = 0.1
"""Representation std, as a share of that of a spread-out representation, below which training has collapsed."""


class TwinTraining(lightning.LightningModule):
    """Optimizer steps of BYOL or ORL (method: stage 1 and stage 3).

    Args:
        networks: takes normalized views by name, returns losses by name and projections.
        config: the stage's settings.
        images: images in an epoch.
        weights: weight of each loss, by name.
    """

    def __init__(self, networks: TwinNetworks, config: TrainConfig, *, images: int, weights: Mapping[str, float]):
        super().__init__()
        self.networks, self.config, self.weights = networks, config, dict(weights)
        self.total_steps = config.total_steps(images)
        self.steps_per_epoch = config.steps_per_epoch(images)
        self.warmup_steps = round(config.warmup_epochs * self.steps_per_epoch)

    def ends_step(self, batch_idx: int) -> bool:
        """Whether this forward pass was the last one of an optimizer step; each is, unless gradients accumulate."""
        return (batch_idx + 1) % self.config.accumulate == 0

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Losses of one batch of views, by name."""
        image_ids = batch.pop("image_id")
        losses, projection = self.networks(**{name: normalize(finish(view)) for name, view in batch.items()})
        loss = sum(self.weights[name] * losses[name] for name in losses)
        if not torch.isfinite(loss):
            raise OrlError(
                f"the loss became {loss.item()} at step {self.global_step}, on images {image_ids.tolist()[:8]} ...:"
                " the last good checkpoint is kept; try a lower base_lr, or precision fp32"
            )
        return {"loss": loss, "losses": {n: v.detach() for n, v in losses.items()}, "projection": projection}

    def configure_optimizers(self) -> Any:
        """SGD with warm-up and cosine decay per step."""
        config = self.config
        optimizer = torch.optim.SGD(
            [p for p in self.parameters() if p.requires_grad],
            lr=config.learning_rate(),
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=self.device.type == "cuda",
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, self.total_steps, self.warmup_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the target network: both belong to one step, so that every checkpoint holds both."""
        step = self.global_step
        super().optimizer_step(*args, **kwargs)
        self.networks.update_target(target_momentum(step, self.total_steps, self.config.ema))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Never let a checkpoint with broken weights take the place of a good one."""
        for name, tensor in checkpoint["state_dict"].items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise OrlError(
                    f"weights of {name} are no longer finite at step {self.global_step}:"
                    " the last good checkpoint is kept; try a lower base_lr, or precision fp32"
                )


class Stopped(OrlError):
    """Somebody, such as Slurm before it takes the machine away, asked for an end; a checkpoint of this step exists."""

    EXIT_CODE = 143
    """What commands end with then: 128 + SIGTERM, as shells count."""


class MetricsLog(Callback):
    """Writes metrics.csv: a row per step, with the state of the representation at the end of each epoch.

    Rows of steps that a resumed run repeats are dropped first, so that the file reads as if nothing had happened.
    """

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
        self.projections = [*self.projections, outputs["projection"]]
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
        share = learning_rate_factor(step, module.total_steps, module.warmup_steps)
        row: dict[str, Any] = {
            "step": step,
            "epoch": epoch,
            "lr": f"{module.config.learning_rate() * share:.6g}",
            "momentum": f"{target_momentum(step, module.total_steps, module.config.ema):.6g}",
            "loss": f"{loss:.6g}",
            **{f"loss_{name}": f"{value:.6g}" for name, value in losses.items()},
        }
        if position == module.steps_per_epoch - 1:
            vectors = torch.cat(self.projections)
            std, rank = diagnostics.representation_std(vectors), diagnostics.effective_rank(vectors)
            row |= {"std": f"{std:.4g}", "rank": f"{rank:.4g}"}
            if std < COLLAPSED:
                console.print(
                    f"[bold red]The representation has collapsed[/]: in epoch {epoch} its standard deviation is"
                    f" {std:.1%} of a spread-out one's. Lower base_lr, or raise ema; the loss says nothing about this."
                )
        with disk_trouble(self.path):
            self.writer.writerow(row)
            self.file.flush()  # before the checkpoint of this step: a resumed run keeps the rows up to there

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs for the same std and rank."""
        return {"projections": self.projections}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.projections = state_dict["projections"]

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

    def __init__(self, folder: Path, *, every: int):
        self.folder, self.every = folder, every
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
        trainer.save_checkpoint(path)
        self.saved = path
        if trainer.is_global_zero:
            for older in self.folder.glob("step=*.ckpt"):
                if older != path:
                    older.unlink()


class KeptEncoders(Callback):
    """Keeps the encoder of every so many epochs, for comparing it with others; the last one is kept anyway."""

    def __init__(self, folder: Path, stage: TrainConfig):
        self.folder, self.stage = folder, stage

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save the encoder where an epoch ends that is one of them."""
        epoch, rest = divmod(trainer.global_step, module.steps_per_epoch)
        if rest or not module.ends_step(batch_idx) or epoch % self.stage.keep_every or epoch == self.stage.epochs:
            return
        if trainer.is_global_zero:
            with atomic_write(kept_encoder_file(self.folder, epoch)) as temporary:
                size = self.stage.image_size
                module.networks.online.save(temporary, stage=self.folder.name, image_size=size, epoch=epoch)


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


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints beside their final name; Lightning's own go through /tmp, often another file system."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write, flush, rename."""
        with atomic_write(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


def latest_checkpoint(folder: Path) -> tuple[Path | None, int]:
    """Newest checkpoint of a stage and the number of optimizer steps it has behind it; (None, 0) without one."""
    steps = {int(path.stem.removeprefix("step=")): path for path in folder.glob("step=*.ckpt")}
    return (steps[max(steps)], max(steps)) if steps else (None, 0)


def precision_flag(precision: str) -> str:
    """Lightning's name for a precision; auto takes bf16 where the device has it, else fp16."""
    if precision == "auto":
        precision = "bf16" if not torch.cuda.is_available() or torch.cuda.is_bf16_supported() else "fp16"
    return {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}[precision]


def data_workers(config: Config) -> int:
    """Processes that prepare images, for each training process."""
    if config.workers is not None:
        return config.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores)


def _prepare_worker(_: int) -> None:
    """Let a worker use one core, and go on until the process that it works for ends: Slurm signals every process."""
    with contextlib.suppress(ImportError):  # Pillow's way does without OpenCV
        import cv2

        cv2.setNumThreads(0)  # its threads do not live on in a forked process
    for number in Preemption.SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@functools.cache
def _workers_end_with_us() -> None:
    """At exit kill workers of a loader that an error kept: they ignore the signal that Python sends and waits on."""

    @atexit.register
    def end() -> None:
        for child in multiprocessing.active_children():
            if child.daemon:
                child.kill()


def launched(config: Config) -> tuple[int | str, int]:
    """Devices per machine and machines: as torchrun or Slurm started processes for them, or as the settings say."""
    if TorchElasticEnvironment.detect():
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    if SLURMEnvironment.detect():
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
        return int(os.environ["SLURM_NTASKS"]) // nodes, nodes
    return (config.devices if torch.cuda.is_available() or config.devices != "auto" else 1), 1


def make_trainer(config: Config, folder: Path, *, precision: str, **options: Any) -> lightning.Trainer:
    """Lightning's Trainer for whatever is trained here; checkpoints, samplers and bars are our own.

    Args:
        config: for the devices.
        folder: of the training.
        precision: as `Config.precision`.
        options: further arguments of the Trainer.
    """
    devices, nodes = launched(config)
    return lightning.Trainer(
        accelerator="auto",
        devices=devices,
        num_nodes=nodes,
        precision=precision_flag(precision),  # type: ignore[arg-type]
        sync_batchnorm=torch.cuda.is_available(),  # PyTorch has none for CPUs
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=False,  # Checkpoints does it
        max_epochs=1,  # the sampler walks through all epochs in one pass: see StepSampler
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **options,
    )


def fit(
    networks: TwinNetworks,
    dataset: Dataset,
    *,
    images: int,
    folder: Path,
    config: Config,
    stage: TrainConfig,
    title: str,
    weights: Mapping[str, float],
) -> None:
    """Train networks on a dataset, from the newest checkpoint in the folder if there is one.

    Args:
        networks: BYOL or ORL; holds the trained weights afterwards.
        dataset: takes (epoch, row), gives views by name.
        images: rows of the dataset.
        folder: gets `checkpoints/`, `metrics.csv` and, with `keep_every`, `encoders/`.
        config: the run's settings.
        stage: the stage's settings.
        title: what the progress bar says.
        weights: weight of each loss, by name.
    """
    quiet_lightning()
    checkpoint, start_step = latest_checkpoint(folder / "checkpoints")
    networks = networks.to(memory_format=torch.channels_last)
    if stage.gradient_checkpointing:
        networks.save_memory()
    if stage.compile:
        networks.compile_backbones()
    module = TwinTraining(networks, stage, images=images, weights=weights)
    if checkpoint and start_step == module.total_steps:  # killed between the last step and what follows it
        module.load_state_dict(torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"])
        return
    checkpoints = Checkpoints(folder / "checkpoints", every=stage.checkpoint_steps)
    callbacks: list[Callback] = [
        TrainingProgress(title, total=module.total_steps, steps_per_epoch=module.steps_per_epoch, done=start_step),
        checkpoints,
        Preemption(checkpoints),
    ]
    if stage.keep_every:  # before the checkpoint of the same step: whoever goes on from that does not come back here
        callbacks.insert(0, KeptEncoders(folder, stage))
    if stage.knn_every:
        from training.transfer.watching import KnnWatch

        callbacks.append(KnnWatch(dataset.images, config, stage, folder / "knn.csv", start_step=start_step))  # type: ignore[attr-defined]
    trainer = make_trainer(
        config, folder, precision=config.precision, accumulate_grad_batches=stage.accumulate, callbacks=callbacks
    )
    if trainer.is_global_zero:
        passes = f" in {stage.accumulate} passes" if stage.accumulate > 1 else ""
        console.print(
            f"{title}: {stage.epochs} epochs of {images} images, {module.total_steps} steps{passes}"
            f"{f', going on from step {start_step}' if start_step else ''}; learning rate {stage.learning_rate():g}"
            f" = {stage.base_lr:g} x batch {stage.batch_size} / 512; {trainer.precision} on"
            f" {trainer.world_size} x {trainer.strategy.root_device.type}"
        )
        log = MetricsLog(folder / "metrics.csv", start_step=start_step, names=list(weights))
        trainer.callbacks.insert(0, log)  # type: ignore[attr-defined]
        if console.is_jupyter:
            trainer.callbacks.append(LiveLoss(LossPlot(log.path, f"{title}: loss")))  # type: ignore[attr-defined]
    sampler = StepSampler(
        images,
        batch_size=stage.batch_size,
        epochs=stage.epochs,
        seed=config.seed,
        start_step=start_step,
        rank=trainer.global_rank,
        world=trainer.world_size,
        accumulate=stage.accumulate,
    )
    workers = data_workers(config)
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        worker_init_fn=_prepare_worker,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
    )
    _workers_end_with_us()
    try:
        trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as error:
        if error.code != 1:  # not Lightning's answer to Ctrl+C, after which it would have all further ones ignored
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    except RuntimeError as error:
        if trainer.world_size > 1 and re.search(r"gloo|NCCL|[Cc]onnection (closed|reset)|ProcessGroup", str(error)):
            raise OrlError(
                f"one of the {trainer.world_size} processes that train together was lost: the last checkpoint is"
                " intact, and the same command goes on from there"
            ) from error
        raise


def is_main_process() -> bool:
    """Whether this is the first of the processes that train together: the one that writes to the run folder."""
    return rank_zero_only.rank == 0  # type: ignore[attr-defined]


@contextlib.contextmanager
def working_on(run: Run, stage: str, config: Config, *, inputs: Mapping[str, str]) -> Iterator[None]:
    """Store the config with the run and record the stage as running, then as finished or failed (main process)."""
    if not is_main_process():
        yield
        return
    config.save(run.path / "config.yaml")
    with run.working_on(stage, config=config.stage_dict(stage), seed=config.seed, inputs=inputs):
        if compute := config.compute_dict(stage):
            run.note(stage, compute=compute)
        yield


def save_encoder(run: Run, stage: str, encoder: Encoder, image_size: int) -> None:
    """Export the trained encoder with what it needs to be used elsewhere, and record its hash."""
    if not is_main_process():
        return
    path = run.encoder_file(stage)
    with atomic_write(path) as temporary:
        encoder.save(temporary, stage=stage, image_size=image_size)
    run.note(stage, outputs={"encoder": hash_file(path)})


def quiet_lightning() -> None:
    """Keep the console for what concerns the user."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*dataloader is not resumable.*",  # it is: StepSampler starts at the step
        ".*does not have many workers.*",
        ".*exists and is not empty.*",
        ".*The number of training batches.*",
        ".*LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", message)
