"""Stage 1: train the image-level encoder (paper section 3.1)."""

from __future__ import annotations

import torch

from orl_explore.byol import BYOL
from orl_explore.runs.run import Run
from orl_explore.runs.samples import ImageViews
from orl_explore.settings import Config
from training.console import console
from training.machine import check_batches
from training.notebook import processes, train_in_processes
from training.record import is_done, judge_at_once, save_encoder, working_on
from training.sharding import process_group
from training.starting_weights import begin_with, starting_input
from training.trainer import fit

STAGE = "stage1"


def run(run: Run, config: Config) -> Run:
    """Train stage 1 on the run's images, or go on where a killed job stopped.

    Args:
        run: a run whose images are set.
        config: settings; `config.stage1` and the run-wide ones are used.

    Returns:
        The run, with `stage1/encoder.safetensors`, `stage1/metrics.csv` and a checkpoint.

    Raises:
        OrlError: other settings or images than the run was begun with; too few images; a batch
            that the devices cannot share; weights to begin with that do
            not fit; a loss that is not finite.
    """
    if processes(config) > 1:
        return train_in_processes(STAGE, run, config)
    with process_group() as together:
        if not together.decide(lambda: _is_due(run, config)):
            return run
    images = run.images()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        networks = BYOL(config.stage1.encoder)
    start = begin_with(networks, run, config, STAGE)
    with working_on(run, STAGE, config, inputs=_inputs(run, config), init=start):
        fit(
            networks,
            ImageViews(images, config.stage1, config.seed),
            images=len(images),
            folder=run.folder(STAGE),
            config=config,
            stage=config.stage1,
            title="stage 1",
            weights={"image": 1.0},
        )
        save_encoder(run, STAGE, networks.online, config.stage1.image_size)
        judge_at_once(run, STAGE, networks.online, config)
    return run


def _inputs(run: Run, config: Config) -> dict[str, str]:
    return {"images": run.images().fingerprint, **starting_input(run, config, STAGE)}


def _is_due(run: Run, config: Config) -> bool:
    """Whether there is anything left to do, as the first process decides for all."""
    if run.imported(STAGE):
        console.print(f"stage 1 of {run.path} was imported: skipped")
        return False
    images = run.images()
    if is_done(run, STAGE, config, inputs=_inputs(run, config)):
        console.print(f"stage 1 of {run.path} is finished: skipped")
        return False
    check_batches(config, STAGE)
    images.check_files()
    config.stage1.steps_per_epoch(len(images))  # raises if they are too few, before anything is recorded
    return True
