"""PASCAL VOC 2007 as it is distributed: which images show which classes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from orl_explore.embedding import embed_files
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from training.console import progress_bar
from training.transfer.setup import Setup, fingerprint
from training.transfer.stages import StageMaps, pool_map, pooling_of

SPLITS = ("trainval", "test")

Feature = Literal["map", "pooled"]
"""map: the last stage's map, pooled to 2 x 2 (8,192 numbers in a ResNet-50); pooled: to one cell, 2,048."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images of one part.

    Attributes:
        files: their paths.
        labels: (N, C) int8: 1 = shows the class, -1 = does not, 0 = only objects of it that are difficult.
    """

    files: list[Path]
    labels: NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Voc:
    """The classes, and the parts to train and to test on."""

    root: Path
    classes: list[str]
    trainval: Split
    test: Split

    @property
    def fingerprint(self) -> str:
        """Of the names, sizes and labels of all images."""
        rows = [
            [file.name, file.stat().st_size, labels.tolist()]
            for split in (self.trainval, self.test)
            for file, labels in zip(split.files, split.labels, strict=True)
        ]
        return fingerprint([self.classes, *rows])

    @property
    def facts(self) -> dict[str, Any]:
        """Numbers of images, and the classes."""
        return {
            "kind": "PASCAL VOC",
            "train": len(self.trainval.files),
            "test": len(self.test.files),
            "difficult": int((self.test.labels == 0).sum()),
            "classes": self.classes,
        }

    def embed(
        self, encoder: Encoder, size: int, feature: Feature, setup: Setup
    ) -> tuple[NDArray, NDArray, dict[str, Any]]:
        """Features of whole images, squeezed to a square.

        Returns:
            Those of trainval and of test, rows of length 1; and what they are, for the result.

        Raises:
            OrlError: an image cannot be used, or the map of a backbone without the stages of a ResNet was asked for.
        """
        pooling = ["global average"]

        def of_map(images: torch.Tensor) -> torch.Tensor:
            encoder.backbone(images)
            found = maps.take()["res5"]
            pooling[0] = pooling_of("res5", found.shape[2:])
            return pool_map(found, "res5").flatten(1)

        stages = ("res5",) if feature == "map" else ()
        hint = f"use --{setup.protocol}.feature pooled"
        with progress_bar(f"{setup.title}: features") as progress, StageMaps(encoder, stages, hint=hint) as maps:
            x = embed_files(
                encoder,
                [*self.trainval.files, *self.test.files],
                size=size,
                squeeze=True,
                forward=of_map if stages else None,
                device=setup.device,
                workers=setup.workers,
                progress=progress,
            )
        facts = {"name": feature, "numbers": x.shape[1], "pooling": pooling[0]}
        return x[: len(self.trainval.files)], x[len(self.trainval.files) :], facts


def find_voc(paths: tuple[Path, ...]) -> Path:
    """The folder with ImageSets/ and JPEGImages/ that was meant: VOC2007, or what it lies in.

    Raises:
        OrlError: none was named, or it is none.
    """
    if len(paths) != 1:
        raise OrlError(
            "this protocol reads one VOCdevkit: name it with --data DIR, or make one of practice scenes with"
            " `orl scenes OUT --layout voc`"
        )
    for folder in (paths[0], paths[0] / "VOC2007", paths[0] / "VOCdevkit" / "VOC2007"):
        if (folder / "ImageSets" / "Main").is_dir():
            return folder
    raise OrlError(f"{paths[0]} is no VOC2007: it has no ImageSets/Main; name the folder VOCdevkit or VOC2007")


def read_voc(root: Path, *, minimum: int = 1) -> Voc:
    """Read lists and, where the lists per class are missing, annotations.

    Args:
        root: folder with ImageSets/Main, JPEGImages and Annotations.
        minimum: images with the class that each part must have at least; 1 for a test.

    Raises:
        OrlError: names the list, line, annotation or image that is missing or malformed.
    """
    main = root / "ImageSets" / "Main"
    lists = {split: sorted(main.glob(f"*_{split}.txt")) for split in SPLITS}
    if any(lists.values()):
        names = [{file.name.removesuffix(f"_{split}.txt") for file in files} for split, files in lists.items()]
        for name in sorted(names[0] ^ names[1]):
            missing = SPLITS[name in names[0]]
            raise OrlError(f"{main}/{name}_{missing}.txt is missing: unpack VOC2007 trainval and test again")
        classes = sorted(names[0])
        parts = [_from_lists(root, classes, split) for split in SPLITS]
    else:
        classes, parts = _from_annotations(root)
    for split, part in zip(SPLITS, parts, strict=True):
        for column, name in enumerate(classes):
            count = int((part.labels[:, column] == 1).sum())
            wanted = minimum if split == "trainval" else 1
            if count < wanted:
                raise OrlError(
                    f"class {name!r} has {count} images in {split} of {root}, and this protocol needs {wanted}:"
                    " add images, or leave the class out"
                )
            if not (part.labels[:, column] == -1).any():
                raise OrlError(f"class {name!r} is in every image of {split} of {root}: leave the class out")
    both = {file.name for file in parts[0].files} & {file.name for file in parts[1].files}
    if both:
        raise OrlError(f"{min(both)} of {root} is in trainval and in test: an image may be in one of them only")
    return Voc(root, classes, *parts)


def _lines(file: Path) -> list[list[str]]:
    try:
        return [line.split() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise OrlError(f"{file} is missing: unpack VOC2007 trainval and test again") from None
    except (OSError, UnicodeDecodeError) as error:
        raise OrlError(f"{file} cannot be read ({error}): unpack VOC2007 again") from None


def _from_lists(root: Path, classes: list[str], split: str) -> Split:
    ids: list[str] = []
    columns = []
    for name in classes:
        file = root / "ImageSets" / "Main" / f"{name}_{split}.txt"
        found: dict[str, int] = {}
        for number, words in enumerate(_lines(file), start=1):
            if len(words) != 2 or words[1] not in ("-1", "0", "1"):
                raise OrlError(f"{file}, line {number} is {' '.join(words)!r}: it must be an image and -1, 0 or 1")
            if words[0] in found:
                raise OrlError(f"{file}, line {number} names {words[0]} a second time")
            found[words[0]] = int(words[1])
        ids = ids or list(found)
        if set(found) != set(ids):
            odd = min(set(found) ^ set(ids))
            raise OrlError(f"{file} and {classes[0]}_{split}.txt do not list the same images: {odd} is in one only")
        columns.append([found[image] for image in ids])
    return Split(_files(root, ids), np.array(columns, np.int8).T.reshape(len(ids), len(classes)))


def _from_annotations(root: Path) -> tuple[list[str], list[Split]]:
    ids = [[words[0] for words in _lines(root / "ImageSets" / "Main" / f"{split}.txt")] for split in SPLITS]
    for split, part in zip(SPLITS, ids, strict=True):
        if len(set(part)) < len(part):
            twice = next(image for image in part if part.count(image) > 1)
            raise OrlError(f"{root}/ImageSets/Main/{split}.txt names {twice} a second time")
    files = [_files(root, part) for part in ids]
    things = {image: read_annotation(root / "Annotations" / f"{image}.xml") for part in ids for image in part}
    classes = sorted({name for objects in things.values() for name, _ in objects})
    if not classes:
        raise OrlError(f"{root} has no class: its annotations name no object")
    parts = []
    for part, paths in zip(ids, files, strict=True):
        labels = np.full((len(part), len(classes)), -1, np.int8)
        for row, image in enumerate(part):
            for name, difficult in things[image]:
                column = classes.index(name)
                labels[row, column] = max(labels[row, column], 0 if difficult else 1)
        parts.append(Split(paths, labels))
    return classes, parts


def _files(root: Path, ids: list[str]) -> list[Path]:
    for image in ids:
        if not re.fullmatch(r"[\w-]+", image):
            raise OrlError(f"{root} lists the image {image!r}, which is no name of a VOC image")
        if not (root / "JPEGImages" / f"{image}.jpg").is_file():
            raise OrlError(f"{root}/JPEGImages/{image}.jpg is missing, though a list names it: unpack VOC2007 again")
    return [root / "JPEGImages" / f"{image}.jpg" for image in ids]


def read_annotation(file: Path) -> list[tuple[str, bool]]:
    """Class of each object in an annotation, and whether it is difficult.

    Raises:
        OrlError: missing, not XML, with a document type (which could define entities), or without names.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OrlError(f"{file} cannot be read ({error}): unpack VOC2007 again") from None
    if "<!" in text.replace("<!--", ""):  # a document type can define entities that grow to any size
        raise OrlError(f"{file} has a document type, which VOC annotations have not: unpack VOC2007 again")
    try:
        objects = ElementTree.fromstring(text).findall("object")
    except ElementTree.ParseError as error:
        raise OrlError(f"{file} is not valid XML ({error}): unpack VOC2007 again") from None
    found = []
    for number, thing in enumerate(objects, start=1):
        name = (thing.findtext("name") or "").strip()
        if not name:
            raise OrlError(f"{file}: object {number} has no name")
        found.append((name, (thing.findtext("difficult") or "0").strip() == "1"))
    return found
