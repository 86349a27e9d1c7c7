"""Crowds of a COCO json: regions of many objects that were not told apart. What is judged ignores them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from orl_explore.images.coco import read_json
from orl_explore.images.image_set import ImageSet
from orl_explore.images.image_source import flag, path_id, whole
from orl_explore.images.object_masks import to_rle
from training.transfer.setup import say


@dataclass(frozen=True)
class Crowd:
    """A region with its mask: the `counts` of a compressed COCO RLE at the image's size."""

    image_id: int
    category: str
    counts: str


def read_crowds(path: Path, images: ImageSet) -> list[Crowd]:
    """Read the crowds of the images that are used; those without a mask that fits are counted.

    Args:
        path: what the images were opened from; only COCO jsons have crowds.
        images: its images.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        return []
    names = {str(whole(one["id"])): str(one["name"]) for one in content.get("categories") or ()}
    columns = (images.table[name].tolist() for name in ("image_id", "width", "height"))
    size_of = {image_id: (width, height) for image_id, width, height in zip(*columns, strict=True)}
    crowds, left_out = [], 0
    for item in content.get("annotations") or ():
        if not isinstance(item, dict) or not flag(item.get("iscrowd")):
            continue
        size = size_of.get(image_id := _image_id(item.get("image_id")))
        counts = None if size is None else to_rle(item.get("segmentation"), size, coco_mask)
        if counts is None:
            left_out += 1
        else:
            crowds.append(Crowd(image_id, names.get(str(whole(item.get("category_id"))), ""), counts))
    if left_out:
        crowd = "crowd" if left_out == 1 else "crowds"
        say(path, f"{left_out:,} {crowd} left out, without a mask or of images that are not used")
    return crowds


def _image_id(value: Any) -> int:
    """The id that `open_coco` gives the image."""
    number = whole(value)
    return path_id(str(value).strip()) if number is None else number
