"""The encoders that a run has: untrained, of its stages, and those that a stage has kept on its way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError, typed
from orl_explore.runs.files import known_hash
from orl_explore.runs.run import Run, kept_encoder_file
from orl_explore.settings import EncoderSettings, InputSettings


@dataclass(frozen=True)
class RunEncoder:
    """A trained stage of a run, the encoder that stage 2 mined with in place of stage 1's, or the untrained network
    that the stages start from.

    Attributes:
        run: folder of the run.
        stage: `random`, `stage1`, `stage2` or `stage3`.
        settings: shape of the untrained encoder; None for a trained one, whose file has it.
        seed: of the untrained encoder.
        epoch: after which a stage has kept it; None for the stage's last one.
    """

    run: Path
    stage: str
    settings: EncoderSettings | None = None
    seed: int = 0
    epoch: int | None = None

    @property
    def name(self) -> str:
        """What it is called on the command line, for the run itself: `stage1`, `stage1@100`."""
        return self.stage if self.epoch is None else f"{self.stage}@{self.epoch}"

    @property
    def file(self) -> Path:
        """The encoder's file."""
        if self.epoch is not None:
            return kept_encoder_file(self.run / self.stage, self.epoch)
        return Run(self.run).encoder_file(self.stage)

    def is_of(self, run: Run) -> bool:
        """Whether it is an encoder of this run, by whatever path."""
        return self.run.resolve() == run.path.resolve()

    def load(self) -> Encoder:
        """Make or read the encoder.

        Raises:
            OrlError: its file is gone or damaged.
        """
        if self.settings is not None:
            return Encoder.random(self.settings, self.seed).eval()
        if not self.file.exists():
            raise self._gone()
        return Encoder.load(self.file)

    def hash(self) -> str:
        """What identifies the encoder: of its file's bytes, or of what the untrained one is made from.

        Raises:
            OrlError: its file is gone.
        """
        if self.settings is not None:
            text = json.dumps([self.settings.__dict__, self.seed], sort_keys=True)
            return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        try:
            return known_hash(self.file)
        except FileNotFoundError:
            raise self._gone() from None

    def _gone(self) -> OrlError:
        return OrlError(f"no encoder at {self.file}: run `{typed(self.stage, self.run)}` first")


def training_inputs(record: Mapping[str, Any]) -> InputSettings:
    """How a training stage normalizes its views, from its record: as the encoder was fed that it began with, if any."""
    start = record.get("init")
    return InputSettings(mean=tuple(start["mean"]), std=tuple(start["std"])) if start else InputSettings()


def run_encoders(run: Run) -> dict[str, RunEncoder]:
    """The encoders that a run has by now, by name: `random` as soon as a stage was begun.

    Those that a stage has kept on its way stand before its last one, as `stage1@100`.
    """
    found = []
    for record in (run.stage("stage1"), run.stage("stage3")):
        if record:
            settings = EncoderSettings(**record["config"]["encoder"])
            found.append(RunEncoder(run.path, "random", settings, int(record["seed"])))
            break
    for stage in ("stage1", "stage2", "stage3"):
        found += [RunEncoder(run.path, stage, epoch=epoch) for epoch in run.kept_encoders(stage)]
        if run.encoder_file(stage).exists():
            found.append(RunEncoder(run.path, stage))
    return {encoder.name: encoder for encoder in found}
