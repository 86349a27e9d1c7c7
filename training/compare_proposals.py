"""`orl compare-proposals`: boxes of several proposers on the images of one run, judged the same way."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch

from orl_explore.boxes import BOX, filter_boxes, is_kept
from orl_explore.embedding import embed_regions
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.interchange import foreign
from orl_explore.interchange.names import ImageNames
from orl_explore.judging import diagnostics
from orl_explore.judging.proposers import FOLDER, Proposer, judged_proposers, keep, proposer_items
from orl_explore.neighbors import nearest_neighbors
from orl_explore.pairs import pair_regions
from orl_explore.proposals import propose, regions_from
from orl_explore.runs.files import hash_file
from orl_explore.runs.run import Run
from orl_explore.settings import Config
from training.console import progress_bar
from training.import_kinds import BOX_READERS, hash_source, kind_of, tell
from training.machine import data_workers

OWN: Final = "run"
SEARCHES: Final = ("fast", "opencv")
FILTER: Final = ("min_side", "max_aspect", "max_iou", "max_boxes")


def compare_proposals(
    run: Run,
    config: Config,
    names: Sequence[str],
    *,
    limit: int = 500,
    min_score: float | None = None,
    min_stability: float | None = None,
    label_field: str | None = None,
) -> list[Proposer]:
    """Judge proposers on a run's images, or take what is kept of them.

    Args:
        run: a run whose stage 2 is finished: its filter, its encoder and its image embeddings are used.
        config: the run's settings.
        names: `run` (its own boxes), `fast` or `opencv` (selective search), the folder of another run of the same
            images, or a file or folder of boxes that `orl import` takes.
        limit: images at most, evenly spread; pairs are with the nearest of these.
        min_score: boxes of a file with a score below this, or none, are left out.
        min_stability: the same for the `stability_score` of Segment Anything.
        label_field: the field of a FiftyOne data set that holds the boxes, where there are several.

    Raises:
        OrlError: stage 2 is missing, or there is no such proposer.
    """
    images = run.images()
    everything = run.read_array("image_embeddings")  # says so where there is no stage 2
    rows = np.linspace(0, len(images) - 1, min(limit, len(images))).round().astype(int)
    some = images.subset(rows.tolist())
    sources = [_source(run, images, name) for name in names]
    encoder_file = run.mining_encoder_file()
    found, encoder = [], None
    for name, source in zip(names, sources, strict=True):
        made = {
            "images": f"{images.fingerprint}/{len(rows)}",
            "boxes": source,
            "encoder": hash_file(encoder_file),
            "min_score": min_score,
            "min_stability": min_stability,
            "stage2": {key: value for key, value in config.stage_dict("stage2").items() if key != "encoder"},
        }
        if label_field is not None:
            made["label_field"] = label_field
        text = json.dumps({**made, "name": name}, sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
        folder = run.path / FOLDER / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', Path(name).name)[:40]}-{digest}"
        if not (folder / "proposer.json").exists():
            encoder = encoder or Encoder.load(encoder_file)
            ledger = foreign.Ledger(min_score, min_stability, label_field)
            regions = _boxes(run, config, name, images, rows, ledger)
            vectors = _embedded(run, config, name, encoder, some, regions)
            ids = some.table["image_id"].to_numpy()
            neighbors = nearest_neighbors(everything[rows], ids, k=min(config.stage2.neighbors, len(ids) - 1))
            pairs = pair_regions(ids, neighbors, regions, vectors, config.stage2)
            chance = {}
            if len(some.objects):
                on = diagnostics.on_object(regions, some.objects)
                judged = diagnostics.pair_purity(pairs, regions, on, some.objects)
                chance = {"purity": judged.purity.chance, "object_pairs": judged.objects.chance}
            facts = {"name": name, "made": made, "count": len(rows), "chance": _known(chance)}
            keep(run, folder, facts, regions, proposer_items(ids, some.objects, regions, pairs))
        found.append(next(one for one in judged_proposers(run) if one.folder == folder))
    return found


def _known(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value == value}  # JSON has no nan


def _source(run: Run, images: ImageSet, name: str) -> str:
    """What identifies a proposer's boxes.

    Raises:
        OrlError: there is no such proposer.
    """
    if name == OWN:
        return hash_file(run.require("regions"))
    if name in SEARCHES:
        return name
    path = Path(name)
    if (path / "run.json").exists():
        other = Run.open(path)
        if other.manifest()["images"] is None or other.images().fingerprint != images.fingerprint:
            raise OrlError(f"{name} is a run on other images than {run.path}: name one on the same images")
        return hash_file(other.require("regions"))
    if not path.exists():
        raise OrlError(
            f"there is no proposer {name!r}: name {OWN}, {', '.join(SEARCHES)}, the folder of another run, or boxes in"
            " a file or folder that `orl import` takes"
        )
    if kind_of(path) not in BOX_READERS:
        raise OrlError(f"{name} has no boxes that name their images: `orl import` it into a run, and name that")
    return hash_source(path)


def _boxes(
    run: Run, config: Config, name: str, images: ImageSet, rows: np.ndarray, ledger: foreign.Ledger
) -> pd.DataFrame:
    """A proposer's kept boxes on some rows of the images, as a regions table."""
    stage, ids = config.stage2, images.table["image_id"].to_numpy()[rows]
    settings = {key: getattr(stage, key) for key in FILTER}
    if name in SEARCHES:
        with progress_bar(f"proposals by {name}") as progress:
            found = propose(
                dataclasses.replace(images, objects=images.objects.iloc[:0]),  # a copy goes to every worker
                rows.tolist(),
                method=name,
                max_side=stage.max_side,
                seed=config.seed,
                workers=data_workers(config),
                progress=progress,
                **settings,
            )
        return regions_from(found)
    if name == OWN or (Path(name) / "run.json").exists():
        regions = (run if name == OWN else Run.open(name)).read("regions")
        regions = regions[regions["image_id"].isin(ids)].reset_index(drop=True)
        return regions.assign(region_id=np.arange(len(regions)))
    path = Path(name)
    known = ImageNames(images)
    parts = []
    with tempfile.TemporaryDirectory() as scratch:
        read = BOX_READERS[kind_of(path)]
        boxes, _, findings = foreign.collect(read(path, images, known, ledger), images, Path(scratch), ledger)
        tell(path, kind_of(path), findings)
        sizes = images.table[["width", "height"]].to_numpy()
        for row, image_id in zip(rows.tolist(), ids.tolist(), strict=True):
            own = np.array(boxes.group(row))
            if not len(own):  # as stage 2 does where it finds none
                own = np.array([[0, 0, *sizes[row]]], np.int32)
            kept = own[is_kept(filter_boxes(own, **settings))]
            parts.append(pd.DataFrame(kept, columns=BOX).assign(image_id=image_id))
    regions = pd.concat(parts, ignore_index=True)
    regions.insert(0, "region_id", np.arange(len(regions)))
    return regions


def _embedded(
    run: Run, config: Config, name: str, encoder: Encoder, images: ImageSet, regions: pd.DataFrame
) -> np.ndarray:
    """Embeddings of the boxes, without any fading: the run's own are read where they were made so."""
    if name == OWN and not config.stage2.mask_outside and run.file("region_embeddings").exists():
        all_regions = run.read("regions")
        own = all_regions["image_id"].isin(images.table["image_id"]).to_numpy()
        return np.asarray(run.read_array("region_embeddings")[own])
    options: dict[str, Any] = {"size": config.stage2.image_size, "workers": data_workers(config)}
    with progress_bar(f"embedding the boxes of {Path(name).name}") as progress:
        return embed_regions(
            encoder,
            images,
            regions,
            device="cuda" if torch.cuda.is_available() else "cpu",
            progress=progress,
            **options,
        ).astype(config.region_dtype)
