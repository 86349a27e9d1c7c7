"""Embed a run's regions by any encoders, decoding every image once for all of them."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orl_explore.embedding import embed_regions_each
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.grouping import group_starts
from orl_explore.interchange.encoders import NamedEncoder, find_encoder
from orl_explore.runs import region_embeddings as stored
from orl_explore.runs.encoders import run_encoders
from orl_explore.runs.files import write_array, write_array_parts, write_json
from orl_explore.runs.masks import RegionMasks
from orl_explore.runs.provenance import now, versions
from orl_explore.runs.run import Run
from orl_explore.settings import Config
from training.console import console, progress_bar
from training.stage2 import embedding_options

SHARDS, RECORD = "shards", "made-from.json"
SHARD_IMAGES = 64
"""Images of a shard at most: it is what a stopped command has to do again, and slow encoders take a second an image."""


def embed_regions_by(
    run: Run,
    config: Config,
    names: Sequence[str] = (),
    *,
    limit: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> list[str]:
    """Embed the regions of a run by some encoders; what is there and current is left, a killed job goes on.

    Args:
        run: its stage 2 is finished, or was imported.
        config: `stage2.image_size` and the run-wide settings are used.
        names: encoders, as `orl encoders` lists them; default: the untrained one and those of the finished stages.
        limit: of more regions, a random sample of this size; default: the size that the run's other encoders have, else
            100,000.
        seed: decides the sample.
        overwrite: make them anew.

    Returns:
        Names of the encoders, each once, as `read_region_embeddings` takes them.

    Raises:
        OrlError: stage 2 or an encoder is missing, or the limit is none.
    """
    found = {stored.canonical(name): find_encoder(name, run) for name in names or default_encoders(run)}
    count = run.count("regions")
    limit = _limit(run) if limit is None else limit
    if limit < 1 or seed < 0:
        raise OrlError(f"limit is {limit} and seed {seed}: they must be at least 1 and at least 0")
    ids = stored.sample(count, limit=limit, seed=seed)
    with run.lock():
        facts = {name: _facts(run, name, named, ids, count, seed, config) for name, named in found.items()}
        missing = [name for name in found if overwrite or not _is_made(run, name, facts[name])]
        for name in (name for name in found if name not in missing):
            console.print(f"the regions of {run.path} are embedded by {name} already: skipped", markup=False)
        missing = [name for name in missing if not _take_mined(run, name, facts[name], ids)]
        if missing:
            encoders = {name: found[name].load() for name in missing}  # before anything is made of one that is none
            for name in missing:
                _begin(run, name, facts[name], _shard_images(config), overwrite)
            _embed(run, encoders, ids, config)
            for name in missing:
                _finish(run, name, facts[name], ids)
    return list(found)


def default_encoders(run: Run) -> list[str]:
    """The untrained encoder, and the last ones of the stages that there are."""
    known = run_encoders(run)
    return ["untrained" if name == "random" else name for name, encoder in known.items() if encoder.epoch is None]


def _limit(run: Run) -> int:
    for name in stored.embedded_encoders(run):
        try:
            return len(stored.read_region_embeddings(run, name).region_ids)
        except OrlError:  # of former regions
            continue
    return stored.LIMIT


def _facts(
    run: Run, name: str, named: NamedEncoder, ids: np.ndarray, count: int, seed: int, config: Config
) -> dict[str, Any]:
    """What the embeddings are made from; others of these make other embeddings."""
    options, mask_outside = embedding_options(config), config.stage2.mask_outside
    return {
        "encoder": name,
        "hash": named.hash(),
        "regions": stored.regions_fingerprint(run),
        "sample": {"count": len(ids), "of": count, "seed": seed if len(ids) < count else None},
        "size": options["size"],
        "precision": "bf16" if options["bf16"] else "fp32",
        **({"mask_outside": mask_outside} if mask_outside else {}),
    }


def _is_made(run: Run, name: str, facts: dict[str, Any]) -> bool:
    try:
        known = stored.read_region_embeddings(run, name).facts
    except OrlError:
        return False
    return all(known.get(key) == facts.get(key) for key in facts.keys() | {"mask_outside"})


def _take_mined(run: Run, name: str, facts: dict[str, Any], ids: np.ndarray) -> bool:
    """Take what stage 2 made where this is the encoder that it mined with; whether it is."""
    record = run.stage("stage2")
    made = record.get("embedded") or record.get("config", {})
    same = (
        record.get("inputs", {}).get("encoder") == facts["hash"]
        and made.get("image_size") == facts["size"]
        and made.get("mask_outside") == facts.get("mask_outside")
    )
    if not same or not run.finished("stage2") or not run.file("region_embeddings").exists():
        return False
    _begin(run, name, facts, 0, overwrite=True)
    write_array(
        stored.folder_of(run, name) / stored.VECTORS, run.read_array("region_embeddings")[ids].astype(np.float16)
    )
    _record(run, name, facts, ids)
    console.print(f"stage 2 mined with {name}: its embeddings are taken", markup=False)
    return True


def _begin(run: Run, name: str, facts: dict[str, Any], shard_images: int, overwrite: bool) -> None:
    """Make room for an encoder's embeddings; shards that an ended job left are kept if made from the same."""
    facts = {**facts, "shard_images": shard_images}
    folder = stored.folder_of(run, name)
    (folder / stored.MANIFEST).unlink(missing_ok=True)
    record = folder / SHARDS / RECORD
    if overwrite or not record.exists() or stored.read_json(record) != facts:
        shutil.rmtree(folder / SHARDS, ignore_errors=True)
        write_json(record, facts)


