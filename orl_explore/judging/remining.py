"""What stage 2 would find with other settings or another encoder: nothing is written, the boxes stay the run's own."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from orl_explore.embedding import Progress, embed_images, embed_regions
from orl_explore.encoder import Encoder
from orl_explore.judging import diagnostics
from orl_explore.neighbors import nearest_neighbors
from orl_explore.pairs import pair_regions
from orl_explore.runs.masks import RegionMasks
from orl_explore.runs.run import Run
from orl_explore.settings import Stage2Settings


class Remined(NamedTuple):
    """The neighbors and pairs tables that stage 2 would leave."""

    neighbors: pd.DataFrame
    pairs: pd.DataFrame


class Embedded(NamedTuple):
    """What an encoder makes of a run: its images (N, dim) and its regions (R, width), rows of length 1."""

    images: np.ndarray
    regions: np.ndarray


def stored_embeddings(run: Run) -> Embedded:
    """The run's own embeddings.

    Raises:
        OrlError: stage 2 is missing.
    """
    return Embedded(np.array(run.read_array("image_embeddings")), run.read_array("region_embeddings"))


def embed_run(run: Run, encoder: Encoder, stage: Stage2Settings, *, progress: Progress | None = None) -> Embedded:
    """Embed the images and regions of a run with another encoder, as stage 2 does in one process.

    Args:
        run: a run with regions.
        encoder: any encoder.
        stage: size of the crops, and how many are embedded at a time.
        progress: called as progress(images done, images in all), for the images and then for the regions.

    Raises:
        OrlError: stage 2 is missing, or an image cannot be read.
    """
    images, regions = run.images(), run.read("regions")
    fading: dict[str, Any] = {}
    if stage.mask_outside:
        masks = RegionMasks(run).of(images.table["image_id"].to_numpy())
        fading = {"masks": masks, "mask_outside": stage.mask_outside}
    stored = run.file("region_embeddings")
    kind = run.read_array("region_embeddings").dtype if stored.exists() else np.float16
    common: dict[str, Any] = {"size": stage.image_size, "batch_size": stage.batch_size, "progress": progress}
    return Embedded(
        embed_images(encoder, images, **common),
        embed_regions(encoder, images, regions, **fading, **common).astype(kind),
    )


def remine(run: Run, embedded: Embedded, stage: Stage2Settings) -> Remined:
    """Find neighbors and pairs (method: stage 2, steps 1 and 5).

    Args:
        run: whose regions are matched.
        embedded: its images and regions by some encoder.
        stage: K, the ratio and the switches.
    """
    ids = run.images().table["image_id"].to_numpy()
    neighbors = nearest_neighbors(embedded.images, ids, k=stage.neighbors, max_similarity=stage.max_image_similarity)
    return Remined(neighbors, pair_regions(ids, neighbors, run.read("regions"), embedded.regions, stage))


def figures(run: Run, mined: Remined) -> dict[str, float]:
    """Judge what was mined by the labels of the run, each figure a share of 0..1; nan without labels.

    Returns:
        `same context`: neighbors that share it; `object pairs`: pairs of two boxes on objects; `purity`: of these,
        pairs of one category; `blind matching`: purity, were the boxes of the same neighbors matched at random.
    """
    images, regions = run.images(), run.read("regions")
    purity = diagnostics.pair_purity(
        mined.pairs, regions, diagnostics.on_object(regions, images.objects), images.objects
    )
    same = float("nan")
    if "context" in images.table:
        labels = images.table.set_index("image_id")["context"]
        same = diagnostics.neighbor_agreement(mined.neighbors, labels).value
    return {
        "same context": same,
        "object pairs": purity.objects.value,
        "purity": purity.purity.value,
        "blind matching": purity.neighbor_chance,
    }
