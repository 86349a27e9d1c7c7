"""Labeled images in a folder per class (ImageNet's layout): DATA/train/CLASS/* and DATA/val/CLASS/*."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orl_explore.embedding import embed_files
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.kinds import SUFFIXES, unread
from training.console import progress_bar
from training.transfer.setup import Setup, fingerprint, say


@dataclass(frozen=True, eq=False)
class Labeled:
    """Images with one class each.

    Attributes:
        files: paths.
        labels: (N,) int64, index into the classes.
    """

    files: list[Path]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True, eq=False)
class Folders:
    """The classes, in alphabetical order, and the parts to train and to test on."""

    root: Path
    classes: list[str]
    train: Labeled
    val: Labeled

    @property
    def fingerprint(self) -> str:
        """Of the names, sizes and classes of all images."""
        rows = (
            [str(file.relative_to(self.root)), file.stat().st_size, label]
            for part in (self.train, self.val)
            for file, label in zip(part.files, part.labels.tolist(), strict=True)
        )
        return fingerprint([self.classes, *rows])

    @property
    def facts(self) -> dict[str, Any]:
        """Numbers of images and classes; the classes themselves where they are few."""
        facts: dict[str, Any] = {
            "kind": "a folder per class",
            "train": len(self.train),
            "test": len(self.val),
            "class_count": len(self.classes),
        }
        return facts | ({"classes": self.classes} if len(self.classes) <= 100 else {})

    def embed(self, encoder: Encoder, size: int, setup: Setup) -> tuple[NDArray, NDArray]:
        """Pooled features of center crops: of train and val, rows of length 1."""
        with progress_bar(f"{setup.title}: features") as progress:
            x = embed_files(
                encoder,
                [*self.train.files, *self.val.files],
                size=size,
                device=setup.device,
                workers=setup.workers,
                progress=progress,
            )
        return x[: len(self.train)], x[len(self.train) :]


def read_folders(paths: tuple[Path, ...]) -> Folders:
    """List a data set by its folders.

    Raises:
        OrlError: none was named; train/ or val/ is missing; a class is empty, or unknown to the other part.
    """
    if len(paths) != 1:
        raise OrlError(
            "this protocol reads one folder with train/CLASS/ and val/CLASS/: name it with --data DIR, or make one of"
            " practice scenes with `orl scenes OUT --layout imagefolder`"
        )
    root = paths[0] if (paths[0] / "train").is_dir() else paths[0] / "imagefolder"
    found = {}
    others: list[Path] = []
    for part in ("train", "val"):
        if not (root / part).is_dir():
            raise OrlError(f"{paths[0]} has no folder {part}/: it must hold train/CLASS/ and val/CLASS/")
        found[part] = _classes(root / part, others)
    classes = sorted(found["train"])
    if len(classes) < 2:
        raise OrlError(f"{root}/train has {len(classes)} classes, and telling them apart takes two: one folder a class")
    for name in found["val"]:
        if name not in found["train"]:
            near = difflib.get_close_matches(name, classes, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise OrlError(
                f"{root}/val has the class {name!r}, which train has not{hint}: use the same folders in both"
            )
    parts = []
    for part in ("train", "val"):
        named = [(name, file) for name in classes for file in found[part].get(name, [])]
        labels = np.searchsorted(classes, [name for name, _ in named]).astype(np.int64)
        parts.append(Labeled([file for _, file in named], labels))
    if not len(parts[1]):
        raise OrlError(f"{root}/val has no image: nothing can be tested")
    if others:
        things = "1 file or folder is" if len(others) == 1 else f"{len(others):,} files and folders are"
        say(root, f"{things} left out, such as {others[0]}: {_why(others[0])}")
    if untested := [name for name in classes if name not in found["val"]]:
        things = "1 class" if len(untested) == 1 else f"{len(untested):,} classes"
        say(root, f"{things} of train, such as {untested[0]}, {'is' if len(untested) == 1 else 'are'} not in val")
    return Folders(root, classes, *parts)


def _why(file: Path) -> str:
    in_no_class = file.name.lower().endswith(SUFFIXES) and not file.is_dir()
    return "in no class" if in_no_class else unread(file.name) or "no picture"


def _classes(folder: Path, others: list[Path]) -> dict[str, list[Path]]:
    """Pictures of each class; what else lies in their folders, or beside these, is added to `others`."""
    found = {}
    with os.scandir(folder) as entries:
        seen = [entry for entry in entries if not entry.name.startswith(".")]
    names = sorted(entry.name for entry in seen if entry.is_dir())
    loose = sorted(entry.name for entry in seen if not entry.is_dir() and entry.name.lower().endswith(SUFFIXES))
    others += [folder / name for name in loose]
    for name in names:
        inside = sorted(file for file in (folder / name).iterdir() if not file.name.startswith("."))
        files = [file for file in inside if file.name.lower().endswith(SUFFIXES)]
        others += [file for file in inside if not file.name.lower().endswith(SUFFIXES)]
        if not files:
            raise OrlError(f"{folder / name} has no image: fill that class, or delete its folder")
        found[name] = files
    return found


def read_list(data: Folders, file: Path) -> Labeled:
    """The training images that a list names, one a line: `CLASS/FILE`, or `FILE` alone; a label after it is ignored.

    Raises:
        OrlError: the list is missing or empty, or a line names no training image.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OrlError(f"the list {file} cannot be read ({getattr(error, 'strerror', None) or error})") from None
    row_of = {f"{path.parent.name}/{path.name}": row for row, path in enumerate(data.train.files)}
    rows_named: dict[str, list[int]] = {}
    for row, path in enumerate(data.train.files):
        rows_named.setdefault(path.name, []).append(row)
    rows = []
    for number, line in enumerate(lines, start=1):
        if not (words := line.split()):
            continue
        name = words[0].removeprefix("train/")
        found = [row_of[name]] if name in row_of else rows_named.get(name, [])
        if not found:
            raise OrlError(f"{file}, line {number} is {words[0]!r}, which is not in {data.root}/train")
        if len(found) > 1:
            raise OrlError(f"{file}, line {number} is {words[0]!r}, which {len(found)} classes have: write CLASS/FILE")
        rows.append(found[0])
    if len(set(rows)) < 2:
        raise OrlError(f"the list {file} names {len(set(rows))} images: it takes two or more")
    if len(rows) != len(set(rows)):
        raise OrlError(f"the list {file} names {len(rows) - len(set(rows))} images twice: name each once")
    return Labeled([data.train.files[row] for row in rows], data.train.labels[rows])
