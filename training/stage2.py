"""Stage 2: find which regions of which images correspond, with the frozen stage-1 encoder (paper section 3.2)."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch

from orl_explore.embedding import embed_images, embed_regions
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.grouping import Slices
from orl_explore.images.image_set import ImageSet
from orl_explore.interchange.encoders import find_encoder, load_pretrained
from orl_explore.judging import useless
from orl_explore.judging.pair_facts import make_pair_facts
from orl_explore.judging.useless import check_directions
from orl_explore.neighbors import BLOCK, build_index, nearest_neighbors, open_index, recall
from orl_explore.numbers import percent_text
from orl_explore.pairs import pair_images, pairing
from orl_explore.pretrained import Pretrained
from orl_explore.proposals import Proposer, regions_from
from orl_explore.runs.caps import caps
from orl_explore.runs.files import atomic_write, disk_trouble, hash_file
from orl_explore.runs.masks import RegionMasks
from orl_explore.runs.reading import read_ids, read_rows
from orl_explore.runs.run import Run
from orl_explore.runs.successor import Successor
from orl_explore.runs.tables import MINED, ROW_GROUP, TABLES, write_table_parts
from orl_explore.settings import Config
from training.console import console
from training.former import Former
from training.machine import computing, data_workers, is_main_process, keep_to_share, pool_workers, precision_flag
from training.notebook import processes, train_in_processes
from training.record import is_done, take_over_said, working_on
from training.sharding import ProcessGroup, Progress, Shards, process_group

STAGE = "stage2"

SOME = 8
"""Images that are looked at before boxes are searched, to see whether the encoder answers at all."""


def run(run: Run, config: Config) -> Run:
    """Mine correspondences, or go on where a killed job stopped.

    Processes that torchrun or Slurm started share the work; the result is that of one process.

    Args:
        run: a run whose stage 1 is finished.
        config: settings; `config.stage2` and the run-wide ones are used.

    Returns:
        The run, with the tables and arrays of `stage2/`.

    Raises:
        OrlError: stage 1 is missing; other settings or another encoder than the stage was begun with.
    """
    if processes(config) > 1:
        return train_in_processes(STAGE, run, config)
    with process_group() as together:
        if is_main_process():
            _lead(run, config, together)
            return run
        shards = Shards(run, STAGE, together)
        if together.agree():
            mine(run, run.images(), Encoder.load(run.mining_encoder_file()), config, shards)
        while not run.finished(STAGE):
            shards.wait()
    return run


def _lead(run: Run, config: Config, together: ProcessGroup) -> None:
    """What the first process does: decide whether there is work, take part in it, and keep the record."""
    if run.imported(STAGE):
        console.print(f"stage 2 of {run.path} was imported: skipped")
        together.agree(False)
        return
    _check_imported_tables(run, config)
    images = run.images()
    encoder, digest, pretrained = _encoder(run, config)
    inputs = {"images": images.fingerprint, "encoder": digest}
    if is_done(run, STAGE, config, inputs=inputs):
        console.print(f"stage 2 of {run.path} is finished: skipped")
        together.agree(False)
        return
    images.check_files()
    for line in caps(config.stage_dict(STAGE)):
        console.print(line, markup=False)
    if config.stage2.mask_outside:
        RegionMasks(run)  # there are some, before anything is recorded
    with working_on(run, STAGE, config, inputs=inputs):
        if pretrained:
            adopt(run, pretrained)
        shards = Shards(run, STAGE, together)
        shards.check(MINED)
        together.agree(True)
        former = Former.of(run, images, config=config.stage_dict(STAGE), encoder=digest)
        mine(run, images, encoder, config, shards, former)
        run.note(STAGE, outputs={name: hash_file(run.file(name)) for name in MINED})
        _facts_of_pairs(run)
        if former:
            former.finish()
        if not isinstance(run, Successor):  # which has yet to take its place
            take_over_said(run)
        shards.clear()


def _facts_of_pairs(run: Run) -> None:
    """What the dashboard asks of all pairs, worked out once."""
    start = time.perf_counter()
    count = make_pair_facts(run)
    run.note(STAGE, pair_facts={"seconds": round(time.perf_counter() - start, 2)})
    console.print(f"facts of {count:,} pairs: {run.file('pair_facts')}", markup=False)


def _encoder(run: Run, config: Config) -> tuple[Encoder, str, Pretrained | None]:
    """The encoder to mine with, the hash of its file; and, unless it is stored with the run, what is to be."""
    stage, stored = config.stage2, run.encoder_file(STAGE)
    if stage.encoder is None:
        return Encoder.load(run.encoder_file("stage1")), hash_file(run.encoder_file("stage1")), None
    if _is_stored(run, config):
        return Encoder.load(stored), hash_file(stored), None
    size = stage.encoder_size
    pretrained = load_pretrained(stage.encoder, image_size=stage.image_size, size=size, run=run, config=config)
    with tempfile.TemporaryDirectory() as folder, disk_trouble(Path(folder) / "encoder"):
        pretrained.encoder.save(Path(folder) / "encoder", stage=STAGE, pretrained=stage.encoder)
        return pretrained.encoder, hash_file(Path(folder) / "encoder"), pretrained


def _is_stored(run: Run, config: Config) -> bool:
    """Whether the run has its own copy of the encoder that is named, made of what the name still stands for."""
    name, known = config.stage2.encoder, run.stage(STAGE).get("pretrained", {})
    if name is None or known.get("encoder") != name or not run.encoder_file(STAGE).exists():
        return False
    try:
        file = find_encoder(name, run, config).file
    except OrlError:  # what it was read from is gone
        return True
    return file is None or not file.is_file() or known.get("source") == hash_file(file)


def adopt(run: Run, pretrained: Pretrained) -> None:
    """Store an encoder from elsewhere with the run, and say what that costs."""
    with atomic_write(run.encoder_file(STAGE)) as temporary:
        pretrained.encoder.save(temporary, stage=STAGE, pretrained=pretrained.name)
    source = hash_file(pretrained.file) if pretrained.file else None
    run.note(STAGE, pretrained={**pretrained.facts(), "source": source})
    console.print(f"stage 2 uses {pretrained.name} in place of stage 1's encoder:", markup=False)
    for sentence in (*pretrained.differs, pretrained.feeding()):
        console.print(f"  {sentence}", markup=False)


def _check_imported_tables(run: Run, config: Config) -> None:
    """Refuse settings that an imported table was not made with, as it would be taken for one that was."""
    for name, made in run.manifest().get("imported_tables", {}).items():
        file = run.file(name)
        for key, value in made["settings"].items():
            given = getattr(config.stage2, key)
            if given != value and file.exists() and hash_file(file) == made["hash"]:
                raise OrlError(
                    f"the {name} of {run.path} were imported with stage2.{key} {value}, not {given}:"
                    f" import them into a new run with --stage2.{key} {given}"
                )


def mine(
    run: Run, images: ImageSet, encoder: Encoder, config: Config, shards: Shards, former: Former | None = None
) -> None:
    """The five steps of stage 2, in order; each is skipped when its table is complete.

    Whatever the number of images, memory holds the images table, a shard, and a few numbers an image.

    Args:
        run: where the tables go.
        images: its images.
        encoder: frozen.
        config: settings.
        shards: by which the work is shared and survives being killed.
        former: what was made before pictures came or went; the first process takes it over, others make their shards.
    """
    if torch.cuda.is_available():
        torch.cuda.set_device(shards.processes.local_rank)
    with computing(config):
        embed_all(run, images, encoder, config, shards, former)
        find_neighbors(run, config, shards)
        propose_all(run, images, config, shards, former)
        embed_all_regions(run, images, encoder, config, shards, former)
        pair_all(run, config, shards)


def embed_all(
    run: Run, images: ImageSet, encoder: Encoder, config: Config, shards: Shards, former: Former | None = None
) -> None:
    """Step 1a: embeddings of the images."""
    options = embedding_options(config)

    def embed(rows: Sequence[int], progress: Progress) -> np.ndarray:
        return embed_images(encoder, images, rows, progress=progress, **options)

    _make(shards, "image_embeddings", len(images), config, embed, former)
    if shards.processes.rank == 0:
        few = np.linspace(0, len(images) - 1, min(len(images), SOME)).astype(int).tolist()
        check_directions(embed_images(encoder, images, few, features=True, **options), "pictures")  # as of boxes, later
        for sentence in useless.of_images(run.read_array("image_embeddings")):
            console.print(f"careful: {sentence}", markup=False)


def find_neighbors(run: Run, config: Config, shards: Shards) -> None:
    """Step 1b: the neighbors of each image, by exact search or by an index, whose recall is then recorded."""
    if run.file("neighbors").exists():
        return
    stage = config.stage2
    ids, embeddings = _image_ids(run), run.read_array("image_embeddings")
    if len(ids) <= stage.neighbors and shards.processes.rank == 0:
        noun = "neighbor" if len(ids) == 2 else "neighbors"
        console.print(f"{len(ids) - 1} {noun} for each image, not {stage.neighbors}, as there are {len(ids)} images")
    index = None
    if stage.searches_lists(len(ids)):
        file = shards.folder / "neighbor_index"

        def build() -> None:
            with atomic_write(file) as temporary:
                build_index(embeddings, temporary, seed=config.seed)

        shards.once(file, build)
        try:
            index = open_index(file)
        except RuntimeError:  # FAISS, of a file that is cut or something else
            shards.rebuild(file, build)
            index = open_index(file)
        if shards.processes.rank == 0:
            found = recall(embeddings, ids, index, k=stage.neighbors, seed=config.seed)
            facts = {"lists": index.nlist, "probes": index.nprobe, "recall": round(found, 4)}
            run.note(STAGE, neighbor_index=facts)
            console.print(
                f"neighbors by an index, looking into {index.nprobe} of {index.nlist:,} lists: it finds"
                f" {percent_text(found)} of the {stage.neighbors} nearest images (`--stage2.index exact` finds all)"
            )
    shards.make(
        "neighbors",
        len(ids),
        BLOCK,
        lambda rows, progress: nearest_neighbors(
            embeddings,
            ids,
            k=stage.neighbors,
            max_similarity=stage.max_image_similarity,
            rows=rows,
            index=index,
            progress=progress,
        ),
    )


def propose_all(run: Run, images: ImageSet, config: Config, shards: Shards, former: Former | None = None) -> None:
    """Steps 2 and 3: proposals, and the regions that the filter keeps of them."""
    stage = config.stage2
    without_objects = dataclasses.replace(images, objects=images.objects.iloc[:0])  # a copy goes to every worker
    with Proposer(
        without_objects,
        min_side=stage.min_side,
        max_aspect=stage.max_aspect,
        max_iou=stage.max_iou,
        max_boxes=stage.max_boxes,
        method=stage.proposals,
        max_side=stage.max_side,
        seed=config.seed,
        workers=pool_workers(config),
    ) as proposer:
        _make(shards, "proposals", len(images), config, proposer.propose, former)

    def number() -> Any:
        first = 0
        with pq.ParquetFile(run.file("proposals")) as proposals:
            for batch in proposals.iter_batches(ROW_GROUP):
                kept = regions_from(batch.to_pandas(), first=first)
                first += len(kept)
                yield kept

    shards.once(
        run.file("regions"), lambda: write_table_parts(run.file("regions"), number(), TABLES["regions"].columns)
    )


def embed_all_regions(
    run: Run, images: ImageSet, encoder: Encoder, config: Config, shards: Shards, former: Former | None = None
) -> None:
    """Step 4: embeddings of the regions."""
    if run.file("region_embeddings").exists():
        return
    options, ids, slices = embedding_options(config), _image_ids(run), Slices(read_ids(run.file("regions")))
    masks = RegionMasks(run) if config.stage2.mask_outside else None

    def embed(rows: Sequence[int], progress: Progress) -> np.ndarray:
        # Regions stand in the order of the images, so rows a..b of the images are one slice of the regions.
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        runs = [ids[part] for part in np.split(np.array(rows), breaks)]
        regions = pd.concat([read_rows(run.file("regions"), *slices.span(some)) for some in runs])
        if masks is not None:
            faded = [counts for some in runs for counts in masks.of(some)]
            options.update(masks=faded, mask_outside=config.stage2.mask_outside)
        vectors = embed_regions(encoder, images, regions, progress=progress, **options).astype(config.region_dtype)
        if zero := check_directions(vectors, "boxes"):
            console.print(f"careful: the encoder answers zero for {zero:,} of {len(vectors):,} boxes", markup=False)
        return vectors

    _make(shards, "region_embeddings", len(ids), config, embed, former)


def pair_all(run: Run, config: Config, shards: Shards) -> None:
    """Step 5: pairs of regions."""
    if run.file("pairs").exists():
        return
    ids, options = _image_ids(run), pairing(config.stage2)
    slices, of_neighbors = (Slices(read_ids(run.file(name))) for name in ("regions", "neighbors"))

    def pair(rows: range, progress: Callable[[int, int], None]) -> pd.DataFrame:
        own = ids[rows.start : rows.stop]
        neighbors = read_rows(run.file("neighbors"), *of_neighbors.span(own))
        # Mapped anew for each shard: its pages are given back after it, whatever the size of the file.
        return pair_images(own, neighbors, slices, run.read_array("region_embeddings"), progress=progress, **options)

    shards.make("pairs", len(ids), config.stage2.shard_images, pair)


def _make(
    shards: Shards,
    name: str,
    count: int,
    config: Config,
    make: Callable[[Sequence[int], Progress], Any],
    former: Former | None,
) -> None:
    """Make a table or array of `count` images shard by shard; what is known of an image is not made again."""

    def build(rows: range, tell: Progress) -> Any:
        def progress(done: int, total: int) -> None:
            keep_to_share(config)
            tell(done, total)

        return former.fill(name, rows, progress, make) if former else make(rows, progress)

    shards.make(name, count, config.stage2.shard_images, build)


def embedding_options(config: Config) -> dict[str, Any]:
    """How images and regions are embedded, as the functions of `orl_explore.embedding` take it."""
    return {
        "size": config.stage2.image_size,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "batch_size": config.stage2.batch_size,
        "workers": data_workers(config),
        "bf16": config.precision != "paper" and precision_flag(config.precision) == "bf16-mixed",
    }


def _image_ids(run: Run) -> np.ndarray:
    return run.read("images", columns=["image_id"])["image_id"].to_numpy()
