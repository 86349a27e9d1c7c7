"""Images whose every pixel has a class: of a run or COCO jsons with masks, or in a benchmark's own folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from orl_explore.errors import OrlError
from orl_explore.images.decoding import load_rgb
from orl_explore.images.image_set import ImageSet
from orl_explore.images.kinds import SUFFIXES
from orl_explore.images.label_map import IGNORED, label_map
from orl_explore.views.cropping import Pixels
from training.console import progress_bar
from training.evaluate import held_out_images
from training.transfer.crowds import Crowd, read_crowds
from training.transfer.setup import Setup, fingerprint, open_data, say

UNKNOWN: Final = -2
"""What a value of a label file becomes that stands for no class."""

BACKGROUND: Final = "background"

VOC_CLASSES: Final = (
    *(BACKGROUND, "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)

CITYSCAPES: Final = {
    **{7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light"},
    **{20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car"},
    **{27: "truck", 28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle"},
}
"""The 19 classes that are judged, by their value in *_labelIds.png; all other values are ignored."""

ADE_CLASSES: Final = 150


class LabelMaps(Protocol):
    """Images and the class of each of their pixels, by row; they can be sent to the processes that read them."""

    def __len__(self) -> int: ...

    def load(self, row: int) -> tuple[Pixels, NDArray[np.int16]]:
        """An image, uint8 (H, W, 3), and its labels, int16 (H, W): a class or IGNORED."""

    def names(self) -> list[list[Any]]:
        """What the fingerprint is made of, a list an image."""


# ---- files -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class FileMaps:
    """Images and label maps in files of their own.

    Attributes:
        files: of the images.
        maps: of their labels: pictures of one channel, or with a palette.
        lookup: (256,) int16: the class that a value stands for, IGNORED or UNKNOWN.
    """

    files: list[Path]
    maps: list[Path]
    lookup: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.files)

    def load(self, row: int) -> tuple[Pixels, NDArray[np.int16]]:
        """See `LabelMaps.load`; raises OrlError for a file that cannot be used."""
        pixels, file = np.array(load_rgb(self.files[row])), self.maps[row]  # a copy: torch wants to be able to write
        try:
            with Image.open(file) as picture:
                values = np.asarray(picture)
        except (OSError, SyntaxError, ValueError) as error:
            raise OrlError(f"{file} cannot be read as a label map ({error}): unpack the data set again") from None
        if values.dtype != np.uint8 or values.shape != pixels.shape[:2]:
            raise OrlError(
                f"{file} is no label map of {self.files[row].name}: it must have one channel of 8 bits, or a palette,"
                f" and {pixels.shape[1]} x {pixels.shape[0]} px"
            )
        labels = self.lookup[values]
        if (labels == UNKNOWN).any():
            value = int(values[labels == UNKNOWN][0])
            raise OrlError(f"{file} has pixels of value {value}, which is no class of this data set: correct it")
        return pixels, labels

    def names(self) -> list[list[Any]]:
        """Names and sizes of both files."""
        return [
            [image.name, image.stat().st_size, labels.name, labels.stat().st_size]
            for image, labels in zip(self.files, self.maps, strict=True)
        ]


def _lookup(classes: Mapping[int, int], *, others: int) -> NDArray[np.int16]:
    table = np.full(256, others, np.int16)
    table[list(classes)] = list(classes.values())
    return table


# ---- objects ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ObjectMaps:
    """Images with annotated objects: a pixel has the category of the smallest object on it, or is background.

    Attributes:
        images: the images; what has no mask is ignored where its box is.
        labels: category -> class; 0 is the background.
        crowds: image_id -> compressed RLEs of regions that are ignored, where no other object is.
    """

    images: ImageSet
    labels: dict[str, int]
    crowds: dict[int, list[str]]

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def _rows(self) -> Mapping[Any, Any]:
        """Rows of the objects of each image."""
        return self.images.objects.groupby("image_id").indices

    def load(self, row: int) -> tuple[Pixels, NDArray[np.int16]]:
        """See `LabelMaps.load`."""
        pixels = self.images.load_pixels(row)
        image_id = int(self.images.table["image_id"].iloc[row])
        objects = self.images.objects.iloc[self._rows.get(image_id, [])]
        size = (pixels.shape[1], pixels.shape[0])
        return pixels, label_map(objects, size, self.labels, self.crowds.get(image_id, ()))

    def names(self) -> list[list[Any]]:
        """Of the images, and all of their objects."""
        columns = ["image_id", "x", "y", "w", "h", "category", "segmentation"]
        objects = self.images.objects[columns]
        return [[self.images.fingerprint], *objects.astype(object).where(objects.notna(), None).to_numpy().tolist()]


# ---- data sets -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Images to learn from and to test on, and the classes of their pixels.

    Attributes:
        kind: the layout, in words.
        classes: names; a label is the place in this list.
        train: images to learn from.
        test: images to test on.
        notes: further numbers for the result.
    """

    kind: str
    classes: tuple[str, ...]
    train: LabelMaps
    test: LabelMaps
    notes: dict[str, int]

    @cached_property
    def fingerprint(self) -> str:
        """Of the classes, and the names and sizes of all files, or images and objects."""
        return fingerprint([self.classes, self.train.names(), self.test.names(), self.notes])

    @property
    def facts(self) -> dict[str, Any]:
        """Numbers of images, and the classes."""
        return {
            "kind": self.kind,
            "train": len(self.train),
            "test": len(self.test),
            "classes": list(self.classes),
            **self.notes,
        }


