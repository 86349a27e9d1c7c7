"""A folder of photographs, looked at with an encoder that comes trained: stage 2 and the object map, no training."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from orl_explore.errors import OrlError, typed
from orl_explore.images.image_set import ImageSet
from orl_explore.images.opening import open_images, report
from orl_explore.maps import object_map
from orl_explore.neighbors import require_faiss
from orl_explore.nested import differing_keys
from orl_explore.numbers import percent_text
from orl_explore.runs.exploring import set_explored
from orl_explore.runs.run import Run
from orl_explore.settings import Config
from training.config import load_config
from training.console import console, progress_bar
from training.former import set_aside
from training.pipeline import run_stage
from training.record import store_config

CONFIG: Final = "explore"

SMALLEST: Final = 96 / 640
"""Shorter side of the smallest box, as a share of the longer side of a photograph: the paper's, on COCO."""


def explore(
    run: Run,
    sources: Sequence[Path],
    *,
    config: str | None = None,
    overrides: Sequence[str] = (),
    root: Path | None = None,
    label_field: str | None = None,
    overwrite: bool = False,
) -> Run:
    """Find neighbors, boxes, pairs and the object map of some images, or go on where that was stopped.

    Args:
        run: where to; it need not exist yet.
        sources: folders, COCO jsons or list files.
        config: a config's name or file; default: the run's own, or `explore`.
        overrides: settings as typed, such as ["--stage2.max_boxes", "50"].
        root: where a COCO json's or list's files are.
        label_field: the field of a FiftyOne data set that holds the annotations, where there are several.
        overwrite: make everything anew.

    Raises:
        OrlError: no images, other images, or a run that was explored with other settings.
    """
    require_faiss()
    # The dashboard works in another folder.
    sources, root = [source.resolve() for source in sources], root.resolve() if root else None
    with run.lock("explore"):
        with progress_bar("reading images") as progress:
            images = open_images(sources, root=root, label_field=label_field, progress=progress)
        settings = _settings(run, images, config, overrides)
        if not overwrite:
            _check_settings(run, settings)
        names = [str(source) for source in sources]
        known = run.manifest()["images"]
        if known and known["fingerprint"] != images.fingerprint and known["sources"] == names:
            images = _take_in(run, images, names)
        else:
            run.set_images(images, names)
        if len(images.skipped) or images.findings.lines():
            console.print(report(images), markup=False)
        store_config(run, settings)
        set_explored(run)
        run_stage("stage2", run, settings, overwrite=overwrite and bool(run.stage("stage2")))
        make_map(run)
    return run


def _take_in(run: Run, images: ImageSet, sources: list[str]) -> ImageSet:
    """Let the run be about the pictures that are there now; what it knows of those that are the same stays.

    A run that has been trained stays about the pictures that it was trained on.
    """
    columns = ["image_id", "content_hash"]
    before = pd.MultiIndex.from_frame(run.read("images", columns=columns))
    today = pd.MultiIndex.from_frame(images.table[columns])
    came, went = int((~today.isin(before)).sum()), int((~before.isin(today)).sum())
    changes = f"pictures that are new or have changed: {came:,}; that are gone or were different: {went:,}"
    if run.stage("stage1") or run.stage("stage3"):
        console.print(
            f"{changes}; this run has been trained and stays as it is: to look at them, name another run with --run",
            markup=False,
        )
        return run.images()
    set_aside(run)
    run.set_images(images, sources, replace=True)
    console.print(f"{changes}; the other {len(images) - came:,} are taken over")
    return images


def _settings(run: Run, images: ImageSet, config: str | None, overrides: Sequence[str]) -> Config:
    """The settings of a run: its own, those named, or those of `explore` for pictures of this size."""
    stored = run.path / "config.yaml"
    if config is None and stored.exists():
        return load_config(str(stored), overrides)
    chosen = load_config(config or CONFIG, overrides)
    if config is not None or any(word.startswith("--stage2.min_side") for word in overrides):
        return chosen
    return dataclasses.replace(chosen, stage2=dataclasses.replace(chosen.stage2, min_side=smallest_side(images)))


def smallest_side(images: ImageSet) -> int:
    """Shorter side of the smallest box that is kept, pixels: in proportion to the picture of middling size."""
    longer = images.table[["width", "height"]].max(axis=1)
    return max(1, round(SMALLEST * float(np.median(longer))))


def _check_settings(run: Run, settings: Config) -> None:
    """Refuse other settings than the run was explored with.

    Raises:
        OrlError: names them, and both ways on.
    """
    record = run.stage("stage2")
    changed = differing_keys(record["config"], settings.stage_dict("stage2")) if record else []
    if changed:
        raise OrlError(
            f"{run.path} was explored with other settings ({', '.join(changed)}): add --overwrite to make it anew, or"
            " --run FOLDER to keep both"
        )


def make_map(run: Run) -> None:
    """Make the object map, unless the run has one of these regions or has too few."""
    with contextlib.suppress(OrlError):
        object_map.read_object_map(run)
        return
    if run.count("regions") < object_map.FEWEST:
        console.print(f"{run.count('regions')} regions are too few for an object map: left out")
        return
    with progress_bar("object map") as progress:
        object_map.make_object_map(run, progress=progress)


def summary(run: Run) -> list[str]:
    """What was found, in lines, and what to type next."""
    from training.evaluate import mining_figures

    images = run.images()
    figures = mining_figures(run, images)
    seconds = run.state("stage2").seconds
    lines = [
        f"{len(images):,} pictures, {figures['regions']:,} boxes of {figures['proposals']:,} kept,"
        f" {figures['pairs']:,} pairs of boxes: stage 2 took {seconds:.0f} s",
        f"near-duplicates: {figures['near_duplicates']:,}; the picture that is most often a neighbor is one"
        f" {figures['largest_hub']:,} times",
    ]
    if figures.get("purity") is not None and math.isfinite(figures["purity"]):
        lines.append(
            f"of the pairs that join two labeled objects {percent_text(figures['purity'])} join the same kind"
            f" (by chance {percent_text(figures['purity_chance'])})"
        )
    return [
        *lines,
        f"next: `{typed('evaluate', run.path)}` judges more, `{typed('run', run.path)}` trains stages 1 and 3",
    ]
