"""Boxes with masks from other tools: COCO data sets (MaskCut, CutLER, UnSAM, ...) and Segment Anything's files.

They are often about more images than a run has; as in the formats of `foreign`, what cannot be used is left out and
counted by reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orl_explore.errors import OrlError
from orl_explore.images.annotations import CROWD, clipped_box
from orl_explore.images.decoding import orientation_of
from orl_explore.images.image_set import ImageSet
from orl_explore.images.object_masks import to_rle
from orl_explore.images.turning import turned_segmentation
from orl_explore.interchange.foreign import CLIPPED, ELSEWHERE, Found, Ledger, Masks
from orl_explore.interchange.jsonstream import stream_json
from orl_explore.interchange.names import ImageNames, id_key
from orl_explore.interchange.tables import TableWriter
from orl_explore.runs.run import Run

RESIZED: Final = "of images that have another size there: scaled to theirs"
TURNED: Final = "of images that are stored turned: turned upright with them"
SHAPE: Final = 0.02
"""How far the aspects of a picture and of a smaller or larger copy of it may lie apart, as a share; by rounding."""


@dataclass(frozen=True)
class _Place:
    """An image of the run as another tool has it."""

    row: int
    size: tuple[int, int]
    """Width and height here, upright."""
    stored: tuple[int, int]
    """Width and height before turning, at the size of here."""
    scale: tuple[float, float]
    """From pixels there to pixels of `stored`."""
    orientation: int


def read_coco_dataset(path: Path, images: ImageSet, names: ImageNames, ledger: Ledger) -> Iterator[Found]:
    """Read the annotations of a COCO data set: boxes, with or without masks (polygons or RLE) and scores.

    Images are matched by file name; ids are the file's own.

    Raises:
        OrlError: it has no annotations, or none of its images is in the run.
    """
    places: dict[Any, _Place | str] = {}
    listed, last = 0, ""
    for where, index, image in stream_json(path, ("", "images", "annotations")):
        if where != "images" or index is None or not isinstance(image, dict):
            continue
        listed += 1
        last = str(image.get("file_name"))
        if (key := id_key(image.get("id"))) is not None:
            places[key] = _place(last, image, images, names)
    if all(place == ELSEWHERE for place in places.values()):
        raise OrlError(
            f"{path}: none of its {listed:,} images is in the run, such as {last!r}{names.nearest(last)}: import boxes"
            " of the run's own images"
        )
    found = False
    for where, index, item in stream_json(path, ("", "images", "annotations")):
        if where == "annotations" and index is not None:
            found = True
            image_id = id_key(item.get("image_id")) if isinstance(item, dict) else None
            place = "without the id of an image" if image_id is None else places.get(image_id, ELSEWHERE)
            if result := _found(item, place, f"{path}: annotations[{index}]", ledger):
                yield result
    if not found:
        raise OrlError(f"{path} has images and no annotations: name it with --images {path}")


def segment_anything_files(path: Path) -> list[Path]:
    """Files of Segment Anything's format: the file itself, or those in a folder and below."""
    return sorted(path.rglob("*.json")) if path.is_dir() else [path]


def read_segment_anything(path: Path, images: ImageSet, names: ImageNames, ledger: Ledger) -> Iterator[Found]:
    """Read files as SA-1B has them, one an image, or those that Segment Anything's script `amg.py` writes.

    The score is `predicted_iou`. Files of the script name no image: theirs is the one with the same name.

    Args:
        path: a file, or a folder of them.
        images: the run's.
        names: finds images by name.
        ledger: its `min_stability` is asked for here.

    Raises:
        OrlError: none of the files is about an image of the run.
    """
    suffixes = sorted({Path(name).suffix for name in images.table["file_name"]})
    used, files = 0, segment_anything_files(path)
    for file in files:
        facts: Any = {}
        items: list[Any] = []
        for where, index, value in stream_json(file, ("", "annotations")):
            if where == "image" and isinstance(value, dict):
                facts = value
            elif index is not None and where in ("", "annotations"):
                items.append(value)
        if "file_name" in facts:
            place = _place(str(facts["file_name"]), facts, images, names)
        else:
            place = next(
                (p for s in suffixes if isinstance(p := _place(file.stem + s, {}, images, names), _Place)), ELSEWHERE
            )
        used += isinstance(place, _Place)
        for index, item in enumerate(items):
            result = _found(item, place, f"{file}: annotations[{index}]", ledger)
            if result is None:
                continue
            if not _stable(item, ledger.min_stability):
                ledger.do_without(f"with a stability_score below {ledger.min_stability:g}, or none", result.entry)
                continue
            predicted = item.get("predicted_iou")
            yield result._replace(score=float(predicted)) if _is_number(predicted) else result
    if not used:
        raise OrlError(
            f"{path}: none of {len(files):,} files is about an image of the run: each needs image.file_name, or the"
            " name of its image"
        )


