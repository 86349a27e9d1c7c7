"""Embeddings for a stage 2 that was imported, so that its boxes can be compared, mapped and searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError, typed
from orl_explore.runs.files import hash_file
from orl_explore.runs.run import Run
from orl_explore.settings import Config
from training.console import console
from training.machine import is_main_process
from training.sharding import Shards, process_group
from training.stage2 import STAGE, embed_all, embed_all_regions

NAMES = ("image_embeddings", "region_embeddings")


class _Beside(Run):
    """The run, as those see it who make its embeddings: beside those that it has, which stand until all are made."""

    def file(self, name: str) -> Path:
        return self.folder(STAGE) / "shards" / name if name in NAMES else super().file(name)


def embed_imported(run: Run, config: Config, *, overwrite: bool = False) -> Run:
    """Embed the images and regions of an imported stage 2 with the encoder of stage 1; the tables stay as they are.

    Processes that torchrun or Slurm started share the work. A killed one goes on where it was.

    Args:
        run: its stage 2 was imported.
        config: settings; `stage2.image_size` and the run-wide ones are used.
        overwrite: make them anew; those that are there stand until then.

    Returns:
        The run, with both arrays, and with encoder and settings in the record of stage 2 (`embedded`).

    Raises:
        OrlError: stage 2 was not imported, or there is no encoder.
    """
    if not run.finished(STAGE):
        raise OrlError(f"{run.path} has no stage 2 to embed: run `{typed('stage2', run.path)}`, which embeds, too")
    if not run.imported(STAGE):
        raise OrlError(f"stage 2 of {run.path} was not imported: it has embeddings of its own")
    file = run.encoder_file("stage1")
    if not file.exists():
        raise OrlError(
            f"{run.path} has no encoder of stage 1: import one with"
            f" `{typed('import', run.path, 'WEIGHTS', '--stage', 'stage1')}`, or run `{typed('stage1', run.path)}`"
        )
    images, encoder = run.images(), Encoder.load(file)
    made = {"encoder": hash_file(file), "image_size": config.stage2.image_size, "precision": config.precision}
    with process_group() as together:
        new = _Beside(run.path)
        shards = Shards(new, STAGE, together)
        if together.decide(lambda: _is_due(run, new, shards, made, overwrite=overwrite)):
            embed_all(new, images, encoder, config, shards)
            embed_all_regions(new, images, encoder, config, shards)
            together.meet()
            if is_main_process():
                _take_place(run, new, shards, made)
    return run


def _is_due(run: Run, new: Run, shards: Shards, made: dict[str, Any], *, overwrite: bool) -> bool:
    """Whether there is anything left to do, as the first process decides for all; what is of no use for it goes."""
    record = run.stage(STAGE)
    if not overwrite and record.get("embedded", made) == made and all(run.file(name).exists() for name in NAMES):
        console.print(f"the embeddings of {run.path} are there: skipped", markup=False)
        return False
    if record.get("embedding") != made:  # what was begun is of another encoder, or of other settings
        for name in NAMES:
            new.file(name).unlink(missing_ok=True)
        shards.clear()
        run.note(STAGE, embedding=made)
    run.images().check_files()
    return True


def _take_place(run: Run, new: Run, shards: Shards, made: dict[str, Any]) -> None:
    for name in NAMES:
        new.file(name).replace(run.file(name))
    record = run.stage(STAGE)
    outputs = record.get("outputs", {}) | {name: hash_file(run.file(name)) for name in NAMES}
    inputs = record.get("inputs", {}) | {"encoder": made["encoder"]}
    run.note(STAGE, outputs=outputs, inputs=inputs, embedded=made, embedding=None)
    shards.clear()
