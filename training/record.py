"""What a stage leaves in the run folder beside its results: config, state, encoder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from orl_explore.encoder import Encoder
from orl_explore.runs.files import atomic_write, hash_file
from orl_explore.runs.run import Run
from orl_explore.settings import Config
from training.config import save_config
from training.machine import is_main_process


def store_config(run: Run, config: Config) -> None:
    """Keep a config with the run: as config.yaml, which further commands start from, and in its run.json."""
    save_config(config, run.path / "config.yaml")
    run.set_config(config)


@contextlib.contextmanager
def working_on(run: Run, stage: str, config: Config, *, inputs: Mapping[str, str], **facts: object) -> Iterator[None]:
    """Store the config with the run and record the stage as running, then as finished or failed (main process).

    Further facts that are not None stand in the record, too.
    """
    if not is_main_process():
        yield
        return
    store_config(run, config)
    with run.working_on(stage, config=config.stage_dict(stage), seed=config.seed, inputs=inputs):
        known = {"compute": config.compute_dict(stage) or None, **facts}
        run.note(stage, **{name: value for name, value in known.items() if value is not None})
        yield


def save_encoder(run: Run, stage: str, encoder: Encoder, image_size: int) -> None:
    """Export the trained encoder with what it needs to be used elsewhere, and record its hash."""
    if not is_main_process():
        return
    path = run.encoder_file(stage)
    with atomic_write(path) as temporary:
        encoder.save(temporary, stage=stage, image_size=image_size)
    run.note(stage, outputs={"encoder": hash_file(path)})
