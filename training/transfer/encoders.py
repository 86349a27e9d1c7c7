"""Which encoders are judged: those of the run, an untrained one, one trained with labels, or a file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.runs.files import hash_file
from orl_explore.runs.run import Run
from orl_explore.settings import Config

NAMES = ("random", "stage1", "stage3", "supervised")
"""What an encoder can be called; anything else is a file."""


@dataclass(frozen=True, eq=False)
class JudgedEncoder:
    """An encoder under the name that results call it by.

    Attributes:
        name: one of NAMES, or what `name_of` makes of its file.
        file: where it was read from; None for an untrained one.
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
    """Make or read an encoder.

    Args:
        name: `random`, `stage1`, `stage3`, `supervised`, or a file that `orl import` could read.
        run: whose stages are meant.
        config: shape and seed of the untrained encoder.
        supervised: file of the supervised encoder, if that is meant.

    Raises:
        OrlError: it is not there, or cannot be read.
    """
    if name == "random":
        encoder = Encoder.random(config.stage1.encoder, seed=config.seed).eval()
        return JudgedEncoder(name, encoder, None, weights_hash(encoder))
    if name == "supervised" and supervised is not None:
        file = supervised
    elif name in ("stage1", "stage3"):
        file = run.encoder_file(name)
        if not file.exists():
            raise OrlError(f"{run.path} has no encoder of {name} yet: run `orl {name} {run.path}` first")
    else:
        file = Path(name)
        if not file.is_file():
            raise OrlError(f"there is no encoder {name!r}: name one of {', '.join(NAMES)}, or a file of weights")
        from orl_explore.interchange.weights import read_encoder

        return JudgedEncoder(name_of(file), read_encoder(file)[0].eval(), file, hash_file(file))
    return JudgedEncoder(name, Encoder.load(file), file, hash_file(file))


def name_of(file: Path) -> str:
    """What results call a file of weights: its stem, for `RUN/STAGE/encoder.safetensors` RUN-STAGE; letters for paths.

    Never one of NAMES: those are the run's own.
    """
    folders = file.absolute().parts[-3:-1]
    name = re.sub(r"[^\w.-]+", "_", "-".join(folders) if file.stem == "encoder" else file.stem)
    return re.sub(r"[^\w.-]+", "_", file.name) if name in NAMES else name


def weights_hash(encoder: Encoder) -> str:
    """blake2b over names and values of all weights, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_names(names: Sequence[str], run: Run) -> None:
    """Refuse an encoder that is not there before any other is judged."""
    for name in names:
        if name in ("stage1", "stage3") and not run.encoder_file(name).exists():
            raise OrlError(f"{run.path} has no encoder of {name} yet: run `orl {name} {run.path}` first")
        if name not in NAMES and not Path(name).is_file():
            raise OrlError(f"there is no encoder {name!r}: name one of {', '.join(NAMES)}, or a file of weights")
