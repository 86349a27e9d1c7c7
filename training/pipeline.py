"""From a command's arguments to a run: settle config and images, then do the stages in order."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from orl_explore.errors import OrlError, typed
from orl_explore.figures.summary_picture import summary_picture
from orl_explore.images.findings import Findings
from orl_explore.images.opening import open_images, report
from orl_explore.interchange.encoders import needs_stage
from orl_explore.maps.object_map import make_object_maps
from orl_explore.neighbors import require_faiss
from orl_explore.proposals import require_search
from orl_explore.runs.exploring import is_explored
from orl_explore.runs.files import atomic_write, write_json
from orl_explore.runs.region_embeddings import LIMIT
from orl_explore.runs.run import Run
from orl_explore.runs.successor import Successor, settle
from orl_explore.settings import Config, differing_keys, require_filled_batches
from training import stage1, stage2, stage3
from training.config import load_config
from training.console import console, progress_bar
from training.embed_regions import embed_regions_by
from training.machine import check_batches, is_main_process
from training.notebook import processes, train_in_processes
from training.record import store_config, take_over_said
from training.sharding import process_group

CPU_SAMPLE, GPU_SAMPLE = 10_000, LIMIT
"""Regions that a run embeds and maps at its end, at most: a minute's work on two cores."""

STAGES: dict[str, Callable[[Run, Config], Run]] = {"stage1": stage1.run, "stage2": stage2.run, "stage3": stage3.run}


def prepare(
    path: Path,
    *,
    config: str | None = None,
    overrides: Sequence[str] = (),
    images: Sequence[Path] | None = None,
    root: Path | None = None,
    label_field: str | None = None,
) -> tuple[Run, Config]:
    """Open or begin a run: its images are read once; the config is stored by the first stage that works with it.

    Args:
        path: the run folder.
        config: a config's name or file; default: the run's own.
        overrides: settings as typed, such as ["--stage1.epochs", "5"].
        images: where the images are; needed once.
        root: where a COCO json's or list's files are.
        label_field: the field of a FiftyOne data set that holds the annotations, where there are several.

    Raises:
        OrlError: no images named for a new run, or other images or a bad config.
    """
    console.quiet = not is_main_process()
    run = Run(path)
    stored = path / "config.yaml"  # asked for before the first process stores it: all then read the same
    settings = load_config(config or (str(stored) if stored.exists() else None), overrides)
    with process_group() as together:
        together.decide(lambda: _begin(run, settings, images, root, label_field))
    return run, settings


def _begin(
    run: Run, settings: Config, images: Sequence[Path] | None, root: Path | None, label_field: str | None
) -> bool:
    """Read the images of a new run, as the first process does for all."""
    stored = run.path / "config.yaml"
    _settle(run)
    if images and is_main_process():
        with run.lock():
            with progress_bar("reading images") as progress:
                image_set = open_images(images, root=root, label_field=label_field, progress=progress)
            run.set_images(image_set, [str(source) for source in images])
            if len(image_set.skipped) or image_set.findings.lines():
                console.print(report(image_set), markup=False)
    elif run.manifest()["images"] is None:
        raise OrlError(
            f"{run.path} has no images yet: `{typed('run', run.path, '--images', 'PATH')}` begins with those of"
            " a folder, a COCO json or a list file"
        )
    if is_main_process() and not stored.exists():
        store_config(run, settings)
    return True


def run_stage(name: str, run: Run, config: Config, *, overwrite: bool = False) -> None:
    """Do one stage; with `overwrite`, anew. Processes that train along leave the run folder to the first one."""
    if processes(config) > 1:
        train_in_processes(name, run, config, overwrite=overwrite)  # it takes the lock
        return
    with process_group() as together:
        again = together.decide(lambda: _is_made_again(name, run, config, overwrite=overwrite))
    with run.lock(name) if is_main_process() else contextlib.nullcontext():
        if not again:
            STAGES[name](run, config)
            return
        new = Successor(run.path, name)
        if is_main_process():
            _begin_successor(new, run, config)
        STAGES[name](new, config)
        if is_main_process():
            new.take_place()
            store_config(run, config)
            console.print(f"{name} of {run.path}: the new one has taken the place of the old one", markup=False)
            take_over_said(run)


def _settle(run: Run) -> None:
    """End what a process was killed at that had a new stage take its place."""
    if is_main_process() and run.manifest().get("taking_place"):
        with run.lock():
            settle(run)
            take_over_said(run)


def _is_made_again(name: str, run: Run, config: Config, *, overwrite: bool) -> bool:
    """Whether a stage is made again beside a finished one. What it needs is looked for first, before anything goes."""
    _settle(run)
    if overwrite or not run.finished(name):
        check_requirements(name, run, config)
    if overwrite and is_main_process() and not run.finished(name):
        with run.lock():
            run.clear(name)
    if not overwrite and run.manifest().get("successors", {}).get(name):
        console.print(f"{name} of {run.path} was begun anew, which --overwrite goes on with", markup=False)
    return overwrite and run.finished(name)


def _begin_successor(new: Successor, run: Run, config: Config) -> None:
    """Go on with a successor that was begun with these settings, or begin."""
    record, name = new.stage(new.remade), new.remade
    inputs = record.get("inputs", {})
    now = stage3.inputs(run, config) if name == "stage3" else {"images": run.images().fingerprint}
    changed = differing_keys(record.get("config", {}), json.loads(json.dumps(config.stage_dict(name))))
    if record and (changed or any(inputs.get(key) != value for key, value in now.items())):
        new.clear(name)