def read_maps(setup: Setup) -> Segmentation:
    """The run's own images with masks, two COCO jsons, or a folder in the layout of VOC2012, ADE20K or Cityscapes.

    Raises:
        OrlError: none of these, or it is not complete.
    """
    if not setup.data:
        images = setup.run.images()
        images.check_files()
        held_out = images.table["image_id"].isin(held_out_images(images, setup.config)).to_numpy()
        train, test = (images.subset(part.nonzero()[0].tolist()) for part in (~held_out, held_out))
        return of_objects(train, test, str(setup.run.path))
    if len(setup.data) == 2 and all(path.suffix.lower() == ".json" for path in setup.data):
        with progress_bar("reading images") as progress:
            train, test = (open_data([path], progress, label_field=setup.label_field) for path in setup.data)
        crowds = [_masks_of(read_crowds(path, part)) for path, part in zip(setup.data, (train, test), strict=True)]
        return of_objects(train, test, " and ".join(map(str, setup.data)), crowds)
    if len(setup.data) == 1:
        for names, read in ((("VOC2012", "VOCdevkit/VOC2012"), _voc), (("ADEChallengeData2016",), _ade), ((), _cities)):
            for root in (setup.data[0], *(setup.data[0] / name for name in names)):
                if (found := read(root)) is not None:
                    return found
    raise OrlError(
        f"{setup.protocol} reads label maps: of the run, if its objects have masks; --data TRAIN.json TEST.json (COCO"
        " with masks); or --data DIR, VOC2012 (ImageSets/Segmentation), ADEChallengeData2016 (annotations/training) or"
        " Cityscapes (gtFine/train and leftImg8bit/train)"
    )


