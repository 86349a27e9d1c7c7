"""Annotated scenes in the layouts that other people's benchmarks expect: PASCAL VOC 2007 and 2012, a folder per class.

Both are written from a COCO json, such as `scenes.make_scenes` gives. An older layout at the same place is replaced
once the new one is complete.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd
from PIL import Image

from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.images.label_map import IGNORED, label_map
from orl_explore.images.opening import open_images

DIFFICULT_BELOW = 0.72
"""Objects of which less is visible (see `visible` in docs/formats.md) are flagged as difficult."""

SHARES = (1, 10)
"""Percent of the training images that the lists of labeled images name."""

Progress = Callable[[int, int], None]


def write_voc(annotations: Path, out: Path, *, seed: int = 0, progress: Progress | None = None) -> Path:
    """Write OUT/VOC2007 with JPEGImages/, Annotations/ and ImageSets/Main/, half of the images for `test`.

    Lists hold `1` for images with an object of the class, `0` where all of these are difficult, else `-1`.

    Args:
        annotations: COCO json; objects whose `visible` is below DIFFICULT_BELOW are difficult.
        out: where VOC2007/ goes.
        seed: decides the split.
        progress: called as progress(images done, images in all).

    Returns:
        OUT/VOC2007.

    Raises:
        OrlError: the annotations cannot be read, or have no objects.
    """
    images = _annotated(annotations)
    visible = _visible(annotations)
    root, staging = out / "VOC2007", out / "VOC2007.part"
    shutil.rmtree(staging, ignore_errors=True)
    main = staging / "ImageSets" / "Main"
    for folder in (staging / "JPEGImages", staging / "Annotations", main):
        folder.mkdir(parents=True)
    names = [f"{row + 1:06d}" for row in range(len(images))]
    classes = sorted(set(images.objects["category"]))
    signs = {name: np.full(len(images), -1) for name in classes}
    of_image = dict(tuple(images.objects.groupby("image_id")))
    for row, (name, image_id) in enumerate(zip(names, images.table["image_id"].tolist(), strict=True)):
        picture = images.load(row)
        picture.save(staging / "JPEGImages" / f"{name}.jpg", quality=92)
        things = of_image.get(image_id, images.objects.iloc[:0])
        difficult = [visible.get(number, 1.0) < DIFFICULT_BELOW for number in things["object_id"].tolist()]
        for category, hard in zip(things["category"].tolist(), difficult, strict=True):
            signs[category][row] = max(signs[category][row], 0 if hard else 1)
        (staging / "Annotations" / f"{name}.xml").write_text(_voc_xml(name, picture.size, things, difficult))
        if progress:
            progress(row + 1, len(images))
    test = np.zeros(len(images), bool)
    test[np.random.default_rng(seed).permutation(len(images))[len(images) // 2 :]] = True
    for split, rows in (("trainval", np.flatnonzero(~test)), ("test", np.flatnonzero(test))):
        (main / f"{split}.txt").write_text("".join(f"{names[row]}\n" for row in rows))
        for name in classes:
            lines = [f"{names[row]} {signs[name][row]:2d}\n" for row in rows]
            (main / f"{name}_{split}.txt").write_text("".join(lines))
    return _put_in_place(staging, root)


def write_imagefolder(
    annotations: Path, out: Path, *, val_share: float = 0.3, seed: int = 0, progress: Progress | None = None
) -> Path:
    """Write object crops as OUT/imagefolder/{train,val}/CLASS/*.jpg, split by image, and lists of labeled crops.

    `1percent.txt` and `10percent.txt` name that share of the training crops of every class, at least one, as
    `CLASS/FILE.jpg`.

    Args:
        annotations: COCO json.
        out: where imagefolder/ goes.
        val_share: of the images.
        seed: decides the split and the lists.
        progress: called as progress(images done, images in all).

    Returns:
        OUT/imagefolder.

    Raises:
        OrlError: the annotations cannot be read, or have no objects.
    """
    images = _annotated(annotations)
    root, staging = out / "imagefolder", out / "imagefolder.part"
    shutil.rmtree(staging, ignore_errors=True)
    rng = np.random.default_rng(seed)
    val = set(rng.permutation(len(images))[: round(val_share * len(images))].tolist())
    of_image = dict(tuple(images.objects.groupby("image_id")))
    train: dict[str, list[str]] = {}
    for row, image_id in enumerate(images.table["image_id"].tolist()):
        picture = images.load(row)
        things = of_image.get(image_id, images.objects.iloc[:0])
        columns = [things[name].tolist() for name in ("object_id", "category", "x", "y", "w", "h")]
        for number, category, x, y, w, h in zip(*columns, strict=True):
            if min(w, h) < 8:
                continue
            folder = staging / ("val" if row in val else "train") / category
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{number:06d}.jpg"
            box = (int(x), int(y), int(np.ceil(x + w)), int(np.ceil(y + h)))
            picture.crop(box).save(folder / name, quality=92)
            if row not in val:
                train.setdefault(category, []).append(f"{category}/{name}")
        if progress:
            progress(row + 1, len(images))
    for percent in SHARES:
        chosen = [
            names[index]
            for _, names in sorted(train.items())
            for index in sorted(rng.permutation(len(names))[: max(1, round(len(names) * percent / 100))].tolist())
        ]
        (staging / f"{percent}percent.txt").write_text("".join(f"{name}\n" for name in chosen))
    return _put_in_place(staging, root)


def write_voc2012(
    annotations: Path, out: Path, *, val_share: float = 0.3, seed: int = 0, progress: Progress | None = None
) -> Path:
    """Write OUT/VOC2012 with JPEGImages/, SegmentationClass/, ImageSets/Segmentation/{train,val}.txt and classes.txt.

    Label maps have a palette, as VOC's; 0 is the background, and 255 ignored: boxes of objects without a mask. Smaller
    objects lie over larger ones. `classes.txt`, which VOC has not, names the classes, a line each.

    Args:
        annotations: COCO json with masks.
        out: where VOC2012/ goes.
        val_share: of the images.
        seed: decides the split.
        progress: called as progress(images done, images in all).

    Returns:
        OUT/VOC2012.

    Raises:
        OrlError: the annotations cannot be read, or have no objects.
    """
    images = _annotated(annotations)
    root, staging = out / "VOC2012", out / "VOC2012.part"
    shutil.rmtree(staging, ignore_errors=True)
    lists = staging / "ImageSets" / "Segmentation"
    for folder in (staging / "JPEGImages", staging / "SegmentationClass", lists):
        folder.mkdir(parents=True)
    classes = ["background", *sorted(set(images.objects["category"]))]
    label_of = {name: number for number, name in enumerate(classes)}
    (staging / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
    names = [f"{row + 1:06d}" for row in range(len(images))]
    of_image = dict(tuple(images.objects.groupby("image_id")))
    for row, name in enumerate(names):
        picture = images.load(row)
        picture.save(staging / "JPEGImages" / f"{name}.jpg", quality=92)
        things = of_image.get(images.table["image_id"].iloc[row], images.objects.iloc[:0])
        labels = label_map(things, picture.size, label_of)
        drawn = Image.fromarray(np.where(labels == IGNORED, 255, labels).astype(np.uint8))
        drawn.putpalette(_palette())
        drawn.save(staging / "SegmentationClass" / f"{name}.png")
        if progress:
            progress(row + 1, len(images))
    val = np.zeros(len(images), bool)
    val[np.random.default_rng(seed).permutation(len(images))[: round(val_share * len(images))]] = True
    for split, rows in (("train", np.flatnonzero(~val)), ("val", np.flatnonzero(val))):
        (lists / f"{split}.txt").write_text("".join(f"{names[row]}\n" for row in rows))
    return _put_in_place(staging, root)


def _palette() -> list[int]:
    """Colors of VOC's label maps: the bits of a number are dealt out to red, green and blue, high ones first."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1  # (256, 8), the lowest bit first
    channels = [bits[:, first::3] @ (128 >> np.arange(len(bits[0, first::3]))) for first in range(3)]
    return np.stack(channels, axis=1).ravel().tolist()


LAYOUTS: dict[str, Callable[..., Path]] = {
    "voc": write_voc,
    "voc2012": write_voc2012,
    "imagefolder": write_imagefolder,
}
"""By the name that `orl scenes --layout` takes."""


def _annotated(annotations: Path) -> ImageSet:
    images = open_images([annotations])
    if not len(images.objects):
        raise OrlError(f"{annotations} has no objects: layouts are made of annotated images")
    for name in set(images.objects["category"]):
        if not re.fullmatch(r"[\w-][\w .-]*", name):
            raise OrlError(f"{annotations} has the category {name!r}, which cannot be the name of a file: rename it")
    return images


def _visible(annotations: Path) -> dict[int, float]:
    import json

    content = json.loads(annotations.read_text(encoding="utf-8"))
    return {item["id"]: item["visible"] for item in content["annotations"] if "visible" in item}


def _voc_xml(name: str, size: tuple[int, int], things: pd.DataFrame, difficult: Sequence[bool]) -> str:
    """An annotation as VOC writes it: boxes in whole pixels counted from 1, the last one included."""
    columns = [things[name].tolist() for name in ("category", "x", "y", "w", "h")]
    objects = "".join(
        f"""\t<object>
\t\t<name>{escape(category)}</name>
\t\t<difficult>{int(hard)}</difficult>
\t\t<bndbox><xmin>{int(x) + 1}</xmin><ymin>{int(y) + 1}</ymin><xmax>{int(np.ceil(x + w))}</xmax>\
<ymax>{int(np.ceil(y + h))}</ymax></bndbox>
\t</object>
"""
        for category, x, y, w, h, hard in zip(*columns, difficult, strict=True)
    )
    return f"""<annotation>
\t<folder>VOC2007</folder>
\t<filename>{name}.jpg</filename>
\t<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>
{objects}</annotation>
"""


def _put_in_place(staging: Path, root: Path) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    return staging.rename(root)
