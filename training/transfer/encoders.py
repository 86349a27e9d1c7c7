"""Which encoders are judged: any that has a name, and one trained with the run's labels."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orl_explore.encoder import Encoder
from orl_explore.interchange.encoders import NamedEncoder, find_encoder
from orl_explore.runs.files import hash_file
from orl_explore.runs.run import Run
from orl_explore.settings import Config, InputSettings

NAMES = ("random", "stage1", "stage3", "supervised")
"""The run's own, which no file is called by in results."""


@dataclass(frozen=True, eq=False)
class JudgedEncoder:
    """An encoder under the name that results call it by.

    Attributes:
        name: what `label` makes of it, or `supervised`.
        file: where it was read from; None for one that was made, fetched or came with this project.
        hash: of its weights.
    """

    name: str
    encoder: Encoder
    file: Path | None
    hash: str


def available(run: Run) -> list[str]:
    """The encoders that are judged when none is named: untrained, and every stage that is there."""
    return ["random", *(stage for stage in ("stage1", "stage3") if run.encoder_file(stage).exists())]


def load(name: str, run: Run, config: Config, supervised: Path | None = None) -> JudgedEncoder:
    """Make, read or fetch an encoder.

    Args:
        name: `supervised`, or whatever orl_explore/interchange/encoders.py understands.
        run: whose stages are meant.
        config: shape and seed of the untrained encoder.
        supervised: file of the supervised encoder, if that is meant.

    Raises:
        OrlError: it is not there, or cannot be read.
    """
    if name == "supervised" and supervised is not None:
        return JudgedEncoder(name, Encoder.load(supervised), supervised, hash_file(supervised))
    named = find_encoder(name, run, config)
    encoder = named.load()
    if named.kind in ("stage", "file") and named.file is not None:
        return JudgedEncoder(label(named, run), encoder, named.file, hash_file(named.file))
    file = named.file if named.kind == "timm" else None
    return JudgedEncoder(label(named, run), encoder, file, weights_hash(encoder))


def label(named: NamedEncoder, run: Run) -> str:
    """What results call an encoder; letters that paths can hold."""
    if named.kind == "untrained":
        return "random"
    if named.kind == "stage" and named.of_run is not None:
        return (
            named.of_run.name
            if named.of_run.is_of(run)
            else f"{_plain(named.of_run.run.absolute().name)}-{named.of_run.name}"
        )
    if named.kind == "file" and named.file is not None:
        return name_of(named.file)
    return _plain(named.name)


def name_of(file: Path) -> str:
    """What results call a file of weights: its stem, for `RUN/STAGE/encoder.safetensors` RUN-STAGE; letters for paths.

    Never one of NAMES: those are the run's own.
    """
    folders = file.absolute().parts[-3:-1]
    name = _plain("-".join(folders) if file.stem == "encoder" else file.stem)
    return _plain(file.name) if name in NAMES else name


def _plain(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text)


def weights_hash(encoder: Encoder) -> str:
    """blake2b over names and values of all weights and, where it is not the paper's, how it is fed: 32 hexadecimal
    digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    if encoder.inputs != InputSettings():
        digest.update(json.dumps(dataclasses.asdict(encoder.inputs)).encode())
    return digest.hexdigest()


def check_names(names: Sequence[str], run: Run, config: Config) -> None:
    """Refuse an encoder that is not there before any other is judged."""
    for name in names:
        if name != "supervised":
            find_encoder(name, run, config)
