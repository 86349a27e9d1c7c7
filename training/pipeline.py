"""From a command's arguments to a run: settle config and images, then do the stages in order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orl_explore.errors import OrlError
from orl_explore.figures.summary_picture import summary_picture
from orl_explore.images.findings import Findings
from orl_explore.images.opening import open_images, report
from orl_explore.interchange.encoders import needs_stage
from orl_explore.neighbors import require_faiss
from orl_explore.runs.files import atomic_write
from orl_explore.runs.run import Run
from orl_explore.settings import Config
from training import evaluate, stage1, stage2, stage3
from training.config import load_config
from training.console import console, progress_bar
from training.machine import is_main_process
from training.notebook import processes, train_in_processes
from training.record import store_config
from training.sharding import process_group

STAGES: dict[str, Callable[[Run, Config], Run]] = {"stage1": stage1.run, "stage2": stage2.run, "stage3": stage3.run}


def prepare(
    path: Path,
    *,
    config: str | None = None,
    overrides: Sequence[str] = (),
    images: Sequence[Path] | None = None,
    root: Path | None = None,
) -> tuple[Run, Config]:
    """Open or begin a run: its images are read once; the config is stored by the first stage that works with it.

    Args:
        path: the run folder.
        config: a config's name or file; default: the run's own.
        overrides: settings as typed, such as ["--stage1.epochs", "5"].
        images: where the images are; needed once.
        root: where a COCO json's or list's files are.

    Raises:
        OrlError: no images named for a new run, or other images or a bad config.
    """
    console.quiet = not is_main_process()
    run = Run(path)
    stored = path / "config.yaml"  # asked for before the first process stores it: all then read the same
    settings = load_config(config or (str(stored) if stored.exists() else None), overrides)
    with process_group() as together:
        together.decide(lambda: _begin(run, settings, images, root))
    return run, settings


def _begin(run: Run, settings: Config, images: Sequence[Path] | None, root: Path | None) -> bool:
    """Read the images of a new run, as the first process does for all."""
    stored = run.path / "config.yaml"
    if images and is_main_process():
        with run.lock():
            with progress_bar("reading images") as progress:
                image_set = open_images(images, root=root, progress=progress)
            run.set_images(image_set, [str(source) for source in images])
            if len(image_set.skipped) or image_set.findings.lines():
                console.print(report(image_set), markup=False)
    elif run.manifest()["images"] is None:
        raise OrlError(
            f"{run.path} has no images yet: `orl run {run.path} --images PATH` begins with those of a folder, a COCO"
            " json or a list file"
        )
    if is_main_process() and not stored.exists():
        store_config(run, settings)
    return True


def run_stage(name: str, run: Run, config: Config, *, overwrite: bool = False) -> None:
    """Do one stage; with `overwrite`, anew. Processes that train along leave the run folder to the first one."""
    if processes(config) > 1:
        train_in_processes(name, run, config, overwrite=overwrite)  # it takes the lock
        return
    with run.lock(name) if is_main_process() else contextlib.nullcontext():
        if overwrite and is_main_process():
            run.clear(name)
        STAGES[name](run, config)


def run_all(run: Run, config: Config, *, overwrite: bool = False) -> dict[str, Any]:
    """Do the three stages and judge them; returns the figures of `evaluate.run`."""
    require_faiss()  # rather now than after hours of stage 1
    # Processes that a notebook starts for each stage take the lock themselves.
    alone = is_main_process() and processes(config) == 1
    with run.lock("run") if alone else contextlib.nullcontext():
        return _run_all(run, config, overwrite=overwrite)


def _run_all(run: Run, config: Config, *, overwrite: bool) -> dict[str, Any]:
    if overwrite and is_main_process():
        with run.lock():
            for name in STAGES:
                run.clear(name)
    for name in STAGES:
        asked = (config.stage2.encoder, config.stage3.init or "random")
        if name == "stage1" and not any(needs_stage(which, "stage1") for which in asked) and not run.explored:
            console.print(f"stage 1 is left out: stage 2 uses {config.stage2.encoder}", markup=False)
            continue
        run_stage(name, run, config)
    if not is_main_process():
        raise SystemExit  # the first process goes on alone
    summary = judge(run, config)
    images = run.manifest()["images"]
    if images["skipped"]:
        console.print(f"{len(images['skipped'])} files were skipped: `orl verify` or {run.path}/run.json say why")
    for line in Findings.from_dict(images).lines():
        console.print(line, markup=False)
    return summary


def judge(run: Run, config: Config) -> dict[str, Any]:
    """Judge what the run has so far: figures in evaluation/summary.json and, after stage 2, a picture, summary.png."""
    with run.lock():
        summary = evaluate.run(run, config)
        if run.finished("stage2"):
            with atomic_write(run.path / "summary.png") as file:
                summary_picture(run).save(file, format="PNG")
            console.print(f"the summary picture: {run.path}/summary.png", markup=False)
    return summary