def _stable(item: Mapping[str, Any], least: float | None) -> bool:
    value = item.get("stability_score")
    return least is None or (_is_number(value) and value >= least)  # type: ignore[operator]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _place(name: str, facts: Mapping[str, Any], images: ImageSet, names: ImageNames) -> _Place | str:
    """The image of the run that is meant; or why its boxes cannot be used."""
    row = names.row(name)
    if row is None:
        return ELSEWHERE
    width, height = images.table[["width", "height"]].iloc[row].tolist()
    there = facts.get("width"), facts.get("height")
    if not all(type(side) is int and side > 0 for side in there) or there == (width, height):
        return _Place(row, (width, height), (width, height), (1.0, 1.0), 1)
    other_width, other_height = there
    orientation, stored = 1, (width, height)
    if not _same_shape(there, stored):
        orientation, stored = orientation_of(images.path(row)), (height, width)
        if orientation <= 4 or not _same_shape(there, stored):
            return "of images that have another shape there"
    return _Place(row, (width, height), stored, (stored[0] / other_width, stored[1] / other_height), orientation)


def _same_shape(a: tuple[Any, ...], b: tuple[int, int]) -> bool:
    return abs(a[0] * b[1] / (a[1] * b[0]) - 1) <= SHAPE


def _found(item: Any, place: _Place | str, entry: str, ledger: Ledger) -> Found | None:
    """One annotation as a box with its mask; None where it is left out."""
    from pycocotools import mask

    reason = place if isinstance(place, str) else None
    if not isinstance(item, dict):
        reason = "that are no objects of JSON"
    elif item.get("iscrowd"):
        reason = CROWD
    if reason is not None or isinstance(place, str):
        (ledger.do_without if reason == CROWD else ledger.leave_out)(str(reason), entry)
        return None
    counts, given = None, item.get("segmentation")
    segmentation = given
    if segmentation and place.scale != (1.0, 1.0):
        segmentation = _scaled(segmentation, place, mask)
    if segmentation and place.orientation > 1:
        segmentation = turned_segmentation(segmentation, place.orientation, place.stored, mask)
    if segmentation:
        counts = to_rle(segmentation, place.size, mask)
    if given and counts is None:
        ledger.alter("with a mask that is not understood: the box alone is used", entry)
    box, why, beyond = clipped_box(
        _scaled_box(item.get("bbox"), place), place.size, None, place.orientation, place.stored
    )
    if box is None and counts is not None:
        width, height = place.size
        x, y, w, h = mask.toBbox({"size": [height, width], "counts": counts.encode("ascii")}).tolist()
        box, beyond = (x, y, w, h), False
        ledger.changed.add("with a mask alone: its box is used", entry)
    if box is None:
        ledger.leave_out(why, entry)
        return None
    if beyond:
        ledger.alter(CLIPPED, entry)
    for what, is_so in (
        (RESIZED, place.scale != (1.0, 1.0)),
        (TURNED, place.orientation > 1),
    ):
        if is_so:
            ledger.changed.add(what, entry)
    score = item.get("score")
    return Found(entry, place.row, box, float(score) if _is_number(score) else None, counts)


def _scaled_box(box: Any, place: _Place) -> Any:
    if place.scale == (1.0, 1.0) or not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return box
    return [value * place.scale[axis % 2] for axis, value in enumerate(box)]


def _scaled(segmentation: Any, place: _Place, mask: Any) -> Any:
    """Polygons or RLE at the size of the stored picture; what is neither comes back as it is."""
    if isinstance(segmentation, list):
        factors = np.array(place.scale)
        try:
            return [(np.array(points, np.float64).reshape(-1, 2) * factors).ravel().tolist() for points in segmentation]
        except (TypeError, ValueError):
            return segmentation
    try:
        height, width = segmentation["size"]
        counts = to_rle(segmentation, (width, height), mask)
        pixels: NDArray[np.uint8] = mask.decode({"size": [height, width], "counts": str(counts).encode("ascii")})
    except (TypeError, KeyError, ValueError):
        return segmentation
    if counts is None:
        return segmentation
    resized = np.asarray(Image.fromarray(pixels).resize(place.stored, Image.Resampling.NEAREST))
    encoded = mask.encode(np.asfortranarray(resized))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")}


# ---- into a run ------------------------------------------------------------------------------------------------------


def write_masks(run: Run, images: ImageSet, masks: Masks) -> None:
    """Write the table of proposals' masks, where there are any; group i belongs to row i of the images."""
    if not len(masks):
        return
    ids = images.table["image_id"].to_numpy()
    with TableWriter(run, "masks") as table:
        for image, ranks, texts in masks.groups():
            table.add(image_id=ids[image], rank=ranks, segmentation=np.array(texts, object))
