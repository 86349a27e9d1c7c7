"""What a stage leaves in the run folder beside its results: config, state, encoder."""

from __future__ import annotations

import contextlib
import csv
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import torch

from orl_explore.embedding import embed_images
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.judging import useless
from orl_explore.runs.carrying import carry_over
from orl_explore.runs.files import atomic_write, hash_file
from orl_explore.runs.run import Run
from orl_explore.runs.successor import Successor, set_aside_unrecorded
from orl_explore.settings import Config
from training.config import save_config
from training.console import console
from training.machine import is_main_process

LOOKED_AT: Final = 64
"""Plain pictures that a new encoder is judged by."""


def store_config(run: Run, config: Config) -> None:
    """Keep a config with the run: as config.yaml, which further commands start from, and in its run.json."""
    save_config(config, run.path / "config.yaml")
    run.set_config(config)


def take_over_said(run: Run) -> None:
    """Give to a new stage 2 what people had said of the boxes of the one before, and say what became of it."""
    for sentence in carry_over(run):
        console.print(sentence, markup=False)


def is_done(run: Run, stage: str, config: Config, *, inputs: Mapping[str, str]) -> bool:
    """`Run.check` with the stage's settings; results that no record tells of are not gone on with, but set aside.

    Raises:
        OrlError: it was begun with other settings or from other inputs.
    """
    if is_main_process() and not run.stage(stage):
        with run.lock():
            aside = set_aside_unrecorded(run, stage)
        if aside:
            console.print(
                f"{run.folder(stage)} held results that run.json tells nothing of: it is now {aside.name}", markup=False
            )
    return run.check(stage, config=config.stage_dict(stage), inputs=inputs)


@contextlib.contextmanager
def working_on(run: Run, stage: str, config: Config, *, inputs: Mapping[str, str], **facts: object) -> Iterator[None]:
    """Store the config with the run and record the stage as running, then as finished or failed (main process).

    Further facts that are not None stand in the record, too.
    """
    if not is_main_process():
        yield
        return
    if not isinstance(run, Successor):  # else it is stored when the new stage stands
        store_config(run, config)
    with run.working_on(stage, config=config.stage_dict(stage), seed=config.seed, inputs=inputs):
        known = {"compute": config.compute_dict(stage) or None, **facts}
        run.note(stage, **{name: value for name, value in known.items() if value is not None})
        yield


def save_encoder(run: Run, stage: str, encoder: Encoder, image_size: int) -> None:
    """Export the trained encoder with what it needs to be used elsewhere, and record its hash."""
    if not is_main_process():
        return
    path = run.encoder_file(stage)
    with atomic_write(path) as temporary:
        encoder.save(temporary, stage=stage, image_size=image_size)
    run.note(stage, outputs={"encoder": hash_file(path)})


def judge_at_once(run: Run, stage: str, encoder: Encoder, config: Config) -> None:
    """Measure how different plain pictures look to an encoder that has just been trained, and say if it is of no use.

    The figures go to the stage's record, beside those of the network that training began with.
    """
    if not is_main_process():
        return
    images, settings = run.images(), getattr(config, stage)
    rows = np.linspace(0, len(images) - 1, min(len(images), LOOKED_AT)).astype(int).tolist()
    options: dict[str, Any] = {"size": settings.image_size, "features": True}
    options["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    networks = {"trained": encoder, "untrained": Encoder.random(settings.encoder, config.seed)}
    try:
        found = {name: useless.spread(embed_images(one, images, rows, **options)) for name, one in networks.items()}
    except OrlError as error:  # the stage is done, and stays so
        console.print(f"careful: {error}", markup=False)
        return
    title, last = f"{stage[:-1]} {stage[-1]}", _last_loss(run, stage)
    for sentence in (*useless.of_loss(title, last), *useless.of_training(title, found["trained"], found["untrained"])):
        console.print(f"careful: {sentence}", markup=False)
    run.note(stage, plain_pictures={name: one.as_dict() for name, one in found.items()})


def _last_loss(run: Run, stage: str) -> float:
    """Mean image loss of the last epoch, by metrics.csv; nan where there is none."""
    try:
        with (run.folder(stage) / "metrics.csv").open(newline="") as file:
            rows = [(row["epoch"], float(row["loss_image"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError):
        return math.nan
    losses = [loss for epoch, loss in rows if epoch == rows[-1][0]]
    return sum(losses) / len(losses) if losses else math.nan
