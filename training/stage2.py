"""Stage 2: find which regions of which images correspond, with the frozen stage-1 encoder (paper section 3.2)."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from orl_explore.encoder import Encoder, embed_images, embed_regions
from orl_explore.errors import OrlError
from orl_explore.images import ImageSet
from orl_explore.neighbors import nearest_neighbors
from orl_explore.pairs import pair_image, region_slices
from orl_explore.proposals import propose, regions_from
from orl_explore.run import TABLES, Run, hash_file, write_array, write_table
from training.config import Config, Stage2Config
from training.console import console, progress_bar
from training.modules import data_workers, is_main_process, precision_flag, working_on

STAGE = "stage2"


def run(run: Run, config: Config) -> Run:
    """Mine correspondences, or go on where a killed job stopped.

    Args:
        run: a run whose stage 1 is finished.
        config: settings; `config.stage2` and the run-wide ones are used.

    Returns:
        The run, with the tables and arrays of `stage2/`.

    Raises:
        OrlError: stage 1 is missing; other settings or another encoder than the stage was begun with.
    """
    if not is_main_process():
        return _wait(run)
    if run.imported(STAGE):
        console.print(f"stage 2 of {run.path} was imported: skipped")
        return run
    images = run.images()
    settings = config.stage_dict(STAGE)
    encoder_file = run.encoder_file("stage1")
    encoder = Encoder.load(encoder_file)
    inputs = {"images": images.fingerprint, "encoder": hash_file(encoder_file)}
    if run.check(STAGE, config=settings, inputs=inputs):
        console.print(f"stage 2 of {run.path} is finished: skipped")
        return run
    images.check_files()
    with working_on(run, STAGE, config, inputs=inputs):
        mine(run, images, encoder, config)
        names = ["image_embeddings", "neighbors", "proposals", "regions", "region_embeddings", "pairs"]
        run.note(STAGE, outputs={name: hash_file(run.file(name)) for name in names})
        shutil.rmtree(run.path / STAGE / "parts", ignore_errors=True)
    return run


def _wait(run: Run) -> Run:
    """What a process that trains along does meanwhile: wait until the first one, its parent, has mined."""
    parent = os.getppid()
    while not run.finished(STAGE):
        if os.getppid() != parent:
            raise OrlError(f"the process that mines stage 2 of {run.path} has ended: type the command again")
        time.sleep(1)
    return run


def mine(run: Run, images: ImageSet, encoder: Encoder, config: Config) -> None:
    """The five steps of stage 2, in order; each is skipped when its table is complete."""
    stage = config.stage2
    device = "cuda" if torch.cuda.is_available() else "cpu"
    embedding: dict[str, Any] = {
        "size": stage.image_size,
        "device": device,
        "batch_size": stage.batch_size,
        "workers": data_workers(config),
        "bf16": precision_flag(config.precision) == "bf16-mixed",
    }
    ids = images.table["image_id"].to_numpy()

    if not run.file("image_embeddings").exists():
        parts = _shards(
            run,
            "image embeddings",
            len(images),
            stage.shard_images,
            lambda rows, progress: embed_images(encoder, images, rows, progress=progress, **embedding),
            save=write_array,
        )
        write_array(run.file("image_embeddings"), np.concatenate([np.load(part) for part in parts]))

    if not run.file("neighbors").exists():
        with progress_bar("neighbors") as progress:
            run.write(
                "neighbors",
                nearest_neighbors(
                    np.array(run.read_array("image_embeddings")),
                    ids,
                    k=stage.neighbors,
                    max_similarity=stage.max_image_similarity,
                    progress=progress,
                ),
            )

    if not run.file("proposals").exists():
        parts = _shards(
            run,
            "proposals",
            len(images),
            stage.shard_images,
            lambda rows, progress: propose(
                images,
                rows,
                min_side=stage.min_side,
                max_aspect=stage.max_aspect,
                max_iou=stage.max_iou,
                max_boxes=stage.max_boxes,
                method=stage.proposals,
                max_side=stage.max_side,
                seed=config.seed,
                workers=data_workers(config),
                progress=progress,
            ),
            save=_save("proposals"),
        )
        run.write("proposals", pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True))

    if not run.file("regions").exists():
        run.write("regions", regions_from(run.read("proposals")))
    regions = run.read("regions")

    if not run.file("region_embeddings").exists():
        # Regions stand in the order of the images, so rows a..b of the images are one slice of the regions.
        bounds = pd.Series(ids).map(regions.groupby("image_id").size()).cumsum().to_numpy()

        def embed(rows: range, progress: Callable[[int, int], None]) -> np.ndarray:
            first = bounds[rows.start - 1] if rows.start else 0
            part = regions.iloc[first : bounds[rows.stop - 1]]
            return embed_regions(encoder, images, part, progress=progress, **embedding).astype(np.float16)

        parts = _shards(run, "region embeddings", len(images), stage.shard_images, embed, save=write_array)
        write_array(run.file("region_embeddings"), np.concatenate([np.load(part) for part in parts]))

    if not run.file("pairs").exists():
        vectors, neighbors = run.read_array("region_embeddings"), run.read("neighbors")
        parts = _shards(
            run,
            "pairs",
            len(images),
            stage.shard_images,
            lambda rows, progress: pair_regions(
                ids[rows.start : rows.stop], neighbors, regions, vectors, stage, progress
            ),
            save=_save("pairs"),
        )
        run.write("pairs", pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True))


def pair_regions(
    image_ids: np.ndarray,
    neighbors: pd.DataFrame,
    regions: pd.DataFrame,
    vectors: np.ndarray,
    stage: Stage2Config,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Match the regions of images with those of their neighbors (step 5).

    Args:
        image_ids: the query images.
        neighbors: the neighbors table.
        regions: the regions table, grouped by image.
        vectors: their embeddings, (R, D), each computed once and used for every neighbor.
        stage: ratio and switches.
        progress: called as progress(images done, images in all).

    Returns:
        The pairs table of these images.
    """
    slices = region_slices(regions["image_id"])
    neighbors = neighbors[neighbors["image_id"].isin(image_ids)]
    of_image = {image_id: group for image_id, group in neighbors.groupby("image_id", sort=False)}  # noqa: C416
    frames = []
    for done, image_id in enumerate(image_ids.tolist(), start=1):
        if image_id in of_image:  # max_image_similarity can leave it without neighbors
            frames.append(
                pair_image(
                    image_id,
                    of_image[image_id],
                    slices,
                    vectors,
                    ratio=stage.pair_ratio,
                    mutual=stage.mutual,
                    one_to_one=stage.one_to_one,
                    min_similarity=stage.min_similarity,
                )
            )
        if progress:
            progress(done, len(image_ids))
    columns = TABLES["pairs"].columns
    return (
        pd.concat(frames, ignore_index=True).astype(columns)
        if frames
        else pd.DataFrame(columns=list(columns)).astype(columns)
    )


def _save(table: str) -> Callable[[Path, pd.DataFrame], None]:
    return lambda path, frame: write_table(path, frame, TABLES[table].columns)


def _shards(
    run: Run,
    name: str,
    count: int,
    size: int,
    make: Callable[[range, Callable[[int, int], None]], Any],
    *,
    save: Callable[[Path, Any], None],
) -> list[Path]:
    """Make numbered parts of a long step, with a bar; parts that a killed job finished are not made again.

    Args:
        run: the run; parts go to stage2/parts.
        name: the step, for the bar and the parts' names.
        count: images in all.
        size: images per part.
        make: rows and a progress function -> one part.
        save: writes a part atomically.
    """
    parts = []
    with progress_bar(name) as progress:
        for number, start in enumerate(range(0, count, size)):
            part = run.path / STAGE / "parts" / f"{name.replace(' ', '_')}-{number:05d}"
            rows = range(start, min(start + size, count))
            if not part.exists():
                save(part, make(rows, lambda done, _, start=start: progress(start + done, count)))  # type: ignore[misc]
            progress(rows.stop, count)
            parts.append(part)
    return parts