def check_requirements(name: str, run: Run, config: Config) -> None:
    """Look for what a stage needs, as far as that is known beforehand.

    Raises:
        OrlError: something is missing.
    """
    if name == "stage2":
        require_faiss()
        require_search(config.stage2.proposals)
        if needs_stage(config.stage2.encoder, "stage1") and not run.encoder_file("stage1").exists():
            raise OrlError(f"{run.encoder_file('stage1')} is not there yet: run `{typed('stage1', run.path)}` first")
    if name == "stage3":
        for table in ("regions", "pairs"):
            run.require(table)


def run_all(run: Run, config: Config, *, overwrite: bool = False) -> dict[str, Any]:
    """Do the three stages, judge them and map the objects; returns the figures of `evaluate.run`."""
    require_faiss()  # rather now than after hours of stage 1
    require_search(config.stage2.proposals)
    # Processes that a notebook starts for each stage take the lock themselves.
    alone = is_main_process() and processes(config) == 1
    with run.lock("run") if alone else contextlib.nullcontext():
        return _run_all(run, config, overwrite=overwrite)


def _run_all(run: Run, config: Config, *, overwrite: bool) -> dict[str, Any]:
    remade = _remade(run, config) if overwrite else []
    asked = (config.stage2.encoder, config.stage3.init or "random")
    without_first = not any(needs_stage(which, "stage1") for which in asked) and not is_explored(run)
    with process_group() as together:
        together.decide(lambda: _fill_batches(run, config, remade, overwrite=overwrite, without_first=without_first))
    for name in STAGES:
        if name == "stage1" and without_first:
            console.print(f"stage 1 is left out: stage 2 uses {config.stage2.encoder}", markup=False)
            continue
        if name in remade:
            console.print(f"{name} of {run.path} was made anew before this was stopped", markup=False)
        run_stage(name, run, config, overwrite=overwrite and name not in remade)
        if overwrite and is_main_process():
            remade = list(dict.fromkeys([*remade, name]))
            _remember_remade(run, remade)
    if not is_main_process():
        raise SystemExit(0)  # the first process goes on alone
    summary = judge(run, config)
    show_objects(run, config)
    if overwrite:
        _remember_remade(run, [])
    images = run.manifest()["images"]
    if images["skipped"]:
        console.print(f"{len(images['skipped'])} files were skipped: `orl verify` or {run.path}/run.json say why")
    for line in Findings.from_dict(images).lines():
        console.print(line, markup=False)
    return summary


def _fill_batches(run: Run, config: Config, remade: Sequence[str], *, overwrite: bool, without_first: bool) -> bool:
    """Look, before anything is trained, whether images fill, and devices share, the batches of all stages that will be.

    Raises:
        OrlError: they do not; names options that work.
    """
    done = [name for name in STAGES if (name in remade if overwrite else run.finished(name))]
    stages = {"stage1": config.stage1, "stage3": config.stage3}
    left_out = [*done, *(["stage1"] if without_first else [])]
    count = run.manifest()["images"]["count"]
    due = [name for name in stages if name not in left_out]
    require_filled_batches(count, *(stages[name] for name in due))
    check_batches(config, *due)
    return True


def _remade(run: Run, config: Config) -> list[str]:
    """The first stages that an `orl run --overwrite` has made anew, with these settings, before it was stopped."""
    found: list[str] = []
    for name in run.manifest().get("remade", []):
        record = run.stage(name)
        changed = differing_keys(record.get("config", {}), json.loads(json.dumps(config.stage_dict(name))))
        if changed or not run.finished(name):
            break
        found.append(name)
    return found


def _remember_remade(run: Run, names: Sequence[str]) -> None:
    with run.lock():
        manifest = run.manifest()
        manifest.pop("remade", None)
        write_json(run.path / "run.json", manifest | ({"remade": list(names)} if names else {}))


def judge(run: Run, config: Config) -> dict[str, Any]:
    """Judge what the run has so far: figures in evaluation/summary.json and, after stage 2, a picture, summary.png."""
    from training import evaluate  # scikit-learn takes a second, which `orl explore` need not wait for

    with run.lock():
        summary = evaluate.run(run, config)
        if run.finished("stage2"):
            with atomic_write(run.path / "summary.png") as file:
                summary_picture(run).save(file, format="PNG")
            console.print(f"the summary picture: {run.path}/summary.png", markup=False)
    return summary


def show_objects(run: Run, config: Config) -> None:
    """Embed the regions by the untrained encoder and those of the stages, and make their maps.

    Of more than 10,000 regions, a random sample; on a GPU, of more than 100,000. What goes wrong is said and ends
    nothing: the stages are done.
    """
    limit = GPU_SAMPLE if torch.cuda.is_available() else CPU_SAMPLE
    try:
        names = embed_regions_by(run, config, limit=limit)
        with run.lock():
            make_object_maps(run, names, watch=lambda name: progress_bar(f"map of {name}"))
    except OrlError as error:
        console.print(f"there are no maps of the objects: {error}", markup=False)
        return
    count = min(limit, run.count("regions"))
    console.print(
        f"maps of {count:,} of {run.count('regions'):,} regions by {', '.join(names)}: `orl app`, page Object map",
        markup=False,
    )
