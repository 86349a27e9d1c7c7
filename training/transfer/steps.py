"""Trainings that are counted in steps: one pass over endless batches, checkpoints, and a test at the end."""

from __future__ import annotations

import shutil
import signal
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch.utils.data import Dataset

from orl_explore.views.loading import Batches
from training.console import console
from training.machine import check_batch, is_main_process
from training.transfer.setup import Setup


class StepSettings(Protocol):
    """What the settings of such a protocol have."""

    @property
    def batch_size(self) -> int:
        """Images per optimizer step, over all devices."""

    @property
    def accumulate(self) -> int:
        """Passes of an optimizer step."""

    @property
    def precision(self) -> Any:
        """As `Config.precision`."""

    @property
    def checkpoint_steps(self) -> int:
        """Steps between checkpoints."""

    def steps(self) -> int:
        """Optimizer steps in all."""


Loader = Callable[[int, int], Batches]
"""Batches of training images for the steps from one to another, as a training would have them."""


def fit_and_test(
    module: Any,
    train: Dataset,
    test: Dataset,
    *,
    settings: StepSettings,
    setup: Setup,
    collate: Callable[[list[Any]], Any],
    prepare: Callable[[Loader], None] | None = None,
) -> list[Any]:
    """Train a module, from its last checkpoint if there is one, and test it.

    Args:
        module: a LightningModule with `total_steps`, `ends_step` and a list `found`, to which its test adds.
        train: item (epoch, row): an image to learn from.
        test: item (0, row): an image to test on; every process has its share, and no image is tested twice.
        settings: of the protocol.
        setup: seed, devices, workers, title and folder; the folder is removed at the end.
        collate: list of items -> batch.
        prepare: called between training and test.

    Returns:
        What the tests of all processes have found, in no order.

    Raises:
        OrlError: the batch cannot be shared out.
    """
    try:
        found = _fit_and_test(module, train, test, settings, setup, collate, prepare)
    except SystemExit:  # Lightning's answer to Ctrl+C, after which it would have all further ones ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    if is_main_process():
        shutil.rmtree(setup.folder, ignore_errors=True)  # of no use once the figures are there
    return found


def _fit_and_test(
    module: Any,
    train: Any,
    test: Any,
    settings: StepSettings,
    setup: Setup,
    collate: Callable[[list[Any]], Any],
    prepare: Callable[[Loader], None] | None,
) -> list[Any]:
    import torch

    from orl_explore.runs.samples import StepSampler
    from training.callbacks import Checkpoints, TrainingProgress
    from training.trainer import make_trainer, quiet_lightning, resume_training

    quiet_lightning()
    warnings.filterwarnings("ignore", ".*in eval mode at the start of training.*")  # a frozen backbone
    resume = resume_training(setup.folder, module)
    checkpoint, start = resume.file, resume.step
    steps, steps_per_epoch = settings.steps(), len(train) // settings.batch_size
    trainer = make_trainer(
        setup.config,
        setup.folder,
        precision=settings.precision,
        accumulate_grad_batches=settings.accumulate,
        max_steps=steps,
        callbacks=[
            TrainingProgress(setup.title, total=steps, steps_per_epoch=steps_per_epoch, done=start),
            Checkpoints(setup.folder / "checkpoints", every=settings.checkpoint_steps, own=resume.own),
        ],
    )
    rank, world = trainer.global_rank, trainer.world_size
    check_batch(f"{setup.protocol}.batch_size", settings.batch_size, world=world, passes=settings.accumulate, least=1)
    if trainer.is_global_zero:
        going_on = f", going on from step {start}" if start else ""
        console.print(f"{setup.title}: {steps} steps of {settings.batch_size} images{going_on}", markup=False)
    loading: Mapping[str, Any] = {
        "collate": collate,
        "workers": setup.workers,
        "pin_memory": torch.cuda.is_available(),
    }

    def loader(first: int, last: int) -> Batches:
        """Batches of training images for these steps; those after the last one go on where training ends."""
        sampler = StepSampler(
            len(train),
            batch_size=settings.batch_size,
            epochs=-(-last // steps_per_epoch),
            seed=setup.seed,
            start_step=first,
            rank=rank,
            world=world,
            accumulate=settings.accumulate,
            drop_last=True,
        )
        return Batches(train, sampler, **loading)

    if checkpoint is not None and start == steps:  # stopped while it was tested
        module.load_state_dict(torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"])
    else:
        trainer.fit(module, loader(start, steps), ckpt_path=checkpoint, weights_only=True)
    if prepare:
        prepare(loader)
    trainer.test(module, Batches(test, [[(0, row)] for row in range(rank, len(test), world)], **loading), verbose=False)
    if world == 1:
        return module.found
    parts: list[Any] = [None] * world
    torch.distributed.all_gather_object(parts, module.found)
    return [item for part in parts for item in part]
