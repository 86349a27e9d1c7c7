"""`orl plan`: what a run will take in time, memory and disk, from a minute or two of measuring on this machine.

Every part of the three stages is done for a few images, at the sizes of the config, and extrapolated by a rule that
stands beside the figure. Nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orl_explore.errors import OrlError, typed
from orl_explore.images.opening import sample_images
from orl_explore.runs.run import Run
from orl_explore.settings import require_filled_batches
from training.config import load_config
from training.plan_estimates import Plan, duration, gigabytes
from training.plan_measurement import SAMPLE, SECONDS, Begin, Measurement, Progress
from training.trainer import quiet_lightning


def plan(
    path: Path,
    *,
    config: str | None = None,
    overrides: Sequence[str] = (),
    images: Sequence[Path] | None = None,
    root: Path | None = None,
    label_field: str | None = None,
    seconds: float = SECONDS,
    progress: Progress | None = None,
    begin: Begin | None = None,
) -> Plan:
    """Estimate a run from a short measurement; the run folder is not touched and need not exist.

    Args:
        path: the run folder.
        config: a config's name or file; default: the run's own.
        overrides: settings as typed.
        images: where the images are; default: the run's.
        root: where a COCO json's or list's files are.
        label_field: the field of a FiftyOne data set that holds the annotations, where there are several.
        seconds: time for each measurement.
        progress: called as progress(parts of the run measured, in all).
        begin: called with what is measured next, in words.

    Raises:
        OrlError: no images, too few for a batch, or a bad config.
    """
    run, stored = Run(path), path / "config.yaml"
    settings = load_config(config or (str(stored) if stored.exists() else None), overrides)
    start = time.perf_counter()
    if begin:
        begin("looking for the images")
    if images:
        sample, total = sample_images(images, count=SAMPLE, seed=settings.seed, root=root, label_field=label_field)
        listed = time.perf_counter() - start
    elif run.manifest()["images"]:
        everything = run.images()
        rows = np.random.default_rng(settings.seed).permutation(len(everything))[:SAMPLE]
        sample, total, listed = everything.subset(sorted(rows.tolist())), len(everything), 0.0
    else:
        raise OrlError(f"{path} has no images yet: name them, `{typed('plan', path, '--images', 'PATH')}`")
    require_filled_batches(total, settings.stage1, settings.stage3)
    quiet_lightning()
    return Measurement(settings, sample, total, listed, seconds, progress, path, begin).plan()


def show(made: Plan) -> None:
    """Print the plan: a table, and for each line of it what was measured and how it was extrapolated."""
    from rich.console import Console
    from rich.table import Table

    title = f"{made.images:,} images on {made.devices} x {made.device}, {made.precision}"
    shown = Table("step", title=title)
    for column in ("time", "memory", "disk, at most"):
        shown.add_column(column, justify="right")
    for step in made.steps:
        shown.add_row(step.name, duration(step.seconds), gigabytes(step.memory), gigabytes(step.disk))
    shown.add_section()
    shown.add_row("all, without evaluation", duration(made.seconds), "", gigabytes(made.disk))
    console = Console(highlight=False, soft_wrap=True)
    console.print(shown)
    for step in made.steps:
        console.print(f"{step.name}: {step.measured}; times {step.rule}")