def _masks_of(crowds: Sequence[Crowd]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for crowd in crowds:
        found.setdefault(crowd.image_id, []).append(crowd.counts)
    return found


def of_objects(
    train: ImageSet, test: ImageSet, where: str, crowds: Sequence[dict[int, list[str]]] = ({}, {})
) -> Segmentation:
    """Make label maps of the masks of objects; `where` is what an error calls the images.

    A category that is called background is the background.

    Raises:
        OrlError: one of the parts has no object with a mask.
    """
    objects = [part.objects for part in (train, test)]
    masked = [part[part["segmentation"].notna()] for part in objects]
    if not all(map(len, masked)):
        raise OrlError(
            f"{where}: training and test images both need objects with masks (`segmentation`); boxes alone do not do:"
            " name COCO jsons that have them with --data TRAIN.json TEST.json"
        )
    categories = sorted(set(pd.concat(objects)["category"]) - {BACKGROUND})
    labels = {name: number for number, name in enumerate((BACKGROUND, *categories))}
    maps = [ObjectMaps(images, labels, of) for images, of in zip((train, test), crowds, strict=True)]
    without = sum(map(len, objects)) - sum(map(len, masked))
    if without:
        total = sum(map(len, objects))
        say(where, f"{without:,} of {total:,} objects have no mask: their boxes are ignored")
    notes = {"without_mask": without, "skipped": len(train.skipped) + len(test.skipped)}
    return Segmentation("objects with masks", (BACKGROUND, *categories), maps[0], maps[1], notes)


def _voc(root: Path) -> Segmentation | None:
    """PASCAL VOC 2012, with the 10,582 training images of `trainaug` where they are there.

    Masks of `SegmentationClassAug` come first. A file `classes.txt`, one name a line, names other classes than VOC's.
    """
    lists = root / "ImageSets" / "Segmentation"
    if not lists.is_dir():
        return None
    named = root / "classes.txt"
    classes = tuple(_words(named)) if named.exists() else VOC_CLASSES
    folders = [folder for name in ("SegmentationClassAug", "SegmentationClass") if (folder := root / name).is_dir()]
    augmented = next((file for name in ("trainaug", "train_aug") if (file := lists / f"{name}.txt").exists()), None)
    if augmented is None and (lists / "aug.txt").exists():
        names = [*_words(lists / "train.txt"), *_words(lists / "aug.txt")]
    else:
        names = _words(augmented or lists / "train.txt")
    # Some lists of trainaug have "/JPEGImages/ID.jpg /SegmentationClassAug/ID.png" a line.
    parts = [list(dict.fromkeys(Path(name).stem for name in part)) for part in (names, _words(lists / "val.txt"))]
    lookup = _lookup({**{value: value for value in range(len(classes))}, 255: IGNORED}, others=UNKNOWN)
    maps = []
    for part in parts:
        files = [_there(root / "JPEGImages" / f"{name}.jpg") for name in part]
        masks = [
            next((file for folder in folders if (file := folder / f"{name}.png").is_file()), None) for name in part
        ]
        for name, mask in zip(part, masks, strict=True):
            if mask is None:
                raise OrlError(f"{root}/SegmentationClass/{name}.png is missing, though a list names it: unpack it")
        maps.append(FileMaps(files, [mask for mask in masks if mask], lookup))
    _check_apart(parts, str(root))
    return Segmentation("PASCAL VOC 2012", classes, maps[0], maps[1], {})


def _ade(root: Path) -> Segmentation | None:
    """ADE20K's scene parsing benchmark: 150 classes, 0 is ignored."""
    if not (root / "annotations" / "training").is_dir():
        return None
    lookup = _lookup({0: IGNORED, **{value: value - 1 for value in range(1, ADE_CLASSES + 1)}}, others=UNKNOWN)
    maps = []
    for part in ("training", "validation"):
        masks = sorted((root / "annotations" / part).glob("*.png"))
        files = [_there(root / "images" / part / f"{mask.stem}.jpg") for mask in masks]
        maps.append(_filled(FileMaps(files, masks, lookup), root / "annotations" / part))
        _say_without(files, root / "images" / part, "*")
    classes = tuple(f"class {number}" for number in range(1, ADE_CLASSES + 1))
    if (info := root / "objectInfo150.txt").exists():
        classes = tuple(line.rsplit("\t", 1)[-1].strip() for line in info.read_text().splitlines()[1:] if line.strip())
        if len(classes) != ADE_CLASSES:
            raise OrlError(f"{info} names {len(classes)} classes instead of {ADE_CLASSES}: unpack it again")
    return Segmentation("ADE20K", classes, maps[0], maps[1], {})


def _cities(root: Path) -> Segmentation | None:
    """Cityscapes with fine labels: 19 classes."""
    if not (root / "gtFine" / "train").is_dir():
        return None
    lookup = _lookup({value: number for number, value in enumerate(CITYSCAPES)}, others=IGNORED)
    maps = []
    for part in ("train", "val"):
        masks = sorted((root / "gtFine" / part).glob("*/*_gtFine_labelIds.png"))
        stems = [mask.name.removesuffix("_gtFine_labelIds.png") for mask in masks]
        files = [
            _there(root / "leftImg8bit" / part / mask.parent.name / f"{stem}_leftImg8bit.png")
            for mask, stem in zip(masks, stems, strict=True)
        ]
        maps.append(_filled(FileMaps(files, masks, lookup), root / "gtFine" / part))
        _say_without(files, root / "leftImg8bit" / part, "*/*")
    return Segmentation("Cityscapes", tuple(CITYSCAPES.values()), maps[0], maps[1], {})


def _words(file: Path) -> list[str]:
    """First word of each line."""
    try:
        found = [line.split()[0] for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise OrlError(f"{file} cannot be read ({error}): unpack the data set again") from None
    if not found:
        raise OrlError(f"{file} is empty: unpack the data set again")
    return found


def _there(file: Path) -> Path:
    if not file.is_file():
        raise OrlError(
            f"{file} is missing, though its label map is there or a list names it: unpack the data set again"
        )
    return file


def _filled(maps: FileMaps, folder: Path) -> FileMaps:
    if not len(maps):
        raise OrlError(f"{folder} has no label maps: unpack the data set again")
    return maps


def _say_without(files: Sequence[Path], folder: Path, pattern: str) -> None:
    """Count the pictures of a folder that have no label map."""
    others = sorted({file for file in folder.glob(pattern) if file.name.lower().endswith(SUFFIXES)} - set(files))
    if others:
        things = "1 picture has" if len(others) == 1 else f"{len(others):,} pictures have"
        say(folder, f"{things} no label map, such as {others[0].name}: left out")


def _check_apart(parts: Sequence[list[str]], where: str) -> None:
    if both := set(parts[0]) & set(parts[1]):
        raise OrlError(f"{min(both)} of {where} is in the training list and in val.txt: take it out of one")
