"""What every protocol is given: the run, where the data are, and the machine to work on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from orl_explore.images.image_set import ImageSet
from orl_explore.images.opening import open_images, report
from orl_explore.runs.run import Run
from orl_explore.settings import Config
from training.console import console
from training.import_kinds import has_fields
from training.machine import data_workers, is_main_process, pool_workers


def open_data(
    paths: Sequence[Path], progress: Callable[[int, int], None] | None = None, *, label_field: str | None = None
) -> ImageSet:
    """Open what `--data` named, and say what of it cannot be used.

    Raises:
        OrlError: as `open_images`.
    """
    own_field = label_field if any(map(has_fields, paths)) else None  # of two jsons it may be the other's
    images = open_images(paths, label_field=own_field, progress=progress)
    if len(images.skipped) or images.findings.lines():
        say(", ".join(map(str, paths)), report(images))
    return images


def say(where: object, note: str) -> None:
    """Print something that a person should know of the data, once for all processes."""
    if is_main_process():
        console.print(f"{where}: {note}", markup=False)


@dataclass(frozen=True)
class Setup:
    """Where and how a protocol works.

    Attributes:
        run: the run whose encoders are judged.
        config: its settings; seed, precision, workers, devices, split and the shape of the encoder.
        data: what `--data` named; empty: the run's own images.
        title: what progress bars say, such as "knn stage1".
        folder: for checkpoints of this protocol and encoder; removed when its result is written.
        label_field: of FiftyOne samples among the data, the field that holds the annotations.
    """

    run: Run
    config: Config
    data: tuple[Path, ...]
    title: str
    folder: Path
    label_field: str | None = None

    @property
    def protocol(self) -> str:
        """Name of the protocol, as options begin with."""
        return self.title.split()[0]

    def named(self, part: str) -> Setup:
        """The same for a part of the protocol's work, with a title and a folder of its own."""
        return dataclasses.replace(self, title=f"{self.title} {part}", folder=self.folder / part)

    @property
    def seed(self) -> int:
        """Everything random derives from it."""
        return self.config.seed

    @property
    def device(self) -> str:
        """Where encoders run."""
        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def workers(self) -> int:
        """Processes that prepare images, for each process that computes."""
        return data_workers(self.config)

    @property
    def jobs(self) -> int:
        """Processes that fit classifiers while this one waits."""
        return pool_workers(self.config)


class Data(Protocol):
    """What a protocol reads before it judges any encoder."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever a result could change: of names, sizes and labels of all that is used."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the result says of the data, such as the numbers of images and classes; JSON values."""


def fingerprint(values: Iterable[Any]) -> str:
    """Hash JSON values, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        digest.update(json.dumps(value).encode() + b"\n")
    return digest.hexdigest()
