"""Lightning around the networks of stages 1 and 3: optimizer, schedules, logs, checkpoints, resume."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import multiprocessing
import re
import signal
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.utils.data import Dataset

from orl_explore.byol import TwinNetworks
from orl_explore.errors import OrlError
from orl_explore.runs.checkpoints import Resume, find_resume
from orl_explore.runs.files import atomic_write
from orl_explore.runs.samples import StepSampler
from orl_explore.settings import Config, TrainSettings
from orl_explore.views.loading import Batches
from orl_explore.views.renderers import collate
from training.callbacks import Checkpoints, KeptEncoders, MetricsLog, OwnShare, Preemption, TrainingProgress
from training.console import console
from training.machine import computing, data_workers, launched, precision_flag
from training.notebook import LiveLoss, LossPlot
from training.twin_training import TwinTraining


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints beside their final name; Lightning's own go through /tmp, often another file system."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write, flush, rename."""
        with atomic_write(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


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
    stage: TrainSettings,
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
    networks = networks.to(memory_format=torch.channels_last)
    if stage.gradient_checkpointing:
        networks.save_memory()
    if stage.compile:
        networks.compile_backbones()
    module = TwinTraining(networks, stage, images=images, weights=weights)
    resume = resume_training(folder, module)
    checkpoint, start_step = resume.file, resume.step
    if start_step > module.total_steps:
        raise OrlError(
            f"{checkpoint} is of a longer training, this one ends after {module.total_steps} steps: move"
            f" {folder / 'checkpoints'} away, and the same command begins the stage again"
        )
    if checkpoint and start_step == module.total_steps:  # killed between the last step and what follows it
        module.load_state_dict(torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"])
        return
    checkpoints = Checkpoints(folder / "checkpoints", every=stage.checkpoint_steps, own=resume.own)
    callbacks: list[Callback] = [
        TrainingProgress(title, total=module.total_steps, steps_per_epoch=module.steps_per_epoch, done=start_step),
        checkpoints,
        Preemption(checkpoints),
        OwnShare(config),
    ]
    # These come before the checkpoint of the same step: whoever goes on from that does not come back here.
    if stage.keep_every:
        callbacks.insert(0, KeptEncoders(folder, stage))
    if stage.knn_every:
        from training.transfer.watching import KnnWatch

        watch = KnnWatch(dataset.images, config, stage, folder / "knn.csv", start_step=start_step)  # type: ignore[attr-defined]
        callbacks.insert(0, watch)
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
        drop_last=stage.drop_last,
    )
    started = contextlib.ExitStack()
    started.enter_context(computing(config))
    workers = data_workers(config)
    loader = Batches(
        dataset,
        sampler,
        collate=collate,
        workers=workers,
        prepare=_prepare_worker,
        pin_memory=torch.cuda.is_available(),
        ahead=4,
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
    finally:
        started.close()


def resume_training(folder: Path, module: torch.nn.Module) -> Resume:
    """Where the training in a folder goes on; what was passed over is said.

    Raises:
        OrlError: there are checkpoints, and none of them can be used.
    """
    found = find_resume(folder / "checkpoints", {name: value.shape for name, value in module.state_dict().items()})
    for note in found.notes:
        console.print(note, markup=False)
    return found


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