def _embed(run: Run, encoders: dict[str, Encoder], ids: np.ndarray, config: Config) -> None:
    """Fill the shards of all these encoders, image by image, so that each image is decoded once."""
    options = embedding_options(config)
    masks = RegionMasks(run) if config.stage2.mask_outside else None
    images = run.images()
    images.check_files()
    image_ids = images.table["image_id"].to_numpy()
    regions = run.read("regions").iloc[ids]
    starts = group_starts(regions["image_id"].to_numpy())
    bounds = [*starts[:: _shard_images(config)].tolist(), len(ids)]  # shards end where images end
    with progress_bar(f"embedding regions by {', '.join(encoders)}") as progress:
        for number, (start, stop) in enumerate(itertools.pairwise(bounds)):
            files = {name: _shard(run, name, number) for name in encoders if not _shard(run, name, number).exists()}
            images_before = int(np.searchsorted(starts, start))
            progress(images_before, len(starts))
            if not files:
                continue

            def tell(done: int, _: int, before: int = images_before) -> None:
                progress(before + done, len(starts))

            part: pd.DataFrame = regions.iloc[start:stop]
            if masks is not None:
                first, last = images.rows_of(part["image_id"].iloc[[0, -1]].to_numpy())
                counts = masks.of_regions(part["region_id"].to_numpy(), image_ids[first : last + 1])
                options.update(masks=counts, mask_outside=config.stage2.mask_outside)
            made = embed_regions_each([encoders[name] for name in files], images, part, progress=tell, **options)
            for file, vectors in zip(files.values(), made, strict=True):
                write_array(file, vectors.astype(np.float16))
        progress(len(starts), len(starts))


def _shard_images(config: Config) -> int:
    return min(config.stage2.shard_images, SHARD_IMAGES)


def _shard(run: Run, name: str, number: int) -> Path:
    return stored.folder_of(run, name) / SHARDS / f"{number:05d}.npy"


def _finish(run: Run, name: str, facts: dict[str, Any], ids: np.ndarray) -> None:
    folder = stored.folder_of(run, name)
    parts = [np.load(file, mmap_mode="r") for file in sorted((folder / SHARDS).glob("*.npy"))]
    write_array_parts(folder / stored.VECTORS, parts)
    _record(run, name, facts, ids)


def _record(run: Run, name: str, facts: dict[str, Any], ids: np.ndarray) -> None:
    """Say what was made; from now on it counts as made."""
    folder = stored.folder_of(run, name)
    write_array(folder / stored.IDS, ids)
    write_json(folder / stored.MANIFEST, {**facts, "made": now(), "versions": versions()})
    shutil.rmtree(folder / SHARDS, ignore_errors=True)
