"""Stage 3: train on whole images, boxes and corresponding boxes, by default from scratch (paper section 3.3)."""

from __future__ import annotations

import hashlib

import torch

from orl_explore.errors import OrlError, typed
from orl_explore.orl import ORL
from orl_explore.runs.files import hash_file
from orl_explore.runs.run import Run
from orl_explore.runs.samples import ObjectViews, left_out, pairs_to_train_on
from orl_explore.settings import Config
from training.console import console
from training.machine import check_batches, is_main_process
from training.notebook import processes, train_in_processes
from training.record import is_done, judge_at_once, save_encoder, working_on
from training.sharding import process_group
from training.starting_weights import begin_with, starting_input
from training.trainer import fit

STAGE = "stage3"


def run(run: Run, config: Config) -> Run:
    """Train stage 3 on the run's images, regions and pairs, or go on where a killed job stopped.

    Args:
        run: a run whose stage 2 is finished.
        config: settings; `config.stage3` and the run-wide ones are used.

    Returns:
        The run, with `stage3/encoder.safetensors`, `stage3/metrics.csv` and a checkpoint.

    Raises:
        OrlError: stage 2 is missing, or the reviews that the settings ask for; other settings, pairs or reviews than
            the stage was begun with; a batch that the devices cannot share; weights to begin with that do not fit; a
            loss that is not finite.
    """
    if processes(config) > 1:
        return train_in_processes(STAGE, run, config)
    with process_group() as together:
        if not together.decide(lambda: _is_due(run, config)):
            return run
    images = run.images()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        networks = ORL(config.stage3.encoder)
    start = begin_with(networks, run, config, STAGE)
    pairs = pairs_to_train_on(run, config.stage3)
    if config.stage3.reviews:
        console.print(f"with the reviews there are {len(pairs)} pairs to train on")
    without = left_out(run, config.stage3)
    if len(without):
        console.print(f"without the {len(without)} boxes of {config.stage3.without!r} there are {len(pairs)} pairs")
    samples = ObjectViews(images, run.read("regions"), pairs, config.stage3, config.seed, without=without)
    if len(samples) < len(images):
        console.print(f"{len(images) - len(samples)} images without any pair are left out of stage 3")
    config.stage3.steps_per_epoch(len(samples))  # raises if they are too few, before anything is recorded
    weights = {
        "image": config.stage3.image_weight,
        "intra": config.stage3.intra_weight,
        "inter": config.stage3.inter_weight,
    }
    with working_on(run, STAGE, config, inputs=inputs(run, config), init=start):
        fit(
            networks,
            samples,
            images=len(samples),
            folder=run.folder(STAGE),
            config=config,
            stage=config.stage3,
            title="stage 3",
            weights=weights,
        )
        if is_main_process():
            run.note(STAGE, images_without_pairs=len(images) - len(samples))
        save_encoder(run, STAGE, networks.online, config.stage3.image_size)
        judge_at_once(run, STAGE, networks.online, config)
    return run


def inputs(run: Run, config: Config) -> dict[str, str]:
    """Hashes of what the stage is made from: images, regions, pairs, the encoder that these were mined with, reviews.

    Raises:
        OrlError: a table is missing.
    """
    found = {
        **starting_input(run, config, STAGE),
        "images": run.images().fingerprint,
        "regions": hash_file(run.require("regions")),
        "pairs": hash_file(run.require("pairs")),
    }
    record, mined = run.stage(STAGE), run.stage("stage2").get("inputs", {})
    if "encoder" in mined and (not record or "encoder" in record["inputs"]):  # stages begun earlier did not note it
        found["encoder"] = mined["encoder"]
    if config.stage3.reviews:
        found["reviews"] = hash_file(run.require("reviews"))
    if config.stage3.without is not None:
        boxes = left_out(run, config.stage3).astype("<i8").tobytes()
        found["selection"] = hashlib.blake2b(boxes, digest_size=16).hexdigest()
    return found


def _refuse_stale_pairs(run: Run) -> None:
    """Refuse pairs of an encoder that the run no longer has.

    Raises:
        OrlError: stage 1 was made anew after stage 2.
    """
    record, file = run.stage("stage2"), run.mining_encoder_file()
    mined = record.get("inputs", {}).get("encoder")
    if run.imported("stage2") or mined is None or not file.exists() or hash_file(file) == mined:
        return
    hours = record.get("seconds", 0.0) / 3600
    raise OrlError(
        f"the pairs of {run.path} were mined with another encoder than {file} is now: "
        f"`{typed('stage2', run.path, '--overwrite')}` mines them anew"
        f"{f', in about {hours:.1f} hours, as before' if hours > 1 / 60 else ''}"
    )


def _is_due(run: Run, config: Config) -> bool:
    """Whether there is anything left to do, as the first process decides for all."""
    if run.imported(STAGE):
        console.print(f"stage 3 of {run.path} was imported: skipped")
        return False
    _refuse_stale_pairs(run)
    if is_done(run, STAGE, config, inputs=inputs(run, config)):
        console.print(f"stage 3 of {run.path} is finished: skipped")
        return False
    check_batches(config, STAGE)
    run.images().check_files()
    return True
